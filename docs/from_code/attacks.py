"""The page of the attacks: what each is, whose it is, what it may see, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from from_code.markdown import code, prose, table
from stein_bench.attacks.attack import resolve_attack, resolve_attacks
from stein_bench.attacks.attackinfo import USUAL_EPS, AttackInfo
from stein_bench.attacks.batteries import battery_names, find_battery
from stein_bench.attacks.catalog import CATALOG
from stein_bench.attacks.native import NATIVE_ATTACKS
from stein_bench.attacks.papers import CITATION, WITHOUT, papers_of
from stein_bench.attacks.parameters import ALPHA_FACTOR
from stein_bench.attacks.passes import Bounds, Passes, Situation, bounds, call_of
from stein_bench.attacks.torchattacks_library import library_defaults
from stein_bench.errors import UsageError
from stein_bench.evaluation.costs.course import Course
from stein_bench.specs import format_eps
from stein_bench.tasks import TASKS

INTRODUCTION = f"""# Attacks

Every attack that `--attack` takes, as `stein-bench list attacks` names them. [Attacks](../attacks.md) describes how
they work, and what holds for all of them.

- **Access** is what an attacker must have: gradients (`white-box`), the scores of every class (`score`),
  predictions alone (`decision`), another model (`transfer`) or nothing (`none`).
- **ε** is the default budget in each norm, of which the first is the default. An attack *without a budget* looks
  for the nearest adversarial input, and counts as a success at ε if that lies within ε.
- **Passes** are forward and backward passes of the attacked model per sample with the default parameters, for 10
  classes, images of 3×32×32 and running statistics: the fewest (a sample that breaks at once) and the most (one
  that survives). Those of a `transfer` attack are the surrogate's. *Measured* ones are not known beforehand:
  `--dry-run` tries the attack on some samples. It tells the passes and the time of a whole run, for your model and
  data.
- A default of `alpha` of 0 stands for {ALPHA_FACTOR:g}·ε/steps or what the attack's paper takes.

"""
CRAFTED = "crafted on the model that --surrogate names: "
SITUATION = Situation(TASKS["classification"], 10, (3, 32, 32))
SEGMENTED = Situation(TASKS["segmentation"], 10, (3, 32, 32))
SITUATIONS = {"segmentation": SEGMENTED, "random": SITUATION._replace(random=True)}


class Group(NamedTuple):
    """A table of attacks: heading, text, and which attacks are in it."""

    heading: str
    text: str
    has: Callable[[AttackInfo], bool]


GROUPS = (
    Group("White-box", "They need the gradients of the model.",
          lambda info: info.backend == "native" and info.access == "white-box"),
    Group("Black-box", "They need scores or decisions alone.",
          lambda info: info.backend == "native" and info.access in ("score", "decision")),
    Group("Transfer", "They are crafted on the model that `--surrogate` names, and shown to the evaluated one.",
          lambda info: info.access == "transfer"),
    Group("Noise", "A corruption, not an attack: evaluated on the corrupted input alone, with several draws.",
          lambda info: info.is_corruption and not info.is_common),
    Group("Common corruptions", "At severities 1 to 5; [corruptions.md](../corruptions.md) describes them.",
          lambda info: info.is_common),
    Group("torchattacks", "The attacks of torchattacks 3.5.1, each verified as all others are. For images only.",
          lambda info: info.backend == "torchattacks" and info.access != "transfer"),
)  # fmt: skip


def page() -> str:
    """The page."""
    parts = [INTRODUCTION]
    for group in GROUPS:
        rows = [row(info) for info in CATALOG.values() if group.has(info)]
        headers = ("attack", "norms, access, tasks", "parameters", "passes: forward + backward")
        parts.append(f"## {group.heading}\n\n{group.text}\n\n{table(headers, rows)}")
    return "".join([*parts, _batteries(), _papers()])


def row(info: AttackInfo) -> tuple[str, ...]:
    """An attack's cells."""
    what = prose(CITATION.sub("", info.summary.removeprefix(CRAFTED)).strip())
    what += f"; **not available**: {prose(info.unavailable)}" if info.unavailable else ""
    links = ", ".join(f"[{paper.cited}]({paper.url})" for paper in papers_of(info)) or WITHOUT[info.method]
    tasks = ", ".join(info.supported_tasks) + (f"; ≥ {info.min_classes} classes" if info.min_classes > 2 else "")
    allowed = "<br>".join((_norms(info), info.access, tasks))
    return (f"{code(info.name)}<br>{what}<br>{links}", allowed, _parameters(info), cost(info))


