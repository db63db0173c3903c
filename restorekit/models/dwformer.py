"""DWFormer: a convolutional network for pictures that were taken through a display.

Paper: Zhou, Song, Du, "Modular Degradation Simulation and Restoration for Under-Display Camera", ACCV 2022 (arXiv
2209.11455). Authors' code: GPL-3.0; they published no weights. Written from the paper and a description of the released
network; gives its numbers.

The channel gate of the released code takes a softmax over an axis of length one, so that the weights of all positions
are 1 and the gate sees a *sum*: it depends on the size of the picture, and tiles are restored otherwise than the whole.
``gate_pool="softmax"`` is what the paper draws. The projection that would weigh the positions learns nothing with
``"sum"``; it is kept so that weights load.

Deviations, none of which changes the result but for rounding: without gradients and in evaluation mode a stage

- folds its batch norms into the 1x1 convolutions behind them, and the bias in front of the depth-wise convolution into
  that convolution's;
- takes 1x1 convolutions as products of matrices, pixels (rows of channels) times weights, added to in place;
- leaves the idle projection out, and multiplies the gate into the weights behind it;
- works in pieces that stay in the cache, a few lines of a large picture or some small pictures, and gathers their
  pixels, mirrored ones included, in place of padding and joining whole maps;
- sums in float32 whatever it computes in.

Shapes: B pictures, C channels, r C hidden channels, L pixels, P pixels of a piece.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit.errors import UnknownNameError, UsageError
from restorekit.models._spec import ModelSpec, SizeRule, StateDict, register_model
from restorekit.ops.bands import band_rows, uncompiled
from restorekit.ops.channel_attention import precise
from restorekit.ops.rows import to_picture, to_rows

__all__ = ["Block", "ChannelGate", "DWFormer", "Stage"]

GatePool = Literal["sum", "softmax"]
P = ParamSpec("P")

_SIZE = SizeRule(minimum=12, multiple_of=4)  # a quarter of it can be mirrored by two pixels
_HALO = 2  # of a 5x5 convolution
_STAGES = ("encoder1", "encoder2", "latent", "decoder2", "decoder1")
_INIT_DEPTH = 36  # what the authors' start values assume, however many blocks there are


# --- blocks -----------------------------------------------------------------------------------------------------------


class ChannelGate(nn.Module):
    """Multiply every channel by a number in (0, 1) that the whole picture decides.

    Args:
        channels: C.
        reduction: C over the hidden channels.
        pool: How a picture becomes C numbers: the sum over all positions, or their mean weighted by a softmax.

    Raises:
        UsageError: There is no such pooling, or no hidden channel is left.
    """

    def __init__(self, channels: int, *, reduction: int = 1, pool: GatePool = "sum") -> None:
        super().__init__()
        if pool not in ("sum", "softmax"):
            raise UnknownNameError("gate_pool", pool, ("sum", "softmax"))
        if not 1 <= reduction <= channels:
            raise UsageError(f"dwformer: gate_reduction {reduction} leaves no hidden channel of {channels}; lower it")
        self.pool = pool
        self.spatial = nn.Conv2d(channels, 1, 1)
        self.squeeze = nn.Linear(channels, channels // reduction, bias=False)
        self.excite = nn.Linear(channels // reduction, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Gate ``(B, C, H, W)``."""
        return x * self.gate(x)[:, :, None, None].to(x.dtype)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate of ``(B, C, H, W)``, ``(B, C)``."""
        logits = precise(self.spatial(x).flatten(2))
        # over an axis of length one: ones, and no gradient, which is not the same as none at all
        weights = logits.softmax(2 if self.pool == "softmax" else 1)
        with torch.autocast(x.device.type, enabled=False):  # float16 ends at 65504
            pooled = torch.matmul(precise(x.flatten(2)), weights.transpose(1, 2)).flatten(1)
        return self.decide(pooled)

    def decide(self, pooled: Tensor) -> Tensor:
        """Return the gate of a pooled picture, both ``(B, C)``, at least float32."""
        with torch.autocast(pooled.device.type, enabled=False):
            hidden = torch.relu(F.linear(pooled, precise(self.squeeze.weight)))
            return torch.sigmoid(F.linear(hidden, precise(self.excite.weight)))

    def pool_piece(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Pool a piece of each picture.

        Args:
            rows: ``(B, P, C)``.

        Returns:
            The piece pooled, ``(B, C)``, and the logarithm of its weight, ``(B,)``.
        """
        rows = precise(rows)
        if self.pool == "sum":
            return rows.sum(1), rows.new_zeros(rows.shape[0])
        logits = torch.matmul(rows, precise(self.spatial.weight).flatten())  # a softmax does not see the bias
        return torch.einsum("bp,bpc->bc", logits.softmax(1), rows), logits.logsumexp(1)

    def join(self, pieces: Sequence[tuple[Tensor, Tensor]], batch: int) -> Tensor:
        """Return the gate of pictures that were pooled piece by piece, ``(B, C)``; pieces come picture by picture."""
        pooled, shares = (torch.cat(part) for part in zip(*pieces, strict=True))
        pooled, shares = pooled.view(batch, -1, pooled.shape[1]), shares.view(batch, -1, 1)
        if self.pool == "softmax":
            pooled = pooled * shares.softmax(1)
        return self.decide(pooled.sum(1))


