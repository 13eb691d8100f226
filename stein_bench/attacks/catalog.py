"""What each attack is, without importing torch: norm, access, how its budget is named, whether it can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from stein_bench.specs import ParameterValue

Norm = Literal["Linf", "L2", "L1", "L0"]
Access = Literal["white-box", "score", "decision", "transfer", "none"]

LINF_EPS = 8 / 255
"""The usual Linf budget on 8-bit images (Croce et al., RobustBench, 2021)."""
L2_EPS = 1.0
"""torchattacks' own default for its L2 attacks."""
L1_EPS = 12.0
"""The usual L1 budget on 32×32 images (Croce and Hein, "Mind the box", 2021)."""
TRANSFER = "transfer."
"""What the name of an attack begins with that is made on a surrogate."""
L0_EPS = 10.0
"""Ten changed pixels: no value is customary, so name your own."""


@dataclass(frozen=True)
class AttackInfo:
    """One entry of `stein-bench list attacks`.

    Attributes:
        name: as written in a spec.
        summary: one line with the source.
        norms: norms it can be judged in, its default first; a corruption has none.
        default_eps: budget where the spec gives none; for L0 the number of changed pixels.
        access: what the attacker sees: gradients (``white-box``), scores, decisions, another model (``transfer``), or
            nothing (``none``).
        eps_name: its own name of the budget; None where it does not honour one: then a success counts
            only if the perturbation found lies within eps.
        params: parameters with defaults (native attacks; torchattacks' are read from the class).
        tasks: what it serves.
        minimal: whether it makes the perturbation small, so that it tells the distance of what it finds.
        min_classes: smallest number of classes it works with.
        unavailable: empty, or why it cannot run.
    """

    name: str
    summary: str
    norms: tuple[Norm, ...] = ("Linf",)
    default_eps: float = LINF_EPS
    access: Access = "white-box"
    eps_name: str | None = "eps"
    params: Mapping[str, ParameterValue] = field(default_factory=dict)
    tasks: tuple[str, ...] = ("classification",)
    min_classes: int = 2
    minimal: bool = False
    unavailable: str = ""

    @property
    def method(self) -> str:
        """The attack that is run, of a transfer attack on the surrogate: its name without ``transfer.``."""
        return self.name.removeprefix(TRANSFER)

    @property
    def backend(self) -> Literal["native", "torchattacks"]:
        """Who runs it: stein-bench itself or the torchattacks library."""
        return "torchattacks" if self.method.startswith("torchattacks.") else "native"

    @property
    def serves(self) -> tuple[str, ...]:
        """The tasks it serves: one that tells two of several classes apart also tells two classes apart."""
        binary = ("binary",) if "classification" in self.tasks and self.min_classes <= 2 else ()
        return (*self.tasks, *binary)

    @property
    def is_transfer(self) -> bool:
        """Whether its inputs are made on a surrogate and only shown to the evaluated model."""
        return self.access == "transfer"

    @property
    def is_corruption(self) -> bool:
        """Whether it is random noise: no attack, without a budget, and judged on the corrupted input alone."""
        return not self.norms

    @property
    def honours_eps(self) -> bool:
        """Whether the attack keeps to the budget by itself."""
        return self.eps_name is not None


ANY_LOSS = ("classification", "segmentation")
"""Tasks of the attacks that need no more of a task than its loss."""

NATIVE = (
    AttackInfo("fgsm", "one signed gradient step of size eps (Goodfellow et al. 2015)", tasks=ANY_LOSS),
    AttackInfo(
        "pgd",
        "projected gradient ascent on the cross-entropy from a random start (Madry et al. 2018)",
        norms=("Linf", "L2"),
        params={"steps": 10, "alpha": 0.0, "random_start": True, "restarts": 1},
        tasks=ANY_LOSS,
    ),
    AttackInfo(
        "mifgsm",
        "iterated steps along an accumulated gradient (Dong et al. 2018)",
        norms=("Linf", "L2"),
        params={"steps": 10, "alpha": 0.0, "decay": 1.0},
        tasks=ANY_LOSS,
    ),
    AttackInfo(
        "segpgd",
        "projected gradient ascent that moves from right pixels to wrong ones, on segmentation (Gu et al. 2022)",
        norms=("Linf", "L2"),
        params={"steps": 10, "alpha": 0.0, "random_start": True, "restarts": 1},
        tasks=("segmentation",),
    ),
    AttackInfo(
        "apgd-ce",
        "auto-PGD on the cross-entropy, without a step size to choose (Croce and Hein 2020)",
        norms=("Linf", "L2"),
        params={"steps": 100, "restarts": 1},
        tasks=ANY_LOSS,
    ),
    AttackInfo(
        "apgd-dlr",
        "auto-PGD on the difference-of-logits ratio (Croce and Hein 2020)",
        norms=("Linf", "L2"),
        params={"steps": 100, "restarts": 1},
        min_classes=3,
    ),
    AttackInfo(
        "apgd-t",
        "auto-PGD on the targeted ratio, towards each of the likeliest classes (Croce and Hein 2020)",
        norms=("Linf", "L2"),
        params={"steps": 100, "restarts": 1, "targets": 9},
        min_classes=4,
    ),
    AttackInfo(
        "fab-t",
        "fast adaptive boundary, towards each of the likeliest classes, until within eps (Croce and Hein 2020)",
        norms=("Linf", "L2"),
        params={"steps": 100, "targets": 9},
    ),
    AttackInfo(
        "fab",
        "fast adaptive boundary without a budget: the nearest point it finds (Croce and Hein 2020)",
        norms=("Linf", "L2"),
        eps_name=None,
        params={"steps": 100, "targets": 9},
        minimal=True,
    ),
    AttackInfo(
        "square",
        "random search over squares, on scores alone (Andriushchenko et al. 2020)",
        norms=("Linf", "L2"),
        access="score",
        params={"queries": 5000, "p": 0.8},
    ),
    AttackInfo(
        "autoattack",
        "the standard ensemble at full strength: apgd-ce, apgd-t, fab-t, square (Croce and Hein 2020)",
        norms=("Linf", "L2"),
        params={"steps": 100, "queries": 5000},
    ),
)


