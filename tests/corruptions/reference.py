"""The corruptions of the package imagecorruptions-imaug, with draws that stein-bench can repeat.

The package is an independent reimplementation of the published code on OpenCV, scikit-image and numba:
https://pypi.org/project/imagecorruptions-imaug. It knows the strengths for 224×224 images only, so its source is read
with other strengths in their place. Where it departs from the published code, the published steps are put in:

- enlarged images are trimmed in the middle (it keeps the upper left part);
- a motion blur continues the image at its border (it stops where the motion is longer than the image);
- pixelation enlarges by boxes (it repeats the nearest value);
- the elastic transformation has its affine part (it has none).

`python -m tests.corruptions.reference` writes the golden file; see `GOLDEN`.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from stein_bench.corruptions.published import CIFAR, IMAGENET, Numbers

GOLDEN = Path(__file__).parent / "golden" / "imagecorruptions.npz"
"""Made with imagecorruptions-imaug 1.1.5, NumPy 2.4.6, SciPy 1.17.1, OpenCV 5.0.0, scikit-image 0.26.0, Pillow 13.0."""

NAMES = tuple(name for name in CIFAR if name != "frost")
SETS = {"cifar": CIFAR, "imagenet": IMAGENET}
SEED = 11


def photograph() -> np.ndarray:
    """A natural image of (20, 24, 3) bytes, with sky, roofs and trees; no square.

    From "china.jpg" of scikit-learn, by danielbuechele, CC BY 2.0, cut and made smaller.
    """
    from sklearn.datasets import load_sample_image

    whole = Image.fromarray(load_sample_image("china.jpg"))
    return np.asarray(whole.resize((96, 64), Image.Resampling.BOX))[18:38, 10:34].copy()


def reference(package: ModuleType, name: str, strength: Numbers | None, image: np.ndarray, seed: int) -> np.ndarray:
    """Return what the package makes of a (height, width, 3) image, as bytes.

    Args:
        package: ``imagecorruptions.corruptions``.
        name: of the corruption.
        strength: the numbers to use.
        image: (height, width, 3) bytes.
        seed: of the generator whose draws are used.
    """
    if name == "elastic_transform":
        return np.uint8(_elastic(strength, image, np.random.default_rng(seed)))
    module = _with_strengths(package, name, strength)
    with _draws(np.random.default_rng(seed)):
        options = {"seed": seed} if name in ("impulse_noise", "glass_blur") else {}
        return np.uint8(module[name](Image.fromarray(image), 1, **options))


def _with_strengths(package: ModuleType, name: str, strength: Numbers) -> dict[str, Any]:
    """Return the package's names, made anew from its source with one row of strengths in all its tables."""
    value: Any = strength[0] if len(strength) == 1 else strength
    if name == "zoom_blur":
        value = np.arange(1, *strength)
    if name == "glass_blur":
        value = (strength[0], int(strength[1]), int(strength[2]))
    if name in ("motion_blur", "snow"):
        value = tuple(int(number) if number == int(number) else number for number in strength)
    tree = ast.parse(inspect.getsource(package))
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "c":
            node.value = ast.Name("STRENGTH", ast.Load())
    # Compiled code would draw from a generator of its own.
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.module == "numba")]
    names = {"STRENGTH": value, "njit": lambda: lambda function: function, "__package__": package.__package__}
    exec(compile(ast.fix_missing_locations(tree), package.__file__, "exec"), names)
    # Pillow is asked for boxes the second time as well.
    names["Image"] = type("Boxes", (), {"BOX": Image.BOX, "NEAREST": Image.BOX, "open": staticmethod(Image.open)})
    names["clipped_zoom"] = _trimmed(names["clipped_zoom"])
    names["_motion_blur"] = _continued(names["_motion_blur"])
    return names


def tables(package: ModuleType) -> dict[str, list[Any]]:
    """Return the package's own strengths for every corruption that has a table of them: all but the elastic one."""
    found = {}
    for function in ast.parse(inspect.getsource(package)).body:
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "c":
                assert isinstance(function, ast.FunctionDef)
                assert isinstance(node.value, ast.Subscript)
                found[function.name] = eval(ast.unparse(node.value.value), {"np": np})
    return found


def _trimmed(zoom: Any) -> Any:
    def zoomed(image: np.ndarray, factor: float) -> np.ndarray:
        large = zoom(image, factor)
        top, left = ((large.shape[axis] - image.shape[axis]) // 2 for axis in (0, 1))
        return large[top : top + image.shape[0], left : left + image.shape[1]]

    return zoomed


def _continued(blur: Any) -> Any:
    def blurred(image: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
        margin = 2 * radius + 1
        wide = np.pad(image, ((margin, margin), (margin, margin), *((0, 0),) * (image.ndim - 2)), mode="edge")
        return blur(wide, radius, sigma, angle)[margin:-margin, margin:-margin]

    return blurred


def _elastic(strength: Numbers, image: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    """The published transformation by OpenCV, scikit-image and SciPy; the order of the draws is the published one."""
    import cv2
    from scipy.ndimage import map_coordinates
    from skimage.filters import gaussian

    height, width = image.shape[:2]
    size, sigma, move = (min(height, width) * number for number in strength)
    x, y, third = width // 2, height // 2, min(height, width) // 3
    corners = np.float32([[x + third, y + third], [x + third, y - third], [x - third, y - third]])
    affine = cv2.getAffineTransform(corners, np.float32(corners + draws.uniform(-move, move, (3, 2))))
    values = cv2.warpAffine(np.float32(image / 255), affine, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    right, down = (
        gaussian(draws.uniform(-1, 1, (height, width)), sigma, mode="reflect", truncate=3) * size for _ in range(2)
    )
    rows, columns = np.mgrid[:height, :width]
    channels = [
        map_coordinates(values[..., k], (rows + down, columns + right), order=1, mode="reflect") for k in range(3)
    ]
    return 255 * np.clip(np.stack(channels, -1), 0, 1)


@contextmanager
def _draws(generator: np.random.Generator) -> Iterator[None]:
    """Let NumPy's functions of random numbers draw from the generator."""
    names: Mapping[str, Any] = {
        "normal": generator.normal,
        "uniform": generator.uniform,
        "poisson": generator.poisson,
        "randint": generator.integers,
        "seed": lambda seed: None,
    }
    before = {name: getattr(np.random, name) for name in names}
    try:
        for name, function in names.items():
            setattr(np.random, name, function)
        yield
    finally:
        for name, function in before.items():
            setattr(np.random, name, function)


def write() -> None:
    """Write the golden file."""
    from imagecorruptions import corruptions as package

    image = photograph()
    results = {
        f"{which}/{name}": np.stack([reference(package, name, row, image, SEED) for row in SETS[which][name]])
        for which in SETS
        for name in NAMES
    }
    np.savez_compressed(GOLDEN, image=image, **results)


if __name__ == "__main__":
    write()
