"""The report: one versioned JSON document, its schema, and reading it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError

from stein_bench.errors import UsageError, without_prefix
from stein_bench.reading import MOST_REPORT, read_json
from stein_bench.report.results import Document, Part, Sha256, VariantResult, WeightsInfo, is_none

SCHEMA_VERSION = 1


class Environment(Part):
    """Hardware and software of the run."""

    python: str
    platform: str
    packages: dict[str, str] = Field(description="versions of the packages that affect the results")
    device: str = Field(description="name of the device the model ran on")
    threads: int = Field(description="CPU threads that torch used within an operation")
    precision: Literal["fp32", "bf16"]
    git_commit: str | None = Field(description="commit of the working directory, if it is a git checkout")


class Processes(Part):
    """The processes that shared a run: whole batches were dealt to them, on which no outcome depends."""

    count: int
    nodes: int = Field(description="number of machines")
    devices: dict[str, int] = Field(description="name of a device → number of processes on such a device")


class AttackNetworkInfo(Part):
    """The network that attacks used for their own passes: the evaluated one's weights, run in another way.

    Everything that an attack found was verified by the evaluated model.
    """

    compile: bool = Field(description="through torch.compile")
    precision: Literal["fp32", "tf32", "bf16"]
    memory_format: Literal["contiguous", "channels_last"]

    def summary(self) -> str:
        """Return it in a few words, e.g. ``bf16, compiled``."""
        told = {"compiled": self.compile, "channels last": self.memory_format == "channels_last"}
        return ", ".join([self.precision, *(word for word, so in told.items() if so)])


class BroughtPart(Part):
    """A part of the run that somebody brought: an attack, an estimator, a metric, a model or data."""

    kind: Literal["attack", "data", "estimator", "metric", "model"]
    name: str
    sha256: str = Field(description="of its source files, as far as they belong to no other installed package")
    origin: str | None = Field(
        default=None, exclude_if=is_none, description="package, version and object of an installed one"
    )


class Run(Part):
    """Provenance of the report."""

    id: str
    created: str = Field(description="start of the run, UTC, ISO 8601")
    command: str
    config: dict[str, Any]
    config_sha256: Sha256 = Field(description="over every setting that can affect a result")
    seed: int
    environment: Environment
    wall_seconds: float
    preset: str | None
    attack_network: AttackNetworkInfo | None = Field(
        default=None, exclude_if=is_none, description="omitted if attacks use the evaluated model itself"
    )
    batch_size: int | None = Field(
        default=None,
        exclude_if=is_none,
        description="what --batch-size auto chose; omitted otherwise",
    )
    processes: Processes | None = Field(default=None, exclude_if=is_none, description="omitted if there was one")
    parts: list[BroughtPart] | None = Field(
        default=None, exclude_if=is_none, description="parts that somebody brought; omitted without any"
    )
    retried_from: int | None = Field(
        default=None,
        exclude_if=is_none,
        description="batches of this size ran out of memory, and --retry-oom chose that of config; omitted otherwise",
    )

    def attacked(self) -> str:
        """Return in a few words what attacks ran on."""
        return "the evaluated model" if self.attack_network is None else self.attack_network.summary()


class Preprocessing(Part):
    """The model's first layer: (input - mean) / std, per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str


Notes = Annotated[
    list[str] | None,
    Field(exclude_if=is_none, description="how files were read where that was a choice; omitted if there was none"),
]


class ModelInfo(Part):
    """The model, as built for this run."""

    name: str
    source: str
    parameters: int
    batchnorm_layers: int
    classes: int = Field(description="number of outputs")
    weights: WeightsInfo
    preprocessing: Preprocessing
    notes: Notes = None


class DataScaling(Part):
    """How the stored values were scaled to [0, 1]."""

    method: Literal["none", "range", "minmax"] = Field(
        description="none: already in [0, 1]; range: from [low, high]; minmax: by each sample's own extremes"
    )
    low: float | None
    high: float | None
    clipped_values: int = Field(description="values outside, clipped to 0 or 1, over all samples")
    clipped_samples: int = Field(description="samples that contain such values")


