"""Many texts in one block of bytes: they are those of a tuple, in every way in which they are used."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest

from stein_bench.data.paths import as_text
from stein_bench.data.texts import Numbered, Texts
from stein_bench.report.packing import hash_ids

ODD = ("", "a", "zürich/ß.png", "\udcff/raw.png", "日本", "a/" * 50, "\U0001f600")
"""The fourth is the name of a file that is not valid UTF-8."""


@pytest.mark.parametrize("texts", [Texts.of(ODD), Texts.of([*ODD[::-1], "other"]).take(range(len(ODD) - 1, -1, -1))])
def test_texts_are_those_of_a_tuple(texts):
    assert tuple(texts) == ODD
    assert texts == ODD
    assert hash(texts) == hash(ODD)
    assert texts != ODD[1:]
    assert (texts[0], texts[-1], texts[np.int64(2)]) == (ODD[0], ODD[-1], ODD[2])
    for part in (slice(2), slice(3, None), slice(None, None, -1), slice(9, 2)):
        assert texts[part] == ODD[part]
    assert pickle.loads(pickle.dumps(texts)) == ODD
    assert tuple(texts.readable()) == tuple(map(as_text, ODD))
    with pytest.raises(IndexError):
        texts[len(ODD)]


def test_bytes_sort_as_the_texts_do():
    encoded = [Texts.of([text]).block.tobytes() for text in ODD]
    assert [text for _, text in sorted(zip(encoded, ODD, strict=True))] == sorted(ODD)


def test_a_small_part_lets_go_of_the_rest():
    texts = Texts.of(f"folder/{number}.png" for number in range(1000))
    assert texts[:10].block.size < 200
    assert len(pickle.dumps(texts.take(range(10)))) < 1000


def test_numbered_texts_are_those_of_a_tuple():
    texts, same = Numbered("set/test", 0, 12), tuple(f"set/test/{number:04d}" for number in range(12))
    assert texts == same
    assert hash(texts) == hash(same)
    for part in (slice(2), slice(3, None), slice(None, None, -2), slice(9, 2)):
        assert tuple(texts[part]) == same[part]
    assert texts[2:][np.int64(1)] == same[3]
    with pytest.raises(IndexError):
        texts[12]


@pytest.mark.integration
def test_hashing_twenty_thousand_ids_holds_none_of_them():
    texts = Texts.of(f"folder/{number}.png" for number in range(20_000))
    tracemalloc.start()
    try:
        for ids in (texts, texts[:5_000], Numbered("set/test", 0, 20_000)):
            hash_ids(ids)
            tracemalloc.reset_peak()
            hash_ids(ids)
            assert tracemalloc.get_traced_memory()[1] < 2**17
    finally:
        tracemalloc.stop()
