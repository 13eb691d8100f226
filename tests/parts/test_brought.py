"""What determines a Python object, as text that is equal for equal values."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from stein_bench.parts.brought import described, python_spec, source_text, split_named


class Holder:
    def __init__(self, value):
        self.value = value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2), (1, 1.0), (True, 1), ("a", "b"), (b"a", b"b"), (None, 0), ([1, 2], [2, 1]), ((1,), [1]),
        ({1, 2}, {1, 3}),
        ({"a": 1}, {"a": 2}), (np.arange(3), np.arange(4)), (np.zeros(3), np.zeros(3, np.float32)),
        (torch.zeros(3), torch.ones(3)), (torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)),
        (np.array(["a", 1], object), np.array(["b", 1], object)), (Holder(1), Holder(2)),
        (Holder([Holder(1)]), Holder([Holder(2)])),
    ],
)  # fmt: skip
def test_other_values_are_described_otherwise_and_equal_ones_alike(one, other):
    import copy

    assert described(one) != described(other)
    assert described(copy.deepcopy(one)) == described(one)
    assert "0x" not in described([one, other])  # no address


def test_what_refers_to_itself_and_what_is_long_is_described_in_finite_time():
    loop = Holder(None)
    loop.value = [loop, {"again": loop}]
    assert described(loop) == described(loop)
    assert described(list(range(200_000))) == "list of 200000"


@pytest.mark.integration
def test_the_description_is_the_same_in_another_process():
    code = (
        "import numpy as np, torch; from stein_bench.parts.brought import described;"
        "print(described([{'b': 1, 'a': {3, 1, 2}}, np.arange(3), torch.eye(2), {'x', 'y', 'z'}]))"
    )
    runs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in "ab"
    }
    assert len(runs) == 1


def test_classes_without_source_are_known_by_their_bytecode():
    made = []
    for factor in (1, 2):
        space: dict = {}
        exec(f"class A:\n    def __call__(self, x):\n        return x * {factor}\n", space)
        made.append(space["A"])
    assert source_text(made[0]) != source_text(made[1])
    assert "0x" not in source_text(made[0])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("mine.py:f", ("mine.py", "f", "")),
        ("sub/mine.py:f:a=1,b=2", ("sub/mine.py", "f", "a=1,b=2")),
        ("mine.py:f,a=1", ("mine.py", "f", "a=1")),
        ("a.py:b/mine.py:f", ("a.py:b/mine.py", "f", "")),
        ("os.path:join", ("os.path", "join", "")),
        ("math:sqrt:a=1", ("math", "sqrt", "a=1")),
        ("pgd:steps=3", None),
        ("pgd", None),
        ("nowhere:f", None),
        ("mine.py:3", None),
    ],
)
def test_a_spec_is_taken_apart(spec, expected):
    found = split_named(spec)
    assert (found and (found.home, found.name, found.rest)) == expected


def test_objects_are_named_by_module_and_name():
    assert python_spec(Holder) == f"{__name__}:Holder" == python_spec(Holder(1))
    assert python_spec(lambda: 0) == f"{__name__}:lambda"
    assert python_spec(torch.nn.Linear(1, 1)) == "torch:Linear"
