"""What a user does first, with the installed program alone, from a folder without the repository.

Run it with the Python of an environment that holds nothing but the wheel and what that depends on, in an empty folder:
``python -I end_to_end.py`` and, once torchattacks is installed too, ``python -I end_to_end.py torchattacks``.
CI does (`.ci/run`).
"""

import json
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

MODEL = """
from torch import nn


def make(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(256, num_classes),
    )
"""
RUN = ("evaluate", "net.py:make", "--data", "digits", "--limit", "40")
PROGRAM = Path(sys.executable).with_name("stein-bench")


def stein_bench(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command and return what it printed; fails if its exit code is another than `code`."""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=300)
    said = f"{' '.join(arguments)}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert done.returncode == code, said
    assert "Traceback" not in done.stderr, said
    return done


def check_installation() -> None:
    """The package is the installed one, and nothing of the extras is there."""
    found = find_spec("stein_bench")
    assert found is not None
    assert found.origin is not None
    assert "site-packages" in found.origin, found.origin
    extras = ("torchattacks", "foolbox", "transformers", "datasets", "wandb", "mlflow", "pytest")
    assert not [name for name in extras if find_spec(name)], "more than the wheel is installed"
    assert stein_bench("--version").stdout.split()[-1] == version("stein-bench")


def check_run() -> None:
    """One run and everything that is made of its report."""
    stein_bench(*RUN, "--bn", "sample", "--bn", "stein", "--battery", "quick", "--output", "report.json")
    report = json.loads(Path("report.json").read_text(encoding="utf-8"))
    assert report["run"]["environment"]["packages"]["stein-bench"] == version("stein-bench")
    assert [attack["status"] for one in report["variants"] for attack in one["attacks"]] == ["ok"] * 4
    assert report["variants"][0]["clean"]["accuracy"] > 0.3, "no better than chance: it was not trained"
    stein_bench("gate", "report.json", "--baseline", "report.json", "--junit", "gate.xml")
    stein_bench("report", "report.json", "--html", "r.html", "--markdown", "r.md", "--csv", "r.csv")
    stein_bench("report", "report.json", "--plot", "bars", "r.png")
    assert Path("r.html").read_text(encoding="utf-8").lstrip().startswith("<!")
    assert "sample" in stein_bench("compare", "report.json", "report.json").stdout
    again = json.loads(stein_bench(*RUN, "--bn", "sample", "--format", "json", "--attack", "pgd").stdout)
    first = next(attack for attack in report["variants"][0]["attacks"] if attack["name"] == "pgd")
    assert again["variants"][0]["attacks"][0]["robust_accuracy"] == first["robust_accuracy"], "not repeatable"


def check_rest() -> None:
    """The commands that show and explain."""
    assert json.loads(stein_bench("schema").stdout)["properties"]["schema_version"]
    for what, name in [("attacks", "torchattacks.MIFGSM"), ("batteries", "standard"), ("data", "digits"),
                       ("bn", "stein"), ("recipes", "fit"), ("models", "paper:resnet9")]:  # fmt: skip
        assert name in stein_bench("list", what).stdout
    stein_bench("inspect", "net.py:make", "--data", "digits")
    assert "torch" in stein_bench("doctor", "--format", "json").stdout
    wrong = stein_bench(*RUN, "--attack", "pdg", code=2)
    assert "Did you mean 'pgd'" in wrong.stderr
    lacking = stein_bench(*RUN, "--attack", "torchattacks.MIFGSM", "--output", "no.json", code=2)
    assert "pip install 'stein-bench[torchattacks]'" in lacking.stderr
    assert not Path("no.json").exists()


def check_torchattacks() -> None:
    """Without its own dependencies torchattacks works, as the message says."""
    assert find_spec("requests") is None or not version("requests").startswith("2.25"), "its pin is in force"
    stein_bench(*RUN, "--attack", "torchattacks.MIFGSM", "--attack", "PIFGSMPP", "--output", "library.json")
    attacks = json.loads(Path("library.json").read_text(encoding="utf-8"))["variants"][0]["attacks"]
    assert [(attack["backend"], attack["status"]) for attack in attacks] == [("torchattacks", "ok")] * 2


if __name__ == "__main__":
    Path("net.py").write_text(MODEL, encoding="utf-8")
    if sys.argv[1:] == ["torchattacks"]:
        check_torchattacks()
    else:
        check_installation()
        check_run()
        check_rest()