def _norms(info: AttackInfo) -> str:
    if info.is_corruption:
        return "–"
    budgets = {norm: USUAL_EPS[norm] for norm in info.norms} | {info.norms[0]: info.default_eps}
    each = [f"{norm} (ε = {format_eps(eps)})" for norm, eps in budgets.items()]
    return ", ".join(each) + ("" if info.respects_eps else "; without a budget")


def _parameters(info: AttackInfo) -> str:
    known = info.params
    if info.backend == "torchattacks" and not info.unavailable:
        known = library_defaults(info)
    return ", ".join(code(f"{name}={_written(value)}") for name, value in known.items()) or "–"


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return format_eps(value) if isinstance(value, float) else str(value)


def limits(name: str) -> Bounds | None:
    """The fewest and the most passes per sample of a spec with what it leaves open at its defaults."""
    attack = resolve_attack(name)
    return bounds(attack, SITUATION if "classification" in attack.info.tasks else SEGMENTED)


def cost(info: AttackInfo) -> str:
    """The passes per sample in words."""
    try:
        found = limits(info.name)
    except UsageError:  # one that cannot run
        return "–"
    if found is None:
        return "*measured*"
    if found.least == found.most:
        return passes(found.least)
    drawn = f" (mean of those that survive: {passes(mean_of_survivors(info.name))})" if "drawn" in info.params else ""
    return f"{passes(found.least)} to {passes(found.most)}{drawn}"


def mean_of_survivors(name: str) -> Passes:
    """The mean number of passes of the samples that survive an ensemble, part of which runs on a random subset."""
    attack = resolve_attack(name)
    call = call_of(attack, SITUATION)
    course = Course.of(NATIVE_ATTACKS[attack.info.method](call).searches)
    return course.passes(course.admitted).plus((call.eot, 0))


def passes(one: Passes) -> str:
    """Forward and backward passes."""
    return f"{one.forward:,.0f} + {one.backward:,.0f}"


def _papers() -> str:
    """The papers with their titles, by author."""
    found = {paper for info in CATALOG.values() for paper in papers_of(info)}
    lines = [
        f"- {paper.cited}: [{prose(paper.title)}]({paper.url})"
        for paper in sorted(found, key=lambda one: (one.cited, one.arxiv))
    ]
    return "\n## Papers\n\n" + "\n".join(lines) + "\n"


def _batteries() -> str:
    rows = []
    for battery in (find_battery(name) for name in battery_names()):
        attacks = resolve_attacks((), battery=battery.attacks)
        situation = SITUATIONS.get(battery.name, SITUATION)
        found = [bounds(attack, situation) for attack in attacks]
        most = [one.most for one in found if one is not None]
        if any("drawn" in attack.params for attack in attacks):
            most = [mean_of_survivors(attack.info.name) for attack in attacks]
        total = Passes(sum(one.forward for one in most), sum(one.backward for one in most))
        specs = ", ".join(map(code, battery.attacks))
        rows.append(
            (
                code(battery.name),
                prose(battery.summary),
                specs,
                passes(total) if len(most) == len(found) else "*measured*",
            )
        )
    headers = ("battery", "what it is for", "attacks", "passes of a sample that survives")
    return f"## Batteries\n\nLists of attacks that `--battery` takes.\n\n{table(headers, rows)}"
