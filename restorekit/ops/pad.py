"""Padding to the sizes that a network takes, and cropping back."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["crop_to", "pad_to", "padded_length"]


def padded_length(length: int, rule_multiple: int, rule_minimum: int) -> int:
    """Return the smallest length that is at least ``length``, at least the minimum, and a multiple.

    Args:
        length: A height or a width, in pixels, at least 1.
        rule_multiple: The result is a multiple of this.
        rule_minimum: The result is not smaller than this.

    Returns:
        The length in pixels.
    """
    return -(-max(length, rule_minimum) // rule_multiple) * rule_multiple


def pad_to(image: Tensor, rule_multiple: int, rule_minimum: int) -> tuple[Tensor, tuple[int, int]]:
    """Pad below and to the right until a network takes the picture.

    The picture is mirrored at its border. Mirroring needs a side that is longer than the padding; a shorter side
    repeats its last row or column instead. The two sides are decided one by one.

    Args:
        image: ``(B, C, H, W)``, any range; H and W at least 1.
        rule_multiple: Height and width become multiples of this.
        rule_minimum: Height and width become at least this.

    Returns:
        The padded picture ``(B, C, H', W')`` (the same tensor if nothing was missing), and ``(H, W)`` for ``crop_to``.
    """
    height, width = image.shape[-2:]
    below = padded_length(height, rule_multiple, rule_minimum) - height
    right = padded_length(width, rule_multiple, rule_minimum) - width
    if below:
        image = F.pad(image, (0, 0, 0, below), mode="reflect" if below < height else "replicate")
    if right:
        image = F.pad(image, (0, right, 0, 0), mode="reflect" if right < width else "replicate")
    return image, (height, width)


def crop_to(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo ``pad_to``.

    Args:
        image: ``(B, C, H', W')``.
        size: ``(H, W)`` as ``pad_to`` returned it.

    Returns:
        ``(B, C, H, W)``, a view.
    """
    height, width = size
    return image[..., :height, :width]
