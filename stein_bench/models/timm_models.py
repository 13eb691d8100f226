"""timm's models, by name, from the Hugging Face hub, or from a folder with the files of a hub model."""

from __future__ import annotations

import json
import math
import os
import re
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stein_bench.errors import RunError, SteinBenchError, UsageError, reason, unknown_name
from stein_bench.models.hub import FOLDER_ID, hub_files, hub_offline, not_cached
from stein_bench.models.interface import IMAGENET, PretrainedConfig, digest, quiet_library
from stein_bench.offline import not_fetched
from stein_bench.reading import MOST_JSON, read_json

if TYPE_CHECKING:
    from torch import nn

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
WNID = re.compile(r"n\d{8}")
INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
# Errors from these packages while weights are fetched concern the connection, not the model.
DOWNLOADERS = ("huggingface_hub", "httpx", "requests", "urllib3")


@dataclass(frozen=True)
class TimmModel:
    """A model of timm's registry; `name` may carry a pretrained tag (``resnet18.a1_in1k``)."""

    name: str

    @property
    def spec(self) -> str:
        return f"timm:{self.name}"

    @property
    def pretrained(self) -> PretrainedConfig | None:
        """The configuration of the weights of the tag, or of timm's default tag."""
        config = _registered_config(self.name)
        if config is None or not config.has_weights:
            return None
        label_space = IMAGENET if config.num_classes == 1000 else None
        architecture = self.name.partition(".")[0]
        origin = f"timm {architecture}.{config.tag}" if config.tag else f"timm {architecture}"
        return _pretrained_config(config, label_space, origin)

    def build(self, *, num_classes: int | None, in_channels: int = 3, pretrained: bool = False) -> nn.Module:
        """Build the network; timm adapts pretrained weights to another number of classes or channels.

        The classifier is then initialized at random, and the first layer's weights are summed or repeated over the
        channels. See `ModelSource.build`.
        """
        if pretrained and self.pretrained is None:
            raise UsageError(f"{self.spec} has no pretrained weights.")
        return _create(self.spec, self.name, num_classes, in_channels, pretrained)

    def fingerprint(self) -> str:
        """Return the hash of timm's version."""
        return digest("timm", _timm_version())

    def classifier_layers(self) -> tuple[str, ...]:
        """Return the layers named by the model's default configuration."""
        return _classifier(_registered_config(self.name))


@dataclass(frozen=True)
class HubModel:
    """A timm model on the Hugging Face hub, by its ``org/name`` or ``org/name@revision``, or in a folder.

    The `folder`, whose path is the `hub_id`, has the files of such a model, as ``timm.models.save_for_hf`` writes them.
    """

    hub_id: str
    folder: Path | None = None

    @property
    def spec(self) -> str:
        return f"hf-hub:{self.hub_id}"

    @property
    def name(self) -> str:
        return self.folder.resolve().name if self.folder else self.hub_id.partition("@")[0].partition("/")[2]

    @property
    def notes(self) -> tuple[str, ...]:
        """For a folder that could also be a model of the hub, that it is the folder."""
        return (
            (f"{self.spec} is the folder here, not the hub's",) if self.folder and HUB_ID.fullmatch(self.hub_id) else ()
        )

    @property
    def pretrained(self) -> PretrainedConfig:
        """The configuration of the model's weights; the first access downloads it."""
        config = self._config
        return _pretrained_config(config, self._label_space(config), f"hf-hub {self.hub_id}")

    def build(self, *, num_classes: int | None, in_channels: int = 3, pretrained: bool = False) -> nn.Module:
        """Build the network described on the hub. See `TimmModel.build`."""
        timm_name = f"hf-hub:{self._timm_id}"
        return _create(self.spec, timm_name, num_classes, in_channels, pretrained, self.folder)

    def fingerprint(self) -> str:
        """Return the hash of timm's version and of the hub's description of the architecture."""
        _, architecture, arguments = self._description
        return digest("timm", _timm_version(), architecture, json.dumps(arguments, sort_keys=True, default=str))

    def classifier_layers(self) -> tuple[str, ...]:
        """Return the layers that the hub's configuration names."""
        return _classifier(self._config)

    @property
    def _timm_id(self) -> str:
        return self.hub_id if self.folder is None else FOLDER_ID

    @cached_property
    def _description(self) -> tuple[dict[str, Any], str, dict[str, Any]]:
        """timm's (pretrained configuration, architecture, arguments of the architecture)."""
        from timm.models import is_model, load_model_config_from_hf

        try:
            with quiet_library(), hub_files(self.folder):
                config, architecture, arguments = load_model_config_from_hf(self._timm_id)
        except Exception as error:
            if isinstance(error, KeyError):
                raise UsageError(f"{self.spec} is not a timm model: its config.json has no {error}.") from error
            raise _build_error(self.spec, error) from error
        if not is_model(architecture):
            raise UsageError(f"{self.spec} needs the architecture {architecture!r}, unknown to this timm.")
        return config, architecture, arguments or {}

    @property
    def _config(self) -> Any:
        from timm.models import PretrainedCfg

        described = self._description[0]
        known = PretrainedCfg.__dataclass_fields__
        return PretrainedCfg(**{key: value for key, value in described.items() if key in known})

    def _label_space(self, config: Any) -> str | None:
        """ImageNet only if stated: 1000 classes alone may be any others."""
        labels = config.label_names or ()
        says_so = (
            (self.folder is None and self.hub_id.startswith("timm/"))
            or "in1k" in self.name
            or "imagenet" in self.name.lower()
        )
        says_so = says_so or (bool(labels) and all(WNID.fullmatch(str(label)) for label in labels))
        return IMAGENET if config.num_classes == 1000 and says_so else None


