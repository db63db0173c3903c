"""SwinIR as MaskDCPT releases it: transformer blocks with attention within windows, at full resolution throughout.

Paper: Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCVW 2021 (arXiv 2108.10257). The releases
that are known here are those of MaskDCPT (Hu et al., 2025, arXiv 2510.13282) and of its predecessor DCPT (Hu et al.,
ICLR 2025, arXiv 2501.15510), which are the same function with the same keys; neither states a licence of code or
weights. Written from the papers and a description of the released networks; gives their numbers.

They are not the SwinIR of its paper: attention has no position bias, and windows that were shifted over the border have
no mask, so that opposite borders of the picture attend to each other. Weights of the one do not fit the other.

Deviations, none of which changes a result but for rounding. With gradients, all windows are worked on at once. For
inference:

- A block does the same to every window and nothing leaves its window, so that on a processor a few windows at a time go
  through the whole block, norms and residual sums included, and everything in between stays in the cache.
- The tokens of windows, shifted ones as well, are gathered by one table of row numbers for each forward pass, and
  written back by it into the memory that they came from: no roll, no partition, one set of tokens.
- Scores, softmax and weighted sum are one call that never holds the scores of all windows.
- Convolutions run in bands of rows, on tokens as they lie; the first one is done again at the end, which is cheaper
  than to keep what it gave.

Shapes: B pictures, C channels, w the side of a window; tokens ``(B, H, W, C)``, pixels row by row.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit.errors import UsageError
from restorekit.models._masking import Masked, Visibility
from restorekit.models._spec import ModelSpec, SizeRule, StateDict, register_model
from restorekit.ops.bands import band_rows, bands, over_bands, uncompiled
from restorekit.ops.rows import invert, permute

__all__ = ["Attention", "Block", "Group", "Layout", "SwinIR"]

_GROUPS = 6
_ENCODER_GROUPS = 3  # the rest are the network's second half, whose results are its features
_MEAN = (0.4488, 0.4371, 0.4040)

# of queries, keys and values at a time; the former measured on a processor with 2 MB of second-level cache
_PIECE_BYTES = {"cpu": 5 << 18}
_PIECE_BYTES_ELSEWHERE = 1 << 28  # keeps a graphics card busy, and its memory bounded


class Layout:
    """Where the tokens of windows stand, and which of them are seen; one is made for each forward pass.

    Args:
        tokens: ``(B, H, W, C)``; H and W multiples of w.
        window: w.
        visible: Which places are seen; ``None``: all.
    """

    def __init__(self, tokens: Tensor, window: int, visible: Visibility | None = None) -> None:
        self.shape, self.window, self.device = tokens.shape[:3], window, tokens.device
        self._visible = visible
        self._orders: dict[int, Tensor] = {}

    def order(self, shift: int) -> Tensor:
        """Return the number of each token's row, ``(B H W,)``, window after window, shifted to the lower right."""
        if shift not in self._orders:
            (batch, height, width), w = self.shape, self.window
            rows = torch.arange(batch * height * width, device=self.device).view(self.shape)
            rows = rows.roll((-shift, -shift), (1, 2)) if shift else rows
            rows = rows.view(batch, height // w, w, width // w, w).transpose(2, 3)
            self._orders[shift] = rows.flatten()
        return self._orders[shift]

    def seen(self, dtype: torch.dtype) -> Tensor | None:
        """Return 1 where a token is seen and 0 elsewhere, ``(B, H, W, 1)``, or ``None`` where all are."""
        _, height, width = self.shape
        return None if self._visible is None else _to_tokens(self._visible.at(height, width, dtype))


def _to_map(tokens: Tensor) -> Tensor:
    """View ``(B, H, W, C)`` as ``(B, C, H, W)``."""
    return tokens.permute(0, 3, 1, 2)


def _to_tokens(x: Tensor) -> Tensor:
    """View ``(B, C, H, W)`` as ``(B, H, W, C)``."""
    return x.permute(0, 2, 3, 1)


def _hide(x: Tensor, seen: Tensor | None) -> Tensor:
    """Set what is not seen to 0."""
    return x if seen is None else x * seen


def _empty_like(tokens: Tensor) -> Tensor:
    """Return memory for tokens, pixel after pixel however those lie."""
    return torch.empty_like(tokens, memory_format=torch.contiguous_format)


def _in_place(module: nn.Module) -> bool:
    """Tell whether a module may work piece by piece and overwrite: for inference, and not for export."""
    if module.training or torch.is_grad_enabled():
        return False
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return False
    return not torch.compiler.is_compiling() or not torch.compiler.is_exporting()


# --- blocks -----------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Attention within windows, without position bias and mask.

    Args:
        channels: C.
        heads: f; divides C.
        bias: Whether queries, keys and values have a bias.
    """

    def __init__(self, channels: int, heads: int, *, bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=bias)
        self.project_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each of ``(windows, w^2, C)``."""
        return self.project_out(self.mix(x))

    def mix(self, x: Tensor) -> Tensor:
        """Attend within each of ``(windows, w^2, C)``, without the projection at the end."""
        windows, length, channels = x.shape
        qkv = self.qkv(x).view(windows, length, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if _in_place(self) or x.device.type != "cpu":
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:  # with gradients that is no faster on a processor
            mixed = (q * q.shape[3] ** -0.5 @ k.transpose(2, 3)).softmax(3) @ v
        return mixed.transpose(1, 2).reshape(windows, length, channels)


class FeedForward(nn.Module):
    """Two layers with a GELU in between."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(channels, hidden)
        self.project_out = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``(..., C)``."""
        return self.project_out(self.enter(x))

    def enter(self, x: Tensor) -> Tensor:
        """Transform ``(..., C)``, without the projection at the end."""
        return F.gelu(self.project_in(x))


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)), within windows.

    Args:
        channels: C.
        heads: Heads of the attention.
        window: w.
        shift: How far the windows are shifted to the lower right.
        expansion: Hidden channels of the feed-forward over C.
        qkv_bias: Whether queries, keys and values have a bias.
    """

    def __init__(
        self, channels: int, heads: int, *, window: int, shift: int, expansion: float, qkv_bias: bool = True
    ) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = Attention(channels, heads, bias=qkv_bias)
        self.feed_forward = FeedForward(channels, int(channels * expansion))

    def forward(self, x: Tensor, layout: Layout, out: Tensor | None = None) -> Tensor:
        """Transform ``(B, H, W, C)``.

        Args:
            x: The tokens.
            layout: Where they stand.
            out: For inference: where the result goes; may be ``x``.
        """
        order, seen = layout.order(self.shift), layout.seen(x.dtype)
        if _in_place(self):
            out = _empty_like(x) if out is None else out
            pieces = torch.split(order, self._tokens(x))
            write = self._write if len(pieces) == 1 else uncompiled(self._write)
            return write(x, out, pieces, seen)
        rows = permute(x.flatten(0, 2), order)
        rows = self.transform(rows, None if seen is None else seen.flatten(0, 2)[order])
        return permute(rows, invert(order)).view_as(x)

    def _tokens(self, x: Tensor) -> int:
        """Return how many tokens, in whole windows, to work on at a time."""
        area = self.window**2
        per_window = area * 3 * x.shape[3] * x.element_size()
        return max(1, _PIECE_BYTES.get(x.device.type, _PIECE_BYTES_ELSEWHERE) // per_window) * area

    def _write(self, x: Tensor, out: Tensor, pieces: tuple[Tensor, ...], seen: Tensor | None) -> Tensor:
        source, target = x.flatten(0, 2), out.view(-1, out.shape[3])
        for piece in pieces:
            visible = None if seen is None else seen.flatten(0, 2)[piece]
            target.index_copy_(0, piece, self.transform(source.index_select(0, piece), visible))
        return out

    def transform(self, rows: Tensor, seen: Tensor | None) -> Tensor:
        """Transform the tokens of whole windows, ``(windows w^2, C)``, for inference where they lie.

        Args:
            rows: The tokens, window after window.
            seen: ``(windows w^2, 1)``, 1 where a token is seen; ``None``: all are.
        """
        windows = _hide(self.norm1(rows), seen).view(-1, self.window**2, rows.shape[1])
        if not _in_place(self):
            rows = rows + self.attention(windows).view_as(rows)
            return _hide(rows + self.feed_forward(_hide(self.norm2(rows), seen)), seen)
        mixed, change = self.attention.mix(windows).flatten(0, 1), self.feed_forward
        _add_product(rows, mixed, self.attention.project_out)
        _add_product(rows, change.enter(_hide(self.norm2(rows), seen)), change.project_out)
        return _hide(rows, seen)


def _add_product(rows: Tensor, x: Tensor, layer: nn.Linear) -> None:
    """Add what a layer makes of ``(n, C')`` to ``(n, C)``."""
    if torch.is_autocast_enabled(rows.device.type):  # it does not know products that are added to something
        rows += layer(x)
    else:
        rows.addmm_(x, layer.weight.t()).add_(layer.bias)


class Group(nn.Module):
    """Blocks, every other one with shifted windows, and a convolution; what came in is added.

    Args:
        channels: C.
        heads: Heads of the attention.
        num_blocks: Blocks.
        window: w.
        shift: How far the windows of every other block are shifted.
        expansion: Hidden channels of the feed-forward over C.
        qkv_bias: Whether queries, keys and values have a bias.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        num_blocks: int,
        window: int,
        shift: int,
        expansion: float,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(channels, heads, window=window, shift=i % 2 * shift, expansion=expansion, qkv_bias=qkv_bias)
            for i in range(num_blocks)
        )
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, layout: Layout, scratch: Tensor | None = None) -> Tensor:
        """Transform ``(B, H, W, C)``.

        Args:
            x: The tokens.
            layout: Where they stand.
            scratch: For inference: memory of the same shape. With it the result is where ``x`` was.
        """
        if _in_place(self):
            if scratch is None:
                x, scratch = _empty_like(x).copy_(x), _empty_like(x)
            return self._update(x, scratch, layout)
        t = x
        for block in self.blocks:
            t = block(t, layout)
        return x + _hide(_to_tokens(self.conv(_to_map(t))), layout.seen(x.dtype))

    def _update(self, x: Tensor, scratch: Tensor, layout: Layout) -> Tensor:
        source = x
        for block in self.blocks:
            source = block(source, layout, scratch)
        rows = band_rows(_to_map(x), channels=x.shape[3])
        add = self._add_filtered if rows >= x.shape[1] else uncompiled(self._add_filtered)
        return add(x, source, rows, layout.seen(x.dtype))

    def _add_filtered(self, x: Tensor, source: Tensor, rows: int, seen: Tensor | None) -> Tensor:
        top = 0
        for band, own in bands(_to_map(source), rows=rows, halo=1):
            done = _to_tokens(self.conv(band)[:, :, own])
            here = slice(top, top + done.shape[1])
            x[:, here] += _hide(done, None if seen is None else seen[:, here])
            top = here.stop
        return x


# --- the network ------------------------------------------------------------------------------------------------------


class SwinIR(nn.Module):
    """The whole network; the defaults are the released configuration.

    Args:
        in_channels: Channels of the picture; 3 or 1 (then nothing is taken off as mean).
        embed_dim: C.
        num_blocks: Blocks of the six groups.
        num_heads: Heads of the six groups.
        window: Side of a window; H and W must be multiples of it.
        expansion: Hidden channels of the feed-forward over C.
        qkv_bias: Whether queries, keys and values have a bias.
        nominal_size: Side of the pictures that the network is made for: where it is no larger than a window, it is the
            side of a window, and windows are not shifted.

    Attributes:
        feature_channels: Channels of the maps of ``forward_features``.

    Raises:
        UsageError: There are not six groups, one has no block, or the heads do not divide C.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        embed_dim: int = 180,
        num_blocks: tuple[int, ...] = (6, 6, 6, 6, 6, 6),
        num_heads: tuple[int, ...] = (6, 6, 6, 6, 6, 6),
        window: int = 8,
        expansion: float = 2.0,
        qkv_bias: bool = True,
        nominal_size: int = 128,
    ) -> None:
        super().__init__()
        if (len(num_blocks), len(num_heads)) != (_GROUPS, _GROUPS):
            raise UsageError(
                f"swinir has {_GROUPS} groups, but num_blocks names {len(num_blocks)} and num_heads {len(num_heads)}; "
                f"give {_GROUPS} numbers each"
            )
        if min(num_blocks) < 1:
            raise UsageError(f"swinir: a group has at least one block, but num_blocks is {num_blocks}; change it")
        if any(embed_dim % heads for heads in num_heads):
            raise UsageError(
                f"swinir: {embed_dim} channels cannot be divided among {num_heads} heads; change embed_dim"
            )
        self.window, shift = (window, window // 2) if nominal_size > window else (nominal_size, 0)
        self.feature_channels = (embed_dim,) * (_GROUPS - _ENCODER_GROUPS)
        self.first = nn.Conv2d(in_channels, embed_dim, 3, padding=1)
        self.embed_norm = nn.LayerNorm(embed_dim)
        kind: dict[str, Any] = {"window": self.window, "shift": shift, "expansion": expansion, "qkv_bias": qkv_bias}
        self.groups = nn.ModuleList(
            Group(embed_dim, heads, num_blocks=count, **kind)
            for count, heads in zip(num_blocks, num_heads, strict=True)
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.deep = nn.Conv2d(embed_dim, embed_dim, 3, padding=1)
        self.output = nn.Conv2d(embed_dim, in_channels, 3, padding=1)
        self.apply(_start)

    def forward(self, image: Tensor) -> Tensor:
        """Restore a picture.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1]; H and W multiples of the window.

        Returns:
            ``(B, 3, H, W)``, not clamped.
        """
        x = self._centred(image)
        tokens, _ = self._run(x, None, keep=False)
        return image + self._finish(x, tokens, None)

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """Return what the groups of the network's second half make of a picture.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1]; H and W multiples of the window.

        Returns:
            Three maps ``(B, C, H, W)``, the last group's first.
        """
        return self._run(self._centred(image), None, keep=True)[1]

    def forward_masked(self, image: Tensor, mask: Tensor) -> Masked:
        """Reconstruct a picture from some of its patches; the mean of pictures is not taken off here.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1]; H and W multiples of the window.
            mask: ``(B, 1, h, w)``, True where a patch is seen, see ``sample_mask``.

        Raises:
            UsageError: The mask does not suit the picture.
        """
        visible = Visibility.of(image, mask, reduction=1)
        x = visible.hide(image)
        tokens, features = self._run(x, visible, keep=True)
        return Masked(reconstruction=self._finish(x, tokens, visible), features=features)

    def _centred(self, image: Tensor) -> Tensor:
        """Take the mean of pictures off."""
        return image - image.new_tensor(_MEAN).view(1, 3, 1, 1) if image.shape[1] == len(_MEAN) else image

    def _run(self, x: Tensor, visible: Visibility | None, *, keep: bool) -> tuple[Tensor, list[Tensor]]:
        """Return the tokens behind the groups, ``(B, H, W, C)``, and the maps of the second half if they are kept."""
        layout = Layout(_to_tokens(x), self.window, visible)

        def embed(band: Tensor) -> Tensor:
            return _to_map(self.embed_norm(_to_tokens(self.first(band))))

        tokens = _to_tokens(over_bands(embed, x, rows=band_rows(x, channels=2 * self.first.out_channels), halo=1))
        tokens = _hide(
            tokens, layout.seen(x.dtype)
        ).contiguous()  # to hide in front of the norm as well is no difference
        scratch = _empty_like(tokens) if _in_place(self) else None
        features: list[Tensor] = []
        for i, group in enumerate(self.groups):
            tokens = group(tokens, layout, scratch)
            if keep and i >= _ENCODER_GROUPS:
                features.insert(0, _to_map(tokens if scratch is None else tokens.clone()))
        return tokens, features

    def _finish(self, x: Tensor, tokens: Tensor, visible: Visibility | None) -> Tensor:
        """Return what the last convolutions make of the network's input and of its tokens."""
        maps = _to_map(tokens)
        seen = None if visible is None else visible.at(x.shape[2], x.shape[3], x.dtype)
        rows, done, top = band_rows(maps, channels=maps.shape[1]), [], 0
        for (band, own), (deep, _) in zip(bands(x, rows=rows, halo=2), bands(maps, rows=rows, halo=2), strict=True):
            above = own.start
            shown = None if seen is None else seen[:, :, top - above : top - above + band.shape[2]]
            deep = self.deep(_hide(_to_map(self.norm(_to_tokens(deep))), shown))
            done.append(self.output(_hide(deep + self.first(band), shown))[:, :, own])
            top += done[-1].shape[2]
        return done[0] if len(done) == 1 else torch.cat(done, 2)


def _start(module: nn.Module) -> None:
    """Give a linear layer its initial weights."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


# --- the authors' names -----------------------------------------------------------------------------------------------

CONFIG_MAP: dict[str, str | None] = {
    "img_size": "nominal_size",
    "in_chans": "in_channels",
    "embed_dim": "embed_dim",
    "depths": "num_blocks",
    "num_heads": "num_heads",
    "window_size": "window",
    "mlp_ratio": "expansion",
    "qkv_bias": "qkv_bias",
    "patch_size": None,
    "upscale": None,
    "img_range": None,
    "resi_connection": None,
}
"""Authors' argument -> ours; ``None``: one pixel is one token, nothing is enlarged, pictures are in [0, 1], and a group
ends in one convolution, as in all releases."""

_KEYS: tuple[tuple[str, str], ...] = (
    (".residual_group.blocks.", ".blocks."),
    (".attn.", ".attention."),
    (".mlp.", ".feed_forward."),
    (".attention.proj.", ".attention.project_out."),
    (".feed_forward.fc1.", ".feed_forward.project_in."),
    (".feed_forward.fc2.", ".feed_forward.project_out."),
    ("^conv_first.", "first."),
    ("^patch_embed.norm.", "embed_norm."),
    ("^conv_after_body.", "deep."),
    ("^conv_last.", "output."),
    *((f"^encode_layers.{i}.", f"groups.{i}.") for i in range(_ENCODER_GROUPS)),
    *((f"^decode_layers{i - _ENCODER_GROUPS}.", f"groups.{i}.") for i in range(_ENCODER_GROUPS, _GROUPS)),
)
"""Authors' part of a key -> ours, one after the other; ``^``: at the start."""


def convert(authors: StateDict) -> StateDict:
    """Rename the authors' state dict to ours; keys that are not known keep their names."""
    return {our_key(key): value for key, value in authors.items()}


def revert(ours: StateDict) -> StateDict:
    """Rename our state dict to the authors', the inverse of ``convert``."""
    return {authors_key(key): value for key, value in ours.items()}


def our_key(key: str) -> str:
    """Rename one of the authors' keys, or the beginning of one, to ours."""
    return _rename(key, _KEYS)


def authors_key(key: str) -> str:
    """Rename one of our keys, or the beginning of one, to the authors'."""
    pairs = ((f"^{ours}" if authors.startswith("^") else ours, authors.removeprefix("^")) for authors, ours in _KEYS)
    return _rename(key, tuple(pairs)[::-1])


def _rename(key: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        if old.startswith("^"):
            key = new + key.removeprefix(old[1:]) if key.startswith(old[1:]) else key
        else:
            key = key.replace(old, new)
    return key


register_model(
    ModelSpec(
        name="swinir",
        task="restore",
        network=SwinIR,
        variants={
            "swinir": {},
            "swinir-test": {"embed_dim": 8, "num_blocks": (1, 2, 1, 1, 2, 1), "num_heads": (2, 2, 2, 2, 2, 2)},
        },
        default_variant="swinir",
        size=SizeRule(minimum=8, multiple_of=8),
        paper="SwinIR (Liang et al., ICCVW 2021), as pre-trained by MaskDCPT (Hu et al., 2025, arXiv 2510.13282)",
        licence="not stated",
        config_map=CONFIG_MAP,
        convert=convert,
        revert=revert,
    )
)
