"""Haze by the scattering model over a made-up depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorekit.degradations._base import (
    Degradation,
    level_or_draw,
    numpy_generator,
    register_degradation,
    seed,
    uniform,
)

__all__ = ["Haze"]


@register_degradation("haze")
@dataclass(frozen=True, kw_only=True)
class Haze(Degradation):
    """Mix the picture with airlight: x t + A (1 - t), t = exp(-beta depth) (Koschmieder; Narasimhan and Nayar, 2002).

    A photograph has no depth, so one is made up: a ramp (ground to sky), a smooth field, and objects with edges, each
    by its share.

    Attributes:
        beta: Density, per unit of depth; depth runs from ``near`` to 1.
        near: Depth of the nearest point.
        airlight: Brightness of the haze (green).
        airlight_red: Red airlight minus green.
        airlight_blue: Blue airlight minus green.
        ramp: Share of the ramp.
        objects: Share of objects with edges; the rest is the smooth field.
        seed: Seed of the depth.
    """

    bounds: ClassVar[dict[str, tuple[float, float]]] = {
        "beta": (0, 10),
        "near": (0, 1),
        "airlight": (0, 1),
        "airlight_red": (-0.3, 0.3),
        "airlight_blue": (-0.3, 0.3),
        "ramp": (0, 1),
        "objects": (0, 1),
    }
    beta: float
    near: float
    airlight: float
    airlight_red: float
    airlight_blue: float
    ramp: float
    objects: float
    seed: int

    @classmethod
    def sample(cls, generator: torch.Generator, level: float | None = None) -> Self:
        """Draw a density between 0.2 and 1.8; see ``Degradation.sample``."""
        ramp = uniform(generator, 0, 0.8)
        return cls(
            beta=0.2 + 1.6 * level_or_draw(generator, level),
            near=uniform(generator, 0, 0.35),
            airlight=uniform(generator, 0.45, 1),
            airlight_red=uniform(generator, -0.03, 0.03),
            airlight_blue=uniform(generator, -0.03, 0.03),
            ramp=ramp,
            objects=uniform(generator, 0, 1 - ramp),
            seed=seed(generator),
        )

    def apply(self, image: Tensor) -> Tensor:
        """Degrade ``(B, C, H, W)``, C = 1 or 3, in [0, 1]; see ``Degradation.apply``."""
        depth = torch.from_numpy(self.depth(*image.shape[2:])).to(image)
        offsets = [self.airlight_red, 0.0, self.airlight_blue] if image.shape[1] == 3 else [0.0]
        air = (self.airlight + torch.tensor(offsets).to(image))[:, None, None].clamp(0, 1)
        seen = torch.exp(-self.beta * depth)
        return (image * seen + air * (1 - seen)).clamp(0, 1)

    def depth(self, height: int, width: int) -> NDArray[np.float32]:
        """Return the depth map ``(H, W)``, from ``near`` to 1."""
        random = numpy_generator(self.seed)
        tilt, bend = random.uniform(-0.3, 0.3), random.uniform(0.6, 2.5)
        rows, columns = np.linspace(1, 0, height)[:, None], np.linspace(-0.5, 0.5, width)[None, :]
        ramp = _stretch((np.clip(rows + tilt * columns, 0, 1)) ** bend)
        smooth = _stretch(_field(random, height, width, 5))
        depth = self.ramp * ramp + self.objects * _objects(random, height, width)
        depth = depth + max(0.0, 1 - self.ramp - self.objects) * smooth
        return (self.near + (1 - self.near) * _stretch(depth)).astype(np.float32)


def _field(random: np.random.Generator, height: int, width: int, points: int) -> NDArray[np.float32]:
    """Interpolate a random grid to a picture."""
    grid = random.standard_normal((points, points)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _objects(random: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Cut smooth fields into a few flat regions: things at their own depths, with edges between them."""
    parts = [np.sign(_field(random, height, width, 6)) * weight for weight in (0.5, 0.3, 0.2)]
    soft = cv2.GaussianBlur(np.sum(parts, axis=0, dtype=np.float32), (0, 0), 1.0)
    return _stretch(np.asarray(soft, np.float32))


def _stretch(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Map the range of values to [0, 1]; a constant becomes 0."""
    low, high = float(values.min()), float(values.max())
    return ((values - low) / max(high - low, 1e-6)).astype(np.float32)
