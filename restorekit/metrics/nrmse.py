"""Root mean squared error relative to the range of the picture."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from restorekit.errors import UsageError
from restorekit.metrics._prepare import Luma, prepare_pair
from restorekit.metrics._spec import register_metric

__all__ = ["nrmse"]


@register_metric("nrmse", higher_is_better=False, range=(0.0, math.inf))
def nrmse(
    restored: Tensor,
    reference: Tensor,
    *,
    data_range: float,
    crop_border: int = 0,
    luma: Luma | None = None,
    range_of: Literal["restored", "reference"] = "restored",
) -> Tensor:
    """Return ``sqrt(MSE) / (max - min)`` of each picture, in float64.

    Args:
        restored: ``(B, C, H, W)`` in [0, ``data_range``].
        reference: The clean pictures, same shape and range.
        data_range: Largest value that a pixel can have: 1, 255, 65535.
        crop_border: Pixels left out on each side.
        luma: Compare luma instead of red, green and blue: ``studio`` or ``studio_rounded`` (see ``to_luma``).
        range_of: Whose largest and smallest value are taken. Published restoration code takes the restored picture's.

    Returns:
        ``(B,)`` float64; 0 for equal pictures, infinity where that picture is constant and the other one is not equal.

    Raises:
        UsageError: The pictures cannot be compared, or an option has no such value.
    """
    if range_of not in ("restored", "reference"):
        raise UsageError(f"range_of is restored or reference, not {range_of!r}")
    first, second = prepare_pair(restored, reference, data_range=data_range, crop_border=crop_border, luma=luma)
    error = (first - second).square().mean((1, 2, 3)).sqrt()
    picture = first if range_of == "restored" else second
    extent = picture.amax((1, 2, 3)) - picture.amin((1, 2, 3))
    return torch.where(error == 0, error, error / extent)
