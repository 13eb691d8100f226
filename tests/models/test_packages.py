"""A file with relative imports is imported as part of its package, apart from other code of the same name."""

from __future__ import annotations

import pickle
import sys

import pytest

from stein_bench.errors import UsageError
from stein_bench.models.sources import find_model

BLOCKS = "from torch import nn\nWIDTH = {width}\nclass Block(nn.Linear):\n    pass\n"
USES = "\ndef make(num_classes=2):\n    return Block(WIDTH, num_classes)\n"


@pytest.mark.parametrize(
    ("file", "blocks", "importing"),
    [
        ("pkg/net.py", "pkg/blocks.py", "from .blocks import WIDTH, Block"),
        ("pkg/net.py", "pkg/blocks.py", "from . import blocks\nfrom .blocks import *"),
        ("src/pkg/net.py", "src/pkg/blocks.py", "from .blocks import WIDTH, Block\nfrom pkg.blocks import WIDTH"),
        ("src/pkg/net.py", "src/pkg/blocks.py", "from pkg.blocks import WIDTH, Block"),
        ("pkg/nets/net.py", "pkg/blocks.py", "from ..blocks import WIDTH, Block"),
        ("pkg/net.py", "pkg/parts/blocks.py", "from .parts.blocks import WIDTH, Block"),
        ("code/net.py", "code/blocks.py", "from .blocks import WIDTH, Block"),
        ("my-nets/net.py", "my-nets/blocks.py", "from .blocks import WIDTH, Block"),
        ("pkg/net.v2.py", "pkg/blocks.py", "from .blocks import WIDTH, Block"),
        ("nets/net.py", "blocks/parts.py", "from blocks.parts import WIDTH, Block"),
    ],
)
@pytest.mark.parametrize("regular", [True, False], ids=["packages", "folders"])
def test_relative_and_absolute_imports_work(write, file, blocks, importing, regular):
    """With ``__init__.py`` and without, below the current directory or a src folder."""
    write(BLOCKS.format(width=5), blocks)
    write(importing + USES, file)
    if regular:
        for path in (file, blocks):
            for folder in path.split("/")[:-1]:
                if folder != "src":
                    write("", f"{path[: path.index(folder) + len(folder)]}/__init__.py")
    before, state = list(sys.path), (list(sys.meta_path), sys.dont_write_bytecode)
    network = find_model(f"{file}:make").build(num_classes=3)
    assert (network.in_features, network.out_features) == (5, 3)
    assert (sys.path, (sys.meta_path, sys.dont_write_bytecode)) == (before, state)
    assert "code" not in sys.modules or not hasattr(sys.modules["code"], "blocks")


def test_a_folder_without_init_may_be_left_by_a_relative_import(write):
    write(BLOCKS.format(width=5), "top/utils/blocks.py")
    write("from ..utils.blocks import WIDTH, Block", "top/nets/parts.py")
    write("from .parts import WIDTH, Block" + USES, "top/nets/net.py")
    assert find_model("top/nets/net.py:make").build(num_classes=3).in_features == 5


def test_a_package_itself_is_a_file_too(write):
    write(BLOCKS.format(width=5), "pkg/blocks.py")
    write("from .blocks import WIDTH, Block" + USES, "pkg/__init__.py")
    source = find_model("pkg/__init__.py:make")
    assert source.build(num_classes=3).in_features == 5


def test_a_package_that_also_imports_itself_absolutely_is_loaded_once(write):
    """Otherwise a registry, or isinstance, would see two copies of a class."""
    write("", "pkg/__init__.py")
    write("COUNT = []\nclass Base:\n    pass\n", "pkg/base.py")
    write("import pkg.base\nfrom pkg import base\npkg.base.COUNT.append(base.Base)", "pkg/registry.py")
    write(
        "from torch import nn\nfrom . import registry\nfrom .base import COUNT, Base\n"
        "def make():\n    from pkg.base import Base as late\n    assert COUNT == [Base] and late is Base\n"
        "    return nn.Identity()\n",
        "pkg/net.py",
    )
    find_model("pkg/net.py:make").build(num_classes=2)


