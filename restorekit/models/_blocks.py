"""Blocks that two or more networks share."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (the name that the field uses)
from torch import Tensor, nn

__all__ = ["TONES", "ToneCurve"]

TONES = ("none", "haze", "low_light")
"""What ``ToneCurve`` tells apart; the first needs no change of tone."""

_CURVE = 9  # per colour: gain, offset, share of the brightened copy


class ToneCurve(nn.Module):
    """Look at a thumbnail, tell whether the picture's tone is damaged, and correct it with one curve per colour.

    A restorer that re-tones must know when *not* to: the curve is multiplied with the probability that the picture is
    hazy or dark, and the gradient does not flow through that probability, so that the classifier is trained by its own
    loss alone and cannot be bent to excuse the curve.

    The curve is ``x (1 + gain) + offset + share x^0.4``, all three per colour.

    Args:
        thumbnail: Side of the square thumbnail, in pixels.
        width: Channels of the first convolution.
    """

    def __init__(self, *, thumbnail: int = 48, width: int = 24) -> None:
        super().__init__()
        self.thumbnail = thumbnail
        widths = (6, width, 2 * width, 3 * width)
        self.features = nn.Sequential(
            *(
                layer
                for c_in, c_out in zip(widths, widths[1:], strict=False)
                for layer in (nn.Conv2d(c_in, c_out, 3, stride=2, padding=1), nn.ReLU(inplace=True))
            )
        )
        self.classify = nn.Sequential(nn.Linear(6 * width, 64), nn.ReLU(inplace=True), nn.Linear(64, len(TONES)))
        self.curve = nn.Sequential(nn.Linear(6 * width, 96), nn.ReLU(inplace=True), nn.Linear(96, _CURVE))
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
            small = F.interpolate(image.float(), size=(self.thumbnail, self.thumbnail), mode="area").clamp(0, 1)
            x = self.features(torch.cat([small, _brighten(small)], 1))
            x = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
            return torch.cat([self.classify(x), self.curve(x)], 1)

    def forward(self, image: Tensor, description: Tensor) -> Tensor:
        """Correct the tone of a picture or of a part of it.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1].
            description: ``(B, size)`` of the whole picture, from ``describe``.

        Returns:
            ``(B, 3, H, W)``, not clamped.
        """
        logits, curve = description.split([len(TONES), _CURVE], 1)
        sure = 1 - logits.softmax(1)[:, :1].detach()
        gain, offset, share = (sure * curve)[:, :, None, None].chunk(3, 1)
        return image * (1 + gain) + offset + share * _brighten(image.clamp(0, 1))


def _brighten(image: Tensor) -> Tensor:
    """Raise to the power 0.4, which spreads the shadows (the small offset keeps the gradient at black finite)."""
    return (image + 1e-3) ** 0.4 - 1e-3**0.4
