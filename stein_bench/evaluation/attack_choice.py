"""Decides how the attack network of a run differs from the evaluated one, before anything is trained or attacked."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

import torch
from torch import Tensor, nn

from stein_bench.attacks.losses import slope
from stein_bench.distributed import from_main, is_main
from stein_bench.errors import UsageError
from stein_bench.evaluation.attack_network import attack_network, is_evaluated, padded_sizes
from stein_bench.evaluation.memory_format import FORMATS, MemoryFormat, faster_format, remembered_format
from stein_bench.guard import forked_rng, model_untouched, repeatable_backends, unlogged
from stein_bench.models.preprocessing import Preprocessed
from stein_bench.preparation.plan import Plan
from stein_bench.progress import Progress
from stein_bench.report.document import AttackNetworkInfo
from stein_bench.report.provenance import device_name


def with_attack_network(plan: Plan, network: nn.Module, batch_size: int, progress: Progress) -> Plan:
    """Return `plan` with how its attack network differs from the evaluated one, decided once for all variants.

    Args:
        plan: the run's plan.
        network: its network, of which only the architecture matters here.
        batch_size: samples per batch.
        progress: is told that compiling begins.

    Raises:
        UsageError: the network cannot be compiled here.
    """
    config = plan.config
    if all(attack.info.is_corruption for attack in plan.attacks):
        return plan
    evaluated, precision = plan.wrap(network), config.attack_precision or config.precision
    how = AttackNetworkInfo(compile=config.compile, precision=precision, memory_format="contiguous")
    with repeatable_backends():
        if config.compile and plan.probabilities is not None:
            raise UsageError(
                f"--compile: {plan.source.name} returns probabilities, and attacks need the logits behind them, which "
                "a compiled network does not show: return logits, or leave out --compile."
            )
        if config.compile:  # the compiler arranges the memory within the network itself
            progress.note("compiling the attack network; every batch size takes seconds to minutes")
            _check_compiling(attack_network(evaluated, how, batch_size, batch_dependent=False), plan, batch_size)
        else:
            how = how.model_copy(update={"memory_format": _memory_format(plan, evaluated, how, batch_size)})
    return replace(plan, attack_network=None if is_evaluated(how, evaluated) else how)


def with_attacked_surrogate(plan: Plan, batch_size: int) -> Plan:
    """Return `plan` with its surrogate, if it has one, run for transfer attacks as the attack network is.

    Only its memory format stays, which was measured on another network.
    """
    if plan.attack_network is None:
        return plan
    how, made = plan.attack_network.model_copy(update={"memory_format": "contiguous"}), dict[nn.Module, nn.Module]()
    for attack in plan.attacks:
        if isinstance(attack.surrogate, Preprocessed) and attack.surrogate not in made:
            faster = attack_network(attack.surrogate, how, batch_size, batch_dependent=False)
            made[attack.surrogate] = attack.surrogate if faster is None else faster
    attacks = (
        attack if attack.surrogate is None else replace(attack, surrogate=made.get(attack.surrogate, attack.surrogate))
        for attack in plan.attacks
    )
    return replace(plan, attacks=tuple(attacks))


def _check_compiling(model: nn.Module | None, plan: Plan, batch_size: int) -> None:
    """Raise a `UsageError` unless a forward and a backward pass of `model` can be compiled."""
    if model is None:
        return
    try:
        with forked_rng(0), unlogged():
            _pass(model, torch.zeros(padded_sizes(batch_size)[0], *plan.samples.shape, device=plan.device))
    except torch.OutOfMemoryError as error:
        raise UsageError("--compile: out of memory on a small batch; leave it out, or try --device cpu.") from error
    except Exception as error:
        reason = " ".join(str(error).partition("\n\n")[0].split())[:200].rstrip(".")  # without torch's advice on logs
        needed = "Triton" if plan.device.type == "cuda" else "a C++ compiler"
        raise UsageError(
            f"--compile: torch.compile fails on {plan.source.name}: {reason}. It needs {needed}; leave out --compile "
            "to attack the network uncompiled."
        ) from error


def _pass(model: nn.Module, inputs: Tensor) -> None:
    """Run a forward and a backward pass, as an attack does."""
    with model_untouched(model), torch.enable_grad():
        inputs = inputs.detach().requires_grad_(True)
        slope(model(inputs).sum(), inputs)


def _memory_format(plan: Plan, evaluated: Preprocessed, how: AttackNetworkInfo, batch_size: int) -> MemoryFormat:
    """Return the memory format for attacks: measured for images on CUDA, else the ordinary one."""
    white_box = any(not (attack.info.is_corruption or attack.info.is_transfer) for attack in plan.attacks)
    if plan.device.type != "cuda" or len(plan.samples.shape) != 3 or not white_box:
        return "contiguous"
    matters = {
        "device": device_name(plan.device),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "network": hashlib.sha256(str(evaluated.network).encode()).hexdigest(),
        "source": [plan.source.spec, plan.source.fingerprint()],
        "inputs": [batch_size, *plan.samples.shape],
        "precision": how.precision,
    }
    chosen = (
        remembered_format(matters, lambda: _measured_format(evaluated, how, batch_size, plan)) if is_main() else None
    )
    return from_main(chosen) or "contiguous"  # processes that measured for themselves might choose differently


def _measured_format(
    evaluated: Preprocessed, how: AttackNetworkInfo, batch_size: int, plan: Plan
) -> MemoryFormat | None:
    inputs = torch.rand(batch_size, *plan.samples.shape, generator=torch.Generator().manual_seed(0)).to(plan.device)

    def seconds(memory_format: MemoryFormat) -> float:
        model = models[memory_format]
        torch.cuda.synchronize(plan.device)
        started = time.perf_counter()
        _pass(model, inputs)
        torch.cuda.synchronize(plan.device)
        return time.perf_counter() - started

    try:
        models = {name: _made(evaluated, how, name, batch_size) for name in FORMATS}
        return faster_format(seconds)
    except torch.OutOfMemoryError:
        return None  # another time there may be room
    except (RuntimeError, TypeError):  # it cannot be copied, or takes views that need the ordinary format
        return "contiguous"


def _made(evaluated: Preprocessed, how: AttackNetworkInfo, memory_format: MemoryFormat, batch_size: int) -> nn.Module:
    how = how.model_copy(update={"memory_format": memory_format})
    made = attack_network(evaluated, how, batch_size, batch_dependent=False)
    return evaluated if made is None else made
