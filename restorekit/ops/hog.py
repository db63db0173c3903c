"""Image gradients for histograms of oriented gradients (Dalal and Triggs, CVPR 2005)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

__all__ = ["magnitude_and_turn", "sobel"]


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