class Block(nn.Module):
    """Two residual branches: one looks around (5x5, depth-wise) and is gated, one mixes the channels of each pixel.

    Args:
        channels: C.
        mlp_ratio: r, hidden channels of the second branch over C.
        gate_reduction: C over the hidden channels of the gate.
        gate_pool: See ``ChannelGate``.
    """

    def __init__(self, channels: int, *, mlp_ratio: int, gate_reduction: int = 1, gate_pool: GatePool = "sum") -> None:
        super().__init__()
        hidden = channels * mlp_ratio
        self.norm1 = nn.BatchNorm2d(channels)
        self.project_in = nn.Conv2d(channels, channels, 1)
        self.filter = nn.Conv2d(channels, channels, 5, padding=_HALO, groups=channels, padding_mode="reflect")
        self.gate = ChannelGate(channels, reduction=gate_reduction, pool=gate_pool)
        self.project_out = nn.Conv2d(channels, channels, 1)
        self.norm2 = nn.BatchNorm2d(channels)
        self.widen = nn.Conv2d(channels, hidden, 1)
        self.narrow = nn.Conv2d(hidden, channels, 1)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``(B, C, H, W)``."""
        return self.mix(self.look_around(x))

    def look_around(self, x: Tensor) -> Tensor:
        """Add the first branch to ``(B, C, H, W)``."""
        return x + self.project_out(self.gate(torch.relu(self.filter(self.project_in(self.norm1(x))))))

    def mix(self, x: Tensor) -> Tensor:
        """Add the second branch to ``(B, C, H, W)``."""
        return x + self.narrow(torch.relu(self.widen(self.norm2(x))))


def _initialise(layer: nn.Module) -> None:
    """Set the start values of a layer of a block: normal ones, small enough for a deep residual network."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        weight = layer.weight
        area = weight[0, 0].numel()
        gain = (8 * _INIT_DEPTH) ** -0.25
        spread = gain * math.sqrt(2 / (weight.shape[0] * area + weight.shape[1] * area))
        nn.init.trunc_normal_(weight, std=spread, a=-2.0, b=2.0)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class Stage(nn.Sequential):
    """Blocks of one scale; without gradients and in evaluation mode all at once, see the head of this file."""

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``(B, C, H, W)``."""
        if self.training or torch.is_grad_enabled() or not len(self):
            for block in self:
                x = block(x)
            return x
        return _in_pieces(_infer, x)([block for block in self if isinstance(block, Block)], x)


class Mirrored(nn.Conv2d):
    """A 3x3 convolution of one map or of several side by side, mirrored at the border."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, padding_mode="reflect")

    def forward(self, *maps: Tensor) -> Tensor:
        """Filter maps ``(B, C_i, H, W)`` whose channels are ``in_channels`` in sum."""
        if torch.is_grad_enabled():
            return super().forward(torch.cat(maps, 1) if len(maps) > 1 else maps[0])
        return _in_pieces(_convolve, maps[0])(self, maps)


