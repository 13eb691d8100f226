"""What is a sweep, its parts, and the names of its reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stein_bench.errors import UsageError
from stein_bench.sweep.listfile import Entry
from stein_bench.sweep.names import report_names, safe_name
from stein_bench.sweep.settings import output_folder, read_asked
from stein_bench.sweep.shard import parse_shard


@pytest.mark.parametrize(
    ("options", "sweep"),
    [
        ({"model": ["resnet18"]}, False),
        ({"model": ["resnet18"], "output": "report.json"}, False),
        ({"model": ["net.py:make,pattern=*"]}, False),
        ({"model": ["resnet18", "vit"]}, True),
        ({"model": ["timm:resnet1*"]}, True),
        ({"models": "models.txt"}, True),
        ({"model": ["resnet18"], "shard": "1/2"}, True),
        ({"model": ["resnet18"], "output": "runs/"}, True),
        ({"model": ["resnet18"], "output": "."}, True),
    ],
)
def test_several_models_or_a_folder_are_a_sweep(options: dict[str, Any], sweep: bool) -> None:
    assert read_asked(options, None).is_sweep is sweep


def test_a_configuration_file_may_describe_a_sweep(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("model: [test_resnet, test_vit]\nretry-oom: true\nshard: 1/2\neps: 4/255\noutput: runs/\n")
    asked = read_asked({"model": None, "limit": 3}, str(file))
    assert asked.is_sweep
    assert [entry.spec for entry in asked.entries()] == ["test_resnet", "test_vit"]
    assert (asked.about.retry_oom, str(asked.shard()), output_folder(asked)) == (True, "1/2", Path("runs"))
    config = asked.config(asked.entries()[1], tmp_path / "x.json")
    assert (config.model, config.eps, config.limit, config.output) == (
        "test_vit", (4 / 255,), 3, str(tmp_path / "x.json"),
    )  # fmt: skip
    file.write_text("model: test_resnet\nlimit: 4\n")
    assert read_asked({"model": None}, str(file)).single().limit == 4
    assert read_asked({"model": ["test_vit"]}, str(file)).single().model == "test_vit"
    file.write_text("model: [test_resnet, 3]\n")
    with pytest.raises(UsageError, match=r"sweep\.yaml: model: "):
        read_asked({}, str(file))


def test_a_sweep_needs_a_folder(tmp_path: Path) -> None:
    several: dict[str, Any] = {"model": ["resnet18", "vit"]}
    for output, message in (
        (None, r"several models \(resnet18, vit\): give --output DIR/"),
        ("report.json", r"--output report.json names a file"),
        (f"{tmp_path / 'a.txt'}/", r"a\.txt/ is a file"),
    ):
        (tmp_path / "a.txt").touch()
        with pytest.raises(UsageError, match=message):
            output_folder(read_asked({**several, "output": output}, None))


def test_parts_together_are_the_whole() -> None:
    models = list("abcdefg")
    parts = [parse_shard(f"{number}/3").of(models) for number in (1, 2, 3)]
    assert parts == [("a", "d", "g"), ("b", "e"), ("c", "f")]
    assert parse_shard("9/9").of(models) == ()


@pytest.mark.parametrize("text", ["5/4", "0/4", "x", "1/", "/2", "1/0", "-1/2", "1/2/3", ""])
def test_parts_that_do_not_exist_are_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--shard "):
        parse_shard(text)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("timm:resnet18.a1_in1k", "timm-resnet18.a1_in1k"),
        ("hf-hub:org/name@main", "hf-hub-org-name@main"),
        ("/some/where/net.py:make,width=4", "net.py-make-width-4"),
        ("jit:../models/net.pt", "jit-net.pt"),
        ("package.module:Net", "package.module-Net"),
        ("..", "model"),
        ("x:a.failed", "x-a-failed"),
    ],
)
def test_names_are_those_of_files(spec: str, name: str) -> None:
    assert safe_name(spec) == name


def test_names_are_unique_whatever_the_case_and_the_users_come_first() -> None:
    specs = [
        Entry("a/net.py:x"),
        Entry("b/net.py:x"),
        Entry("b/net.py:X"),
        Entry("sweep"),
        Entry("v", name="net.py-x-2"),
    ]
    assert report_names(specs) == ["net.py-x", "net.py-x-3", "net.py-X-4", "sweep-2", "net.py-x-2"]
    long = report_names([Entry(f"m:{'é' * 200}{end}") for end in "ab"])
    assert long[0] != long[1]
    assert max(len(name.encode()) for name in long) <= 100


@pytest.mark.parametrize("name", ["a/b", "sweep", "Sweep", "x.failed", ".hidden", "", "n" * 200])
def test_a_chosen_name_that_no_file_can_have_names_its_line(name: str) -> None:
    with pytest.raises(UsageError, match=r"^m\.txt, line 7: name="):
        report_names([Entry("resnet18", name=name, where="m.txt, line 7")])


def test_a_name_chosen_twice_names_both_lines() -> None:
    twice = [Entry("a", name="x", where="m.txt, line 1"), Entry("b", name="X", where="m.txt, line 2")]
    with pytest.raises(UsageError, match=r"m\.txt, line 2: the name 'X' is also that of m\.txt, line 1"):
        report_names(twice)
