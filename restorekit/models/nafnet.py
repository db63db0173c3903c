"""NAFNet: a U-Net of plain blocks without activation functions; channels that multiply each other do their work.

Paper: Chen, Chu, Zhang, Sun, "Simple Baselines for Image Restoration", ECCV 2022 (arXiv 2204.04676). The releases that
are known here are those of MaskDCPT (Hu et al., 2025, arXiv 2510.13282) and of its predecessor DCPT (Hu et al., ICLR
2025, arXiv 2501.15510), neither of which states a licence of code or weights, and that of the paper (MIT). Written from
the papers and a description of the released networks; gives their numbers.

The releases differ in the eps of the norms, 1e-5 in MaskDCPT's (variant ``nafnet``) and 1e-6 in the others
(``nafnet-original``). It shows in no tensor; here an entry without elements marks other values than MaskDCPT's.

The attention of a block takes the mean of the whole picture (rule ``global_pool``). Trained on small patches, a network
knows means of patches, so that on large pictures means of windows may serve it better: Chu et al., "Improving Image
Restoration by Revisiting Global Information Aggregation", ECCV 2022 (arXiv 2112.04491). That is the rule
``local_pool`` (variants ``nafnet-local``, ``nafnet-original-local``), for inference only. The same weights give other
pictures under it; MaskDCPT's numbers are those of ``global_pool``, the paper's those of ``local_pool``.

Deviations, none of which changes a result but for rounding: with gradients, or masks, blocks compute as the paper
writes; for inference on a processor they run in bands of rows (``_rolling``), twice over the picture, the attention and
the scales of the branches multiplied into weights.

Shapes: B pictures, C channels, L = H W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit.models._masking import Masked, Visibility
from restorekit.models._norm import Norm
from restorekit.models._rolling import add_product, even_rows, filtered_bands, row_bands, runs_in_bands, weights_of
from restorekit.models._spec import ModelSpec, SizeRule, StateDict, register_model
from restorekit.ops.bands import uncompiled

__all__ = ["InferenceRule", "NAFNet", "extend", "window_means"]

InferenceRule = Literal["global_pool", "local_pool", "local_pool_fast"]
Pool = Callable[[Tensor], Tensor]
_STEPS = (5, 4, 3, 2, 1)  # of the fast rule: every how manieth row and column is looked at


# --- means of windows -------------------------------------------------------------------------------------------------


def window_means(x: Tensor, window: tuple[int, int], *, longest_steps: tuple[int, int] | None = None) -> Tensor:
    """Return the means of all windows of a picture.

    Args:
        x: ``(B, C, H, W)``.
        window: Height and width; what is larger than the picture is cut.
        longest_steps: Rows and columns that the fast form may go at a time; the exact form if ``None``. The fast form
            looks at every second to fifth row and column where that divides their number, and its windows are one of
            these steps off.

    Returns:
        ``(B, C, h, w)``, in the exact form ``(B, C, H - height + 1, W - width + 1)``.
    """
    height, width = x.shape[2:]
    if window[0] >= height and window[1] >= width:
        return x.mean((2, 3), keepdim=True)
    if longest_steps is None:
        return _running_mean(_running_mean(x, 2, min(window[0], height)), 3, min(window[1], width))
    divisors = (next(s for s in _STEPS if size % s == 0) for size in (height, width))
    steps = [min(pair) for pair in zip(longest_steps, divisors, strict=True)]
    means = x[:, :, :: steps[0], :: steps[1]]
    for dim in (2, 3):
        length = max(1, window[dim - 2] // steps[dim - 2])
        means = _running_mean(means, dim, min(length, means.shape[dim] - 1), late=True)
    return means.repeat_interleave(steps[0], 2).repeat_interleave(steps[1], 3)


def extend(means: Tensor, size: tuple[int, int]) -> Tensor:
    """Give each pixel the mean of the window around it, pixels at the border that of the nearest whole window.

    Args:
        means: ``(B, C, h, w)``.
        size: (H, W).

    Returns:
        ``(B, C, H, W)``; a single mean stays ``(B, C, 1, 1)``.
    """
    if means.shape[2:] == (1, 1):
        return means
    above, left = (size[0] - means.shape[2]) // 2, (size[1] - means.shape[3]) // 2
    return F.pad(
        means, (left, size[1] - means.shape[3] - left, above, size[0] - means.shape[2] - above), mode="replicate"
    )


def _running_mean(x: Tensor, dim: int, length: int, *, late: bool = False) -> Tensor:
    """Return the means of all stretches of a length along one axis, but for the first one if ``late``."""
    sums = x.cumsum(dim)
    later = sums.narrow(dim, length, x.shape[dim] - length) - sums.narrow(dim, 0, x.shape[dim] - length)
    return (later if late else torch.cat([sums.narrow(dim, length - 1, 1), later], dim)) / length


def _global_mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


# --- blocks -----------------------------------------------------------------------------------------------------------


def _gate(x: Tensor) -> Tensor:
    """Multiply one half of the channels of ``(B, 2 C, H, W)`` by the other."""
    first, second = x.chunk(2, 1)
    return first * second


class Block(nn.Module):
    """A branch with a depth-wise convolution and attention, and one without, each behind a norm.

    Args:
        channels: C.
        norm_eps: Of the norms.
    """

    def __init__(self, channels: int, *, norm_eps: float) -> None:
        super().__init__()
        self.norm1 = Norm(channels, eps=norm_eps)
        self.expand1 = nn.Conv2d(channels, 2 * channels, 1)
        self.filter = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.attend = nn.Conv2d(channels, channels, 1)
        self.project1 = nn.Conv2d(channels, channels, 1)
        self.norm2 = Norm(channels, eps=norm_eps)
        self.expand2 = nn.Conv2d(channels, 2 * channels, 1)
        self.project2 = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor, visible: Visibility | None = None, pool: Pool = _global_mean) -> Tensor:
        """Transform ``(B, C, H, W)``.

        Hidden places do not stay 0: the mean is one of all places, and the second branch puts a constant into them.
        """
        if visible is None and runs_in_bands(self, x):
            rows = even_rows(x, channels=self.filter.in_channels)
            if rows < x.shape[2] or not torch.compiler.is_compiling():
                return uncompiled(self._in_bands)(x, pool, rows)

        def hide(x: Tensor) -> Tensor:
            return x if visible is None else visible.hide(x)

        y = _gate(self.filter(self.expand1(hide(self.norm1(x)))))
        x = x + hide(self.project1(y * self._told(y, pool))) * self.beta
        return x + self.project2(_gate(self.expand2(hide(self.norm2(x))))) * self.gamma

    def _told(self, x: Tensor, pool: Pool) -> Tensor:
        """Return the attention to ``(B, C, H, W)``: one for all pixels, ``(B, C, 1, 1)``, or one for each."""
        return extend(self.attend(pool(x)), (x.shape[2], x.shape[3]))

    def _in_bands(self, x: Tensor, pool: Pool, rows: int) -> Tensor:
        """Do the same in bands of rows, picture by picture."""
        out = torch.empty_like(x, memory_format=torch.channels_last)
        for picture, result in zip(x.permute(0, 2, 3, 1).contiguous(), out.permute(0, 2, 3, 1), strict=True):
            gated = self._survey(picture, rows)
            told = self._told(gated.permute(2, 0, 1)[None], pool)
            self._finish(picture, gated, told[0], result, rows)
        return out

    def _survey(self, picture: Tensor, rows: int) -> Tensor:
        """Return what the attention looks at and weighs, for ``(H, W, C)``."""
        height, width, channels = picture.shape
        gated: Tensor | None = None
        for top, bottom, both in filtered_bands(
            lambda top, bottom: self.norm1.rows(picture[top:bottom].view(-1, channels)),
            (height, width),
            weights_of(self.expand1),
            (self.filter.weight, self.filter.bias),
            rows=rows,
        ):
            if gated is None:
                gated = both.new_empty(height, width, channels)
            first, second = both.view(bottom - top, width, -1).chunk(2, 2)
            torch.mul(first, second, out=gated[top:bottom])
        assert gated is not None
        return gated

    def _finish(self, picture: Tensor, gated: Tensor, told: Tensor, result: Tensor, rows: int) -> None:
        """Write the block's result for ``(H, W, C)``; the attention may be one for all pixels or one for each."""
        height, _, channels = picture.shape
        local = told.numel() > channels
        weight, bias = _scaled(self.project1, self.beta)
        if not local:
            weight = weight * told.view(-1)
        leave = _scaled(self.project2, self.gamma)
        for top, bottom in row_bands(height, rows):
            values = gated[top:bottom]
            if local:
                values = values * told[:, top:bottom].permute(1, 2, 0)
            out = result[top:bottom].view(-1, channels)
            torch.add(picture[top:bottom].view(-1, channels), bias, out=out)
            add_product(out, values.reshape(-1, channels), weight, None)
            first, second = F.linear(self.norm2.rows(out), *weights_of(self.expand2)).chunk(2, 1)
            add_product(out, first * second, *leave)


