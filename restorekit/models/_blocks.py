"""Blocks that two or more networks share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["TONES", "ConvUNet", "ToneCurve"]

TONES = ("none", "haze", "low_light")
"""What ``ToneCurve`` tells apart; the first needs no change of tone."""

_SURE = ((0.55, 0.75), (0.75, 0.9))
"""Probability of each damage at which the curve sets in, and at which it is applied in full: a picture that is dark and
right is harmed more by a mistake than one that is clear."""

_GREY = 0.02  # largest difference between the colours of a pixel that still counts as none
_DIM = 0.42  # mean of a picture below which it is not called hazy
_NEVER = -30.0  # logit

_CURVE = 9  # per colour: gain, offset, share of the brightened copy


class ToneCurve(nn.Module):
    """Tell from a picture's histogram whether its tone is damaged, and correct it with one curve per colour.

    What haze and darkness do to a whole picture shows in the order statistics of its colours, and of the smallest and
    the largest colour of each pixel (haze leaves no dark pixels: He et al., "dark channel prior", CVPR 2009); they are
    the same for every size and cut.

    A restorer that re-tones must know when *not* to: nothing happens unless the classifier is rather sure,
    and from there on the curve sets in gradually. The gradient does not flow through that probability, so that the
    classifier is trained by its own loss alone and cannot be bent to excuse the curve.

    Args:
        thumbnail: Side of the square thumbnail that is looked at, in pixels.
        ranks: Order statistics that are taken of each of the six.
        width: Hidden units of the two networks.
    """

    def __init__(self, *, thumbnail: int = 48, ranks: int = 11, width: int = 96) -> None:
        super().__init__()
        self.thumbnail, self.ranks = thumbnail, ranks
        self.classify = _perceptron(6 * ranks, width, len(TONES))
        self.curve = _perceptron(6 * ranks, width, _CURVE)
        last = self.curve[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    @property
    def size(self) -> int:
        """Length of a description."""
        return len(TONES) + _CURVE

    def describe(self, image: Tensor) -> Tensor:
        """Describe a picture.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1], the whole picture at any scale.

        Returns:
            ``(B, size)``: logits of ``TONES``, then the nine numbers of the curve.
        """
        with torch.autocast(image.device.type, enabled=False):  # a gain with eight bits would shift the whole picture
            statistics = self._statistics(image.float())
            # without colour there is too little to tell haze by; softness is no damage in a black-and-white picture
            grey = (image.amax(1) - image.amin(1)).amax((1, 2)) < _GREY
            dim = image.mean((1, 2, 3)) < _DIM  # haze adds the light of the day
            no_haze = (grey | dim)[:, None] & torch.tensor([tone == "haze" for tone in TONES], device=image.device)
            logits = self.classify(statistics).masked_fill(no_haze, _NEVER)
            return torch.cat([logits, self.curve(statistics)], 1)

    def _statistics(self, image: Tensor) -> Tensor:
        """Return the order statistics, ``(B, 6 ranks)``, without the extremes, which hang on single pixels."""
        small = F.interpolate(image, size=(self.thumbnail, self.thumbnail), mode="area").clamp(0, 1)
        low, high = small.amin(1, keepdim=True), small.amax(1, keepdim=True)
        ordered = torch.cat([small, low, high, high - low], 1).flatten(2).sort(2).values
        places = torch.linspace(0.02, 0.98, self.ranks, device=image.device) * (ordered.shape[2] - 1)
        return ordered[:, :, places.round().long()].flatten(1)

    def forward(self, image: Tensor, description: Tensor) -> Tensor:
        """Correct the tone of a picture or of a part of it.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1].
            description: ``(B, size)`` of the whole picture, from ``describe``.

        Returns:
            ``(B, 3, H, W)``, not clamped.
        """
        return self.curved(image, description, strength=self.verdict(description).sum(1, keepdim=True))

    def verdict(self, description: Tensor) -> Tensor:
        """Return how far each damage is to be acted on, ``(B, len(TONES) - 1)``, 0 to 1, without gradient."""
        likely = description[:, : len(TONES)].softmax(1)[:, 1:].detach()
        low, high = torch.tensor(_SURE, device=likely.device).t()
        return ((likely - low) / (high - low)).clamp(0, 1)

    def curved(self, image: Tensor, description: Tensor, *, strength: Tensor | float = 1.0) -> Tensor:
        """Apply the curve ``x (1 + gain) + offset + share x^0.4``, whatever the classifier says.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1].
            description: ``(B, size)`` of the whole picture, from ``describe``.
            strength: ``(B, 1)`` or a number, 0 to 1: how much of the curve is applied.

        Returns:
            ``(B, 3, H, W)``, not clamped.
        """
        gain, offset, share = (strength * description[:, len(TONES) :])[:, :, None, None].chunk(3, 1)
        return image * (1 + gain) + offset + share * _brighten(image.clamp(0, 1))


def _perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Return a network of two hidden layers."""
    hidden = (nn.Linear(inputs, width), nn.ReLU(inplace=True), nn.Linear(width, width), nn.ReLU(inplace=True))
    return nn.Sequential(*hidden, nn.Linear(width, outputs))


