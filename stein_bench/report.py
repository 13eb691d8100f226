"""The report: one versioned JSON document, its schema, and how it is written and read back."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from stein_bench.errors import UsageError

SCHEMA_VERSION = 1

Share = Annotated[float, Field(ge=0, le=1)]
Interval = tuple[Share, Share]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Environment(_Part):
    """Where the run took place."""

    python: str
    platform: str
    packages: dict[str, str] = Field(description="versions of the packages that decide the numbers")
    device: str = Field(description="name of the device the model ran on")
    threads: int = Field(description="CPU threads torch used within an operation")
    precision: Literal["fp32", "bf16"]
    git_commit: str | None = Field(description="commit of the working directory, if it is a git checkout")


class Run(_Part):
    """Provenance of the report."""

    id: str
    created: str = Field(description="start of the run, UTC, ISO 8601")
    command: str
    config: dict[str, Any]
    config_sha256: Sha256 = Field(description="over every setting that can change a result")
    seed: int
    environment: Environment
    wall_seconds: float
    preset: str | None


class WeightsInfo(_Part):
    """Which weights: pretrained, none (random), fit (trained here on the training split) or file."""

    kind: Literal["pretrained", "none", "fit", "file"]
    sha256: Sha256 | None = Field(
        description="over names, types, shapes and values; null in `model` where variants differ"
    )


class Preprocessing(_Part):
    """The model's first layer: (input - mean) / std, per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str


class ModelInfo(_Part):
    """The model, as built for this run."""

    name: str
    source: str
    parameters: int
    batchnorm_layers: int
    classes: int = Field(description="number of outputs")
    weights: WeightsInfo
    preprocessing: Preprocessing


class DataInfo(_Part):
    """The evaluated samples."""

    name: str
    split: str
    task: Literal["classification"]
    classes: int
    samples: int
    shape: tuple[int, ...] = Field(description="of one sample as the model gets it, channels first")
    sha256: Sha256 = Field(description="over the evaluated samples and labels, in order")


class SkippedLayerInfo(_Part):
    """A normalization layer that was not converted, and why."""

    name: str
    kind: str
    reason: str


class Clean(_Part):
    """Accuracy on the clean inputs."""

    accuracy: Share
    ci95: Interval
    assumes_independence: bool = Field(description="true where samples of a batch are coupled (batch statistics)")
    nonfinite_outputs: int
    seconds: float


class Spread(_Part):
    """Mean, median and maximum over the samples that the attack broke."""

    mean: float
    median: float
    max: float


class Replay(_Part):
    """What is left of the robust accuracy when the same adversarial inputs are shown in other batches.

    Shares are right on the clean input in its own batch *and* on the adversarial one in the batch named. `flipped` is
    the share of samples whose verdict is another one than in the batch in which they were attacked.
    """

    joint: Share = Field(description="in the batch in which they were attacked, of all replayed samples")
    shuffled: Share | None = Field(description="among other adversarial inputs; null with a single batch")
    shuffled_flipped: Share | None
    samples: int = Field(description="replayed shuffled: all, or the first that fit into memory")
    single_samples: int = Field(description="replayed singly: at most 64")
    single_joint: Share = Field(description="in the batch in which they were attacked, of those")
    among_clean: Share = Field(description="each alone among the clean samples of its batch")
    among_clean_flipped: Share
    alone: Share | None = Field(description="each by itself; null where a layer would have one element per channel")
    alone_flipped: Share | None


class AttackResult(_Part):
    """One attack on one variant. Shares are null where the attack failed."""

    name: str
    backend: Literal["native", "torchattacks"]
    norm: Literal["Linf", "L2", "L1", "L0"]
    eps: float
    params: dict[str, bool | int | float | str]
    label: str = Field(description="identity within the report, as in outcomes")
    status: Literal["ok", "failed", "skipped", "invalid"]
    message: str
    robust_accuracy: Share | None = Field(description="share right on the clean and on the adversarial input")
    ci95: Interval | None
    assumes_independence: bool
    attack_success_rate: Share | None = Field(description="share broken among the clean-correct samples")
    invalid: int = Field(description="samples outside budget, box or finite values: never successes")
    over_budget: int = Field(description="samples beyond eps, of attacks that do not honour it: no successes at eps")
    perturbation_linf: Spread | None
    perturbation_l2: Spread | None
    replay: Replay | None = Field(default=None, description="under batch statistics: how far the verdicts hold")
    forward_passes: int = Field(description="of the attack, in samples; verification not counted")
    backward_passes: int
    seconds: float


