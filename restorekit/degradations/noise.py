"""Noise: Gaussian with a constant sigma, and sensor noise (signal-dependent, correlated)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from restorekit.degradations._base import (
    Degradation,
    generator,
    level_or_draw,
    log_uniform,
    register_degradation,
    seed,
    uniform,
)

__all__ = ["GaussianNoise", "SensorNoise"]


@register_degradation("gaussian_noise")
@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Degradation):
    """Add independent Gaussian noise to every value and clip.

    Attributes:
        sigma_255: Standard deviation, in 8-bit units.
        seed: Seed of the noise field.
    """

    bounds: ClassVar[dict[str, tuple[float, float]]] = {"sigma_255": (0, 255)}
    sigma_255: float
    seed: int

    @classmethod
    def sample(cls, generator: torch.Generator, level: float | None = None) -> Self:
        """Draw sigma between 2 and 50; see ``Degradation.sample``."""
        return cls(sigma_255=2 + 48 * level_or_draw(generator, level), seed=seed(generator))

    def apply(self, image: Tensor) -> Tensor:
        """Degrade ``(B, C, H, W)`` in [0, 1]; see ``Degradation.apply``."""
        noise = torch.randn(image.shape, generator=generator(self.seed)).to(image)
        return (image + noise * (self.sigma_255 / 255)).clamp(0, 1)


@register_degradation("sensor_noise")
@dataclass(frozen=True, kw_only=True)
class SensorNoise(Degradation):
    """Noise of a camera after its processing: brighter where the signal is, blotchy, partly grey.

    Shot and read noise (Foi et al., IEEE TIP 2008: variance = gain * signal + read^2), blurred as demosaicking and
    in-camera denoising do, with a share that all three colours have in common.

    Attributes:
        gain_255: Standard deviation of the shot noise at white, in 8-bit units.
        read_255: Standard deviation of the read noise, in 8-bit units.
        blur_px: Standard deviation of the correlation, in pixels (0: none).
        common: Share of the noise that is the same in all colours, 0 to 1.
        seed: Seed of the noise field.
    """

    bounds: ClassVar[dict[str, tuple[float, float]]] = {
        "gain_255": (0, 128),
        "read_255": (0, 128),
        "blur_px": (0, 4),
        "common": (0, 1),
    }
    gain_255: float
    read_255: float
    blur_px: float
    common: float
    seed: int

    @classmethod
    def sample(cls, generator: torch.Generator, level: float | None = None) -> Self:
        """Draw noise between 2 and 25 of 255 at white; see ``Degradation.sample``."""
        strength = 2 + 23 * level_or_draw(generator, level) ** 2
        return cls(
            gain_255=strength,
            read_255=strength * uniform(generator, 0.2, 0.8),
            blur_px=log_uniform(generator, 0.3, 1.3),
            common=uniform(generator, 0, 0.7),
            seed=seed(generator),
        )

    def apply(self, image: Tensor) -> Tensor:
        """Degrade ``(B, C, H, W)`` in [0, 1]; see ``Degradation.apply``."""
        source = generator(self.seed)
        own = torch.randn(image.shape, generator=source).to(image)
        grey = torch.randn((image.shape[0], 1, *image.shape[2:]), generator=source).to(image)
        noise = math.sqrt(1 - self.common) * own + math.sqrt(self.common) * grey
        if self.blur_px > 0:
            noise = _correlate(noise, self.blur_px)
        sigma = torch.sqrt((self.gain_255 / 255) ** 2 * image + (self.read_255 / 255) ** 2)
        return (image + sigma * noise).clamp(0, 1)


def _correlate(noise: Tensor, blur_px: float) -> Tensor:
    """Blur white noise and bring its variance back to one."""
    radius = min(int(3 * blur_px + 0.5), *(side - 1 for side in noise.shape[2:]))
    if radius < 1:
        return noise
    grid = torch.arange(-radius, radius + 1, dtype=noise.dtype, device=noise.device)
    taps = torch.exp(-(grid**2) / (2 * blur_px**2))
    taps = taps / taps.square().sum().sqrt()
    weight = taps.expand(noise.shape[1], 1, 1, -1).contiguous()
    noise = F.conv2d(F.pad(noise, (radius, radius, 0, 0), mode="reflect"), weight, groups=noise.shape[1])
    noise = F.pad(noise, (0, 0, radius, radius), mode="reflect")
    return F.conv2d(noise, weight.transpose(2, 3).contiguous(), groups=noise.shape[1])
