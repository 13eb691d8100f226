"""YAML files and lists of models that are damaged, or have wrong keys, types and values."""

from __future__ import annotations

from collections.abc import Iterator

from stein_bench.training.recipes import FOLDER
from tests.wrong.good import EXPERIMENT
from tests.wrong.row import Content, Row, wrong

GARBAGE = b"\0\1\2\377\376"
TRAIN = "train net.py:make --data npz:test.npz,train=train.npz --output new.safetensors --quiet --format json"
GATE = "gate report.json --baseline base.json --format json"
BOTH = "evaluate --trust-code --models models.txt"
SWEEP = "evaluate --data npz:test.npz --weights none --quiet --format json --output runs/"
ALL = (
    ("empty", ""),
    ("garbage", GARBAGE),
    ("unfinished", "a: [1, 2"),
    ("list", "- a\n- b\n"),
    ("word", "pgd"),
    ("tab", "a:\n\t- b"),
    ("twice", "seed: 1\nseed: 2\n"),
)
"""What no command takes for YAML of its own."""


def rows() -> Iterator[Row]:
    """Yield the rows."""
    yield from configurations()
    yield from training()
    yield from batteries()
    yield from recipes()
    yield from policies()
    yield from experiments()
    yield from lists()
    yield from reads()


def configurations() -> Iterator[Row]:
    """Yield configurations of evaluate."""
    base = "model: net.py:make\ndata: npz:test.npz\nweights: none\nquiet: true\nformat: json\n"
    for text, *words in (
        ("modle: net.py:make\n", "modle", "Did you mean 'model'"),
        ("3: x\n", "'3'"),
        ("model: [a, [b]]\n", "model"),
        ("model: {name: a}\n", "model"),
        (f"{base}seed: yes\n", "seed", "true or false"),
        (f"{base}seed: 1.5\n", "seed", "must be a whole number"),
        (f"{base}seed: [1]\n", "seed"),
        (f"{base}seed: 1\nseed: 2\n", "seed", "twice"),
        (f"{base}limit: 0\n", "limit"),
        (f"{base}limit: '12x'\n", "limit"),
        (f"{base}limit: .inf\n", "limit"),
        (f"{base}eps: .nan\n", "eps"),
        (f"{base}eps: yes\n", "eps"),
        (f"{base}eps: []\n", "eps"),
        (f"{base}eps: [8/255, x]\n", "eps"),
        (f"{base}eps: {{a: 1}}\n", "eps"),
        (f"{base}attack: []\n", "attack", "at least one"),
        (f"{base}attack: 3\n", "attack"),
        (f"{base}attack: [3]\n", "attack"),
        (f"{base}attack: {{pgd: 1}}\n", "attack"),
        (f"{base}attack: [pgd, pgd]\n", "given twice"),
        (f"{base}bn: []\n", "bn"),
        (f"{base}stats: runing\n", "stats"),
        (f"{base}batch-size: large\n", "batch-size", "'auto'"),
        (f"{base}batch-size: yes\n", "batch-size"),
        (f"{base}controls: maybe\n", "controls"),
        (f"{base}device: gpu\n", "device"),
        (f"{base}norm: 7\n", "norm"),
        (f"{base}mean: [0.5, 0.5]\n", "mean"),
        (f"{base}std: 0\n", "std"),
        (f"{base}draws: -1\n", "draws"),
        (f"{base}output: ''\n", "output"),
        (f"{base}output: 3\n", "output"),
        (f"{base}output: run.yaml\n", "would overwrite the configuration"),
        (f"{base}battery: 3\n", "battery"),
        (f"{base}config: other.yaml\n", "config"),
        (f"{base}debug: true\n", "debug"),
        (f"{base}dry-run: true\n", "dry-run"),
        (f"{base}seed: 2023-13-45\n", "YAML"),
        (f"{base}data: !!python/object/apply:os.system [ls]\n", "YAML"),
        (f"{base}data: &a [*a]\n", "data"),
    ):
        yield Row("evaluate --config run.yaml --trust-code", tuple(words), files={"run.yaml": text})
    for name, text in ALL:
        words = ("no model given",) if name == "empty" else ("run.yaml",)
        yield Row("evaluate --config run.yaml --trust-code", words, files={"run.yaml": text})
    yield Row("evaluate --config run.yaml --trust-code", ("run.yaml",), files={"run.yaml": "[" * 1500})