class CorruptionResult(_Part):
    """One kind of random noise on one variant, in several draws. It is judged on the corrupted input alone."""

    name: str
    params: dict[str, bool | int | float | str]
    label: str = Field(description="identity within the report, as in outcomes")
    status: Literal["ok", "failed"]
    message: str
    accuracy: Share | None = Field(description="share right on the corrupted input, mean over the draws")
    ci95: Interval | None = Field(description="of the mean, for that many samples: draws are no further samples")
    assumes_independence: bool
    accuracies: list[Share] = Field(description="of each draw")
    worst_accuracy: Share | None = Field(description="share right under every draw")
    worst_ci95: Interval | None
    forward_passes: int
    seconds: float


class Outcomes(_Part):
    """Per-sample bits, packed (most significant first) and base64-encoded, in data order."""

    samples: int
    sample_ids_sha256: Sha256
    clean_correct: str
    robust: dict[str, str] = Field(description="by attack label; failed attacks have none")
    corrupted_correct: dict[str, list[str]] = Field(
        default_factory=dict, description="by corruption label, one entry per draw of the noise"
    )


class VariantResult(_Part):
    """One BN variant under one statistics source."""

    bn: str
    stats: Literal["running", "batch"]
    control: bool = Field(description="true where it was added for comparison, not asked for")
    converted_layers: int
    skipped_layers: list[SkippedLayerInfo]
    layers_of_unknown_count: int = Field(
        description="converted layers whose weights do not tell the elements per channel N of a training batch: "
        "under running statistics it counts as infinite, and what the estimator does with it is off"
    )
    conversion: Literal["before-training", "after-training", "none"]
    function_preserved: bool = Field(
        description="γ and β absorbed the change of statistics: under running statistics the same function as before"
    )
    weights: WeightsInfo
    clean: Clean
    attacks: list[AttackResult]
    corruptions: list[CorruptionResult] = Field(
        default_factory=list, description="random noise: no attacks, and no part of the worst case"
    )
    worst_case_accuracy: Share | None = Field(
        description="share that survives every attack; null if one failed or there is none"
    )
    worst_case_ci95: Interval | None
    outcomes: Outcomes


class Diagnostic(_Part):
    """A check on the run itself; the gate's policy decides what follows from it."""

    name: str
    variant: str | None
    attack: str | None
    status: Literal["pass", "warn", "fail"]
    value: float | None
    message: str


def _supported(version: object) -> object:
    if version != SCHEMA_VERSION:
        raise ValueError(f"this version of stein-bench reads schema_version {SCHEMA_VERSION}, not {version!r}")
    return version


class Report(_Part):
    """The report of one run of `stein-bench evaluate`."""

    schema_version: Annotated[Literal[1], BeforeValidator(_supported)]
    run: Run
    model: ModelInfo
    data: DataInfo
    variants: list[VariantResult]
    diagnostics: list[Diagnostic]

    def dishonest(self) -> list[str]:
        """Return one line for each result that cannot be trusted: failed or invalid attacks, non-finite outputs."""
        lines = []
        for variant in self.variants:
            where = f"{variant.bn} ({variant.stats})"
            if variant.clean.nonfinite_outputs:
                lines.append(f"{where}: {variant.clean.nonfinite_outputs} clean outputs are not finite")
            lines += [
                f"{where}, {attack.name}: {attack.status}: {attack.message}"
                for attack in variant.attacks
                if attack.status in ("failed", "invalid")
            ]
            lines += [
                f"{where}, {corruption.name}: failed: {corruption.message}"
                for corruption in variant.corruptions
                if corruption.status == "failed"
            ]
        return lines

    def to_json(self) -> str:
        """Return the report as indented JSON text with a final newline."""
        return self.model_dump_json(indent=2) + "\n"


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that every report satisfies."""
    schema = Report.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_text(path: str | Path, text: str) -> None:
    """Write a file atomically: a temporary file in the same folder, then a rename."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp's 0600 would hide reports from a CI's next step
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_report(path: str | Path) -> Report:
    """Read a report back.

    Raises:
        UsageError: the file is missing, not JSON, of another schema version, or not a report.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the report {str(path)!r}: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is not JSON.") from None
    try:
        return Report.model_validate(document)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(str(part) for part in detail["loc"]) or "the document"
        message = str(detail["msg"]).removeprefix("Value error, ")
        raise UsageError(f"{path} is not a report: {where}: {message}.") from None
