"""HOGformer: a transformer that sorts pixels by their gradients before it attends.

Paper: Wu, Yang, Wang, Jin, "Gradient as Conditions: Rethinking HOG for All-in-one Image Restoration", AAAI 2026 (arXiv
2504.09377). Authors' code: Fire-friend/HOGformer, MIT licence; none is stated for their weights. Written from the paper
and a description of the released networks; gives their numbers.

Deviations, none of which changes the result of a released configuration but for rounding:

- One order per patch and not one per channel; the histogram by one scatter; no global order where there is one head
  (it cancels). The authors' sort is not stable, ours is.
- Pixels move as rows of channels (channels-last), a head's share of the channels at a time, straight into the matrices
  that the attention multiplies.
- The feed-forward stays at the low resolution, its four phases side by side, but for one 5x5 convolution; its last
  steps (scale, ``decompose``, projection) are one matrix product and a small correction.
- Without gradients the long chains run in bands of rows (``ops.bands``): what is wide stays in the cache.
- Under bfloat16 autocast on a processor with matrix units, a 1x1 convolution and the depth-wise one behind it are one
  dense convolution.

``HOGformerTiny`` is this project's own small relative: the same transformer blocks on a convolutional trunk.

Shapes: B pictures, C channels, L = H W pixels, P patches, f heads, n = L / f (L padded).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit.errors import UsageError
from restorekit.models._blocks import ConvUNet
from restorekit.models._spec import ModelSpec, SizeRule, StateDict, register_model
from restorekit.ops.bands import band_rows, bands, over_bands, uncompiled
from restorekit.ops.channel_attention import attend, mix, precise, products, weigh
from restorekit.ops.hog import describe_patches, pixel_keys
from restorekit.ops.matrix_unit import dense_pays, has_matrix_unit
from restorekit.ops.rows import (
    fill_patches,
    group,
    invert,
    patch_sources,
    permute,
    spread,
    to_picture,
    to_rows,
    ungroup,
)

__all__ = ["HOGformer", "HOGformerTiny", "order_patches", "order_pixels"]

_PATCH = 8
_BINS = 9
NormKind = Literal["with_bias", "bias_free"]
OrderPatches = Callable[[Tensor], tuple[Tensor, Tensor]]
OrderPixels = Callable[[Tensor], Tensor]


# --- the two orders ---------------------------------------------------------------------------------------------------


def order_patches(x: Tensor, *, patch: int = _PATCH, bins: int = _BINS) -> tuple[Tensor, Tensor]:
    """Order the pixels of every patch by their gradients.

    Args:
        x: ``(B, c, H, W)``, float32 or float64.
        patch: Side of a patch.
        bins: Bins of the histogram.

    Returns:
        The ascending order ``(B, P, patch^2)`` of the positions of each patch, patches and positions row by row, and
        the normalised histogram ``(B, P, bins)``. Positions outside the picture come first.
    """
    keys, histogram = describe_patches(x, patch=patch, bins=bins)
    return keys.sort(dim=-1, stable=True).indices, histogram


def order_pixels(v: Tensor) -> Tensor:
    """Return the ascending order ``(B, L)`` of the pixels of ``(B, C, H, W)``, float32 or 64, by their gradients."""
    return pixel_keys(v).sort(dim=-1, stable=True).indices


def _reorder_half(x: Tensor, sources: Tensor, patch: int) -> Tensor:
    """Return the first half of the channels of ``(B, C, H, W)``, moved; sources ``(B L,)`` of the padded picture."""
    height, width = x.shape[2:]
    half = fill_patches(x[:, : x.shape[1] // 2], patch)
    rows = permute(to_rows(half).flatten(0, 1), sources).view(x.shape[0], -1, half.shape[1])
    return to_picture(rows, *half.shape[2:])[:, :, :height, :width]


# --- attention --------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Dynamic HOG-aware self-attention: sorted by gradients, attended to in two groupings, and sorted back.

    Args:
        channels: C.
        heads: f; divides C.
        bias: Whether the convolutions have a bias.
        patch: Side of a patch.
        bins: Bins of the histogram.

    Attributes:
        order_patches: Decides the order within patches and their histogram; replaceable.
        order_pixels: Decides the global order; replaceable.
    """

    def __init__(self, channels: int, heads: int, *, bias: bool, patch: int = _PATCH, bins: int = _BINS) -> None:
        super().__init__()
        self.heads, self.patch, self.bins = heads, patch, bins
        self.joinable = not bias and has_matrix_unit()  # with a bias the border would differ
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 5 * channels, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(5 * channels, 5 * channels, 3, padding=1, groups=5 * channels, bias=bias)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=bias)
        self.bin_proj = nn.Conv2d(bins, channels // 2, 1, bias=bias)
        self.order_patches: OrderPatches = partial(order_patches, patch=patch, bins=bins)
        self.order_pixels: OrderPixels = order_pixels

    def forward(self, x: Tensor) -> Tensor:
        """Attend within ``(B, C, H, W)``, which is normalised already."""
        channels, height, width = x.shape[1:]
        half = channels // 2
        with torch.autocast(x.device.type, enabled=False):  # orders hang on the last bits of their keys
            order, histogram = self.order_patches(precise(x[:, :half]))
        grid = (-(-height // self.patch), -(-width // self.patch))
        sources = patch_sources(order, grid[0] * self.patch, grid[1] * self.patch, self.patch)
        told = self.bin_proj(histogram.to(x.dtype).transpose(1, 2).reshape(x.shape[0], -1, *grid))
        told = told.contiguous(memory_format=torch.channels_last)
        told = F.interpolate(told, size=(height, width), mode="bilinear", align_corners=False)
        x = torch.cat([_reorder_half(x, sources, self.patch) + told, x[:, half:]], 1)
        x = self._attend_alike(x) if self.heads == 1 else self._attend_sorted(x)
        return torch.cat([_reorder_half(x, invert(sources), self.patch), x[:, half:]], 1)

    def _project(self, x: Tensor) -> Tensor:
        """Return q1, k1, q2, k2, v as ``(B, 5 C, H, W)``."""
        if self.joinable and dense_pays(x, widest=64):
            return F.conv2d(x, self.qkv_dwconv.weight * self.qkv.weight, padding=1)
        return self.qkv_dwconv(self.qkv(x))

    def _attend_alike(self, x: Tensor) -> Tensor:
        """Attend with one head: it sees all pixels alike, so that the order and the grouping cancel."""
        rows = band_rows(x, channels=10 * x.shape[1])
        sums, values = [], []
        for band, own in bands(x, rows=rows, halo=1):
            q1, k1, q2, k2, v = to_rows(self._project(band)[:, :, own])[:, None].chunk(5, 3)
            sums.append((products(q1, k1), products(q2, k2)))
            values.append(v.contiguous())  # alone: a view would keep the band
        first, second = (weigh([both[i] for both in sums], self.temperature) for i in (0, 1))
        width, done = x.shape[3], []
        for v in values:
            product = (mix(v, first) * mix(v, second))[:, 0]
            done.append(self.project_out(to_picture(product, v.shape[2] // width, width)))
        return done[0] if len(done) == 1 else torch.cat(done, 2)

    def _attend_sorted(self, x: Tensor) -> Tensor:
        """Attend with f heads, between groups of pixels that are neighbours in the order, and of every f-th pixel."""
        (channels, height, width), heads = x.shape[1:], self.heads
        qkv = over_bands(self._project, x, rows=band_rows(x, channels=10 * channels), halo=1)
        with torch.autocast(x.device.type, enabled=False):
            order = self.order_pixels(precise(qkv[:, 4 * channels :]))
        rows = to_rows(qkv)
        batch, length = order.shape
        if length % heads:  # zeros behind the last pixel; they stay there
            more = torch.arange(length, length + -length % heads, device=order.device).expand(batch, -1)
            order, rows = torch.cat([order, more], 1), F.pad(rows, (0, 0, 0, more.shape[1]))
        q1, k1, q2, k2, v = group(rows, order, heads)
        first = attend(q1, k1, spread(v, heads), self.temperature)
        second = attend(q2, k2, v, self.temperature)
        product = spread(first, heads, back=True) * second
        done = ungroup(product, order, heads)[:, :length]
        return self.project_out(to_picture(done, height, width))


# --- feed-forward -----------------------------------------------------------------------------------------------------


class FeedForward(nn.Module):
    """Dynamic interaction feed-forward.

    Behind a pixel shuffle, at twice the resolution and on e = hidden / 4 channels each, a branch with a 5x5 convolution
    is gated by one with a 3x3 convolution of dilation 2. Here everything but the former stays at the low resolution,
    as 4 phases of e channels: a convolution of dilation 2 does not leave its phase.

    Args:
        channels: C.
        expansion: Hidden channels over C.
        bias: Whether the convolutions have a bias (``decompose`` always has).

    Raises:
        UsageError: The hidden channels are not a multiple of 4.
    """

    def __init__(self, channels: int, *, expansion: float, bias: bool) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        if hidden % 4:
            raise UsageError(
                f"hogformer: {channels} channels and expansion {expansion} give {hidden} hidden channels; "
                "choose embed_dim and expansion so that they are a multiple of 4"
            )
        inner = hidden // 4
        self.joinable = not bias and has_matrix_unit()  # with a bias the border would differ
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=bias)
        self.dwconv_5 = nn.Conv2d(inner, inner, 5, padding=2, groups=inner, bias=bias)
        self.dwconv_dilated = nn.Conv2d(inner, inner, 3, padding=2, dilation=2, groups=inner, bias=bias)
        self.decompose = nn.Conv2d(inner, 1, 1)
        self.scale = nn.Parameter(torch.full((1, inner, 1, 1), 1e-5))
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``(B, C, H, W)``, which is normalised already."""
        return over_bands(self.transform, x, rows=self.rows(x), halo=1)

    def rows(self, x: Tensor) -> int:
        """Return how many rows of ``(B, C, H, W)`` to transform at a time."""
        return band_rows(x, channels=2 * self.project_out.in_channels)

    def transform(self, x: Tensor) -> Tensor:
        """Transform ``(B, C, H, W)`` in one piece; a pixel sees its neighbours."""
        dense = self.joinable and dense_pays(x, widest=128)
        branches = self._enter_densely(x) if dense else self._enter(x)
        return to_picture(self._leave(*branches), *x.shape[2:])

    def _enter(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return both branches after their convolutions, ``(B, H, W, 2, 2, e)`` and ``(B, L, 4 e)``."""
        batch, _, height, width = x.shape
        inner, rows = self.dwconv_5.in_channels, to_rows(x)
        weights = self.project_in.weight.view(2, inner, 4, -1).transpose(1, 2).reshape(2, 4 * inner, -1)
        biases: tuple[Tensor | None, ...] = (None, None)
        if self.project_in.bias is not None:
            biases = self.project_in.bias.view(2, inner, 4).transpose(1, 2).reshape(2, 4 * inner).unbind()
        gated = F.linear(rows, weights[0], biases[0]).view(batch, height, width, 2, 2, inner)
        gated = gated.transpose(2, 3).reshape(batch, 2 * height, 2 * width, inner).permute(0, 3, 1, 2)
        if gated.device.type == "cpu" and torch.is_grad_enabled():  # the gradient in bfloat16 takes four times as long
            with torch.autocast("cpu", enabled=False):
                gated = self.dwconv_5(precise(gated))
        else:
            gated = self.dwconv_5(gated)
        gated = gated.permute(0, 2, 3, 1).reshape(batch, height, 2, width, 2, inner)
        gate = to_picture(F.linear(rows, weights[1], biases[1]), height, width)
        bias = self.dwconv_dilated.bias
        weight, bias = self.dwconv_dilated.weight.repeat(4, 1, 1, 1), None if bias is None else bias.repeat(4)
        gate = F.conv2d(gate, weight, bias, padding=1, groups=4 * inner)
        return gated.transpose(2, 3), to_rows(gate)

    def _enter_densely(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Do the same with one dense convolution.

        Behind the shuffle a 5x5 convolution sees a window of 6x6 of every phase: 3x3 pixels of 2x2 phases.
        """
        inner = self.dwconv_5.in_channels
        with torch.autocast("cpu", enabled=False):
            enter = self.project_in.weight.view(2, inner, 2, 2, -1)
            windows = [F.pad(self.dwconv_5.weight[:, 0], (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)]
            window = torch.stack(windows).view(4, inner, 3, 2, 3, 2)
            gated = torch.einsum("peyaxb,eabc->pecyx", window, enter[0])
            gate = enter[1].flatten(1, 2).transpose(0, 1)[:, :, :, None, None] * self.dwconv_dilated.weight
            weight = torch.stack([gated, gate]).flatten(0, 2)
        gated, gate = to_rows(F.conv2d(x, weight, padding=1)).chunk(2, 2)
        return gated, gate

    def _leave(self, gated: Tensor, gate: Tensor) -> Tensor:
        """Gate ``(B, ..., e)``, exchange between channels, and project to ``(B, L, C)``; the gate is ``(B, L, 4 e)``.

        With y the gated branch and g = gelu(decompose(y)), one number per phase, y + scale (y - g) is projected: that
        is y times the weights scaled by 1 + scale, less g times a small matrix.
        """
        inner = self.scale.shape[1]
        y = (_mish(gate).view(gated.shape) * gated).reshape(gate.shape)
        phases = y.view(*y.shape[:2], 4, inner)
        mixed = F.gelu(F.linear(phases, self.decompose.weight.view(1, inner), self.decompose.bias))
        weight = self.project_out.weight.view(-1, inner, 4).transpose(1, 2)
        scaled = weight * self.scale.view(inner)
        out = F.linear(y, (weight + scaled).flatten(1), self.project_out.bias)
        return out - F.linear(mixed.flatten(2), scaled.sum(2))


def _mish(x: Tensor) -> Tensor:
    """Return x tanh(softplus(x)).

    With n = e^x (e^x + 2) that is x n / (n + 2): one exponential in place of three transcendental functions, but more
    to keep for a gradient.
    """
    if torch.is_grad_enabled() or x.dtype not in (torch.float32, torch.float64):
        return F.mish(x)
    n = x.clamp(max=20).exp_()
    n.mul_(n + 2)
    return n.div_(n + 2).mul_(x)


# --- blocks -----------------------------------------------------------------------------------------------------------


class Norm(nn.Module):
    """Normalise over the channels of each pixel, without parameters.

    ``with_bias``: (x - mean) / sqrt(variance + 1e-5); ``bias_free``: x / sqrt(variance + 1e-5).
    """

    def __init__(self, kind: NormKind) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)``."""
        if self.kind == "with_bias":
            return F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), eps=1e-5).permute(0, 3, 1, 2)
        return x / torch.sqrt(precise(x).var(1, keepdim=True, correction=0) + 1e-5)


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, channels: int, heads: int, *, expansion: float, bias: bool, norm: NormKind) -> None:
        super().__init__()
        self.norm = Norm(norm)
        self.attention = Attention(channels, heads, bias=bias)
        self.feed_forward = FeedForward(channels, expansion=expansion, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``(B, C, H, W)``."""
        whole = band_rows(x, channels=10 * x.shape[1]) >= x.shape[2] and self.feed_forward.rows(x) >= x.shape[2]
        return (self._transform if whole else uncompiled(self._transform))(x)

    def _transform(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x))
        change = self.feed_forward
        return over_bands(lambda band: band + change.transform(self.norm(band)), x, rows=change.rows(x), halo=1)


class SkipEmbed(nn.Module):
    """Halve the picture and filter it, for the level below: mean of 2x2, 1x1 convolution, depth-wise 3x3."""

    def __init__(self, channels: int, *, bias: bool = False) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1, bias=bias)
        self.filter = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.filter(self.mix(F.avg_pool2d(x, 2)))


def down(channels: int) -> nn.Sequential:
    """Halve the resolution and double the channels."""
    return nn.Sequential(nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))


def up(channels: int) -> nn.Sequential:
    """Double the resolution and halve the channels."""
    return nn.Sequential(nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False), nn.PixelShuffle(2))


# --- the network ------------------------------------------------------------------------------------------------------


class HOGformer(nn.Module):
    """The whole network; the defaults are the released configuration.

    Args:
        out_channels: Channels of the output convolution, 3 or 1 (1 adds the same to all three).
        embed_dim: Channels of the first level; each of the three below has twice as many.
        num_blocks: Blocks of the levels; the decoder mirrors the first three.
        num_refinement_blocks: Blocks after the decoder.
        num_heads: Heads of the levels.
        expansion: Hidden channels of the feed-forward over its channels.
        bias: Whether the convolutions of the blocks have a bias.
        norm: ``"with_bias"`` subtracts the mean, ``"bias_free"`` does not.

    Raises:
        UsageError: ``int(channels * expansion)`` of a level is not a multiple of 4.
    """

    def __init__(
        self,
        *,
        out_channels: int = 3,
        embed_dim: int = 36,
        num_blocks: tuple[int, int, int, int] = (4, 4, 6, 8),
        num_refinement_blocks: int = 4,
        num_heads: tuple[int, int, int, int] = (1, 2, 4, 8),
        expansion: float = 2.667,
        bias: bool = False,
        norm: NormKind = "with_bias",
    ) -> None:
        super().__init__()

        def blocks(channels: int, count: int, heads: int) -> nn.Sequential:
            return nn.Sequential(
                *(Block(channels, heads, expansion=expansion, bias=bias, norm=norm) for _ in range(count))
            )

        def merge(channels: int) -> nn.Conv2d:
            return nn.Conv2d(channels + 3, channels, 1, bias=bias)

        d = embed_dim
        self.patch_embed = nn.Conv2d(3, d, 3, padding=1, bias=False)
        self.encoder1 = blocks(d, num_blocks[0], num_heads[0])
        self.down1, self.skip1, self.merge1 = down(d), SkipEmbed(3), merge(2 * d)
        self.encoder2 = blocks(2 * d, num_blocks[1], num_heads[1])
        self.down2, self.skip2, self.merge2 = down(2 * d), SkipEmbed(3), merge(4 * d)
        self.encoder3 = blocks(4 * d, num_blocks[2], num_heads[2])
        self.down3, self.skip3, self.merge3 = down(4 * d), SkipEmbed(3), merge(8 * d)
        self.latent = blocks(8 * d, num_blocks[3], num_heads[3])
        self.up3, self.fuse3 = up(8 * d), nn.Conv2d(8 * d, 4 * d, 1, bias=bias)
        self.decoder3 = blocks(4 * d, num_blocks[2], num_heads[2])
        self.up2, self.fuse2 = up(4 * d), nn.Conv2d(4 * d, 2 * d, 1, bias=bias)
        self.decoder2 = blocks(2 * d, num_blocks[1], num_heads[1])
        self.up1 = up(2 * d)
        self.decoder1 = blocks(2 * d, num_blocks[0], num_heads[0])
        self.refinement = blocks(2 * d, num_refinement_blocks, num_heads[0])
        self.output = nn.Conv2d(2 * d, out_channels, 3, padding=1, bias=bias)

    def forward(self, image: Tensor) -> Tensor:
        """Restore a picture.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1]; H and W multiples of 8.

        Returns:
            ``(B, 3, H, W)``, not clamped.
        """
        first = self.encoder1(self.patch_embed(image.contiguous(memory_format=torch.channels_last)))
        small = self.skip1(image)
        second = self.encoder2(self.merge1(torch.cat([self.down1(first), small], 1)))
        small = self.skip2(small)
        third = self.encoder3(self.merge2(torch.cat([self.down2(second), small], 1)))
        small = self.skip3(small)
        x = self.latent(self.merge3(torch.cat([self.down3(third), small], 1)))
        x = self.decoder3(self.fuse3(torch.cat([self.up3(x), third], 1)))
        x = self.decoder2(self.fuse2(torch.cat([self.up2(x), second], 1)))
        x = self.refinement(self.decoder1(torch.cat([self.up1(x), first], 1)))
        return self.output(x) + image


class HOGformerTiny(ConvUNet):
    """A small relative: HOG transformer blocks on a convolutional trunk.

    Attention at full resolution is what makes the network slow on a processor and slow to learn. Here dense
    convolutions (``ConvUNet``) do the work at half resolution, and the transformer blocks stand where pixels are few:
    at a quarter of the resolution, on the way down and up, and at an eighth. The blocks start as the identity.

    Args:
        width: Channels of the first level; each level below has twice as many.
        encoder_blocks: Residual blocks of each level, first to last but one.
        middle_blocks: Residual blocks of the lowest level.
        decoder_blocks: Residual blocks of each level on the way up, listed from the first level downwards.
        shuffle: Side of the pixel un-shuffle in front of the first level.
        num_blocks: Transformer blocks of each level, the lowest last; each decoder level has as many as its encoder's.
        num_heads: Heads of each level.
        expansion: Hidden channels of the feed-forward over its channels.
    """

    def __init__(
        self,
        *,
        width: int = 48,
        encoder_blocks: tuple[int, ...] = (2, 2),
        middle_blocks: int = 2,
        decoder_blocks: tuple[int, ...] = (2, 2),
        shuffle: int = 2,
        num_blocks: tuple[int, ...] = (0, 1, 2),
        num_heads: tuple[int, ...] = (1, 2, 2),
        expansion: float = 2.667,
    ) -> None:
        def further(channels: int, level: int) -> list[nn.Module]:
            heads = num_heads[level]
            blocks = [
                Block(channels, heads, expansion=expansion, bias=False, norm="with_bias")
                for _ in range(num_blocks[level])
            ]
            for block in blocks:
                nn.init.zeros_(block.attention.project_out.weight)
                nn.init.zeros_(block.feed_forward.project_out.weight)
            return list(blocks)

        super().__init__(
            width=width,
            encoder_blocks=encoder_blocks,
            middle_blocks=middle_blocks,
            decoder_blocks=decoder_blocks,
            shuffle=shuffle,
            further=further,
        )


# --- the authors' names -----------------------------------------------------------------------------------------------

CONFIG_MAP: dict[str, str | None] = {
    "inp_channels": None,
    "out_channels": "out_channels",
    "dim": "embed_dim",
    "num_blocks": "num_blocks",
    "num_refinement_blocks": "num_refinement_blocks",
    "heads": "num_heads",
    "ffn_expansion_factor": "expansion",
    "bias": "bias",
    "LayerNorm_type": "norm",
    "dual_pixel_task": None,
}
"""Authors' argument -> ours; ``None``: three channels always, and a convolution that is never used."""

KEY_MAP: tuple[tuple[str, str], ...] = (
    ("attn_g_spatial.", "attention."),
    ("ffn.", "feed_forward."),
    ("sigma.scale", "scale"),
    ("dwconv_dilated2_1.", "dwconv_dilated."),
    ("patch_embed.proj.", "patch_embed."),
    *((f"skip_patch_embed{n}.proj.1.", f"skip{n}.mix.") for n in (1, 2, 3)),
    *((f"skip_patch_embed{n}.proj.2.", f"skip{n}.filter.") for n in (1, 2, 3)),
    *((f"{side}_level{n}.", f"{side}{n}.") for side in ("encoder", "decoder") for n in (1, 2, 3)),
    *((f"down{n}_{n + 1}.body.", f"down{n}.") for n in (1, 2, 3)),
    *((f"up{n + 1}_{n}.body.", f"up{n}.") for n in (1, 2, 3)),
    *((f"reduce_chan_level_{n}.", f"merge{n}.") for n in (1, 2, 3)),
    *((f"reduce_chan_level{n}.", f"fuse{n}.") for n in (2, 3)),
)
"""Authors' part of a key -> ours, at the start of the key or after a dot."""

_SOBEL_X = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
_SOBEL = {"sobel_x": _SOBEL_X, "sobel_y": _SOBEL_X.t()}
_UNUSED = ("cri_HOGloss.", "skip_conv.")


def convert(authors: StateDict) -> StateDict:
    """Rename the authors' state dict (either code base) to ours.

    Their constant Sobel kernels are checked and dropped, as are the buffers of the loss and the convolution that
    ``dual_pixel_task`` adds and nothing uses. Keys that are not known keep their names.

    Raises:
        ValueError: A stored kernel is not Sobel's.
    """
    ours: StateDict = {}
    for key, value in authors.items():
        kernel = _SOBEL.get(key.rsplit(".", 1)[-1])
        if kernel is not None:
            if not torch.equal(value.float(), kernel.expand_as(value)):
                raise ValueError(f"{key} is not Sobel's kernel; this is no checkpoint of HOGformer")
        elif not key.startswith(_UNUSED):
            ours[our_key(key)] = value
    return ours


def revert(ours: StateDict) -> StateDict:
    """Rename our state dict to the authors', with their Sobel kernels; the inverse of ``convert``."""
    authors: StateDict = {}
    for key, value in ours.items():
        name = authors_key(key)
        authors[name] = value
        if name.endswith("temperature"):
            channels = ours[key.removesuffix("temperature") + "qkv.weight"].shape[1]
            for kernel, values in _SOBEL.items():
                authors[name.removesuffix("temperature") + kernel] = values.expand(channels, 1, 3, 3).clone()
    return authors


def our_key(key: str) -> str:
    """Rename one of the authors' keys, or the beginning of one, to ours."""
    return _rename(key, KEY_MAP)


def authors_key(key: str) -> str:
    """Rename one of our keys, or the beginning of one, to the authors'."""
    return _rename(key, tuple((ours, authors) for authors, ours in KEY_MAP))


def _rename(key: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        key = re.sub(rf"(^|(?<=\.)){re.escape(old)}", new, key)
    return key


register_model(
    ModelSpec(
        name="hogformer",
        task="restore",
        network=HOGformer,
        variants={
            "hogformer-all-weather": {},
            "hogformer-natural": {},
            "hogformer-tiny": {},
            "hogformer-test": {"embed_dim": 12, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1},
        },
        networks={"hogformer-tiny": HOGformerTiny},
        default_variant="hogformer-tiny",
        size=SizeRule(minimum=16, multiple_of=16),
        paper="HOGformer (Wu et al., AAAI 2026, arXiv 2504.09377)",
        licence="MIT",
        config_map=CONFIG_MAP,
        convert=convert,
        revert=revert,
    )
)
