"""The configuration: merging file and command line, and one-line errors."""

from __future__ import annotations

import pytest
import yaml
from pydantic import ValidationError

from stein_bench.config import OPTION_NAMES, WITHOUT_EFFECT, RunConfig, choices, make_config, read_config_file
from stein_bench.errors import UsageError


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "run.yaml"
        path.write_text(text if isinstance(text, str) else yaml.safe_dump(text), encoding="utf-8")
        return path

    return write


def refusal(options, file=None):
    with pytest.raises(UsageError) as caught:
        make_config(options, file)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_model_is_all_that_must_be_given():
    config = make_config({"model": "resnet18"})
    assert (config.model, config.data, config.weights, config.attack, config.stats) == (
        "resnet18", "digits", "auto", ("pgd",), ("running",),
    )  # fmt: skip


def test_without_a_model_the_message_shows_how_to_name_one(write):
    assert "no model given. Name one, e.g. stein-bench evaluate resnet18" in refusal({"model": None})
    assert "no model given" in refusal({}, write("limit: 3"))
    assert "no model given" in refusal({}, write(""))


def test_every_option_can_be_set_in_a_file_under_its_name(write):
    settings = {
        "model": "m", "data": "cifar10", "weights": "none", "weights-key": "ema",
        "bn": ["sample", "stein"], "stats": ["running", "batch"],
        "battery": "quick",
        "surrogate": "resnet10t",
        "surrogate-weights": "fit", "surrogate-weights-key": "model",
        "attack": ["fgsm", "pgd:eps=4/255"], "eps": ["2/255", 0.5], "norm": "L2",
        "limit": 7, "batch-size": 8, "workers": 2,
        "seed": 3, "device": "cpu", "precision": "bf16", "attack-precision": "fp32",
        "compile": True, "mean": [0.1, 0.2, 0.3], "std": "1,1/2,1/4", "image-size": 16,
        "preserve-function": True, "controls": True, "refill": True, "adaptive": True,
        "timeout-per-batch": 1.5, "offline": True,
        "format": "json", "output": "r.json", "resume": True, "save-adversarials": 3, "draws": 7, "quiet": True,
        "log": ["wandb", "tensorboard:dir=tb"], "metric": ["mine.py:margin"],
        "corruption": ["fog", "snow:3"], "mce-baseline": "plain.json",
    }  # fmt: skip
    assert {*settings, "preset", "trust-code"} == set(OPTION_NAMES)  # a file cannot vouch for itself
    assert make_config({}, write({"model": "m", "preset": "published"})).preset == "published"
    config = make_config({"trust_code": True}, write(settings))
    assert config.document() == {
        **settings, "trust-code": True, "eps": [2 / 255, 0.5], "std": [1.0, 0.5, 0.25],
    }  # fmt: skip


def test_hyphens_and_underscores_are_the_same(write):
    assert read_config_file(write("batch-size: 3\nimage_size: 4")) == {"batch-size": 3, "image-size": 4}
    assert make_config({"model": "m", "batch_size": 9}) == make_config({"model": "m", "batch-size": 9})


def test_the_command_line_wins_over_the_file_option_by_option(write):
    file = write({"model": "m", "limit": 5, "seed": 1, "attack": ["fgsm", "pgd"]})
    config = make_config({"limit": 7, "attack": ["pgd"], "seed": None}, file)
    assert (config.model, config.limit, config.seed, config.attack) == ("m", 7, 1, ("pgd",))


def test_a_zero_or_a_false_on_the_command_line_wins_as_well(write):
    config = make_config({"seed": 0, "quiet": False}, write("model: m\nseed: 1\nquiet: true"))
    assert (config.seed, config.quiet) == (0, False)


def test_a_single_value_is_a_list_of_one(write):
    file = write("model: m\nbn: stein\nstats: batch\nattack: fgsm\neps: 8/255\nmean: 0.5\nstd: 2")
    config = make_config({}, file)
    assert (config.bn, config.stats, config.attack) == (("stein",), ("batch",), ("fgsm",))
    assert (config.eps, config.mean, config.std) == ((8 / 255,), (0.5,), (2.0,))


def test_numbers_in_lists_may_be_fractions_in_file_and_command_line(write):
    assert make_config({"model": "m", "eps": "2/255,4/255"}).eps == (2 / 255, 4 / 255)
    assert make_config({}, write("model: m\neps: [2/255, 0.1, 1]")).eps == (2 / 255, 0.1, 1.0)


