"""Lists of models: words, options of a line, and one line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from stein_bench.errors import UsageError
from stein_bench.sweep.items import make_items
from stein_bench.sweep.listfile import Entry, read_list
from stein_bench.sweep.settings import read_asked


def entries(tmp_path: Path, text: str) -> list[Entry]:
    (tmp_path / "models.txt").write_text(text, encoding="utf-8")
    return read_list(str(tmp_path / "models.txt"), trust_code=True)


def test_a_line_is_a_model_with_options_of_its_own(tmp_path: Path) -> None:
    text = (
        "\ufeff# two networks\n\n"
        "net.py:make,width=4  weights='my weights.pt' eps=4/255,8/255 mean=0.5,0.5,0.5  # don't\n"
        "timm:resnet18 --attack fgsm --attack=pgd:eps=4/255,steps=3 bn=sample --bn stein --controls --no-refill "
        "batch_size=5 name=small\n"
    )
    first, second = entries(tmp_path, text)
    assert first.spec == "net.py:make,width=4"
    assert first.own == {"weights": "my weights.pt", "eps": "4/255,8/255", "mean": "0.5,0.5,0.5"}
    assert (first.name, first.where) == (None, f"{tmp_path / 'models.txt'}, line 3")
    assert second.own == {
        "attack": ["fgsm", "pgd:eps=4/255,steps=3"], "bn": ["sample", "stein"], "controls": True, "refill": False,
        "batch-size": "5",
    }  # fmt: skip
    assert second.name == "small"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("resnet18 esp=3", "line 2: unknown option 'esp'. Did you mean 'eps'?"),
        ("resnet18 eps=4/255, 8/255", "line 2: '8/255' is neither key=value nor --key value. A list is one word"),
        ("resnet18 eps=", "line 2: 'eps=' has no value."),
        ("resnet18 --eps", "line 2: --eps has no value."),
        ("resnet18 --no-refill=yes", "line 2: '--no-refill=yes' takes no value."),
        ("resnet18 eps=1/255 eps=2/255", "line 2: eps is given twice."),
        ("resnet18 output=x.json", "line 2: output holds for the whole sweep"),
        ("resnet18 'open", "line 2: no closing quotation."),
        ("--eps 3 resnet18", "line 2: it begins with the option --eps"),
    ],
)
def test_a_mistake_names_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        entries(tmp_path, f"# models\n{line}\n")
    assert f"{tmp_path / 'models.txt'}, {message}" in str(error.value)


def test_a_list_that_is_missing_or_empty_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the list of models"):
        read_list(str(tmp_path / "missing.txt"))
    with pytest.raises(UsageError, match="names no model"):
        entries(tmp_path, "# nothing\n\n")
    (tmp_path / "models.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="no text in UTF-8"):
        read_list(str(tmp_path / "models.txt"))


def test_options_of_a_line_override_those_of_the_command_line_and_are_typed(tmp_path: Path) -> None:
    asked = read_asked({"models": "unused", "eps": "8/255", "limit": 7, "output": "runs/"}, None)
    items = make_items(asked, entries(tmp_path, "test_resnet\ntest_vit eps=4/255 limit=3\n"), tmp_path)
    assert [(item.config.eps, item.config.limit) for item in items] == [((8 / 255,), 7), ((4 / 255,), 3)]
    assert [item.output for item in items] == [tmp_path / "test_resnet.json", tmp_path / "test_vit.json"]
    with pytest.raises(UsageError, match=r"models\.txt, line 2: --limit: must be a whole number \(got 'many'\)"):
        make_items(asked, entries(tmp_path, "test_resnet\ntest_vit limit=many\n"), tmp_path)
    wrong = read_asked({"limit": 0, "output": "runs/"}, None)
    with pytest.raises(UsageError, match=r"^--limit: "):
        make_items(wrong, entries(tmp_path, "test_resnet seed=1\n"), tmp_path)
