"""HOGformer as its authors compute it, step by step: what our network is compared with in numbers, time and memory.

A literal transcription of the description of the released network, with the authors' arguments and keys. Where they
take a detour (nine masked passes over the bins, one sort order per channel, five gathers, a channel shuffle that moves
nothing, mean and variance on their own), this takes it as well; nothing is slowed down beyond that.
"""
# ruff: noqa: N803 (the authors' arguments)

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PlainAttention", "PlainFeedForward", "PlainHOGformer"]


class _LayerNorm(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.with_bias = kind == "WithBias"

    def forward(self, x: Tensor) -> Tensor:
        variance = x.var(1, keepdim=True, unbiased=False)
        if self.with_bias:
            mean = x.mean(1, keepdim=True)
            return (x - mean) / torch.sqrt(variance + 1e-5)
        return x / torch.sqrt(variance + 1e-5)


def _cut(x: Tensor, size: int) -> tuple[Tensor, int, int]:
    """Cut ``(B, C, H, W)`` into ``(B, C, P, size * size)``, zeros at the bottom and right."""
    batch, channels, height, width = x.shape
    x = F.pad(x, (0, -width % size, 0, -height % size))
    rows, columns = x.shape[2] // size, x.shape[3] // size
    x = x.view(batch, channels, rows, size, columns, size).permute(0, 1, 2, 4, 3, 5)
    return x.reshape(batch, channels, rows * columns, size * size), rows, columns


def _paste(x: Tensor, size: int, rows: int, columns: int, height: int, width: int) -> Tensor:
    """Undo ``_cut``."""
    batch, channels = x.shape[:2]
    x = x.view(batch, channels, rows, columns, size, size).permute(0, 1, 2, 4, 3, 5)
    return x.reshape(batch, channels, rows * size, columns * size)[:, :, :height, :width]


class PlainAttention(nn.Module):
    """Dynamic HOG-aware self-attention, with the descriptor and the sorting of patches inside."""

    def __init__(self, *, dim: int, num_heads: int, bias: bool, patch_size: int = 8, n_bins: int = 9) -> None:
        super().__init__()
        self.num_heads, self.patch_size, self.n_bins = num_heads, patch_size, n_bins
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.qkv = nn.Conv2d(dim, 5 * dim, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(5 * dim, 5 * dim, 3, padding=1, groups=5 * dim, bias=bias)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=bias)
        self.bin_proj = nn.Conv2d(n_bins, dim // 2, 1, bias=bias)
        kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
        self.register_buffer("sobel_x", kernel.expand(dim, 1, 3, 3).clone())
        self.register_buffer("sobel_y", kernel.t().expand(dim, 1, 3, 3).clone())

    def _gradients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        channels = x.shape[1]
        gx = F.conv2d(x, self.get_buffer("sobel_x")[:channels], padding=1, groups=channels)
        gy = F.conv2d(x, self.get_buffer("sobel_y")[:channels], padding=1, groups=channels)
        return torch.sqrt(gx**2 + gy**2 + 1e-6), torch.atan2(gy, gx)

    def _histogram(self, magnitude: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
        """One masked pass per bin, over ``(B, c, P, n)``: histogram and weighted magnitudes."""
        batch, channels, patches, count = magnitude.shape
        histogram = torch.zeros(batch, patches, self.n_bins, dtype=torch.float32, device=magnitude.device)
        weighted = torch.zeros_like(magnitude)
        for i in range(self.n_bins):
            masked = magnitude * (bins == i).float()
            histogram[:, :, i] = masked.sum(dim=(1, 3)) / (channels * count)
            weighted = weighted + masked * (i + 1)
        return histogram / (histogram.sum(-1, keepdim=True) + 1e-8), weighted

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        size, half = self.patch_size, channels // 2
        u = x[:, :half]
        magnitude, angle = self._gradients(u)
        bins = torch.floor(((angle + math.pi) / (2 * math.pi)) * self.n_bins) % self.n_bins
        patches, rows, columns = _cut(u, size)
        histogram, weighted = self._histogram(_cut(magnitude, size)[0], _cut(bins, size)[0])
        order = torch.argsort(weighted.sum(1), dim=-1)
        order = order.unsqueeze(1).expand(-1, half, -1, -1).contiguous()
        u = _paste(torch.gather(patches, 3, order), size, rows, columns, height, width)
        told = self.bin_proj(histogram.permute(0, 2, 1).reshape(batch, self.n_bins, rows, columns))
        told = F.interpolate(told, size=(height, width), mode="bilinear", align_corners=False)
        x = torch.cat([u + told, x[:, half:]], 1)

        q1, k1, q2, k2, v = self.qkv_dwconv(self.qkv(x)).chunk(5, 1)
        magnitude, angle = self._gradients(v)
        key = (magnitude * ((angle + math.pi) / (2 * math.pi))).sum(1).view(batch, -1)
        index = torch.argsort(key, dim=-1).unsqueeze(1).expand(-1, channels, -1).contiguous()
        q1, k1, q2, k2, v = (torch.gather(t.reshape(batch, channels, -1), 2, index) for t in (q1, k1, q2, k2, v))
        first = self._attend(q1, k1, v, contiguous=True)
        second = self._attend(q2, k2, v, contiguous=False)
        first = torch.zeros_like(first).scatter_(2, index, first)
        second = torch.zeros_like(second).scatter_(2, index, second)
        x = self.project_out((first * second).view(batch, channels, height, width))

        patches = _cut(x[:, :half], size)[0]
        patches = torch.zeros_like(patches).scatter_(3, order, patches)
        return torch.cat([_paste(patches, size, rows, columns, height, width), x[:, half:]], 1)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, *, contiguous: bool) -> Tensor:
        batch, channels, length = v.shape
        f = self.num_heads
        q, k, v = (self._group(F.pad(t, (0, -length % f)), contiguous=contiguous) for t in (q, k, v))
        weights = torch.exp((F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)) * self.temperature)
        weights = weights / (weights.sum(-1, keepdim=True) + 1)
        done = (weights @ v).view(batch, f, channels // f, f, -1)
        done = done if contiguous else done.transpose(3, 4)
        return done.reshape(batch, channels, -1)[:, :, :length]

    def _group(self, x: Tensor, *, contiguous: bool) -> Tensor:
        """``(B, C, L)`` to ``(B, f, C / f * f, L / f)``."""
        batch, channels, length = x.shape
        f = self.num_heads
        if contiguous:
            x = x.view(batch, f, channels // f, f, length // f)
        else:
            x = x.view(batch, f, channels // f, length // f, f).transpose(3, 4)
        return x.reshape(batch, f, channels, length // f)


class _Scale(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1, channels, 1, 1), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


class PlainFeedForward(nn.Module):
    """Dynamic interaction feed-forward."""

    def __init__(self, *, dim: int, ffn_expansion_factor: float, bias: bool) -> None:
        super().__init__()
        hidden = int(dim * ffn_expansion_factor)
        inner = hidden // 4
        self.project_in = nn.Conv2d(dim, 2 * hidden, 1, bias=bias)
        self.dwconv_5 = nn.Conv2d(inner, inner, 5, padding=2, groups=inner, bias=bias)
        self.dwconv_dilated2_1 = nn.Conv2d(inner, inner, 3, padding=2, dilation=2, groups=inner, bias=bias)
        self.shuffle, self.unshuffle = nn.PixelShuffle(2), nn.PixelUnshuffle(2)
        self.channel_shuffle = nn.ChannelShuffle(1)
        self.decompose = nn.Conv2d(inner, 1, 1)
        self.sigma = _Scale(inner)
        self.project_out = nn.Conv2d(hidden, dim, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.channel_shuffle(self.shuffle(self.project_in(x)))
        first, second = x.chunk(2, 1)
        x = F.mish(self.dwconv_dilated2_1(second)) * self.dwconv_5(first)
        x = x + self.sigma(x - F.gelu(self.decompose(x)))
        return self.project_out(self.unshuffle(x))


class _Block(nn.Module):
    def __init__(
        self, *, dim: int, num_heads: int, ffn_expansion_factor: float, bias: bool, LayerNorm_type: str
    ) -> None:
        super().__init__()
        self.norm_g, self.norm_ff = _LayerNorm(LayerNorm_type), _LayerNorm(LayerNorm_type)
        self.attn_g_spatial = PlainAttention(dim=dim, num_heads=num_heads, bias=bias)
        self.ffn = PlainFeedForward(dim=dim, ffn_expansion_factor=ffn_expansion_factor, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn_g_spatial(self.norm_g(x))
        return x + self.ffn(self.norm_ff(x))


class _Body(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


class _PatchEmbed(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x)
        return out


class _SkipPatchEmbed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        mix, each = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False)
        self.proj = nn.Sequential(nn.AvgPool2d(2), mix, each)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x)
        return out


def _down(dim: int) -> _Body:
    return _Body(nn.Conv2d(dim, dim // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))


def _up(dim: int) -> _Body:
    return _Body(nn.Conv2d(dim, 2 * dim, 3, padding=1, bias=False), nn.PixelShuffle(2))


class PlainHOGformer(nn.Module):
    """The whole network, with the authors' arguments; the defaults are the released configuration."""

    def __init__(
        self,
        *,
        dim: int = 36,
        num_blocks: tuple[int, ...] = (4, 4, 6, 8),
        num_refinement_blocks: int = 4,
        heads: tuple[int, ...] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.667,
        bias: bool = False,
        LayerNorm_type: str = "WithBias",
    ) -> None:
        super().__init__()

        def level(dim: int, count: int, head: int) -> nn.Sequential:
            settings = {"ffn_expansion_factor": ffn_expansion_factor, "bias": bias, "LayerNorm_type": LayerNorm_type}
            return nn.Sequential(*(_Block(dim=dim, num_heads=head, **settings) for _ in range(count)))  # type: ignore[arg-type]

        self.patch_embed = _PatchEmbed(dim)
        self.encoder_level1 = level(dim, num_blocks[0], heads[0])
        self.down1_2, self.skip_patch_embed1 = _down(dim), _SkipPatchEmbed()
        self.reduce_chan_level_1 = nn.Conv2d(2 * dim + 3, 2 * dim, 1, bias=bias)
        self.encoder_level2 = level(2 * dim, num_blocks[1], heads[1])
        self.down2_3, self.skip_patch_embed2 = _down(2 * dim), _SkipPatchEmbed()
        self.reduce_chan_level_2 = nn.Conv2d(4 * dim + 3, 4 * dim, 1, bias=bias)
        self.encoder_level3 = level(4 * dim, num_blocks[2], heads[2])
        self.down3_4, self.skip_patch_embed3 = _down(4 * dim), _SkipPatchEmbed()
        self.reduce_chan_level_3 = nn.Conv2d(8 * dim + 3, 8 * dim, 1, bias=bias)
        self.latent = level(8 * dim, num_blocks[3], heads[3])
        self.up4_3, self.reduce_chan_level3 = _up(8 * dim), nn.Conv2d(8 * dim, 4 * dim, 1, bias=bias)
        self.decoder_level3 = level(4 * dim, num_blocks[2], heads[2])
        self.up3_2, self.reduce_chan_level2 = _up(4 * dim), nn.Conv2d(4 * dim, 2 * dim, 1, bias=bias)
        self.decoder_level2 = level(2 * dim, num_blocks[1], heads[1])
        self.up2_1 = _up(2 * dim)
        self.decoder_level1 = level(2 * dim, num_blocks[0], heads[0])
        self.refinement = level(2 * dim, num_refinement_blocks, heads[0])
        self.output = nn.Conv2d(2 * dim, 3, 3, padding=1, bias=bias)

    def forward(self, image: Tensor) -> Tensor:
        """Restore ``(B, 3, H, W)``, H and W multiples of 8."""
        first = self.encoder_level1(self.patch_embed(image))
        skip = self.skip_patch_embed1(image)
        second = self.encoder_level2(self.reduce_chan_level_1(torch.cat([self.down1_2(first), skip], 1)))
        skip = self.skip_patch_embed2(skip)
        third = self.encoder_level3(self.reduce_chan_level_2(torch.cat([self.down2_3(second), skip], 1)))
        skip = self.skip_patch_embed3(skip)
        x = self.latent(self.reduce_chan_level_3(torch.cat([self.down3_4(third), skip], 1)))
        x = self.decoder_level3(self.reduce_chan_level3(torch.cat([self.up4_3(x), third], 1)))
        x = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(x), second], 1)))
        x = self.refinement(self.decoder_level1(torch.cat([self.up2_1(x), first], 1)))
        return self.output(x) + image
