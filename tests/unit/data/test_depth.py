"""How published depth data are made: resizing, noise, stretching."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F

from restorekit.data.depth import add_noise, blur, low_resolution, resize, resize_whole, stretch


def depth(height: int = 45, width: int = 70) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.3, 4, (height, width)).astype(np.float32)


@pytest.mark.parametrize("size", [(11, 17), (90, 140), (45, 9)], ids=str)
def test_resizing_is_bicubic_and_antialiased(size: tuple[int, int]) -> None:
    tensor = torch.from_numpy(depth())[None, None]
    wanted = F.interpolate(tensor, size=size, mode="bicubic", antialias=True, align_corners=False)
    assert np.abs(resize(depth(), size) - wanted[0, 0].numpy()).max() < 3e-6


def test_whole_numbers_are_rounded_after_either_pass() -> None:
    mm = np.rint(1000 * depth()).astype(np.uint16)
    got = resize_whole(mm, (120, 180))
    along_rows = np.floor(resize(mm, (45, 180)) + 0.5)
    wanted = np.floor(resize(along_rows, (120, 180)) + 0.5)
    assert (got != wanted).mean() < 1e-3, "but for halves, which may fall to either side"
    assert 0 < np.abs(got - resize(mm, (120, 180))).max() <= 1.1


def test_coarse_depth_has_the_old_size_and_little_detail() -> None:
    coarse = low_resolution(depth(), 8)
    assert coarse.shape == (45, 70)
    assert coarse.std() < 0.3 * depth().std()
    assert np.allclose(low_resolution(np.full((5, 3), 2.5), 16), 2.5)


def test_blur_is_that_of_scipy() -> None:
    for sigma in (0.8, 3.6):
        assert np.abs(blur(depth(), sigma) - scipy.ndimage.gaussian_filter(depth(), sigma)).max() < 1e-6


def test_noise_repeats_and_stays_between_the_extremes() -> None:
    one, two, other = (add_noise(depth(), blur_sigma=3.6, noise_sigma=5, seed=seed) for seed in (42, 42, 43))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert (one.min(), one.max()) == (depth().min(), depth().max())
    assert one.dtype == np.float32


def test_stretching_takes_all_channels_alike_and_a_flat_picture_to_zero() -> None:
    picture = np.array([[[10, 20, 30], [60, 10, 35]]], np.uint8)
    assert stretch(picture).min() == 0
    assert stretch(picture).max() == 1
    assert stretch(picture)[0, 0, 1] == np.float32(0.2)
    assert not stretch(np.full((2, 2), 7)).any()
