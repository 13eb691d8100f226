"""Arrays in .npz and .npy files."""

from pathlib import Path

import numpy as np

SECTION = "data.md", "Arrays"


def make(folder: Path) -> None:
    """Write the documented test arrays in the other formats that the section names."""
    with np.load(folder / "test.npz") as test, np.load(folder / "train.npz") as train:
        images, labels = test["images"], test["labels"]
        train_images, train_labels = train["images"], train["labels"]
    np.savez(folder / "first.npz", images=images.transpose(0, 3, 1, 2), labels=labels)
    np.savez(folder / "floats.npz", images=images / np.float32(255), labels=np.eye(3)[labels])
    np.savez(folder / "deep.npz", images=images.astype(np.uint16) * 257, labels=labels)
    np.savez(folder / "gray.npz", images=images[..., 0], labels=labels)
    np.savez(folder / "unclear.npz", images=images[:, :, :3].transpose(0, 3, 1, 2), labels=labels)
    np.savez(folder / "own.npz", pictures=images, kind=np.array(["bee", "cat", "dog"])[labels])
    np.savez(folder / "keras.npz", x_train=train_images, y_train=train_labels, x_test=images, y_test=labels)
    medmnist = {"train": (train_images, train_labels), "val": (images, labels), "test": (images, labels)}
    named = {f"{split}_images": pixels for split, (pixels, _) in medmnist.items()}
    named |= {f"{split}_labels": classes[:, None] for split, (_, classes) in medmnist.items()}
    np.savez(folder / "medmnist.npz", **named)
    for name, array in {
        "images": images, "labels": labels, "train-images": train_images, "train-labels": train_labels,
    }.items():  # fmt: skip
        np.save(folder / f"{name}.npy", array)
