"""DORNet: depth super-resolution, guided by a picture, with degradations that it learns to tell apart.

Paper: Wang, Yan, Pan, Gao, Zhang, Yang, "DORNet: A Degradation Oriented and Regularized Network for Blind Depth
Super-Resolution", CVPR 2025 (arXiv 2410.11666). Authors' code and weights: yanzq95/DORNet, Apache-2.0. Written from the
paper and a description of the released network; gives its numbers.

Deviations, none of which changes the result but for rounding:

- The kernel of a deformable convolution is modulated by multiplying its input, so that a batch is one call; in
  PyTorch's own operations, without an extension.
- What is activated in place in the authors' code, and so reaches places that do not seem to ask for it, is written out.
- Without gradients (inference): batch norms are folded into their convolutions; on a processor pixels lie with their
  channels together, the taps of a deformable convolution are gathered as rows, band by band, modulation and last
  projection are folded into its kernel, and what is merged from five stages is added up as it comes.

The regulariser that is used in training only is ``restorekit.models._dornet_training``.

Shapes: B pictures, C = ``width`` channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit.errors import UsageError
from restorekit.models._spec import ModelSpec, StateDict, register_model
from restorekit.ops.bands import band_rows, bands, uncompiled
from restorekit.ops.channel_attention import precise
from restorekit.ops.deform import TAPS, gather_columns, sample_columns, to_table

__all__ = ["DORNet", "DegradationEncoder", "EncoderBlock"]

_STAGES = 5
_COLUMN_VALUES = 2**27  # of one band of columns, where no gradient needs them


def _conv3(inputs: int, outputs: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)


def _lean(module: nn.Module) -> bool:
    """Tell whether a module may compute in the fast way: nobody trains it or asks for gradients."""
    return not module.training and not torch.is_grad_enabled()


# --- degradation encoder ----------------------------------------------------------------------------------------------


def _convolve(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Apply a convolution and its batch norm, folded into one where the statistics are fixed."""
    if not _lean(norm):
        return norm(conv(x))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    mean = norm.running_mean if conv.bias is None else norm.running_mean - conv.bias
    return F.conv2d(x, conv.weight * scale.view(-1, 1, 1, 1), norm.bias - mean * scale, conv.stride, conv.padding)


class EncoderBlock(nn.Module):
    """Two normalised convolutions beside a normalised projection, added and activated."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv3(inputs, outputs, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = _conv3(outputs, outputs, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut, self.shortcut_norm = nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Encode ``(B, inputs, H, W)`` as ``(B, outputs, H, W)``."""
        y = F.leaky_relu(_convolve(x, self.conv1, self.norm1), 0.1, inplace=True)
        y = _convolve(y, self.conv2, self.norm2).add_(_convolve(x, self.shortcut, self.shortcut_norm))
        return F.leaky_relu(y, 0.1, inplace=True)


class DegradationEncoder(nn.Module):
    """Describe what is wrong with a depth map, place by place and as a whole."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block1 = EncoderBlock(1, width // 2)
        self.block2 = EncoderBlock(width // 2, width)
        self.block3 = EncoderBlock(width, width)
        self.conv1, self.norm1 = _conv3(width, 2 * width, stride=2), nn.BatchNorm2d(2 * width)
        self.conv2, self.norm2 = _conv3(2 * width, 4 * width, stride=2), nn.BatchNorm2d(4 * width)

    def forward(self, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Describe ``(B, 1, H, W)`` by a map ``(B, C, H, W)`` and a vector ``(B, 4 C, 1, 1)``."""
        places = self.block3(self.block2(self.block1(depth)))
        y = F.leaky_relu(_convolve(places, self.conv1, self.norm1), 0.1, inplace=True)
        return places, _convolve(y, self.conv2, self.norm2).mean((2, 3), keepdim=True)


# --- restorer ---------------------------------------------------------------------------------------------------------


class ChannelAttention(nn.Module):
    """Weigh the channels of a picture by their means."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1)
        self.excite = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weights ``(B, C, 1, 1)`` of ``(B, C, H, W)``."""
        means = x.mean((2, 3), keepdim=True)
        return torch.sigmoid(self.excite(torch.relu(self.squeeze(means))))


