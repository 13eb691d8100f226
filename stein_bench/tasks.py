"""Tasks: the loss, the per-sample outcome, and which outputs fit the labels.

A task has two halves. This one needs torch: from logits and labels of one batch to per-sample tensors. The other one,
`measures`, needs NumPy alone: from per-sample columns to accuracies, intervals, metrics and comparisons.

From logits to a figure in the report, for every task:

1. `Task.outcomes` turns logits into *columns*: tensors with one row per sample, (n,) or (n, K). Evaluation keeps those
   of the clean input, of every adversarial input and of every draw of a corruption as the columns of a `Unit` (which
   the journal stores and `gather` puts into data order). A task with one verdict per sample has the boolean
   column ``correct``; further columns are what its metrics need (scores and labels, counts per class).
2. `measures.MEASURES` names, for each task, the `measures.Outcome` that is built from these columns. It computes the
   task's accuracy with its interval, its other metrics, the outcome under attack (an invalid or over-budget input
   counts as the clean one), the worst case over several attacks and the paired comparison.
3. The report holds ``accuracy``, ``metrics`` and the packed outcomes that `measures` returns.

A new task is one class here and one in `measures`, each with an entry in its registry.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from stein_bench.errors import UsageError

IGNORE = 255
"""The label of void pixels in label maps, excluded from every loss, count and metric."""


class Task(Protocol):
    """Loss and outcomes of one kind of task, per sample."""

    name: str

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each sample, shape (n,); an attack makes it larger."""
        ...

    def correct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return whether an attack could still break anything in each sample, boolean of shape (n,).

        With one verdict per sample this is whether it is correct. Attacks stop working on the other samples.
        """
        ...

    def quality(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return how correct each sample is, in [0, 1], shape (n,): 0 exactly where `correct` is false.

        An attack keeps the iterate at which it is lowest.
        """
        ...

    def outcomes(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the columns that the task's `measures.Outcome` is built from, each of shape (n,) or (n, K).

        A sample whose logits are not finite counts as entirely wrong.
        """
        ...

    def check(self, logits: Tensor, samples: int, classes: int) -> int:
        """Return the number of classes of the model.

        Raises a `UsageError` if its outputs do not fit `samples` samples with labels below `classes`.
        """
        ...


def finite_rows(values: Tensor) -> Tensor:
    """Return which samples' values are all finite, boolean of shape (n,)."""
    return values.flatten(1).isfinite().all(dim=1) if values.ndim > 1 else values.isfinite()


class Classification:
    """One class per sample: logits (n, K), labels (n,) in [0, K). Ties go to the lowest class index."""

    name = "classification"

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy of each sample in nats, shape (n,)."""
        return F.cross_entropy(logits, labels, reduction="none")

    def correct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return whether the largest logit is the label's."""
        return logits.argmax(dim=1) == labels

    def quality(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return 1 where the sample is right, else 0."""
        return self.correct(logits, labels).float()

    def outcomes(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the column ``correct``."""
        return {"correct": self.correct(logits, labels) & finite_rows(logits)}

    def check(self, logits: Tensor, samples: int, classes: int) -> int:
        """Return K, raising a `UsageError` unless logits are (samples, K) with K of at least `classes` (and 2)."""
        shape = tuple(logits.shape)
        if logits.ndim != 2 or shape[0] != samples:
            raise UsageError(f"the model returns shape {shape} for {samples} samples; expected ({samples}, classes).")
        if shape[1] < max(2, classes):
            raise UsageError(f"the model has {shape[1]} outputs, but the data has labels up to {classes - 1}.")
        return shape[1]


class Binary:
    """Two classes and one logit, (n,) or (n, 1): class 1 if it is above 0. Labels (n,) are 0 or 1.

    Two logits (n, 2) are replaced by their difference, which gives the same results.
    """

    name = "binary"

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the binary cross-entropy of each sample in nats, shape (n,)."""
        logit = single_logit(logits)
        # Not sigmoid minus label, which is exactly 0 for confident positives: their gradient would vanish.
        return F.softplus(torch.where(labels == 1, -logit, logit))

    def correct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return whether the logit is above 0 exactly if the label is 1."""
        return (single_logit(logits) > 0) == (labels == 1)

    def quality(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return 1 where the sample is right, else 0."""
        return self.correct(logits, labels).float()

    def outcomes(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the columns ``correct``, ``score`` (the logit) and ``positive`` (the label)."""
        finite, positive = finite_rows(logits), labels == 1
        wrong = torch.where(positive, -torch.inf, torch.inf)
        score = torch.where(finite, single_logit(logits).float(), wrong)
        return {"correct": self.correct(logits, labels) & finite, "score": score, "positive": positive}

    def check(self, logits: Tensor, samples: int, classes: int) -> int:
        """Return 2, raising a `UsageError` unless logits are (samples,), (samples, 1) or (samples, 2)."""
        shape = tuple(logits.shape)
        if shape not in ((samples,), (samples, 1), (samples, 2)):
            raise UsageError(
                f"the model returns shape {shape} for {samples} samples of two classes; expected one logit each, "
                f"({samples},) or ({samples}, 1), or two."
            )
        if classes > 2:
            raise UsageError(f"the model has two classes, but the data has labels up to {classes - 1}.")
        return 2


def is_single_logit(logits: Tensor) -> bool:
    """Return whether there is one logit per sample: shape (n,) or (n, 1)."""
    return logits.ndim == 1 or (logits.ndim == 2 and logits.shape[1] == 1)


def single_logit(logits: Tensor) -> Tensor:
    """Return the logit of class 1 against class 0, (n,), of logits (n,), (n, 1) or (n, 2)."""
    if logits.ndim == 2 and logits.shape[1] == 2:
        return logits[:, 1] - logits[:, 0]
    return logits.reshape(len(logits))


def two_logits(logits: Tensor) -> Tensor:
    """Return logits (n, 2) whose cross-entropy equals the binary one of `logits`, (n,), (n, 1) or (n, 2).

    A single logit z becomes (-z/2, z/2): its softmax is the sigmoid of z, and its largest entry gives the same class.
    With (0, z) the gradient of confident positives would be exactly 0 in float32, since only the label's entry has one.
    """
    if not is_single_logit(logits):
        return logits
    half = logits.reshape(len(logits)) / 2
    return torch.stack((-half, half), dim=1)


class Segmentation:
    """One class per pixel: logits (n, K, H, W), labels (n, H, W) in [0, K), or `IGNORE` for void pixels."""

    name = "segmentation"

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy over the labeled pixels of each image in nats, shape (n,); 0 without any."""
        losses = F.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORE).flatten(1)
        return losses.sum(dim=1) / (labels != IGNORE).flatten(1).sum(dim=1).clamp_min(1)

    def correct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return whether any labeled pixel of the image is correct."""
        return (logits.argmax(dim=1) == labels).flatten(1).any(dim=1)

    def quality(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the image's own mIoU, over the classes in its labels or predictions; 0 without a labeled pixel."""
        intersection, prediction, target = (part.double() for part in _counts(logits, labels))
        union = prediction + target - intersection
        classes = (union > 0).sum(dim=1)
        return (intersection / union.clamp_min(1)).sum(dim=1) / classes.clamp_min(1)

    def outcomes(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the columns ``intersection``, ``prediction`` and ``target``: pixels by class, each (n, K) int32.

        With non-finite outputs nothing is correct and nothing is predicted.
        """
        finite = finite_rows(logits)[:, None]
        intersection, prediction, target = _counts(logits, labels)
        columns = {"intersection": intersection * finite, "prediction": prediction * finite, "target": target}
        return {name: column.int() for name, column in columns.items()}

    def check(self, logits: Tensor, samples: int, classes: int) -> int:
        """Return K, raising a `UsageError` unless logits are (samples, K, H, W) with K of at least `classes`."""
        shape = tuple(logits.shape)
        if logits.ndim != 4 or shape[0] != samples:
            raise UsageError(
                f"the model returns shape {shape} for {samples} images; expected a score per class and pixel, "
                f"({samples}, classes, H, W): the task is segmentation."
            )
        if shape[1] < max(2, classes):
            raise UsageError(f"the model has {shape[1]} outputs per pixel, but the data has {classes} classes.")
        return shape[1]


def _counts(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return intersection, prediction and target: labeled pixels of each image by class, each (n, K) int64."""
    images, classes = logits.shape[:2]
    predicted, labeled = logits.argmax(dim=1), labels != IGNORE
    first = torch.arange(images, device=logits.device).view(-1, 1, 1) * classes

    def counted(values: Tensor, chosen: Tensor) -> Tensor:
        return torch.bincount((values + first)[chosen], minlength=images * classes).view(images, classes)

    return counted(labels, labeled & (predicted == labels)), counted(predicted, labeled), counted(labels, labeled)


TASKS: dict[str, Task] = {"binary": Binary(), "classification": Classification(), "segmentation": Segmentation()}
