"""The devices, how fast they are, and what is slow here and why."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from stein_bench.doctor.findings import Line, size
from stein_bench.doctor.machine import Machine
from stein_bench.doctor.variables import slow_variables

RESNET50 = 4.1 / 1.8
"""Multiplications of ResNet-50 for those of ResNet-18 (He et al., 2016, table 1)."""
FEW_CORES = 4
SLOW_CPU = 3.0
"""Images of 224×224 per second and core, forward and backward through a ResNet-18, below which a processor is slow."""
DENORMAL = 10.0
"""Times longer that make denormal numbers worth a line."""
BUSY = 1.5
"""Processes per core that want to run, from which on a machine is busy."""
LITTLE_MEMORY = 2 << 30
LITTLE_GPU = 0.5
"""Share of a GPU's memory that should be free."""


def devices(machine: Machine, probe: Mapping[str, Any]) -> Iterator[Line]:
    """Yield the processor, memory, and every device with the outcome of a small convolution on it."""
    limited = f", {machine.usable:g} of them for this process" if machine.usable < machine.cores else ""
    yield Line("processor", f"{machine.processor}, {machine.cores} cores{limited}")
    if machine.memory is not None:
        free = f", {size(machine.available)} free" if machine.available is not None else ""
        limit = f", {size(machine.memory_limit)} for this container" if machine.memory_limit is not None else ""
        little = (machine.available or machine.memory) < LITTLE_MEMORY
        advice = "Large networks will need --batch-size auto, or end for lack of memory." if little else ""
        yield Line("memory", f"{size(machine.memory)}{free}{limit}", "problem" if little else "info", advice)
    if probe.get("failed"):
        yield Line("torch", probe["failed"], "broken", "Install torch again for this machine: https://pytorch.org")
    for one in probe.get("devices", ()):
        yield _device(one)
    if "devices" in probe and not any(one["name"].startswith("cuda") for one in probe["devices"]):
        built = probe.get("built_for_cuda")
        yield Line("cuda", f"no device; torch is built {f'for CUDA {built}' if built else 'without CUDA'}")


def _device(one: Mapping[str, Any]) -> Line:
    if "error" in one:
        needed = one["name"] == "cpu"
        advice = (
            "Install torch again: https://pytorch.org" if needed else "Run with --device cpu, or repair its driver."
        )
        return Line(one["name"], one["error"], "broken" if needed else "problem", advice)
    if "model" not in one:
        return Line(one["name"], "a convolution and its gradient are right", "ok")
    driver = f", driver {one['driver']}" if one.get("driver") else ""
    told = f"{one['model']}, {size(one['memory'])}, {size(one['free'])} free, capability {one['capability']}{driver}"
    if one["free"] < LITTLE_GPU * one["memory"]:
        return Line(one["name"], told, "slow", "Another program holds its memory, see nvidia-smi.")
    return Line(one["name"], told, "ok")


def speed(machine: Machine, probe: Mapping[str, Any]) -> Iterator[Line]:
    """Yield the rates that were measured, and what makes runs slow on this machine, each with what to do."""
    rates: Mapping[str, Mapping[str, float]] = probe.get("rates", {})
    for name, rate in rates.items():
        told = f"about {_rounded(rate['32'])} images a second at 32×32, {_rounded(rate['224'])} at 224×224"
        yield Line(f"ResNet-18 on {name}", f"{told}, forward and backward")
    accelerated = [name for name in rates if name != "cpu"]
    if rates and not accelerated:
        yield Line("no GPU", _without_gpu(probe), "slow", "Try --limit 100 with --battery quick, or a GPU.")
    yield from _processor(machine, probe)
    yield from _bf16(machine, probe)
    yield from slow_variables()
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "0":
        yield Line("NVIDIA_TF32_OVERRIDE", "0: --attack-precision tf32 gains nothing", "slow", "Unset it.")


def _without_gpu(probe: Mapping[str, Any]) -> str:
    """Return how long the standard battery takes on a processor, from its passes and the rate that was measured."""
    passes, rate = probe.get("passes"), probe["rates"]["cpu"]["224"]
    if not passes:
        return "attacks on large networks take hours"
    pairs = passes["backward"] + (passes["forward"] - passes["backward"]) / 3  # a backward pass is about two forward
    return (
        f"--battery standard on a ResNet-50 at 224×224 takes about {_duration(pairs * RESNET50 / rate)} for an image "
        f"that survives it ({passes['forward'] + passes['backward']:,.0f} passes)"
    )


def _processor(machine: Machine, probe: Mapping[str, Any]) -> Iterator[Line]:
    threads, usable = probe.get("threads"), max(1, int(machine.usable))
    if threads is not None and threads < usable:
        set_by = next((name for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if os.environ.get(name)), "")
        advice = f"Unset {set_by}, unless other runs share this machine." if set_by else "See torch.set_num_threads."
        yield Line("threads", f"torch uses {threads} of {usable} cores", "slow", advice)
    elif threads is not None and threads > machine.usable:
        yield Line(
            "threads", f"torch uses {threads} threads for {machine.usable:g} cores: they wait for each other", "slow",
            f"Set OMP_NUM_THREADS={usable}.",
        )  # fmt: skip
    if usable < FEW_CORES:
        yield Line("cores", f"only {machine.usable:g}", "slow", "Use more, if a container or job has a limit.")
    rate = probe.get("rates", {}).get("cpu", {}).get("224")
    if rate is not None and threads and rate / min(threads, usable) < SLOW_CPU:
        yield Line(
            "convolutions", f"{rate / min(threads, usable):.1f} images a second and core, which is slow", "slow",
            "Other programs may be using the cores: run doctor again when they are not.",
        )  # fmt: skip
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > BUSY * machine.cores:
        yield Line(
            "load", f"{load:.0f} processes want to run on {machine.cores} cores", "slow",
            "Other programs are running: what is measured here, and every run, is slower for it.",
        )  # fmt: skip
    if probe.get("mkldnn") is False:
        yield Line("oneDNN", "this torch is built without it", "slow", "Install torch from https://pytorch.org.")
    if probe.get("debug_build"):
        yield Line("torch", "a build for debugging", "slow", "Install a release of torch.")
    if probe.get("denormals", 0) > DENORMAL:
        yield Line(
            "denormal numbers", f"values below 1e-38 take {probe['denormals']:.0f} times as long", "slow",
            "Networks with such weights, as after strong weight decay, are slow on this processor.",
        )  # fmt: skip


def _bf16(machine: Machine, probe: Mapping[str, Any]) -> Iterator[Line]:
    without = [one["name"] for one in probe.get("devices", ()) if one.get("bf16") is False]
    without += [] if machine.bf16 or "devices" not in probe else ["cpu"]
    if without:
        yield Line("bf16", f"{', '.join(without)}: no units for it, so --precision bf16 gains nothing there")


def _rounded(rate: float) -> str:
    """Return a rate with two digits, as exact as it is."""
    return f"{float(f'{rate:.2g}'):,g}"


def _duration(seconds: float) -> str:
    for unit, many in (("seconds", 60.0), ("minutes", 60.0), ("hours", 24.0)):
        if seconds < 2 * many:
            return f"{seconds:.0f} {unit}"
        seconds /= many
    return f"{seconds:.0f} days"
