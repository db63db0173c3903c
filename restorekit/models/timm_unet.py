"""timm-unet: a plain U-shaped restoration network on any backbone of timm.

Every backbone of timm that offers ``features_only`` serves as encoder: its maps are the skip connections of a decoder
of residual blocks, one level for each halving, the picture at full resolution included. So the several hundred encoders
of timm can be pre-trained as MaskDCPT pre-trains its own (``MaskableEncoder``), and compared in the same harness.

Paper: the U shape is Ronneberger et al., "U-Net", MICCAI 2015 (arXiv 1505.04597); backbones are those of PyTorch Image
Models (Wightman, 2019, Apache-2.0; the licences of its weights differ, none are loaded here). The network as such is
this project's own. Licence: Apache-2.0.

With hidden patches, what a map holds at hidden places is set to 0 between backbone and decoder and after each level of
the decoder; inside, a backbone is left as it is, so that its layers see across patches.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from restorekit.errors import MissingExtraError, UsageError
from restorekit.models._masking import Masked, Visibility
from restorekit.models._spec import ModelSpec, SizeRule, register_model

__all__ = ["TimmUNet"]

_ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"dynamic_img_size": True, "strict_img_size": False},
    {"dynamic_img_size": True},
    {"strict_img_size": False},
    {},
)
"""What transformers want to hear to take pictures of any size; others refuse the words."""


def _create(name: str, **options: Any) -> Any:
    """Build a backbone with fresh weights."""
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("timm-unet", "timm") from error
    if not timm.is_model(name.partition(".")[0]):
        raise UsageError(f"timm has no backbone {name!r}; timm.list_models() names them, such as 'resnet18'")
    refusal = ""
    for words in _ANY_SIZE:
        try:
            return timm.create_model(name, features_only=True, pretrained=False, **options, **words)
        except TypeError as error:
            refusal = str(error)
        except (AssertionError, AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
            refusal = str(error)
            break
    raise UsageError(
        f"timm's {name!r} cannot be an encoder ({refusal or 'it offers no maps'}); choose another backbone"
    )


def _places(name: str, deepest: int) -> dict[int, int]:
    """Return which map of a backbone to take for each reduction up to the deepest: of several the last."""
    with torch.device("meta"):
        reductions = _create(name).feature_info.reduction()
    places = {reduction: place for place, reduction in enumerate(reductions) if reduction <= deepest}
    if not places or any(reduction & (reduction - 1) for reduction in places):
        raise UsageError(
            f"timm's {name!r} has maps reduced by {sorted(set(reductions))}, but the decoder halves, up to {deepest} "
            "times; choose a backbone with reductions that are powers of two"
        )
    return places


class _Block(nn.Module):
    """x + conv(relu(conv(x))), near the identity at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight.mul_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(torch.relu(self.conv1(x)))


class _Level(nn.Module):
    """Double the resolution, join with the skip connection if there is one, and refine."""

    def __init__(self, below: int, skip: int, channels: int, count: int) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.Conv2d(below, 4 * channels, 1), nn.PixelShuffle(2))
        self.join = nn.Conv2d(channels + skip, channels, 1)
        self.blocks = nn.Sequential(*(_Block(channels) for _ in range(count)))

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = self.up(x)
        return self.blocks(self.join(x if skip is None else torch.cat([x, skip], 1)))