def training() -> Iterator[Row]:
    """Yield configurations of train."""
    base = (
        "model: net.py:make\ndata: npz:test.npz,train=train.npz\noutput: new.safetensors\nquiet: true\nformat: json\n"
    )
    for text, *words in (
        (f"{base}attack: pgd\n", "attack"),
        (f"{base}epochs: 0\n", "epochs"),
        (f"{base}epochs: yes\n", "epochs"),
        (f"{base}learning-rate: .nan\n", "learning-rate"),
        (f"{base}learning-rate: .inf\n", "learning-rate"),
        (f"{base}learning-rate: fast\n", "learning-rate"),
        (f"{base}bn: [sample, stein]\n", "bn"),
        (f"{base}weights: [a]\n", "weights"),
        (f"{base}workers: many\n", "workers", "'auto'"),
        (base.replace("new.safetensors", "new.pth"), "output", ".safetensors"),
        (f"{base}epochs: 1\nepochs: 2\n", "epochs", "twice"),
    ):
        yield Row("train --config run.yaml --trust-code", tuple(words), files={"run.yaml": text})


def of_battery(text: Content, *words: str) -> Row:
    """Return the row of a battery."""
    return Row(
        "evaluate net.py:make --data npz:test.npz --weights none --quiet --format json --battery own.yaml",
        words,
        files={"own.yaml": text},
    )


def batteries() -> Iterator[Row]:
    """Yield batteries."""
    for _, text in ALL:
        yield of_battery(text, "own.yaml")
    yield of_battery("atacks: [pgd]\n", "own.yaml", "attacks")
    yield of_battery("attacks: [pgd]\nsumary: x\n", "sumary", "Did you mean 'summary'")
    yield of_battery("attacks: []\n", "own.yaml", "at least one")
    yield of_battery("attacks: pgd\n", "own.yaml", "list")
    yield of_battery("attacks: [3]\n", "own.yaml")
    yield of_battery("attacks: [{pgd: 1}]\n", "own.yaml")
    yield of_battery("attacks: [pgdd]\n", "unknown attack 'pgdd'")
    yield of_battery("attacks: ['pgd:eps=8/0']\n", "divides by zero")
    yield of_battery("attacks: [pgd, pgd]\n", "attack 'pgd' is in the battery already")
    yield of_battery("attacks: [pgd]\nattacks: [fgsm]\n", "attacks", "twice")


def changed(*lines: str) -> str:
    """Return the recipe `fit` with these lines in place of those with the same keys."""
    keys = {line.partition(":")[0] for line in lines}
    kept = (FOLDER / "fit.yaml").read_text().splitlines()
    return "\n".join([*(line for line in kept if line.partition(":")[0] not in keys), *lines, ""])


def recipes() -> Iterator[Row]:
    """Yield recipes."""
    train = f"{TRAIN} --recipe own.yaml"
    for text, *words in (
        *((text, "own.yaml") for _, text in ALL),
        ("epohcs: 3\n", "epohcs", "Did you mean 'epochs'"),
        (changed("epochs: 0"), "epochs"),
        (changed("epochs: yes"), "epochs"),
        (changed("epochs: 1.5"), "epochs"),
        (changed("learning-rate: -1"), "learning-rate"),
        (changed("learning-rate: .inf"), "learning-rate"),
        (changed("optimizer: adm"), "optimizer"),
        (changed("schedule: cosin"), "schedule"),
        (changed("momentum: 2"), "momentum"),
        (changed("batch-size: 0"), "batch-size"),
        (changed("validation-share: 1.5"), "validation-share"),
        (changed("epochs: 1", "epochs: 2"), "epochs", "twice"),
    ):
        yield Row(train, tuple(words), files={"own.yaml": text})


