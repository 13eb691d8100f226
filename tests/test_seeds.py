"""Seeds depend on their parts alone, and different parts give different seeds."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from stein_bench.seeds import derive_seed

parts = st.lists(st.integers() | st.text("ab\x1f:intsr1", max_size=6), max_size=4).map(tuple)


def test_the_seed_of_one_example_stays_what_it_was():
    """Another value would change the outcome of every run ever reported."""
    assert derive_seed(0, "pgd", "digits/test/0000") == 1486874303477063453


def test_parts_are_not_simply_joined():
    seeds = {
        derive_seed("1", "2"),
        derive_seed("12"),
        derive_seed("12", ""),
        derive_seed("", "12"),
        derive_seed("2", "1"),
    }
    assert len(seeds) == 5


def test_a_number_and_its_digits_are_two_things():
    assert derive_seed(1) != derive_seed("1")


@given(parts, parts)
@example(("a", "b"), ("a\x1fstr:b",))
@example(("a\x1f", "b"), ("a", "\x1fb"))
def test_different_parts_give_different_seeds_even_if_they_hold_the_separator(one, other):
    assert (derive_seed(*one) == derive_seed(*other)) == (one == other)


@given(parts)
def test_a_seed_fits_every_generator(some):
    assert 0 <= derive_seed(*some) < 2**63
