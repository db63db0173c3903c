"""The U-shaped network that Restormer, PromptIR and MIR-L are, and how their authors name its parts.

Shapes: B pictures, d channels of the first level.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from restorekit.models._masking import Masked, Visibility
from restorekit.models._norm import NormKind
from restorekit.models._restormer import Block, Blocks, Down, Scoring, Up

__all__ = ["CONFIG_MAP", "LAYOUTS", "Layout", "TransformerUNet", "authors_key", "our_key"]


class TransformerUNet(nn.Module):
    """Three levels down, a latent one, three levels up, and a refinement; the picture is added at the end.

    Args:
        in_channels: Channels of the picture.
        embed_dim: d; each of the three levels below has twice as many channels as the one above.
        num_blocks: Blocks of the levels; the decoder mirrors the first three.
        num_refinement_blocks: Blocks after the decoder.
        num_heads: Heads of the levels.
        expansion: Hidden channels of the feed-forward over its channels.
        bias: Whether the convolutions of the blocks, the 1x1 ones between them and the last one have a bias.
        norm: ``"with_bias"`` subtracts the mean, ``"bias_free"`` does not.
        norm_eps: Of the norms.
        scoring: How attention turns products into weights, ``"softmax"`` or ``"relu"``.
        bottom: Channels that the decoder takes from below, over d.

    Attributes:
        feature_channels: Channels of the maps of ``forward_features``.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        embed_dim: int,
        num_blocks: tuple[int, int, int, int],
        num_refinement_blocks: int,
        num_heads: tuple[int, int, int, int],
        expansion: float,
        bias: bool,
        norm: NormKind,
        norm_eps: float,
        scoring: Scoring,
        bottom: int,
    ) -> None:
        super().__init__()
        kind: dict[str, Any] = {"expansion": expansion, "bias": bias, "norm": norm, "norm_eps": norm_eps}
        self._kind = {**kind, "scoring": scoring}

        def blocks(channels: int, count: int, heads: int) -> Blocks:
            return Blocks(*(self.block(channels, heads) for _ in range(count)))

        d = embed_dim
        self.feature_channels = (2 * d, 2 * d, 4 * d)
        self.patch_embed = nn.Conv2d(in_channels, d, 3, padding=1, bias=False)
        self.encoder1 = blocks(d, num_blocks[0], num_heads[0])
        self.down1 = Down(d)
        self.encoder2 = blocks(2 * d, num_blocks[1], num_heads[1])
        self.down2 = Down(2 * d)
        self.encoder3 = blocks(4 * d, num_blocks[2], num_heads[2])
        self.down3 = Down(4 * d)
        self.latent = blocks(8 * d, num_blocks[3], num_heads[3])
        self.up3 = Up(bottom * d)
        self.fuse3 = nn.Conv2d(bottom * d // 2 + 4 * d, 4 * d, 1, bias=bias)
        self.decoder3 = blocks(4 * d, num_blocks[2], num_heads[2])
        self.up2 = Up(4 * d)
        self.fuse2 = nn.Conv2d(4 * d, 2 * d, 1, bias=bias)
        self.decoder2 = blocks(2 * d, num_blocks[1], num_heads[1])
        self.up1 = Up(2 * d)
        self.decoder1 = blocks(2 * d, num_blocks[0], num_heads[0])
        self.refinement = blocks(2 * d, num_refinement_blocks, num_heads[0])
        self.output = nn.Conv2d(2 * d, in_channels, 3, padding=1, bias=bias)

    def block(self, channels: int, heads: int) -> Block:
        """Return a new block of this network's kind."""
        return Block(channels, heads, **self._kind)

    def forward(self, image: Tensor) -> Tensor:
        """Restore a picture.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1]; H and W multiples of 8.

        Returns:
            ``(B, 3, H, W)``, not clamped.
        """
        return self.output(self.refinement(self.forward_features(image)[0])) + image

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """Return what the three levels of the decoder make of a picture.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1]; H and W multiples of 8.

        Returns:
            Maps at the full, half and quarter resolution, with ``feature_channels``.
        """
        return self._features(image, None)

    def forward_masked(self, image: Tensor, mask: Tensor) -> Masked:
        """Reconstruct a picture from some of its patches.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1]; H and W multiples of 8.
            mask: ``(B, 1, h, w)``, True where a patch is seen, see ``sample_mask``.

        Raises:
            UsageError: The mask does not suit the picture.
        """
        visible = Visibility.of(image, mask, reduction=8)
        features = self._features(image, visible)
        return Masked(reconstruction=self.output(self.refinement(features[0], visible)), features=features)

    def _features(self, image: Tensor, visible: Visibility | None) -> list[Tensor]:
        image = image.contiguous(memory_format=torch.channels_last)
        x = self.patch_embed(image if visible is None else visible.hide(image))
        first = self.encoder1(x if visible is None else visible.hide(x), visible)
        second = self.encoder2(self.down1(first, visible), visible)
        third = self.encoder3(self.down2(second, visible), visible)
        x = self.prompted(self.latent(self.down3(third, visible), visible), 3, visible)
        third = self.decoder3(self.fuse3(torch.cat([self.up3(x, visible), third], 1)), visible)
        x = self.prompted(third, 2, visible)
        second = self.decoder2(self.fuse2(torch.cat([self.up2(x, visible), second], 1)), visible)
        x = self.prompted(second, 1, visible)
        first = self.decoder1(torch.cat([self.up1(x, visible), first], 1), visible)
        return [first, second, third]

    def prompted(self, x: Tensor, level: int, visible: Visibility | None) -> Tensor:
        """Return what goes up into a level, given what the level below made; with prompts it is not the same."""
        return x


# --- the authors' names -----------------------------------------------------------------------------------------------

CONFIG_MAP: Mapping[str, str | None] = {
    "inp_channels": "in_channels",
    "out_channels": None,
    "dim": "embed_dim",
    "num_blocks": "num_blocks",
    "num_refinement_blocks": "num_refinement_blocks",
    "heads": "num_heads",
    "ffn_expansion_factor": "expansion",
    "bias": "bias",
    "window_size": None,
}
"""Authors' argument -> ours, in all releases; ``None``: as many channels come out as went in, and the side of hidden
patches is that of the mask."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What one release of the authors' code calls things that all have.

    Attributes:
        blocks: Between the name of a level and the number of a block.
        norm: Between the name of a norm and its parameters.
        resample: The convolution of a change of resolution.
    """

    blocks: str
    norm: str
    resample: str


LAYOUTS: Mapping[str, Layout] = {
    "maskdcpt": Layout(blocks="blocks.", norm="", resample="conv."),
    "dcpt-restormer": Layout(blocks="body.", norm="body.", resample="body.0."),
    "original": Layout(blocks="", norm="body.", resample="body.0."),
}
"""Release -> layout; ``original`` is that of the papers' own code, which DCPT's PromptIR and MIR-L keep."""

_TO_OURS: tuple[tuple[str, str], ...] = (
    (r"^(encoder|decoder)_level(\d)\.(?:blocks\.|body\.)?", r"\1\2."),
    (r"^(latent|refinement)\.(?:blocks\.|body\.)?", r"\1."),
    (r"\.(norm[12])\.body\.", r".\1."),
    (r"\.attn\.qkv\.", ".attention.project_in."),
    (r"\.attn\.qkv_dwconv\.", ".attention.filter."),
    (r"\.attn\.", ".attention."),
    (r"\.ffn\.dwconv\.", ".feed_forward.filter."),
    (r"\.ffn\.", ".feed_forward."),
    (r"^patch_embed\.proj\.", "patch_embed."),
    (r"^down(\d)_\d\.(?:conv|body\.0)\.", r"down\1.conv."),
    (r"^up\d_(\d)\.(?:conv|body\.0)\.", r"up\1.conv."),
    (r"^reduce_chan_level(\d)\.", r"fuse\1."),
    (r"^noise_level(\d)\.", r"interact\1."),
    (r"^reduce_noise_level(\d)\.", r"reduce\1."),
    (r"^(prompt\d)\.prompt_param", r"\1.components"),
    (r"^(prompt\d)\.linear_layer\.", r"\1.weigh."),
    (r"^(prompt\d)\.conv3x3\.", r"\1.filter."),
)


def _to_authors(layout: Layout) -> tuple[tuple[str, str], ...]:
    return (
        (r"^(encoder|decoder)(\d)\.", rf"\1_level\2.{layout.blocks}"),
        (r"^(latent|refinement)\.", rf"\1.{layout.blocks}"),
        (r"\.(norm[12])\.", rf".\1.{layout.norm}"),
        (r"\.attention\.project_in\.", ".attn.qkv."),
        (r"\.attention\.filter\.", ".attn.qkv_dwconv."),
        (r"\.attention\.gain$", ".attn.temperature"),
        (r"\.attention\.", ".attn."),
        (r"\.feed_forward\.filter\.", ".ffn.dwconv."),
        (r"\.feed_forward\.", ".ffn."),
        (r"^patch_embed\.", "patch_embed.proj."),
        (r"^down1\.conv\.", f"down1_2.{layout.resample}"),
        (r"^down2\.conv\.", f"down2_3.{layout.resample}"),
        (r"^down3\.conv\.", f"down3_4.{layout.resample}"),
        (r"^up1\.conv\.", f"up2_1.{layout.resample}"),
        (r"^up2\.conv\.", f"up3_2.{layout.resample}"),
        (r"^up3\.conv\.", f"up4_3.{layout.resample}"),
        (r"^fuse(\d)\.", r"reduce_chan_level\1."),
        (r"^interact(\d)\.", r"noise_level\1."),
        (r"^reduce(\d)\.", r"reduce_noise_level\1."),
        (r"^(prompt\d)\.components", r"\1.prompt_param"),
        (r"^(prompt\d)\.weigh\.", r"\1.linear_layer."),
        (r"^(prompt\d)\.filter\.", r"\1.conv3x3."),
    )


def our_key(key: str) -> str:
    """Rename one of the authors' keys, of any release, to ours."""
    return _rename(key, _TO_OURS)


def authors_key(key: str, layout: Layout) -> str:
    """Rename one of our keys to the authors'."""
    return _rename(key, _to_authors(layout))


def _rename(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key
