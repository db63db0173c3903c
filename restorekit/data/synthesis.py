"""Pairs made on the fly: clean crops, degraded by a mixture of tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorekit.data.clean import CleanPictures
from restorekit.degradations import DEGRADATIONS
from restorekit.degradations._base import uniform
from restorekit.degradations.jpeg import Jpeg

__all__ = ["Batch", "Mixture", "Synthesis"]


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """What share of the pictures suffers what.

    Attributes:
        shares: Task -> share of the pictures; normalised to a sum of 1.
        degradations: Task -> names of the degradations, one of which is drawn; an empty tuple leaves the picture clean.
        tone: Tasks that concern the tone of the whole picture.
        whole_picture: Tasks whose crops are reduced more, so that they show more of a scene.
        store_as_jpeg: Share of the degraded pictures that are then stored as a good JPEG, as real pictures are.
        dark_scenes: Share of the clean pictures, outside ``tone``, that are made darker first: some scenes are dark and
            right as they are.
        gratings: Share of the clean pictures that get a patch of stripes first: fences and blinds are not rain.
        upright: Share of the pictures for which the one of three crops with the most upright edges is taken: windows,
            trunks and columns are not rain either.
        grey: Share of the clean pictures that lose their colour first: few colours are not a sign of haze.
    """

    shares: Mapping[str, float]
    degradations: Mapping[str, tuple[str, ...]]
    tone: frozenset[str] = field(default_factory=frozenset)
    whole_picture: frozenset[str] = field(default_factory=frozenset)
    store_as_jpeg: float = 0.15
    dark_scenes: float = 0.12
    grey: float = 0.05
    gratings: float = 0.0
    upright: float = 0.0

    def tasks(self, count: int, generator: torch.Generator) -> list[str]:
        """Draw a task for each of ``count`` pictures, evenly (systematic sampling: every batch has its share)."""
        names = list(self.shares)
        edges = torch.tensor(list(self.shares.values()), dtype=torch.float64).cumsum(0)
        ticks = (torch.arange(count, dtype=torch.float64) + torch.rand((), generator=generator)) / count * edges[-1]
        return [names[min(int(i), len(names) - 1)] for i in torch.searchsorted(edges, ticks, right=True)]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Pairs of one size.

    Attributes:
        degraded: ``(B, 3, H, W)`` float32, in [0, 1].
        clean: The same without degradation.
        surroundings: ``(B, 3, S, S)``: reduced pictures of the degraded surroundings of each crop.
        tasks: What each picture suffers.
    """

    degraded: Tensor
    clean: Tensor
    surroundings: Tensor
    tasks: list[str]


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """An endless, seeded source of batches; batch ``n`` depends on the seed and ``n`` alone, so a run can go on.

    Attributes:
        clean: Where crops come from.
        mixture: How they are degraded.
        seed: Seed of everything.
        surroundings: Side of the reduced surroundings, in pixels.
    """

    clean: CleanPictures
    mixture: Mixture
    seed: int
    surroundings: int = 48

    def batch(self, number: int, *, count: int, side: int) -> Batch:
        """Make a batch.

        Args:
            number: Its number.
            count: Pictures in it.
            side: Side of the crops, in pixels; surroundings are twice as large.

        Returns:
            The batch, on the CPU.
        """
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
        tasks = self.mixture.tasks(count, generator)
        pairs = [self._pair(task, side, generator) for task in tasks]
        degraded, clean, around = (torch.stack(part) for part in zip(*pairs, strict=True))
        return Batch(degraded=degraded, clean=clean, surroundings=around, tasks=tasks)

    def _pair(self, task: str, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        wide = task in self.mixture.whole_picture
        scales = {"smallest_scale": 0.25, "unscaled": 0.1} if wide else {"smallest_scale": 0.4, "unscaled": 0.5}
        cut = self.clean.crop(generator, 2 * side, **scales)
        if uniform(generator, 0, 1) < self.mixture.upright:
            others = [self.clean.crop(generator, 2 * side, **scales) for _ in range(2)]
            cut = max(cut, *others, key=_uprightness)
        clean = torch.from_numpy(cut).permute(2, 0, 1).float()[None] / 255
        if task not in self.mixture.tone and uniform(generator, 0, 1) < self.mixture.dark_scenes:
            clean = clean * uniform(generator, 0.3, 0.9)
        if uniform(generator, 0, 1) < self.mixture.grey:
            clean = clean.mean(1, keepdim=True).expand_as(clean)
        if uniform(generator, 0, 1) < self.mixture.gratings:
            clean = _add_grating(clean, generator)
        degraded = self._degrade(clean, task, generator)
        around = torch.nn.functional.interpolate(degraded, size=(self.surroundings,) * 2, mode="area")
        top, left = (int(torch.randint(0, side + 1, (), generator=generator)) for _ in range(2))
        window = (0, slice(None), slice(top, top + side), slice(left, left + side))
        return degraded[window], clean[window], around[0]

    def _degrade(self, clean: Tensor, task: str, generator: torch.Generator) -> Tensor:
        names = self.mixture.degradations[task]
        if not names:
            return clean
        name = names[int(torch.randint(0, len(names), (), generator=generator))]
        degraded = DEGRADATIONS.get(name).sample(generator).apply(clean)
        if name != "jpeg" and uniform(generator, 0, 1) < self.mixture.store_as_jpeg:
            return Jpeg(quality=round(uniform(generator, 75, 98))).apply(degraded)
        if uniform(generator, 0, 1) < 0.7:  # files hold whole steps
            return (degraded * 255).round() / 255
        return degraded


def _uprightness(picture: NDArray[np.uint8]) -> float:
    """Return how much more a picture ``(H, W, 3)`` changes along its rows than along its columns, in grey levels."""
    green = picture[:, :, 1].astype(np.int16)
    return float(np.abs(np.diff(green, axis=1)).mean() - np.abs(np.diff(green, axis=0)).mean())


def _stripes(phase: Tensor, generator: torch.Generator) -> Tensor:
    """Return soft or sharp stripes in [0, 1] for phases in periods."""
    return torch.sigmoid(uniform(generator, 1, 8) * (torch.cos(2 * math.pi * phase) + uniform(generator, -0.5, 0.5)))


def _add_grating(clean: Tensor, generator: torch.Generator) -> Tensor:
    """Lay a patch of regular stripes over part of ``(1, 3, H, W)``: fences, shutters, tiles, cloth with folds."""
    height, width = clean.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    angle = uniform(generator, -0.9, 0.9)
    period = uniform(generator, 2.5, 14)
    along = rows * math.cos(angle) - columns * math.sin(angle)
    folds = uniform(generator, 0, 2) * period * torch.sin(along / uniform(generator, 15, 60))
    across = columns * math.cos(angle) + rows * math.sin(angle) + folds
    stripes = _stripes(across / period, generator)
    if uniform(generator, 0, 1) < 0.3:
        stripes = stripes * _stripes(along / (period * uniform(generator, 0.7, 4)), generator)
    centre = [uniform(generator, 0, 1) * side for side in (height, width)]
    radius = [uniform(generator, 0.15, 0.6) * side for side in (height, width)]
    away = ((rows - centre[0]) / radius[0]).abs().maximum(((columns - centre[1]) / radius[1]).abs())
    shown = uniform(generator, 0.3, 1) * stripes * (away < 1)
    colour = uniform(generator, 0.4, 1) + 0.1 * torch.randn((3, 1, 1), generator=generator)
    return (clean * (1 - shown) + colour * shown).clamp(0, 1)
