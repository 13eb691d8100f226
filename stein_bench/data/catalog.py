"""The data sets, one line each. No heavy imports: listing must be fast."""

from __future__ import annotations

DATA_SUMMARIES: dict[str, str] = {
    "digits": "1,797 handwritten digits (UCI), embedded; 1,297 train, 500 test; 32×32 RGB, 10 classes",
    "npz:PATH[,train=PATH]": "arrays `images` (uint8, N×H×W×C or N×D×H×W×C) and `labels` (N) of an .npz file",
    "imagefolder:PATH": "one folder of images per class; ImageNet wnids and class indices are recognized",
    "cifar10[:ROOT]": "CIFAR-10; downloaded into the user's cache, or read from ROOT/cifar-10-batches-py",
    "cifar100[:ROOT]": "CIFAR-100; downloaded into the user's cache, or read from ROOT/cifar-100-python",
    "cifar10-c:ROOT[,OPTIONS]": "CIFAR-10-C as published; corruption=fog+snow|standard|extra|all, severity=1+3",
    "cifar100-c:ROOT[,OPTIONS]": "CIFAR-100-C as published; options as for cifar10-c",
    "imagenet-c:ROOT[,OPTIONS]": "corrupted images as ROOT/CORRUPTION/SEVERITY/CLASS/FILE; options as for cifar10-c",
    "cityscapes:ROOT": (
        "street scenes in the official layout (leftImg8bit/, gtFine/); 19 classes to segment, 256×512; val is evaluated"
    ),
    "nifti:CSV[,OPTIONS]": (
        "NIfTI volumes listed in a table (path, label, split, site); shape=128x128x64, scaling=none|minmax|LOW:HIGH"
    ),
    "hf:NAME[,OPTIONS]": (
        "Hugging Face `datasets`: a folder, or a name in its cache; split=, train=, image=, label=, config="
    ),
    "wds:PATTERN[,OPTIONS]": "WebDataset shards, e.g. wds:test-{000..003}.tar; train=PATTERN, image=EXT, label=KEY",
    "FILE.py:CALLABLE[,KEY=VALUE]": (
        "what your function returns: a data set (torch.utils.data), (images, labels), or both splits; also "
        "package.module:CALLABLE"
    ),
}
"""Spec pattern → description. The name ends before the first ``:`` or ``[``; `FILE` stands for user code."""
