"""The report, as Python programs use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from stein_bench.api.shown import Shown
from stein_bench.comparison.conclusion import conclude
from stein_bench.comparison.pairing import CLEAN, WORST_CASE, variant_name
from stein_bench.errors import UsageError, unknown_name
from stein_bench.measures import MEASURES, RightOrWrong
from stein_bench.render.report.calibration import calibration_values, calibrations
from stein_bench.render.report.outcomes import ResultRow, result_rows
from stein_bench.report import document
from stein_bench.report.attack_names import noise_strength, titles
from stein_bench.report.results import AttackResult, CorruptionResult, VariantResult, headline

if TYPE_CHECKING:
    import pandas


class Report(Shown, document.Report):
    """The report of `evaluate`: every figure with its interval, what was found per sample, and the sanity checks.

    Its attributes are those of the JSON document (`stein-bench schema` describes them), for example
    ``report.variants[0].clean.accuracy``. It cannot be changed.
    """

    @classmethod
    def of(cls, report: document.Report) -> Report:
        """Return a report that commands write or read, as this class; it shares all parts."""
        found: Report = cls.model_construct(
            report.model_fields_set, **{name: getattr(report, name) for name in _FIELDS}
        )
        return found

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read a report that `save`, or ``stein-bench evaluate --output``, has written.

        Raises:
            UsageError: it is missing, or not a report of this version.
        """
        return cls.of(document.read_report(path))

    def save(self, path: str | Path) -> None:
        """Write the report as JSON, which every command of stein-bench reads.

        Raises:
            UsageError: the file cannot be written.
        """
        from stein_bench.files import write_text

        try:
            write_text(path, self.to_json())
        except OSError as error:
            raise UsageError(f"cannot write the report {str(path)!r}: {error.strerror or error}.") from None

    @property
    def conclusion(self) -> str:
        """What the numbers show, in one sentence; differences only where a paired test shows them."""
        return conclude(self).sentence

    @property
    def caveats(self) -> tuple[str, ...]:
        """What limits the conclusion, a sentence each."""
        return conclude(self).caveats

    def variant(self, name: str | None = None) -> VariantResult:
        """Return the variant of that name, such as ``"stein/running"`` or, if it is the only such one, ``"stein"``.

        Without a name it is the only variant, or plain BN under running statistics, or the first.

        Raises:
            UsageError: there is no such variant, or there are several.
        """
        known = {variant_name(variant): variant for variant in self.variants}
        if name is None:
            return known.get("sample/running", self.variants[0])
        found = [variant for label, variant in known.items() if name in (label, variant.bn)]
        if not found:
            raise unknown_name("variant", name, known)
        if len(found) > 1:
            raise UsageError(f"variant {name!r} is ambiguous: name one of {', '.join(map(variant_name, found))}.")
        return found[0]

    def outcomes(self, variant: str | None = None, attack: str = CLEAN) -> NDArray[np.bool_]:
        """Return for each sample, in data order, whether it is right: (samples,) booleans.

        Under an attack it is right on the clean and on the adversarial input. Of a random model, right means right in
        more than half of the draws.

        Args:
            variant: as for `variant`.
            attack: ``"clean"``, ``"worst-case"``, or an attack: its label, its name in the table, or the name that only
                one attack has.

        Raises:
            UsageError: there is no such variant or attack, the attack failed, or samples are graded (segmentation).
        """
        found = self.variant(variant)
        clean, robust = MEASURES[self.data.task].unpacked(found.outcomes)
        if not isinstance(clean, RightOrWrong):
            raise UsageError("images of a segmentation are graded, not right or wrong: see `variants[…].outcomes`.")
        if attack == CLEAN:
            return clean.correct
        if attack == WORST_CASE:
            failed = [one.name for one in found.attacks if one.label not in robust]
            if failed or not robust:
                raise UsageError(f"there is no worst case: {f'{failed[0]} failed' if failed else 'no attack was run'}.")
            return type(clean).worst_case([one for one in robust.values() if isinstance(one, RightOrWrong)]).correct
        result = self._attack(found, attack)
        outcome = robust.get(result.label)
        if not isinstance(outcome, RightOrWrong):
            raise UsageError(f"attack {attack!r} has no outcomes: {result.status}: {result.message}")
        return outcome.correct

    def to_dataframe(self) -> pandas.DataFrame:
        """Return the figures as a pandas DataFrame with a row per variant and outcome (needs pandas).

        A common corruption has its mean over the severities and a row for each of them.

        Columns: ``variant``, ``bn``, ``stats``, ``control``, ``outcome`` (``clean``, ``worst-case`` or a label),
        ``title``, ``attack``, ``norm``, ``eps``, ``value``, ``low``, ``high`` (95 %), ``status``, ``difference`` and
        ``p_adjusted`` (against plain BN under the same statistics source), ``confidence``, ``confidence_when_wrong``,
        ``overconfidence``, ``ece`` and ``ece_if_calibrated`` (as the report's ``calibration`` describes them), and
        ``metric_NAME`` for each of your own metrics.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise UsageError("to_dataframe needs pandas: pip install pandas") from None
        return pandas.DataFrame(list(self._rows()))

    def __repr__(self) -> str:
        figures = ", ".join(
            f"{row.variant} {row.title} {100 * row.figure.value:.1f} %"
            for row in result_rows(self)
            if row.figure is not None and row.figure.value is not None and row.accuracy in (CLEAN, WORST_CASE)
        )
        return f"<Report of {self.model.name} on {self.data.name}, {self.data.samples} samples: {figures}>"

    def _printed(self, console: Console) -> None:
        from stein_bench.render.report.table import print_report

        print_report(self, console)

    def _attack(self, variant: VariantResult, name: str) -> AttackResult:
        shown = titles(variant.attacks)
        same = [one for one in variant.attacks if name in (one.label, shown[one.label])]
        same = same or [one for one in variant.attacks if name == one.name]
        if len(same) == 1:
            return same[0]
        if same:
            raise UsageError(
                f"attack {name!r} is ambiguous: name one of {', '.join(shown[one.label] for one in same)}."
            )
        raise unknown_name("attack", name, [CLEAN, WORST_CASE, *shown.values()])

    def _rows(self) -> Iterator[dict[str, Any]]:
        variants = {variant_name(variant): variant for variant in self.variants}
        rows = result_rows(self)
        for row in (*rows, *_cells(self, {(row.variant, row.accuracy) for row in rows})):
            variant = variants[row.variant]
            every: tuple[AttackResult | CorruptionResult, ...] = (*variant.attacks, *variant.corruptions)
            results = {one.label: one for one in every}
            result = results.get(row.accuracy)
            own = variant.clean.own_metrics if row.accuracy == CLEAN else result and result.own_metrics
            low, high = (None, None) if row.figure is None else row.figure.ci95 or (None, None)
            attack = result if isinstance(result, AttackResult) else None
            difference = row.contrast.difference if row.contrast else None
            yield {
                "variant": row.variant, "bn": variant.bn, "stats": variant.stats, "control": row.control,
                "outcome": row.accuracy, "title": row.title, "attack": None if result is None else result.name,
                "norm": attack and attack.norm, "eps": attack and attack.eps,
                "value": None if row.figure is None else row.figure.value, "low": low, "high": high,
                "status": row.status, "difference": difference and difference.value,
                "p_adjusted": difference and difference.p_adjusted,
                **calibration_values(calibrations(variant).get(row.accuracy)),
                **{f"metric_{name}": figure.value for name, figure in (own or {}).items()},
            }  # fmt: skip


def _cells(report: document.Report, known: set[tuple[str, str]]) -> Iterator[ResultRow]:
    """Yield a row for each common corruption at each severity that has none yet; others have only their means."""
    for variant in report.variants:
        name = variant_name(variant)
        for one in variant.corruptions:
            if (name, one.label) not in known and one.accuracy is not None:
                figure = headline(one.accuracy, one.ci95, one.metrics)
                title = f"{one.name} {noise_strength(one.params)[1]} (corruption, not an attack)"
                yield ResultRow(name, variant.control, one.label, title, figure, one.status, None, None)


_FIELDS = tuple(document.Report.model_fields)
