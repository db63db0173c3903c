"""Processors that multiply matrices of bfloat16 in hardware (AMX), and what pays there."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dense_pays", "has_matrix_unit"]


def has_matrix_unit() -> bool:
    """Tell whether the processor multiplies bfloat16 matrices; some versions of torch do not know."""
    find = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(find is not None and find())


def dense_pays(x: Tensor, *, widest: int) -> bool:
    """Tell whether, given a matrix unit, one dense 3x3 convolution is faster than a 1x1 and depth-wise ones behind it.

    It multiplies more and moves less. For many channels there is too much to multiply, for few pixels it takes longer
    to make the dense weights.

    Args:
        x: ``(B, C, H, W)``, what goes into the convolutions.
        widest: Largest C for which it pays.
    """
    if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return False
    large = x.shape[1] <= widest and x.shape[0] * x.shape[2] * x.shape[3] >= 16 * x.shape[1]
    return large and torch.get_autocast_dtype("cpu") == torch.bfloat16
