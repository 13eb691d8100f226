"""Environment variables that change what stein-bench does, or how fast. Secrets are named, never shown."""

from __future__ import annotations

import os
from collections.abc import Iterator

from stein_bench.cache import CACHE_VARIABLE
from stein_bench.doctor.findings import Line, private
from stein_bench.launch import LAUNCHED
from stein_bench.offline import VARIABLE, offline

MEANINGS = {
    CACHE_VARIABLE: "where the cache is",
    "STEIN_BENCH_SILENCE": "seconds without a sign after which another process counts as dead",
    VARIABLE: "nothing is fetched",
    "HF_HOME": "folder of the Hugging Face libraries",
    "HF_HUB_CACHE": "what the Hugging Face hub keeps",
    "HF_ENDPOINT": "another address of the Hugging Face hub",
    "TORCH_HOME": "folder of torch.hub",
    "XDG_CACHE_HOME": "folder of all caches",
    "OMP_NUM_THREADS": "threads of one process",
    "MKL_NUM_THREADS": "threads of one process in MKL",
    "CUDA_VISIBLE_DEVICES": "the GPUs that torch sees",
    "CUBLAS_WORKSPACE_CONFIG": "needed for repeatable results on GPUs; set by stein-bench if it is not",
    "NVIDIA_TF32_OVERRIDE": "TF32 whatever torch asks for",
    "PYTORCH_CUDA_ALLOC_CONF": "how torch keeps GPU memory",
    "PYTHONPATH": "where modules are looked for first",
    "WANDB_MODE": "mode of --log wandb",
    "WANDB_PROJECT": "project of --log wandb",
    "MLFLOW_TRACKING_URI": "where --log mlflow writes",
    "MLFLOW_EXPERIMENT_NAME": "experiment of --log mlflow",
    "GITHUB_ACTIONS": "gate writes annotations and the job summary",
    **dict.fromkeys(LAUNCHED, "this process is one of several"),
}
SLOW = {
    "CUDA_LAUNCH_BLOCKING": "every GPU operation is waited for",
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "GPU memory is asked for anew each time",
    "TORCH_LOGS": "torch writes logs",
    "TORCHDYNAMO_DISABLE": "--compile has no effect",
    "ATEN_CPU_CAPABILITY": "torch may use fewer instructions of the processor than it has",
    "TORCH_DISTRIBUTED_DEBUG": "exchanges between processes are checked",
    "PYTHONDEVMODE": "Python checks itself",
    "PYTHONMALLOC": "Python may check its memory",
    "PYTHONTRACEMALLOC": "Python follows its memory",
}
"""Variables for debugging, which take time."""
SECRET = (
    "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy",
)  # fmt: skip
IGNORED = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")


def settings() -> Iterator[Line]:
    """Yield whether anything may be fetched or run, and the variables that are set."""
    yield Line("fetching", f"nothing, since {VARIABLE} is set" if offline() else "weights and data, unless --offline")
    yield Line("code named in files", "run only with --trust-code")
    for name, meaning in MEANINGS.items():
        if (value := os.environ.get(name)) is not None:
            yield Line(name, f"{private(value)!r}: {meaning}")
    for name in SECRET:
        if os.environ.get(name):
            yield Line(name, "set (not shown)")
    for name in IGNORED:
        if name in os.environ:
            yield Line(name, "has no effect: stein-bench decides which files of weights are safe to load")


def slow_variables() -> Iterator[Line]:
    """Yield the variables for debugging that are set."""
    for name, meaning in SLOW.items():
        value = os.environ.get(name, "")
        if value not in ("", "0") and not (name == "PYTHONMALLOC" and value in ("malloc", "pymalloc")):
            yield Line(name, f"{private(value)!r}: {meaning}", "slow", f"Unset {name}, unless you need it.")