def _brighten(image: Tensor) -> Tensor:
    """Raise to the power 0.4, which spreads the shadows (the small offset keeps the gradient at black finite)."""
    return (image + 1e-3) ** 0.4 - 1e-3**0.4


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


def _residual_blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_ResidualBlock(channels) for _ in range(count)))


class ConvUNet(nn.Module):
    """All-in-one restorer: a tone curve, then a residual U-Net of dense convolutions that is told the description.

    Args:
        width: Channels of the first level; each level below has twice as many.
        encoder_blocks: Residual blocks of each level, first to last but one.
        middle_blocks: Residual blocks of the lowest level.
        decoder_blocks: Residual blocks of each level on the way up, listed from the first level downwards.
        shuffle: Side of the pixel un-shuffle in front of the first level.
        further: Makes further layers after the residual blocks of a level, from its channels and its number; none when
            ``None``.
    """

    def __init__(
        self,
        *,
        width: int,
        encoder_blocks: tuple[int, ...],
        middle_blocks: int,
        decoder_blocks: tuple[int, ...],
        shuffle: int,
        further: Callable[[int, int], list[nn.Module]] | None = None,
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(len(encoder_blocks) + 1)]

        def level(number: int, count: int) -> nn.Sequential:
            blocks = _residual_blocks(widths[number], count)
            return blocks.extend(further(widths[number], number)) if further else blocks

        self.tone = ToneCurve()
        self.stem = nn.Sequential(nn.PixelUnshuffle(shuffle), nn.Conv2d(6 * shuffle**2, width, 3, padding=1))
        self.encoders = nn.ModuleList(level(i, n) for i, n in enumerate(encoder_blocks))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.told = nn.Linear(len(TONES) - 1, widths[-1])
        self.middle = level(len(encoder_blocks), middle_blocks)
        self.ups = nn.ModuleList(nn.Sequential(nn.Conv2d(b, 4 * a, 1), nn.PixelShuffle(2)) for a, b in pairwise(widths))
        self.decoders = nn.ModuleList(level(i, n) for i, n in enumerate(decoder_blocks))
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
        # the verdict and no more: a hint of haze would do to make it take haze away
        x = self.middle(x + self.told(self.tone.verdict(description))[:, :, None, None])
        for up, decoder, skip in zip(reversed(self.ups), reversed(self.decoders), reversed(skips), strict=True):
            x = decoder(up(x) + skip)
        gain, offset = self.head(x).float().chunk(2, 1)
        return toned * (1 + gain) + offset

    def forward(self, image: Tensor) -> Tensor:
        """Restore a whole picture ``(B, 3, H, W)`` in [0, 1], H and W multiples of 8; the result is not clamped."""
        return self.restore(image, self.describe(image))