class Merge(nn.Sequential):
    """Join what comes from below with what was kept on the way down."""

    def __init__(self, channels: int) -> None:
        super().__init__(Mirrored(2 * channels, channels), nn.ReLU(inplace=True))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:  # type: ignore[override]
        """Join two maps ``(B, C, H, W)``."""
        filtered: Tensor = self[1](self[0](x, skip))
        return filtered


# --- a stage at inference ---------------------------------------------------------------------------------------------


def _in_pieces(infer: Callable[P, Tensor], x: Tensor) -> Callable[P, Tensor]:
    """Return a function that ``torch.compile`` leaves alone where pieces are faster than what a compiler fuses."""
    return uncompiled(infer) if x.device.type == "cpu" else infer


class _Folded(NamedTuple):
    """A block's weights, as they multiply rows of channels.

    With c the bias of the hidden channels, relu(h + c) is max(h, -c) + c; what the latter c comes to is in ``shift``.
    """

    enter: Tensor  # (C, C)
    filter: Tensor  # (C, 1, 5, 5)
    filter_bias: Tensor  # (C,)
    leave: Tensor  # (C, C)
    widen: Tensor  # (C, r C)
    floor: Tensor  # (r C,), -c
    narrow: Tensor  # (r C, C)
    shift: Tensor  # (C,), of both branches


class _Piece(NamedTuple):
    """Some lines of one picture, or some whole pictures."""

    pictures: slice
    lines: slice


def _stack(tensors: Iterable[Tensor | None]) -> Tensor:
    return torch.stack([precise(tensor) for tensor in tensors if tensor is not None])


def _matrices(layers: Sequence[nn.Conv2d]) -> tuple[Tensor, Tensor]:
    """Return the weights of 1x1 convolutions, ``(layers, inputs, outputs)``, and biases ``(layers, 1, outputs)``."""
    weights = _stack(layer.weight for layer in layers).flatten(2).transpose(1, 2)
    return weights, _stack(layer.bias for layer in layers)[:, None]


def _normalised(norms: Sequence[nn.BatchNorm2d], layers: Sequence[nn.Conv2d]) -> tuple[Tensor, Tensor]:
    """Do the same with a batch norm in front of each convolution."""
    weights, biases = _matrices(layers)
    scale = _stack(norm.weight for norm in norms) * torch.rsqrt(
        _stack(norm.running_var for norm in norms) + norms[0].eps
    )
    shift = _stack(norm.bias for norm in norms) - _stack(norm.running_mean for norm in norms) * scale
    return scale[:, :, None] * weights, torch.baddbmm(biases, shift[:, None], weights)


def _fold(blocks: Sequence[Block], dtype: torch.dtype) -> list[_Folded]:
    """Return the weights of blocks without their norms; all at once, because each is small."""
    enter, enter_bias = _normalised([b.norm1 for b in blocks], [b.project_in for b in blocks])
    filters = _stack(b.filter.weight for b in blocks)
    filter_bias = _stack(b.filter.bias for b in blocks) + enter_bias[:, 0] * filters.sum((2, 3, 4))
    leave, leave_bias = _matrices([b.project_out for b in blocks])
    widen, widen_bias = _normalised([b.norm2 for b in blocks], [b.widen for b in blocks])
    hidden_bias = torch.baddbmm(widen_bias, leave_bias, widen)
    hidden_bias = hidden_bias.to(dtype).to(hidden_bias.dtype)  # what it is rounded to cancels where the max is -c
    narrow, narrow_bias = _matrices([b.narrow for b in blocks])
    shift = torch.baddbmm(leave_bias + narrow_bias, hidden_bias, narrow)[:, 0]
    parts = (enter, filters, filter_bias, leave, widen, -hidden_bias[:, 0], narrow, shift)
    return [_Folded(*block) for block in zip(*(part.to(dtype).contiguous() for part in parts), strict=True)]


