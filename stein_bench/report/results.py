"""The results of one variant as stored in the report: clean, under attack, under corruptions, per sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticSerializationError

from stein_bench.errors import one_line, visible_json

Share = Annotated[float, Field(ge=0, le=1)]
Interval = tuple[Share, Share]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def is_none(value: object) -> bool:
    """Return whether an optional part is absent, and so omitted from the document."""
    return value is None


class Part(BaseModel):
    """A part of a document: frozen, unknown keys are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Document(Part):
    """A whole JSON document."""

    def to_json(self) -> str:
        """Return the document as indented JSON text with a final newline; see `visible_json`."""
        try:
            text = self.model_dump_json(indent=2)
        except PydanticSerializationError:  # a name with half of a surrogate pair, as of a file that is not in UTF-8
            text = on_lines(self).model_dump_json(indent=2)
        return visible_json(text) + "\n"


P = TypeVar("P", bound=Part)


def on_lines(part: P) -> P:
    """Return a part of a document with every text in it on one line: see `one_line`."""
    fields = type(part).model_fields
    return part.model_copy(update={name: _on_lines(getattr(part, name)) for name in fields})


def _on_lines(value: Any) -> Any:
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, Part):
        return on_lines(value)
    if isinstance(value, dict):
        return {_on_lines(key): _on_lines(one) for key, one in value.items()}
    return type(value)(map(_on_lines, value)) if isinstance(value, list | tuple) else value


class WeightsInfo(Part):
    """The weights: pretrained, none (random), fit (trained by stein-bench on the training split), file, or own.

    A model has weights of its own if it comes with them: a program, or what the user's code returns with its weights.
    """

    kind: Literal["pretrained", "none", "fit", "file", "own"] = Field(
        description="pretrained: published weights; none: random, untrained; fit: trained by stein-bench on the "
        "training split; file: from a file; own: the model comes with them"
    )
    sha256: Sha256 | None = Field(
        description="over names, types, shapes and values; null in `model` if variants differ"
    )


class SkippedLayerInfo(Part):
    """A normalization layer that was not converted, and why."""

    name: str = Field(description="its name in the model")
    kind: str = Field(description="its class, e.g. GroupNorm")
    reason: str = Field(description="why it was not converted, in one sentence")


class Figure(Part):
    """A metric with its 95 % interval; null if the samples do not determine it."""

    value: float | None = Field(
        description="a metric of the task is a share in [0, 1]; one that the user brings has its own unit and range. "
        "Null if it is not defined, e.g. the sensitivity without a sample of class 1, or not finite"
    )
    ci95: tuple[float, float] | None = Field(
        description="95 % interval of the value, in its unit; null without a value and where there is none: for a "
        "single sample or image, the metrics of the task for versions of base images, those of the published code"
    )


Metrics = Annotated[
    dict[str, Figure] | None,
    Field(exclude_if=is_none, description="the task's metrics besides accuracy; omitted if it has none"),
]


OwnMetrics = Annotated[
    dict[str, Figure] | None,
    Field(
        exclude_if=is_none,
        description="means over the samples of the metrics that the user brings, under an attack of its adversarial "
        "inputs (the clean one where that is invalid or over budget); omitted without such metrics",
    ),
]


def headline(share: float, ci95: tuple[float, float] | None, metrics: Mapping[str, Figure] | None) -> Figure:
    """Return the figure used for comparisons: the mIoU if there is one, else the accuracy."""
    return (metrics or {}).get("miou") or Figure(value=share, ci95=ci95)


def shown(figure: Figure, expected: ExpectedAccuracy | None) -> Figure:
    """Return the figure that stands for a result: of a random model its expected accuracy."""
    return figure if expected is None else Figure(value=expected.value, ci95=expected.ci95)