class TimmUNet(nn.Module):
    """The whole network.

    Args:
        backbone: Name in timm, such as ``"resnet18"`` or ``"convnext_tiny"``; ``timm.list_models()`` names all.
        deepest: The most that a map of the backbone that is used may be reduced; H and W are multiples of it, and so is
            the side of a hidden patch.
        width: Channels of the decoder at full resolution; each level below has twice as many.
        widest: Most channels of a level of the decoder.
        num_blocks: Residual blocks of each level.

    Attributes:
        feature_channels: Channels of the maps of ``forward_features``.
        reduction: How much smaller the smallest map is than the picture.

    Raises:
        MissingExtraError: timm is not installed.
        UsageError: timm has no such backbone, or it cannot be an encoder.
    """

    def __init__(
        self,
        *,
        backbone: str = "resnet18",
        deepest: int = 32,
        width: int = 32,
        widest: int = 256,
        num_blocks: int = 2,
    ) -> None:
        super().__init__()
        places = _places(backbone, deepest)
        self.backbone_name, self.reduction = backbone, max(places)
        self.reductions = tuple(sorted(places))
        self.backbone = _create(backbone, out_indices=tuple(places[r] for r in self.reductions))
        found = dict(zip(self.reductions, self.backbone.feature_info.channels(), strict=True))
        self.picture_stem = nn.Conv2d(3, width, 3, padding=1)
        skips = {**found, 1: width + found.get(1, 0)}
        below, levels = found[self.reduction], []
        reduction = self.reduction // 2
        while reduction:
            channels = min(width * reduction, widest)
            levels.append(_Level(below, skips.get(reduction, 0), channels, num_blocks))
            below, reduction = channels, reduction // 2
        self.levels = nn.ModuleList(levels)
        self.feature_channels = tuple(min(width * 2**i, widest) for i in range(len(levels)))
        self.output = nn.Conv2d(below, 3, 3, padding=1)
        with torch.no_grad():  # start near the identity
            self.output.weight.mul_(0.1)
            nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]  # it has a bias

    def forward(self, image: Tensor) -> Tensor:
        """Restore a picture.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1]; H and W multiples of ``reduction``.

        Returns:
            ``(B, 3, H, W)``, not clamped.

        Raises:
            UsageError: The backbone does not take pictures of this size.
        """
        return self.output(self.forward_features(image)[0]) + image

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """Return what the levels of the decoder make of a picture.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1]; H and W multiples of ``reduction``.

        Returns:
            Maps with ``feature_channels``, at the full resolution and half of that of the one before.
        """
        return self._features(image, Visibility())

    def forward_masked(self, image: Tensor, mask: Tensor) -> Masked:
        """Reconstruct a picture from some of its patches.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1]; H and W multiples of ``reduction``.
            mask: ``(B, 1, h, w)``, True where a patch is seen, see ``sample_mask``.

        Raises:
            UsageError: The mask does not suit the picture or the backbone.
        """
        features = self._features(image, Visibility.of(image, mask, reduction=self.reduction))
        return Masked(reconstruction=self.output(features[0]), features=features)

    def _features(self, image: Tensor, visible: Visibility) -> list[Tensor]:
        image = visible.hide(image)
        maps = dict(zip(self.reductions, (visible.hide(x) for x in self._encode(image)), strict=True))
        stem = visible.hide(self.picture_stem(image))
        maps[1] = torch.cat([stem, maps[1]], 1) if 1 in maps else stem
        x, reduction, features = maps[self.reduction], self.reduction // 2, list[Tensor]()
        for level in self.levels:
            x = visible.hide(level(x, maps.get(reduction)))
            features.insert(0, x)
            reduction //= 2
        return features

    def _encode(self, image: Tensor) -> list[Tensor]:
        """Return the backbone's maps, the highest resolution first."""
        height, width = image.shape[2:]
        try:
            maps: list[Tensor] = self.backbone(image)
        except (AssertionError, RuntimeError) as error:
            raise UsageError(
                f"timm's {self.backbone_name!r} does not take pictures of {height}x{width} pixels ({error}); "
                "choose another backbone, or another size"
            ) from error
        channels = self.backbone.feature_info.channels()
        shapes = [(c, height // r, width // r) for c, r in zip(channels, self.reductions, strict=True)]
        maps = [_channels_first(x, shape) for x, shape in zip(maps, shapes, strict=True)]
        suits = all(tuple(x.shape[1:]) == shape for x, shape in zip(maps, shapes, strict=True))
        if not suits or height % self.reduction or width % self.reduction:
            raise UsageError(
                f"a picture of {height}x{width} pixels does not suit timm-unet with {self.backbone_name!r}; "
                f"pad it to multiples of {self.reduction}"
            )
        return maps


def _channels_first(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Turn a map ``(B, H, W, C)``, as some transformers make them, into ``(B, C, H, W)``; others stay."""
    last = (*shape[1:], shape[0])
    return x.permute(0, 3, 1, 2) if tuple(x.shape[1:]) == last != shape else x


register_model(
    ModelSpec(
        name="timm-unet",
        task="restore",
        network=TimmUNet,
        variants={
            "timm-unet": {},
            "timm-unet-test": {"backbone": "mobilenetv3_small_050", "width": 4, "widest": 16, "num_blocks": 1},
        },
        default_variant="timm-unet",
        size=SizeRule(minimum=32, multiple_of=32),
        paper="U-Net (Ronneberger et al., MICCAI 2015) on backbones of PyTorch Image Models (Wightman, 2019)",
        licence="Apache-2.0",
        marker="picture_stem.weight",
    )
)
