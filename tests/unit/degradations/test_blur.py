"""Blur kernels are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from restorekit.degradations.blur import DefocusBlur, GaussianBlur, MotionBlur, convolve


def test_convolution_is_no_correlation() -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1
    kernel = np.zeros((3, 3), np.float32)
    kernel[0, 2] = 1  # up and right
    assert convolve(image, kernel)[0, 0, 3, 5] == 1


@pytest.mark.parametrize(("length", "angle"), [(15, 0), (15, 90), (9, 45)])
def test_straight_motion_blur_has_its_length_and_angle(length: float, angle: float) -> None:
    kernel = MotionBlur(length_px=length, angle_deg=angle, curl=0, seed=0).kernel()
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    centre = (np.arange(len(kernel)) - len(kernel) // 2).astype(float)
    spread_y, spread_x = (kernel.sum(axis) @ centre**2 for axis in (1, 0))
    both = centre @ kernel @ centre
    assert spread_x + spread_y == pytest.approx(length**2 / 12, rel=0.1)  # variance of a uniform line
    axis = np.degrees(0.5 * np.arctan2(-2 * both, spread_x - spread_y))  # rows count downwards
    assert (axis - angle + 90) % 180 - 90 == pytest.approx(0, abs=2)


def test_defocus_is_a_disc_of_its_radius() -> None:
    image = torch.zeros(1, 1, 41, 41)
    image[0, 0, 20, 20] = 1
    out = DefocusBlur(radius_px=6).apply(image)[0, 0]
    assert float(out.sum()) == pytest.approx(1, abs=1e-4)
    assert int((out > 0.5 * out.max()).sum()) == pytest.approx(np.pi * 36, rel=0.05)


def test_gaussian_blur_has_its_sigma() -> None:
    image = torch.zeros(1, 1, 41, 41)
    image[0, 0, 20, 20] = 1
    out = GaussianBlur(sigma_px=2.5).apply(image)[0, 0].double()
    axis = torch.arange(41).double() - 20
    assert float(out.sum(0) @ axis**2) == pytest.approx(2.5**2, rel=0.05)
