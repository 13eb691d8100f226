"""The papers of the attacks, for the reference: titles and addresses of what the catalog cites. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from stein_bench.attacks.attackinfo import AttackInfo

CITATION = re.compile(r"\(([A-Z][^()]*? \d{4})\)|\((arXiv [\d.]+)\)")


@dataclass(frozen=True)
class Paper:
    """A publication.

    Attributes:
        cited: how texts cite it, e.g. ``Madry et al. 2018``.
        title: its title.
        arxiv: its number at arXiv, e.g. ``1706.06083``.
    """

    cited: str
    title: str
    arxiv: str

    @property
    def url(self) -> str:
        """Where it can be read."""
        return f"https://arxiv.org/abs/{self.arxiv}"


AUTOATTACK = Paper(
    "Croce and Hein 2020",
    "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
    "2003.01690",
)
FAB = Paper(
    "Croce and Hein 2020",
    "Minimally distorted adversarial examples with a fast adaptive boundary attack",
    "1907.02044",
)
PATCH_WISE_2 = Paper("Gao et al. 2020", "Patch-wise++ perturbation for adversarial targeted attacks", "2012.15503")
SHRINKAGE = Paper(
    "arXiv 2507.08261",
    "Admissibility of Stein shrinkage for batch normalization in the presence of adversarial attacks",
    "2507.08261",
)

_CITED = (
    AUTOATTACK,
    SHRINKAGE,
    Paper(
        "Andriushchenko et al. 2020",
        "Square Attack: a query-efficient black-box adversarial attack via random search",
        "1912.00049",
    ),
    Paper("Athalye et al. 2018", "Obfuscated gradients give a false sense of security", "1802.00420"),
    Paper("Carlini and Wagner 2017", "Towards evaluating the robustness of neural networks", "1608.04644"),
    Paper("Chen and Gu 2020", "RayS: a ray searching method for hard-label adversarial attack", "2006.12792"),
    Paper(
        "Chen et al. 2018", "EAD: elastic-net attacks to deep neural networks via adversarial examples", "1709.04114"
    ),
    Paper(
        "Chen, Jordan and Wainwright 2020", "HopSkipJumpAttack: a query-efficient decision-based attack", "1904.02144"
    ),
    Paper("Dong et al. 2018", "Boosting adversarial attacks with momentum", "1710.06081"),
    Paper(
        "Dong et al. 2019",
        "Evading defenses to transferable adversarial examples by translation-invariant attacks",
        "1904.02884",
    ),
    Paper("Gao et al. 2020", "Patch-wise attack for fooling deep neural network", "2007.06765"),
    Paper(
        "Gao et al. 2022",
        "Fast and reliable evaluation of adversarial robustness with minimum-margin attack",
        "2206.07525",
    ),
    Paper("Goodfellow et al. 2015", "Explaining and harnessing adversarial examples", "1412.6572"),
    Paper(
        "Gu et al. 2022",
        "SegPGD: an effective and efficient adversarial attack for evaluating and boosting segmentation robustness",
        "2207.12391",
    ),
    Paper(
        "Gubri et al. 2022",
        "LGV: boosting adversarial example transferability from large geometric vicinity",
        "2207.13129",
    ),
    Paper(
        "Hendrycks and Dietterich 2019",
        "Benchmarking neural network robustness to common corruptions and perturbations",
        "1903.12261",
    ),
    Paper("Ilyas et al. 2018", "Black-box adversarial attacks with limited queries and information", "1804.08598"),
    Paper("Kurakin et al. 2017", "Adversarial examples in the physical world", "1607.02533"),
    Paper(
        "Lin et al. 2020", "Nesterov accelerated gradient and scale invariance for adversarial attacks", "1908.06281"
    ),
    Paper("Madry et al. 2018", "Towards deep learning models resistant to adversarial attacks", "1706.06083"),
    Paper("Modas et al. 2019", "SparseFool: a few pixels make a big difference", "1811.02248"),
    Paper(
        "Moosavi-Dezfooli et al. 2016",
        "DeepFool: a simple and accurate method to fool deep neural networks",
        "1511.04599",
    ),
    Paper("Papernot et al. 2016", "The limitations of deep learning in adversarial settings", "1511.07528"),
    Paper(
        "Pintor et al. 2021", "Fast minimum-norm adversarial attacks through adaptive norm constraints", "2102.12827"
    ),
    Paper(
        "Pomponi et al. 2022", "Pixle: a fast and effective black-box attack based on rearranging pixels", "2202.02236"
    ),
    Paper(
        "Rony et al. 2019",
        "Decoupling direction and norm for efficient gradient-based L2 adversarial attacks and defenses",
        "1811.09600",
    ),
    Paper(
        "Salman et al. 2019",
        "Provably robust deep learning via adversarially trained smoothed classifiers",
        "1906.04584",
    ),
    Paper(
        "Schwinn et al. 2021",
        "Exploring misclassifications of robust neural networks to enhance adversarial attacks",
        "2105.10304",
    ),
    Paper("Su et al. 2019", "One pixel attack for fooling deep neural networks", "1710.08864"),
    Paper("Tramèr et al. 2018", "Ensemble adversarial training: attacks and defenses", "1705.07204"),
    Paper("Uesato et al. 2018", "Adversarial risk and the dangers of evaluating against weak attacks", "1802.05666"),
    Paper(
        "Wang and He 2021", "Enhancing the transferability of adversarial attacks through variance tuning", "2103.15571"
    ),
    Paper("Wong et al. 2020", "Fast is better than free: revisiting adversarial training", "2001.03994"),
    Paper("Xie et al. 2019", "Improving transferability of adversarial examples with input diversity", "1803.06978"),
    Paper(
        "Xie et al. 2024",
        "Towards million-scale adversarial robustness evaluation with stronger individual attacks",
        "2411.15210",
    ),
    Paper("Zhang et al. 2019", "Theoretically principled trade-off between robustness and accuracy", "1901.08573"),
    Paper(
        "Zimmermann 2019",
        'Comment on "Adv-BNN: improved adversarial defense through robust Bayesian neural network"',
        "1907.00895",
    ),
)
PAPERS: Mapping[str, Paper] = MappingProxyType({paper.cited: paper for paper in _CITED})
"""The papers by their citation in the summaries of the catalog."""

OTHERS: Mapping[str, tuple[Paper, ...]] = MappingProxyType(
    {
        "fab-t": (FAB,),
        "fab": (FAB,),
        "torchattacks.FAB": (FAB,),
        "torchattacks.PIFGSMPP": (PATCH_WISE_2,),
        "torchattacks.AutoAttack": (AUTOATTACK,),
        "fast-ensemble": (AUTOATTACK, PAPERS["Xie et al. 2024"], PAPERS["Gao et al. 2022"]),
        "strongest-ensemble": (AUTOATTACK, PAPERS["Xie et al. 2024"], PAPERS["Gao et al. 2022"]),
    }
)
"""Papers of attacks whose summary names none, or one of two papers of the same authors and year."""

WITHOUT: Mapping[str, str] = MappingProxyType(
    {
        "noise-gaussian": "plain noise",
        "noise-uniform": "plain noise",
        "noise-rademacher": "plain noise",
        "noise-truncated-gaussian": "plain noise",
        "noise-salt-and-pepper": "plain noise",
        "torchattacks.GN": "plain noise",
        "torchattacks.VANILA": "no attack",
        "torchattacks.MultiAttack": "a container of torchattacks",
        "torchattacks.UPGD": "torchattacks' own collection of options of PGD",
    }
)
"""Attacks that no paper describes, each with what it is."""


def papers_of(info: AttackInfo) -> tuple[Paper, ...]:
    """Return the papers that describe an attack of the catalog, the main one first; none for those in `WITHOUT`.

    Raises:
        KeyError: its summary cites a paper that is not in `PAPERS`.
    """
    if info.method in OTHERS:
        return OTHERS[info.method]
    return tuple(PAPERS[author or number] for author, number in CITATION.findall(info.summary))