@pytest.mark.parametrize("importing", ["from .blocks import WIDTH, Block", "from blocks import WIDTH, Block"])
def test_two_folders_with_the_same_names_do_not_collide(write, importing):
    for folder, width in (("a/pkg", 5), ("b/pkg", 6)):
        if importing.startswith("from ."):
            write("", f"{folder}/__init__.py")
        write(BLOCKS.format(width=width), f"{folder}/blocks.py")
        write(importing + USES + f"\n\ndef late():\n    {importing}\n    return Block(WIDTH, 2)\n", f"{folder}/net.py")
    first, second = (find_model(f"{folder}/pkg/net.py:make") for folder in "ab")
    assert [source.build(num_classes=2).in_features for source in (first, second, first)] == [5, 6, 5]
    first, second = (find_model(f"{folder}/pkg/net.py:late") for folder in "ab")
    assert [source.build(num_classes=2).in_features for source in (first, second, first)] == [5, 6, 5]


@pytest.mark.parametrize("importing", ["from .blocks import WIDTH, Block", "from blocks import WIDTH, Block"])
def test_an_edited_import_is_imported_anew_and_changes_the_fingerprint(write, importing):
    write(BLOCKS.format(width=5), "pkg/blocks.py")
    write(importing + USES, "pkg/net.py")
    prints, widths = [], []
    for width in (5, 5, 6):
        write(BLOCKS.format(width=width), "pkg/blocks.py")
        source = find_model("pkg/net.py:make")
        prints.append(source.fingerprint())
        widths.append(source.build(num_classes=2).in_features)
    assert widths == [5, 5, 6]
    assert prints[0] == prints[1] != prints[2]


def test_a_package_is_imported_once(write, capsys):
    write("print('here')", "pkg/__init__.py")
    write("print('there')\n" + BLOCKS.format(width=5), "pkg/blocks.py")
    write("from .blocks import WIDTH, Block" + USES, "pkg/net.py")
    for _ in range(2):
        find_model("pkg/net.py:make").build(num_classes=2)
    assert capsys.readouterr().err == "here\nthere\n"


def test_networks_of_a_package_can_be_pickled(write):
    write(BLOCKS.format(width=5), "pkg/blocks.py")
    write("from .blocks import WIDTH, Block" + USES, "pkg/net.py")
    network = find_model("pkg/net.py:make").build(num_classes=2)
    assert type(pickle.loads(pickle.dumps(network))) is type(network)


def test_a_helper_named_like_an_installed_package_does_not_take_its_place(write, monkeypatch):
    """Whatever the user's folder is called, the rest of the process imports the installed one."""
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    write("VALUE = 5", "colorsys.py")
    write("import colorsys\nfrom torch import nn\ndef make():\n    return nn.Linear(colorsys.VALUE, 2)")
    assert find_model("net.py:make").build(num_classes=2).in_features == 5
    import colorsys

    assert hasattr(colorsys, "rgb_to_hsv")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "from .blocks import nope\n",
            r"^importing pkg/net\.py failed: ImportError: .*'nope'.*\(pkg/net\.py, line 1\)$",
        ),
        (
            "\nfrom .nope import x\n",
            r"failed: ModuleNotFoundError: .*\.nope' \(pkg/net\.py, line 2\)$",
        ),
        ("from .blocks import x\n1 / 0\n", r"failed: ZeroDivisionError: .* \(pkg/net\.py, line 2\)$"),
    ],
)
def test_a_failing_import_names_the_line_and_leaves_nothing(write, code, message):
    write("x = 1", "pkg/blocks.py")
    write(code, "pkg/net.py")
    before = set(sys.modules)
    with pytest.raises(UsageError, match=message):
        find_model("pkg/net.py:make")
    assert not [name for name in set(sys.modules) - before if name.startswith("stein_bench_user_")]


def test_a_folder_with_a_dot_cannot_be_a_package(write):
    write("x = 1", "pkg-1.0/blocks.py")
    write("from .blocks import x", "pkg-1.0/net.py")
    with pytest.raises(UsageError, match=r"^pkg-1\.0/net\.py has relative imports, but .* folder 'pkg-1\.0' has a dot"):
        find_model("pkg-1.0/net.py:make")


def test_an_import_error_names_the_users_modules_only(write):
    write("from .blocsk import Block", "pkg/net.py")
    with pytest.raises(
        UsageError, match=r"ModuleNotFoundError: No module named 'pkg\.blocsk' \(pkg/net\.py, line 1\)$"
    ):
        find_model("pkg/net.py:make")
    write("from net import nothing", "net.py")
    with pytest.raises(UsageError, match=r"^importing net\.py failed: ImportError: (?!.*stein_bench_user)"):
        find_model("net.py:make")
