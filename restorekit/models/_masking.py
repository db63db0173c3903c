"""Hiding patches of a picture from a network: what all encoders of MaskDCPT's pre-training share.

Paper: Hu, Yao, Jin, Chen, Lu, "Universal Image Restoration Pre-training via Masked Degradation Classification", 2025
(arXiv 2510.13282). A network sees random patches of a picture, the rest is 0, and what its layers leak into hidden
places is set to 0 again; where exactly is each network's own affair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from restorekit.errors import UsageError

__all__ = ["MaskableEncoder", "Masked", "Visibility", "sample_mask"]


@dataclass(frozen=True, kw_only=True)
class Masked:
    """What a network makes of a picture of which it sees only patches.

    Attributes:
        reconstruction: ``(B, 3, H, W)``, from the network's last convolution, without the picture added.
        features: What ``forward_features`` would return, see ``MaskableEncoder``.
    """

    reconstruction: Tensor
    features: list[Tensor]


@runtime_checkable
class MaskableEncoder(Protocol):
    """A restorer that serves as encoder and can be pre-trained with hidden patches.

    Attributes:
        feature_channels: Channels of the maps of ``forward_features``.
    """

    feature_channels: tuple[int, ...]

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """Return the maps of the network's second half for ``(B, 3, H, W)``, highest resolution first."""
        ...

    def forward_masked(self, image: Tensor, mask: Tensor) -> Masked:
        """Reconstruct ``(B, 3, H, W)`` from the patches that a mask of ``sample_mask`` shows."""
        ...


def sample_mask(batch: int, grid: tuple[int, int], *, ratio: float = 0.5, generator: torch.Generator) -> Tensor:
    """Draw which patches of each picture are seen.

    Every picture shows the same number of patches: the number of all times ``1 - ratio``, rounded half to even.

    Args:
        batch: B.
        grid: Rows and columns of patches, (h, w).
        ratio: Share of the patches that is hidden, 0 to 1.
        generator: Draws on its device.

    Returns:
        ``(B, 1, h, w)``, True where a patch is seen.

    Raises:
        UsageError: The ratio is outside [0, 1].
    """
    if not 0 <= ratio <= 1:
        raise UsageError(f"the share of hidden patches is {ratio}; choose one from 0 to 1")
    count = grid[0] * grid[1]
    order = torch.rand(batch, count, generator=generator, device=generator.device).argsort(1)
    mask = torch.zeros(batch, count, dtype=torch.bool, device=generator.device)
    return mask.scatter_(1, order[:, : round(count * (1 - ratio))], True).view(batch, 1, *grid)


class Visibility:
    """Which places of a picture a network sees, at every resolution that it works at.

    One is made for each forward pass, so that the mask is enlarged once for each resolution.

    Args:
        mask: ``(B, 1, h, w)``, True where a patch is seen; ``None``: everything is.
    """

    def __init__(self, mask: Tensor | None = None) -> None:
        self._mask = mask
        self._enlarged: dict[tuple[int, int, torch.dtype], Tensor] = {}

    @classmethod
    def of(cls, image: Tensor, mask: Tensor, *, reduction: int) -> Visibility:
        """Check that a mask suits a picture and a network.

        Args:
            image: ``(B, 3, H, W)``.
            mask: ``(B, 1, h, w)``, True where a patch is seen.
            reduction: How much smaller the network's smallest maps are than the picture; a patch is a whole number of
                their pixels.

        Raises:
            UsageError: The mask is no grid of square patches of this picture, or its patches are too small.
        """
        if mask.dtype != torch.bool or mask.ndim != 4 or mask.shape[:2] != (image.shape[0], 1):
            raise UsageError(
                f"a mask of {mask.dtype} and shape {tuple(mask.shape)} does not suit {image.shape[0]} pictures; "
                f"draw one with sample_mask({image.shape[0]}, grid, ...)"
            )
        (height, width), (rows, columns) = image.shape[2:], mask.shape[2:]
        patch = height // rows
        if (rows * patch, columns * patch) != (height, width):
            raise UsageError(
                f"a grid of {rows}x{columns} patches does not divide a picture of {height}x{width} pixels into "
                "squares; choose the grid by the picture's size"
            )
        if patch % reduction:
            raise UsageError(
                f"patches of {patch}x{patch} pixels cannot be hidden from a network that reduces the picture by "
                f"{reduction}; choose a multiple of {reduction} as their side"
            )
        return cls(mask)

    def at(self, height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return 1 where a place is seen and 0 elsewhere, ``(B, 1, height, width)``; there must be a mask."""
        assert self._mask is not None
        key = (height, width, dtype)
        if key not in self._enlarged:
            side = height // self._mask.shape[2]
            mask = self._mask.to(dtype)
            self._enlarged[key] = mask.repeat_interleave(side, 2).repeat_interleave(side, 3)
        return self._enlarged[key]

    def hide(self, x: Tensor) -> Tensor:
        """Set hidden places of ``(B, C, H, W)`` to 0."""
        return x if self._mask is None else x * self.at(x.shape[2], x.shape[3], x.dtype)

    def hide_rows(self, rows: Tensor, height: int, width: int) -> Tensor:
        """Set hidden places of ``(B, H W, C)``, pixels row by row, to 0."""
        return rows if self._mask is None else rows * self.at(height, width, rows.dtype).flatten(2).transpose(1, 2)
