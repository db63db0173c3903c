"""Structural similarity."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from restorekit.errors import UsageError
from restorekit.metrics._prepare import Luma, prepare_pair
from restorekit.metrics._spec import register_metric

__all__ = ["ssim"]

_K1, _K2 = 0.01, 0.03  # of the paper: keep the quotients finite in flat and in dark places


@register_metric("ssim", higher_is_better=True, range=(-1.0, 1.0))
def ssim(
    restored: Tensor,
    reference: Tensor,
    *,
    data_range: float,
    window: Literal["gaussian", "uniform"] = "gaussian",
    window_size: int = 11,
    window_sigma: float = 1.5,
    covariance: Literal["population", "sample"] = "population",
    crop_border: int = 0,
    luma: Luma | None = None,
) -> Tensor:
    """Return the structural similarity of each picture: the mean over all windows, then over its channels.

    Only windows that lie wholly inside the picture count, so half a window is left out at each border. The defaults are
    those of the paper; ``window="uniform", window_size=7, covariance="sample"`` are the ones of scikit-image.

    Args:
        restored: ``(B, C, H, W)`` in [0, ``data_range``].
        reference: The clean pictures, same shape and range.
        data_range: Largest value that a pixel can have: 1, 255, 65535.
        window: How the pixels of a window are weighted.
        window_size: Its side in pixels, odd.
        window_sigma: Standard deviation of the Gaussian in pixels; of no effect for a uniform window.
        covariance: ``population`` weights as above, ``sample`` takes n / (n - 1) of it with n pixels in a window.
        crop_border: Pixels left out on each side before anything else.
        luma: Compare luma instead of red, green and blue: ``studio`` or ``studio_rounded`` (see ``to_luma``).

    Returns:
        ``(B,)`` float64, at most 1; 1 for equal pictures.

    Raises:
        UsageError: The pictures cannot be compared, are smaller than the window, or an option has no such value.

    Reference:
        Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural similarity, IEEE
        Transactions on Image Processing 13(4), 2004.
    """
    weights = _weights(window, window_size, window_sigma)
    excess = _excess(covariance, window_size)
    first, second = prepare_pair(restored, reference, data_range=data_range, crop_border=crop_border, luma=luma)
    height, width = first.shape[-2:]
    if window_size > min(height, width):
        raise UsageError(
            f"a window of {window_size}x{window_size} does not fit a picture of {width}x{height}; "
            "give a smaller window_size or larger pictures"
        )
    mean_1, mean_2 = _filter(first, weights), _filter(second, weights)
    var_1 = excess * (_filter(first * first, weights) - mean_1 * mean_1)
    var_2 = excess * (_filter(second * second, weights) - mean_2 * mean_2)
    both = excess * (_filter(first * second, weights) - mean_1 * mean_2)
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    above = (2 * mean_1 * mean_2 + c1) * (2 * both + c2)
    below = (mean_1 * mean_1 + mean_2 * mean_2 + c1) * (var_1 + var_2 + c2)
    return (above / below).mean((1, 2, 3))


def _weights(window: str, size: int, sigma: float) -> Tensor:
    """Return the weights of a row of a window, ``(size,)`` float64, with sum 1; a window is their outer product."""
    if size < 3 or size % 2 == 0:
        raise UsageError(f"window_size is an odd number from 3 on, not {size}")
    if window == "uniform":
        return torch.full((size,), 1 / size, dtype=torch.float64)
    if window != "gaussian":
        raise UsageError(f"window is gaussian or uniform, not {window!r}")
    if not sigma > 0:
        raise UsageError(f"window_sigma is a positive number of pixels, not {sigma}")
    places = torch.arange(size, dtype=torch.float64) - size // 2
    weights = torch.exp(-(places**2) / (2 * sigma**2))
    return weights / weights.sum()


def _excess(covariance: str, size: int) -> float:
    if covariance == "population":
        return 1.0
    if covariance == "sample":
        return size**2 / (size**2 - 1)
    raise UsageError(f"covariance is population or sample, not {covariance!r}")


def _filter(image: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of each window that lies inside, ``(B, C, H - size + 1, W - size + 1)``."""
    weights = weights.to(image.device)
    planes = image.flatten(0, 1).unsqueeze(1)
    filtered = F.conv2d(F.conv2d(planes, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return filtered.view(*image.shape[:2], *filtered.shape[-2:])