class Calibration(Part):
    """Whether confidence, the probability that the model gives to the class it predicts, agrees with accuracy.

    Every figure is of one input per sample: the clean one; under an attack the adversarial one, or the clean one where
    that is invalid or over budget; under a corruption the corrupted one. It is the largest entry of the softmax, of a
    single logit the larger of σ and 1-σ. Predictions with outputs that are not finite are left out.
    """

    predictions: int = Field(description="number counted: with finite outputs, under a corruption of all draws")
    accuracy: Share = Field(
        description="share of them that is right; under an attack it can be higher than the robust accuracy, for which "
        "a sample has to be right on the clean input as well"
    )
    confidence: Share = Field(description="mean confidence")
    confidence_when_wrong: Share | None = Field(
        description="mean confidence of those that are wrong, null if none is; an attack that stops at the first "
        "adversarial input does not look for confident ones"
    )
    overconfidence: float = Field(description="mean confidence minus accuracy, in [-1, 1]")
    ece: Share = Field(
        description="expected calibration error: mean absolute difference between accuracy and mean confidence in 15 "
        "bins of confidence of equal width, weighted with their predictions; under a corruption mean over the draws"
    )
    ece_if_calibrated: Share = Field(
        description="the ece to be expected of a model that is right with exactly its confidence, on so many samples: "
        "an ece no larger is no sign of miscalibration. Takes samples as independent, so it is too low under batch "
        "statistics and for versions of base images"
    )


Calibrated = Annotated[
    Calibration | None,
    Field(
        exclude_if=is_none,
        description="confidence against accuracy; omitted for segmentation and for random models, of which every "
        "prediction is drawn several times, and if no output is finite",
    ),
]


class GroupResult(Part):
    """Results on the samples of one group."""

    samples: int = Field(description="number of samples in it")
    accuracy: Share = Field(description="under an attack the robust accuracy, as over all samples")
    ci95: Interval = Field(description="95 % interval of the accuracy, in [0, 1]")


class SiteResult(GroupResult):
    """Results on the samples of one site."""

    metrics: Metrics = None


Sites = Annotated[
    dict[str, SiteResult] | None,
    Field(exclude_if=is_none, description="results by site; omitted if the data does not record sites"),
]
Groups = Annotated[
    dict[str, GroupResult] | None,
    Field(
        exclude_if=is_none,
        description="results by cell of a corrupted test set, a corruption at a severity, e.g. fog/3; omitted for "
        "other data",
    ),
]


class ExpectedAccuracy(Part):
    """The accuracy of a random model: the mean over samples of the share of draws in which each is right."""

    value: Share = Field(
        description="clean, or under attack of the input that was right least often in other draws: the clean or the "
        "adversarial one, in the worst case of all of them"
    )
    ci95: Interval = Field(description="knows the draws: its variance is that of the samples' shares of right draws")
    draws: Annotated[int, Field(ge=1)] = Field(description="number of draws per sample")


Expected = Annotated[
    ExpectedAccuracy | None,
    Field(
        exclude_if=is_none,
        description="expected accuracy; random models only: then every accuracy beside it is the share of samples "
        "that are right in more than half of the draws",
    ),
]


AssumesIndependence = Annotated[
    bool,
    Field(
        description="true under batch statistics, where samples of a batch depend on each other, though intervals take "
        "them as independent"
    ),
]


class Clean(Part):
    """Accuracy on the clean inputs."""

    accuracy: Share = Field(description="share of correct samples; for segmentation, of correct labeled pixels")
    ci95: Interval = Field(description="95 % interval of the accuracy, in [0, 1]")
    expected_accuracy: Expected = None
    metrics: Metrics = None
    own_metrics: OwnMetrics = None
    calibration: Calibrated = None
    sites: Sites = None
    groups: Groups = None
    assumes_independence: AssumesIndependence
    nonfinite_outputs: int = Field(
        description="samples whose outputs are not all finite: they count as wrong, and the report is dishonest unless "
        "it is 0"
    )
    seconds: float = Field(
        description="wall time in seconds of the predictions on the clean inputs, summed over batches and processes"
    )


class Spread(Part):
    """Mean, median and maximum over the broken samples."""

    mean: float = Field(description="mean norm; a value of the input ranges over [0, 1]")
    median: float = Field(description="median norm")
    max: float = Field(description="largest norm")


