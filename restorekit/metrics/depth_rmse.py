"""Root mean squared error of depth maps, in centimetres."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from restorekit.errors import UsageError
from restorekit.metrics._prepare import prepare_pair
from restorekit.metrics._spec import register_metric

__all__ = ["DepthProtocol", "DepthScore", "depth_rmse", "depth_rmse_pooled", "score_depth"]

_CM = 100.0


@register_metric("depth_rmse", higher_is_better=False, range=(0.0, math.inf), unit="cm")
def depth_rmse(
    restored: Tensor,
    reference: Tensor,
    *,
    data_range: float,
    full_scale_m: float = 1.0,
    crop_border: int = 0,
    valid: Tensor | None = None,
) -> Tensor:
    """Return the root mean squared error of each depth map, in centimetres.

    ``data_range`` stands for ``full_scale_m`` metres: with the same number for both, maps are in metres; 1000 stands
    for one metre in millimetres; maps of RGB-D-D count 5 m as 1. Nothing is clipped. A set has the mean of the scores
    of its maps (``depth_rmse_pooled`` is another number).

    Args:
        restored: ``(B, 1, H, W)``.
        reference: What was measured, same shape.
        data_range: The number that stands for ``full_scale_m`` metres.
        full_scale_m: See there; for maps that were stretched, the difference of their greatest and least depth.
        crop_border: Pixels left out on each side.
        valid: Which pixels count, ``(B, 1, H, W)`` bool; all of them if ``None``. The others may hold anything.

    Returns:
        ``(B,)`` float64, in cm; not a number for a map of which no pixel counts.

    Raises:
        UsageError: The maps cannot be compared, or ``valid`` has another shape.
    """
    return _squared(restored, reference, data_range, full_scale_m, crop_border, valid).mean_of_each().sqrt()


def depth_rmse_pooled(
    restored: Tensor,
    reference: Tensor,
    *,
    data_range: float,
    full_scale_m: float = 1.0,
    crop_border: int = 0,
    valid: Tensor | None = None,
) -> Tensor:
    """Return the root mean squared error over the pixels of all depth maps together, in centimetres.

    Some papers average so: it is larger than the mean of ``depth_rmse`` unless all maps have the same error.

    Args:
        restored: See ``depth_rmse``.
        reference: See ``depth_rmse``.
        data_range: See ``depth_rmse``.
        full_scale_m: See ``depth_rmse``.
        crop_border: See ``depth_rmse``.
        valid: See ``depth_rmse``.

    Returns:
        ``()`` float64, in cm.

    Raises:
        UsageError: As ``depth_rmse``.
    """
    return _squared(restored, reference, data_range, full_scale_m, crop_border, valid).mean_of_all().sqrt()


@dataclass(frozen=True)
class _Squared:
    """Squared errors in cm^2, zero where a pixel does not count, and which pixels count; ``(B, 1, H, W)`` each."""

    errors: Tensor
    counted: Tensor

    def mean_of_each(self) -> Tensor:
        return self.errors.sum((1, 2, 3)) / self.counted.sum((1, 2, 3))

    def mean_of_all(self) -> Tensor:
        return self.errors.sum() / self.counted.sum()


def _squared(
    restored: Tensor,
    reference: Tensor,
    data_range: float,
    full_scale_m: float,
    crop_border: int,
    valid: Tensor | None,
) -> _Squared:
    if not full_scale_m > 0:
        raise UsageError(f"full_scale_m is a positive number of metres, not {full_scale_m}")
    if valid is not None:
        if valid.shape != restored.shape or valid.dtype != torch.bool:
            raise UsageError(
                f"valid says of every pixel whether it counts: {tuple(restored.shape)} bool, not {tuple(valid.shape)} "
                f"{str(valid.dtype).removeprefix('torch.')}"
            )
        restored, reference = (torch.where(valid, x, torch.zeros_like(x)) for x in (restored, reference))
    first, second = prepare_pair(restored, reference, data_range=data_range, crop_border=crop_border)
    counted = torch.ones_like(first, dtype=torch.bool)
    if valid is not None:
        border = slice(crop_border, -crop_border if crop_border else None)
        counted = valid[:, :, border, border].to(first.device)
    return _Squared(((first - second) * (_CM * full_scale_m / data_range)).square(), counted)


@dataclass(frozen=True, kw_only=True)
class DepthProtocol:
    """How depth maps in metres are scored; its text belongs beside every number.

    Attributes:
        crop_border: Pixels left out on each side.
        valid_m: Least and greatest measured depth that counts, in metres; every pixel counts if ``None``.
        pooled: One error over the pixels of all maps, instead of the mean of the errors of the maps.
    """

    crop_border: int = 6
    valid_m: tuple[float, float] | None = None
    pooled: bool = False

    def __str__(self) -> str:
        """Say it in one line."""
        name = "depth RMSE, pooled over all pixels" if self.pooled else "depth RMSE, mean over maps"
        crop = f"{self.crop_border} pixels left out on each side" if self.crop_border else "no border left out"
        mask = (
            "all pixels" if self.valid_m is None else f"pixels measured at {self.valid_m[0]:g} to {self.valid_m[1]:g} m"
        )
        return f"{name}, in cm, {crop}, {mask}"


@dataclass(frozen=True, kw_only=True)
class DepthScore:
    """A score and how it was made.

    Attributes:
        value: In cm.
        maps: How many depth maps were scored.
        protocol: How.
    """

    value: float
    maps: int
    protocol: DepthProtocol

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.value:.4f} cm ({self.protocol}; {self.maps} {'map' if self.maps == 1 else 'maps'})"


def score_depth(restored: Tensor, reference: Tensor, protocol: DepthProtocol) -> DepthScore:
    """Score depth maps in metres under a protocol.

    Args:
        restored: ``(B, 1, H, W)``, metres.
        reference: What was measured, same shape.
        protocol: How.

    Raises:
        UsageError: As ``depth_rmse``; or a map has no pixel that counts.
    """
    valid = None
    if protocol.valid_m is not None:
        low, high = protocol.valid_m
        valid = (reference >= low) & (reference <= high)
    squared = _squared(restored, reference, 1.0, 1.0, protocol.crop_border, valid)
    if not bool(squared.counted.flatten(1).any(1).all()):
        raise UsageError(f"a depth map has no pixel that counts ({protocol}); leave it out or change the protocol")
    error = squared.mean_of_all().sqrt() if protocol.pooled else squared.mean_of_each().sqrt().mean()
    return DepthScore(value=error.item(), maps=restored.shape[0], protocol=protocol)
