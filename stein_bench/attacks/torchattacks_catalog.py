"""The attacks of torchattacks 3.5.1, without importing it, and whether it is installed: it is an extra."""

from __future__ import annotations

from importlib.util import find_spec

from stein_bench.attacks.attackinfo import L0_EPS, L1_EPS, L2_EPS, AttackInfo
from stein_bench.errors import UsageError

PACKAGE = "torchattacks"
"""Its name, also that of the extra that installs it."""


def is_installed() -> bool:
    """Return whether torchattacks can be imported; a mere folder of its name cannot."""
    found = find_spec(PACKAGE)
    return found is not None and found.origin is not None


def check_installed(attack: str) -> None:
    """Raise a `UsageError` that says how to install torchattacks, if that is missing.

    Its package pins requests to 2.25, which it does not import, so that it may be installed without its dependencies:
    stein-bench has all that it imports.
    """
    if not is_installed():
        raise UsageError(
            f"attack {attack} needs the package torchattacks, which is not installed: pip install "
            "'stein-bench[torchattacks]'. Beside packages that need a newer requests than its 2.25: pip install "
            "--no-deps 'torchattacks>=3.5.1,<3.6'."
        )


def _library(name: str, summary: str, **rest: object) -> AttackInfo:
    return AttackInfo(f"torchattacks.{name}", summary, **rest)  # type: ignore[arg-type]


TORCHATTACKS = (
    _library("APGD", "auto-PGD (Croce and Hein 2020)", norms=("Linf", "L2")),
    _library("APGDT", "targeted auto-PGD on the DLR loss (Croce and Hein 2020)", norms=("Linf", "L2"), min_classes=4),
    _library(
        "AutoAttack",
        "the library's ensemble; its APGD and FAB take 10 steps instead of the reference's 100",
        norms=("Linf", "L2"),
        min_classes=4,
    ),
    _library("BIM", "iterated FGSM (Kurakin et al. 2017)"),
    _library(
        "CW",
        "minimal L2 by optimization (Carlini and Wagner 2017)",
        norms=("L2",),
        default_eps=L2_EPS,
        eps_name=None,
        minimal=True,
    ),
    _library("DIFGSM", "input diversity (Xie et al. 2019)"),
    _library(
        "DeepFool",
        "minimal L2 by linearization (Moosavi-Dezfooli et al. 2016)",
        norms=("L2",),
        default_eps=L2_EPS,
        eps_name=None,
        minimal=True,
    ),
    _library(
        "EADEN",
        "elastic net, elastic-net rule (Chen et al. 2018)",
        norms=("L1",),
        default_eps=L1_EPS,
        eps_name=None,
        minimal=True,
    ),
    _library(
        "EADL1",
        "elastic net, L1 rule (Chen et al. 2018)",
        norms=("L1",),
        default_eps=L1_EPS,
        eps_name=None,
        minimal=True,
    ),
    _library("EOTPGD", "PGD on gradients averaged over repeated passes (Zimmermann 2019)"),
    _library("FAB", "fast adaptive boundary (Croce and Hein 2020)", norms=("Linf", "L2"), minimal=True),
    _library("FFGSM", "FGSM from a random start (Wong et al. 2020)"),
    _library("FGSM", "one signed gradient step (Goodfellow et al. 2015)"),
    _library("GN", "Gaussian noise of standard deviation std, no search", access="none", eps_name=None),
    _library(
        "JSMA",
        "saliency maps (Papernot et al. 2016)",
        norms=("L0",),
        default_eps=L0_EPS,
        eps_name=None,
        unavailable="it takes minutes per image; not usable with a budget in reasonable time",
    ),
    _library("Jitter", "noisy logits in the loss (Schwinn et al. 2021)"),
    _library(
        "LGV",
        "weights sampled around the model (Gubri et al. 2022)",
        unavailable="it needs a training set, which cannot be given in a spec",
    ),
    _library("MIFGSM", "momentum (Dong et al. 2018)"),
    _library(
        "MultiAttack",
        "several attacks one after another",
        unavailable="it needs attack objects, which cannot be given in a spec; repeat --attack instead",
    ),
    _library("NIFGSM", "Nesterov momentum (Lin et al. 2020)"),
    _library(
        "OnePixel",
        "differential evolution over few pixels (Su et al. 2019)",
        norms=("L0",),
        default_eps=1.0,
        access="score",
        eps_name="pixels",
    ),
    _library("PGD", "projected gradient ascent (Madry et al. 2018)"),
    _library("PGDL2", "projected gradient ascent in L2 (Madry et al. 2018)", norms=("L2",), default_eps=L2_EPS),
    _library("PGDRS", "PGD on a randomly smoothed model (Salman et al. 2019)"),
    _library("PGDRSL2", "the same in L2 (Salman et al. 2019)", norms=("L2",), default_eps=L2_EPS),
    _library("PIFGSM", "patch-wise iterations (Gao et al. 2020)", eps_name="max_epsilon"),
    _library("PIFGSMPP", "patch-wise iterations, second version (Gao et al. 2020)", eps_name="max_epsilon"),
    _library(
        "Pixle",
        "rearranged pixels (Pomponi et al. 2022)",
        norms=("L0",),
        default_eps=L0_EPS,
        access="score",
        eps_name=None,
    ),
    _library("RFGSM", "iterated FGSM from a random start (Tramèr et al. 2018)"),
    _library("SINIFGSM", "scale invariance and Nesterov momentum (Lin et al. 2020)"),
    _library("SPSA", "gradients estimated from scores (Uesato et al. 2018)", access="score"),
    _library(
        "SparseFool",
        "sparse linearization (Modas et al. 2019)",
        norms=("L0",),
        default_eps=L0_EPS,
        eps_name=None,
        minimal=True,
    ),
    _library("Square", "random search over squares (Andriushchenko et al. 2020)", norms=("Linf", "L2"), access="score"),
    _library("TIFGSM", "translation invariance (Dong et al. 2019)"),
    _library("TPGD", "PGD on the KL divergence to the clean output (Zhang et al. 2019)"),
    _library("UPGD", "PGD with a choice of losses and momentum"),
    _library("VANILA", "no attack at all: the clean image", access="none", eps_name=None),
    _library("VMIFGSM", "variance-tuned momentum (Wang and He 2021)"),
    _library("VNIFGSM", "variance-tuned Nesterov momentum (Wang and He 2021)"),
)
