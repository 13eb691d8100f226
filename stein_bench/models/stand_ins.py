"""Stand-ins for what checkpoints hold besides tensors: settings, NumPy scalars and arrays, paths.

An unpickler that is given these classes in place of the named ones calls nothing of another library, not even of NumPy,
whose `scalar` and `dtype` trust the bytes that a file gives them. They keep nothing but the numbers of arrays.
"""

# ruff: noqa: ARG002, ARG004  (arguments are taken and not kept)

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

NUMBER = re.compile(r"[<>=|]?(?:[fiu][248]|[iub]1)")
"""NumPy's codes of the numbers that torch has too, e.g. ``<f4``; see `numpy.dtype.str`."""


class Sealed(type):
    """Class of the stand-ins, whose attributes no pickle can set."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise AttributeError(f"{cls.__name__}.{name} is fixed")


class Inert(metaclass=Sealed):
    """Stands for an object besides the weights; takes any arguments and any state, and keeps neither."""

    def __new__(cls, *args: object, **kwargs: object) -> Any:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class PlainMapping(metaclass=Sealed):
    """Stands for a subclass of dict: gives an `OrderedDict`, the only one that torch's unpickler fills and builds."""

    def __new__(cls, *args: object, **kwargs: object) -> Any:
        return OrderedDict()


class NumpyDtype(Inert):
    """Stands for a `numpy.dtype`: keeps its code, e.g. ``f4``, and its byte order."""

    code = ""
    order = "="

    def __init__(self, code: object = "", *args: object) -> None:
        self.code = code if isinstance(code, str) else ""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = str(state[1])


class NumpyArray(Inert):
    """Stands for a `numpy.ndarray` of numbers, by its raw bytes; see `numpy.ndarray.__reduce__`."""

    __module__ = "numpy"
    __qualname__ = "ndarray"
    content: tuple[object, ...] = ()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 5:
            _, shape, dtype, fortran, data = state
            self.content = (shape, dtype, bool(fortran), data)

    def tensor(self) -> Tensor | None:
        """Return the array as a tensor; None if it does not consist of numbers that torch has."""
        if len(self.content) != 4:
            return None
        shape, dtype, fortran, data = self.content
        code = f"{dtype.order}{dtype.code}" if isinstance(dtype, NumpyDtype) else ""
        raw = data.encode("latin1") if isinstance(data, str) else data  # text: from Python 2
        if not NUMBER.fullmatch(code) or not isinstance(raw, bytes | bytearray) or not isinstance(shape, tuple):
            return None
        number, sides = np.dtype(code), [side for side in shape if isinstance(side, int) and side >= 0]
        if len(sides) != len(shape) or len(raw) != math.prod(sides) * number.itemsize:
            return None
        values = np.frombuffer(bytes(raw), number).reshape(sides, order="F" if fortran else "C")
        return torch.from_numpy(values.astype(number.newbyteorder("="), order="C"))


type.__setattr__(NumpyArray, "__name__", "ndarray")  # by which torch 2.6 finds it; later ones go by the qualified name


class EmptyArray(metaclass=Sealed):
    """Stands for NumPy's function of arrays, which are filled afterwards: `_reconstruct`."""

    def __new__(cls, *args: object) -> Any:
        return NumpyArray()


class NoBytes(metaclass=Sealed):
    """Stands for `bytes` without arguments, as older protocols write empty ones."""

    def __new__(cls, *args: object) -> Any:
        return b""


def _named(name: str, kind: type) -> type:
    """Return a class like `kind` under the full `name` of what it stands for, by which torch's unpickler finds it."""
    module, _, own = name.rpartition(".")
    return type(own, (kind,), {"__module__": module})


CORES = ("core", "_core")
"""Where NumPy 1 and 2 keep what pickles name."""
DATA_ONLY = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"pathlib{inner}.{kind}" for inner in ("", "._local") for kind in (
        "Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath",
    )),
    *(f"datetime.{kind}" for kind in ("date", "datetime", "time", "timedelta", "timezone")),
    *(f"builtins.{kind}" for kind in ("int", "float", "bool", "str", "list", "dict", "tuple", "slice", "range")),
    *(f"numpy.{core}.multiarray.scalar" for core in CORES),
    *(f"numpy.{kind}" for kind in ("float64", "float32", "int64", "int32", "bool_")),
    "torch.torch_version.TorchVersion",
)  # fmt: skip
"""Names of data that stand beside weights and are not needed."""
MAPPINGS = (
    "collections.defaultdict",
    "easydict.EasyDict",
    "addict.addict.Dict",
    "yacs.config.CfgNode",
    "ml_collections.config_dict.config_dict.ConfigDict",
    "mmengine.config.config.ConfigDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)
"""Names of subclasses of dict that checkpoints hold."""
STAND_INS: Mapping[str, type] = {
    **{name: _named(name, Inert) for name in DATA_ONLY},
    **{name: _named(name, PlainMapping) for name in MAPPINGS},
    **{
        f"numpy.{core}.multiarray._reconstruct": _named(f"numpy.{core}.multiarray._reconstruct", EmptyArray)
        for core in CORES
    },
    "builtins.bytes": _named("builtins.bytes", NoBytes),
    "numpy.dtype": _named("numpy.dtype", NumpyDtype),
    "numpy.ndarray": NumpyArray,
}