def policies() -> Iterator[Row]:
    """Yield policies of the gate."""
    for text, *words in (
        *((text, "own.yaml") for name, text in ALL if name != "empty"),
        ("tolerence: 0.1\n", "tolerence", "Did you mean 'tolerance'"),
        ("tolerance: -0.1\n", "tolerance"),
        ("tolerance: 5\n", "tolerance"),
        ("tolerance: .nan\n", "tolerance"),
        ("tolerance: yes\n", "tolerance"),
        ("tolerance: 8/0\n", "tolerance", "zero"),
        ("tolerance: [0.1]\n", "tolerance"),
        ("alpha: 0\n", "alpha"),
        ("alpha: 1\n", "alpha"),
        ("unproven: maybe\n", "unproven"),
        ("diagnostics: 3\n", "diagnostics"),
        ("list-samples: -1\n", "list-samples"),
        ("list-samples: yes\n", "list-samples"),
        ("rules: 3\n", "rules"),
        ("rules: [3]\n", "rules"),
        ("rules: [{accuracy: pgd}]\n", "rules.1", "has no effect"),
        ("rules: [{acuracy: pgd, tolerance: 0}]\n", "acuracy", "Did you mean 'accuracy'"),
        ("rules: [{accuracy: pgdd, tolerance: 0.1}]\n", "matches nothing here", "Did you mean 'pgd'"),
        ("rules: [{accuracy: pgd, eps: 0, tolerance: 0.1}]\n", "eps"),
        ("rules: [{accuracy: pgd, minimum: 50}]\n", "minimum"),
        ("rules: [{accuracy: pgd, ignore: maybe}]\n", "ignore"),
        ("tolerance: 0.1\ntolerance: 0.2\n", "tolerance", "twice"),
        ("rules: [{accuracy: pgd, minimum: 0.1, minimum: 0.9}]\n", "minimum", "twice"),
    ):
        yield Row(
            "gate report.json --baseline base.json --format json --policy own.yaml",
            tuple(words),
            files={"own.yaml": text},
        )


def experiments() -> Iterator[Row]:
    """Yield experiments of reproduce."""
    for text, *words in (
        *((text, "own") for _, text in ALL),
        (EXPERIMENT.replace("seeds: 2", "sedes: 2"), "Did you mean 'seeds'"),
        (EXPERIMENT.replace("seeds: 2", "seeds: 0"), "seeds"),
        (EXPERIMENT.replace("seeds: 2", "seeds: yes"), "seeds"),
        (EXPERIMENT.replace("seeds: 2", "seeds: 2\nseeds: 3"), "seeds", "twice"),
        (EXPERIMENT.replace("controlled", "control"), "preset"),
        (EXPERIMENT.replace("[sample, stein]", "[]"), "bn"),
        (EXPERIMENT.replace("[sample, stein]", "[sample, sten]"), "Did you mean 'stein'"),
        (EXPERIMENT.replace("recipe: fit", "recipe: fitt"), "Did you mean 'fit'"),
        (EXPERIMENT.replace("recipe: fit", "recipes: fit"), "parts.0.recipe"),
        (EXPERIMENT.replace("[fgsm]", "[fgsmm]"), "Did you mean 'fgsm'"),
        (EXPERIMENT.replace("{epochs: 1}", "{epohcs: 1}"), "epohcs"),
        (EXPERIMENT.replace("{epochs: 1}", "{epochs: 0}"), "epochs"),
        (EXPERIMENT.replace("net.py:make", "net.py:mkae"), "mkae"),
        (EXPERIMENT.replace(",train=train.npz", ""), "training split"),
        (EXPERIMENT.replace("name: small", "name: a/b"), "a/b"),
        (EXPERIMENT[: EXPERIMENT.index("parts")], "parts"),
        (EXPERIMENT[: EXPERIMENT.index("parts")] + "parts: []\n", "parts"),
        (EXPERIMENT + EXPERIMENT[EXPERIMENT.index("  - name") :], "two parts have the same name"),
    ):
        yield Row("reproduce own.yaml --trust-code --quiet --format json", tuple(words), files={"own.yaml": text})
    yield wrong("reproduce cifar11 --quiet", "Did you mean 'cifar10'")
    yield wrong("reproduce missing.yaml --quiet", "missing.yaml")
    yield wrong("reproduce folder --quiet", "folder")
    yield wrong("reproduce ppmi --quiet", "give yours with --data")


