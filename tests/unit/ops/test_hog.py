"""Gradients against a convolution, keys and histograms against a loop."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from restorekit.ops.hog import describe_patches, magnitude_and_turn, pixel_keys, sobel


def _picture(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_sobel_is_a_convolution_with_the_kernels() -> None:
    x = _picture(2, 3, 7, 5)
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    across, down = sobel(x)
    for got, k in ((across, kernel), (down, kernel.t())):
        want = F.conv2d(x, k.expand(3, 1, 3, 3).contiguous(), padding=1, groups=3)
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_turn_runs_once_around() -> None:
    ramp = torch.arange(6.0).expand(1, 1, 6, 6)
    inside = (..., slice(1, -1), slice(1, -1))
    for picture, want in ((ramp, 0.5), (ramp.transpose(2, 3), 0.75), (-ramp.transpose(2, 3), 0.25)):
        strength, turn = magnitude_and_turn(picture, eps=0.0)
        assert torch.allclose(turn[inside], torch.tensor(want))
        assert torch.allclose(strength[inside], torch.tensor(8.0))


def test_keys_and_histogram_against_a_loop() -> None:
    x, patch, bins = _picture(1, 2, 5, 8), 4, 9
    across, down = (g.double() for g in sobel(x))
    keys, histogram = describe_patches(x, patch=patch, bins=bins)
    want_keys, want = torch.zeros(8, 8, dtype=torch.float64), torch.zeros(4, bins, dtype=torch.float64)
    for row in range(5):
        for column in range(8):
            for channel in range(2):
                gx, gy = float(across[0, channel, row, column]), float(down[0, channel, row, column])
                strength = math.sqrt(gx * gx + gy * gy + 1e-6)
                direction = math.floor((math.atan2(gy, gx) + math.pi) / (2 * math.pi) * bins) % bins
                want_keys[row, column] += strength * (direction + 1)
                want[row // patch * 2 + column // patch, direction] += strength / (2 * patch * patch)
    want = want / (want.sum(1, keepdim=True) + 1e-8)
    torch.testing.assert_close(histogram[0].double(), want, atol=1e-5, rtol=1e-5)
    by_patch = want_keys.view(2, 4, 2, 4).transpose(1, 2).reshape(4, 16)
    torch.testing.assert_close(keys[0].double(), by_patch, atol=1e-4, rtol=1e-5)
    assert (keys[0, 2:, 4:] == 0).all()  # outside the picture
    assert (keys[0, :2] > 0).all()


def test_half_a_turn_to_the_left_is_the_first_bin() -> None:
    """The angle is exactly pi there, one bin beyond the last."""
    ramp = -torch.arange(24.0).expand(1, 1, 24, 24)
    _, histogram = describe_patches(ramp, patch=8, bins=9)
    assert torch.allclose(histogram[0, 4], torch.eye(9)[0])


def test_the_gradient_flows_through_the_histogram_only() -> None:
    x = _picture(1, 2, 8, 8).requires_grad_()
    keys, histogram = describe_patches(x, patch=8, bins=9)
    assert not keys.requires_grad
    histogram.square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0
    assert not pixel_keys(x).requires_grad


def test_pixel_keys_are_strength_times_turn() -> None:
    v = _picture(2, 3, 4, 6)
    strength, turn = magnitude_and_turn(v, eps=1e-6)
    torch.testing.assert_close(pixel_keys(v), (strength * turn).sum(1).flatten(1))