STD = 25 / 255
"""The second of the paper's five noise levels (arXiv 2507.08261)."""


def _noise(name: str, summary: str, **strength: float) -> AttackInfo:
    params: dict[str, ParameterValue] = {**(strength or {"std": STD}), "seeds": 3}
    return AttackInfo(f"noise-{name}", summary, norms=(), access="none", eps_name=None, params=params, tasks=ANY_LOSS)


NOISE = (
    _noise("gaussian", "corruption: Gaussian noise of standard deviation std"),
    _noise("uniform", "corruption: uniform noise of standard deviation std"),
    _noise("rademacher", "corruption: plus or minus std"),
    _noise("truncated-gaussian", "corruption: Gaussian noise cut off at two sigma, of standard deviation std"),
    _noise("salt-and-pepper", "corruption: a share of the pixels black or white", amount=0.05),
    _noise(
        "clipped-cauchy",
        'corruption: the published "sub-Gaussian" noise (arXiv 2507.08261), which is Cauchy before it is clipped',
    ),
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
        "minimal L2 by optimisation (Carlini and Wagner 2017)",
        norms=("L2",),
        default_eps=L2_EPS,
        eps_name=None,
        minimal=True,
    ),
    _library("DIFGSM", "input diversity (Xie et al. 2019)"),
    _library(
        "DeepFool",
        "minimal L2 by linearisation (Moosavi-Dezfooli et al. 2016)",
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
    _library("EOTPGD", "PGD on gradients averaged over repeated passes (Liu et al. 2019)"),
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
        unavailable="it takes minutes per image; no budgeted run ends in reasonable time",
    ),
    _library("Jitter", "noisy logits in the loss (Schwinn et al. 2021)"),
    _library(
        "LGV",
        "weights sampled around the model (Gubri et al. 2022)",
        unavailable="it needs a training set, which a spec cannot give",
    ),
    _library("MIFGSM", "momentum (Dong et al. 2018)"),
    _library(
        "MultiAttack",
        "several attacks in turn",
        unavailable="it needs attack objects, which a spec cannot give; repeat --attack instead",
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
        "sparse linearisation (Modas et al. 2019)",
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

MADE_ON_A_SURROGATE = (
    *("fgsm", "pgd", "mifgsm"),
    *(f"torchattacks.{name}" for name in ("DIFGSM", "MIFGSM", "NIFGSM", "PIFGSM", "PIFGSMPP", "SINIFGSM", "TIFGSM")),
    *("torchattacks.VMIFGSM", "torchattacks.VNIFGSM"),
)
"""Methods that take all their steps on every sample: what has just fooled a surrogate seldom fools another model."""


def _transfer(info: AttackInfo) -> AttackInfo:
    params = {name: value for name, value in info.params.items() if name != "restarts"}
    return replace(
        info, name=f"{TRANSFER}{info.name}", access="transfer", params=params,
        summary=f"made on the model that --surrogate names: {info.summary}",
    )  # fmt: skip


TRANSFERS = tuple(_transfer(info) for info in (*NATIVE, *TORCHATTACKS) if info.name in MADE_ON_A_SURROGATE)

CATALOG: dict[str, AttackInfo] = {info.name: info for info in (*NATIVE, *TRANSFERS, *NOISE, *TORCHATTACKS)}
"""Every attack by name: native ones, transfer attacks, corruptions, torchattacks."""

ONE_STEP = ("fgsm", "torchattacks.FGSM", "torchattacks.FFGSM")
ITERATED = ("pgd", "segpgd", "mifgsm", "apgd-ce", "apgd-dlr", "apgd-t", "autoattack", "torchattacks.PGD",
            "torchattacks.PGDL2", "torchattacks.APGD", "torchattacks.AutoAttack", "torchattacks.BIM",
            "torchattacks.MIFGSM")  # fmt: skip
"""White-box attacks that maximise the loss in many steps."""
