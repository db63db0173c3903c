"""MaskDCPT's SwinIR as its authors compute it, step by step: what ours is compared with in numbers, time and memory.

A literal transcription of the description of the released network, with the authors' arguments and keys. Where they
take a detour (windows are copied out and back, queries are scaled on their own, tokens are turned into maps and back
around each convolution), this takes it as well; nothing is slowed down beyond that.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PlainSwinIR", "PlainWindowAttention"]


def _partition(x: Tensor, window: int) -> Tensor:
    """Cut ``(B, H, W, C)`` into ``(windows, w, w, C)``."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // window, window, width // window, window, channels)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, window, window, channels)


def _reverse(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """Undo ``_partition``."""
    batch = windows.shape[0] // (height * width // window**2)
    x = windows.view(batch, height // window, width // window, window, window, -1)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(batch, height, width, -1)


class PlainWindowAttention(nn.Module):
    """Attention within windows, without position bias and mask."""

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        count, length, channels = x.shape
        qkv = self.qkv(x).reshape(count, length, 3, self.num_heads, channels // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1)
        done: Tensor = self.proj((weights @ v).transpose(1, 2).reshape(count, length, channels))
        return done


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        done: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return done


class _Block(nn.Module):
    def __init__(self, dim: int, num_heads: int, window: int, shift: int, mlp_ratio: float, qkv_bias: bool) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = PlainWindowAttention(dim, num_heads, qkv_bias=qkv_bias)
        self.mlp = _Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, size: tuple[int, int], mask: Tensor | None = None) -> Tensor:
        batch, length, channels = x.shape
        t = _normalise(self.norm1, x, mask).view(batch, *size, channels)
        if self.shift:
            t = torch.roll(t, (-self.shift, -self.shift), (1, 2))
        windows = _partition(t, self.window).view(-1, self.window**2, channels)
        windows = self.attn(windows).view(-1, self.window, self.window, channels)
        t = _reverse(windows, self.window, *size)
        if self.shift:
            t = torch.roll(t, (self.shift, self.shift), (1, 2))
        x = x + t.view(batch, length, channels)
        x = x + self.mlp(_normalise(self.norm2, x, mask))
        return x if mask is None else x * mask


class _Blocks(nn.Module):
    def __init__(self, blocks: list[_Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)


class _Group(nn.Module):
    def __init__(
        self, dim: int, depth: int, num_heads: int, window: int, shift: int, mlp_ratio: float, qkv_bias: bool
    ) -> None:
        super().__init__()
        blocks = [_Block(dim, num_heads, window, j % 2 * shift, mlp_ratio, qkv_bias) for j in range(depth)]
        self.residual_group = _Blocks(blocks)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int], mask: Tensor | None = None) -> Tensor:
        t = x
        for block in self.residual_group.blocks:
            t = block(t, size, mask)
        done = _to_tokens(self.conv(_to_map(t, size)))
        return (done if mask is None else done * mask) + x


class _Embed(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)


def _normalise(norm: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    """Normalise ``(B, N, C)``; hidden tokens become zero."""
    done: Tensor = norm(x)
    return done if mask is None else done * mask


def _to_map(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x.transpose(1, 2).view(x.shape[0], x.shape[2], *size)


def _to_tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


class PlainSwinIR(nn.Module):
    """The whole network, with the authors' arguments; the defaults are the released configuration."""

    def __init__(
        self,
        *,
        img_size: int = 128,
        embed_dim: int = 180,
        depths: Sequence[int] = (6, 6, 6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
        window_size: int = 8,
        mlp_ratio: float = 2.0,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        window, shift = (img_size, 0) if img_size <= window_size else (window_size, window_size // 2)
        groups = [
            _Group(embed_dim, depth, heads, window, shift, mlp_ratio, qkv_bias)
            for depth, heads in zip(depths, num_heads, strict=True)
        ]
        self.conv_first = nn.Conv2d(3, embed_dim, 3, padding=1)
        self.patch_embed = _Embed(embed_dim)
        self.encode_layers = nn.ModuleList(groups[:3])
        for i, group in enumerate(groups[3:]):
            self.add_module(f"decode_layers{i}", group)
        self.norm = nn.LayerNorm(embed_dim)
        self.conv_after_body = nn.Conv2d(embed_dim, embed_dim, 3, padding=1)
        self.conv_last = nn.Conv2d(embed_dim, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        mean = image.new_tensor((0.4488, 0.4371, 0.4040)).view(1, 3, 1, 1)
        x = image - mean
        return x + self.conv_last(self._features(x, None)[-1]) + mean

    def masked(self, image: Tensor, patches: Tensor) -> list[Tensor]:
        """Return the tokens after each group and the reconstruction of a picture, of which patches are visible."""
        side = image.shape[2] // patches.shape[2]
        mask = patches.float().repeat_interleave(side, 2).repeat_interleave(side, 3)
        features = self._features(image * mask, mask)
        return [*features[:-1], self.conv_last(features[-1])]

    def _features(self, x: Tensor, mask: Tensor | None) -> list[Tensor]:
        size = (x.shape[2], x.shape[3])
        tokens_mask = None if mask is None else _to_tokens(mask)
        first = self.conv_first(x) if mask is None else self.conv_first(x) * mask
        t = _normalise(self.patch_embed.norm, _to_tokens(first), tokens_mask)
        levels = []
        for group in (*self.encode_layers, *(self.get_submodule(f"decode_layers{i}") for i in range(3))):
            t = group(t, size, tokens_mask)
            levels.append(t)
        deep = self.conv_after_body(_to_map(_normalise(self.norm, t, tokens_mask), size))
        return [*levels, (deep if mask is None else deep * mask) + first]
