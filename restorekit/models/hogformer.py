"""HOGformer: a transformer that sorts pixels by their gradients before it attends.

Paper: Wu, Yang, Wang, Jin, "Gradient as Conditions: Rethinking HOG for All-in-one Image Restoration", AAAI 2026 (arXiv
2504.09377). Authors' code: Fire-friend/HOGformer, MIT licence; none is stated for their weights. Written from the paper
and a description of the released networks; gives their numbers.

Deviations, none of which changes the result of a released configuration: one order per patch and not one per channel;
no global order where there is one head (it cancels); the histogram by one scatter; the feed-forward at the low
resolution (a depth-wise convolution of dilation 2 behind a pixel shuffle stays within its phase); features in
channels-last, where a norm, a gather and a 1x1 convolution read memory in order. The authors' sort is not stable, ours is.

``HOGformerTiny`` is this project's own small relative: the same transformer blocks on a convolutional trunk.

Shapes: B pictures, C channels, L = H W pixels, P patches of 8x8, f heads.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from restorekit.errors import UsageError
from restorekit.models._blocks import ConvUNet
from restorekit.models._spec import ModelSpec, SizeRule, StateDict, register_model
from restorekit.ops.hog import magnitude_and_turn

__all__ = ["HOGformer", "order_patches", "order_pixels"]

_PATCH = 8
_BINS = 9
NormKind = Literal["with_bias", "bias_free"]
OrderPatches = Callable[[Tensor], tuple[Tensor, Tensor]]
OrderPixels = Callable[[Tensor], Tensor]


# --- the two orders ---------------------------------------------------------------------------------------------------


def order_patches(x: Tensor) -> tuple[Tensor, Tensor]:
    """Order the pixels of every 8x8 patch by their gradients, and describe the patch by their histogram.

    Args:
        x: ``(B, c, H, W)`` float32.

    Returns:
        The ascending order ``(B, P, 64)`` of the positions of each patch, patches and positions row by row, and the
        normalised histogram ``(B, P, 9)``. Where H or W is no multiple of 8, zeros fill the last patches, and as their
        key is the smallest they come first.
    """
    strength, turn = magnitude_and_turn(x, eps=1e-6)
    bins = torch.floor(turn * _BINS) % _BINS
    key = (strength * (bins + 1)).sum(1, keepdim=True)
    by_bin = strength.new_zeros((x.shape[0], _BINS, *x.shape[2:])).scatter_add(1, bins.long(), strength)
    whole = _fill_patches(torch.cat([key, by_bin], 1))
    order = _to_patches(whole[:, 0].detach()).sort(dim=-1, stable=True).indices
    histogram = F.avg_pool2d(whole[:, 1:], _PATCH).flatten(2).transpose(1, 2) / x.shape[1]
    return order, histogram / (histogram.sum(-1, keepdim=True) + 1e-8)


def order_pixels(v: Tensor) -> Tensor:
    """Order all pixels by strength and direction of their gradients.

    Args:
        v: ``(B, C, H, W)`` float32.

    Returns:
        ``(B, L)``: ascending order of the pixels, row by row.
    """
    strength, turn = magnitude_and_turn(v, eps=1e-6)
    return (strength * turn).sum(1).flatten(1).sort(dim=-1, stable=True).indices


def _fill_patches(x: Tensor) -> Tensor:
    """Append zeros at the bottom and right until ``(B, C, H, W)`` consists of whole patches."""
    bottom, right = -x.shape[2] % _PATCH, -x.shape[3] % _PATCH
    return F.pad(x, (0, right, 0, bottom)) if bottom or right else x


def _to_patches(x: Tensor) -> Tensor:
    """Cut ``(B, H, W)`` into ``(B, P, 64)``."""
    batch, height, width = x.shape
    x = x.reshape(batch, height // _PATCH, _PATCH, width // _PATCH, _PATCH)
    return x.transpose(2, 3).reshape(batch, -1, _PATCH * _PATCH)


def _patch_sources(order: Tensor, height: int, width: int) -> Tensor:
    """Turn orders within patches ``(B, P, 64)`` into the pixel that each pixel of ``(H, W)`` receives, ``(B, L)``."""
    places = _to_patches(torch.arange(height * width, device=order.device).reshape(1, height, width))
    places = places.expand(order.shape[0], -1, -1)
    rows, columns = height // _PATCH, width // _PATCH
    received = places.gather(2, order).reshape(-1, rows, columns, _PATCH, _PATCH)
    return received.transpose(2, 3).reshape(order.shape[0], -1)


def _invert(order: Tensor) -> Tensor:
    """Invert permutations ``(B, L)``."""
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def _take(rows: Tensor, order: Tensor) -> Tensor:
    """Take rows of ``(B, L, C)`` in an order ``(B, L)``; a row is one stretch of memory."""
    batch, length, channels = rows.shape
    offsets = torch.arange(batch, device=order.device)[:, None] * length
    return rows.reshape(-1, channels).index_select(0, (order + offsets).flatten()).view(batch, length, channels)


def _rows(x: Tensor) -> Tensor:
    """View ``(B, C, H, W)`` as ``(B, L, C)``; free of cost in channels-last."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1])


