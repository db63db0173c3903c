"""Prompts, and the network with prompts that PromptIR and MIR-L are.

Paper: Potlapalli et al., "PromptIR: Prompting for All-in-One Blind Image Restoration", NeurIPS 2023 (arXiv 2306.13090).
A prompt is a mixture of a few learned maps; the mean of the features decides on the shares.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit.models._masking import Visibility
from restorekit.models._norm import NormKind
from restorekit.models._rolling import is_traced
from restorekit.models._transformer_unet import TransformerUNet
from restorekit.ops.rows import to_picture, to_rows

__all__ = ["Prompt", "PromptUNet"]

_KEPT_BYTES = 32 << 20  # most that the maps of a size may take to be kept


class Prompt(nn.Module):
    """Mix learned maps by what the features are like, bring them to the features' size, and filter them.

    All but the shares is the same for all pictures of a size, and linear. For inference the maps of the last size are
    kept, enlarged and filtered: tiles are all of one size.

    Args:
        features: Channels of the features.
        channels: Channels of the maps.
        size: Side of the maps.
        count: Number of maps.
    """

    def __init__(self, features: int, channels: int, *, size: int, count: int = 5) -> None:
        super().__init__()
        self.components = nn.Parameter(torch.empty(1, count, channels, size, size))
        nn.init.uniform_(self.components)
        self.weigh = nn.Linear(features, count)
        self.filter = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self._kept: tuple[Hashable, Tensor] | None = None

    def forward(self, x: Tensor, visible: Visibility | None = None) -> Tensor:
        """Return the prompt ``(B, channels, H, W)`` for features ``(B, features, H, W)``."""
        shares = self.weigh(x.mean((2, 3))).softmax(1)
        height, width = x.shape[2:]
        if visible is None and self._keeps(height, width):
            rows = (shares.to(x.dtype) @ self._maps(height, width).flatten(1)).view(x.shape[0], height * width, -1)
            return to_picture(rows, height, width)
        mixture = torch.einsum("bk,kchw->bchw", shares, self.components[0])
        prompt = self._enlarge(mixture, height, width)
        if visible is None:
            return self.filter(prompt)
        return visible.hide(self.filter(visible.hide(prompt)))

    def train(self, mode: bool = True) -> Prompt:
        """Switch between training and inference; forgets the maps that were kept."""
        self._kept = None
        return super().train(mode)

    def _keeps(self, height: int, width: int) -> bool:
        """Tell whether the maps of a size are kept."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling() or is_traced():
            return False
        count, channels = self.components.shape[1:3]
        return count * channels * height * width * self.components.element_size() <= _KEPT_BYTES

    def _maps(self, height: int, width: int) -> Tensor:
        """Return the maps for a size, ``(count, H W, channels)``."""
        weights = (self.components, self.filter.weight)
        key = (height, width, *((w.data_ptr(), w.dtype, w.device, _version(w)) for w in weights))
        if self._kept is None or self._kept[0] != key:
            with torch.autocast(self.components.device.type, enabled=False):
                maps = to_rows(self.filter(self._enlarge(self.components[0], height, width))).contiguous()
            self._kept = (key, maps)
        return self._kept[1]

    @staticmethod
    def _enlarge(maps: Tensor, height: int, width: int) -> Tensor:
        """Bring maps to a size."""
        maps = F.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)
        return maps.contiguous(memory_format=torch.channels_last)


def _version(weight: Tensor) -> int:
    """Return a number that grows when a tensor is changed in place; one made in inference mode has none."""
    return 0 if weight.is_inference() else weight._version


class PromptUNet(TransformerUNet):
    """Restormer's network, in which a prompt joins what goes up into each level of the decoder.

    Args:
        in_channels: Channels of the picture.
        embed_dim: d, channels of the first level; each of the three below has twice as many.
        num_blocks: Blocks of the levels; the decoder mirrors the first three.
        num_refinement_blocks: Blocks after the decoder.
        num_heads: Heads of the levels.
        expansion: Hidden channels of the feed-forward over its channels.
        bias: Whether the convolutions of the blocks, the 1x1 ones between them and the last one have a bias.
        norm: ``"with_bias"`` subtracts the mean, ``"bias_free"`` does not.
        norm_eps: Of the norms.
        prompt_channels: Channels of the maps of the prompts, that of the highest resolution first.
        prompt_sizes: Sides of the maps.
        num_prompts: Maps of a prompt.
        prompt_heads: Heads of the blocks in which features and prompts meet.
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
        prompt_channels: tuple[int, int, int],
        prompt_sizes: tuple[int, int, int],
        num_prompts: int,
        prompt_heads: int,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            embed_dim=embed_dim,
            num_blocks=num_blocks,
            num_refinement_blocks=num_refinement_blocks,
            num_heads=num_heads,
            expansion=expansion,
            bias=bias,
            norm=norm,
            norm_eps=norm_eps,
            scoring="softmax",
            bottom=4,
        )
        d = embed_dim
        for level, below, out in ((1, 2 * d, 2 * d), (2, 4 * d, 4 * d), (3, 8 * d, 4 * d)):
            channels, size = prompt_channels[level - 1], prompt_sizes[level - 1]
            self.add_module(f"prompt{level}", Prompt(below, channels, size=size, count=num_prompts))
            self.add_module(f"interact{level}", self.block(below + channels, prompt_heads))
            self.add_module(f"reduce{level}", nn.Conv2d(below + channels, out, 1, bias=bias))

    def prompted(self, x: Tensor, level: int, visible: Visibility | None) -> Tensor:
        """Return what goes up into a level: what the level below made, with a prompt."""
        prompt, interact, reduce = (self._part(f"{name}{level}") for name in ("prompt", "interact", "reduce"))
        joined: Tensor = reduce(interact(torch.cat([x, prompt(x, visible)], 1), visible))
        return joined

    def _part(self, name: str) -> Any:
        return self.get_submodule(name)
