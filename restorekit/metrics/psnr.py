"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from restorekit.metrics._prepare import Luma, prepare_pair
from restorekit.metrics._spec import register_metric

__all__ = ["psnr"]


@register_metric("psnr", higher_is_better=True, range=(-math.inf, math.inf), unit="dB")
def psnr(
    restored: Tensor,
    reference: Tensor,
    *,
    data_range: float,
    crop_border: int = 0,
    luma: Luma | None = None,
    epsilon: float = 0.0,
) -> Tensor:
    """Return the peak signal-to-noise ratio of each picture, ``10 log10(data_range^2 / MSE)``.

    The mean squared error is taken over all pixels and channels of a picture, in float64. Over a set: score each
    picture, then take the mean of the scores.

    Args:
        restored: ``(B, C, H, W)`` in [0, ``data_range``]; any dtype, clipped or not.
        reference: The clean pictures, same shape and range.
        data_range: Largest value that a pixel can have: 1, 255, 65535.
        crop_border: Pixels left out on each side.
        luma: Compare luma instead of red, green and blue: ``studio`` or ``studio_rounded`` (see ``to_luma``).
        epsilon: Added to the mean squared error in units of ``data_range``: some published code adds 1e-12, with which
            equal pictures get 120 dB.

    Returns:
        ``(B,)`` float64, in dB; infinity for equal pictures.

    Raises:
        UsageError: The pictures cannot be compared, or an option has no such value.

    Example:
        >>> import torch
        >>> grey = torch.full((1, 3, 8, 8), 100.0)
        >>> f"{psnr(grey, grey + 10, data_range=255).item():.4f}"
        '28.1308'
    """
    first, second = prepare_pair(restored, reference, data_range=data_range, crop_border=crop_border, luma=luma)
    error = (first - second).square().mean((1, 2, 3)) / data_range**2 + epsilon
    return -10 * torch.log10(error)
