"""ResUNet: a small convolutional U-Net for all-in-one restoration.

Plain on purpose: residual blocks of two dense 3x3 convolutions behind a pixel un-shuffle, no norm, no attention, which
is what processors run fastest and what learns fastest per minute. A tone curve (``ToneCurve``) in front handles what
concerns the whole picture (haze, low light); the U-Net handles the detail and is told the description.

Paper: the U shape is Ronneberger et al., "U-Net", MICCAI 2015 (arXiv 1505.04597); residual blocks without norm are
Lim et al., "EDSR", CVPRW 2017 (arXiv 1707.02921). The network as such is this project's own. Licence: Apache-2.0.
"""

from __future__ import annotations

from restorekit.models._blocks import ConvUNet
from restorekit.models._spec import ModelSpec, SizeRule, register_model

__all__ = ["ResUNet"]


class ResUNet(ConvUNet):
    """The convolutional U-Net, see ``ConvUNet``.

    Args:
        width: Channels of the first level; each level below has twice as many.
        encoder_blocks: Residual blocks of each level, first to last but one.
        middle_blocks: Residual blocks of the lowest level.
        decoder_blocks: Residual blocks of each level on the way up, listed from the first level downwards.
        shuffle: Side of the pixel un-shuffle in front of the first level.
    """

    def __init__(
        self,
        *,
        width: int = 48,
        encoder_blocks: tuple[int, ...] = (2, 2),
        middle_blocks: int = 5,
        decoder_blocks: tuple[int, ...] = (2, 2),
        shuffle: int = 2,
    ) -> None:
        super().__init__(
            width=width,
            encoder_blocks=encoder_blocks,
            middle_blocks=middle_blocks,
            decoder_blocks=decoder_blocks,
            shuffle=shuffle,
        )


register_model(
    ModelSpec(
        name="resunet",
        task="restore",
        network=ResUNet,
        variants={
            "resunet": {},
            "resunet-test": {"width": 8, "encoder_blocks": (1, 1), "middle_blocks": 1, "decoder_blocks": (1, 1)},
        },
        default_variant="resunet",
        size=SizeRule(minimum=8, multiple_of=8),
        paper="U-Net (Ronneberger et al., MICCAI 2015) with residual blocks of EDSR (Lim et al., CVPRW 2017)",
        licence="Apache-2.0",
    )
)