def test_equal_budgets_give_equal_hashes_however_they_are_written(write):
    typed = ["0.5/255,8/255", "0.5/255 8/255", "1/510, 8 / 255.", "[0.5/255, 8/255]"]
    configs = [make_config({"model": "m", "eps": text}) for text in typed]
    configs += [make_config({}, write(f"model: m\neps: {text}")) for text in ("[0.5/255, 8/255]", "4/2040 8/255")]
    assert {config.sha256() for config in configs} == {configs[0].sha256()}
    assert configs[0].eps == (1 / 510, 8 / 255)


@pytest.mark.parametrize("name", ["mean", "std"])
def test_a_scaling_may_be_spelled_like_any_list(name, write):
    for text in (
        "0.485,0.456,0.406",
        "0.485 0.456 0.406",
        "[0.485, 0.456, 0.406]",
        "123.675/255,116.28/255,103.53/255",
    ):
        assert getattr(make_config({"model": "m", name: text}), name) == (0.485, 0.456, 0.406)
    assert getattr(make_config({}, write(f"model: m\n{name}: [0.485, 0.456, 0.406]")), name) == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", ["mean", "std"])
def test_a_scaling_for_inputs_up_to_255_is_refused_with_the_division_that_it_lacks(name):
    assert refusal({"model": "m", name: "123.675,116.28,103.53"}) == (
        f"--{name}: these look like values for inputs in 0..255, and inputs are in [0, 1] here: divide mean and std by "
        "255, e.g. 123.675/255,116.28/255,103.53/255 (got '123.675,116.28,103.53')."
    )


@pytest.mark.parametrize(("name", "text"), [("eps", "0,03"), ("eps", "0,5"), ("std", "0,229,0,224,0,225")])
def test_a_decimal_comma_is_not_taken_for_a_list(name, text):
    assert f"{name} has a decimal comma: {text!r}. Write " in refusal({"model": "m", name: text})


@pytest.mark.parametrize(
    ("typed", "norm"),
    [("l2", "L2"), ("2", "L2"), (2, "L2"), ("Linf", "Linf"), ("inf", "Linf"), (float("inf"), "Linf"), ("L∞", "Linf")],
)
def test_a_norm_in_any_spelling_is_one_setting_and_without_one_the_hash_stays(typed, norm):
    config = make_config({"model": "m", "norm": typed})
    assert config.norm == norm
    assert config.document()["norm"] == norm
    assert config.sha256() == make_config({"model": "m", "norm": norm}).sha256()
    assert config.sha256() != make_config({"model": "m"}).sha256()
    assert "norm" not in make_config({"model": "m"}).document()


@pytest.mark.parametrize(
    ("key", "near"),
    [("batchsize", "'batch-size'"), ("atack", "'attack'"), ("bacth_size", "'batch-size'"), ("MODEL", "'model'")],
)
def test_an_unknown_key_is_refused_with_the_file_and_the_nearest_known_name(write, key, near):
    file = write({"model": "m", key: 1})
    assert f"unknown key in {file}: {key!r}. Did you mean {near}" in refusal({}, file)


def test_a_key_unlike_any_known_one_is_refused_with_all_known_names(write):
    message = refusal({}, write("1: 2"))
    assert all(name in message for name in OPTION_NAMES)


