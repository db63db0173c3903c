"""Blur: defocus (a disc), motion (a hand-held camera's path), Gaussian."""

from __future__ import annotations

import math
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

__all__ = ["DefocusBlur", "GaussianBlur", "MotionBlur", "convolve"]

Kernel = NDArray[np.float32]
_FINE = 4  # kernels are drawn on a grid this much finer than the pixels, so that edges come out soft


def convolve(image: Tensor, kernel: Kernel) -> Tensor:
    """Convolve every channel of ``(B, C, H, W)`` with an odd-sized kernel, borders mirrored."""
    pictures = image.detach().cpu().permute(0, 2, 3, 1).contiguous().numpy()
    # cv2 correlates; the flip makes it the convolution that the formulas speak of
    turned = np.ascontiguousarray(kernel[::-1, ::-1])
    done = [cv2.filter2D(p, -1, turned, borderType=cv2.BORDER_REFLECT).reshape(p.shape) for p in pictures]
    return torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2).to(image).clamp(0, 1)


@register_degradation("defocus_blur")
@dataclass(frozen=True, kw_only=True)
class DefocusBlur(Degradation):
    """Convolve with a uniform disc, the picture of a point out of focus in geometrical optics.

    Attributes:
        radius_px: Radius of the disc, in pixels.
    """

    bounds: ClassVar[dict[str, tuple[float, float]]] = {"radius_px": (0, 40)}
    radius_px: float

    @classmethod
    def sample(cls, generator: torch.Generator, level: float | None = None) -> Self:
        """Draw a radius between 0.7 and 5 pixels; see ``Degradation.sample``."""
        return cls(radius_px=0.7 + 4.3 * level_or_draw(generator, level))

    def apply(self, image: Tensor) -> Tensor:
        """Degrade ``(B, C, H, W)`` in [0, 1]; see ``Degradation.apply``."""
        half = math.ceil(self.radius_px)
        grid = (np.arange((2 * half + 1) * _FINE) + 0.5) / _FINE - half - 0.5
        disc = (grid[:, None] ** 2 + grid[None, :] ** 2 <= max(self.radius_px, 1 / _FINE) ** 2).astype(np.float32)
        return convolve(image, _coarse(disc))


@register_degradation("gaussian_blur")
@dataclass(frozen=True, kw_only=True)
class GaussianBlur(Degradation):
    """Convolve with an isotropic Gaussian.

    Attributes:
        sigma_px: Standard deviation, in pixels.
    """

    bounds: ClassVar[dict[str, tuple[float, float]]] = {"sigma_px": (0, 20)}
    sigma_px: float

    @classmethod
    def sample(cls, generator: torch.Generator, level: float | None = None) -> Self:
        """Draw a sigma between 0.4 and 3 pixels; see ``Degradation.sample``."""
        return cls(sigma_px=0.4 + 2.6 * level_or_draw(generator, level))

    def apply(self, image: Tensor) -> Tensor:
        """Degrade ``(B, C, H, W)`` in [0, 1]; see ``Degradation.apply``."""
        taps = cv2.getGaussianKernel(2 * math.ceil(3 * self.sigma_px) + 1, max(self.sigma_px, 1e-3), cv2.CV_32F)
        return convolve(image, (taps @ taps.T).astype(np.float32))


@register_degradation("motion_blur")
@dataclass(frozen=True, kw_only=True)
class MotionBlur(Degradation):
    """Convolve with the path of a shaken camera: a walk whose direction drifts (0 curl: a straight line).

    Source: camera trajectories as in Boracchi and Foi, IEEE TIP 2012, simplified to a smooth walk.

    Attributes:
        length_px: Length of the path, in pixels.
        angle_deg: Direction at its start, in degrees, counter-clockwise from the right.
        curl: How much the direction drifts, 0 (straight) to 1 (a tangle).
        seed: Seed of the drift.
    """

    bounds: ClassVar[dict[str, tuple[float, float]]] = {"length_px": (1, 100), "angle_deg": (-360, 360), "curl": (0, 1)}
    length_px: float
    angle_deg: float
    curl: float
    seed: int

    @classmethod
    def sample(cls, generator: torch.Generator, level: float | None = None) -> Self:
        """Draw a length between 3 and 25 pixels; see ``Degradation.sample``."""
        return cls(
            length_px=3 + 22 * level_or_draw(generator, level),
            angle_deg=uniform(generator, 0, 360),
            curl=max(0.0, uniform(generator, -0.5, 1)),  # a third of the paths are straight lines
            seed=seed(generator),
        )

    def apply(self, image: Tensor) -> Tensor:
        """Degrade ``(B, C, H, W)`` in [0, 1]; see ``Degradation.apply``."""
        return convolve(image, self.kernel())

    def kernel(self) -> Kernel:
        """Return the kernel, odd-sized and of sum 1, centred on the mean of the path."""
        steps = max(2, round(self.length_px * _FINE))
        turns = numpy_generator(self.seed).standard_normal(steps) * self.curl * 0.35
        angle = math.radians(self.angle_deg) + np.cumsum(turns)
        path = np.stack([np.cumsum(np.cos(angle)), -np.cumsum(np.sin(angle))]) * (self.length_px / steps)
        path -= path.mean(1, keepdims=True)
        half = math.ceil(np.abs(path).max())
        size = (2 * half + 1) * _FINE
        canvas = np.zeros((size, size), np.float32)
        points = np.clip(((path + half + 0.5) * _FINE).astype(int), 0, size - 1)
        np.add.at(canvas, (points[1], points[0]), 1)
        soft = cv2.blur(canvas, (_FINE, _FINE), borderType=cv2.BORDER_CONSTANT)
        return _coarse(np.asarray(soft, np.float32))


def _coarse(fine: Kernel) -> Kernel:
    """Sum a kernel drawn on the fine grid into pixels, and normalise it."""
    side = fine.shape[0] // _FINE
    kernel = fine.reshape(side, _FINE, side, _FINE).sum((1, 3))
    return np.asarray(kernel / kernel.sum(), np.float32)
