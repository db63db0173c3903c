"""The transformer block of Restormer, which PromptIR and MIR-L share, and the levels that are made of it.

Paper: Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", CVPR 2022 (arXiv
2111.09881). Attention is between channels: a head mixes its channels by how alike they are over all pixels.

With gradients, or masks, blocks compute as the paper writes. For inference (``Block``), with the same result up to
rounding:

- Queries and keys are not divided by their lengths; the small matrix of their products is.
- Weights of the attention and its output projection are one small matrix for each picture, applied once.
- On a processor everything runs in bands of rows (``_rolling``), twice over the picture: once for that matrix, once for
  the rest of the block.

Shapes: B pictures, C channels, f heads, c = C / f, L = H W pixels.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit.models._masking import Visibility
from restorekit.models._norm import Norm, NormKind
from restorekit.models._rolling import (
    add_product,
    even_rows,
    filtered_bands,
    runs_in_bands,
    weights_of,
)
from restorekit.ops.bands import uncompiled
from restorekit.ops.channel_attention import precise
from restorekit.ops.rows import to_picture, to_rows

__all__ = ["Attention", "Block", "Blocks", "Down", "FeedForward", "Scoring", "Up"]

Scoring = Literal["softmax", "relu"]
_LANES = 16  # numbers that the processor works on at once


class Attention(nn.Module):
    """Attention between channels.

    Args:
        channels: C.
        heads: f; divides C.
        bias: Whether the convolutions have a bias.
        scoring: How products become weights: by softmax, or their negative ones become 0.
    """

    temperature: nn.Parameter  # of softmax, (f, 1, 1)
    gain: nn.Parameter  # in front of ReLU; another name, so that weights cannot be taken for those of the other kind

    def __init__(self, channels: int, heads: int, *, bias: bool, scoring: Scoring = "softmax") -> None:
        super().__init__()
        self.heads, self.scoring = heads, scoring
        setattr(self, "temperature" if scoring == "softmax" else "gain", nn.Parameter(torch.ones(heads, 1, 1)))
        self.project_in = nn.Conv2d(channels, 3 * channels, 1, bias=bias)
        self.filter = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=bias)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=bias)

    def forward(self, x: Tensor, visible: Visibility | None = None) -> Tensor:
        """Attend within ``(B, C, H, W)``, which is normalised already; hidden places are 0 to all others."""
        qkv = self.filter(self.project_in(x))
        rows = to_rows(qkv if visible is None else visible.hide(qkv))
        if self.training or torch.is_grad_enabled():
            return self.project_out(to_picture(self._attend(rows), *x.shape[2:]))
        q, k, v = rows.chunk(3, 2)
        mixing = self.mixing(*self.products(q, k)).to(v.dtype)
        out = v @ mixing.transpose(1, 2)
        return to_picture(out if self.project_out.bias is None else out + self.project_out.bias, *x.shape[2:])

    def _attend(self, rows: Tensor) -> Tensor:
        """Attend within q, k, v ``(B, L, 3 C)`` as the paper writes it: ``(B, L, C)``."""
        q, k, v = rows.view(*rows.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 4, 1)  # each (B, f, c, L)
        products = F.normalize(q, dim=3) @ F.normalize(k, dim=3).transpose(2, 3)
        return (self._weigh(products) @ v).flatten(1, 2).transpose(1, 2)

    def _weigh(self, products: Tensor) -> Tensor:
        """Turn products ``(B, f, c, c)`` into weights."""
        if self.scoring == "softmax":
            return (products * self.temperature).softmax(-1)
        return (products * self.gain).relu()

    def products(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Multiply channels of ``(B, n, C)`` with each other, ``(B, f, c, c)``, and with themselves, ``(B, f, c)``.

        Those of bands add up to those of the whole.
        """
        q, k = (t.float() if t.dtype == torch.float16 else t for t in (q, k))  # sums over many pixels overflow it
        q, k = (t.view(*t.shape[:2], self.heads, -1).transpose(1, 2) for t in (q, k))  # (B, f, n, c)
        with torch.autocast(q.device.type, enabled=False):
            return precise(q.transpose(2, 3) @ k), precise(q).square().sum(2), precise(k).square().sum(2)

    def mixing(self, qk: Tensor, qq: Tensor, kk: Tensor) -> Tensor:
        """Return the matrix ``(B, C, C)`` that takes v to the attention's result, from the sums of ``products``."""
        lengths = [squares.sqrt().clamp_min(1e-12) for squares in (qq, kk)]
        with torch.autocast(qk.device.type, enabled=False):
            weights = self._weigh(qk / lengths[0][:, :, :, None] / lengths[1][:, :, None])
            project = precise(self.project_out.weight).view(-1, self.heads, weights.shape[-1])
            return torch.einsum("ofc,bfcd->bofd", project, weights).flatten(2)