def find_timm_model(name: str) -> TimmModel | None:
    """Return timm's model of this `name`, or None if there is none.

    Names that timm has deprecated are resolved to the current ones. Raises `UsageError` for a pretrained tag
    that the architecture does not have.
    """
    from timm.models import get_deprecated_models, is_model, list_pretrained

    current = get_deprecated_models().get(name, name)
    if current is None:
        raise UsageError(f"timm no longer has the model {name!r}.")
    if not current or not is_model(current):
        return None
    architecture, dot, _ = current.partition(".")
    if dot and not _has_tag(current):
        tagged = list_pretrained(f"{architecture}.*")
        raise unknown_name("pretrained tag", name, tagged, hint=f"{architecture} has no such weights.")
    return TimmModel(current)


def timm_model_names(*, tagged: bool = False) -> list[str]:
    """Return the names of timm's architectures, with `tagged` also those with a pretrained tag."""
    from timm.models import list_models, list_pretrained

    return [*list_models(), *(list_pretrained() if tagged else ())]


def find_hub_model(hub_id: str) -> HubModel:
    """Return the model of a hub id, which is looked up on first use, or in a folder.

    Raises `UsageError` if it is neither ``org/name`` or ``org/name@revision`` nor a folder with a ``config.json``.
    """
    folder = Path(os.path.expanduser(hub_id))
    if folder.is_dir():
        return _find_in_folder(folder, hub_id)
    if hub_id.startswith((".", "/", "~")):
        raise UsageError(f"no such folder: {hub_id}")
    if not HUB_ID.fullmatch(hub_id):
        raise UsageError(f"{hub_id!r} is not a model of the Hugging Face hub: write hf-hub:ORG/NAME.")
    return HubModel(hub_id)


def _find_in_folder(folder: Path, shown: str) -> HubModel:
    if not shown:
        raise UsageError("'hf-hub:' names no model: write hf-hub:ORG/NAME or hf-hub:FOLDER.")
    file = folder / "config.json"
    try:
        found = read_json(file, MOST_JSON, "a description of a model", finite=False)
    except FileNotFoundError as error:
        raise UsageError(f"{shown} has no config.json, which timm.models.save_for_hf writes.") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {reason(error)}") from error
    if not isinstance(found, dict) or "architecture" not in found:
        other = isinstance(found, dict) and "model_type" in found
        hint = f"; for one of transformers, write transformers:{shown}" if other else ""
        raise UsageError(f"{shown} is not a timm model: its config.json has no 'architecture'{hint}.")
    return HubModel(shown, folder)


def _create(
    spec: str,
    timm_name: str,
    num_classes: int | None,
    in_channels: int,
    pretrained: bool,
    folder: Path | None = None,
) -> nn.Module:
    import timm

    try:
        fetches = pretrained or timm_name.startswith("hf-hub:")  # else the hub is not even asked whether it is there
        with quiet_library(), hub_files(folder) if fetches else nullcontext():
            network: nn.Module = timm.create_model(
                timm_name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels
            )
    except Exception as error:
        if folder is not None and type(error).__name__ == "LocalEntryNotFoundError":
            raise UsageError(f"{folder} has neither model.safetensors nor pytorch_model.bin.") from error
        raise _build_error(spec, error) from error
    return network


def _build_error(spec: str, error: Exception) -> SteinBenchError:
    """Return the error for a model that does not exist, cannot be downloaded now, or cannot be built."""
    if type(error).__name__ == "RepositoryNotFoundError":  # of huggingface_hub; its module has moved
        return UsageError(f"there is no public model {spec} on the Hugging Face hub.")
    if isinstance(error, SteinBenchError):
        return error
    if type(error).__name__ == "LocalEntryNotFoundError" and hub_offline():
        from huggingface_hub import constants

        return not_fetched(f"the files of {spec} are not in the cache {constants.HF_HUB_CACHE}", "copy them there")
    if type(error).__name__ == "LocalEntryNotFoundError":
        return RunError(f"cannot download {spec}: {not_cached()}.")
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in DOWNLOADERS:
        return RunError(f"cannot download {spec}: {reason(error)}")
    return UsageError(f"cannot build {spec}: {reason(error)}")


def _has_tag(name: str) -> bool:
    try:
        return _registered_config(name) is not None
    except RuntimeError:
        return False


def _registered_config(name: str) -> Any:
    from timm.models import get_pretrained_cfg

    return get_pretrained_cfg(name)


def _pretrained_config(config: Any, label_space: str | None, origin: str) -> PretrainedConfig:
    interpolation = config.interpolation if config.interpolation in INTERPOLATIONS else "bicubic"
    image_size, crop_pct = int(config.input_size[-1]), float(config.crop_pct)
    same = math.floor(image_size / crop_pct) == round(image_size / crop_pct)
    return PretrainedConfig(
        mean=tuple(float(value) for value in config.mean),
        std=tuple(float(value) for value in config.std),
        image_size=image_size,
        crop_pct=crop_pct,
        interpolation=interpolation,
        num_classes=int(config.num_classes),
        label_space=label_space,
        origin=origin,
        resizing="timm-squash" if config.crop_mode == "squash" else "usual" if same else "timm",
    )


def _classifier(config: Any) -> tuple[str, ...]:
    names = config.classifier if config is not None else None
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(names)


def _timm_version() -> str:
    import timm

    return str(timm.__version__)
