"""A user's own callable makes the network, and whatever is wrong with it is one clear line."""

from __future__ import annotations

import pickle
import sys

import pytest
import torch
from torch import nn

from stein_bench.errors import UsageError
from stein_bench.models.sources import find_model

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=10, in_channels=3):
        super().__init__()
        self.fc = nn.Linear(in_channels, num_classes)

def make(num_classes):
    return Net(num_classes)
"""


def test_a_file_is_found_by_relative_absolute_and_home_path(write, monkeypatch):
    file = write(NET)
    monkeypatch.setenv("HOME", str(file.parent))
    for spec, canonical in (
        ("net.py:make", "net.py:make"),
        ("./net.py:make", "net.py:make"),
        (f"{file}:make", f"{file}:make"),
        ("~/net.py:make", "~/net.py:make"),
    ):
        source = find_model(spec)
        assert (source.spec, source.name, source.pretrained) == (canonical, "net.make", None)
        assert source.build(num_classes=4).fc.out_features == 4


def test_a_module_class_is_a_fine_callable(write):
    write(NET)
    network = find_model("net.py:Net").build(num_classes=4, in_channels=2)
    assert (network.fc.out_features, network.fc.in_features) == (4, 2)
    assert find_model("net.py:Net").build(num_classes=None).fc.out_features == 10


def test_a_package_module_in_the_current_directory_is_found(write):
    write("", "pkg/__init__.py")
    write("from .helper import WIDTH\n" + NET, "pkg/models.py")
    write("WIDTH = 3\n", "pkg/helper.py")
    source = find_model("pkg.models:Net")
    assert (source.spec, source.name) == ("pkg.models:Net", "models.Net")
    assert source.build(num_classes=4).fc.out_features == 4


def test_a_plain_module_is_found_too(write):
    write(NET, "netfile.py")
    assert find_model("netfile:Net").build(num_classes=4).fc.out_features == 4


@pytest.mark.integration
def test_an_installed_module_is_found():
    network = find_model("torchvision.models:squeezenet1_1").build(num_classes=4).eval()
    assert network(torch.rand(1, 3, 64, 64)).shape == (1, 4)


@pytest.mark.parametrize(
    ("signature", "received"),
    [
        ("num_classes", {"num_classes": 7}),
        ("**kwargs", {"num_classes": 7}),
        ("*, num_classes=1, in_chans=3", {"num_classes": 7, "in_chans": 2}),
        ("in_channels=3", {"in_channels": 2}),
        ("", {}),
        ("width=8", {}),
        ("num_classes=10, /", {}),
    ],
)
def test_the_callable_gets_what_its_signature_accepts(write, signature, received):
    write(
        "from torch import nn\n"
        f"def make({signature}):\n"
        "    network = nn.Identity()\n"
        "    network.received = {k: v for k, v in {**locals(), **locals().get('kwargs', {})}.items()\n"
        "                        if k not in ('network', 'kwargs')}\n"
        "    return network\n"
    )
    network = find_model("net.py:make").build(num_classes=7, in_channels=2)
    defaults = {"width": 8} if "width" in signature else {"num_classes": 10} if "/" in signature else {}
    assert network.received == {**defaults, **received}


def test_helpers_beside_the_file_are_importable_and_sys_path_is_restored(write):
    write("import sys\nsys.path.append('/nowhere')\nfrom helper import make\n", "deep/net.py")
    write("from torch import nn\ndef make():\n    import helper\n    return nn.Identity()\n", "deep/helper.py")
    before = list(sys.path)
    assert isinstance(find_model("deep/net.py:make").build(num_classes=2), nn.Identity)
    assert sys.path == before


def test_networks_of_a_file_can_be_pickled(write):
    write(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom torch import nn\n"
        "@dataclass\nclass Options:\n    width: int = 3\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.options = Options()\n"
    )
    network = find_model("net.py:Net").build(num_classes=2)
    assert pickle.loads(pickle.dumps(network)).options == network.options


def test_files_of_the_same_name_are_told_apart(write):
    write(NET, "a/net.py")
    write(NET.replace("num_classes=10", "num_classes=20"), "b/net.py")
    sizes = [find_model(f"{folder}/net.py:Net").build(num_classes=None).fc.out_features for folder in "ab"]
    assert sizes == [10, 20]


def test_an_edited_file_is_imported_anew(write):
    write(NET)
    assert find_model("net.py:Net").build(num_classes=None).fc.out_features == 10
    write(NET.replace("num_classes=10", "num_classes=20"))
    assert find_model("net.py:Net").build(num_classes=None).fc.out_features == 20


def test_what_the_users_code_prints_goes_to_stderr(write, capsys):
    write("from torch import nn\nprint('importing')\ndef make():\n    print('making')\n    return nn.Identity()")
    find_model("net.py:make").build(num_classes=2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "importing\nmaking\n"


def test_the_fingerprint_follows_the_file(write):
    write(NET)
    before = find_model("net.py:make").fingerprint()
    assert find_model("net.py:make").fingerprint() == before
    write(NET + "# changed\n")
    assert find_model("net.py:make").fingerprint() != before


@pytest.mark.parametrize(
    ("importing", "helper"),
    [
        ("import helper", "helper.py"),
        ("from helper import WIDTH", "helper.py"),
        ("from helper.sizes import WIDTH", "helper/sizes.py"),
        ("def make():\n    from helper import sizes\n", "helper/sizes.py"),
    ],
)
def test_the_fingerprint_follows_the_files_that_the_file_imports(write, importing, helper):
    """A constant in a helper may change the architecture, and a cached fit must not outlive that."""
    write(f"{NET}\n{importing}\n")
    write("WIDTH = 3\n", helper)
    write("WIDTH = 3\n", "unrelated.py")
    before = find_model("net.py:Net").fingerprint()
    write("WIDTH = 5\n", "unrelated.py")
    assert find_model("net.py:Net").fingerprint() == before
    write("WIDTH = 4\n", helper)
    assert find_model("net.py:Net").fingerprint() != before


@pytest.mark.parametrize("changed", ["pkg/helper.py", "pkg/__init__.py", "pkg/nets/__init__.py"])
def test_the_fingerprint_follows_what_a_module_of_a_package_runs(write, changed):
    write("", "pkg/__init__.py")
    write("", "pkg/nets/__init__.py")
    write("from ..helper import WIDTH\n" + NET, "pkg/nets/small.py")
    write("WIDTH = 3\n", "pkg/helper.py")
    before = find_model("pkg.nets.small:Net").fingerprint()
    write("WIDTH = 4\n", changed)
    assert find_model("pkg.nets.small:Net").fingerprint() != before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nope.py:make", r"^no such file: nope\.py$"),
        ("pkg.nope:make", r"^no module 'pkg\.nope', neither in the current directory nor installed\.$"),
        ("net.py:mak", r"^net\.py has no 'mak'\. Did you mean 'make'\?$"),
        ("net.py:zzzzzz", r"^net\.py has no 'zzzzzz'\. It defines Net, make\.$"),
        ("net.py:torch", r"^net\.py:torch is a module, which cannot be called\.$"),
    ],
)
def test_a_callable_that_is_not_there_is_one_line(write, spec, message):
    write(NET)
    write("", "pkg/__init__.py")
    with pytest.raises(UsageError, match=message):
        find_model(spec)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("\n1 / 0\n", r"^importing net\.py failed: ZeroDivisionError: division by zero \(net\.py, line 2\)$"),
        ("x = (\n", r"^importing net\.py failed: SyntaxError: .* \(net\.py, line 1\)$"),
        (
            "import nope_nope",
            r"failed: ModuleNotFoundError: No module named 'nope_nope' \(net\.py, line 1\)$",
        ),
        ("raise SystemExit(2)", r"^importing net\.py failed: SystemExit: 2 \(net\.py, line 1\)$"),
        ("\nimport helper", r"^importing net\.py failed: ValueError: two lines \(net\.py, line 2\)$"),
    ],
)
def test_an_import_that_fails_names_the_line(write, code, message):
    write(code)
    write("raise ValueError('two\\nlines')", "helper.py")
    before = set(sys.modules)
    with pytest.raises(UsageError, match=message):
        find_model("net.py:make")
    assert not [name for name in set(sys.modules) - before if name.startswith("stein_bench_user_")]


def test_a_module_whose_import_fails_names_the_line(write):
    write("", "pkg/__init__.py")
    write("\n\nimport nope_nope\n", "pkg/broken.py")
    message = r"^importing pkg\.broken failed: ModuleNotFoundError: .* 'nope_nope' \(broken\.py, line 3\)$"
    with pytest.raises(UsageError, match=message):
        find_model("pkg.broken:make")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise KeyError('width')", r"^calling net\.py:make failed: KeyError: 'width' \(net\.py, line 2\)$"),
        ("return {}", r"^net\.py:make returned a dict, not a torch\.nn\.Module\.$"),
        ("return None", r"^net\.py:make returned NoneType, not a torch\.nn\.Module\.$"),
    ],
)
def test_a_call_that_fails_is_one_line(write, code, message):
    write(f"def make():\n    {code}\n")
    with pytest.raises(UsageError, match=message):
        find_model("net.py:make").build(num_classes=2)


def test_a_missing_argument_is_one_line(write):
    write("def make(depth, width):\n    return None\n")
    message = r"^net\.py:make needs the arguments 'depth' and 'width': write net\.py:make,depth=VALUE,width=VALUE\.$"
    with pytest.raises(UsageError, match=message):
        find_model("net.py:make").build(num_classes=2)
    message = r"^net\.py:make,depth=3 needs the argument 'width': write net\.py:make,depth=3,width=VALUE\.$"
    with pytest.raises(UsageError, match=message):
        find_model("net.py:make,depth=3").build(num_classes=2)


def test_a_users_callable_has_no_pretrained_weights(write):
    write(NET)
    with pytest.raises(UsageError, match=r"^net\.py:make has no pretrained weights"):
        find_model("net.py:make").build(num_classes=2, pretrained=True)
