"""Normalisation over the channels of each pixel, which many networks share."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit.ops.channel_attention import precise

__all__ = ["Norm", "NormKind"]

NormKind = Literal["with_bias", "bias_free"]


class Norm(nn.Module):
    """Normalise over the channels of each pixel, and scale.

    ``with_bias``: (x - mean) / sqrt(variance + eps) weight + bias. ``bias_free``: x / sqrt(variance + eps) weight, with
    the same variance, about the mean.

    Args:
        channels: C.
        kind: Which of the two.
        eps: Keeps flat pixels finite.
    """

    def __init__(self, channels: int, *, kind: NormKind = "with_bias", eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels)) if kind == "with_bias" else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)``."""
        return self.rows(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def rows(self, x: Tensor) -> Tensor:
        """Normalise ``(..., C)``."""
        if self.bias is not None:
            return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        return x * torch.rsqrt(precise(x).var(-1, keepdim=True, correction=0) + self.eps) * self.weight
