"""Changes of orientation that both pictures of a pair undergo."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["flip_and_turn", "flip_and_turn_at_random"]


def flip_and_turn(
    image: Tensor,
    *,
    vertical_flip: bool = False,
    horizontal_flip: bool = False,
    quarter_turn_ccw: bool = False,
    quarter_turn_cw: bool = False,
) -> Tensor:
    """Flip and turn a picture, in the order of the arguments.

    Args:
        image: ``(..., H, W)``.
        vertical_flip: Swap top and bottom.
        horizontal_flip: Swap left and right.
        quarter_turn_ccw: Turn by 90 degrees counter-clockwise.
        quarter_turn_cw: Turn by 90 degrees clockwise.

    Returns:
        ``(..., H, W)``, or ``(..., W, H)`` after one turn.
    """
    if vertical_flip:
        image = image.flip(-2)
    if horizontal_flip:
        image = image.flip(-1)
    return torch.rot90(image, int(quarter_turn_ccw) - int(quarter_turn_cw), (-2, -1))


def flip_and_turn_at_random(degraded: Tensor, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flip and turn a pair as DWFormer's authors do: four fair draws, so that half of the pairs are not turned.

    Args:
        degraded: ``(..., H, W)``.
        clean: ``(..., H, W)``.
        generator: Source of the draws.

    Returns:
        Both, changed in the same way.
    """
    down, across, left, right = (torch.rand(4, generator=generator) < 0.5).tolist()

    def change(image: Tensor) -> Tensor:
        return flip_and_turn(
            image, vertical_flip=down, horizontal_flip=across, quarter_turn_ccw=left, quarter_turn_cw=right
        )

    return change(degraded), change(clean)