def _scaled(conv: nn.Conv2d, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight ``(C', C)`` and bias with which a 1x1 convolution gives its results times ``(1, C', 1, 1)``."""
    assert conv.bias is not None
    return conv.weight.flatten(1) * scale.view(-1, 1), conv.bias * scale.view(-1)


class Level(nn.Sequential):
    """Blocks one after the other."""

    def forward(self, x: Tensor, visible: Visibility | None = None, pool: Pool = _global_mean) -> Tensor:
        """Transform ``(B, C, H, W)``."""
        for block in self:
            x = block(x, visible, pool)
        return x


# --- the network ------------------------------------------------------------------------------------------------------


class NAFNet(nn.Module):
    """The whole network; the defaults are MaskDCPT's configuration.

    Args:
        in_channels: Channels of the picture.
        width: Channels of the first level; each level below has twice as many.
        encoder_blocks: Blocks of each level, from the first level downwards.
        middle_blocks: Blocks of the lowest level.
        decoder_blocks: Blocks of each level on the way up, from the lowest level upwards.
        norm_eps: Of the norms.
        inference_rule: What the attention takes the mean of, without gradients and out of training: the picture
            (``"global_pool"``), or windows, exactly or nearly.
        window: Side of a window, in pixels of the picture; one and a half times that of the training patches.

    Attributes:
        feature_channels: Channels of the maps of ``forward_features``.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        width: int = 64,
        encoder_blocks: tuple[int, ...] = (1, 1, 1, 28),
        middle_blocks: int = 1,
        decoder_blocks: tuple[int, ...] = (1, 1, 1, 1),
        norm_eps: float = 1e-5,
        inference_rule: InferenceRule = "global_pool",
        window: int = 576,
    ) -> None:
        super().__init__()
        self.inference_rule, self.window = inference_rule, window

        def level(channels: int, count: int) -> Level:
            return Level(*(Block(channels, norm_eps=norm_eps) for _ in range(count)))

        widths = [width * 2**number for number in range(len(encoder_blocks) + 1)]
        self.feature_channels = tuple(widths[:-1])
        self.intro = nn.Conv2d(in_channels, width, 3, padding=1)
        self.encoders = nn.ModuleList(level(c, n) for c, n in zip(widths, encoder_blocks, strict=False))
        self.downs = nn.ModuleList(nn.Conv2d(c, 2 * c, 2, stride=2) for c in widths[:-1])
        self.middle = level(widths[-1], middle_blocks)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, 2 * c, 1, bias=False), nn.PixelShuffle(2)) for c in reversed(widths[1:])
        )
        self.decoders = nn.ModuleList(level(c, n) for c, n in zip(reversed(widths[:-1]), decoder_blocks, strict=True))
        self.ending = nn.Conv2d(width, in_channels, 3, padding=1)
        if norm_eps != _EPS:
            self.register_buffer(_mark(norm_eps), torch.empty(0))

    def forward(self, image: Tensor) -> Tensor:
        """Restore a picture.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1]; H and W multiples of 2 to the number of levels, by default 16.

        Returns:
            ``(B, 3, H, W)``, not clamped.
        """
        return self.ending(self.forward_features(image)[0]) + image

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """Return what the levels of the decoder make of a picture.

        Args:
            image: As for ``forward``.

        Returns:
            One map for each level, with ``feature_channels``, the first at the full resolution and each further one at
            half of the one before.
        """
        return self._features(image, None)

    def forward_masked(self, image: Tensor, mask: Tensor) -> Masked:
        """Reconstruct a picture from some of its patches.

        Args:
            image: As for ``forward``.
            mask: ``(B, 1, h, w)``, True where a patch is seen, see ``sample_mask``.

        Raises:
            UsageError: The mask does not suit the picture.
        """
        features = self._features(image, Visibility.of(image, mask, reduction=2 ** len(self.encoders)))
        return Masked(reconstruction=self.ending(features[0]), features=features)

    def _features(self, image: Tensor, visible: Visibility | None) -> list[Tensor]:
        image = image.contiguous(memory_format=torch.channels_last)
        x = self.intro(image if visible is None else visible.hide(image))
        x = x if visible is None else visible.hide(x)
        skips = []
        for number, (encoder, down) in enumerate(zip(self.encoders, self.downs, strict=True)):
            skips.append(encoder(x, visible, self._pool(number)))
            x = down(skips[-1])
        x = self.middle(x, visible, self._pool(len(skips)))
        features: list[Tensor] = []
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = decoder(up(x) + skips.pop(), visible, self._pool(len(skips)))
            features.insert(0, x)
        return features

    def _pool(self, number: int) -> Pool:
        """Return how the attention of a level takes its mean."""
        if self.inference_rule == "global_pool" or self.training or torch.is_grad_enabled():
            return _global_mean
        side = self.window >> number
        step = max(1, _STEPS[0] >> number)
        steps = (step, step) if self.inference_rule == "local_pool_fast" else None
        return partial(window_means, window=(side, side), longest_steps=steps)


