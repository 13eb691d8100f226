"""Every parser of text gives a value or a `UsageError` of one line, and takes back what it has written."""

from __future__ import annotations

import io
import math
import shlex
from contextlib import suppress

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stein_bench.arrayfiles import read_header
from stein_bench.attacks.attack import resolve_attack
from stein_bench.attacks.batteries import find_battery
from stein_bench.attacks.corruption_specs import SETS, corruption_specs
from stein_bench.attacks.parameters import spell_out
from stein_bench.comparison.policy import KEYS, Policy, Rule, read_policy
from stein_bench.config import OPTION_NAMES, RunConfig, make_config
from stein_bench.data.braces import expand_braces, outside_braces
from stein_bench.data.classlist import read_class_lines
from stein_bench.data.options import split_options
from stein_bench.data.sources import open_data
from stein_bench.data.texts import Texts
from stein_bench.errors import UsageError, one_line
from stein_bench.models.sources import find_model
from stein_bench.models.spelling import split_file
from stein_bench.normalization.names import parse_estimator
from stein_bench.parts.brought import split_named
from stein_bench.render.report.front_matter import INDEX, mapping_of, with_block
from stein_bench.report.number_format import about, memory_size, p_value, percent, signed
from stein_bench.report.packing import pack_bits, unpack_bits
from stein_bench.specs import norm_name, parse_attack_spec, parse_number, parse_numbers
from stein_bench.sweep.listfile import read_list
from stein_bench.sweep.names import safe_name
from stein_bench.sweep.shard import parse_shard
from stein_bench.theory.settings import parse_list, parse_whole_list
from stein_bench.trackers.choice import parse_trackers

quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
few = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))

WORDS = (
    "pgd", "PGD20", "fgsm", "torchattacks.MIFGSM", "autoattack", "fog", "standard", "noise-gaussian", "steps",
    "eps", "std", "severity", "norm", "stein", "ridge", "lasso", "npz", "npy", "csv", "imagefolder", "cifar10",
    "nifti", "wds", "hf", "x.py", "net.py:make", "timm:", "hf-hub:", "train", "8/255", "0.1", "1e-3", "1e999",
    "nan", "inf", "-1", "0", "2", "L2", "l\u221e", "True", "none", "auto", "wandb", "mlflow", "uri", "http://[",
    "/", "//", "..", "~", "~x", ":", "::", ",", ",,", "=", "==", "+", "{", "}", "{a,b}", "{1..3}", "{1..9..0}",
    "[", "]", "(", ")", "\\", "'", '"', " ", "\n", "\t", "\r", "#", "*", "?", "!", "$", "%", "&", "|", ";", "@",
    "^", "-", "--", "--bn", ".", "\u0663", "\xbd", "\uff11", "\xe9", "\x00", "\x1b", "\ud800", "\u202e",
)  # fmt: skip
texts = st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=7).map("".join)


def refused(parse):
    """What `parse` returns, or None if it refuses with an error of one plain line; no other error is let through."""
    try:
        return parse()
    except UsageError as error:
        message = str(error)
    assert message == one_line(message)
    return None


def keys(text):
    return split_options(text, ("train", "images", "labels"), "npz")


PARSERS = {
    "number": lambda text: parse_number(text, "it"),
    "numbers": lambda text: parse_numbers(text, "it", nonzero=True),
    "norm": norm_name,
    "attack spec": parse_attack_spec,
    "attack": spell_out,
    "attack, resolved": resolve_attack,
    "corruption": lambda text: corruption_specs((text,)),
    "battery": find_battery,
    "estimator": parse_estimator,
    "braces": expand_braces,
    "outside braces": lambda text: outside_braces(text, ":"),
    "data": open_data,
    "data options": keys,
    "model": find_model,
    "model file": split_file,
    "named part": split_named,
    "report name": safe_name,
    "shard": parse_shard,
    "tracker": lambda text: parse_trackers([text]),
    "theory list": lambda text: parse_list("spread", text),
    "theory whole list": lambda text: parse_whole_list("channels", text),
    "option of evaluate": lambda text: [
        make_config({"model": "x", "eps": text}),
        make_config({"model": text, "norm": text}),
    ],
    "front matter": lambda text: (mapping_of(card := f"---\n{text}\n---\n"), with_block(card, f"{INDEX}: []\n")),
}


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@given(text=texts)
@example("")
@example("{1..99999999999}")
@example("{" * 400)
@example("{a," * 300 + "}" * 300)
@example("~nobody/x")
@example("[" * 400)
@example("8/" * 300 + "1")
@quick
def test_any_text_is_a_value_or_one_line(tmp_path_factory, parse, text):
    refused(lambda: parse(text))