class AttentiveBlock(nn.Module):
    """x + attention(conv(act(conv(x)))); the activation has the slope ``slope`` below zero."""

    def __init__(self, channels: int, reduction: int, *, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.conv1, self.conv2 = _conv3(channels, channels), _conv3(channels, channels)
        self.attention = ChannelAttention(channels, reduction)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``(B, C, H, W)``."""
        y = self.conv2(F.leaky_relu(self.conv1(x), self.slope, inplace=True))
        weights = self.attention(y)
        return y.mul_(weights).add_(x) if _lean(self) else torch.addcmul(x, y, weights)


class ResidualGroup(nn.Module):
    """x + conv(block(block(x)))."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.block1 = AttentiveBlock(channels, reduction, slope=0.2)
        self.block2 = AttentiveBlock(channels, reduction, slope=0.2)
        self.conv = _conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``(B, C, H, W)``."""
        return self.conv(self.block2(self.block1(x))).add_(x)


class DeformableConv(nn.Module):
    """Filter colour features at places, and with weights, that the degradations decide."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.shift = _conv3(channels, 3 * TAPS)
        self.modulate = nn.Conv2d(4 * channels, channels, 1, bias=False)
        self.mix = nn.Conv2d(channels, channels, 1, bias=False)
        bound = 1 / math.sqrt(TAPS * channels)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.shift.weight)
        assert self.shift.bias is not None
        nn.init.zeros_(self.shift.bias)

    def forward(self, x: Tensor, places: Tensor, vector: Tensor) -> Tensor:
        """Filter.

        Args:
            x: ``(B, C, H, W)``.
            places: The map of degradations, ``(B, C, H, W)``.
            vector: Their vector, ``(B, 4 C, 1, 1)``.

        Returns:
            ``(B, C, H, W)``.
        """
        shift, taken = self._shift(places), x * self.modulate(vector)
        rows = x.shape[2] if torch.is_grad_enabled() else max(1, _COLUMN_VALUES // (TAPS * x[:, :, 0].numel()))
        filtered = [
            self.weight.flatten(1) @ sample_columns(taken, shift[:, :, top : top + rows], top=top).to(self.weight.dtype)
            for top in range(0, x.shape[2], rows)
        ]
        return self.mix(torch.cat(filtered, 2).view(x.shape))

    def _shift(self, places: Tensor) -> Tensor:
        assert self.shift.bias is not None
        with torch.autocast(places.device.type, enabled=False):  # with eight bits a place would be pixels off
            return F.conv2d(precise(places), precise(self.shift.weight), precise(self.shift.bias), padding=1)

    def add_to(self, x: Tensor, places: Tensor, vector: Tensor) -> Tensor:
        """Add to x, in its place, what ``forward`` makes of it; fast on a processor, without gradient.

        Only one band of columns is in memory at a time, and stays in the cache.
        """
        assert self.shift.bias is not None
        order = torch.cat(
            [torch.arange(0, 2 * TAPS, 2), torch.arange(1, 2 * TAPS, 2), torch.arange(2 * TAPS, 3 * TAPS)]
        )
        weight, bias = self.shift.weight[order], self.shift.bias[order]
        rows = band_rows(x[:1], channels=TAPS * x.shape[1]) * torch.get_num_threads()  # each has a cache of its own
        for i, kernel in enumerate(self._kernels(vector)):
            table, top = to_table(x[i : i + 1]), 0
            for band, own in bands(places[i : i + 1], rows=rows, halo=1):
                shift = F.conv2d(band, weight, bias, padding=1)[:, :, own]
                columns = gather_columns(table, shift, top=top, height=x.shape[2])
                here = slice(top, top + shift.shape[2])
                _rows(x[i, :, here]).addmm_(columns, kernel)
                top = here.stop
        return x

    def _kernels(self, vector: Tensor) -> Tensor:
        """Return kernels with the modulation before and the projection behind them, ``(B, 9 C, C)``."""
        channels = self.weight.shape[0]
        mixed = (self.mix.weight.flatten(1) @ self.weight.flatten(1)).view(channels, channels, TAPS).permute(2, 1, 0)
        return (mixed * self.modulate(vector).view(-1, 1, channels, 1)).flatten(1, 2)


def _rows(x: Tensor) -> Tensor:
    """View ``(C, h, W)`` as ``(h W, C)``."""
    return x.permute(1, 2, 0).view(-1, x.shape[0])


class Transfer(nn.Module):
    """Bring colour features to depth features, as the degradations ask for (the paper's DOFT)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.enhance = AttentiveBlock(channels, reduction, slope=0.0)
        self.deform = DeformableConv(channels)
        self.smooth = _conv3(channels, channels)
        self.gate = nn.Conv2d(channels, channels // 4, 1)
        self.squeeze = nn.Conv2d(channels, channels // 4, 1)
        self.expand = nn.Conv2d(channels // 4, channels, 1)
        self.merge = _conv3(2 * channels, channels)

    def forward(self, depth: Tensor, guide: Tensor, places: Tensor, vector: Tensor) -> Tensor:
        """Return new depth features ``(B, C, H, W)``; ``places`` and ``vector`` describe the degradations."""
        guide = self.enhance(guide)
        if _on_processor(self, guide):
            guide = uncompiled(self.deform.add_to)(guide, places, vector)
        else:
            guide = guide + self.deform(guide, places, vector)
        guide = self.smooth(guide)
        guide = self.expand(self.squeeze(guide) * torch.sigmoid(self.gate(places))).add_(guide)
        if not _lean(self):
            return self.merge(torch.cat([guide, depth], 1)) + depth
        of_guide, of_depth = self.merge.weight.chunk(2, 1)  # to put both side by side takes longer than to add
        merged = F.conv2d(depth, of_depth, self.merge.bias, padding=1).add_(depth)
        return merged.add_(F.conv2d(guide, of_guide, padding=1))


def _on_processor(module: nn.Module, x: Tensor) -> bool:
    """Tell whether the ways that are fast on a processor are open."""
    exact = x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    return x.device.type == "cpu" and exact and _lean(module)


class DORNet(nn.Module):
    """The whole network; the defaults are the full model.

    Args:
        width: Channels, a multiple of 4.
        reduction: Channels over hidden channels of the channel attention; at most ``width``.

    Raises:
        UsageError: ``width`` or ``reduction`` is none that can be built.
    """

    def __init__(self, *, width: int = 64, reduction: int = 16) -> None:
        super().__init__()
        if width < 4 or width % 4 or not 1 <= reduction <= width:
            raise UsageError(
                f"dornet: width is a multiple of 4 and reduction between 1 and width, got {width} and {reduction}"
            )
        self.encoder = DegradationEncoder(width)
        self.depth_stem, self.guide_stem = _conv3(1, width), _conv3(3, width)
        self.transfers = nn.ModuleList(Transfer(width, reduction) for _ in range(_STAGES))
        self.guides = nn.ModuleList(_conv3(width, width) for _ in range(_STAGES - 1))
        self.groups = nn.ModuleList(ResidualGroup(width, reduction) for _ in range(_STAGES))
        self.collect = nn.Conv2d(_STAGES * width, width, 1)
        self.tail = _conv3(width, 1)

    def forward(self, depth: Tensor, guide: Tensor) -> Tensor:
        """Restore depth maps.

        Args:
            depth: ``(B, 1, H, W)``, already of the picture's size, counted as the weights were trained to count.
            guide: ``(B, 3, H, W)``, RGB in [0, 1].

        Returns:
            ``(B, 1, H, W)``, counted as ``depth``, not clamped.
        """
        return self.restore(depth, guide)[0]

    def restore(self, depth: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
        """Return what ``forward`` does and the vector of degradations, ``(B, 4 C)``, that the regulariser looks at."""
        if _on_processor(self, depth):
            depth, guide = (x.contiguous(memory_format=torch.channels_last) for x in (depth, guide))
        places, vector = self.encoder(depth)
        first = features = self.depth_stem(depth)
        colours = self.guide_stem(guide)
        collected: Tensor | None = None
        parts = self.collect.weight.chunk(_STAGES, 1)
        for stage, (transfer, part) in enumerate(zip(self.transfers, parts, strict=True)):
            features = transfer(features, colours, places, vector)
            if stage < _STAGES - 1:
                colours = self.guides[stage](colours)
                if stage < _STAGES - 2:  # the last colour features stay as they are
                    colours = F.leaky_relu(colours, 0.1, inplace=True)
                features = self.groups[stage](F.leaky_relu(features, 0.1, inplace=True) if stage else features)
            bias = None if stage else self.collect.bias
            share = F.conv2d(features, part, bias)
            collected = share if collected is None else share.add_(collected)
        return self.tail(self.groups[-1](collected).add_(first)), vector.flatten(1)


# --- the authors' names -----------------------------------------------------------------------------------------------

CONFIG_MAP: dict[str, str | None] = {"n_feats": "width", "reduction": "reduction", "tiny_model": None}
"""Authors' argument -> ours; their switch ``tiny_model`` chooses between the variants ``dornet`` and ``dornet-t``."""

_ATTENTIVE = {
    "body.0": "conv1",
    "body.2": "conv2",
    "body.3.conv_du.0": "attention.squeeze",
    "body.3.conv_du.2": "attention.excite",
}
_ENCODER_BLOCK = {
    "backbone.0": "conv1",
    "backbone.1": "norm1",
    "backbone.3": "conv2",
    "backbone.4": "norm2",
    "shortcut.0": "shortcut",
    "shortcut.1": "shortcut_norm",
}
_TRANSFER = {
    **{f"DA_rgb.rcab1.{theirs}": f"enhance.{ours}" for theirs, ours in _ATTENTIVE.items()},
    "DA_rgb.dcnrgb": "deform",
    "DA_rgb.dcnrgb.conv_offset_mask": "deform.shift",
    "DA_rgb.dcnrgb.c1": "deform.modulate",
    "DA_rgb.dcnrgb.c2": "deform.mix",
    "DA_rgb.conv": "smooth",
    "fb.conv1": "gate",
    "fb.conv2": "squeeze",
    "fb.conv3": "expand",
    "fb.conv": "merge",
}
_GROUP = {
    **{f"body.{n}.{theirs}": f"block{n + 1}.{ours}" for n in (0, 1) for theirs, ours in _ATTENTIVE.items()},
    "body.2": "conv",
}
MODULE_MAP: dict[str, str] = {
    **{
        f"Enc.E_pre.{n}.{theirs}": f"encoder.block{n + 1}.{ours}"
        for n in range(3)
        for theirs, ours in _ENCODER_BLOCK.items()
    },
    **{f"Enc.E.{n}": f"encoder.{name}" for n, name in ((0, "conv1"), (1, "norm1"), (3, "conv2"), (4, "norm2"))},
    **{f"R.dgm{n + 1}.{theirs}": f"transfers.{n}.{ours}" for n in range(_STAGES) for theirs, ours in _TRANSFER.items()},
    **{f"R.c_r{n + 1}": f"guides.{n}" for n in range(_STAGES - 1)},
    **{f"R.c_d{n + 1}.{theirs}": f"groups.{n}.{ours}" for n in range(_STAGES - 1) for theirs, ours in _GROUP.items()},
    **{f"R.c_d{_STAGES}.1.{theirs}": f"groups.{_STAGES - 1}.{ours}" for theirs, ours in _GROUP.items()},
    f"R.c_d{_STAGES}.0": "collect",
    "R.head.0": "depth_stem",
    "R.head_rgb.0": "guide_stem",
    "R.tail.0": "tail",
}
"""Authors' module that has parameters -> ours."""

_UNUSED = ("Dab.", "CLLoss.")


def convert(authors: StateDict) -> StateDict:
    """Rename the authors' state dict to ours.

    What they use in training only (``Dab``, the loss) is dropped, as is the prefix ``srn.`` of a training object. Keys
    that are not known keep their names.
    """
    bare = {key.removeprefix("srn."): value for key, value in authors.items()}
    return rename({key: value for key, value in bare.items() if not key.startswith(_UNUSED)}, MODULE_MAP)


def revert(ours: StateDict) -> StateDict:
    """Rename our state dict to the authors'; the inverse of ``convert``."""
    return rename(ours, {mine: theirs for theirs, mine in MODULE_MAP.items()})


def rename(state: StateDict, modules: Mapping[str, str]) -> StateDict:
    """Rename the modules of a state dict; what is not in the map keeps its name."""
    parts = ((key.rpartition("."), value) for key, value in state.items())
    return {f"{modules.get(module, module)}{dot}{name}": value for (module, dot, name), value in parts}


register_model(
    ModelSpec(
        name="dornet",
        task="guided",
        network=DORNet,
        variants={
            "dornet": {},
            "dornet-t": {"width": 24, "reduction": 4},
            "dornet-test": {"width": 8, "reduction": 4},
        },
        default_variant="dornet",
        paper="DORNet (Wang et al., CVPR 2025, arXiv 2410.11666)",
        licence="Apache-2.0",
        config_map=CONFIG_MAP,
        convert=convert,
        revert=revert,
    )
)