class DataInfo(Part):
    """The evaluated samples."""

    name: str
    split: str
    task: Literal["classification", "binary", "segmentation"]
    classes: int
    samples: int
    shape: tuple[int, ...] = Field(description="of one sample as given to the model, channels first")
    sha256: Sha256 = Field(description="over the evaluated samples and labels, in order")
    scaling: DataScaling | None = Field(
        default=None, exclude_if=is_none, description="omitted for 8-bit images, which are divided by 255"
    )
    grouped_by: tuple[str, str] | None = Field(
        default=None,
        exclude_if=is_none,
        description="what the two parts of a group's name are, e.g. corruption and severity of fog/3; omitted if "
        "samples are not grouped",
    )
    notes: Notes = None


class Diagnostic(Part):
    """A sanity check of the run; the gate's policy decides on the consequences."""

    name: str
    variant: str | None
    attack: str | None
    status: Literal["pass", "warn", "fail"]
    value: float | None
    message: str


class SavedAdversarials(Part):
    """The file beside the report with some of its adversarial examples, lossless."""

    file: str = Field(pattern=r"^[^/\\]+$", description="its name, in the report's folder")
    sha256: Sha256 = Field(description="over its bytes")
    examples: int
    per_attack: int = Field(description="maximum number per variant and attack: broken samples first, then others")


def _supported(version: object) -> object:
    if version != SCHEMA_VERSION:
        raise ValueError(f"this version of stein-bench reads schema_version {SCHEMA_VERSION}, not {version!r}")
    return version


class Report(Document):
    """The report of one run of `stein-bench evaluate`."""

    schema_version: Annotated[Literal[1], BeforeValidator(_supported)]
    run: Run
    model: ModelInfo
    data: DataInfo
    variants: list[VariantResult]
    diagnostics: list[Diagnostic]
    adversarials: SavedAdversarials | None = Field(default=None, description="null if none were stored")

    def dishonest(self) -> list[str]:
        """Return one line per untrustworthy result: failed or invalid attack, failed corruption, non-finite outputs."""
        lines = []
        for variant in self.variants:
            where = f"{variant.bn} ({variant.stats})"
            if variant.clean.nonfinite_outputs:
                lines.append(f"{where}: {variant.clean.nonfinite_outputs} clean outputs are not finite")
            uses = Counter(attack.name for attack in variant.attacks)
            lines += [
                f"{where}, {attack.name if uses[attack.name] == 1 else attack.label}: {attack.status}: {attack.message}"
                for attack in variant.attacks
                if attack.status in ("failed", "invalid")
            ]
            lines += [
                f"{where}, {corruption.name}: failed: {corruption.message}"
                for corruption in variant.corruptions
                if corruption.status == "failed"
            ]
        return lines


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that every report satisfies."""
    return document_schema(Report)


def document_schema(kind: type[Document]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of documents of that `kind`."""
    schema = kind.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def read_report(path: str | Path) -> Report:
    """Read a report.

    Raises:
        UsageError: the file is missing, not JSON, of another schema version, or not a report.
    """
    return read_document(path, Report, "report")


D = TypeVar("D", bound=Part)


def read_document(path: str | Path, kind: type[D], what: str) -> D:
    """Read a JSON document of that `kind`, called `what` in error messages.

    Raises:
        UsageError: the file is missing, not JSON, of another schema version, or not of that kind.
    """
    try:
        document = read_json(path, MOST_REPORT, f"a {what}")
    except OSError as error:
        raise UsageError(f"cannot read the {what} {str(path)!r}: {error.strerror}.") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise UsageError(f"{path} is not JSON.") from None
    except ValueError as error:
        raise UsageError(f"{path} is not a {what}: {error}.") from None
    if isinstance(document, dict) and "variants" in document and "variants" not in kind.model_fields:
        raise UsageError(f"{path} is a report of `stein-bench evaluate`, not a {what}.")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(str(part) for part in detail["loc"]) or "the document"
        message = without_prefix(detail["msg"])
        raise UsageError(f"{path} is not a {what}: {where}: {message}.") from None