FILES = {
    "list of models": (read_list, ".txt"),
    "class list": (read_class_lines, ".txt"),
    "policy": (read_policy, ".yaml"),
    "configuration": (lambda path: make_config({}, path), ".yaml"),
    "battery": (lambda path: find_battery(str(path)), ".yaml"),
}
lines = st.lists(texts | st.sampled_from([f"{key}: " for key in (*KEYS, *OPTION_NAMES, "attacks")]), max_size=6).map(
    "\n".join
)


@pytest.mark.parametrize(("read", "suffix"), FILES.values(), ids=FILES)
@given(content=st.binary(max_size=30) | lines.map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"")
@example(b"\xff\xfe")
@example(b"attacks: !!timestamp x")
@example(b"attacks: !!int ''")
@example(b"? [a, b]\n: c")
@example(b"a: &a [*a]")
@quick
def test_any_file_is_a_value_or_one_line(tmp_path_factory, read, suffix, content):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    refused(lambda: read(path))


shares = st.floats(0, 1)
names = st.text(max_size=8)


rules = st.builds(
    Rule, variant=names, accuracy=names, eps=st.none() | st.floats(1e-9, 1), tolerance=shares,
    minimum=st.none() | shares, ignore=st.none() | st.booleans(),
)  # fmt: skip
policies = st.builds(
    Policy, tolerance=shares, alpha=st.floats(0.001, 0.999), unproven=st.sampled_from(["warn", "fail"]),
    list_samples=st.integers(0, 99), rules=st.lists(rules, max_size=2).map(tuple),
)  # fmt: skip


@given(policies)
@few
def test_a_policy_comes_back_from_its_file(tmp_path_factory, policy):
    path = tmp_path_factory.getbasetemp() / "policy.yaml"
    path.write_text(yaml.safe_dump(policy.model_dump(mode="json", by_alias=True), allow_unicode=True), encoding="utf-8")
    assert read_policy(path) == policy


OPTIONS = {
    "model": st.text(min_size=1, max_size=8),
    "data": names,
    "weights": names,
    "bn": st.none() | st.lists(names, min_size=1, max_size=2, unique=True),
    "stats": st.sampled_from([["running"], ["batch"], ["running", "batch"]]),
    "attack": st.lists(st.sampled_from(["pgd", "fgsm", "pgd:eps=8/255"]), min_size=1, max_size=2, unique=True),
    "metric": st.lists(names, max_size=2, unique=True),
    "eps": st.none() | st.lists(st.floats(1e-6, 1), min_size=1, max_size=3, unique=True),
    "norm": st.none() | st.sampled_from(["Linf", "L2", "L1"]),
    "limit": st.none() | st.integers(1, 2**40),
    "batch-size": st.integers(1, 9) | st.just("auto"),
    "seed": st.integers(0, 2**63 - 1),
    "mean": st.none() | st.lists(st.floats(-9, 9), min_size=1, max_size=3),
    "std": st.none() | st.lists(st.floats(0.01, 9), min_size=1, max_size=3),
    "quiet": st.booleans(),
    "controls": st.booleans(),
    "output": st.none() | names,
}


@given(st.fixed_dictionaries(OPTIONS))
@few
def test_a_configuration_comes_back_from_its_file(tmp_path_factory, options):
    try:
        config = make_config({name.replace("-", "_"): value for name, value in options.items()})
    except UsageError:
        return
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    path.write_text(yaml.safe_dump(config.document(), allow_unicode=True), encoding="utf-8")
    again = make_config({}, path)
    assert again == config
    assert again.sha256() == config.sha256()
    assert RunConfig.model_validate(config.document()) == config


@given(st.sampled_from(["ridge", "lasso"]), st.floats(0, 1e9))
@quick
def test_an_estimator_is_parsed_back_from_its_name(family, strength):
    found = parse_estimator(f"{family}:{strength!r}")
    assert found.strength == strength
    assert parse_estimator(str(found)) == found


@given(st.sampled_from(SETS["all"]), st.sets(st.integers(1, 5), min_size=1))
@quick
def test_severities_are_those_that_are_written(name, severities):
    expected = [f"{name}:severity={one}" for one in sorted(severities)]
    joined = "+".join(map(str, severities))
    assert corruption_specs((f"{name}:{joined}",)) == corruption_specs((f"{name}:severity={joined}",)) == expected
    assert corruption_specs(tuple(expected)) == expected


plain = st.text("abc-_/.", max_size=4)


