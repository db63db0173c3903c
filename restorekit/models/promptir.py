"""PromptIR: Restormer's network, which is told by learned prompts what it has to do with.

Paper: Potlapalli et al., "PromptIR: Prompting for All-in-One Blind Image Restoration", NeurIPS 2023 (arXiv 2306.13090).
The releases that are known here are those of MaskDCPT (Hu et al., 2025, arXiv 2510.13282) and of its predecessor DCPT
(Hu et al., ICLR 2025, arXiv 2501.15510); neither states a licence of code or weights, and PromptIR's own code is for
academic use only. Written from the papers and a description of the released networks; gives their numbers.

- ``promptir``: MaskDCPT's networks for restoration; convolutions have a bias.
- ``promptir-dcpt``: DCPT's, and what MaskDCPT's pre-training with hidden patches is done with; they have none.

Deviations, none of which changes a result but for rounding: see ``_restormer`` and ``_promptir``. The authors' widths
of prompts are numbers that suit 48 channels only; here they are arguments.
"""

from __future__ import annotations

from restorekit.models._norm import NormKind
from restorekit.models._promptir import PromptUNet
from restorekit.models._spec import ModelSpec, SizeRule, StateDict, register_model
from restorekit.models._transformer_unet import CONFIG_MAP as _SHARED
from restorekit.models._transformer_unet import LAYOUTS, authors_key, our_key

__all__ = ["PromptIR"]


class PromptIR(PromptUNet):
    """The whole network, see ``PromptUNet``; the defaults are MaskDCPT's configuration.

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
        bias: bool = True,
        norm: NormKind = "with_bias",
        norm_eps: float = 1e-5,
        prompt_channels: tuple[int, int, int] = (64, 128, 320),
        prompt_sizes: tuple[int, int, int] = (64, 32, 16),
        num_prompts: int = 5,
        prompt_heads: int = 4,
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


# --- the authors' names -----------------------------------------------------------------------------------------------

CONFIG_MAP: dict[str, str | None] = {**_SHARED, "LayerNorm_type": None, "decoder": None}
"""Authors' argument -> ours; ``None``: MaskDCPT's code ignores the kind of norm, and needs its prompts to run."""


def convert(authors: StateDict) -> StateDict:
    """Rename the authors' state dict, of any release, to ours; keys that are not known keep their names."""
    return {our_key(key): value for key, value in authors.items()}


def revert(ours: StateDict, *, release: str | None = None) -> StateDict:
    """Rename our state dict to the authors'; the inverse of ``convert``.

    Args:
        ours: The weights.
        release: One of ``LAYOUTS``; MaskDCPT's if ``None``.
    """
    layout = LAYOUTS[release or "maskdcpt"]
    return {authors_key(key, layout): value for key, value in ours.items()}


register_model(
    ModelSpec(
        name="promptir",
        task="restore",
        network=PromptIR,
        variants={
            "promptir": {},
            "promptir-dcpt": {"bias": False},
            "promptir-test": {
                "embed_dim": 8,
                "num_blocks": (1, 1, 1, 1),
                "num_refinement_blocks": 1,
                "num_heads": (1, 1, 1, 1),
                "prompt_channels": (4, 8, 16),
                "prompt_sizes": (16, 8, 8),
                "bias": False,
            },
        },
        default_variant="promptir",
        size=SizeRule(minimum=8, multiple_of=8),
        paper="PromptIR (Potlapalli et al., NeurIPS 2023), pre-trained by MaskDCPT (Hu et al., 2025, arXiv 2510.13282)",
        licence="not stated",
        config_map=CONFIG_MAP,
        convert=convert,
        revert=revert,
    )
)
