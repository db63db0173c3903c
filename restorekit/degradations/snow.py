"""Snow: flakes at several distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import cv2
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

__all__ = ["Snow"]

_DISTANCES = ((0.35, 6.0), (1.0, 1.0), (2.5, 0.06))
"""Size and number of flakes, far to near, relative to ``flake_px`` and ``density``."""


@register_degradation("snow")
@dataclass(frozen=True, kw_only=True)
class Snow(Degradation):
    """Cover the picture with flakes: A M + x (1 - M), as the masks of Snow100K do (Liu et al., IEEE TIP 2018).

    Three layers: many small far flakes, fewer of middle size, few large ones out of focus; all may be smeared by fall.

    Attributes:
        density: Flakes of middle size per 1000 pixels.
        flake_px: Diameter of a flake of middle size, in pixels.
        opacity: Largest cover of a flake.
        fall_px: Length of the smear by falling, in pixels.
        angle_deg: Direction of the fall, from the vertical, in degrees.
        brightness: Brightness of the flakes.
        seed: Seed of positions and shapes.
    """

    bounds: ClassVar[dict[str, tuple[float, float]]] = {
        "density": (0, 50),
        "flake_px": (0.5, 60),
        "opacity": (0, 1),
        "fall_px": (0, 60),
        "angle_deg": (-90, 90),
        "brightness": (0, 1),
    }
    density: float
    flake_px: float
    opacity: float
    fall_px: float
    angle_deg: float
    brightness: float
    seed: int

    @classmethod
    def sample(cls, generator: torch.Generator, level: float | None = None) -> Self:
        """Draw snow from a few flakes to a flurry; see ``Degradation.sample``."""
        level = level_or_draw(generator, level)
        return cls(
            density=0.2 * 15**level,
            flake_px=log_uniform(generator, 3, 10),
            opacity=uniform(generator, 0.6, 1),
            fall_px=max(0.0, uniform(generator, -6, 12)),
            angle_deg=uniform(generator, -50, 50),
            brightness=uniform(generator, 0.8, 1),
            seed=seed(generator),
        )

    def apply(self, image: Tensor) -> Tensor:
        """Degrade ``(B, C, H, W)`` in [0, 1]; see ``Degradation.apply``."""
        mask = torch.from_numpy(self.mask(*image.shape[2:])).to(image)
        return (self.brightness * mask + image * (1 - mask)).clamp(0, 1)

    def mask(self, height: int, width: int) -> Layer:
        """Return the cover ``(H, W)``, in [0, opacity]."""
        random = numpy_generator(self.seed)
        clear = np.ones((height, width), np.float32)
        for size, number in _DISTANCES:
            sharp = random.uniform(0.25, 0.6)  # soft balls to crisp discs
            points = sparse_points(random, height, width, self.density * number / 1000)
            flakes = smear(points, _flake(random, max(1.0, self.flake_px * size), sharp))
            if self.fall_px >= 1:
                kernel = streak_kernel(max(2.0, self.fall_px * size**0.5), self.angle_deg, 1.0)
                flakes = smear(flakes, kernel / max(kernel.sum() * 0.5, 1.0))
            clear *= 1 - self.opacity * np.clip(flakes, 0, 1)
        return np.minimum(1 - clear, self.opacity)


def _flake(random: np.random.Generator, diameter_px: float, sharp: float) -> Layer:
    """Return the picture of one flake: an uneven ball."""
    radius = diameter_px / 2
    half = int(np.ceil(1.5 * radius)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    stretch, turn = random.uniform(0.65, 1), random.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), (y * np.cos(turn) - x * np.sin(turn)) / stretch
    ball = np.clip((radius + 0.5 - np.hypot(u, v)) / max(radius * (1 - sharp), 1.0), 0, 1)
    if diameter_px > 4:  # a large flake shows its structure
        grain = cv2.GaussianBlur(random.uniform(0.5, 1.3, ball.shape).astype(np.float32), (0, 0), max(0.8, radius / 4))
        ball = ball * grain
    return np.asarray(np.clip(ball, 0, 1), np.float32)
