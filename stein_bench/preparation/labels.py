"""Whether labels and outputs of a model belong together, and what is said where that is not certain."""

from __future__ import annotations

from torch import Tensor

from stein_bench.data.samples import CLASS_INDICES, IMAGENET, Samples
from stein_bench.data.sources import DataSource
from stein_bench.errors import UsageError
from stein_bench.tasks import Task

_LISTING = ("imagefolder", "csv")  # kinds of data that take a class list


def checked_outputs(task: Task, logits: Tensor, data: DataSource, samples: Samples) -> int:
    """Return the number of classes of the model that gave `logits` for two inputs.

    Raises:
        UsageError: they do not fit the `task` or the labels of the `samples`; with a likely reason, if there is one.
    """
    try:
        return task.check(logits, 2, samples.largest_label + 1)
    except UsageError as error:
        outputs = logits.shape[1] if logits.ndim > 1 else 1
        raise UsageError(f"{error}{_reason(data, samples, outputs)}") from error


def _reason(data: DataSource, samples: Samples, outputs: int) -> str:
    if samples.maps is not None or samples.largest_label < outputs:
        return ""
    if data.label_space == IMAGENET:
        return " These are labels of ImageNet-1k; for a model of other classes write imagefolder:PATH,classes=FILE."
    if samples.largest_label == outputs and samples.labels.min() > 0:
        return " No label is 0: do they start at 1? Class indices start at 0."
    return ""


def position_note(data: DataSource, outputs: int) -> tuple[str, ...]:
    """Return a note if a trained model has more `outputs` than the data has classes.

    The data may then hold some of the model's classes only; of named classes nothing says which outputs are theirs.
    """
    names = data.classes
    known = data.label_space in (IMAGENET, CLASS_INDICES) or data.task == "segmentation"
    if known or len(names) >= outputs:
        return ()
    if names == tuple(map(str, range(len(names)))):
        return (f"the model has {outputs} outputs, and the data {len(names)} classes",)
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    listing = " (classes=FILE lists all of them)" if data.name.partition(":")[0] in _LISTING else ""
    return (
        f"the model has {outputs} outputs, the data {len(names)} classes ({shown}), which are taken as outputs 0 to "
        f"{len(names) - 1}; accuracy is wrong if these are other classes of the model{listing}",
    )
