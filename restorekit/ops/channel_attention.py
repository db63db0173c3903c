"""Attention between channels: a channel's pixels are one vector, and every channel is mixed from all of them.

Shapes: B pictures, f heads, n pixels, C channels; a channel is a column.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["attend", "mix", "precise", "products", "weigh"]


def precise(x: Tensor) -> Tensor:
    """Return at least float32."""
    return x if x.dtype == torch.float64 else x.float()


def attend(q: Tensor, k: Tensor, v: Tensor, temperature: Tensor) -> Tensor:
    """Attend between the columns of three ``(B, f, n, C)``, with temperature ``(f, 1, 1)``.

    The weights of a result are exp(temperature * cosine of q and k), over one more than their sum.
    """
    if q.shape[2] >= q.shape[3]:  # scale whichever is smaller, the matrix of products or the columns
        return mix(v, weigh([products(q, k)], temperature))
    q, k = (t / precise(t).square().sum(2, keepdim=True).sqrt().clamp_min(1e-12) for t in (q, k))
    return mix(v, precise((q * temperature).transpose(2, 3) @ k).exp())


def products(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Multiply columns of ``(B, f, n, C)`` with each other, ``(B, f, C, C)``, and with themselves, ``(B, f, C)``.

    Those of bands add up to those of the whole.
    """
    return precise(q.transpose(2, 3) @ k), precise(q).square().sum(2), precise(k).square().sum(2)


def weigh(parts: list[tuple[Tensor, Tensor, Tensor]], temperature: Tensor) -> Tensor:
    """Return the weights of columns before division, ``(B, f, C, C)``, from the products of all bands."""
    qk, qq, kk = (torch.stack(part).sum(0) if len(part) > 1 else part[0] for part in zip(*parts, strict=True))
    lengths = [squares.sqrt().clamp_min(1e-12) for squares in (qq, kk)]
    return (qk / lengths[1][:, :, None] * (temperature / lengths[0][:, :, :, None])).exp()


def mix(v: Tensor, weights: Tensor) -> Tensor:
    """Mix the columns of ``(B, f, n, C)`` by weights ``(B, f, C, C)``, divided by one more than their sum."""
    total = 1 + weights.sum(-1, keepdim=True)
    if v.shape[2] < v.shape[3]:  # divide whichever is smaller
        return (v @ weights.transpose(2, 3).to(v.dtype)) / total.transpose(2, 3)
    return v @ (weights / total).transpose(2, 3).to(v.dtype)
