"""Files of weights as training scripts and libraries write them, all for the network of net.py."""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

SECTION = "models.md", "Weights"


def make(folder: Path) -> None:
    """Write the files that the commands of the section name."""
    spec = importlib.util.spec_from_file_location("net_of_the_page", folder / "net.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    state = module.make().state_dict()
    averaged = {name: value.clone() for name, value in state.items()}

    def prefixed(prefix: str) -> dict[str, torch.Tensor]:
        return {f"{prefix}{name}": value for name, value in state.items()}

    safetensors.torch.save_file(state, folder / "model.safetensors")
    # pytorch/examples, imagenet/main.py; its best accuracy is a tensor
    best = {"epoch": 90, "arch": "net", "state_dict": prefixed("module."), "best_acc1": torch.tensor(71.0)}
    torch.save(best, folder / "model_best.pth.tar")
    # before PyTorch 1.6, e.g. akamaster/pytorch_resnet_cifar10
    torch.save(best, folder / "resnet32-d509ac18.th", _use_new_zipfile_serialization=False)
    # timm, utils/checkpoint_saver.py
    timm = {"epoch": 9, "arch": "net", "state_dict": state, "version": 2, "args": argparse.Namespace(lr=0.1)}
    timm |= {"state_dict_ema": averaged, "metric": np.float64(71.0)}
    torch.save(timm, folder / "checkpoint-9.pth.tar")
    # lightning, trainer/connectors/checkpoint_connector.py, of a module with self.model and self.ema_model
    copies = {**prefixed("model."), **prefixed("ema_model.module."), "criterion.weight": torch.ones(3)}
    torch.save({"state_dict": copies, "pytorch-lightning_version": "2.5.0", "epoch": 9}, folder / "last.ckpt")
    torch.save(prefixed("_orig_mod."), folder / "pytorch_model.bin")
    torch.save({"model": {name: value.numpy() for name, value in state.items()}}, folder / "weights.pkl")
    torch.save({name: value.half() for name, value in state.items()}, folder / "half.pt")
