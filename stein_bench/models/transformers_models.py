"""Image classifiers of the transformers library, from a folder or from the cache of the Hugging Face hub."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stein_bench.errors import UsageError, reason
from stein_bench.models.image_processor import expressed, label_space
from stein_bench.models.interface import PretrainedConfig, digest, quiet_library
from stein_bench.models.timm_models import HUB_ID

if TYPE_CHECKING:
    from torch import nn

OWN_CODE_ONLY = {"trust_remote_code": False}
"""Code in a model's folder is never run; by default the library would ask at the terminal whether to."""


@dataclass(frozen=True)
class TransformersModel:
    """``transformers:FOLDER`` or ``transformers:ORG/NAME``: a model that `save_pretrained` wrote.

    Nothing is downloaded. Weights are float32, whatever they were saved in.
    """

    where: str

    @property
    def spec(self) -> str:
        return f"transformers:{self.where}"

    @property
    def name(self) -> str:
        return Path(self._location).resolve().name

    @cached_property
    def pretrained(self) -> PretrainedConfig:
        """What the weights expect, from the model's image processor, and the labels that its configuration names."""
        classes = self._config.id2label
        return expressed(self._processor, len(classes), label_space(classes), f"transformers {self.where}")

    @property
    def notes(self) -> tuple[str, ...]:
        """Say so if weights are not float32, or if the filter for resizing is a default, which versions differ in."""
        import transformers

        saved_in, found = _saved_in(self._config), []
        if saved_in not in (None, "float32"):
            found.append(f"the weights of {self.where} are in {saved_in}; the model is run in float32")
        with self._reading(), _quiet():
            written, _ = self._processor.get_image_processor_dict(self._location, local_files_only=True)
        if "resample" not in written:
            default = f"{self.pretrained.interpolation}, the default of transformers {transformers.__version__}"
            found.append(f"preprocessor_config.json of {self.where} names no filter for resizing: {default}")
        return tuple(found)

    def build(self, *, num_classes: int | None, in_channels: int = 3, pretrained: bool = False) -> nn.Module:
        """Build the network; pretrained weights fit only their own numbers of classes and channels.

        See `ModelSource.build`.
        """
        if pretrained:
            return self._with_weights(num_classes, in_channels)
        from transformers import AutoModelForImageClassification

        config = type(self._config).from_dict(self._config.to_dict())
        if num_classes is not None:
            config.num_labels = num_classes
        if hasattr(config, "num_channels"):
            config.num_channels = in_channels
        with self._reading(), _quiet():
            network: nn.Module = AutoModelForImageClassification.from_config(config, **OWN_CODE_ONLY)
        return network.float()

    def fingerprint(self) -> str:
        """Return the hash of the library's version and the model's configuration."""
        import transformers

        return digest("transformers", str(transformers.__version__), str(self._config.to_json_string()))

    def classifier_layers(self) -> tuple[str, ...]:
        """Return the last linear layer with one output per class, found on a network without storage (meta device)."""
        import torch
        from torch import nn

        with torch.device("meta"):
            modules = list(self.build(num_classes=None, in_channels=self._channels).named_modules())
        classes = len(self._config.id2label)
        fitting = [name for name, layer in modules if isinstance(layer, nn.Linear) and layer.out_features == classes]
        return tuple(fitting[-1:])

    def _with_weights(self, num_classes: int | None, in_channels: int) -> nn.Module:
        from transformers import AutoModelForImageClassification

        own = (len(self._config.id2label), self._channels)
        if (num_classes or own[0], in_channels) != own:
            raise UsageError(
                f"the pretrained weights of {self.spec} are for {own[0]} classes and {own[1]} channels, not "
                f"{num_classes or own[0]} and {in_channels}."
            )
        with self._reading(), _quiet():
            network, loaded = AutoModelForImageClassification.from_pretrained(
                self._location, local_files_only=True, output_loading_info=True, **OWN_CODE_ONLY
            )
        missing = sorted(map(str, (*loaded["missing_keys"], *loaded["mismatched_keys"])))
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise UsageError(f"the weights of {self.spec} lack {', '.join(missing[:3])}{more}, which would be random.")
        ready: nn.Module = network.float()
        return ready

    @cached_property
    def _processor(self) -> Any:
        import transformers

        # Pillow, as when the weights were trained, is another way of resizing than the default of version 5.
        pillow = {"backend": "pil"} if int(transformers.__version__.partition(".")[0]) >= 5 else {"use_fast": False}
        try:
            with quiet_library(), _quiet():
                return transformers.AutoImageProcessor.from_pretrained(
                    self._location, local_files_only=True, **OWN_CODE_ONLY, **pillow
                )
        except Exception as error:
            raise UsageError(
                f"{self.spec}: its preprocessing is unknown, since preprocessor_config.json is missing or cannot be "
                f"read ({reason(error)}); the model's image processor writes it with save_pretrained."
            ) from error

    @cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        with self._reading(), _quiet():
            return AutoConfig.from_pretrained(self._location, local_files_only=True, **OWN_CODE_ONLY)

    @property
    def _channels(self) -> int:
        return int(getattr(self._config, "num_channels", 3))

    @property
    def _location(self) -> str:
        return os.path.expanduser(self.where)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn the library's errors into a `UsageError`."""
        try:
            with quiet_library():
                yield
        except Exception as error:
            if not Path(self._location).is_dir() and isinstance(error, OSError):
                from huggingface_hub import constants

                raise UsageError(
                    f"{self.spec} is neither a folder nor in the cache {constants.HF_HUB_CACHE}: download it with "
                    f"`hf download {self.where}`."
                ) from error
            if "trust_remote_code" in str(error):
                raise UsageError(
                    f"{self.spec} brings code of its own, which is not run: let a function in FILE.py return the "
                    "model, and give --mean and --std."
                ) from error
            raise UsageError(f"cannot load {self.spec}: {reason(error)}") from error


def find_transformers(where: str) -> TransformersModel:
    """Return the model in the folder `where`, or in the hub's cache under that id, which is looked up on first use.

    Raises `UsageError` if there is no such folder, or transformers is not installed.
    """
    folder = Path(os.path.expanduser(where))
    if not where:
        raise UsageError("'transformers:' names no model: write transformers:FOLDER or transformers:ORG/NAME.")
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UsageError(f"{where} has no config.json, which a model's save_pretrained writes.")
    elif where.startswith((".", "/", "~")) or not HUB_ID.fullmatch(where) or "@" in where:
        raise UsageError(f"no such folder: {where!r}. Write transformers:FOLDER or transformers:ORG/NAME.")
    if importlib.util.find_spec("transformers") is None:
        raise UsageError(f"transformers:{where} needs the library transformers: pip install 'stein-bench[hf]'")
    return TransformersModel(where)


def _saved_in(config: Any) -> str | None:
    """Return the data type that a model's configuration says that it was saved in; None if it says none."""
    dtype = getattr(config, "dtype", None) or getattr(config, "torch_dtype", None)  # the latter before version 5
    return None if dtype is None else str(dtype).removeprefix("torch.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from logging, and from drawing progress bars."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