class Replay(Part):
    """The robust accuracy when the same adversarial inputs are evaluated in other batches.

    Shares are of samples that are correct on the clean input in its own batch and on the adversarial input in the
    batch named; for segmentation they are mIoU. `flipped` is the share of samples whose verdict differs from that in
    the batch in which they were attacked.
    """

    joint: Share = Field(description="in the batch in which they were attacked, of all replayed samples")
    shuffled: Share | None = Field(description="among other adversarial inputs; null with a single batch")
    shuffled_flipped: Share | None = Field(
        description="share of the samples replayed shuffled whose verdict changed; for segmentation the share of "
        "images whose mIoU changed by more than 0.01; null with a single batch"
    )
    samples: int = Field(description="number replayed shuffled: all, or the first that fit into memory")
    single_samples: int = Field(description="number replayed one at a time: at most 64")
    single_joint: Share = Field(description="joint, of the samples replayed one at a time")
    among_clean: Share = Field(description="each among the clean samples of its batch, the only adversarial input")
    among_clean_flipped: Share = Field(description="likewise, of the samples replayed one at a time")
    alone: Share | None = Field(description="as a batch of one; null if a layer would have one element per channel")
    alone_flipped: Share | None = Field(description="likewise; null if `alone` is null")


class Distances(Part):
    """The smallest perturbations found, in the attack's norm and also beyond its eps, of correctly classified samples.

    They are upper bounds: another attack may find a nearer adversarial input.
    """

    found: int = Field(description="samples for which an adversarial input was found at any distance")
    samples: int = Field(description="correct on the clean input")
    mean: float | None = Field(description="over those found, like median and quantiles")
    median: float | None = Field(description="of the distances of those found; null if none was found")
    quantiles: dict[str, float] = Field(
        description="of the distances of those found, by probability: 0.05, 0.25, 0.75 and 0.95; empty if none was "
        "found"
    )
    curve: list[tuple[float, Share]] = Field(
        description="robust accuracy as a function of ε, at distances at which it drops: pairs of ε and the share of "
        "all samples that are correct on the clean input and for which nothing was found within ε"
    )


class Unsearched(Part):
    """What a search made on a random subset leaves open.

    Some of the samples that survived all earlier searches are drawn, each by its own seed, and searched. The share of
    survivors that the search breaks is at most Clopper and Pearson's upper limit (95 %, one-sided), and so bounds what
    it would break among those not drawn.
    """

    attack: str = Field(description="the search, e.g. square")
    survivors: int = Field(description="correctly classified samples that every earlier search left right")
    searched: int = Field(description="those of them that were drawn")
    broken: int = Field(description="those of the searched that the search broke")
    at_most_lower: Share = Field(
        description="the robust accuracy would be at most this much lower if all survivors had been searched (95 %)"
    )