WRONG = [
    ("model", "", "should have at least 1 character"),
    ("model", 5, "should be a valid string"),
    ("data", 5, "should be a valid string"),
    ("weights", False, "should be a valid string"),
    ("bn", [], "needs at least one value"),
    ("bn", ["stein", "stein"], "'stein' is given twice"),
    ("bn", [3], "should be a valid string"),
    ("stats", ["train"], "should be 'running' or 'batch'"),
    ("stats", ["batch", "batch"], "'batch' is given twice"),
    ("preset", "controlled", "should be 'published'"),
    ("battery", 5, "should be a valid string"),
    ("battery", "", "should have at least 1 character"),
    ("surrogate", 5, "should be a valid string"),
    ("surrogate-weights", "", "should have at least 1 character"),
    ("surrogate-weights-key", "", "should have at least 1 character"),
    ("weights-key", 3, "should be a valid string"),
    ("attack", [], "needs at least one value"),
    ("attack", ["pgd", "fgsm", "pgd"], "'pgd' is given twice"),
    ("attack", {"pgd": {"eps": 1}}, "should be a valid tuple"),
    ("eps", True, "must not be true or false"),
    ("eps", float("inf"), "must be finite"),
    ("norm", "L3", "should be 'Linf', 'L2', 'L1' or 'L0'"),
    ("norm", True, "should be 'Linf', 'L2', 'L1' or 'L0'"),
    ("limit", True, "must not be true or false"),
    ("data", "npz:\udcff", "is not valid UTF-8"),
    ("eps", {"a": 1}, "should be a valid tuple"),
    ("limit", 0, "greater than or equal to 1"),
    ("limit", 2.5, "must be a whole number"),
    ("limit", "many", "must be a whole number"),
    ("batch-size", 0, "greater than or equal to 1"),
    ("batch-size", -3, "greater than or equal to 1"),
    ("workers", -1, "greater than or equal to 0"),
    ("workers", 65, "less than or equal to 64"),
    ("workers", "all", "must be a whole number or 'auto'"),
    ("batch-size", "atuo", "must be a whole number or 'auto'"),
    ("seed", -1, "greater than or equal to 0"),
    ("seed", 2**63, "less than 9223372036854775808"),
    ("device", "tpu", "'auto', 'cpu', 'cuda' or 'mps'"),
    ("precision", "fp16", "'fp32' or 'bf16'"),
    ("attack-precision", "fp16", "'fp32', 'tf32' or 'bf16'"),
    ("compile", "maybe", "valid boolean"),
    ("mean", True, "must not be true or false"),
    ("std", [1, 0, 1], "must be above 0"),
    ("std", -1, "must be above 0"),
    ("image-size", 0, "greater than or equal to 1"),
    ("preserve-function", "maybe", "valid boolean"),
    ("controls", "maybe", "valid boolean"),
    ("adaptive", "maybe", "valid boolean"),
    ("metric", ["m.py:a", "m.py:a"], "is given twice"),
    ("corruption", ["fog", "fog"], "'fog' is given twice"),
    ("mce-baseline", "", "at least 1 character"),
    ("refill", "maybe", "valid boolean"),
    ("timeout-per-batch", True, "must not be true or false"),
    ("timeout-per-batch", 0, "greater than 0"),
    ("format", "xml", "'table' or 'json'"),
    ("output", 5, "should be a valid string"),
    ("resume", "perhaps", "valid boolean"),
    ("save-adversarials", 0, "greater than or equal to 1"),
    ("log", ["wandb", "wandb"], "'wandb' is given twice"),
    ("draws", 0, "greater than or equal to 1"),
    ("quiet", [True], "valid boolean"),
    ("offline", "maybe", "valid boolean"),
]


@pytest.mark.parametrize(("name", "value", "fault"), WRONG)
def test_a_wrong_value_on_the_command_line_names_its_option(name, value, fault):
    message = refusal({"model": "m", name.replace("-", "_"): value})
    assert message.startswith(f"{'MODEL' if name == 'model' else '--' + name}: ")
    assert fault in message
    assert "(got " in message


@pytest.mark.parametrize(("name", "value", "fault"), WRONG)
def test_a_wrong_value_in_a_file_names_the_file_and_the_option(write, name, value, fault):
    file = write({"model": "m", name: value})
    message = refusal({"trust_code": True} | ({} if name == "model" else {"model": "m"}), file)
    assert message.startswith(f"{file}: {name}: ")
    assert fault in message


def test_every_option_has_a_wrong_value_above():
    assert {name for name, *_ in WRONG} == set(OPTION_NAMES) - {"trust-code"}  # of a file, every value is wrong


def test_a_wrong_value_in_the_file_is_ignored_if_the_command_line_replaces_it(write):
    assert make_config({"limit": 3}, write("model: m\nlimit: 0")).limit == 3


def test_a_wrong_value_of_the_command_line_is_not_blamed_on_the_file(write):
    assert refusal({"limit": 0}, write("model: m\nlimit: 3")).startswith("--limit: ")