# --- the authors' names -----------------------------------------------------------------------------------------------

_EPS = 1e-5  # MaskDCPT's
_ORIGINAL_EPS = 1e-6

CONFIG_MAP: dict[str, str | None] = {
    "img_channel": "in_channels",
    "width": "width",
    "enc_blk_nums": "encoder_blocks",
    "middle_blk_num": "middle_blocks",
    "dec_blk_nums": "decoder_blocks",
    "window_size": None,
}
"""Authors' argument -> ours; ``None``: the side of hidden patches is that of the mask."""

_PARTS: tuple[tuple[str, str], ...] = (
    ("conv1.", "expand1."),
    ("conv2.", "filter."),
    ("sca.1.", "attend."),
    ("conv3.", "project1."),
    ("conv4.", "expand2."),
    ("conv5.", "project2."),
)


def _mark(eps: float) -> str:
    """Return the name of the entry that marks an eps."""
    return f"norm_eps_{eps:g}"


def convert(authors: StateDict) -> StateDict:
    """Rename the authors' state dict, of any release, to ours; keys that are not known keep their names."""
    ours = {our_key(key): value for key, value in authors.items()}
    if any(re.match(r"middle_blks\.\d", key) for key in authors):  # only MaskDCPT's code names a level's blocks
        ours[_mark(_ORIGINAL_EPS)] = torch.empty(0)
    return ours