class AttackResult(Part):
    """One attack on one variant. Shares are null if the attack failed."""

    name: str = Field(
        description="as `list attacks` names it, or for one that the user brings its file or module and name"
    )
    backend: Literal["native", "torchattacks", "own"] = Field(
        description="what implements it: stein-bench, torchattacks, or the code that the user brings"
    )
    norm: Literal["Linf", "L2", "L1", "L0"] = Field(description="the norm that eps bounds")
    eps: float = Field(
        description="largest norm of a perturbation that counts as a success: values range over [0, 1]; in L0 it is "
        "the number of changed pixels"
    )
    params: dict[str, bool | int | float | str] = Field(
        description="its parameters besides norm and eps, defaults of stein-bench's own attacks included; of a "
        "transfer attack also surrogate and the hash of its weights"
    )
    label: str = Field(description="identity within the report, as in outcomes")
    status: Literal["ok", "failed", "skipped", "invalid"] = Field(
        description="ok; failed: it raised an error or ran out of time or memory, and has no figures; invalid: some of "
        "its adversarial inputs are, see `invalid`. No current version writes skipped"
    )
    message: str = Field(description="why the status is failed or invalid; empty if it is ok")
    robust_accuracy: Share | None = Field(
        description="share correct on the clean and on the adversarial input; for segmentation the share of labeled "
        "pixels that are correct when every image is the adversarial or the clean one, whichever has the lower mIoU"
    )
    ci95: Interval | None = Field(
        description="95 % interval of the robust accuracy, in [0, 1]; null if the attack failed"
    )
    expected_accuracy: Expected = None
    metrics: Metrics = None
    own_metrics: OwnMetrics = None
    calibration: Calibrated = None
    sites: Sites = None
    groups: Groups = None
    assumes_independence: AssumesIndependence
    attack_success_rate: Share | None = Field(
        description="share of the correctly classified samples that it broke; null for segmentation, if none is "
        "correct, or if the attack failed"
    )
    invalid: int = Field(description="samples outside the budget or [0, 1], or not finite: never successes")
    over_budget: int = Field(description="samples beyond eps, of attacks that do not respect it: not successes at eps")
    perturbation_linf: Spread | None = Field(
        description="Linf norm of the perturbations of the samples that it broke (for segmentation of the images whose "
        "mIoU it lowered); null if there is none, or if it failed"
    )
    perturbation_l2: Spread | None = Field(
        description="L2 norm of the same perturbations, over all values of an input; null like `perturbation_linf`"
    )
    distances: Distances | None = Field(
        default=None,
        description="of minimum-norm attacks; null for all others, for segmentation, and if the attack failed",
    )
    replay: Replay | None = Field(
        default=None,
        description="stability of the verdicts under batch statistics; null under running statistics, if the attack "
        "failed, or if nothing was replayed",
    )
    verdict_differences: int | None = Field(
        default=None,
        exclude_if=is_none,
        description="samples on which the attack network's own verdict on the adversarial input differs from the "
        "verified one, which alone counts; the logits behind a model's probabilities are an attack network too; "
        "omitted if attacks use the evaluated model itself or a surrogate",
    )
    unsearched: Unsearched | None = Field(
        default=None,
        exclude_if=is_none,
        description="attacks that search only a random subset of the survivors to the end; omitted for all others, and "
        "under batch statistics",
    )
    same_run_as: str | None = Field(
        default=None,
        exclude_if=is_none,
        description="label of the same attack at another eps: it ignores eps, so one run served both, whose passes and "
        "time are counted there; omitted if the attack had its own run",
    )
    forward_passes: int = Field(
        description="of the attack, in samples, without verification; those of a transfer attack are "
        "passes through its surrogate, none through the evaluated model"
    )
    backward_passes: int = Field(
        description="of the attack, counted like `forward_passes`; 0 for attacks without gradients"
    )
    seconds: float = Field(description="wall time in seconds, verification included, summed over batches and processes")


class CorruptionResult(Part):
    """One corruption on one variant, in one draw or several. Only the corrupted input counts."""

    name: str = Field(description="as `list attacks` names it, e.g. noise-gaussian or fog")
    params: dict[str, bool | int | float | str] = Field(
        description="its parameters with their defaults, e.g. severity, or std and seeds (the number of draws)"
    )
    label: str = Field(description="identity within the report, as in outcomes")
    status: Literal["ok", "failed"] = Field(
        description="failed: an error was raised or memory ran out, so there are no figures"
    )
    message: str = Field(description="why it failed; empty if the status is ok")
    accuracy: Share | None = Field(
        description="share correct on the corrupted input, mean over the draws; null if the corruption failed"
    )
    ci95: Interval | None = Field(
        description="95 % interval of the mean, for n samples: draws do not count as additional samples"
    )
    metrics: Metrics = None
    own_metrics: OwnMetrics = None
    calibration: Calibrated = None
    sites: Sites = None
    groups: Groups = None
    assumes_independence: AssumesIndependence
    accuracies: list[Share] = Field(description="of each draw; empty if the corruption failed")
    worst_accuracy: Share | None = Field(description="share correct under every draw; null if the corruption failed")
    worst_ci95: Interval | None = Field(
        description="95 % interval of `worst_accuracy`, in [0, 1]; null if the corruption failed"
    )
    forward_passes: int = Field(
        description="passes through the evaluated model, in samples: one for each sample and draw"
    )
    seconds: float = Field(description="wall time in seconds, summed over batches and processes")


