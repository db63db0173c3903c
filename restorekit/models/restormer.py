"""Restormer: a U-shaped transformer that attends between channels.

Paper: Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", CVPR 2022 (arXiv
2111.09881). The releases that are known here are those of MaskDCPT (Hu et al., 2025, arXiv 2510.13282) and of its
predecessor DCPT (Hu et al., ICLR 2025, arXiv 2501.15510); neither states a licence of code or weights. Written from the
papers and a description of the released networks; gives their numbers.

The releases differ from each other and from the paper:

- MaskDCPT (variant ``restormer``): norms with a bias, eps 1e-5.
- DCPT (``restormer-dcpt``): norms without, eps 1e-6, and ReLU in place of softmax.
- The paper's own configuration for noise (``restormer-bias-free``): norms without a bias, eps 1e-5, softmax.

Deviations, none of which changes a result but for rounding: see ``_restormer``. Left out, because no release uses them:
pictures from dual-pixel sensors, and output at a larger scale.
"""

from __future__ import annotations

from torch import nn

from restorekit.models._norm import NormKind
from restorekit.models._restormer import Scoring
from restorekit.models._spec import ModelSpec, SizeRule, StateDict, register_model
from restorekit.models._transformer_unet import CONFIG_MAP as _SHARED
from restorekit.models._transformer_unet import LAYOUTS, TransformerUNet, authors_key, our_key

__all__ = ["Restormer"]


class Restormer(TransformerUNet):
    """The whole network, see ``TransformerUNet``; the defaults are MaskDCPT's configuration.

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
        scoring: How attention turns products into weights, ``"softmax"`` or ``"relu"``.
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
        scoring: Scoring = "softmax",
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
            scoring=scoring,
            bottom=8,
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)


# --- the authors' names -----------------------------------------------------------------------------------------------

CONFIG_MAP: dict[str, str | None] = {**_SHARED, "LayerNorm_type": None, "scale": None, "dual_pixel_task": None}
"""Authors' argument -> ours; ``None``: MaskDCPT's code ignores the kind of norm, and no release has another scale or
dual pixels."""


def convert(authors: StateDict) -> StateDict:
    """Rename the authors' state dict, of any release, to ours; keys that are not known keep their names."""
    relu = any(key.startswith("latent.body.") for key in authors)  # only DCPT's code names a level's blocks like that
    return {our_key(k).replace(".temperature", ".gain" if relu else ".temperature"): v for k, v in authors.items()}


def revert(ours: StateDict, *, release: str | None = None) -> StateDict:
    """Rename our state dict to the authors'; the inverse of ``convert``.

    Args:
        ours: The weights.
        release: One of ``LAYOUTS``; DCPT's for a network with ReLU, MaskDCPT's for all others if ``None``.
    """
    relu = any(key.endswith(".gain") for key in ours)
    layout = LAYOUTS[release or ("dcpt-restormer" if relu else "maskdcpt")]
    return {authors_key(key, layout): value for key, value in ours.items()}


register_model(
    ModelSpec(
        name="restormer",
        task="restore",
        network=Restormer,
        variants={
            "restormer": {},
            "restormer-bias-free": {"norm": "bias_free"},
            "restormer-dcpt": {"norm": "bias_free", "norm_eps": 1e-6, "scoring": "relu"},
            "restormer-test": {"embed_dim": 8, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1},
        },
        default_variant="restormer",
        size=SizeRule(minimum=8, multiple_of=8),
        paper="Restormer (Zamir et al., CVPR 2022), as pre-trained by MaskDCPT (Hu et al., 2025, arXiv 2510.13282)",
        licence="not stated",
        config_map=CONFIG_MAP,
        convert=convert,
        revert=revert,
    )
)
