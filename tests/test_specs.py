"""Parsing of numbers and attack specs, and its error messages."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stein_bench.errors import UsageError
from stein_bench.specs import AttackSpec, format_eps, norm_name, parse_attack_spec, parse_number, parse_numbers


def refusal(parse):
    """The error message of `parse`, or an empty string if it succeeds."""
    try:
        parse()
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("0.03", 0.03),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("2.0", 2.0),
        ("8/255", 8 / 255),
        ("-1/3", -1 / 3),
        (" 8 / 255 ", 8 / 255),
        ("510/255", 2),
        ("0.5/255", 1 / 510),
        ("0.25/255", 1 / 1020),
        ("8/255.", 8 / 255),
        ("1e-2/4", 0.0025),
        ("8/256", 1 / 32),
        ("3./1.5", 2.0),
        ("123.675/255", 0.485),
        ("1e-400", 0.0),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_a_number_is_exact_and_whole_only_if_it_was_written_whole(text, value):
    parsed = parse_number(text, "x")
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is not a number: ''"),
        ("   ", "is not a number: ''"),
        ("abc", "is not a number: 'abc'"),
        ("nan", "is not a number: 'nan'"),
        ("inf", "is not a number: 'inf'"),
        ("-inf", "is not a number: '-inf'"),
        ("1/2/3", "is not a number: '1/2/3'"),
        ("8/", "is not a number: '8/'"),
        ("1.5/2x", "is not a number: '1.5/2x'"),
        ("0x10", "is not a number: '0x10'"),
        ("8//255", "is not a number: '8//255'"),
        ("8/255/2", "is not a number: '8/255/2'. Write 0.03, 1e-3 or a fraction like 8/255."),
        ("8/-255", "is not a number: '8/-255'"),
        ("8 255", "is not a number: '8 255'"),
        ("1 0", "is not a number: '1 0'"),
        ("½", "is not a number: '½'"),
        ("3%", "is not a number: '3%'"),
        ("0,03", "has a decimal comma: '0,03'. Write 0.03."),
        ("1,5/255", "has a decimal comma: '1,5/255'. Write 1.5."),
        ("8/0", "divides by zero: '8/0'"),
        ("8/0.0", "divides by zero: '8/0.0'"),
        ("0/0", "divides by zero: '0/0'"),
        ("1e400", "is too large: '1e400'"),
        ("-1e400", "is too large: '-1e400'"),
        ("1" + "0" * 400, "is too large"),
        ("1" * 5000, "is not a number"),
    ],
)
def test_anything_but_a_finite_number_is_refused_in_one_line_that_names_it(text, fault):
    with pytest.raises(UsageError) as caught:
        parse_number(text, "eps in 'pgd'")
    assert str(caught.value).startswith(f"eps in 'pgd' {fault}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["1e999999999", "1e-999999999", "1E+0999999999"])
def test_a_huge_exponent_is_refused_immediately(text):
    """Exact arithmetic on ten to the billion would take minutes and gigabytes."""
    start = time.perf_counter()
    with pytest.raises(UsageError, match="exponent"):
        parse_number(text, "eps")
    assert time.perf_counter() - start < 1


def test_a_list_of_numbers_keeps_order_and_is_all_floats():
    numbers = parse_numbers("4/255, 2/255,1", "eps")
    assert numbers == (4 / 255, 2 / 255, 1.0)
    assert all(type(number) is float for number in numbers)


@pytest.mark.parametrize(
    "text",
    [
        "4/255,8/255",
        "4/255, 8/255",
        "4/255 8/255",
        " 4 / 255 , 8 / 255 ",
        "[4/255, 8/255]",
        "(4/255 8/255)",
        "2/127.5,8/255.",
    ],
)
def test_a_list_may_have_commas_spaces_or_brackets(text):
    assert parse_numbers(text, "eps") == (4 / 255, 8 / 255)


@pytest.mark.parametrize(
    ("text", "nonzero", "message"),
    [
        ("0,03", False, "eps has a decimal comma: '0,03'. Write 0.03."),
        ("0,03 0,06", False, "eps has a decimal comma: '0,03 0,06'. Write 0.03."),
        ("1,05", False, "eps has a decimal comma: '1,05'. Write 1.05."),
        ("0,5", True, "eps has a decimal comma: '0,5'. Write 0.5."),
        ("0,5/255", True, "eps has a decimal comma: '0,5/255'. Write 0.5."),
        ("8/255,", False, "eps has a comma without a number beside it: '8/255,'."),
        ("1,,2", False, "eps has a comma without a number beside it: '1,,2'."),
        ("[]", False, "eps is not a number: ''. Write 0.03, 1e-3 or a fraction like 8/255."),
        ("[1,2", False, "eps is not a number: '[1'. Write 0.03, 1e-3 or a fraction like 8/255."),
    ],
)
def test_decimal_commas_and_commas_without_a_number_are_told(text, nonzero, message):
    assert refusal(lambda: parse_numbers(text, "eps", nonzero=nonzero)) == message


def test_lists_that_begin_with_zero_are_lists():
    assert parse_numbers("0,0.1,1,10", "spread") == (0, 0.1, 1, 10)
    assert parse_numbers("0,1,100", "spread") == (0, 1, 100)
    assert parse_numbers("0.485,0.456,0.406", "mean") == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("text", ["", "1,", ",1", "1,,2", "1;2", "1," + "9" * 400])
def test_a_list_with_a_hole_or_a_bad_number_is_refused(text):
    with pytest.raises(UsageError, match=r"^mean "):
        parse_numbers(text, "mean")


@given(st.fractions(max_denominator=10**6))
def test_any_fraction_is_parsed_to_the_nearest_float(fraction):
    assert float(parse_number(f"{fraction.numerator}/{fraction.denominator}", "x")) == float(fraction)


@given(st.integers(1, 10**6), st.integers(0, 4), st.integers(1, 10**4), st.integers(1, 50))
def test_all_spellings_of_a_number_give_the_same_float(digits, places, below, factor):
    """A decimal over a whole number: with an exponent, with a point, expanded, with spaces, and of whole numbers."""
    exact = Fraction(digits, 10**places * below)
    decimal = f"{digits}e-{places}"
    point = f"{digits // 10**places}.{digits % 10**places:0{places}d}" if places else f"{digits}."
    spellings = [
        f"{decimal}/{below}", f"{point}/{below}", f" {point} / {below}. ",
        f"{digits * factor}e-{places}/{below * factor}", f"{exact.numerator}/{exact.denominator}",
        f"+{point}0/{below}.0",
    ]  # fmt: skip
    assert {float(parse_number(spelling, "x")).hex() for spelling in spellings} == {float(exact).hex()}
    assert parse_numbers(" ".join(spellings), "x") == (float(exact),) * len(spellings)


@pytest.mark.parametrize(
    ("text", "norm"),
    [
        *((text, "Linf") for text in ("Linf", "linf", "l_inf", "L-inf", "inf", "Infinity", "L∞", "∞", "ℓ∞", "np.inf")),
        *((text, "L2") for text in ("L2", "l2", "2", "l_2", "ℓ2")),
        *((text, "L1") for text in ("L1", "1")),
        *((text, "L0") for text in ("l0", "0")),
        *((text, None) for text in ("", "L3", "L", "inf2", "22", "2.0")),
    ],
)
def test_norms_are_known_by_every_usual_spelling(text, norm):
    assert norm_name(text) == norm


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_repr_of_any_finite_float_is_parsed_back_bit_for_bit(value):
    parsed = parse_number(repr(value), "x")
    assert parsed == value
    assert isinstance(parsed, float)


@given(st.text(max_size=30) | st.text("0123456789+-./eE_ infa\t", max_size=12))
@settings(max_examples=300, deadline=None)
def test_the_number_parser_raises_nothing_but_usage_errors(text):
    assert "\n" not in refusal(lambda: float(parse_number(text, "x")))


def test_an_attack_spec_keeps_name_parameters_their_types_and_their_order():
    spec = parse_attack_spec(" pgd : steps = 20, eps=4/255,random_start=False, norm=L2,alpha=1e-2 ")
    assert spec.name == "pgd"
    assert list(spec.params.items()) == [
        ("steps", 20), ("eps", 4 / 255), ("random_start", False), ("norm", "L2"), ("alpha", 0.01),
    ]  # fmt: skip
    assert [type(value) for value in spec.params.values()] == [int, float, bool, str, float]


@pytest.mark.parametrize("name", ["pgd", "torchattacks.MIFGSM", "A", "a-b_c.d1"])
def test_a_bare_name_is_a_spec_without_parameters(name):
    assert parse_attack_spec(name) == AttackSpec(name, {})
    assert str(parse_attack_spec(name)) == name


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "attack '' does not start with a name"),
        ("  ", "attack '  ' does not start with a name"),
        (":eps=1", "attack ':eps=1' does not start with a name"),
        ("8/255", "attack '8/255' does not start with a name"),
        ("p gd", "attack 'p gd' does not start with a name"),
        ("pgd,fgsm", "attack 'pgd,fgsm' does not start with a name"),
        ("pgd\nfgsm", "attack 'pgd\\nfgsm' does not start with a name"),
        ("pgd:", "attack 'pgd:' ends after the colon. Write for example pgd:eps=8/255."),
        ("pgd:  ", "attack 'pgd:  ' ends after the colon"),
        ("pgd:eps", "attack 'pgd:eps': 'eps' is not of the form key=value."),
        ("pgd:eps=", "attack 'pgd:eps=': 'eps=' is not of the form key=value."),
        ("pgd:=1", "attack 'pgd:=1': '=1' is not of the form key=value."),
        ("pgd:1a=1", "attack 'pgd:1a=1': '1a=1' is not of the form key=value."),
        ("pgd:a b=1", "attack 'pgd:a b=1': 'a b=1' is not of the form key=value."),
        ("pgd:eps=1,", "attack 'pgd:eps=1,': '' is not of the form key=value."),
        ("pgd:eps=1,,steps=2", "attack 'pgd:eps=1,,steps=2': '' is not of the form key=value."),
        ("pgd:eps=1;steps=2", "eps in 'pgd:eps=1;steps=2' is not a number: '1;steps=2'."),
        ("pgd:eps=0,03", "attack 'pgd:eps=0,03': '03' is not of the form key=value. Decimals have a point (0.03), and"),
        ("pgd:eps=4/255,8/255", "attack 'pgd:eps=4/255,8/255': '8/255' is not of the form key=value. Decimals have"),
        ("pgd:eps=4/255 steps=2", "eps in 'pgd:eps=4/255 steps=2' is not a number: '4/255 steps=2'."),
        ("pgd:eps=8/0", "eps in 'pgd:eps=8/0' divides by zero: '8/0'."),
        ("pgd:eps=nan", "eps in 'pgd:eps=nan' is not a number: 'nan'."),
        ("pgd:eps=Infinity", "eps in 'pgd:eps=Infinity' is not a number: 'Infinity'."),
        ("pgd:eps=-inf", "eps in 'pgd:eps=-inf' is not a number: '-inf'."),
        ("pgd:eps=1e400", "eps in 'pgd:eps=1e400' is too large: '1e400'."),
        ("pgd:eps=1,steps=3,eps=2", "attack 'pgd:eps=1,steps=3,eps=2' gives 'eps' twice."),
    ],
)
def test_each_malformed_spec_is_refused_in_one_line_that_shows_the_part_at_fault(text, fault):
    with pytest.raises(UsageError) as caught:
        parse_attack_spec(text)
    assert str(caught.value).startswith(fault)
    assert "\n" not in str(caught.value)


names = st.from_regex(r"[A-Za-z][A-Za-z0-9_.\-]{0,12}", fullmatch=True)
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
words = st.from_regex(r"[A-Za-z][A-Za-z0-9_.=:/ \-]{0,8}[A-Za-z0-9]", fullmatch=True).filter(
    lambda word: word.lower() not in {"true", "false", "nan", "inf", "infinity"}
)
values = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words


@given(names, st.dictionaries(keys, values, max_size=4))
def test_every_spec_is_parsed_back_from_its_text_with_values_and_types(name, params):
    spec = AttackSpec(name, params)
    parsed = parse_attack_spec(str(spec))
    assert parsed == spec
    assert [type(value) for value in parsed.params.values()] == [type(value) for value in params.values()]


grammar = st.text("apgdE=,:/.-+ 0123456789e_ntrufls\t\n", max_size=24)


@pytest.mark.integration
@given(st.text(max_size=40) | grammar | grammar.map("pgd:".__add__))
@settings(max_examples=500, deadline=None)
@example("pgd:a=1e99999999")
@example("pgd:a=b\udcff")
def test_any_text_is_a_usage_error_or_a_spec_that_its_text_gives_back(text):
    def round_trip():
        spec = parse_attack_spec(text)
        assert parse_attack_spec(str(spec)) == spec

    assert "\n" not in refusal(round_trip)


def test_later_parameters_win_and_the_first_spec_stays_as_it_was():
    spec = parse_attack_spec("pgd:eps=1/2,steps=3")
    assert str(spec.with_params(eps=0.25, alpha=1)) == "pgd:eps=0.25,steps=3,alpha=1"
    assert str(spec) == "pgd:eps=0.5,steps=3"


@pytest.mark.parametrize(
    ("eps", "text"),
    [
        (8 / 255, "8/255"),
        (1 / 255, "1/255"),
        (254 / 255, "254/255"),
        (float("0.0313725490196"), "8/255"),
        (0.03, "0.03"),
        (0.5, "0.5"),
        (1.0, "1"),
        (12.0, "12"),
        (0.123456, "0.1235"),
        (1e-5, "1e-05"),
        (8.001 / 255, "0.03138"),
        (0.5 / 255, "0.5/255"),
        (0.25 / 255, "0.25/255"),
        (1.5 / 255, "1.5/255"),
        (0.2 / 255, "0.0007843"),
        (0.05, "0.05"),
        (0.1, "0.1"),
        (0.0, "0"),
    ],
)
def test_a_budget_is_written_in_255ths_only_where_it_is_a_multiple_of_them(eps, text):
    assert format_eps(eps) == text


@given(st.integers(1, 254))
def test_every_8_bit_budget_is_written_so_that_it_parses_back_to_itself(steps):
    assert parse_number(format_eps(steps / 255), "eps") == steps / 255
