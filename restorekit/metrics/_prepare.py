"""What happens to pictures before they are compared: checks, whole steps, borders, luma."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from restorekit.errors import UsageError

__all__ = ["STUDIO_LUMA", "Luma", "prepare_pair", "to_luma", "to_steps"]

Luma = Literal["studio", "studio_rounded"]
"""How three channels become one: luma in studio range (16 to 235 of 255), as it is or in whole steps of 1/255."""

STUDIO_LUMA = (65.481, 128.553, 24.966)
"""Weights of red, green and blue in ITU-R BT.601 luma in studio range, for pictures in [0, 1] and luma in [16, 235]."""

_BLACK = 16.0  # studio luma of black
_STEPS = 255.0  # studio luma is defined on 8 bits


def prepare_pair(
    restored: Tensor, reference: Tensor, *, data_range: float, crop_border: int = 0, luma: Luma | None = None
) -> tuple[Tensor, Tensor]:
    """Return two pictures as a metric compares them.

    Args:
        restored: ``(B, C, H, W)`` in [0, ``data_range``].
        reference: The same shape and range.
        data_range: Largest value that a pixel can have: 1, 255, 65535.
        crop_border: Pixels left out on each side.
        luma: Compare luma instead of red, green and blue.

    Returns:
        Both pictures in float64 (on the CPU where the device has no float64).

    Raises:
        UsageError: The pictures differ in shape, are no batches, hold values that are no finite numbers, are not larger
            than the borders, or an option has no such value.
    """
    _check(restored, reference, data_range=data_range, crop_border=crop_border)
    first, second = _to_double(restored), _to_double(reference)
    for name, image in (("restored", first), ("reference", second)):
        if not bool(torch.isfinite(image).all()):
            raise UsageError(f"the {name} picture holds values that are no finite numbers; it cannot be scored")
    if crop_border:
        inner = (..., slice(crop_border, -crop_border), slice(crop_border, -crop_border))
        first, second = first[inner], second[inner]
    if luma is not None:
        first, second = (_luma(image, luma, data_range) for image in (first, second))
    return first, second


def to_steps(image: Tensor, *, data_range: float) -> Tensor:
    """Put a picture on whole steps, as if it had been stored in a file of 8 or 16 bit.

    Args:
        image: ``(B, C, H, W)`` float in [0, 1]; what lies outside is clipped.
        data_range: The largest step: 255, 65535.

    Returns:
        The same shape and dtype: whole numbers in [0, ``data_range``], halves rounded to the even one.
    """
    return (image * data_range).round().clamp(0, data_range)


def to_luma(image: Tensor, *, data_range: float, weights: tuple[float, float, float] = STUDIO_LUMA) -> Tensor:
    """Return the luma of pictures in ITU-R BT.601 studio range, which papers call Y; it is not rounded.

    Args:
        image: ``(B, 3, H, W)`` float, RGB, in [0, ``data_range``].
        data_range: Largest value that a pixel can have.
        weights: Of red, green and blue; others than the standard's are for comparisons with code that mixed them up.

    Returns:
        ``(B, 1, H, W)``, in [16, 235] / 255 * ``data_range`` for the standard's weights.

    Raises:
        UsageError: The pictures do not have three channels.

    Reference:
        ITU-R BT.601; the function ``rgb2ycbcr`` of MATLAB.
    """
    if image.shape[1] != 3:
        raise UsageError(f"luma is made from 3 channels, the pictures have {image.shape[1]}; leave luma out")
    mixed = torch.einsum("bchw,c->bhw", image / data_range, image.new_tensor(weights))
    return ((mixed + _BLACK) / _STEPS * data_range).unsqueeze(1)


def _luma(image: Tensor, luma: str, data_range: float) -> Tensor:
    value = to_luma(image, data_range=data_range)
    if luma == "studio":
        return value
    if luma == "studio_rounded":
        return (value / data_range * _STEPS).round() / _STEPS * data_range
    raise UsageError(f"luma is studio, studio_rounded or None, not {luma!r}")


def _to_double(image: Tensor) -> Tensor:
    # Apple's graphics processors have no float64
    return (image.cpu() if image.device.type == "mps" else image).to(torch.float64)


def _check(restored: Tensor, reference: Tensor, *, data_range: float, crop_border: int) -> None:
    if restored.shape != reference.shape:
        raise UsageError(
            f"the restored picture is {tuple(restored.shape)}, the reference {tuple(reference.shape)}; "
            "only pictures of equal size can be compared"
        )
    if restored.ndim != 4 or restored.numel() == 0:
        raise UsageError(f"pictures are scored as (B, C, H, W), got {tuple(restored.shape)}; add the axis of the batch")
    if not data_range > 0:
        raise UsageError(f"data_range is the largest value that a pixel can have (1, 255, 65535), not {data_range}")
    height, width = restored.shape[-2:]
    if crop_border < 0 or 2 * crop_border >= min(height, width):
        raise UsageError(
            f"crop_border {crop_border} leaves nothing of a picture of {width}x{height}; give a smaller one, 0 or more"
        )
