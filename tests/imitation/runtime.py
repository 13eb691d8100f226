"""`torch.cuda`, autocast and threads under the imitated device."""

from __future__ import annotations

import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.imitation.device import Device, current

NAME = "imitation"
AUTOCAST = torch.autocast


class Autocast(AUTOCAST):
    """`torch.autocast`, which for ``cuda`` is that of the CPU, where the memory is."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)


class Stream:
    """A stream: everything on the device is done in order anyway."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.device = torch.device("cuda", 0)

    def synchronize(self) -> None:
        """Count a wait."""
        current().wait("Stream.synchronize")

    def query(self) -> bool:
        """Return that all is done."""
        return True

    def is_capturing(self) -> bool:
        """Return that no graph is captured."""
        return False

    def wait_stream(self, _: Stream) -> None:
        """Let the device wait, not the host."""

    def wait_event(self, _: Event) -> None:
        """Let the device wait, not the host."""

    def record_event(self, event: Event | None = None) -> Event:
        """Return the event, recorded now."""
        event = event or Event()
        event.record()
        return event

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


class Event:
    """An event with the time at which it was recorded."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self._time = 0.0

    def record(self, _: Stream | None = None) -> None:
        """Note the time."""
        self._time = time.perf_counter()

    def synchronize(self) -> None:
        """Count a wait."""
        current().wait("Event.synchronize")

    def query(self) -> bool:
        """Return that all is done."""
        return True

    def wait(self, _: Stream | None = None) -> None:
        """Let the device wait, not the host."""

    def elapsed_time(self, later: Event) -> float:
        """Return milliseconds between two records."""
        return (later._time - self._time) * 1000


def replace(patch: pytest.MonkeyPatch, device: Device) -> None:
    """Replace what asks for the device or tells it something."""
    for name, value in {**_presence(), **_memory(device), **_random(), **_order(device)}.items():
        patch.setattr(torch.cuda, name, value)
    for name, value in _random().items():
        patch.setattr(torch.cuda.random, name, value)
    for name, value in _accelerator(device).items():
        patch.setattr(torch.accelerator, name, value, raising=False)  # older versions of torch lack some
    for module in (torch, torch.amp, torch.amp.autocast_mode):
        patch.setattr(module, "autocast", Autocast)
    for name in ("is_autocast_enabled", "get_autocast_dtype"):
        patch.setattr(torch, name, _of_the_cpu(getattr(torch, name)))


def _presence() -> dict[str, Any]:
    properties = SimpleNamespace(name=NAME, major=9, minor=0, total_memory=0, multi_processor_count=1)
    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_is_in_bad_fork": lambda: False,
        "_lazy_init": lambda: None,
        "init": lambda: None,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda _: None,
        "device": lambda _: nullcontext(),
        "get_device_name": lambda *_: NAME,
        "get_device_capability": lambda *_: (9, 0),
        "get_device_properties": lambda *_: SimpleNamespace(
            **{**vars(properties), "total_memory": current().memory.total}
        ),
        "is_bf16_supported": lambda *_, **__: True,
    }


def _memory(device: Device) -> dict[str, Any]:
    memory = device.memory

    def reset(*_: Any) -> None:
        memory.peak = memory.live

    return {
        "mem_get_info": lambda *_: (memory.free, memory.total),
        "memory_allocated": lambda *_: memory.live,
        "memory_reserved": lambda *_: memory.live,
        "max_memory_allocated": lambda *_: memory.peak,
        "max_memory_reserved": lambda *_: memory.peak,
        "reset_peak_memory_stats": reset,
        "empty_cache": lambda: None,
        "ipc_collect": lambda: None,
    }


def _random() -> dict[str, Any]:
    """The device has no state of its own: it draws from the CPU's, so that results are those of the CPU."""
    state = torch.get_rng_state

    def seed(value: int) -> None:
        torch.default_generator.manual_seed(value)

    def restore(value: torch.Tensor, *_: Any) -> None:
        torch.default_generator.set_state(value)

    return {
        "manual_seed": seed,
        "manual_seed_all": seed,
        "initial_seed": lambda: torch.default_generator.initial_seed(),
        "get_rng_state": lambda *_: state(),
        "get_rng_state_all": lambda: [state()],
        "set_rng_state": restore,
        "set_rng_state_all": lambda states: restore(states[0]),
    }


def _order(device: Device) -> dict[str, Any]:
    stream = Stream()
    return {
        "synchronize": lambda *_: device.wait("torch.cuda.synchronize"),
        "Stream": Stream,
        "Event": Event,
        "current_stream": lambda *_: stream,
        "default_stream": lambda *_: stream,
        "set_stream": lambda _: None,
        "stream": lambda _: nullcontext(),
        "is_current_stream_capturing": lambda: False,
    }


def _accelerator(device: Device) -> dict[str, Any]:
    stream = Stream()
    return {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_accelerator": lambda *_, **__: torch.device("cuda"),
        "current_device_index": lambda: 0,
        "set_device_index": lambda _: None,
        "current_stream": lambda *_: stream,
        "synchronize": lambda *_: device.wait("torch.accelerator.synchronize"),
    }


def _of_the_cpu(real: Any) -> Any:
    def ask(*device_type: str) -> Any:
        return real("cpu" if device_type == ("cuda",) else device_type[0]) if device_type else real()

    return ask
