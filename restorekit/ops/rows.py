"""Pixels as rows of channels, and moving them about.

In channels-last a pixel's channels are one stretch of memory, so that moving pixels is copying rows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "fill_patches",
    "group",
    "invert",
    "patch_sources",
    "permute",
    "spread",
    "to_patches",
    "to_picture",
    "to_rows",
    "ungroup",
]


class _Permute(torch.autograd.Function):
    """Take rows by a permutation; unlike that of ``index_select``, the gradient is a permutation as well."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return rows.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (order,) = ctx.saved_tensors
        return grads[0].index_select(0, invert(order)), None


def permute(rows: Tensor, order: Tensor) -> Tensor:
    """Take rows of ``(N, C)`` by a permutation ``(N,)``."""
    if not torch.is_grad_enabled():
        return rows.index_select(0, order)
    moved: Tensor = _Permute.apply(rows, order)
    return moved


def invert(order: Tensor) -> Tensor:
    """Invert a permutation ``(N,)``."""
    return torch.empty_like(order).scatter_(0, order, torch.arange(order.shape[0], device=order.device))


def to_rows(x: Tensor) -> Tensor:
    """View ``(B, C, H, W)`` as ``(B, H W, C)``; free of cost in channels-last."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1])


def to_picture(rows: Tensor, height: int, width: int) -> Tensor:
    """View ``(B, H W, C)`` as ``(B, C, H, W)`` in channels-last."""
    return rows.reshape(rows.shape[0], height, width, -1).permute(0, 3, 1, 2)


def fill_patches(x: Tensor, patch: int) -> Tensor:
    """Append zeros at the bottom and right until ``(B, C, H, W)`` consists of whole patches."""
    bottom, right = -x.shape[2] % patch, -x.shape[3] % patch
    return F.pad(x, (0, right, 0, bottom)) if bottom or right else x


def to_patches(x: Tensor, patch: int) -> Tensor:
    """Cut ``(B, H, W)``, whole patches, into ``(B, P, patch^2)``, patches and positions row by row."""
    batch, height, width = x.shape
    x = x.reshape(batch, height // patch, patch, width // patch, patch)
    return x.transpose(2, 3).reshape(batch, -1, patch * patch)


def patch_sources(order: Tensor, height: int, width: int, patch: int) -> Tensor:
    """Turn orders within patches into a permutation of all pixels.

    Args:
        order: ``(B, P, patch^2)``; a position receives what stands at the position that it names.
        height: H, whole patches.
        width: W, whole patches.
        patch: Side of a patch.

    Returns:
        ``(B H W,)``, the pixel that each pixel receives.
    """
    batch = order.shape[0]
    pixels = torch.arange(batch * height * width, device=order.device).reshape(batch, height, width)
    received = to_patches(pixels, patch).gather(2, order)
    received = received.reshape(batch, height // patch, width // patch, patch, patch)
    return received.transpose(2, 3).flatten()


def group(rows: Tensor, order: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Sort pixels and lay them out as matrices for the heads.

    A head owns C / f channels; its matrix has a column for each of them in each of f groups of pixels. In q1 and k1 a
    group is a stretch of neighbours in the order, in q2, k2 and v it is every f-th pixel.

    Args:
        rows: ``(B, L, 5 C)``, L a multiple of f.
        order: ``(B, L)``.
        heads: f.

    Returns:
        Five tensors ``(B, f, n, C)``, columns group by group.
    """
    batch, length = order.shape
    count, share = length // heads, rows.shape[2] // (5 * heads)
    starts = torch.arange(batch, device=order.device)[:, None] * length
    pieces = (order + starts) * (5 * heads)  # a pixel is 5 f pieces of C / f numbers
    near = pieces.view(batch, heads, count).transpose(1, 2)
    far = pieces.view(batch, count, heads)
    which = torch.arange(5 * heads, device=order.device).view(1, 5, heads, 1, 1)
    index = torch.stack([near, near, far, far, far], 1)[:, :, None] + which
    moved = permute(rows.reshape(-1, share), index.flatten())
    return moved.view(batch, 5, heads, count, heads * share).unbind(1)


def spread(x: Tensor, heads: int, *, back: bool = False) -> Tensor:
    """Turn a matrix ``(B, f, n, C)`` of groups of every f-th pixel into one of groups of neighbours, or ``back``."""
    batch, _, count, channels = x.shape
    grid = (count, heads) if back else (heads, count)
    return x.reshape(batch, heads, *grid, channels // heads).transpose(2, 3).reshape(batch, heads, count, channels)


def ungroup(matrix: Tensor, order: Tensor, heads: int) -> Tensor:
    """Undo ``group`` for one matrix ``(B, f, n, C)`` of groups of every f-th pixel: ``(B, L, C)`` as it was."""
    batch, length = order.shape
    share = matrix.shape[3] // heads
    starts = torch.arange(batch, device=order.device)[:, None] * length
    places = invert((order + starts).flatten()).view(batch, length, 1) - starts[:, None]
    which = torch.arange(batch * heads, device=order.device).view(batch, 1, heads) * length
    return permute(matrix.reshape(-1, share), (places + which).flatten()).view(batch, length, -1)
