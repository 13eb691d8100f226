"""Arguments of a user's callable are typed, checked against its signature, and part of spec, name and fingerprint."""

from __future__ import annotations

import pytest

from stein_bench.errors import UsageError
from stein_bench.models.sources import find_model
from stein_bench.parts.arguments import parse_call, written

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, depth, widen_factor=1.0, num_classes=10, blocks=(2, 2), act=None, **options):
        super().__init__()
        self.fc = nn.Linear(3, num_classes)
        self.got = {"depth": depth, "widen_factor": widen_factor, "blocks": blocks, "act": act, **options}

def plain(depth, in_channels=3):
    return nn.Linear(in_channels, depth)

def bare():
    return nn.Identity()
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("28", 28),
        ("-3", -3),
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("8/255", 8 / 255),
        ("true", True),
        ("False", False),
        ("none", None),
        ("relu", "relu"),
        ("Resnet-50.a1/x", "Resnet-50.a1/x"),
        ("./a b/net.py:make", "./a b/net.py:make"),
        ("'28'", "28"),
        ('"it\'s, one"', "it's, one"),
        ("''", ""),
        ("'true'", "true"),
        ("[2,2,2,2]", [2, 2, 2, 2]),
        ("[ 1.5, 'a,b', none ]", [1.5, "a,b", None]),
        ("[[1,2],[3]]", [[1, 2], [3]]),
        ("[]", []),
    ],
)
def test_a_value_is_what_it_looks_like_and_is_written_so_that_it_is_read_again(text, value):
    name, arguments = parse_call(f"Net,depth={text},last=1", "net.py:…")
    assert (name, arguments) == ("Net", {"depth": value, "last": 1})
    assert type(arguments["depth"]) is type(value)
    assert parse_call(f"Net{written(arguments)}", "") == (name, arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("Net,depth", r"^net\.py:Net,depth: 'depth' is not of the form key=value\.$"),
        ("Net,depth=", r"'depth=' is not of the form key=value\.$"),
        ("Net,2=3", r"'2=3' is not of the form key=value\.$"),
        ("Net,", r"'' is not of the form key=value\.$"),
        ("Net,depth=1,depth=2", r"^net\.py:Net,depth=1,depth=2 gives 'depth' twice\.$"),
        (
            "Net,depth=2x2",
            r"^depth in net\.py:Net,depth=2x2: '2x2' is no value\. Write a number, .* like \[2,2\]\.$",
        ),
        ("Net,depth=1e--3", r"'1e--3' is no value"),
        ("Net,depth=nan", r"'nan' is no value"),
        ("Net,depth=8/0", r"^depth in net\.py:Net,depth=8/0 divides by zero: '8/0'\.$"),
        ("Net,depth=[1,2", r"^net\.py:Net,depth=\[1,2: a bracket has no counterpart in 'Net,depth=\[1,2'\.$"),
        ("Net,depth=1]", r"a bracket has no counterpart"),
        ("Net,depth='a", r"a quote has no counterpart"),
        ("Net,depth='a'b", r"\"'a'b\" is no value"),
    ],
)
def test_what_is_no_argument_is_shown(call, message):
    with pytest.raises(UsageError, match=message):
        parse_call(call, f"net.py:{call}")


def test_the_callable_gets_the_arguments(write):
    write(NET)
    source = find_model("net.py:Net,widen_factor=10,depth=28,blocks=[3,4],norm=bn,act='none'")
    assert source.spec == "net.py:Net,depth=28,widen_factor=10,blocks=[3,4],act='none',norm=bn"
    assert source.name == "net.Net,depth=28,widen_factor=10,blocks=[3,4],act='none',norm=bn"
    network = source.build(num_classes=7)
    assert network.got == {"depth": 28, "widen_factor": 10, "blocks": [3, 4], "act": "none", "norm": "bn"}
    assert network.fc.out_features == 7
    assert find_model(source.spec).spec == source.spec


