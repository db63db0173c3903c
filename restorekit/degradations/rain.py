"""Rain: streaks by density, length, angle and brightness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from restorekit.degradations._base import (
    Degradation,
    level_or_draw,
    log_uniform,
    numpy_generator,
    register_degradation,
    seed,
    uniform,
)
from restorekit.degradations._particles import Layer, smear, sparse_points, streak_kernel

__all__ = ["Rain"]

_FULLEST = 0.35


@register_degradation("rain")
@dataclass(frozen=True, kw_only=True)
class Rain(Degradation):
    """Add grey streaks of light to the picture.

    A drop that falls during the exposure leaves a streak that brightens what lies behind (Garg and Nayar, CVPR 2004);
    as in the usual deraining sets the streaks are grey and added. One to three layers stand for near and far rain.

    Attributes:
        density: Streaks of the first layer that start per 1000 pixels; further layers have more and shorter ones.
        length_px: Length of the streaks of the first layer, in pixels.
        width_px: Width of the streaks, in pixels.
        angle_deg: Angle from the vertical, in degrees.
        spread_deg: Angle between the layers, in degrees.
        brightness: Brightness of the streaks, 1 for white.
        layers: Number of layers.
        seed: Seed of the positions.
    """

    bounds: ClassVar[dict[str, tuple[float, float]]] = {
        "density": (0, 100),
        "length_px": (2, 200),
        "width_px": (0.3, 10),
        "angle_deg": (-90, 90),
        "spread_deg": (-45, 45),
        "brightness": (0, 2),
        "layers": (1, 5),
    }
    density: float
    length_px: float
    width_px: float
    angle_deg: float
    spread_deg: float
    brightness: float
    layers: int
    seed: int

    @classmethod
    def sample(cls, generator: torch.Generator, level: float | None = None) -> Self:
        """Draw rain from a few thin streaks to a dense downpour; see ``Degradation.sample``."""
        level = level_or_draw(generator, level)
        return cls(
            density=0.3 * (40 / 0.3) ** level * log_uniform(generator, 0.7, 1.4),
            length_px=log_uniform(generator, 10, 60 + 60 * level),
            width_px=log_uniform(generator, 0.7, 2.2),
            angle_deg=max(-60.0, min(60.0, 18 * float(torch.randn((), generator=generator)))),
            spread_deg=uniform(generator, -8, 8),
            brightness=uniform(generator, 0.3, 0.8) + 0.2 * level,
            layers=1 + round(2 * level),
            seed=seed(generator),
        )

    def apply(self, image: Tensor) -> Tensor:
        """Degrade ``(B, C, H, W)`` in [0, 1]; see ``Degradation.apply``."""
        return (image + torch.from_numpy(self.layer(*image.shape[2:])).to(image)).clamp(0, 1)

    def layer(self, height: int, width: int) -> Layer:
        """Return the light that the streaks add, ``(H, W)``, not negative."""
        random = numpy_generator(self.seed)
        total = np.zeros((height, width), np.float32)
        for index in range(self.layers):
            closeness = 0.7**index
            points = sparse_points(random, height, width, self.density / 1000 / closeness / self.layers)
            angle = self.angle_deg + index * self.spread_deg
            kernel = streak_kernel(max(2.0, self.length_px * closeness), angle, max(0.3, self.width_px * closeness))
            total += np.minimum(smear(points, kernel), 1.2) * closeness**0.5
        # a downpour is no white wall: published heavy layers have a mean of up to a third
        return self.brightness * total * np.float32(min(1.0, _FULLEST / max(float(total.mean()), 1e-6)))