@given(plain, st.lists(plain, min_size=2, max_size=3), plain, st.integers(-20, 20), st.integers(-20, 20))
@quick
def test_braces_stand_for_every_text_of_the_list_and_of_the_range(head, middle, tail, first, last):
    listed = [f"{head}{one}{tail}" for one in middle]
    assert expand_braces(f"{head}{{{','.join(middle)}}}{tail}") == listed
    numbers = [int(text) for text in expand_braces(f"{{{first}..{last}}}")]
    assert numbers == list(range(first, last + 1) if first <= last else range(first, last - 1, -1))
    assert expand_braces(head) == [head]


@given(st.lists(st.booleans(), max_size=70))
@quick
def test_bits_come_back_and_no_other_text_of_their_length_is_taken(bits):
    packed = pack_bits(np.array(bits, np.bool_))
    assert unpack_bits(packed, len(bits)).tolist() == bits
    with pytest.raises(UsageError):
        unpack_bits(packed, len(bits) + 8)


@given(texts, st.integers(0, 70))
@quick
def test_any_text_is_packed_bits_or_refused(text, samples):
    found = refused(lambda: unpack_bits(text, samples))
    assert found is None or found.shape == (samples,)


@given(st.lists(st.integers(0, 2**40), max_size=4), st.sampled_from(["|u1", "<f4", ">i8", "|b1", "<U3"]), st.booleans())
@quick
def test_a_header_of_an_array_is_read_as_numpy_wrote_it(shape, kind, fortran):
    stream, dtype = io.BytesIO(), np.dtype(kind)
    np.lib.format.write_array_header_1_0(
        stream, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": fortran, "shape": tuple(shape)}
    )
    stream.seek(0)
    if math.prod(shape) * dtype.itemsize >= 2**63:
        with pytest.raises(ValueError, match="no array"):
            read_header(stream)
    else:
        assert read_header(stream) == (tuple(shape), dtype, fortran)


@given(st.binary(max_size=60), st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x03\x00"]))
@example(b"(((((((((((", b"\x01\x00")
@example(b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }", b"\x01\x00")
@quick
def test_any_header_is_read_or_a_value_error(content, version):
    length = len(content).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    with suppress(ValueError):
        read_header(io.BytesIO(b"\x93NUMPY" + version + length + content))


letters = st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"))
class_names = st.text(letters, min_size=1, max_size=8).map(str.strip).filter(bool)


@given(st.lists(class_names, min_size=1, max_size=4, unique=True))
@few
def test_the_names_of_a_class_list_come_back(tmp_path_factory, classes):
    path = tmp_path_factory.getbasetemp() / "classes.txt"
    path.write_text("\n".join(classes), encoding="utf-8")
    assert read_class_lines(path) == classes


@given(st.lists(st.text(max_size=8), max_size=5))
@quick
def test_texts_come_back_from_their_block(given_texts):
    found = Texts.of(given_texts)
    assert list(found) == given_texts
    assert found == given_texts
    assert list(found.take(range(len(given_texts))[::-1])) == given_texts[::-1]


word = st.text("abcXYZ019_./:-", min_size=1, max_size=8).filter(lambda text: text[0] not in "-#")


@given(st.lists(word, min_size=1, max_size=3), st.integers(1, 99))
@few
def test_a_list_of_models_comes_back(tmp_path_factory, specs, limit):
    path = tmp_path_factory.getbasetemp() / "models.txt"
    path.write_text("# models\n" + "".join(f"{shlex.quote(spec)} --limit {limit}  # x\n" for spec in specs))
    found = read_list(str(path))
    assert [entry.spec for entry in found] == specs
    assert all(entry.own == {"limit": str(limit)} for entry in found)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), names, max_size=3), st.text("ab \n#", max_size=8))
@few
def test_a_block_joins_the_front_matter_and_nothing_else_changes(known, body):
    front = yaml.safe_dump(known, sort_keys=False, allow_unicode=False) if known else ""
    text = f"---\n{front}---\n{body}"
    made = with_block(text, f"{INDEX}:\n- name: x\n")
    assert mapping_of(made) == {**known, INDEX: [{"name": "x"}]}
    assert made.endswith(f"---\n{body}")
    assert with_block(made, f"{INDEX}:\n- name: x\n") == made


@given(shares, st.floats(-1, 1), st.floats(0, 1e9), st.integers(0, 2**50))
@quick
def test_numbers_are_short_and_say_what_they_were(share, difference, seconds, count):
    assert float(percent(share)) == pytest.approx(100 * share, abs=0.0501)
    assert float(signed(difference).replace("−", "-")) == pytest.approx(100 * difference, abs=0.0501)
    assert p_value(share) == "<0.001" or float(p_value(share)) == pytest.approx(share, abs=0.000501)
    number, unit = about(seconds).split()
    assert float(number) * {"s": 1, "min": 60, "h": 3600, "d": 86400}[unit] == pytest.approx(
        seconds, rel=0.06, abs=0.051
    )
    assert len(memory_size(count)) <= 12
