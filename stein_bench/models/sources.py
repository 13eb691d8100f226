"""Resolving a model spec to the source that builds its networks."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from stein_bench.errors import UsageError, unknown_name
from stein_bench.models import known_names
from stein_bench.models.archives import program_as_model
from stein_bench.models.callables import find_brought_model, find_in_file, find_in_module, given_model
from stein_bench.models.exported import find_exported
from stein_bench.models.interface import ModelSource, NamesClassifier, PretrainedConfig
from stein_bench.models.paper import find_paper_model
from stein_bench.models.seghead import find_backbone_with_head
from stein_bench.models.spelling import check_call, check_spelling, split_file
from stein_bench.models.timm_models import find_hub_model, find_timm_model, timm_model_names
from stein_bench.models.torch_hub import find_torch_hub_model
from stein_bench.models.torchscript import find_torchscript
from stein_bench.models.torchvision_models import find_torchvision_model, torchvision_model_names
from stein_bench.models.torchvision_segmentation import (
    find_torchvision_segmentation,
    torchvision_segmentation_names,
)
from stein_bench.models.transformers_models import find_transformers
from stein_bench.parts.installed import names as installed_names
from stein_bench.parts.trust import names_code
from stein_bench.parts.user_code import is_importable

__all__ = ["PREFIXES", "ModelSource", "NamesClassifier", "PretrainedConfig", "find_model"]

OTHER_PROGRAMS = {
    ".onnx": "an ONNX model", ".h5": "a Keras file", ".keras": "a Keras model", ".tflite": "a TensorFlow Lite model",
    ".pb": "a TensorFlow model",
}  # fmt: skip
"""By suffix, models that are no PyTorch."""
_NAME = re.compile(r"\w+(-\w+)*")
"""A name of a model without a pretrained tag: no path, no file."""
HINT = "`stein-bench list models` lists the known ones."


def find_model(spec: str) -> ModelSource:
    """Return the model source of `spec`; no network is built and nothing is downloaded.

    `spec` is ``NAME`` (timm's, then torchvision's), ``timm:NAME``, ``torchvision:NAME``, ``hf-hub:ORG/NAME``,
    ``hf-hub:FOLDER``, ``transformers:FOLDER``, ``transformers:ORG/NAME``, ``seghead:NAME``,
    ``paper:NAME[,OPTION=VALUE,…]``, ``jit:FILE``, ``pt2:FILE`` or ``FILE.pt2``, ``hub:OWNER/REPO:ENTRY``,
    ``FILE.py:CALLABLE`` or ``package.module:CALLABLE``, the last three with or without ``,key=value,…``. User code is
    imported. Raises `UsageError` if it is not found (with the nearest names) or fails.
    """
    prefix, colon, rest = spec.partition(":")
    if prefix in PREFIXES:
        return PREFIXES[prefix](rest) if colon else _find_bare(spec)
    if (in_file := split_file(spec)) is not None:
        return find_in_file(*in_file)
    check_spelling(spec)
    if not colon:
        return _find_bare(spec)
    if _is_module_name(prefix) and ("." in prefix or is_importable(prefix, Path.cwd())):
        check_call(rest, spec, prefix)
        return find_in_module(prefix, rest)
    raise _unknown_kind(spec)


def check_known(spec: str) -> None:
    """Raise the error of `find_model` if a spec can name no model at all; in doubt that is left to it.

    It takes a tenth of a second, where importing timm and torchvision takes many. In a program that has imported timm,
    where models of its own may be registered, nothing is checked.
    """
    if "timm" in sys.modules:
        return
    kind, colon, rest = spec.partition(":")
    name = rest if colon and kind in ("timm", "torchvision") else spec
    if not _NAME.fullmatch(name):
        if colon and kind not in PREFIXES and split_file(spec) is None and not names_code("model", spec):
            check_spelling(spec)
            raise _unknown_kind(spec)
        return
    own = installed_names("model")
    if name in own or os.path.exists(name) or known_names.mentioned(name):
        return
    timm, torchvision = known_names.timm_names(), known_names.torchvision_names()
    if colon:
        raise unknown_name(f"{kind} model", name, timm if kind == "timm" else torchvision, hint=HINT)
    raise unknown_name("model", name, [*timm, *torchvision, *own], hint=HINT)


def _unknown_kind(spec: str) -> UsageError:
    known = [f"{name}:" for name in PREFIXES if name != "python"]
    forms = f"{', '.join(known)} and your own FILE.py:CALLABLE or package.module:CALLABLE."
    return UsageError(f"unknown kind of model {spec.partition(':')[0]!r} in {spec!r}. Known: {forms}")


def _find_bare(name: str) -> ModelSource:
    if name.endswith(".pt2"):
        return find_exported(name)
    program = program_as_model(Path(os.path.expanduser(name)), name)
    if program is not None:
        raise UsageError(f"{name!r} names a file only: write {program}")
    if "/" in name:
        _check_path(name)
        raise UsageError(f"{name!r} is not a model name. For the Hugging Face hub, write hf-hub:{name}")
    found: ModelSource | None = find_timm_model(name)
    found = found or find_torchvision_segmentation(name) or find_torchvision_model(name) or find_brought_model(name)
    if found is None:
        _check_path(name)
        known = [
            *timm_model_names(tagged="." in name), *torchvision_model_names(), *torchvision_segmentation_names(),
            *installed_names("model"),
        ]  # fmt: skip
        raise unknown_name("model", name, known, hint=HINT)
    return found


def _check_path(name: str) -> None:
    """Raise a `UsageError` that says how its model is named if `name` is a file or folder, or a file of weights."""
    from stein_bench.models.weights_file import USUAL

    path = os.path.expanduser(name)
    if name and os.path.isdir(path):
        raise UsageError(
            f"{name!r} is a folder: write hf-hub:{name} (saved by timm), transformers:{name}, or hub:{name}:ENTRY "
            "(with a hubconf.py)."
        )
    suffix = os.path.splitext(name)[1].lower()
    if suffix in OTHER_PROGRAMS:
        raise UsageError(
            f"{name!r} is {OTHER_PROGRAMS[suffix]}, not one of PyTorch: name the PyTorch model, or export "
            "it to TorchScript (jit:FILE) or with torch.export (FILE.pt2)."
        )
    if os.path.isfile(path) or name.endswith(USUAL):
        raise UsageError(
            f"{name!r} names a file, not a model: name the model that it is for, and give --weights {name}."
        )


def _find_timm(name: str) -> ModelSource:
    found = find_timm_model(name)
    if found is None:
        raise unknown_name("timm model", name, timm_model_names(tagged="." in name), hint=HINT)
    return found


def _find_torchvision(name: str) -> ModelSource:
    found = find_torchvision_segmentation(name) or find_torchvision_model(name)
    if found is None:
        known = [*torchvision_model_names(), *torchvision_segmentation_names()]
        raise unknown_name("torchvision model", name, known, hint=HINT)
    return found


PREFIXES: dict[str, Callable[[str], ModelSource]] = {
    "timm": _find_timm,
    "torchvision": _find_torchvision,
    "hf-hub": find_hub_model,
    "paper": find_paper_model,
    "seghead": find_backbone_with_head,
    "hub": find_torch_hub_model,
    "python": lambda rest: given_model(f"python:{rest}"),
    "jit": find_torchscript,
    "pt2": find_exported,
    "transformers": find_transformers,
}


def _is_module_name(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))