class CorruptionMean(Part):
    """One common corruption, over its severities."""

    severities: list[Annotated[int, Field(ge=1, le=5)]] = Field(
        description="those evaluated, ascending; 5 is the strongest"
    )
    accuracies: list[Share] = Field(description="at each of the severities; for segmentation the mIoU, here and below")
    accuracy: Share = Field(description="their mean")
    ci95: Interval = Field(
        description="95 % interval of the mean, for n samples: severities do not count as additional samples"
    )
    corruption_error: float | None = Field(
        default=None,
        exclude_if=is_none,
        description="sum of its errors over that of the baseline's; omitted without a baseline",
    )


class MeanCorruptionError(Part):
    """Errors under common corruptions, relative to a baseline's (Hendrycks and Dietterich 2019, section 4).

    All are ratios: 1 is the baseline.
    """

    baseline: str = Field(description="AlexNet, or model and variant of the baseline's report")
    baseline_run: str | None = Field(description="id of the baseline's report; null for AlexNet's published errors")
    mce: float | None = Field(description="mean of the corruption errors; null if the baseline makes no error")
    relative_mce: float | None = Field(
        description="the same with errors minus the error on clean samples; null if that is not known, or if the "
        "baseline's error does not rise"
    )


class CommonCorruptions(Part):
    """The common corruptions of Hendrycks and Dietterich (2019), summarized over severities and corruptions."""

    corruptions: dict[str, CorruptionMean] = Field(description="by name, e.g. fog: each over its severities")
    accuracy: Share = Field(description="mean over all corruptions and severities; for segmentation of the mIoU")
    ci95: Interval = Field(description="95 % interval of the mean, for n samples")
    standard: bool = Field(
        description="whether these are the 15 standard corruptions at all five severities, as in published means"
    )
    mce: MeanCorruptionError | None = Field(
        default=None,
        exclude_if=is_none,
        description="mean corruption error; omitted without a baseline (--mce-baseline)",
    )


class PackedCounts(Part):
    """Pixel counts per image and class: little-endian uint32 arrays, images × classes, base64-encoded, in data order.

    A pair has the pixels of each class that are predicted as that class, and all labeled pixels predicted as it. Under
    attack an image has the counts of its adversarial input, or those of the clean one if that has the lower mIoU or the
    adversarial input does not count.
    """

    classes: list[Annotated[int, Field(ge=0, lt=100_000)]] = Field(
        description="those that occur in any target or prediction, ascending: the columns"
    )
    target: str = Field(description="pixels of each class")
    clean: tuple[str, str] = Field(description="the pair on the clean images")
    robust: dict[str, tuple[str, str]] = Field(description="by attack label; failed attacks have none")
    corrupted: dict[str, list[tuple[str, str]]] = Field(description="by corruption label, one entry per draw")


class PackedDrawn(Part):
    """The draws of one outcome: which are right, packed bits, samples × draws; how many of the selecting ones are."""

    right: str = Field(
        description="the draws that give the figures: 1 where the prediction is right, sample by sample, base64-encoded"
    )
    selecting: str = Field(description="little-endian uint16 per sample, base64-encoded")


class PackedDraws(Part):
    """The draws of a random model. The selecting ones choose the worst input of a sample, the others give figures."""

    draws: Annotated[int, Field(ge=1, lt=2**16)] = Field(description="number in each of the two sets")
    clean: PackedDrawn = Field(description="on the clean inputs")
    robust: dict[str, PackedDrawn] = Field(description="by attack label; failed attacks have none")


class Outcomes(Part):
    """Per-sample bits, packed (most significant first) and base64-encoded, in data order; or counts per class."""

    samples: int = Field(description="number of samples, as in `data`")
    sample_ids_sha256: Sha256 = Field(
        description="over the ids of the samples, in order: outcomes in reports with the same hash can be paired"
    )
    cluster_size: Annotated[int, Field(ge=2)] | None = Field(
        default=None,
        exclude_if=is_none,
        description="so many consecutive samples are versions of one base image and not independent of each other: "
        "intervals and tests over all samples count base images; omitted if every sample stands for itself",
    )
    clean_correct: str | None = Field(
        default=None,
        exclude_if=is_none,
        description="which are right on the clean input; omitted for segmentation, where samples are not simply right "
        "or wrong",
    )
    robust: dict[str, str] = Field(
        default_factory=dict,
        description="which are right on the clean and on the adversarial input, by attack label; failed attacks have "
        "none",
    )
    corrupted_correct: dict[str, list[str]] = Field(
        default_factory=dict,
        description="which are right, by corruption label, one entry per draw of the noise",
    )
    drawn: PackedDraws | None = Field(
        default=None,
        exclude_if=is_none,
        description="the draws behind these bits; random models only",
    )
    class_counts: PackedCounts | None = Field(
        default=None,
        exclude_if=is_none,
        description="pixels per image and class in place of these bits; segmentation only",
    )


