"""The data sets, one line each. No heavy imports: listing must be fast."""

from __future__ import annotations

DATA_SUMMARIES: dict[str, str] = {
    "digits": "1,797 handwritten digits (UCI), embedded; 1,297 train, 500 test; 32×32 RGB, 10 classes",
    "npz:PATH[,train=PATH][,OPTIONS]": (
        "arrays of an .npz file: `images` (N×H×W×C or N×D×H×W×C) and `labels` (N), or the keys of Keras and MedMNIST; "
        "images=KEY,labels=KEY, layout=NCHW, scale=1|255, channels=3"
    ),
    "npy:IMAGES,LABELS[,OPTIONS]": (
        "two .npy files, not read into memory; train_images=FILE,train_labels=FILE and the options of npz"
    ),
    "imagefolder:PATH[,OPTIONS]": (
        "one folder of images per class; ImageNet wnids, class indices and classes.txt are recognized; "
        "classes=FILE, damaged=skip|refuse"
    ),
    "csv:FILE[,OPTIONS]": (
        "image files listed in a table (path, label, split); labels are numbers or names; "
        "classes=FILE, damaged=skip|refuse"
    ),
    "cifar10[:ROOT]": "CIFAR-10; downloaded into the user's cache, or read from ROOT/cifar-10-batches-py",
    "cifar100[:ROOT]": "CIFAR-100; downloaded into the user's cache, or read from ROOT/cifar-100-python",
    "cifar10-c:ROOT[,OPTIONS]": "CIFAR-10-C as published; corruption=fog+snow|standard|extra|all, severity=1+3",
    "cifar100-c:ROOT[,OPTIONS]": "CIFAR-100-C as published; options as for cifar10-c",
    "imagenet-c:ROOT[,OPTIONS]": "corrupted images as ROOT/CORRUPTION/SEVERITY/CLASS/FILE; options as for cifar10-c",
    "mnist:ROOT[,channels=3]": "MNIST, as torchvision stores it (ROOT/MNIST/raw); 28×28 gray, never downloaded",
    "fashion-mnist:ROOT[,channels=3]": "Fashion-MNIST, as torchvision stores it (ROOT/FashionMNIST/raw)",
    "kmnist:ROOT[,channels=3]": "Kuzushiji-MNIST, as torchvision stores it (ROOT/KMNIST/raw)",
    "svhn:ROOT": "SVHN, as torchvision stores it (ROOT/test_32x32.mat); 32×32 RGB",
    "stl10:ROOT": "STL-10, as torchvision stores it (ROOT/stl10_binary); 96×96 RGB, the labeled images",
    "imagenette:ROOT[,size=SIZE]": "ten classes of ImageNet, as torchvision unpacks them; full, 320px or 160px",
    "cityscapes:ROOT[,damaged=skip|refuse]": (
        "street scenes in the official layout (leftImg8bit/, gtFine/); 19 classes to segment, 256×512; val is evaluated"
    ),
    "nifti:CSV[,OPTIONS]": (
        "NIfTI volumes listed in a table (path, label, split, site); shape=128x128x64, scaling=none|minmax|LOW:HIGH"
    ),
    "hf:NAME[,OPTIONS]": (
        "Hugging Face `datasets`: a folder, or a name in its cache; split=, train=, image=, label=, config=, damaged="
    ),
    "wds:PATTERN[,OPTIONS]": (
        "WebDataset shards, e.g. wds:test-{000..003}.tar; train=PATTERN, image=EXT, label=KEY, damaged=skip|refuse"
    ),
    "FILE.py:CALLABLE[,KEY=VALUE]": (
        "what your function returns: a data set (torch.utils.data), (images, labels), or both splits; also "
        "package.module:CALLABLE"
    ),
}
"""Spec pattern → description. The name ends before the first ``:`` or ``[``; `FILE` stands for user code."""
