"""Every attack by name, without importing torch: native ones, transfer attacks, corruptions, torchattacks."""

from __future__ import annotations

from dataclasses import replace

from stein_bench.attacks.attackinfo import L2_EPS, TRANSFER, AttackInfo
from stein_bench.attacks.torchattacks_catalog import TORCHATTACKS
from stein_bench.report.attack_names import SEVERITY
from stein_bench.specs import ParameterValue

ANY_LOSS = ("classification", "segmentation")
"""Tasks of attacks that need only the task's loss."""
EOT: dict[str, ParameterValue] = {"eot": 1}
"""Draws of a random model over which an attack averages (expectation over transformation, Athalye et al. 2018)."""

NATIVE = (
    AttackInfo("fgsm", "one signed gradient step of size eps (Goodfellow et al. 2015)", params=EOT, tasks=ANY_LOSS),
    AttackInfo(
        "pgd",
        "projected gradient ascent on the cross-entropy from a random start (Madry et al. 2018)",
        norms=("Linf", "L2", "L1"),
        params={"steps": 10, "alpha": 0.0, "random_start": True, "restarts": 1, **EOT},
        tasks=ANY_LOSS,
    ),
    AttackInfo(
        "mifgsm",
        "iterated steps along an accumulated gradient (Dong et al. 2018)",
        norms=("Linf", "L2", "L1"),
        params={"steps": 10, "alpha": 0.0, "decay": 1.0, **EOT},
        tasks=ANY_LOSS,
    ),
    AttackInfo(
        "segpgd",
        "projected gradient ascent whose loss weight moves from correct to misclassified pixels (Gu et al. 2022)",
        norms=("Linf", "L2", "L1"),
        params={"steps": 10, "alpha": 0.0, "random_start": True, "restarts": 1},
        tasks=("segmentation",),
    ),
    AttackInfo(
        "apgd-ce",
        "auto-PGD on the cross-entropy, with an adaptive step size (Croce and Hein 2020)",
        norms=("Linf", "L2", "L1"),
        params={"steps": 100, "restarts": 1, **EOT},
        tasks=ANY_LOSS,
    ),
    AttackInfo(
        "apgd-dlr",
        "auto-PGD on the difference-of-logits ratio (Croce and Hein 2020)",
        norms=("Linf", "L2", "L1"),
        params={"steps": 100, "restarts": 1, **EOT},
        min_classes=3,
    ),
    AttackInfo(
        "apgd-t",
        "auto-PGD on the targeted ratio, towards each of the likeliest classes (Croce and Hein 2020)",
        norms=("Linf", "L2", "L1"),
        params={"steps": 100, "restarts": 1, "targets": 9, **EOT},
        min_classes=4,
    ),
    AttackInfo(
        "fab-t",
        "fast adaptive boundary, towards each of the likeliest classes, stopping within eps (Croce and Hein 2020)",
        norms=("Linf", "L2", "L1"),
        params={"steps": 100, "targets": 9},
    ),
    AttackInfo(
        "fab",
        "fast adaptive boundary without a budget: the nearest point it finds (Croce and Hein 2020)",
        norms=("Linf", "L2", "L1"),
        eps_name=None,
        params={"steps": 100, "targets": 9},
        minimal=True,
    ),
    AttackInfo(
        "deepfool",
        "steps to the nearest linearized boundary, without a budget (Moosavi-Dezfooli et al. 2016)",
        norms=("L2", "Linf"),
        default_eps=L2_EPS,
        eps_name=None,
        params={"steps": 50, "targets": 9, "overshoot": 0.02},
        minimal=True,
    ),
    AttackInfo(
        "cw",
        "distance and margin minimized together, without a budget (Carlini and Wagner 2017)",
        norms=("L2",),
        default_eps=L2_EPS,
        eps_name=None,
        params={"steps": 100, "search_steps": 9, "lr": 0.005, "c": 0.001, "kappa": 0.0},
        minimal=True,
    ),
    AttackInfo(
        "ddn",
        "gradient steps on a sphere of changing radius, without a budget (Rony et al. 2019)",
        norms=("L2",),
        default_eps=L2_EPS,
        eps_name=None,
        params={"steps": 100, "gamma": 0.05},
        minimal=True,
    ),
    AttackInfo(
        "fmn",
        "gradient steps in a ball of changing radius, without a budget (Pintor et al. 2021)",
        norms=("Linf", "L2"),
        eps_name=None,
        params={"steps": 100},
        minimal=True,
    ),
    AttackInfo(
        "square",
        "random search over squares, using scores only (Andriushchenko et al. 2020)",
        norms=("Linf", "L2", "L1"),
        access="score",
        params={"queries": 5000, "p": 0.8, **EOT},
    ),
    AttackInfo(
        "nes",
        "signed steps along gradients estimated from scores (Ilyas et al. 2018)",
        norms=("Linf", "L2"),
        access="score",
        params={"queries": 5000, "samples": 50, "sigma": 0.001, "alpha": 0.0, "decay": 0.9},
    ),
    AttackInfo(
        "spsa",
        "Adam along gradients estimated from scores at random corners (Uesato et al. 2018)",
        norms=("Linf", "L2"),
        access="score",
        params={"queries": 5000, "samples": 50, "delta": 0.01, "alpha": 0.0},
    ),
    AttackInfo(
        "rays",
        "search for the ray on which a wrong decision is nearest, using decisions only (Chen and Gu 2020)",
        access="decision",
        params={"queries": 10000},
    ),
    AttackInfo(
        "hopskipjump",
        "walk along the decision boundary, using decisions only (Chen, Jordan and Wainwright 2020)",
        norms=("Linf", "L2"),
        access="decision",
        params={"queries": 10000},
    ),
    AttackInfo(
        "autoattack",
        "the standard ensemble in full: apgd-ce, apgd-t, fab-t, square (Croce and Hein 2020)",
        norms=("Linf", "L2", "L1"),
        params={"steps": 100, "queries": 5000},
    ),
    AttackInfo(
        "adaptive",
        "finds where a model hides its gradients and attacks around that (Athalye et al. 2018)",
        norms=("Linf", "L2", "L1"),
        params={"steps": 100, "queries": 5000},
    ),
    AttackInfo(
        "pma",
        "auto-PGD on the probability margin (Xie et al. 2024)",
        norms=("Linf", "L2", "L1"),
        params={"steps": 100, "restarts": 1},
    ),
    AttackInfo(
        "mm",
        "auto-PGD on the margin towards each of the likeliest classes, in few steps (Gao et al. 2022)",
        norms=("Linf", "L2", "L1"),
        params={"steps": 20, "restarts": 1, "targets": 9},
    ),
    AttackInfo(
        "fast-ensemble",
        "an ensemble with at most a fifth of autoattack's passes; square runs in full on a random subset",
        norms=("Linf", "L2", "L1"),
        params={"steps": 100, "queries": 5000, "drawn": 0.02},
        seeded_as="autoattack",
    ),
    AttackInfo(
        "strongest-ensemble",
        "autoattack with less fab and further searches, in at most its passes",
        norms=("Linf", "L2", "L1"),
        params={"steps": 100, "queries": 5000},
        seeded_as="autoattack",
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
    _noise("truncated-gaussian", "corruption: Gaussian noise truncated at two sigma, of standard deviation std"),
    _noise("salt-and-pepper", "corruption: a share of the pixels black or white", amount=0.05),
    _noise(
        "clipped-cauchy",
        'corruption: the published "sub-Gaussian" noise (arXiv 2507.08261), which is Cauchy before clipping',
    ),
)


COMMON_SUMMARIES = {
    "gaussian_noise": "normal noise in every value",
    "shot_noise": "Poisson noise, as of few photons",
    "impulse_noise": "some values black or white",
    "defocus_blur": "a disk, as of a lens out of focus",
    "glass_blur": "neighboring pixels exchanged, as behind frosted glass",
    "motion_blur": "a line in a random direction",
    "zoom_blur": "a mean over magnifications",
    "snow": "falling flakes over a brighter, paler image",
    "frost": "ice over the image, with a texture of stein-bench's own instead of the published photographs",
    "fog": "a fractal haze",
    "brightness": "a larger HSV value",
    "contrast": "values nearer to their mean",
    "elastic_transform": "a smooth random displacement; left out for segmentation, whose labels would not move",
    "pixelate": "fewer, larger pixels",
    "jpeg_compression": "JPEG of low quality",
    "speckle_noise": "normal noise proportional to the value",
    "gaussian_blur": "a normal kernel",
    "spatter": "drops of water or mud",
    "saturate": "another saturation of colors",
}
"""What the common corruptions do: the 15 standard ones in the paper's order, then the 4 extra ones."""

COMMON = tuple(
    AttackInfo(
        name, f"common corruption: {what} (Hendrycks and Dietterich 2019)",
        norms=(), access="none", eps_name=None, params={SEVERITY: 1}, tasks=ANY_LOSS,
    )
    for name, what in COMMON_SUMMARIES.items()
)  # fmt: skip


CRAFTED_ON_A_SURROGATE = (
    *("fgsm", "pgd", "mifgsm"),
    *(f"torchattacks.{name}" for name in ("DIFGSM", "MIFGSM", "NIFGSM", "PIFGSM", "PIFGSMPP", "SINIFGSM", "TIFGSM")),
    *("torchattacks.VMIFGSM", "torchattacks.VNIFGSM"),
)
"""Methods that take all their steps on every sample: inputs that only just fool a surrogate seldom transfer."""


def _transfer(info: AttackInfo) -> AttackInfo:
    params = {name: value for name, value in info.params.items() if name not in ("restarts", *EOT)}
    return replace(
        info, name=f"{TRANSFER}{info.name}", access="transfer", params=params,
        summary=f"crafted on the model that --surrogate names: {info.summary}",
    )  # fmt: skip


TRANSFERS = tuple(_transfer(info) for info in (*NATIVE, *TORCHATTACKS) if info.name in CRAFTED_ON_A_SURROGATE)

CATALOG: dict[str, AttackInfo] = {info.name: info for info in (*NATIVE, *TRANSFERS, *NOISE, *COMMON, *TORCHATTACKS)}
"""Every attack by name: native ones, transfer attacks, corruptions, torchattacks."""

ONE_STEP = ("fgsm", "torchattacks.FGSM", "torchattacks.FFGSM")
ITERATED = ("pgd", "segpgd", "mifgsm", "apgd-ce", "apgd-dlr", "apgd-t", "autoattack", "pma", "mm",
            "fast-ensemble", "strongest-ensemble", "torchattacks.PGD", "torchattacks.PGDL2", "torchattacks.APGD",
            "torchattacks.AutoAttack", "torchattacks.BIM", "torchattacks.MIFGSM")  # fmt: skip
"""White-box attacks that maximize the loss in many steps."""
