"""How depth maps and their pictures are made ready for a guided network, as the published data sets do it.

Arrays: a depth map is ``(H, W)``, a picture ``(H, W, 3)``.

Reference:
    Wang et al., "DORNet", CVPR 2025 (arXiv 2410.11666), for the protocols of NYU-v2, RGB-D-D and TOFDSR.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["add_noise", "blur", "low_resolution", "resize", "resize_whole", "stretch"]

_TRUNCATE = 4.0  # standard deviations at which a Gaussian is cut off


def resize(depth: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize bicubically (a = -0.5), with a kernel that is widened by the factor where it shrinks.

    Args:
        depth: ``(H, W)``, any numbers.
        size: New height and width.

    Returns:
        ``size``, float32.
    """
    picture = Image.fromarray(np.ascontiguousarray(depth, np.float32))
    return np.array(picture.resize(size[::-1], Image.Resampling.BICUBIC), np.float32)


def resize_whole(depth: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize as ``resize`` and round to whole numbers after either pass, first along rows, then along columns.

    That is how published code enlarges files of whole millimetres.

    Args:
        depth: ``(H, W)``, whole numbers below 2^31.
        size: New height and width.

    Returns:
        ``size``, float32.
    """
    picture = Image.fromarray(np.ascontiguousarray(depth, np.int32))
    return np.array(picture.resize(size[::-1], Image.Resampling.BICUBIC), np.float32)


def low_resolution(depth: NDArray[Any], scale: int) -> NDArray[np.float32]:
    """Shrink a depth map to ``(H // scale, W // scale)`` and enlarge it again: what a network has to restore.

    Args:
        depth: ``(H, W)``.
        scale: Factor, from 1 on.

    Returns:
        ``(H, W)`` float32.
    """
    height, width = depth.shape
    return resize(resize(depth, (max(height // scale, 1), max(width // scale, 1))), (height, width))


def stretch(image: NDArray[Any]) -> NDArray[np.float32]:
    """Stretch an array between its own least and greatest value to [0, 1], all channels alike; zeros if it is flat."""
    values = image.astype(np.float32)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def blur(depth: NDArray[Any], sigma: float) -> NDArray[np.float32]:
    """Blur with a Gaussian, mirrored at the border (the border pixel twice).

    Args:
        depth: ``(H, W)``.
        sigma: Standard deviation in pixels.

    Returns:
        ``(H, W)`` float32.
    """
    radius = int(_TRUNCATE * sigma + 0.5)
    places = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (places / sigma) ** 2)
    weights /= weights.sum()
    blurred = depth.astype(np.float32)
    for axis in (0, 1):
        padding = [(radius, radius) if axis == a else (0, 0) for a in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(blurred, padding, "symmetric"), 2 * radius + 1, axis)
        blurred = (windows @ weights).astype(np.float32)
    return blurred


def add_noise(depth: NDArray[Any], *, blur_sigma: float, noise_sigma: float, seed: int) -> NDArray[np.float32]:
    """Blur a depth map, add Gaussian noise, and clip it to the least and greatest value that it had.

    The noise is that of NumPy's older generator, which published test data are made with.

    Args:
        depth: ``(H, W)``.
        blur_sigma: Standard deviation of the blur in pixels.
        noise_sigma: Standard deviation of the noise, in units of ``depth``.
        seed: Of the noise; the same for every map of a published test set (42).

    Returns:
        ``(H, W)`` float32.
    """
    noise = np.random.RandomState(seed).normal(0, noise_sigma, depth.shape)
    return (blur(depth, blur_sigma) + noise).clip(depth.min(), depth.max()).astype(np.float32)
