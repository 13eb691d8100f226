"""Inputs that the fuzzer found at fault, each refused in one line since."""

from __future__ import annotations

import io
import json
import zlib

import numpy as np
import pytest

from stein_bench.config import make_config
from stein_bench.data.npz import open_npz
from stein_bench.errors import UsageError
from stein_bench.evaluation.frames import frame
from stein_bench.evaluation.journal import IDENTITY as FIRST
from stein_bench.evaluation.journal import MAGIC, UNIT, Journal, interrupted_batch_size, journal_path
from stein_bench.evaluation.packed_units import pack_unit
from stein_bench.evaluation.units import CLEAN, Unit


def refused(read):
    with pytest.raises(UsageError) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("text", ["model: !!timestamp x", "model: !!int ''", "model: !!bool x", "? !!float ''\n: 1"])
def test_a_yaml_tag_that_does_not_fit_its_value(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert "not valid YAML" in refused(lambda: make_config({}, path))


HEADERS = {
    "an open bracket": b"{'descr': '|u1', 'fortran_order': False, 'shape': (6, 4, 4, 3,",
    "a negative size": b"{'descr': '|u1', 'fortran_order': False, 'shape': (-6, 4, 4, 3), }",
    "a truth value": b"{'descr': '|u1', 'fortran_order': False, 'shape': (6, True, 4, 3), }",
    "more than any memory": b"{'descr': '|u1', 'fortran_order': False, 'shape': (10000000000000, 1000000, 4, 3), }",
    "deep brackets": b"(" * 900 + b")" * 900,
}


def archive(header):
    """An .npz file whose images have this header."""
    import zipfile

    stream, labels = io.BytesIO(), io.BytesIO()
    np.save(labels, np.array([0, 1, 0, 1, 0, 1]))
    with zipfile.ZipFile(stream, "w") as made:
        text = header + b" " * (-(len(header) + 11) % 64) + b"\n"
        made.writestr("images.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(288))
        made.writestr("labels.npy", labels.getvalue())
    return stream.getvalue()


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_header_of_an_array_that_numpy_does_not_write(tmp_path, header):
    path = tmp_path / "x.npz"
    path.write_bytes(archive(header))
    assert "damaged or not readable" in refused(lambda: open_npz(path))


def test_an_encrypted_member(tmp_path):
    content = bytearray(archive(b"{'descr': '|u1', 'fortran_order': False, 'shape': (6, 4, 4, 3), }"))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    assert "encrypted" in refused(lambda: open_npz(path))


GOOD = Unit("sample/running", CLEAN, 0, np.array([0, 1]), {"correct": np.array([True, False])}, 0.5, 2, 0)


def changed(**rest):
    """A unit as it is packed, with some of its description replaced; `arrays` are the shapes."""
    text = zlib.decompress(pack_unit(GOOD))
    size = int.from_bytes(text[:4], "little")
    known, arrays = json.loads(text[4 : 4 + size])
    arrays.update(rest.pop("arrays", {}))
    head = json.dumps([{**known, **rest}, arrays]).encode()
    return zlib.compress(len(head).to_bytes(4, "little") + head + text[4 + size :])


UNITS = {
    "a variant that is no text": changed(variant=[]),
    "a batch that is no number": changed(batch=None),
    "seconds that are no number": changed(seconds="long"),
    "a negative size": changed(arrays={"=correct": ["bits", -2]}),
    "a size that is no number": changed(arrays={"=correct": ["bits", "x"]}),
    "more bits than there are": changed(arrays={"=correct": ["bits", 2**40]}),
    "more positions than a batch has": changed(arrays={"": ["range", 2**40]}),
    "another field": changed(other=1),
    "deep brackets": zlib.compress((2000).to_bytes(4, "little") + b"[" * 2000),
    "no compressed bytes": b"x",
}


@pytest.mark.parametrize("content", UNITS.values(), ids=UNITS)
def test_a_unit_of_a_journal_with_a_right_checksum(tmp_path, content):
    output = tmp_path / "r.json"
    path = journal_path(output)
    path.write_bytes(MAGIC + frame(FIRST + b'{"a": 1}') + frame(UNIT + content))
    assert "is not the journal of an interrupted run" in refused(lambda: Journal(output, {"a": 1}, resume=True))


@pytest.mark.parametrize("content", [b"I" + b"[" * 5000, b"I[]", b"I{}", b"I1", b"Ix"])
def test_a_first_frame_that_is_none(tmp_path, content):
    output = tmp_path / "r.json"
    journal_path(output).write_bytes(MAGIC + frame(content))
    refused(lambda: Journal(output, {"a": 1}, resume=True))
    assert interrupted_batch_size(output) is None


def test_the_unit_of_these_tests_is_sound(tmp_path):
    output = tmp_path / "r.json"
    journal_path(output).write_bytes(MAGIC + frame(FIRST + b'{"a": 1}') + frame(UNIT + changed()))
    assert [one.key for one in Journal(output, {"a": 1}, resume=True).units] == [GOOD.key]
