"""Tries of torch and of optional packages, each in a process of its own: a broken library may end it, or hang.

The process prints a JSON object a line: first the ``step`` that begins, then what it found. So it is known where it
ended. `tried_torch` and `tried_modules` start such processes and return what they said.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

SECONDS = 90.0
"""After so long a try counts as hanging: importing torch alone takes seconds, on a busy machine many."""
FOR_MODULES = 6.0
"""Seconds for importing optional packages; those that are left then are not tried."""
FOR_RATE = 0.5
"""Seconds for measuring one rate."""


def start(what: str, *names: str) -> subprocess.Popen[str]:
    """Start a process that tries ``torch``, or the ``modules`` of these names."""
    root = str(Path(__file__).parents[2])
    code = f"import sys; sys.path[:0] = [{root!r}]; from stein_bench.doctor import probe; probe.main(sys.argv[1:])"
    # Without -P a file of the current folder, such as torch.py, would be taken for the library.
    words = [sys.executable, "-P", "-c", code, what, *names]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)


def answer(process: subprocess.Popen[str], seconds: float = SECONDS) -> dict[str, Any]:
    """Return what a process found, with ``failed``: "" or how and at which step it ended before it was done."""
    hanging = False
    try:
        printed, complaints = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        printed, complaints = process.communicate()
        hanging = True
    found: dict[str, Any] = {"failed": ""}
    for line in printed.splitlines():
        try:
            found.update(json.loads(line))
        except ValueError:  # a library has printed something
            continue
    step = found.get("step", "start")
    if hanging:
        found["failed"] = f"did not end within {seconds:.0f} s ({step})"
    elif process.returncode < 0:
        found["failed"] = f"ended by signal {-process.returncode} ({step})"
    elif process.returncode:
        last = complaints.strip().splitlines()[-1:] or ["without a message"]
        found["failed"] = f"{last[0][:200]} ({step})"
    return found


def main(words: list[str]) -> None:
    """Try what the words say, and print what is found."""
    for found in _torch() if words[0] == "torch" else _modules(words[1:]):
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def _modules(names: Iterable[str]) -> Iterator[dict[str, Any]]:
    begin, modules = time.perf_counter(), {}
    for name in names:
        if time.perf_counter() - begin > FOR_MODULES:
            break
        yield {"step": name}
        modules[name] = _imported(name)
        yield {"modules": modules}


def _imported(name: str) -> dict[str, Any]:
    from importlib import import_module

    begin = time.perf_counter()
    try:
        import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001  (a broken library may raise whatever it likes)
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    return {"seconds": round(time.perf_counter() - begin, 2)}


def _torch() -> Iterator[dict[str, Any]]:
    modules: dict[str, Any] = {}
    for name in ("torch", "torchvision", "timm", "numpy", "scipy"):
        yield {"step": f"import {name}"}
        modules[name] = _imported(name)
        yield {"modules": modules}
        if name == "torch" and "error" in modules[name]:
            return
    import torch

    mkldnn: Any = torch.backends.mkldnn
    yield {
        "threads": torch.get_num_threads(), "built_for_cuda": torch.version.cuda,
        "capability": torch.backends.cpu.get_cpu_capability(), "mkldnn": mkldnn.is_available(),
        "debug_build": bool(torch.version.debug),
    }  # fmt: skip
    devices = []
    for name in ["cpu", *_accelerators(torch)]:
        yield {"step": f"a convolution on {name}"}
        devices.append(_device(torch, name))
        yield {"devices": devices}
    yield {"step": "rates"}
    rates = {}
    for one in devices:
        if "error" not in one and "error" not in modules["torchvision"]:
            rates[one["name"]] = _rates(torch, one["name"])
            yield {"rates": rates}
    yield {"step": "denormal numbers", "denormals": _denormals(torch)}
    if not any("error" in tried for tried in modules.values()):
        yield {"step": "passes of AutoAttack", "passes": _passes()}


def _accelerators(torch: Any) -> list[str]:
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def _device(torch: Any, name: str) -> dict[str, Any]:
    """Return what is known of a device, and whether a small convolution and its gradient are right there."""
    found: dict[str, Any] = {"name": name}
    try:
        if name.startswith("cuda"):
            properties = torch.cuda.get_device_properties(name)
            free, total = torch.cuda.mem_get_info(name)
            capability = f"{properties.major}.{properties.minor}"
            found |= {"model": properties.name, "memory": total, "free": free, "capability": capability}
            found["driver"] = _driver()
            found["bf16"] = properties.major >= 8
        inputs = torch.ones(2, 3, 8, 8, device=name, requires_grad=True)
        weights = torch.full((4, 3, 3, 3), 0.5, device=name)
        outputs = torch.nn.functional.conv2d(inputs, weights)
        outputs.sum().backward()
        if abs(float(outputs.sum()) - 2 * 4 * 36 * 13.5) > 1 or abs(float(inputs.grad.sum()) - 3888) > 1:
            found["error"] = "a convolution, or its gradient, is wrong"
    except Exception as error:  # noqa: BLE001  (a broken driver may raise whatever it likes)
        found["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return found


def _driver() -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip().partition("\n")[0]


def _rates(torch: Any, device: str) -> dict[str, float]:
    """Return the samples per second that go forward and backward through a ResNet-18, by the side of the images."""
    import torchvision

    network = torchvision.models.resnet18().eval().to(device)
    for parameter in network.parameters():
        parameter.requires_grad_(False)  # an attack needs the gradient of the input alone
    cpu = device == "cpu"
    found = {}
    for side, count in ((32, 32 if cpu else 256), (224, 1 if cpu else 32)):
        inputs = torch.rand(count, 3, side, side, device=device, requires_grad=True)

        def passed(inputs: Any = inputs) -> None:
            float(torch.autograd.grad(network(inputs).sum(), inputs)[0].sum())  # waits for the device

        found[str(side)] = count * _per_second(passed)
    return found


def _per_second(call: Callable[[], None]) -> float:
    call()
    begin, times = time.perf_counter(), 0
    while times < 1 or time.perf_counter() - begin < FOR_RATE:
        call()
        times += 1
    return times / (time.perf_counter() - begin)


def _denormals(torch: Any) -> float:
    """Return how many times longer numbers below 1e-38 take the processor than others."""
    numbers = [torch.full((200_000,), value) for value in (1.0, 1e-40)]
    seconds = [1 / _quick_rate(partial(tensor.mul, 0.5)) for tensor in numbers]
    return seconds[1] / seconds[0]


def _quick_rate(call: Callable[[], object]) -> float:
    call()
    begin = time.perf_counter()
    for _ in range(20):
        call()
    return 20 / max(time.perf_counter() - begin, 1e-9)


def _passes() -> dict[str, float]:
    """Return the passes of the battery `standard` on an image that survives it, of ImageNet's classes."""
    from stein_bench.attacks.attack import resolve_attacks
    from stein_bench.attacks.passes import Situation, bounds
    from stein_bench.tasks import TASKS

    attack = resolve_attacks(["autoattack"])[0]
    limits = bounds(attack, Situation(TASKS["classification"], 1000, (3, 224, 224)))
    return {} if limits is None else {"forward": limits.most.forward, "backward": limits.most.backward}


def modules_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what importing each module gave, as far as a process tried it."""
    modules = dict(found.get("modules", {}))
    step = str(found.get("step", "")).removeprefix("import ")
    if found.get("failed") and step and step not in modules and " " not in step:
        modules[step] = {"error": found["failed"]}
    return modules
