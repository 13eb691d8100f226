"""An imitation CUDA device on the CPU, for tests: what runs under it would not stop on a GPU for a wrong device.

Tensors on it keep their memory on the CPU and say ``cuda:0``. As on CUDA, an operation that mixes devices is refused,
so is ``.numpy()``, generators must be CUDA's, and copies that do not block are finished only by a synchronization.
Every wait of the host for the device is counted with the line that caused it. Random numbers are those that the CPU
draws, and so are the kernels apart from those of batch normalization that only CUDA has: a run under it must give the
same results as on the CPU.

    with imitation_cuda() as device:
        network = make().to("cuda")
        ...
    assert device.waits["attacks/active.py:73"] == 10

Not imitated: times, several devices, graphs, compilation, and the rounding of CUDA's kernels.
"""

from __future__ import annotations

from tests.imitation.device import Device, Event
from tests.imitation.install import count_waits, imitation_cuda
from tests.imitation.mimic import Mimic

__all__ = ["Device", "Event", "Mimic", "count_waits", "imitation_cuda"]