def test_a_callable_that_changes_its_argument_gets_the_same_one_again(write):
    write(NET)
    source = find_model("net.py:Net,depth=1,blocks=[3,4]")
    source.build(num_classes=2).got["blocks"].append(5)
    assert source.build(num_classes=2).got["blocks"] == [3, 4]


def test_the_users_arguments_win(write):
    write(NET)
    assert find_model("net.py:Net,depth=1,num_classes=5").build(num_classes=7).fc.out_features == 5
    assert find_model("net.py:plain,depth=2,in_channels=1").build(num_classes=7, in_channels=3).in_features == 1


def test_a_modules_callable_takes_arguments_too(write):
    write(NET, "netfile.py")
    source = find_model("netfile:Net,depth=2")
    assert (source.spec, source.name) == ("netfile:Net,depth=2", "netfile.Net,depth=2")
    assert source.build(num_classes=None).got["depth"] == 2


@pytest.mark.integration
def test_arguments_are_part_of_the_fingerprint(write):
    write(NET)
    specs = ("net.py:plain", "net.py:plain,depth=2", "net.py:plain,depth=3", "net.py:plain,depth='3'")
    assert len({find_model(spec).fingerprint() for spec in specs}) == 4
    there, back = "net.py:Net,depth=1,act=a", "net.py:Net,act=a,depth=1"
    assert find_model(there).fingerprint() == find_model(back).fingerprint()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "net.py:plain,dpeth=3",
            r"^net\.py:plain has no argument 'dpeth'\. Did you mean 'depth'\? It takes depth, in_channels\.$",
        ),
        ("net.py:plain,zz=3", r"^net\.py:plain has no argument 'zz'\. It takes depth, in_channels\.$"),
        ("net.py:bare,depth=3", r"^net\.py:bare has no argument 'depth'\. It takes none\.$"),
    ],
)
def test_an_unknown_argument_is_refused_before_anything_is_built(write, spec, message):
    write(NET)
    with pytest.raises(UsageError, match=message):
        find_model(spec)


@pytest.mark.parametrize("folder", ["a,b=c", "with:colon", "with.py:net", "a.py"])
def test_paths_may_contain_what_separates_arguments(write, folder):
    write(NET, f"{folder}/net.py")
    source = find_model(f"{folder}/net.py:Net,depth=2,act=other.py:make")
    assert source.spec == f"{folder}/net.py:Net,depth=2,act=other.py:make"
    assert source.build(num_classes=2).got["act"] == "other.py:make"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("net.py:plain()", r"^'net\.py:plain\(\)': write net\.py:plain \(one colon, no parentheses, arguments after"),
        ("net.py:plain(depth=3)", r": write net\.py:plain,depth=3 \(one colon"),
        ("net.py::plain", r"^'net\.py::plain': write net\.py:plain \(one colon"),
        ("netfile:plain()", r"^'netfile:plain\(\)': write netfile:plain \(one colon"),
        ("net.py:a-b", r"^'net\.py:a-b' does not name a callable: 'a-b' is not a Python name\.$"),
        ("my-net:plain", r"^'my-net:plain' lacks \.py: write my-net\.py:plain$"),
        ("sub/net:plain", r"^'sub/net:plain' lacks \.py: write sub/net\.py:plain$"),
        ("sub/net", r"^'sub/net' lacks \.py: write sub/net\.py:CALLABLE$"),
        ("net.py", r"^'net\.py' names a file only: write net\.py:CALLABLE, .* It defines Net, plain, bare\.$"),
        (
            "net.ipynb:plain",
            r"^net\.ipynb is a notebook, .* into net\.py and write net\.py:plain$",
        ),
        ("net.ipynb", r"is a notebook, .* write net\.py:CALLABLE$"),
    ],
)
def test_what_people_write_instead_is_put_right(write, spec, message):
    for name in ("net.py", "netfile.py", "my-net.py", "sub/net.py"):
        write(NET, name)
    with pytest.raises(UsageError, match=message):
        find_model(spec)