@pytest.mark.parametrize("name", ["eps", "mean", "std"])
@pytest.mark.parametrize("text", ["abc", "8/0", "nan", "0.1,", "", "1" + "0" * 400])
def test_malformed_numbers_are_refused_with_the_name_of_their_option(name, text):
    assert name in refusal({"model": "m", name: text})


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"- model\n- m\n", "expected option names with values, got a list"),
        (b"resnet18", "expected option names with values, got a str"),
        (b"model: [", "not valid YAML"),
        (b"model: m\n\tlimit: 3", "not valid YAML"),
        (b"? [a]\n: 1", "not valid YAML"),
        (b"model: !!python/object/apply:os.getcwd []", "not valid YAML"),
        (b"model: m\nlimit: 2024-13-01", "not valid YAML"),
        (b"model: m\nlimit: " + b"1" * 5000, "not valid YAML"),
        (b"[" * 3000, "not valid YAML"),
        (b"model: \xff\xfe", "cannot read the configuration"),
        (b"model: m\x01", "not valid YAML"),
    ],
    ids=["list", "text", "open", "tab", "odd key", "python", "no date", "digits", "deep", "not utf-8", "control"],
)
def test_a_file_that_is_not_a_yaml_mapping_is_refused_in_one_line_with_its_name(tmp_path, content, fault):
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    message = refusal({"model": "m"}, file)
    assert fault in message
    assert str(file) in message


def test_a_missing_file_or_a_folder_in_its_place_is_refused_with_its_name(tmp_path):
    missing = tmp_path / "none.yaml"
    assert f"cannot read the configuration '{missing}': No such file" in refusal({"model": "m"}, missing)
    assert f"cannot read the configuration '{tmp_path}': Is a directory" in refusal({"model": "m"}, tmp_path)


def test_a_configuration_cannot_be_changed():
    config = make_config({"model": "m"})
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3


OTHER = {
    "model": "n", "data": "cifar10", "weights": "none", "bn": ["stein"], "stats": ["batch"], "attack": ["fgsm"],
    "preset": "published", "battery": "quick", "surrogate": "s", "surrogate_weights": "fit",
    "surrogate_weights_key": "k", "weights_key": "k",
    "eps": [0.5], "norm": "L2", "limit": 3, "batch_size": 7, "workers": 1, "refill": True, "seed": 1, "device": "cpu",
    "precision": "bf16", "attack_precision": "fp32", "compile": True,
    "mean": [0.5], "std": [0.5], "image_size": 16, "preserve_function": True, "controls": True, "adaptive": True,
    "timeout_per_batch": 1.5,
    "format": "json", "output": "r.json", "resume": True, "save_adversarials": 3, "draws": 7, "quiet": True,
    "trust_code": True, "offline": True, "log": ["wandb"],
    "metric": ["mine.py:margin"], "corruption": ["fog"], "mce_baseline": "plain.json",
}  # fmt: skip


def test_the_hash_changes_with_every_setting_that_can_affect_a_result():
    base = make_config({"model": "m"}).sha256()
    same = {name for name, value in OTHER.items() if make_config({"model": "m", name: value}).sha256() == base}
    assert set(OTHER) == set(RunConfig.model_fields)
    assert {name.replace("_", "-") for name in same} == WITHOUT_EFFECT
    shown = {"format", "output", "resume", "save-adversarials", "log", "quiet"}
    assert {*shown, "workers", "refill", "timeout-per-batch", "trust-code", "offline"} == WITHOUT_EFFECT


def test_settings_that_came_later_leave_the_hash_of_runs_without_them_as_it_was():
    sha256 = "bb15e81092d13c05cea8b7f7e9120e5900f634470db5e932998785290b626fd4"
    assert make_config({"model": "m", "limit": 3}).sha256() == sha256
    assert make_config({"model": "m", "limit": 3, "compile": False}).sha256() == sha256


def test_the_hash_does_not_depend_on_how_a_setting_was_written(write):
    file = write("eps: [8/255]\nattack: pgd\nmodel: m\nbatch_size: 100")
    assert make_config({}, file).sha256() == make_config({"model": "m", "eps": "8/255"}).sha256()


def test_the_order_of_attacks_is_part_of_the_hash():
    """Reports list attacks in the order asked for."""
    one, other = (make_config({"model": "m", "attack": names}) for names in (["pgd", "fgsm"], ["fgsm", "pgd"]))
    assert one.sha256() != other.sha256()


def test_the_document_of_a_configuration_makes_it_again():
    for more in ({}, {"preset": "published"}, {"corruption": ["fog"]}):
        config = make_config({"model": "m", "eps": "1/3", "bn": ["stein", "sample"], "image_size": 8, **more})
        assert make_config(config.document()) == config


def test_choices_are_those_of_the_type():
    assert choices(RunConfig.model_fields["precision"].annotation) == ("fp32", "bf16")
