"""`stein-bench doctor`: what it finds, says and keeps to itself."""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from stein_bench.doctor import folders, machine, packages, probe, speed, variables
from stein_bench.doctor.findings import Examination, Line, private, size
from stein_bench.doctor.machine import Machine

GOOD: dict[str, Any] = {
    "failed": "", "step": "passes of AutoAttack", "threads": 8, "built_for_cuda": None, "mkldnn": True,
    "modules": {name: {"seconds": 1.0} for name in ("torch", "torchvision", "timm", "torchattacks", "numpy", "scipy")},
    "devices": [{"name": "cpu"}], "rates": {"cpu": {"32": 812.3, "224": 41.0}}, "denormals": 1.2,
    "passes": {"forward": 6000, "backward": 4000},
}  # fmt: skip
PC = Machine("A processor", 8, 8, 32 << 30, 16 << 30, None, True)
GPU = {
    "name": "cuda:0", "model": "A GPU", "memory": 80 << 30, "free": 79 << 30, "capability": "9.0", "driver": "555.1",
    "bf16": True,
}  # fmt: skip


STEP = 'print(\'{"step": "import torch"}\', flush=True)'


@pytest.fixture
def told(monkeypatch):
    """Let the processes that try libraries say what a test wants; returns a function that sets it."""

    def tell(of_torch=GOOD, of_modules=None):
        answers = {"torch": of_torch, "modules": {"failed": "", "modules": of_modules or {}}}
        monkeypatch.setattr(probe, "start", lambda what, *names: what)
        monkeypatch.setattr(probe, "answer", lambda what: answers[what])

    tell()
    return tell


def lines(found: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {line["name"]: line for section in found["sections"].values() for line in section}


def test_it_says_what_is_here_and_that_it_works(told, invoke) -> None:
    result = invoke("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    for words in ("ok     torch ", "ResNet-18 on cpu", "about 810 images a second at 32×32, 41 at 224×224", "Caches"):
        assert " ".join(words.split()) in " ".join(result.stdout.split())
    assert result.stdout.splitlines()[-1].startswith("stein-bench works here")
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_the_json_holds_the_same_and_the_numbers(told, invoke) -> None:
    result = invoke("doctor", "--format", "json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["usable"]) == (0, True)
    assert list(found["sections"]) == [
        "Versions", "Devices", "Slow here", "Caches", "Optional extras", "Requirements", "Settings", "Shell completion",
    ]  # fmt: skip
    assert found["measured"]["torch"]["rates"]["cpu"]["224"] == 41.0
    assert all(line["state"] in ("ok", "info", "slow", "problem", "broken") for line in lines(found).values())


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"failed": "ended by signal 4 (import torch)"}, "torch", "signal 4"),
        (
            {"modules": {"torch": {"error": "ImportError: libcudart.so.12: no such file"}}, "devices": []},
            "torch",
            "cannot be imported: ImportError: libcudart",
        ),
        ({"modules": {**GOOD["modules"], "timm": {"error": "RuntimeError: no"}}}, "timm", "cannot be imported"),
        ({"devices": [{"name": "cpu", "error": "a convolution, or its gradient, is wrong"}]}, "cpu", "is wrong"),
    ],
)
def test_what_is_needed_and_broken_is_named_and_ends_with_3(changes, name, words, told, invoke) -> None:
    told({**GOOD, **changes})
    result = invoke("doctor", "--format", "json")
    broken = [line for line in lines(json.loads(result.stdout)).values() if line["state"] == "broken"]
    assert (result.exit_code, result.stderr) == (3, "")
    assert any(line["name"] == name and words in line["value"] and line["advice"] for line in broken), broken
    assert f"does not work here: {name}" in " ".join(invoke("doctor").stdout.split())


def test_a_cache_that_cannot_be_written_is_broken(told, invoke, tmp_path) -> None:
    (tmp_path / "file").touch()
    result = invoke("doctor", "--format", "json", STEIN_BENCH_CACHE=str(tmp_path / "file" / "cache"))
    cache = lines(json.loads(result.stdout))["cache"]
    assert (result.exit_code, cache["state"]) == (3, "broken")
    assert "STEIN_BENCH_CACHE" in cache["advice"]


def test_a_broken_optional_package_is_named_and_nothing_ends(told, invoke, monkeypatch) -> None:
    monkeypatch.setattr(packages, "_has", lambda module: module != "foolbox")
    told(of_modules={"wandb": {"error": "TypeError: unhashable"}, "pandas": {"seconds": 1}})
    result = invoke("doctor", "--format", "json")
    found = lines(json.loads(result.stdout))
    assert result.exit_code == 0
    assert (found["wandb"]["state"], "TypeError: unhashable" in found["wandb"]["value"]) == ("problem", True)
    assert (found["foolbox"]["state"], found["foolbox"]["advice"]) == ("info", "pip install 'stein-bench[foolbox]'")
    assert found["pandas"]["state"] == "ok"