class TriedSource(Part):
    """A source of gradients that was tried on a few samples before an adaptive attack."""

    name: str = Field(
        description="what the gradients are of, e.g. its own gradients or straight-through gradients; scores alone: "
        "none, only outputs are used"
    )
    broken: int = Field(description="number of the probed samples that short attacks broke with it")


class SurrogateInfo(Part):
    """An operation of the model that got a surrogate gradient, and where its code calls it."""

    operation: str = Field(description="what the operation is called, e.g. round")
    file: str | None = Field(description="name of the file of that code; null if it is not known")
    line: int | None = Field(description="number of the line in that file, from 1; null if it is not known")


class SearchInfo(Part):
    """One search of an adaptive attack, made on the samples that survived the earlier ones."""

    search: str = Field(description="e.g. pma, apgd-ce or square; clean: the input as it is, before any search")
    source: str = Field(description="the source of its gradients or scores; empty for clean")
    broken: int = Field(
        description="samples, correct on the clean input, that it broke; of a random model those that are right in "
        "less than half of the draws at the point it found, if that was the worst of all searches"
    )
    lowered: float | None = Field(
        default=None,
        description="by how much it lowers the worst case of the other attacks within the budget, as a share of all "
        "samples; null if there are no other attacks. Of a random model it may be below 0, since other draws select "
        "points than judge them",
    )


class AdaptiveInfo(Part):
    """How an adaptive attack treated the model, and what that changed."""

    attack: str = Field(description="its label")
    hidden: bool = Field(
        description="whether the model's own gradients are missing, or clearly worse than those of another source or "
        "than scores alone"
    )
    probed: int = Field(description="number of samples, correct on the clean input, on which the sources were tried")
    tried: list[TriedSource] = Field(
        description="the sources of gradients, the model's own first, and scores alone: what short attacks with each "
        "broke"
    )
    failed: dict[str, str] | None = Field(
        default=None, exclude_if=is_none, description="sources that do not work on this model → why"
    )
    used: list[str] = Field(description="sources that were used, the best first")
    differs_with_gradients: bool = Field(
        description="whether the model has other outputs for the same input when gradients are wanted"
    )
    logits_before: str = Field(description="the operation before which logits were read; empty for the outputs")
    replaced: list[SurrogateInfo] = Field(
        description="operations of the model that got surrogate gradients; empty if there are none"
    )
    searches: list[SearchInfo] = Field(
        default_factory=list,
        description="in the order in which they were made; if the attack failed, none has broken any sample",
    )
    robust_accuracy: Share | None = Field(
        default=None,
        description="under the adaptive attack alone; here and below, of a random model, expected accuracy",
    )
    others: Share | None = Field(
        default=None, description="worst case of the other attacks within its budget; null if there are none"
    )
    together: Share | None = Field(default=None, description="worst case with it")


class Effect(Part):
    """A difference of two accuracies (or, for the interaction, of two such differences) on the same samples."""

    outcome: str = Field(description="clean, worst-case, or an attack's label")
    name: Literal["estimator-running", "estimator-batch", "source-sample", "source-variant", "interaction"] = Field(
        description="this BN minus plain BN under running or batch statistics; batch minus running statistics with "
        "plain BN or with this BN; estimator-batch minus estimator-running"
    )
    difference: float = Field(description="in [-1, 1], for the interaction in [-2, 2]; for segmentation of mIoU")
    ci95: tuple[float, float] | None = Field(
        description="95 % interval of the paired difference; null for the interaction"
    )
    p: Share | None = Field(description="two-sided, paired; null with fewer than ten batches if the test flips batches")


