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

    python: str = Field(description="version of Python")
    platform: str = Field(description="operating system and type of processor, e.g. Linux x86_64")
    packages: dict[str, str] = Field(description="versions of the packages that affect the results")
    device: str = Field(description="name of the device the model ran on")
    threads: int = Field(description="CPU threads that torch used within an operation")
    precision: Literal["fp32", "bf16"] = Field(description="arithmetic of the evaluated model: float32 or bfloat16")
    git_commit: str | None = Field(description="commit of the working directory, if it is a git checkout")


class Processes(Part):
    """The processes that shared a run: whole batches were dealt to them, on which no outcome depends."""

    count: int = Field(description="number of processes")
    nodes: int = Field(description="number of machines")
    devices: dict[str, int] = Field(description="name of a device → number of processes on such a device")


class AttackNetworkInfo(Part):
    """The network that attacks used for their own passes: the evaluated one's weights, run in another way.

    Everything that an attack found was verified by the evaluated model.
    """

    compile: bool = Field(description="through torch.compile")
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        description="arithmetic of its passes: float32, float32 with TF32 for products on CUDA, or bfloat16"
    )
    memory_format: Literal["contiguous", "channels_last"] = Field(
        description="layout of images in memory: channels first or last"
    )

    def summary(self) -> str:
        """Return it in a few words, e.g. ``bf16, compiled``."""
        told = {"compiled": self.compile, "channels last": self.memory_format == "channels_last"}
        return ", ".join([self.precision, *(word for word, so in told.items() if so)])


class BroughtPart(Part):
    """A part of the run that somebody brought: an attack, an estimator, a metric, a model or data."""

    kind: Literal["attack", "data", "estimator", "metric", "model"] = Field(description="what it is used as")
    name: str = Field(
        description="as the user names it, without folders: FILE.py:NAME, package.module:NAME, or its name in an "
        "installed package"
    )
    sha256: str = Field(description="of its source files, as far as they belong to no other installed package")
    origin: str | None = Field(
        default=None, exclude_if=is_none, description="package, version and object of an installed one"
    )


class Run(Part):
    """Provenance of the report."""

    id: str = Field(description="random UUID, another one for every run")
    created: str = Field(description="start of the run, UTC, ISO 8601")
    command: str = Field(
        description="the command line; `stein_bench.evaluate` for a call from Python, for a cell of `reproduce` its "
        "title"
    )
    config: dict[str, Any] = Field(
        description="every option that has a value, defaults included, by its name on the command line"
    )
    config_sha256: Sha256 = Field(description="over every setting that can affect a result")
    seed: int = Field(
        description="--seed: random numbers of attacks, corruptions, training and untrained weights are derived from it"
    )
    environment: Environment = Field(description="hardware and software of the run")
    wall_seconds: float = Field(
        description="wall time in seconds, from the configuration to the report, training included; of a resumed run "
        "that of the last part"
    )
    preset: str | None = Field(description="published: as in the published code (--preset); null otherwise")
    attack_network: AttackNetworkInfo | None = Field(
        default=None,
        exclude_if=is_none,
        description="how attacks ran the network; omitted if they used the evaluated model itself",
    )
    batch_size: int | None = Field(
        default=None,
        exclude_if=is_none,
        description="what --batch-size auto chose; omitted otherwise",
    )
    processes: Processes | None = Field(
        default=None,
        exclude_if=is_none,
        description="the processes that shared the run; omitted if there was one",
    )
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

    mean: tuple[float, ...] = Field(description="one value, or one per channel; inputs are in [0, 1]")
    std: tuple[float, ...] = Field(description="one value, or one per channel; inputs are in [0, 1]")
    origin: str = Field(description="where the values come from, e.g. the weights' card")


Notes = Annotated[
    list[str] | None,
    Field(exclude_if=is_none, description="how files were read where that was a choice; omitted if there was none"),
]