class FeedForward(nn.Module):
    """Two projections and depth-wise convolutions, one of which gates the other, and a projection back.

    Args:
        channels: C.
        expansion: Hidden channels over C.
        bias: Whether the convolutions have a bias.
    """

    def __init__(self, channels: int, *, expansion: float, bias: bool) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=bias)
        self.filter = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``(B, C, H, W)``, which is normalised already."""
        gate, gated = self.filter(self.project_in(x)).chunk(2, 1)
        return self.project_out(F.gelu(gate) * gated)

    def aligned(self, *, pixels: int) -> list[tuple[Tensor, Tensor | None]]:
        """Return weights and biases of the three convolutions as matrices ``(C', C)`` and a kernel ``(C', 1, 3, 3)``.

        Hidden channels are filled up with zeros to a number that suits the processor, if that pays for a picture of so
        many pixels.
        """
        channels, hidden = self.project_out.weight.shape[:2]
        more = -hidden % _LANES
        enter, leave = weights_of(self.project_in), weights_of(self.project_out)
        kernel = self.filter.weight, self.filter.bias
        if not more or pixels < 16 * channels:
            return [enter, kernel, leave]
        return [_fill(*enter, more), _fill(*kernel, more), (F.pad(leave[0], (0, more)), leave[1])]


def _fill(weight: Tensor, bias: Tensor | None, more: int) -> tuple[Tensor, Tensor | None]:
    """Append zeros to each half of the first axis."""
    halves = F.pad(weight.view(2, -1, *weight.shape[1:]), (0, 0) * (weight.ndim - 1) + (0, more))
    return halves.flatten(0, 1), None if bias is None else F.pad(bias.view(2, -1), (0, more)).flatten()


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)).

    Args:
        channels: C.
        heads: f; divides C.
        expansion: Hidden channels of the feed-forward over C.
        bias: Whether the convolutions have a bias.
        norm: See ``Norm``.
        norm_eps: Of the norms.
        scoring: See ``Attention``.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        expansion: float,
        bias: bool,
        norm: NormKind = "with_bias",
        norm_eps: float = 1e-5,
        scoring: Scoring = "softmax",
    ) -> None:
        super().__init__()
        self.norm1 = Norm(channels, kind=norm, eps=norm_eps)
        self.attention = Attention(channels, heads, bias=bias, scoring=scoring)
        self.norm2 = Norm(channels, kind=norm, eps=norm_eps)
        self.feed_forward = FeedForward(channels, expansion=expansion, bias=bias)

    def forward(self, x: Tensor, visible: Visibility | None = None) -> Tensor:
        """Transform ``(B, C, H, W)``; where places are hidden, the result is 0 in them if x is and there is no bias."""
        if visible is not None:
            x = x + self.attention(visible.hide(self.norm1(x)), visible)
            return x + visible.hide(self.feed_forward(visible.hide(self.norm2(x))))
        if runs_in_bands(self, x):
            rows = even_rows(x, channels=self.feed_forward.filter.in_channels)
            if rows < x.shape[2] or not torch.compiler.is_compiling():
                return uncompiled(self._in_bands)(x)
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))

    def _in_bands(self, x: Tensor) -> Tensor:
        """Do the same in bands of rows, picture by picture."""
        height, width = x.shape[2:]
        out = torch.empty_like(x, memory_format=torch.channels_last)
        for picture, result in zip(x.permute(0, 2, 3, 1).contiguous(), out.permute(0, 2, 3, 1), strict=True):
            mixing, values = self._survey(picture)
            self._finish(picture.view(height, width, -1), values, mixing, result)
        return out

    def _survey(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Return the attention's matrix ``(C, C)`` and its values ``(L, C)`` for ``(H, W, C)``."""
        height, width, channels = picture.shape
        attention = self.attention
        sums: list[Tensor] = []
        values: Tensor | None = None
        for top, bottom, qkv in filtered_bands(
            lambda top, bottom: self.norm1.rows(picture[top:bottom].view(-1, channels)),
            (height, width),
            weights_of(attention.project_in),
            (attention.filter.weight, attention.filter.bias),
            rows=_rows(picture, attention.filter),
        ):
            q, k, v = qkv.chunk(3, 1)
            parts = attention.products(q[None], k[None])
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else list(parts)
            if values is None:
                values = v.new_empty(height * width, channels)
            values[top * width : bottom * width] = v
        assert values is not None
        return attention.mixing(*sums)[0], values

    def _finish(self, picture: Tensor, values: Tensor, mixing: Tensor, result: Tensor) -> None:
        """Write the block's result for ``(H, W, C)``."""
        height, width, channels = picture.shape
        enter, kernel, leave = self.feed_forward.aligned(pixels=height * width)
        rows = result.view(-1, channels)

        def attended(top: int, bottom: int) -> Tensor:
            own = slice(top * width, bottom * width)
            rows[own] = picture.view(-1, channels)[own]
            add_product(rows[own], values[own], mixing, self.attention.project_out.bias)
            return self.norm2.rows(rows[own])

        for top, bottom, both in filtered_bands(
            attended, (height, width), enter, kernel, rows=_rows(picture, self.feed_forward.filter)
        ):
            gate, gated = both.chunk(2, 1)
            add_product(rows[top * width : bottom * width], F.gelu(gate).mul_(gated), *leave)


def _rows(picture: Tensor, widest: nn.Conv2d) -> int:
    """Return how many rows of ``(H, W, C)`` a band has."""
    return even_rows(picture.permute(2, 0, 1)[None], channels=widest.in_channels)


class Blocks(nn.Sequential):
    """Blocks one after the other, which all know what is hidden."""

    def forward(self, x: Tensor, visible: Visibility | None = None) -> Tensor:
        """Transform ``(B, C, H, W)``."""
        for block in self:
            x = block(x, visible)
        return x


class _Resample(nn.Module):
    """A 3x3 convolution, hidden places set to 0 before they mix with others, and pixels to channels or back."""

    def __init__(self, channels: int, out_channels: int, shuffle: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)
        self.shuffle = shuffle

    def forward(self, x: Tensor, visible: Visibility | None = None) -> Tensor:
        x = self.conv(x)
        return self.shuffle(x if visible is None else visible.hide(x))


class Down(_Resample):
    """Halve the resolution and double the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels // 2, nn.PixelUnshuffle(2))


class Up(_Resample):
    """Double the resolution and halve the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 2 * channels, nn.PixelShuffle(2))