def _picture(rows: Tensor, height: int, width: int) -> Tensor:
    """View ``(B, L, C)`` as ``(B, C, H, W)`` in channels-last."""
    return rows.view(rows.shape[0], height, width, -1).permute(0, 3, 1, 2)


def _reorder_half(x: Tensor, sources: Tensor) -> Tensor:
    """Move the pixels of the first half of the channels of ``(B, C, H, W)``; sources ``(B, L)`` of the padded picture."""
    height, width = x.shape[2:]
    half = _fill_patches(x[:, : x.shape[1] // 2])
    moved = _picture(_take(_rows(half), sources), *half.shape[2:])
    return moved[:, :, :height, :width]


# --- blocks -----------------------------------------------------------------------------------------------------------


class _Norm(nn.Module):
    """Normalise over the channels of each pixel, without parameters.

    ``with_bias``: (x - mean) / sqrt(variance + 1e-5); ``bias_free``: x / sqrt(variance + 1e-5).
    """

    def __init__(self, kind: NormKind) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "with_bias":
            return F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), eps=1e-5).permute(0, 3, 1, 2)
        return x / torch.sqrt(x.float().var(1, keepdim=True, correction=0) + 1e-5)


class _Attention(nn.Module):
    """Dynamic HOG-aware self-attention: sorted by gradients, attended to in two groupings, and sorted back.

    Attributes:
        order_patches: Decides the order within patches and their histogram; replaceable.
        order_pixels: Decides the global order; replaceable.
    """

    def __init__(self, channels: int, heads: int, *, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 5 * channels, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(5 * channels, 5 * channels, 3, padding=1, groups=5 * channels, bias=bias)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=bias)
        self.bin_proj = nn.Conv2d(_BINS, channels // 2, 1, bias=bias)
        self.order_patches: OrderPatches = order_patches
        self.order_pixels: OrderPixels = order_pixels

    def forward(self, x: Tensor) -> Tensor:
        channels, height, width = x.shape[1:]
        half = channels // 2
        with torch.autocast(x.device.type, enabled=False):  # orders hang on the last bits of their keys
            order, histogram = self.order_patches(x[:, :half].float())
        padded = (height + -height % _PATCH, width + -width % _PATCH)
        sources = _patch_sources(order, *padded)
        told = self.bin_proj(histogram.transpose(1, 2).unflatten(2, (padded[0] // _PATCH, padded[1] // _PATCH)))
        told = F.interpolate(told, size=(height, width), mode="bilinear", align_corners=False)
        x = torch.cat([_reorder_half(x, sources) + told, x[:, half:]], 1)
        x = self._attend(self.qkv_dwconv(self.qkv(x.contiguous(memory_format=torch.channels_last))))
        x = self.project_out(x)
        return torch.cat([_reorder_half(x, _invert(sources)), x[:, half:]], 1)

    def _attend(self, qkv: Tensor) -> Tensor:
        """Attend in both groupings and multiply the results, ``(B, 5 C, H, W)`` -> ``(B, C, H, W)``."""
        height, width = qkv.shape[2:]
        channels = qkv.shape[1] // 5
        rows = _rows(qkv)
        if self.heads == 1:  # one head sees all pixels alike: the order and the grouping cancel
            return _picture(self._both(rows, channels), height, width)
        with torch.autocast(qkv.device.type, enabled=False):
            order = self.order_pixels(qkv[:, 4 * channels :].float())
        length = rows.shape[1]
        rows = F.pad(_take(rows, order), (0, 0, 0, -length % self.heads))
        done = self._both(rows, channels)[:, :length]
        return _picture(_take(done.contiguous(), _invert(order)), height, width)

    def _both(self, rows: Tensor, channels: int) -> Tensor:
        q1, k1, q2, k2, v = rows.split(channels, 2)
        first = _attend_heads(*(_group(t, self.heads, near=True) for t in (q1, k1, v)), self.temperature)
        second = _attend_heads(*(_group(t, self.heads, near=False) for t in (q2, k2, v)), self.temperature)
        return _ungroup(first, self.heads, near=True) * _ungroup(second, self.heads, near=False)


def _group(rows: Tensor, heads: int, *, near: bool) -> Tensor:
    """Group sorted pixels ``(B, L, C)`` into matrices ``(B, f, L / f, C)``, one per head.

    A head owns C / f channels; its matrix has a column for each of them in each of f groups of pixels. ``near``: a group
    is a stretch of neighbours in the order; else every f-th pixel.
    """
    batch, length, channels = rows.shape
    if heads == 1:
        return rows.view(batch, 1, length, channels)
    if near:
        grid = rows.reshape(batch, heads, length // heads, heads, channels // heads).permute(0, 3, 2, 1, 4)
    else:
        grid = rows.reshape(batch, length // heads, heads, heads, channels // heads).permute(0, 3, 1, 2, 4)
    return grid.reshape(batch, heads, length // heads, channels)


def _ungroup(matrix: Tensor, heads: int, *, near: bool) -> Tensor:
    """Undo ``_group``."""
    batch, _, count, channels = matrix.shape
    grid = matrix.view(batch, heads, count, heads, channels // heads)
    grid = grid.permute(0, 3, 2, 1, 4) if near else grid.permute(0, 2, 3, 1, 4)
    return grid.reshape(batch, count * heads, channels)


def _attend_heads(q: Tensor, k: Tensor, v: Tensor, temperature: Tensor) -> Tensor:
    """Attend between columns of ``(B, f, n, C)``; the weights of a column sum to less than one (the softmax has a + 1)."""
    across_q, across_k = temperature / _length(q), 1 / _length(k)
    if q.shape[2] < q.shape[3]:  # scale whichever is smaller, the columns or the matrix of their products
        weights = ((q * across_q).to(q.dtype).transpose(2, 3) @ (k * across_k).to(k.dtype)).float()
    else:
        weights = (q.transpose(2, 3) @ k).float() * across_q.transpose(2, 3) * across_k
    weights = weights.exp()
    return (v @ weights.transpose(2, 3).to(v.dtype)) / (1 + weights.sum(-1)[:, :, None])


def _length(x: Tensor) -> Tensor:
    """Return the lengths of the columns of ``(B, f, n, C)``, ``(B, f, 1, C)``, at least 1e-12."""
    return torch.linalg.vector_norm(x, dim=2, keepdim=True, dtype=torch.float32).clamp_min(1e-12)


class _FeedForward(nn.Module):
    """Dynamic interaction feed-forward.

    It works behind a pixel shuffle, at twice the resolution, on e = hidden / 4 channels for each of two branches. Here
    only the 5x5 convolution goes there; all else is the same in the four phases and stays at the low resolution, as
    4 e channels.
    """

    def __init__(self, channels: int, hidden: int, *, bias: bool) -> None:
        super().__init__()
        inner = hidden // 4
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=bias)
        self.dwconv_5 = nn.Conv2d(inner, inner, 5, padding=2, groups=inner, bias=bias)
        self.dwconv_dilated = nn.Conv2d(inner, inner, 3, padding=2, dilation=2, groups=inner, bias=bias)
        self.decompose = nn.Conv2d(inner, 1, 1)
        self.scale = nn.Parameter(torch.full((1, inner, 1, 1), 1e-5))
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        gated, gate = self.project_in(x).chunk(2, 1)
        # processors are four times slower at the gradient of a depth-wise 5x5 in bfloat16 than in float32
        slow = gated.device.type == "cpu" and torch.is_grad_enabled()
        with torch.autocast(gated.device.type, enabled=torch.is_autocast_enabled(gated.device.type) and not slow):
            gated = gated.float() if slow else gated
            gated = F.pixel_unshuffle(self.dwconv_5(F.pixel_shuffle(gated, 2)), 2)
        y = F.mish(self._dilated(gate)) * gated
        y = self._exchange(y)
        return self.project_out(y)

    def _dilated(self, x: Tensor) -> Tensor:
        """Convolve at dilation 2 behind the shuffle: without dilation in front of it, each channel four times."""
        bias = self.dwconv_dilated.bias
        return F.conv2d(
            x,
            self.dwconv_dilated.weight.repeat_interleave(4, 0),
            None if bias is None else bias.repeat_interleave(4, 0),
            padding=1,
            groups=x.shape[1],
        )

    def _exchange(self, y: Tensor) -> Tensor:
        """Add scale (y - gelu(decompose(y))), where ``decompose`` mixes the channels of each phase into one."""
        inner = self.scale.shape[1]
        phases = torch.eye(4, dtype=y.dtype, device=y.device)
        weight = (self.decompose.weight.view(inner, 1, 1).to(y.dtype) * phases).view(4 * inner, 4)
        bias = self.decompose.bias
        assert bias is not None
        mixed = F.gelu(F.conv2d(y, weight.t()[:, :, None, None], bias.repeat(4))).repeat(1, inner, 1, 1)
        return y + self.scale.repeat_interleave(4, 1) * (y - mixed)


class _Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, channels: int, heads: int, *, expansion: float, bias: bool, norm: NormKind) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        if hidden % 4:
            raise UsageError(f"hogformer: int({channels} * {expansion}) is {hidden}; choose embed_dim and expansion so that it is a multiple of 4")
        self.norm = _Norm(norm)
        self.attention = _Attention(channels, heads, bias=bias)
        self.feed_forward = _FeedForward(channels, hidden, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x))
        return x + self.feed_forward(self.norm(x))


class _SkipEmbed(nn.Module):
    """Halve the picture and filter it, for the level below: mean of 2x2, 1x1 convolution, depth-wise 3x3."""

    def __init__(self, channels: int, *, bias: bool) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1, bias=bias)
        self.filter = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.filter(self.mix(F.avg_pool2d(x, 2)))


def _down(channels: int) -> nn.Sequential:
    """Halve the resolution and double the channels."""
    return nn.Sequential(nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))


def _up(channels: int) -> nn.Sequential:
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
            return nn.Sequential(*(_Block(channels, heads, expansion=expansion, bias=bias, norm=norm) for _ in range(count)))

        d = embed_dim
        self.patch_embed = nn.Conv2d(3, d, 3, padding=1, bias=False)
        self.encoder1 = blocks(d, num_blocks[0], num_heads[0])
        self.down1, self.skip1, self.merge1 = _down(d), _SkipEmbed(3, bias=bias), nn.Conv2d(2 * d + 3, 2 * d, 1, bias=bias)
        self.encoder2 = blocks(2 * d, num_blocks[1], num_heads[1])
        self.down2, self.skip2, self.merge2 = _down(2 * d), _SkipEmbed(3, bias=bias), nn.Conv2d(4 * d + 3, 4 * d, 1, bias=bias)
        self.encoder3 = blocks(4 * d, num_blocks[2], num_heads[2])
        self.down3, self.skip3, self.merge3 = _down(4 * d), _SkipEmbed(3, bias=bias), nn.Conv2d(8 * d + 3, 8 * d, 1, bias=bias)
        self.latent = blocks(8 * d, num_blocks[3], num_heads[3])
        self.up3, self.fuse3 = _up(8 * d), nn.Conv2d(8 * d, 4 * d, 1, bias=bias)
        self.decoder3 = blocks(4 * d, num_blocks[2], num_heads[2])
        self.up2, self.fuse2 = _up(4 * d), nn.Conv2d(4 * d, 2 * d, 1, bias=bias)
        self.decoder2 = blocks(2 * d, num_blocks[1], num_heads[1])
        self.up1 = _up(2 * d)
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
        return self.output(x).float() + image


class HOGformerTiny(ConvUNet):
    """A small relative: HOG transformer blocks on a convolutional trunk.

    Attention at full resolution is what makes the network slow on a processor and slow to learn. Here dense
    convolutions (``ConvUNet``) do the work at half resolution, and the transformer blocks stand where pixels are few: at
    a quarter of the resolution, on the way down and up, and at an eighth. The blocks start as the identity.

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
            blocks = [_Block(channels, heads, expansion=expansion, bias=False, norm="with_bias") for _ in range(num_blocks[level])]
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
            ours[_rename(key, KEY_MAP)] = value
    return ours


def revert(ours: StateDict) -> StateDict:
    """Rename our state dict to the authors', with their Sobel kernels; the inverse of ``convert``."""
    authors: StateDict = {}
    back = tuple((new, old) for old, new in KEY_MAP)
    for key, value in ours.items():
        name = _rename(key, back)
        authors[name] = value
        if name.endswith("temperature"):
            channels = ours[key.removesuffix("temperature") + "qkv.weight"].shape[1]
            for kernel, values in _SOBEL.items():
                authors[name.removesuffix("temperature") + kernel] = values.expand(channels, 1, 3, 3).clone()
    return authors


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
