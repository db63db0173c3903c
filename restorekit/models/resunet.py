"""ResUNet: a small convolutional U-Net for all-in-one restoration.

Plain on purpose: residual blocks of two dense 3x3 convolutions behind a pixel un-shuffle, no norm, no attention, which
is what processors run fastest and what learns fastest per minute. A tone curve (``ToneCurve``) in front handles what
concerns the whole picture (haze, low light); the U-Net handles the detail and is told the description.

Paper: the U shape is Ronneberger et al., "U-Net", MICCAI 2015 (arXiv 1505.04597); residual blocks without norm are
Lim et al., "EDSR", CVPRW 2017 (arXiv 1707.02921). The network as such is this project's own. Licence: Apache-2.0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from restorekit.models._blocks import ToneCurve
from restorekit.models._spec import ModelSpec, SizeRule, register_model

__all__ = ["ResUNet"]


class _ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))); the second convolution starts small so that a deep network starts near the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.kaiming_normal_(self.conv1.weight, nonlinearity="relu")
        nn.init.kaiming_normal_(self.conv2.weight, nonlinearity="relu")
        for bias in (self.conv1.bias, self.conv2.bias):
            assert bias is not None
            nn.init.zeros_(bias)
        with torch.no_grad():
            self.conv2.weight.mul_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(torch.relu(self.conv1(x)))


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_ResidualBlock(channels) for _ in range(count)))


class ResUNet(nn.Module):
    """All-in-one restorer: tone curve, then a residual U-Net.

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
        super().__init__()
        widths = [width * 2**level for level in range(len(encoder_blocks) + 1)]
        self.tone = ToneCurve()
        self.stem = nn.Sequential(nn.PixelUnshuffle(shuffle), nn.Conv2d(6 * shuffle**2, width, 3, padding=1))
        self.encoders = nn.ModuleList(_blocks(c, n) for c, n in zip(widths, encoder_blocks, strict=False))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in zip(widths, widths[1:], strict=False))
        self.told = nn.Linear(self.tone.size, widths[-1])
        self.middle = _blocks(widths[-1], middle_blocks)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(b, 4 * a, 1), nn.PixelShuffle(2)) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.decoders = nn.ModuleList(_blocks(c, n) for c, n in zip(widths, decoder_blocks, strict=False))
        head = nn.Conv2d(width, 6 * shuffle**2, 3, padding=1)
        with torch.no_grad():  # start at the identity
            head.weight.mul_(0.1)
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]  # it has a bias
        self.head = nn.Sequential(head, nn.PixelShuffle(shuffle))

    def describe(self, image: Tensor) -> Tensor:
        """Describe a whole picture ``(B, 3, H, W)`` in [0, 1], at any scale, as ``(B, K)``."""
        return self.tone.describe(image)

    def restore(self, image: Tensor, description: Tensor) -> Tensor:
        """Restore a picture, or a part of one, given the description of the whole.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1]; H and W multiples of 8.
            description: ``(B, K)`` from ``describe``.

        Returns:
            ``(B, 3, H, W)``, not clamped.
        """
        toned = self.tone(image, description)
        x = self.stem(torch.cat([image, toned], 1))
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.middle(x + self.told(description)[:, :, None, None])
        for up, decoder, skip in zip(reversed(self.ups), reversed(self.decoders), reversed(skips), strict=True):
            x = decoder(up(x) + skip)
        gain, offset = self.head(x).float().chunk(2, 1)
        return toned * (1 + gain) + offset

    def forward(self, image: Tensor) -> Tensor:
        """Restore a whole picture ``(B, 3, H, W)`` in [0, 1], H and W multiples of 8; the result is not clamped."""
        return self.restore(image, self.describe(image))


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
        paper="U-Net (Ronneberger et al., MICCAI 2015, arXiv 1505.04597) with residual blocks of EDSR (Lim et al., CVPRW 2017)",
        licence="Apache-2.0",
    )
)
