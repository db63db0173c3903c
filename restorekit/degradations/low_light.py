"""Low light: under-exposure with its colour cast and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from restorekit.degradations._base import (
    Degradation,
    generator,
    level_or_draw,
    register_degradation,
    seed,
    uniform,
)

__all__ = ["LowLight"]


@register_degradation("low_light")
@dataclass(frozen=True, kw_only=True)
class LowLight(Degradation):
    """Darken: exposure * cast * x^gamma, then shot and read noise.

    The ranges follow fits on the pairs of LOL (Wei et al., BMVC 2018): gamma 1.7 to 2.05, exposure 0.18 to 0.27.

    Attributes:
        gamma: Exponent on the encoded picture.
        exposure: Factor after it.
        cast_red: Factor on red.
        cast_blue: Factor on blue.
        noise_255: Standard deviation of the noise at white and in the dark alike, in 8-bit units.
        seed: Seed of the noise.
    """

    bounds: ClassVar[dict[str, tuple[float, float]]] = {
        "gamma": (1, 5),
        "exposure": (0, 1),
        "cast_red": (0.3, 3),
        "cast_blue": (0.3, 3),
        "noise_255": (0, 64),
    }
    gamma: float
    exposure: float
    cast_red: float
    cast_blue: float
    noise_255: float
    seed: int

    @classmethod
    def sample(cls, generator: torch.Generator, level: float | None = None) -> Self:
        """Draw an exposure between 0.35 and 0.06; see ``Degradation.sample``."""
        level = level_or_draw(generator, level)
        return cls(
            gamma=uniform(generator, 1.2, 2.2),
            exposure=0.35 * (0.06 / 0.35) ** level,
            cast_red=uniform(generator, 0.85, 1.15),
            cast_blue=uniform(generator, 0.85, 1.15),
            noise_255=uniform(generator, 0, 3) * level,
            seed=seed(generator),
        )

    def apply(self, image: Tensor) -> Tensor:
        """Degrade ``(B, C, H, W)``, C = 1 or 3, in [0, 1]; see ``Degradation.apply``."""
        cast = torch.tensor([self.cast_red, 1, self.cast_blue] if image.shape[1] == 3 else [1.0]).to(image)
        dark = (self.exposure * cast[:, None, None] * image**self.gamma).clamp(0, 1)
        noise = torch.randn(image.shape, generator=generator(self.seed)).to(image)
        return (dark + noise * (self.noise_255 / 255) * (0.5 + dark).sqrt()).clamp(0, 1)
