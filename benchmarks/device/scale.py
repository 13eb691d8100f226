"""How large the measurements are: in full on a CUDA device, or tiny on the CPU to see that the script works."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

SMOKE_TEST = "smoke test: no measurement"


@dataclass(frozen=True)
class Subject:
    """A network under attack.

    Attributes:
        name: in the tables.
        factory: its function in `networks`.
        size: side of its images in pixels.
        classes: number of its outputs.
        batch_size: samples per batch.
        most: samples that ``--batch-size auto`` may put into a batch, more than fit into any device's memory.
    """

    name: str
    factory: str
    size: int
    classes: int
    batch_size: int
    most: int


@dataclass(frozen=True)
class Scale:
    """All sizes of the measurements.

    Attributes:
        device: ``cuda`` or ``cpu``.
        note: shown above every table; empty for a real measurement.
        layer_shapes: inputs of the layers, (n, C, H, W).
        layer_rounds, step_rounds, attack_rounds: rounds in which all contestants run in turn, at most.
        step_subject: the network of the training step.
        subjects: the networks under attack.
        attack_seconds: about how long `pgd` should run on a network whose samples half survive.
        most_batches: of one `pgd`.
        battery_samples, battery_steps, battery_queries: size of AutoAttack.
        least_attack, least_compile: seconds that must be left for a comparison of attacks, and for one that compiles.
    """

    device: str
    note: str
    layer_shapes: tuple[tuple[int, ...], ...]
    layer_rounds: int
    step_rounds: int
    attack_rounds: int
    step_subject: Subject
    subjects: tuple[Subject, ...]
    attack_seconds: float
    most_batches: int
    battery_samples: int
    battery_steps: int
    battery_queries: int
    least_attack: float
    least_compile: float

    def document(self) -> dict[str, Any]:
        """Return all sizes as JSON values."""
        return asdict(self)


RESNET50 = Subject("ResNet-50", "resnet50", 224, 1000, 128, 4096)
FULL = Scale(
    device="cuda",
    note="",
    layer_shapes=((128, 64, 32, 32), (128, 256, 8, 8), (32, 64, 112, 112), (64, 256, 56, 56), (128, 2048, 7, 7)),
    layer_rounds=20,
    step_rounds=8,
    attack_rounds=2,
    step_subject=RESNET50,
    subjects=(RESNET50, Subject("WRN-28-10", "wide_resnet_28_10", 32, 10, 128, 16384)),
    attack_seconds=2.5,
    most_batches=12,
    battery_samples=256,
    battery_steps=3,
    battery_queries=20,
    least_attack=25,
    least_compile=75,
)

SMALL = Subject("small WRN", "small_wide_resnet", 8, 10, 8, 16)
SMOKE = Scale(
    device="cpu",
    note=SMOKE_TEST,
    layer_shapes=((4, 8, 8, 8), (2, 16, 4, 4)),
    layer_rounds=2,
    step_rounds=1,
    attack_rounds=1,
    step_subject=SMALL,
    subjects=(SMALL,),
    attack_seconds=0.05,
    most_batches=2,
    battery_samples=4,
    battery_steps=1,
    battery_queries=2,
    least_attack=0,
    least_compile=0,
)


class NoDeviceError(Exception):
    """There is no CUDA device to measure."""


def scale_for(*, smoke: bool) -> Scale:
    """Return the scale of this run.

    Raises:
        NoDeviceError: a measurement is asked for, but there is no CUDA device.
    """
    if smoke:
        return SMOKE
    if not torch.cuda.is_available():
        raise NoDeviceError(
            "no CUDA device: torch.cuda.is_available() is false. For a trial run on the CPU give --smoke."
        )
    return FULL