class BudgetResult(Part):
    """The worst case within one budget: over the attacks of that norm with at most that eps."""

    norm: Literal["Linf", "L2", "L1", "L0"] = Field(description="norm of the budget")
    eps: float = Field(description="the budget, in the unit of the attacks' eps")
    attacks: list[str] = Field(description="labels of the attacks within the budget")
    accuracy: Share = Field(
        description="share that survives all of them; for segmentation of labeled pixels, as in `worst_case_accuracy`"
    )
    ci95: Interval = Field(description="95 % interval of the accuracy, in [0, 1]")
    expected_accuracy: Expected = None
    metrics: Metrics = None


class LayerShrinkage(Part):
    """Effect of the variant's estimator on the running moments of one layer."""

    layer: str = Field(description="its name in the model")
    count: int | None = Field(description="elements per channel N that it is computed for; null means infinity")
    mean_kept: float | None = Field(description="share of the mean vector that is kept; null for a zero mean")
    variance_ratio: tuple[float, float, float] | None = Field(
        description="shrunk over sample variance: minimum, median and maximum over the channels that vary"
    )


class VariantResult(Part):
    """One BN variant under one statistics source."""

    bn: str = Field(
        description="the estimator: sample is plain BN; one from a file is without its folders, FILE.py:NAME"
    )
    stats: Literal["running", "batch"] = Field(
        description="statistics source: running (averages kept from training) or batch (the batch being evaluated)"
    )
    control: bool = Field(description="true if added for comparison only")
    converted_layers: int = Field(
        description="number of BN layers with the estimator or, of plain BN under batch statistics, made to use "
        "those; 0 for plain BN under running statistics"
    )
    skipped_layers: list[SkippedLayerInfo] = Field(
        description="normalization layers left as they were; empty for plain BN under running statistics"
    )
    layers_of_unknown_count: int = Field(
        description="converted layers whose weights do not record the elements per channel N of a training batch: "
        "under running statistics N is treated as infinite, which disables the part of the estimator that depends on it"
    )
    conversion: Literal["before-training", "after-training", "none"] = Field(
        description="before-training: BN was converted before its weights were trained, loaded or drawn at random; "
        "after-training: BN of a trained network was converted; none: plain BN"
    )
    function_preserved: bool = Field(
        description="γ and β absorbed the change: under running statistics the function is the same as before"
    )
    weights: WeightsInfo = Field(description="those of this variant's network, after conversion")
    clean: Clean = Field(description="results on the clean inputs")
    attacks: list[AttackResult] = Field(
        description="results of each attack, in the order of the battery and the command line"
    )
    corruptions: list[CorruptionResult] = Field(
        default_factory=list,
        description="random noise, and common corruptions at one severity each: not attacks, and not part of the worst "
        "case",
    )
    common_corruptions: CommonCorruptions | None = Field(
        default=None,
        exclude_if=is_none,
        description="summary of those made for the run, or of which the data set consists; omitted without any",
    )
    worst_case_accuracy: Share | None = Field(
        description="share that survives every attack; null if one failed or there is none. For segmentation the share "
        "of labeled pixels that are correct when every image is under the attack that gives it the lowest mIoU"
    )
    worst_case_ci95: Interval | None = Field(
        description="95 % interval of `worst_case_accuracy`, in [0, 1]; null if that is null"
    )
    worst_case_expected_accuracy: Expected = None
    worst_case_metrics: Metrics = None
    worst_case_sites: Sites = None
    worst_case_groups: Groups = None
    budgets: list[BudgetResult] = Field(
        default_factory=list,
        description="the worst case of each norm and eps, if there are several; empty if an attack failed",
    )
    shrinkage: list[LayerShrinkage] = Field(
        default_factory=list,
        description="by layer from input to output; of the running moments, also under batch statistics",
    )
    adaptive: list[AdaptiveInfo] | None = Field(
        default=None,
        exclude_if=is_none,
        description="what each adaptive attack found out and used; omitted without one",
    )
    effects: list[Effect] = Field(
        default_factory=list,
        description="on the first variant of a BN that, like plain BN, was evaluated under both statistics sources",
    )
    outcomes: Outcomes = Field(
        description="the outcome of every sample, from which reports are compared with one another"
    )