def test_nothing_private_is_told(told, invoke, monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("HF_HOME", "/home/somebody/hub")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("WANDB_API_KEY", "wandb_secret")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:mlflow_secret@host/x")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:proxy_secret@host")
    told({**GOOD, "failed": "ImportError: /home/somebody/venv/lib/torch.so (import torch)"})
    for result in (invoke("doctor"), invoke("doctor", "--format", "json")):
        assert "HF_TOKEN" in result.stdout
        assert "secret" not in result.stdout
        assert "somebody" not in result.stdout
        assert "~/hub" in result.stdout


@pytest.mark.parametrize(
    ("changes", "computer", "environment", "name", "words"),
    [
        ({}, PC, {}, "no GPU", "ResNet-50 at 224×224 takes about 4 minutes for an image"),
        ({"threads": 1}, PC, {"OMP_NUM_THREADS": "1"}, "threads", "torch uses 1 of 8 cores"),
        ({"threads": 8}, Machine("x", 8, 1.5, None, None, None, True), {}, "threads", "8 threads for 1.5 cores"),
        ({"threads": 2}, Machine("x", 2, 2, None, None, None, True), {}, "cores", "only 2"),
        ({"rates": {"cpu": {"32": 9, "224": 2.0}}}, PC, {}, "convolutions", "0.2 images a second and core"),
        ({"denormals": 80.0}, PC, {}, "denormal numbers", "80 times as long"),
        ({"mkldnn": False}, PC, {}, "oneDNN", "without it"),
        ({"debug_build": True}, PC, {}, "torch", "a build for debugging"),
        ({}, PC, {"CUDA_LAUNCH_BLOCKING": "1"}, "CUDA_LAUNCH_BLOCKING", "waited for"),
        ({}, PC, {"ATEN_CPU_CAPABILITY": "default"}, "ATEN_CPU_CAPABILITY", "fewer instructions"),
    ],
)
def test_what_is_slow_is_told_with_the_reason_and_advice(
    changes, computer, environment, name, words, monkeypatch
) -> None:
    for variable in (*variables.SLOW, "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    found = {line.name: line for line in speed.speed(computer, {**GOOD, **changes}) if line.state == "slow"}
    assert name in found, found
    assert words in found[name].value
    assert found[name].advice
    assert found.keys() <= {name, "no GPU", "cores"}


def test_a_machine_with_a_gpu_and_nothing_slow_says_so(monkeypatch) -> None:
    for variable in variables.SLOW:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    of_gpu = {**GOOD, "devices": [{"name": "cpu"}, GPU], "rates": {**GOOD["rates"], "cuda:0": {"32": 9e4, "224": 2e3}}}
    assert all(line.state == "info" for line in speed.speed(PC, of_gpu))
    shown = {line.name: line for line in speed.devices(PC, of_gpu)}
    assert shown["cuda:0"].value == "A GPU, 80.0 GiB, 79.0 GiB free, capability 9.0, driver 555.1"
    assert "cuda" not in shown


def test_a_gpu_that_is_taken_or_broken_or_without_bf16_is_told() -> None:
    def states(**changes):
        found = {**GOOD, "devices": [{"name": "cpu"}, {**GPU, **changes}]}
        return {line.name: line.state for line in [*speed.devices(PC, found), *speed.speed(PC, found)]}

    assert states(free=2 << 30)["cuda:0"] == "slow"
    assert states(error="RuntimeError: no kernel image")["cuda:0"] == "problem"
    assert "bf16" in states(bf16=False)
    assert "bf16" not in states()


def test_other_programs_on_the_cores_are_told(monkeypatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (31.0, 1.0, 1.0))
    assert "31" in {line.name: line.value for line in speed.speed(PC, GOOD)}["load"]


def test_requirements_that_are_not_met_are_told(monkeypatch) -> None:
    wanted = {
        "stein-bench": ["a>=2", "b", "c; extra == 'x'", "torchattacks"], "a": ["b<3"], "b": ["d"],
        "torchattacks": ["requests~=2.25.1"],
    }  # fmt: skip
    has = {"a": "1.5", "b": "3.0", "torchattacks": "3.5.1", "requests": "2.34", "stein-bench": "1"}

    def requires(name):
        return wanted.get(name)

    def version(name):
        if name not in has:
            raise PackageNotFoundError(name)
        return has[name]

    monkeypatch.setattr(packages, "requires", requires)
    monkeypatch.setattr(packages, "version", version)
    found = {(line.name, line.value, line.state) for line in packages.conflicts()}
    assert found == {
        ("stein-bench", "wants a>=2, has 1.5", "broken"),
        ("a", "wants b<3, has 3.0", "problem"),
        ("b", "wants d, has none", "problem"),
        ("torchattacks", "wants requests~=2.25.1, has 2.34", "info"),
    }
    has |= {"a": "2", "b": "2.9", "d": "1", "requests": "2.25.1"}
    assert [line.value for line in packages.conflicts()] == ["all met"]


def test_a_cache_is_counted_and_old_files_are_told(tmp_path, monkeypatch, own_cache) -> None:
    monkeypatch.setattr(folders, "file_system", lambda path: "nfs4")
    (own_cache / "fits").mkdir(parents=True)
    for name, days in (("new", 0), ("old", 400)):
        file = own_cache / "fits" / name
        file.write_bytes(b"x" * 1024)
        moment = time.time() - days * 86400
        os.utime(file, (moment, moment))
    found = {line.name: line for line in folders.caches()}
    assert "2 files, 2 KiB, of which 1 (1 KiB) are older than 180 days" in found["cache"].value
    assert found["cache"].state == "ok"
    assert found["file system of the cache"].state == "slow"
    assert sorted(path.name for path in own_cache.rglob("*")) == ["fits", "new", "old"]


def test_a_cache_on_a_read_only_disk_is_broken(own_cache, monkeypatch) -> None:
    def refused(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    own_cache.mkdir()
    monkeypatch.setattr(folders.tempfile, "TemporaryFile", refused)
    assert {line.name: line.state for line in folders.caches()}["cache"] == "broken"


def test_looking_makes_no_cache(own_cache) -> None:
    assert {line.name: line.state for line in folders.caches()}["cache"] == "ok"
    assert not own_cache.exists()


def test_limits_of_a_container_are_read(tmp_path, monkeypatch) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text(f"{1 << 30}\n")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    here = machine.this_machine()
    assert (here.usable, here.memory_limit) == (1.5, 1 << 30)
    assert "1.0 GiB for this container" in {line.name: line.value for line in speed.devices(here, GOOD)}["memory"]


@pytest.mark.parametrize(
    ("code", "failed"),
    [
        (
            "print('noise'); print('{\"step\": \"import torch\"}', flush=True); import os; os.kill(os.getpid(), 11)",
            "11",
        ),
        ('print(\'{"step": "import torch"}\', flush=True); import time; time.sleep(60)', "did not end within 1 s"),
        ("raise ValueError('broken')", "ValueError: broken (start)"),
    ],
)
def test_a_library_that_ends_its_process_or_hangs_is_told_of(code, failed) -> None:
    from subprocess import PIPE, Popen

    process = Popen([sys.executable, "-S", "-c", code], stdout=PIPE, stderr=PIPE, text=True)
    found = probe.answer(process, 1.0)
    assert failed in found["failed"]
    if STEP in code:
        assert "import torch" in found["failed"]
        assert probe.modules_of(found)["torch"]["error"] == found["failed"]


def test_modules_are_tried_and_those_that_raise_are_told(tmp_path, monkeypatch) -> None:
    (tmp_path / "good_module.py").touch()
    (tmp_path / "bad_module.py").write_text("raise SystemExit('ended')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = probe.modules_of(probe.answer(probe.start("modules", "good_module", "bad_module", "no_such_module")))
    assert "seconds" in found["good_module"]
    assert found["bad_module"]["error"] == "SystemExit: ended"
    assert "ModuleNotFoundError" in found["no_such_module"]["error"]


def test_a_file_of_the_folder_is_not_taken_for_a_library(tmp_path, monkeypatch) -> None:
    (tmp_path / "shadowing.py").touch()
    monkeypatch.chdir(tmp_path)
    found = probe.answer(probe.start("modules", "shadowing"))
    assert "ModuleNotFoundError" in found["modules"]["shadowing"]["error"]


@pytest.mark.integration
def test_torch_is_really_tried() -> None:
    found = probe.answer(probe.start("torch"))
    assert found["failed"] == ""
    assert found["devices"][0] == {"name": "cpu"}
    assert found["rates"]["cpu"]["32"] > found["rates"]["cpu"]["224"] > 0
    assert found["passes"]["forward"] > found["passes"]["backward"] > 1000


def test_texts_for_people() -> None:
    assert [size(count) for count in (12, 2048, 3 << 20, 5 << 30)] == ["12 B", "2 KiB", "3 MiB", "5.0 GiB"]
    assert private(f"in {Path.home()}/x, http://a:b@c") == "in ~/x, http://…@c"
    assert private(f"{Path.home()}x") == f"{Path.home()}x"
    assert Examination({"A": (Line("b", "c", "broken"),)}, {}).usable is False
