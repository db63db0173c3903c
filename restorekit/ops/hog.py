"""Image gradients for histograms of oriented gradients (Dalal and Triggs, CVPR 2005)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from restorekit.ops.bands import band_rows, over_bands
from restorekit.ops.rows import fill_patches, to_patches

__all__ = ["describe_patches", "magnitude_and_turn", "pixel_keys", "sobel"]


def sobel(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the horizontal and the vertical Sobel gradient of every channel, zeros outside the picture.

    The kernels are separable, so differences and (1, 2, 1) sums of shifted views replace two convolutions.

    Args:
        x: ``(B, C, H, W)``.

    Returns:
        Two tensors like ``x``; they grow to the right and downwards.
    """
    x = F.pad(x, (1, 1, 1, 1))
    across = x[..., 2:] - x[..., :-2]
    smooth = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    horizontal = across[:, :, :-2] + 2 * across[:, :, 1:-1] + across[:, :, 2:]
    return horizontal, smooth[:, :, 2:] - smooth[:, :, :-2]


def magnitude_and_turn(x: Tensor, *, eps: float) -> tuple[Tensor, Tensor]:
    """Return strength and direction of the gradient of every channel.

    Args:
        x: ``(B, C, H, W)``.
        eps: Added to the squared strength.

    Returns:
        The strength, and the direction as a share of a full turn in [0, 1] (0.5 points to the right), like ``x``.
    """
    horizontal, vertical = sobel(x)
    strength = torch.sqrt(horizontal**2 + vertical**2 + eps)
    return strength, (torch.atan2(vertical, horizontal) + math.pi) / (2 * math.pi)


def describe_patches(x: Tensor, *, patch: int, bins: int) -> tuple[Tensor, Tensor]:
    """Describe every patch by the gradients in it.

    Args:
        x: ``(B, c, H, W)``, float32 or float64.
        patch: Side of a patch.
        bins: Directions that are told apart.

    Returns:
        The sort key of each position, ``(B, P, patch^2)``, and the normalised histogram of directions,
        ``(B, P, bins)``. Where H or W is no multiple of ``patch``, positions outside have key 0, all others more.
    """

    def describe(band: Tensor) -> Tensor:
        strength, turn = magnitude_and_turn(band, eps=1e-6)
        direction = torch.floor(turn * bins)
        direction = direction.masked_fill(direction == bins, 0)  # half a turn to the left is found from both sides
        key = (strength * (direction + 1)).sum(1, keepdim=True)
        by_direction = strength.new_zeros((band.shape[0], bins, *band.shape[2:]))
        return torch.cat([key, by_direction.scatter_add(1, direction.long(), strength)], 1)

    whole = fill_patches(over_bands(describe, x, rows=band_rows(x, channels=8 * x.shape[1]), halo=1), patch)
    histogram = F.avg_pool2d(whole[:, 1:], patch).flatten(2).transpose(1, 2) / x.shape[1]
    return to_patches(whole[:, 0].detach(), patch), histogram / (histogram.sum(-1, keepdim=True) + 1e-8)


def pixel_keys(v: Tensor) -> Tensor:
    """Return the sort key of every pixel of ``(B, C, H, W)``, row by row, ``(B, L)``: strength times direction."""

    def key(band: Tensor) -> Tensor:
        strength, turn = magnitude_and_turn(band, eps=1e-6)
        return (strength * turn).sum(1, keepdim=True)

    return over_bands(key, v.detach(), rows=band_rows(v, channels=6 * v.shape[1]), halo=1).flatten(1)
