"""MIR-L: the PromptIR network whose weights were pruned to a tenth.

Paper: Katraouras, Rafailidis, "Pruning Overparameterized Multi-Task Networks for Degraded Web Image Restoration",
WI-IAT 2025 (arXiv 2510.14463). The network is that of PromptIR (Potlapalli et al., NeurIPS 2023, arXiv 2306.13090) at
the setting of its authors, whose code is for academic use only; code and weights of MIR-L are under the MIT licence,
which may not cover what they took over. Written from the papers and a description of the released network; gives its
numbers. Original PromptIR weights have the same names and load as well.

Deviations, none of which changes a result but for rounding: see ``_restormer`` and ``_promptir``. Zeros stay zeros and
cost what other numbers cost.
"""

from __future__ import annotations

from torch import nn

from restorekit.models._norm import NormKind
from restorekit.models._promptir import PromptUNet
from restorekit.models._spec import ModelSpec, SizeRule, StateDict, register_model
from restorekit.models._transformer_unet import CONFIG_MAP as _SHARED
from restorekit.models._transformer_unet import LAYOUTS, authors_key, our_key

__all__ = ["MIRL"]

_UNUSED = {
    "chnl_reduce1": (64, 64),
    "chnl_reduce2": (128, 128),
    "chnl_reduce3": (320, 256),
    "reduce_noise_channel_1": (112, 48),
    "reduce_noise_channel_2": (224, 96),
    "reduce_noise_channel_3": (448, 192),
}
"""1x1 convolutions that the authors' network has and never calls, and their channels."""


class MIRL(PromptUNet):
    """The whole network, see ``PromptUNet``; the defaults are the released configuration.

    Args:
        in_channels: Channels of the picture.
        embed_dim: Channels of the first level; each of the three below has twice as many.
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
        unused: Whether the six convolutions are there that nothing calls. The authors' files hold them, and pruning
            counts and prunes them like all others.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        embed_dim: int = 48,
        num_blocks: tuple[int, int, int, int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        num_heads: tuple[int, int, int, int] = (1, 2, 4, 8),
        expansion: float = 2.66,
        bias: bool = False,
        norm: NormKind = "with_bias",
        norm_eps: float = 1e-5,
        prompt_channels: tuple[int, int, int] = (64, 128, 320),
        prompt_sizes: tuple[int, int, int] = (64, 32, 16),
        num_prompts: int = 5,
        prompt_heads: int = 4,
        unused: bool = True,
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
            prompt_channels=prompt_channels,
            prompt_sizes=prompt_sizes,
            num_prompts=num_prompts,
            prompt_heads=prompt_heads,
        )
        if unused:
            self.unused = nn.ModuleDict({n: nn.Conv2d(*channels, 1, bias=bias) for n, channels in _UNUSED.items()})


# --- the authors' names -----------------------------------------------------------------------------------------------

CONFIG_MAP: dict[str, str | None] = {**_SHARED, "LayerNorm_type": "norm", "decoder": None}
"""Authors' argument -> ours; ``None``: without prompts their network does not run."""


def convert(authors: StateDict) -> StateDict:
    """Rename the authors' state dict to ours; keys that are not known keep their names."""
    return {f"unused.{key}" if key.split(".")[0] in _UNUSED else our_key(key): v for key, v in authors.items()}


def revert(ours: StateDict) -> StateDict:
    """Rename our state dict to the authors'; the inverse of ``convert``."""
    return {authors_key(key.removeprefix("unused."), LAYOUTS["original"]): value for key, value in ours.items()}


register_model(
    ModelSpec(
        name="mirl",
        task="restore",
        network=MIRL,
        variants={
            "mirl": {},
            "mirl-test": {
                "embed_dim": 8,
                "num_blocks": (1, 1, 1, 1),
                "num_refinement_blocks": 1,
                "num_heads": (1, 1, 2, 2),
                "prompt_channels": (4, 8, 16),
                "prompt_sizes": (16, 8, 4),
                "unused": False,
            },
        },
        default_variant="mirl",
        size=SizeRule(minimum=8, multiple_of=8),
        paper="MIR-L (Katraouras and Rafailidis, WI-IAT 2025, arXiv 2510.14463)",
        licence="MIT",
        aliases=("mir-l",),
        config_map=CONFIG_MAP,
        convert=convert,
        revert=revert,
    )
)