def _cut(x: Tensor, hidden: int) -> list[_Piece]:
    """Cut ``(B, C, H, W)`` into pieces whose hidden channels stay in the cache; on a graphics card it is one piece."""
    batch, height = x.shape[0], x.shape[2]
    lines = band_rows(x[:1], channels=hidden)
    if lines >= height:
        count = max(1, lines // height) if x.device.type == "cpu" else batch
        return [_Piece(slice(i, min(i + count, batch)), slice(0, height)) for i in range(0, batch, count)]
    starts = range(0, height, lines)
    return [_Piece(slice(i, i + 1), slice(j, min(j + lines, height))) for i in range(batch) for j in starts]


def _mirrored(length: int, halo: int, device: torch.device) -> Tensor:
    """Return the positions along an axis, with those that mirroring puts in front of it and behind it."""
    positions = torch.arange(-halo, length + halo, device=device).abs()
    return length - 1 - (length - 1 - positions).abs()


def _sources(x: Tensor, pieces: Sequence[_Piece], halo: int) -> list[Tensor]:
    """Return which pixels of ``(B, C, H, W)`` each piece and what is around it consist of, ``(n, lines, columns)``."""
    batch, _, height, width = x.shape
    pixels = torch.arange(batch * height * width, device=x.device).view(batch, height, width)
    pixels = pixels[:, _mirrored(height, halo, x.device)][:, :, _mirrored(width, halo, x.device)]
    return [pixels[p.pictures, p.lines.start : p.lines.stop + 2 * halo] for p in pieces]


def _infer(blocks: Sequence[Block], x: Tensor) -> Tensor:
    """Send ``(B, C, H, W)`` through the blocks, in the type of autocast where there is one."""
    batch, _, height, width = x.shape
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    pieces = _cut(x, blocks[0].widen.out_channels)
    sources = _sources(x, pieces, _HALO)
    rows = to_rows(x).to(dtype, copy=True, memory_format=torch.contiguous_format)
    with torch.autocast(device, enabled=False):
        for block, folded in zip(blocks, _fold(blocks, dtype), strict=True):
            flat = rows.flatten(0, 1)
            filtered = [_filter(flat, source, folded) for source in sources]
            gate = block.gate.join([block.gate.pool_piece(piece) for piece in filtered], batch)
            leave = (gate[:, :, None] * folded.leave).to(dtype)
            for (pictures, lines), values in zip(pieces, filtered, strict=True):
                own = rows[pictures, lines.start * width : lines.stop * width]
                _mix(own.baddbmm_(values, leave[pictures]), folded)
    return to_picture(rows, height, width)


def _filter(rows: Tensor, sources: Tensor, folded: _Folded) -> Tensor:
    """Return the first branch of a piece up to its gate.

    Args:
        rows: ``(B L, C)``.
        sources: ``(n, h + 4, w + 4)``, the pixels of the piece and around it.
        folded: The weights.

    Returns:
        ``(n, h w, C)``.
    """
    entered = torch.mm(rows.index_select(0, sources.flatten()), folded.enter)
    entered = entered.view(*sources.shape, -1).permute(0, 3, 1, 2)
    return to_rows(F.conv2d(entered, folded.filter, folded.filter_bias, groups=entered.shape[1]).relu_())


def _mix(rows: Tensor, folded: _Folded) -> None:
    """Add the second branch and all biases to a piece ``(n, P, C)``, in place."""
    flat = rows.flatten(0, 1)
    hidden = torch.mm(flat, folded.widen).clamp_min_(folded.floor)
    flat.addmm_(hidden, folded.narrow).add_(folded.shift)


def _convolve(convolution: nn.Conv2d, maps: Sequence[Tensor]) -> Tensor:
    """Apply a mirrored convolution to maps ``(B, C_i, H, W)`` side by side, without a padded copy of the whole."""
    batch, _, height, width = maps[0].shape
    rows = [to_rows(x.contiguous(memory_format=torch.channels_last)).flatten(0, 1) for x in maps]
    pieces = _cut(maps[0], convolution.in_channels)
    done: Tensor | None = None
    start = 0
    for source in _sources(maps[0], pieces, 1):
        pixels = torch.cat([values.index_select(0, source.flatten()) for values in rows], 1)
        entered = pixels.view(*source.shape, -1).permute(0, 3, 1, 2)
        filtered = to_rows(F.conv2d(entered, convolution.weight, convolution.bias)).flatten(0, 1)
        done = filtered.new_empty(batch * height * width, filtered.shape[1]) if done is None else done
        done[start : start + len(filtered)] = filtered
        start += len(filtered)
    assert done is not None
    return to_picture(done.view(batch, height * width, -1), height, width)


# --- the network ------------------------------------------------------------------------------------------------------


class DWFormer(nn.Module):
    """The whole network; the defaults are the released configuration.

    Args:
        in_channels: Channels of a picture.
        embed_dims: Channels of the five stages; the fourth has as many as the second, the fifth as the first.
        mlp_ratios: Hidden channels of the blocks over their channels, for each stage.
        num_blocks: Blocks of each stage.
        gate_reduction: Channels over the hidden channels of the gates.
        gate_pool: What the gates see of a picture: ``"sum"``, as released, or ``"softmax"``, as in the paper.

    Raises:
        UsageError: The channels of two stages that are joined differ, or there are not five stages.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        embed_dims: Sequence[int] = (24, 48, 96, 48, 24),
        mlp_ratios: Sequence[int] = (2, 4, 4, 2, 2),
        num_blocks: Sequence[int] = (8, 8, 8, 6, 6),
        gate_reduction: int = 1,
        gate_pool: GatePool = "sum",
    ) -> None:
        super().__init__()
        _check_stages(embed_dims, mlp_ratios, num_blocks)

        def stage(number: int) -> Stage:
            channels, ratio = embed_dims[number], mlp_ratios[number]
            blocks = (
                Block(channels, mlp_ratio=ratio, gate_reduction=gate_reduction, gate_pool=gate_pool)
                for _ in range(num_blocks[number])
            )
            return Stage(*blocks)

        def up(number: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(embed_dims[number - 1], 4 * embed_dims[number], 1), nn.PixelShuffle(2))

        first, second, third = embed_dims[:3]
        self.stem = nn.Conv2d(in_channels, first, 3, padding=1)
        self.encoder1 = stage(0)
        self.down1 = nn.Conv2d(first, second, 2, stride=2)
        self.encoder2 = stage(1)
        self.down2 = nn.Conv2d(second, third, 2, stride=2)
        self.latent = stage(2)
        self.up2, self.merge2, self.decoder2 = up(3), Merge(second), stage(3)
        self.up1, self.merge1, self.decoder1 = up(4), Merge(first), stage(4)
        self.output = Mirrored(first, in_channels)

    def forward(self, image: Tensor) -> Tensor:
        """Restore a picture.

        Args:
            image: ``(B, in_channels, H, W)``, in [0, 1]; H and W multiples of 4, at least 12.

        Returns:
            The same shape, not clamped.

        Raises:
            UsageError: The network does not take that size.
        """
        height, width = image.shape[2:]
        if height % _SIZE.multiple_of or width % _SIZE.multiple_of or min(height, width) < _SIZE.minimum:
            raise UsageError(
                f"dwformer takes sides that are multiples of {_SIZE.multiple_of} and at least {_SIZE.minimum}, got "
                f"{height} x {width}; a Restorer pads other pictures"
            )
        if self.training or torch.is_grad_enabled():
            return self._restore(image)
        return _in_pieces(self._restore, image)(image)  # as a whole: what lies between the stages is not worth minutes

    def _restore(self, image: Tensor) -> Tensor:
        x = self.encoder1(self.stem(image.contiguous(memory_format=torch.channels_last)))
        skips = [x]
        x = self.encoder2(self.down1(x))
        skips.append(x)
        x = self.latent(self.down2(x))
        x = self.decoder2(self.merge2(self.up2(x), skips.pop()))
        x = self.decoder1(self.merge1(self.up1(x), skips.pop()))
        restored: Tensor = self.output(x) + image
        return restored


def _check_stages(embed_dims: Sequence[int], mlp_ratios: Sequence[int], num_blocks: Sequence[int]) -> None:
    for name, given in (("embed_dims", embed_dims), ("mlp_ratios", mlp_ratios), ("num_blocks", num_blocks)):
        if len(given) != 5:
            raise UsageError(f"dwformer has five stages, but {name} has {len(given)} numbers; give five")
    if tuple(embed_dims[3:]) != (embed_dims[1], embed_dims[0]):
        raise UsageError(
            f"dwformer: the last two of embed_dims {tuple(embed_dims)} must be the second and the first, "
            "which they are joined with"
        )


# --- the authors' names -----------------------------------------------------------------------------------------------

CONFIG_MAP: dict[str, str | None] = {
    "in_ch": "in_channels",
    "emd_dims": "embed_dims",
    "mlp_ratios": "mlp_ratios",
    "layer_num": "num_blocks",
    "se_ratio": "gate_reduction",
}
"""Authors' argument -> ours."""

KEY_MAP: tuple[tuple[str, str], ...] = (
    *((f"block{n}.blocks.", f"{name}.") for n, name in enumerate(_STAGES, 1)),
    ("inter.0.", "norm1."),
    ("inter.1.", "project_in."),
    ("inter.2.", "filter."),
    ("inter.4.", "gate."),
    ("pwconv.", "spatial."),
    ("mlp.0.", "squeeze."),
    ("mlp.2.", "excite."),
    ("inter.5.", "project_out."),
    ("intra.0.", "norm2."),
    ("intra.1.", "widen."),
    ("intra.3.", "narrow."),
    ("downproj1.", "stem."),
    ("downproj2.", "down1."),
    ("downproj3.", "down2."),
    ("upproj4.", "up2."),
    ("fuse1.", "merge2."),
    ("upproj5.", "up1."),
    ("fuse2.", "merge1."),
    ("out.", "output."),
)
"""Authors' part of a key -> ours, at the start of the key or after a dot."""


def convert(authors: StateDict) -> StateDict:
    """Rename the authors' state dict to ours; keys that are not known keep their names."""
    return {our_key(key): value for key, value in authors.items()}


def revert(ours: StateDict) -> StateDict:
    """Rename our state dict to the authors'; the inverse of ``convert``."""
    return {authors_key(key): value for key, value in ours.items()}


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
        name="dwformer",
        task="restore",
        network=DWFormer,
        variants={
            "dwformer": {},
            "dwformer-softmax": {"gate_pool": "softmax"},
            "dwformer-test": {"embed_dims": (8, 16, 24, 16, 8), "num_blocks": (2, 1, 1, 1, 1), "gate_reduction": 2},
        },
        default_variant="dwformer",
        size=_SIZE,
        paper="DWFormer (Zhou et al., ACCV 2022, arXiv 2209.11455)",
        licence="GPL-3.0-only",
        config_map=CONFIG_MAP,
        convert=convert,
        revert=revert,
    )
)
