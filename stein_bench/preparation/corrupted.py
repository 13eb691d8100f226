"""Where the images under common corruptions come from, and the baseline that errors under them are relative to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version

from stein_bench.attacks.attack import Attack
from stein_bench.corruptions.common import OWN_TEXTURE, SMALLEST, parameters
from stein_bench.corruptions.names import SEVERITIES
from stein_bench.data.cifar import Cifar
from stein_bench.data.cifarc import CifarArchive, archive_of
from stein_bench.data.samples import Resize, Samples
from stein_bench.data.sources import DataSource
from stein_bench.errors import UsageError
from stein_bench.measures.common import ALEXNET_BASELINE, Baseline, Cell, baseline_of
from stein_bench.preparation.variants import Variant
from stein_bench.report.attack_names import SEVERITY, SOURCE
from stein_bench.report.document import Report, read_report
from stein_bench.report.results import VariantResult

CHANNELS = (1, 3)
"""Channels of images that common corruptions take: gray or RGB."""
MOVING = ("elastic_transform",)
"""Corruptions after which a pixel shows another place of the scene."""
SHOWN = 12
"""Digits of a hash that are shown."""
PUBLISHED_SIDES = {"cifar": 32, "imagenet": 224}
"""Set of published parameters → the side of the images that they are for."""


def with_sources(
    attacks: Sequence[Attack], data: DataSource, samples: Samples, resize: Resize | None
) -> tuple[tuple[Attack, ...], Samples]:
    """Let common corruptions take their images from a published archive, where one lies beside the data set.

    The archive is the standard; what it lacks is made here.

    Returns:
        the attacks, and the samples with remarks on where their corrupted images come from.

    Raises:
        UsageError: the samples are corrupted already, or no images that can be, or the archive is damaged.
    """
    common = [attack for attack in attacks if attack.info.is_common]
    if not common:
        return tuple(attacks), samples
    if samples.cells is not None:
        raise UsageError(
            f"{data.name} is corrupted already: leave out {common[0].name} and evaluate it as it is, or corrupt the "
            "clean test images."
        )
    if len(samples.shape) != 3 or samples.shape[0] not in CHANNELS:
        raise UsageError(
            f"{common[0].name} is for gray or RGB images, not for inputs of {'×'.join(map(str, samples.shape))}; the "
            "noises take any input, e.g. --corruption noise-gaussian."
        )
    if min(samples.shape[1:]) < SMALLEST:
        raise UsageError(
            f"{common[0].name}: images of {_size(samples)} are too small; the smallest side is {SMALLEST}."
        )
    attacks, moved = _without_moved_labels(attacks, data)
    archive = _archive(data, samples, resize)
    found = tuple(_from(archive, attack, len(samples)) for attack in attacks)
    made = [attack for attack in found if attack.info.is_common and SOURCE not in attack.params]
    if archive is not None and resize is not None and made:
        raise UsageError(
            f"{made[0].name}: {archive.name} lacks it, and its other images are corrupted before they are resized to "
            f"{_size(samples)}: leave it out, or evaluate at the data's own size."
        )
    resized = resize is not None and data.native_size is not None
    notes = [*moved, *_notes(found, archive, samples, resized=resized)]
    return found, replace(samples, remarks=(*samples.remarks, *notes))


def _without_moved_labels(attacks: Sequence[Attack], data: DataSource) -> tuple[list[Attack], list[str]]:
    """Leave out, for segmentation, the corruptions that move the image, but not the labels of its pixels."""
    moving = [attack for attack in attacks if attack.name in MOVING and data.task == "segmentation"]
    kept = [attack for attack in attacks if attack not in moving]
    if not moving:
        return kept, []
    name, why = moving[0].name, "moves the image, but not the labels of its pixels"
    if not kept:
        raise UsageError(f"{name} {why}: no segmentation can be judged under it.")
    return kept, [f"common corruptions: {name} is left out; it {why}"]


def _archive(data: DataSource, samples: Samples, resize: Resize | None) -> CifarArchive | None:
    if not isinstance(data, Cifar):
        return None
    try:
        return archive_of(data, samples.labels, resize)
    except UsageError as error:
        raise UsageError(f"the published corruptions beside {data.name} cannot be used: {error}") from None


def _size(samples: Samples) -> str:
    return "×".join(map(str, samples.shape[1:]))


def _from(archive: CifarArchive | None, attack: Attack, samples: int) -> Attack:
    if archive is None or not attack.info.is_common or attack.name not in archive.files:
        return attack
    used = archive.sha256(attack.name, int(attack.params[SEVERITY]), samples)
    return attack.published_in(archive, archive.name, used)


def _notes(
    attacks: Sequence[Attack], archive: CifarArchive | None, samples: Samples, *, resized: bool
) -> Iterator[str]:
    common = [attack for attack in attacks if attack.info.is_common]
    names = list(dict.fromkeys(attack.name for attack in common if SOURCE not in attack.params))
    if archive is not None and len(names) < len({attack.name for attack in common}):
        used = hashlib.sha256("".join(attack.archive_sha256 for attack in common).encode()).hexdigest()
        yield (
            f"common corruptions: the images of {archive.name}, the published archive (SHA-256 over those used, "
            f"{used[:SHOWN]}…)"
        )
    if not names:
        return
    used = parameters(min(samples.shape[1:]))
    published = set(samples.shape[1:]) == {PUBLISHED_SIDES[used]} and not resized
    here = f"; here they are {_size(samples)}{', resized' * resized}: published numbers do not apply"
    other = "" if published else here
    versions = f"Pillow {version('pillow')}, SciPy {version('scipy')}"
    lacking = "" if archive is None else f", which {archive.name} lacks"
    yield (
        f"{', '.join(names) + lacking if lacking else 'common corruptions'}: made by stein-bench with the published "
        f"parameters for {PUBLISHED_SIDES[used]}×{PUBLISHED_SIDES[used]} images{other} ({versions})"
    )
    if own := [name for name in names if name in OWN_TEXTURE]:
        yield (
            f"{' and '.join(own)}: a texture of stein-bench's own: not comparable with published numbers, nor are "
            "means and the mCE that include it"
        )


def find_baselines(
    baseline: str | None, variants: Sequence[Variant], attacks: Sequence[Attack], samples: Samples, seed: int
) -> Mapping[str, Baseline]:
    """Return what the mean corruption error of each variant is relative to, by its label; empty without a baseline.

    Whether it is on the same samples is left to `check_baselines`.

    Args:
        baseline: the value of ``mce-baseline``: ``alexnet`` or the file of a report on the same samples, of which a
            variant is compared with the same one, else with plain BN under the same statistics, else with the only one.
        variants, attacks, samples, seed: those of the run.

    Raises:
        UsageError: there is nothing to compare, the report cannot be read or lacks corruptions, or the data is not what
            AlexNet's errors are for.
    """
    if baseline is None:
        return {}
    wanted = _wanted(attacks, samples)
    if not wanted:
        raise UsageError("--mce-baseline: there is no common corruption; add --battery corruptions.")
    if baseline.lower() == "alexnet":
        if samples.name != "imagenet-c" or tuple(samples.shape) != (3, 224, 224):
            raise UsageError(
                "--mce-baseline alexnet: its published errors are for imagenet-c:ROOT with images of 224×224 pixels "
                "only; give a baseline's report."
            )
        for name in dict.fromkeys(name for name, _ in wanted):
            if [severity for other, severity in wanted if other == name] != list(SEVERITIES):
                raise UsageError(
                    f"--mce-baseline alexnet: its published errors are means over severities 1 to 5, and {name} is not "
                    "evaluated at all of them."
                )
        found = {variant.label: ALEXNET_BASELINE for variant in variants}
    else:
        report = read_report(baseline)
        if lines := report.dishonest():
            raise UsageError(f"--mce-baseline {baseline}: a result in it cannot be trusted ({lines[0].rstrip('.')}).")
        found = {variant.label: baseline_of(report, _variant_of(report, variant, baseline)) for variant in variants}
        made = any(attack.info.is_common and attack.archive is None for attack in attacks)
        if made and report.run.seed != seed:
            other = f" under other draws (seed {report.run.seed})"
            found = {label: replace(one, name=one.name + other) for label, one in found.items()}
        _check_sources(report, attacks, baseline)
    for one in found.values():
        lacking = [f"{name}/{severity}" for name, severity in wanted if severity not in one.errors.get(name, {})]
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise UsageError(f"--mce-baseline {baseline}: {one.name} has no result under {lacking[0]}{more}.")
    return found


def check_baselines(baseline: str | None, found: Mapping[str, Baseline], samples: Samples) -> None:
    """Check that the baselines are on the samples that are evaluated, after damaged ones have been left out.

    Raises:
        UsageError: they are on others.
    """
    for one in found.values():
        if one.sha256 and one.sha256 != samples.sha256():
            raise UsageError(
                f"--mce-baseline {baseline}: it is on {one.samples}, which are not the {len(samples)} of "
                f"{samples.name} here: give a report on the same samples."
            )


def _wanted(attacks: Sequence[Attack], samples: Samples) -> list[Cell]:
    made = [(attack.name, int(attack.params[SEVERITY])) for attack in attacks if attack.info.is_common]
    parts = [cell.rpartition("/") for cell in samples.cells or ()]
    return made + [(name, int(severity)) for name, _, severity in parts if severity.isdigit()]


def _variant_of(report: Report, variant: Variant, baseline: str) -> VariantResult:
    known = {f"{one.bn}/{one.stats}": one for one in report.variants}
    for name in (variant.label, f"sample/{variant.stats}"):
        if name in known:
            return known[name]
    if len(known) == 1:
        return report.variants[0]
    raise UsageError(
        f"--mce-baseline {baseline}: it has {', '.join(known)}, but nothing to compare {variant.label} with."
    )


def _check_sources(report: Report, attacks: Sequence[Attack], baseline: str) -> None:
    """Refuse a baseline with images from another source: a published archive is not what is made here."""
    here = {attack.label: attack.params.get(SOURCE, "") for attack in attacks if attack.info.is_common}
    for variant in report.variants:
        for one in variant.corruptions:
            key = f"{one.name}:{SEVERITY}={one.params.get(SEVERITY)}"
            now = next((source for label, source in here.items() if label.startswith(key)), None)
            if now is not None and now != one.params.get(SOURCE, ""):
                told = [source or "stein-bench's own" for source in (one.params.get(SOURCE, ""), now)]
                raise UsageError(
                    f"--mce-baseline {baseline}: its images under {one.name} are {told[0]}, those here {told[1]}."
                )