class ModelInfo(Part):
    """The model, as built for this run."""

    name: str = Field(description="short name, as in tables, e.g. resnet18")
    source: str = Field(description="what names it in full, e.g. timm:resnet18 or net.py:make")
    parameters: int = Field(description="number of values in all parameters, frozen ones included, buffers not")
    batchnorm_layers: int = Field(description="number of BN layers that can be converted, or have been")
    classes: int = Field(description="number of outputs")
    weights: WeightsInfo = Field(description="where they come from, and their hash")
    preprocessing: Preprocessing = Field(description="how inputs in [0, 1] are scaled")
    notes: Notes = None


class DataScaling(Part):
    """How the stored values were scaled to [0, 1]."""

    method: Literal["none", "range", "minmax"] = Field(
        description="none: already in [0, 1]; range: from [low, high]; minmax: by each sample's own extremes"
    )
    low: float | None = Field(description="stored value that became 0; null unless the method is range")
    high: float | None = Field(description="stored value that became 1; null unless the method is range")
    clipped_values: int = Field(description="values outside, clipped to 0 or 1, over all samples")
    clipped_samples: int = Field(description="samples that contain such values")


class DataInfo(Part):
    """The evaluated samples."""

    name: str = Field(description="short name of the data set, without folders")
    split: str = Field(description="name of the evaluated split, e.g. test")
    task: Literal["classification", "binary", "segmentation"] = Field(
        description="classification: a class per sample; binary: one of two, with AUC, sensitivity and specificity; "
        "segmentation: a class per pixel"
    )
    classes: int = Field(description="number of classes of the data set; the model may have more outputs")
    samples: int = Field(
        description="number evaluated: the first --limit or all; damaged ones that were left out do not count"
    )
    shape: tuple[int, ...] = Field(description="of one sample as given to the model, channels first")
    sha256: Sha256 = Field(description="over the evaluated samples and labels, in order")
    scaling: DataScaling | None = Field(
        default=None,
        exclude_if=is_none,
        description="how stored values became values in [0, 1]; omitted for 8-bit images, which are divided by 255",
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

    name: str = Field(description="name of the check, e.g. clean-accuracy")
    variant: str | None = Field(
        description="label of the variant, BN/statistics source, e.g. `stein/running`; null if it concerns all alike"
    )
    attack: str | None = Field(
        description="label of the attack, as in outcomes; of two that are compared the stronger one; null if it "
        "concerns none in the report"
    )
    status: Literal["pass", "warn", "fail"] = Field(
        description="warn and fail change no result and no exit code of `evaluate`"
    )
    value: float | None = Field(
        description="what was measured: mostly a share in [0, 1], or a difference of two in [-1, 1]; of step-budget "
        "alpha·steps / eps. Null without a single figure"
    )
    message: str = Field(description="what was found and, unless it passed, what that means or what to do")


class SavedAdversarials(Part):
    """The file beside the report with some of its adversarial examples, lossless."""

    file: str = Field(pattern=r"^[^/\\]+$", description="its name, in the report's folder")
    sha256: Sha256 = Field(description="over its bytes")
    examples: int = Field(description="number of examples in the file, all variants and attacks together")
    per_attack: int = Field(description="maximum number per variant and attack: broken samples first, then others")


def _supported(version: object) -> object:
    if version != SCHEMA_VERSION:
        raise ValueError(f"this version of stein-bench reads schema_version {SCHEMA_VERSION}, not {version!r}")
    return version


class Report(Document):
    """The report of one run of `stein-bench evaluate`."""

    schema_version: Annotated[Literal[1], BeforeValidator(_supported)] = Field(
        description="version of the format of this document; another one is refused when it is read"
    )
    run: Run = Field(description="how the report was made: command, configuration, environment")
    model: ModelInfo = Field(description="the evaluated model: its size, its weights, the scaling of its inputs")
    data: DataInfo = Field(description="the evaluated samples")
    variants: list[VariantResult] = Field(
        description="the results of each BN under each statistics source: those requested in their order, then controls"
    )
    diagnostics: list[Diagnostic] = Field(description="sanity checks of the run, of its variants and of its attacks")
    adversarials: SavedAdversarials | None = Field(
        default=None, description="the file with adversarial examples; null if none were stored"
    )

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
