"""Losses of restoration tasks."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["relative_error"]


def relative_error(restored: Tensor, clean: Tensor, degraded: Tensor, *, floor: float = 5e-5) -> Tensor:
    """Compare each picture's error with the error that it came with: r + ln r, r = rms(restored) / rms(degraded).

    An absolute loss lets the tasks with large errors (haze, low light) rule, and everything near-clean ends below its
    input; a logarithm alone has no sense of harm. Here every picture starts at r = 1 whatever its task; below 1 the
    logarithm goes on rewarding gains in decibels, above 1 the linear term makes harm cost more the worse it gets.

    Args:
        restored: ``(B, C, H, W)``.
        clean: The truth, same shape.
        degraded: What the network was given, same shape.
        floor: Mean squared error, added to both, below which a picture counts as clean (5e-5 is 43 dB).

    Returns:
        ``(B,)``.
    """
    after = (restored - clean).square().mean((1, 2, 3)) + floor
    before = (degraded - clean).square().mean((1, 2, 3)) + floor
    ratio = after / before
    return torch.sqrt(ratio) + 0.5 * torch.log(ratio)