def revert(ours: StateDict, *, release: str | None = None) -> StateDict:
    """Rename our state dict to the authors'; the inverse of ``convert``.

    Args:
        ours: The weights.
        release: ``"maskdcpt"``, ``"dcpt"`` or ``"original"``; by the eps of the norms, one of the first two, if
            ``None``.
    """
    other = any(key.startswith("norm_eps_") for key in ours)
    release = release or ("dcpt" if other else "maskdcpt")
    return {authors_key(key, release=release): value for key, value in ours.items() if not key.startswith("norm_eps_")}


def our_key(key: str) -> str:
    """Rename one of the authors' keys, of any release, to ours."""
    key = re.sub(r"^(encoders\.\d+|middle_blks|decoder\d+|decoders\.\d+)\.(?:blocks\.)?", r"\1.", key)
    key = re.sub(r"^decoder(\d+)\.", r"decoders.\1.", key).replace("middle_blks.", "middle.", 1)
    for theirs, ours in _PARTS:
        key = re.sub(rf"(\.\d+\.){re.escape(theirs)}", rf"\g<1>{ours}", key)
    return key


def authors_key(key: str, *, release: str = "maskdcpt") -> str:
    """Rename one of our keys to the authors'."""
    for theirs, ours in _PARTS:
        key = re.sub(rf"(\.\d+\.){re.escape(ours)}", rf"\g<1>{theirs}", key)
    blocks = "blocks." if release == "maskdcpt" else ""
    key = re.sub(r"^(encoders\.\d+|decoders\.\d+|middle)\.", rf"\1.{blocks}", key).replace("middle.", "middle_blks.", 1)
    return key if release == "original" else re.sub(r"^decoders\.(\d+)\.", r"decoder\1.", key)


register_model(
    ModelSpec(
        name="nafnet",
        task="restore",
        network=NAFNet,
        variants={
            "nafnet": {},
            "nafnet-local": {"inference_rule": "local_pool"},
            "nafnet-original": {"norm_eps": _ORIGINAL_EPS},
            "nafnet-original-local": {"norm_eps": _ORIGINAL_EPS, "inference_rule": "local_pool", "window": 384},
            "nafnet-test": {"width": 8, "encoder_blocks": (1, 1), "middle_blocks": 1, "decoder_blocks": (1, 1)},
        },
        default_variant="nafnet",
        size=SizeRule(minimum=16, multiple_of=16),
        paper="NAFNet (Chen et al., ECCV 2022), as pre-trained by MaskDCPT (Hu et al., 2025, arXiv 2510.13282)",
        licence="not stated",
        config_map=CONFIG_MAP,
        convert=convert,
        revert=revert,
    )
)
