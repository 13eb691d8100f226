"""What a program, a network exported with its weights, can be asked for, and whether it runs forwards and backwards."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stein_bench.config import RunConfig
from stein_bench.errors import UsageError
from stein_bench.guard import forked_rng, model_untouched
from stein_bench.models.program import Program
from stein_bench.models.sources import ModelSource
from stein_bench.preparation.gradients import gradient_arrives
from stein_bench.preparation.variants import choose_variants

TOLERANCE = 1e-3
"""Difference of two passes, relative to the largest output: kernels for other batch sizes round differently."""


def check_program_options(config: RunConfig, source: ModelSource) -> None:
    """Refuse what needs other weights, layers or code than those of a program.

    Raises:
        UsageError: `source` is a program, and the options ask for something that it does not have.
    """
    if not isinstance(source, Program):
        return
    name = f"{source.spec} is {source.kind}"
    if config.weights != "auto":
        raise UsageError(f"--weights {config.weights}: {name}, which has its own weights only: leave out --weights.")
    for variant in choose_variants(config, None):
        if (variant.bn, variant.stats) != ("sample", "running"):
            option = "--stats batch" if variant.bn == "sample" else f"--bn {variant.bn}"
            raise UsageError(f"{option}: {name}, whose layers are fixed: give the model's own code and weights.")
    if config.compile and not source.compiles:
        raise UsageError(f"--compile: {name}, which torch.compile leaves as it is: leave out --compile.")


def refuse_program(source: ModelSource, why: str) -> None:
    """Raise a `UsageError` that ends with `why` if `source` is a program."""
    if isinstance(source, Program):
        raise UsageError(f"{source.spec} is {source.kind}, {why}.")


def check_program(source: ModelSource, model: nn.Module, shape: tuple[int, ...], largest: int) -> None:
    """Run a program on random images, in batches of 1, 2 and `largest`, and once backwards.

    Args:
        source: nothing is checked unless it is a program.
        model: the network of the program behind its input scaling.
        shape: of one sample.
        largest: the largest batch of the run.

    Raises:
        UsageError: it fails, forwards or backwards, or is in training mode.
    """
    if not isinstance(source, Program):
        return
    device = next(model.buffers()).device
    images = torch.rand(max(largest, 2), *shape, generator=torch.Generator().manual_seed(0)).to(device)
    with model_untouched(model), forked_rng(0):
        outputs = {size: _outputs(source, model, images[:size]) for size in sorted({2, 1, len(images)}, reverse=True)}
        again = _outputs(source, model, images[:2])
        whole = outputs[len(images)]
        if _differ(outputs[2], again):
            raise _in_training_mode(source, "returns other outputs for the same images: dropout is active")
        if _differ(outputs[1], whole[:1]) or _differ(outputs[2], whole[:2]):
            raise _in_training_mode(source, "mixes the images of a batch: BN uses the statistics of the batch")
        gradient_arrives(model, images[:2], source.spec)


def _outputs(source: Program, model: nn.Module, images: Tensor) -> Tensor:
    """Return the outputs for a batch, of which there has to be one per image."""
    try:
        with torch.no_grad():
            outputs: Tensor = model(images)
    except (UsageError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise _failed(source, images, error) from error
    if len(outputs) != len(images):
        raise UsageError(
            f"{source.spec} returns {len(outputs)} rows for {len(images)} images: it was exported with a fixed batch "
            f"size. Export it again by {source.again}."
        )
    return outputs


def _failed(source: Program, images: Tensor, error: Exception) -> UsageError:
    """Return the error for a program that fails on a batch."""
    text = " ".join(str(error).split())
    if "value per channel when training" in text:  # of torch.nn.functional.batch_norm
        return _in_training_mode(source, "asks for more than one image: BN uses the statistics of the batch")
    size, count = "×".join(map(str, images.shape[1:])), len(images)
    hints = ["another --image-size may fit"]
    if images.device.type != "cpu":
        hints.append("--device cpu, if it was exported there")
    hints.append(f"if its batch size is fixed, export it again by {source.again}")
    return UsageError(
        f"{source.spec} fails on a batch of {count} inputs of {size}: {text[:200].rstrip('.')}. What may help: "
        f"{'; '.join(hints)}."
    )


def _in_training_mode(source: Program, sign: str) -> UsageError:
    return UsageError(
        f"{source.spec} {sign}, as in training mode, in which it was probably exported; this cannot be undone. Export "
        f"it again by {source.again}."
    )


def _differ(one: Tensor, other: Tensor) -> bool:
    scale = float(torch.cat((one, other)).nan_to_num(0, 0, 0).abs().amax())
    return not torch.allclose(one, other, rtol=0, atol=TOLERANCE * scale, equal_nan=True)
