"""What holds for all 19 corruptions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stein_bench.corruptions.common import CORRUPTIONS, SMALLEST, corrupted
from stein_bench.corruptions.names import DETERMINISTIC, EXTRA, OWN_TEXTURE, STANDARD
from stein_bench.corruptions.published import CIFAR, IMAGENET, parameters
from stein_bench.errors import UsageError
from tests.corruptions.photographs import photographs

NOT_MONOTONE = {
    "glass_blur": "a stronger blur hides more of the moves, and rounds become fewer as the reach grows",
    "frost": "the image's weight falls while that of the frost stays",
    "elastic_transform": "from coarse moves of the whole image to fine ones",
    "saturate": "severities 1 and 2 take color away, 3 to 5 add some",
}
"""Corruptions whose published strengths do not grow in mean L2 distance, and why."""

MONOTONE_IN_LARGE_ONLY = {
    "motion_blur": "severities 3 and 4 differ in where a Gaussian is cut, at 6 or 8 standard deviations: not at all",
    "pixelate": "28 of 32 pixels are about as far away as 30",
    "spatter": "from water to mud",
}


def test_every_name_has_a_function_and_strengths() -> None:
    assert tuple(CORRUPTIONS) == (*STANDARD, *EXTRA)
    assert set(CIFAR) == set(IMAGENET) == set(CORRUPTIONS)
    assert all(len(rows[name]) == 5 for rows in (CIFAR, IMAGENET) for name in rows)
    assert OWN_TEXTURE == ("frost",)


@pytest.mark.parametrize(
    ("height", "width", "channels", "severities"),
    [
        (32, 32, 3, (1, 2, 3, 4, 5)),
        (32, 32, 1, (1, 2, 3, 4, 5)),
        (28, 28, 1, (5,)),
        (64, 80, 3, (1, 3, 5)),
        (96, 64, 1, (1, 5)),
        (224, 224, 3, (4,)),
        (SMALLEST, SMALLEST, 3, (2, 5)),
        (SMALLEST, 70, 1, (1, 5)),
    ],
)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_result_is_a_picture_of_eight_bits_that_depends_on_its_sample_alone(
    name: str, height: int, width: int, channels: int, severities: tuple[int, ...]
) -> None:
    images = photographs(height, width, channels)[[0, 3, 3]]
    before, numpy_state, torch_state = images.clone(), np.random.get_state()[1].copy(), torch.get_rng_state()
    for severity in severities:
        found = corrupted(name, severity, images, [7, 8, 9])
        assert found.shape == images.shape
        assert found.dtype == torch.float32
        assert found.is_contiguous()
        levels = (found * 255).round()
        assert torch.equal(levels / 255, found)
        assert levels.min() >= 0
        assert levels.max() <= 255
        assert torch.equal(corrupted(name, severity, images[1:2], [8])[0], found[1])
        assert torch.equal(found[1], found[2]) == (name in DETERMINISTIC)
    assert torch.equal(images, before)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize("side", [32, 96])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_grows_in_distance_where_the_published_strengths_do(name: str, side: int) -> None:
    images = photographs(side).repeat(8 if side == 32 else 1, 1, 1, 1)
    found = [corrupted(name, severity, images, range(len(images))) for severity in range(1, 6)]
    means = [float((image - images).flatten(1).norm(dim=1).mean()) for image in found]
    excepted = {**NOT_MONOTONE, **(MONOTONE_IN_LARGE_ONLY if side == 32 else {})}
    assert name in excepted or means == sorted(means)
    assert name not in NOT_MONOTONE or means != sorted(means)
    assert len(set(means)) == (4 if (name, side) == ("motion_blur", 32) else 5)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_gray_images_are_corrupted_like_the_gray_value_of_colored_ones(name: str) -> None:
    gray = photographs(64, channels=1)
    found = corrupted(name, 3, gray, range(4))
    if name == "saturate":
        assert torch.equal(found, gray)
        return
    colored = corrupted(name, 3, gray.repeat(1, 3, 1, 1), range(4))
    weights = torch.tensor([0.299, 0.587, 0.114]).reshape(3, 1, 1)
    expected = (colored * weights).sum(1, keepdim=True)
    # Noise is drawn for each channel by itself and only its size can be compared; JPEG rounds colors; channels reach
    # white one after the other.
    if name.endswith("noise"):
        spread = [(image - gray).std() for image in (found, colored)]
        assert spread[0] == pytest.approx(float(spread[1]), rel=0.05)
    else:
        away = (found - expected).abs()[(colored < 1).all(1, keepdim=True)]
        assert away.max() * 255 < (8 if name == "jpeg_compression" else 2)


def test_the_smaller_strengths_are_for_shorter_sides_below_64_pixels() -> None:
    assert [parameters(side) for side in (8, 32, 63, 64, 224, 1024)] == ["cifar"] * 3 + ["imagenet"] * 3
    black = torch.zeros(1, 3, 63, 300)
    assert corrupted("brightness", 1, black, [0]).max() * 255 == pytest.approx(int(0.05 * 255))
    black = torch.zeros(1, 3, 64, 64)
    assert corrupted("brightness", 1, black, [0]).max() * 255 == pytest.approx(int(0.1 * 255))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_black_and_white_images_give_numbers(name: str) -> None:
    images = torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)])
    for severity in (1, 5):
        assert corrupted(name, severity, images, [0, 1]).isfinite().all()


def test_no_images_give_none() -> None:
    assert corrupted("fog", 1, torch.zeros(0, 3, 32, 32), []).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("name", "severity", "images", "seeds", "message"),
    [
        ("fogg", 1, torch.zeros(1, 3, 32, 32), [0], "unknown corruption 'fogg'. Did you mean 'fog'?"),
        ("fog", 0, torch.zeros(1, 3, 32, 32), [0], "severity 0 is not one of 1 to 5"),
        ("fog", 6, torch.zeros(1, 3, 32, 32), [0], "severity 6"),
        ("fog", 1, torch.zeros(1, 2, 32, 32), [0], "shape (1, 2, 32, 32)"),
        ("fog", 1, torch.zeros(3, 32, 32), [0], "shape (3, 32, 32)"),
        ("fog", 1, torch.zeros(1, 3, 7, 32), [0], "7×32 pixels are too small; the smallest side is 8"),
        ("fog", 1, torch.zeros(2, 3, 32, 32), [0], "1 seeds for 2 images"),
        ("fog", 1, torch.full((1, 3, 32, 32), 1.5), [0], "outside [0, 1]"),
        ("fog", 1, torch.full((1, 3, 32, 32), torch.nan), [0], "outside [0, 1]"),
    ],
)
def test_bad_input_is_told_in_one_line(
    name: str, severity: int, images: torch.Tensor, seeds: list[int], message: str
) -> None:
    with pytest.raises(UsageError) as error:
        corrupted(name, severity, images, seeds)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