def lists() -> Iterator[Row]:
    """Yield lists of models."""
    for text, *words in (
        ("", "names no model"),
        ("# nothing\n\n", "names no model"),
        (GARBAGE, "list.txt"),
        ("net.py:make 'seed\n", "list.txt, line 1"),
        ("--seed 1\n", "list.txt, line 1", "name the model first"),
        ("net.py:make sed=1\n", "list.txt, line 1", "Did you mean 'seed'"),
        ("net.py:make seed\n", "list.txt, line 1", "neither key=value"),
        ("net.py:make seed=\n", "list.txt, line 1", "no value"),
        ("net.py:make --seed\n", "list.txt, line 1", "no value"),
        ("net.py:make seed=x\n", "list.txt, line 1", "seed"),
        ("net.py:make seed=1 seed=2\n", "list.txt, line 1", "twice"),
        ("net.py:make output=x.json\n", "list.txt, line 1", "whole sweep"),
        ("net.py:make name=a\nnet.py:no_bn name=a\n", "line 2"),
        ("net.py:make name=../a\n", "line 1", "name"),
        ("net.py:make eps=8//255\n", "line 1", "8//255"),
        ("net.py:mak*\n", "line 1", "patterns"),
    ):
        yield Row(f"{SWEEP} --models list.txt --trust-code", tuple(words), files={"list.txt": text})
    yield wrong("evaluate --models folder --output runs/ --quiet", "folder")
    yield wrong(f"{BOTH} --output net.py --quiet", "net.py is a file")
    yield wrong(f"{BOTH} --output runs.json --quiet", "--output runs.json names a file")
    yield wrong(f"{BOTH} --output runs/ --data digit --quiet", "Did you mean 'digits'")
    yield wrong(
        f"{BOTH} --output runs/ --data npz:test.npz --attack pgdd --quiet",
        "Did you mean 'pgd'",
    )
    yield wrong(
        f"{BOTH} --output runs/ --data npz:test.npz --weights none --quiet",
        "runs/sweep.json",
        **{"runs_0_sweep__json": "{"},
    )


def reads() -> Iterator[Row]:
    """Yield files that cannot be read, and folders in their place."""
    for arguments in (
        "evaluate --config {}", "evaluate net.py:make --battery {}", "evaluate --models {} --output runs/",
        "train net.py:make --output new.safetensors --recipe {}", "gate report.json --baseline base.json --policy {}",
    ):  # fmt: skip
        yield wrong(f"{arguments.format('missing.yaml')}", "missing.yaml")
        yield wrong(f"{arguments.format('folder.yaml')}", "folder.yaml", **{"folder__yaml_0_x": ""})
        yield Row(
            arguments.format("secret.yaml"), ("secret.yaml", "Permission denied"), files={"secret.yaml": unreadable}
        )


def unreadable(path: object) -> None:
    """Write a file that nobody but root may read."""
    path.write_text("seed: 1\n")  # type: ignore[attr-defined]
    path.chmod(0)  # type: ignore[attr-defined]
