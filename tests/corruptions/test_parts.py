"""The pieces that corruptions are made of, against closed forms and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from stein_bench.corruptions import blur, digital, frost_texture, liquid, noise, resampling, weather
from stein_bench.corruptions.motion import moved
from stein_bench.corruptions.pixels import FEW, correlated

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (24, 31, 3), dtype=np.uint8)


def test_glass_moves_pixels_one_after_the_other() -> None:
    reach = 3
    moves = RNG.integers(-reach, reach, (24 - 2 * reach, 31 - 2 * reach, 2))
    expected, steps = IMAGE.copy(), iter(moves.reshape(-1, 2))
    for row in range(24 - reach, reach, -1):
        for column in range(31 - reach, reach, -1):
            right, down = next(steps)
            # An exchange by views of NumPy: the second assignment writes what the first has just put there.
            here, there = expected[row, column], expected[row + down, column + right]
            here[:], there[:] = there, here
    found = IMAGE.reshape(-1, 3)[blur._origins(moves, 24, 31, reach)].reshape(IMAGE.shape)
    assert np.array_equal(found, expected)
    assert (found != IMAGE).any()


def test_the_kernel_of_a_defocused_lens_is_a_disk() -> None:
    for radius, softness, total in ((0.3, 0.4, 1), (1.5, 0.1, 1), (3, 0.1, 1), (8, 0.5, 1.013), (10, 0.5, 1.01)):
        kernel = blur.disk(radius, softness)
        # Larger than 1 where the disk reaches the border of the kernel, as published.
        assert kernel.sum() == pytest.approx(total, abs=0.003)
        assert np.allclose(kernel, kernel.T)
        assert kernel.shape == ((17, 17) if radius <= 8 else (21, 21))
    assert (blur.disk(3, 0.1) > 1e-6).sum() == 29  # lattice points within a circle of radius 3


@pytest.mark.parametrize("side", [3, 9])
def test_both_ways_to_correlate_are_scipy_s(side: int) -> None:
    kernel = RNG.random((side, side))
    assert (kernel.size > FEW) == (side == 9)
    expected = ndimage.correlate(IMAGE.astype(float), kernel[:, :, None], mode="mirror")
    assert np.allclose(correlated(IMAGE.astype(float), kernel), expected)


def test_zooming_is_scipy_s_in_the_middle() -> None:
    for factor in (1.0, 1.05, 1.31, 2.5, 4.0):
        kept = [int(np.ceil(side / factor)) for side in (24, 31)]
        top, left = (24 - kept[0]) // 2, (31 - kept[1]) // 2
        piece = IMAGE[top : top + kept[0], left : left + kept[1]].astype(float)
        large = ndimage.zoom(piece, (factor, factor, 1), order=1)
        top, left = (large.shape[0] - 24) // 2, (large.shape[1] - 31) // 2
        expected = large[top : top + 24, left : left + 31]
        assert np.allclose(resampling.zoomed(IMAGE.astype(float), factor), expected)


def test_places_outside_the_image_are_mirrored() -> None:
    rows, columns = RNG.uniform(-60, 60, (2, 24, 31))
    for repeat, mode in ((True, "reflect"), (False, "mirror")):
        channels = [
            ndimage.map_coordinates(IMAGE[..., k].astype(float), (rows, columns), order=1, mode=mode) for k in range(3)
        ]
        found = resampling.sampled(IMAGE.astype(float), rows, columns, repeat_border=repeat)
        assert np.allclose(found, np.stack(channels, -1))


def test_a_point_moves_along_the_angle_with_falling_weights() -> None:
    point = np.zeros((41, 41))
    point[20, 20] = 1
    # The value comes from the place that lies ahead, so that the trail points backwards: up at 90°, as rows count down.
    for angle, line in ((0, point[20].size * 20), (90, None)):
        trail = moved(point, 5, 2, angle)
        values = trail[20, 20:9:-1] if line else trail[20:9:-1, 20]
        expected = np.exp(-(np.arange(11) ** 2) / 8)
        assert np.allclose(values, expected / expected.sum())
        assert trail.sum() == pytest.approx(1)
    diagonal = moved(point, 5, 2, 45)
    assert diagonal[19, 19] > 0
    assert diagonal[21, 19] == 0


def test_a_constant_image_stays_under_blurs_and_moves() -> None:
    flat = np.full((70, 80, 3), 201, np.uint8)
    for function, strength in (
        (blur.gaussian_blur, (4,)),
        (blur.defocus_blur, (6, 0.5)),
        (blur.motion_blur, (20, 15)),
        (blur.zoom_blur, (1.31, 0.03)),
        (blur.glass_blur, (1.5, 4, 2)),
        (digital.elastic_transform, (0.1, 0.03, 0.03)),
        (digital.pixelate, (0.3,)),
        (digital.contrast, (0.1,)),
    ):
        found = function(flat, strength, np.random.default_rng(1))
        assert np.allclose(found, 201, atol=1e-9 if function is not blur.glass_blur else 1), function


def test_noises_have_their_moments() -> None:
    flat, draws = np.full((200, 200, 3), 102, np.uint8), np.random.default_rng(2)
    gaussian = noise.gaussian_noise(flat, (0.1,), draws)
    assert (gaussian.mean(), gaussian.std()) == pytest.approx((102, 25.5), rel=0.01)
    shot = noise.shot_noise(flat, (60,), draws)
    assert (shot.mean(), shot.std()) == pytest.approx((102, 255 * np.sqrt(0.4 / 60)), rel=0.01)
    speckle = noise.speckle_noise(flat, (0.2,), draws)
    assert (speckle.mean(), speckle.std()) == pytest.approx((102, 0.2 * 102), rel=0.01)
    impulse = noise.impulse_noise(flat, (0.1,), draws)
    assert [(impulse == value).mean() for value in (0, 102, 255)] == pytest.approx([0.05, 0.9, 0.05], rel=0.05)


def test_plasma_is_rougher_the_less_it_decays() -> None:
    maps = [weather.plasma_fractal(200, decay, np.random.default_rng(3)) for decay in (1.4, 1.75, 3)]
    rough = [np.abs(np.diff(one, axis=0)).mean() for one in maps]
    assert rough == sorted(rough, reverse=True)
    for one in maps:
        assert one.shape == (256, 256)
        assert (one.min(), one.max()) == (0, 1)


def test_brightness_and_saturation_keep_the_hue() -> None:
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv

    colors = rgb_to_hsv(IMAGE / 255)
    raised, saturated = colors.copy(), colors.copy()
    raised[..., 2] = np.minimum(raised[..., 2] + 0.3, 1)
    saturated[..., 1] = np.minimum(saturated[..., 1] * 2 + 0.1, 1)
    draws = np.random.default_rng(0)
    assert np.allclose(weather.brightness(IMAGE, (0.3,), draws), 255 * hsv_to_rgb(raised))
    assert np.allclose(digital.saturate(IMAGE, (2, 0.1), draws), 255 * hsv_to_rgb(saturated))


def test_distances_from_a_point_are_those_of_the_steps() -> None:
    point = np.zeros((15, 21), bool)
    point[7, 10] = True
    found = liquid.distances(point)
    assert np.allclose([found[7, 0], found[12, 15], found[9, 11]], [10, 5 * 1.4, 2.1969], atol=1e-4)
    rows, columns = np.indices(point.shape)
    assert np.allclose(found, np.hypot(rows - 7, columns - 10), rtol=0.05)


def test_edges_are_found_around_a_square_and_nowhere_else() -> None:
    square = np.zeros((30, 30), np.uint8)
    square[10:20, 10:20] = 200
    found = liquid.edges(square)
    assert found[11:19, 9].all()
    assert not found[12:18, 12:18].any()
    assert not found[:8].any()
    assert not liquid.edges(np.full((30, 30), 90, np.uint8)).any()


def test_an_equalized_histogram_is_even() -> None:
    image = np.arange(0, 64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(liquid.equalized(image).ravel(), np.rint(np.arange(64) * 255 / 63))
    flat = np.full((8, 8), 20, np.uint8)
    assert np.array_equal(liquid.equalized(flat), flat)


def test_frost_is_bluish_ice_that_differs_between_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    textures = [frost_texture.frosted_glass(64, 96, 1.0, np.random.default_rng(seed)) for seed in range(6)]
    for one in textures:
        assert one.shape == (64, 96, 3)
        assert 0.45 < one.mean() < 0.8
        assert 0.05 < one.std() < 0.25
        assert one[..., 2].mean() > one[..., 0].mean()
    assert len({one.mean() for one in textures}) == 6
    # Without ice the published weights are all that is left.
    monkeypatch.setattr(weather, "frosted_glass", lambda height, width, scale, draws: np.full((height, width, 3), 0.5))
    assert np.allclose(weather.frost(IMAGE, (0.8, 0.6), RNG), 0.8 * IMAGE + 0.6 * 127.5)
