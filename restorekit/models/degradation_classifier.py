"""Degradation classifier: tells from what a restorer's second half makes of a picture how the picture is damaged.

Paper: Hu et al., "Universal Image Restoration Pre-training via Degradation Classification", ICLR 2025 (arXiv
2501.15510), and its successor with hidden patches, "Universal Image Restoration Pre-training via Masked Degradation
Classification", 2025 (arXiv 2510.13282). The authors state no licence of code or weights. Written from the papers and a
description of the released head; gives its numbers.

The head (``DegradationHead``) takes the maps of any encoder (``MaskableEncoder``). ``DegradationClassifier`` is a
registered restorer with a head on it, so that a picture goes in, and what MaskDCPT's pre-training calls: from the
patches that are seen, classes and a reconstruction, which is made by the restorer's own last convolution (the release
has no other reconstruction decoder).

Deviations: features that all have the full resolution (SwinIR's) keep the picture's shape; the authors' code turns
tokens into maps only if the picture is square.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit.errors import UnknownNameError, UsageError
from restorekit.models._masking import MaskableEncoder
from restorekit.models._norm import Norm
from restorekit.models._spec import MODELS, ModelSpec, SizeRule, StateDict, register_model

__all__ = ["Bottleneck", "Classified", "DegradationClassifier", "DegradationHead"]

_EPS = 1e-6


class Bottleneck(nn.Module):
    """Residual block: 1x1, 3x3 and 1x1 convolution, each normalised.

    Args:
        channels: C.
        inner: Channels between the 1x1 convolutions.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.norm1 = Norm(inner, eps=_EPS)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.norm2 = Norm(inner, eps=_EPS)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.norm3 = Norm(channels, eps=_EPS)
        for conv in (self.conv1, self.conv2, self.conv3):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``(B, C, H, W)``."""
        y = torch.relu(self.norm1(self.conv1(x)))
        y = torch.relu(self.norm2(self.conv2(y)))
        return torch.relu(x + self.norm3(self.conv3(y)))


def _bottlenecks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Bottleneck(channels, 2 * channels) for _ in range(count)))


class DegradationHead(nn.Module):
    """Classify the maps of an encoder, from the highest resolution to the lowest.

    Args:
        feature_channels: Channels of the maps, the highest resolution first.
        num_classes: K.
        num_blocks: Residual blocks for each map, and after the last.
        with_image: Whether the picture is seen too; the first map then has half its resolution.
    """

    def __init__(
        self,
        *,
        feature_channels: tuple[int, ...] = (64, 128, 256, 512),
        num_classes: int = 5,
        num_blocks: int = 2,
        with_image: bool = False,
    ) -> None:
        super().__init__()
        widths = [*feature_channels, feature_channels[-1]]
        self.mixing = nn.Parameter(torch.ones(len(feature_channels)))
        self.stem: nn.Conv2d | None = None
        if with_image:
            self.stem = nn.Conv2d(3, widths[0], 7, stride=2, padding=3)
            self.stem_norm = Norm(widths[0], eps=_EPS)
        self.stages = nn.ModuleList(_bottlenecks(channels, num_blocks) for channels in feature_channels)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in pairwise(widths))
        self.last = _bottlenecks(widths[-1], num_blocks)
        self.output = nn.Linear(widths[-1], num_classes)

    def forward(self, features: list[Tensor], image: Tensor | None = None) -> Tensor:
        """Classify.

        Args:
            features: Maps ``(B, C_i, H_i, W_i)``, each with half the resolution of the one before. Maps that all have
                the resolution of the first are reduced here.
            image: ``(B, 3, 2 H_0, 2 W_0)``, if the head sees the picture.

        Returns:
            Logits ``(B, K)``.

        Raises:
            UsageError: The picture is missing or one too many, or the maps are too few, too many or too small.
        """
        self._check(features, image)
        z = self.stem_norm(self.stem(image)) if self.stem is not None else torch.zeros_like(features[0])
        parts = zip(features, self.mixing.softmax(0), self.stages, self.downs, strict=True)
        for i, (feature, share, stage, down) in enumerate(parts):
            if i and feature.shape[2:] == features[0].shape[2:]:
                feature = F.interpolate(feature, scale_factor=0.5**i, mode="nearest")
            z = torch.relu(F.max_pool2d(down(stage(z + share * feature)), 2))
        return self.output(self.last(z).mean((2, 3)))

    def _check(self, features: list[Tensor], image: Tensor | None) -> None:
        if (image is None) != (self.stem is None):
            more = "sees the picture, but it is missing" if image is None else "does not see the picture; leave it out"
            raise UsageError(f"this degradation head {more}")
        if len(features) != len(self.stages):
            raise UsageError(
                f"the degradation head takes {len(self.stages)} maps, but there are {len(features)}; "
                "make it with the encoder's feature_channels"
            )
        least = 2 ** len(features)
        if min(features[0].shape[2:]) < least:
            raise UsageError(
                f"maps of {features[0].shape[2]}x{features[0].shape[3]} are too small for the degradation head, which "
                f"halves them {len(features)} times; enlarge or pad the picture until they have {least}x{least}"
            )


@dataclass(frozen=True, kw_only=True)
class Classified:
    """What a classifier makes of a picture of which it sees only patches.

    Attributes:
        logits: ``(B, K)``.
        reconstruction: ``(B, 3, H, W)``.
    """

    logits: Tensor
    reconstruction: Tensor


class DegradationClassifier(nn.Module):
    """A restorer with a head on its second half.

    Args:
        encoder: Variant of a restorer that offers maps, such as ``"nafnet"``.
        num_classes: K.
        num_blocks: Residual blocks of the head for each map.

    Raises:
        UnknownNameError: No network has a variant of that name.
        UsageError: That network offers no maps.
    """

    def __init__(self, *, encoder: str = "nafnet", num_classes: int = 5, num_blocks: int = 2) -> None:
        super().__init__()
        families = {variant: MODELS.get(name) for name in MODELS for variant in MODELS.get(name).variants}
        if encoder not in families:
            raise UnknownNameError("encoder", encoder, [name for name in families if not name.endswith("-test")])
        network = families[encoder].build(encoder)
        if not isinstance(network, MaskableEncoder):
            raise UsageError(f"{encoder!r} offers no maps to classify by; choose an encoder such as 'nafnet'")
        self.encoder = network
        self.head = DegradationHead(
            feature_channels=network.feature_channels, num_classes=num_classes, num_blocks=num_blocks
        )

    def forward(self, image: Tensor) -> Tensor:
        """Classify a picture ``(B, 3, H, W)`` in [0, 1]; logits ``(B, K)``."""
        return self.head(self.encoder.forward_features(image))

    def forward_masked(self, image: Tensor, mask: Tensor) -> Classified:
        """Classify and reconstruct a picture from some of its patches.

        Args:
            image: ``(B, 3, H, W)``, in [0, 1].
            mask: ``(B, 1, h, w)``, True where a patch is seen, see ``sample_mask``.

        Raises:
            UsageError: The mask does not suit the picture or the encoder.
        """
        seen = self.encoder.forward_masked(image, mask)
        return Classified(logits=self.head(seen.features), reconstruction=seen.reconstruction)


# --- the authors' names -----------------------------------------------------------------------------------------------

CONFIG_MAP: dict[str, str | None] = {
    "feature_dims": "feature_channels",
    "num_res_blocks": "num_blocks",
    "num_classes": "num_classes",
    "downsample": None,
}
"""Authors' argument of the head -> ours; ``None``: maps say by their sizes whether they are to be reduced."""

_AT_START = (
    ("mixing_weights", "mixing"),
    ("conv_embed.0.", "stem."),
    ("conv_embed.1.", "stem_norm."),
    ("bottleneck_layers.", "stages."),
    ("last_stage.", "last."),
    ("fc.", "output."),
)
_IN_BLOCKS = tuple((f".conv{n}.norm.", f".norm{n}.") for n in (1, 2, 3))


def convert(authors: StateDict) -> StateDict:
    """Rename the authors' state dict of a head to ours; keys that are not known keep their names."""
    return {our_key(key): value for key, value in authors.items()}


def revert(ours: StateDict) -> StateDict:
    """Rename our state dict of a head to the authors', the inverse of ``convert``."""
    return {authors_key(key): value for key, value in ours.items()}


def our_key(key: str) -> str:
    """Rename one of the authors' keys of a head to ours."""
    if key.startswith("downsample_layers."):
        return key.replace("downsample_layers.", "downs.").replace(".0.weight", ".weight")
    return _rename(key, _AT_START, _IN_BLOCKS)


def authors_key(key: str) -> str:
    """Rename one of our keys of a head to the authors'."""
    if key.startswith("downs."):
        return key.replace("downs.", "downsample_layers.").replace(".weight", ".0.weight")
    back = (tuple((ours, authors) for authors, ours in pairs) for pairs in (_AT_START, _IN_BLOCKS))
    return _rename(key, *back)


def _rename(key: str, at_start: tuple[tuple[str, str], ...], in_blocks: tuple[tuple[str, str], ...]) -> str:
    for old, new in at_start:
        if key.startswith(old):
            key = new + key.removeprefix(old)
            for part, other in in_blocks:
                key = key.replace(part, other)
            return key
    return key


register_model(
    ModelSpec(
        name="degradation-classifier",
        task="classify",
        network=DegradationClassifier,
        variants={
            "degradation-classifier": {},
            "degradation-classifier-restormer": {"encoder": "restormer"},
            "degradation-classifier-promptir": {"encoder": "promptir"},
            "degradation-classifier-swinir": {"encoder": "swinir"},
            "degradation-classifier-head": {},
            "degradation-classifier-test": {"encoder": "nafnet-test", "num_classes": 3, "num_blocks": 1},
        },
        networks={"degradation-classifier-head": DegradationHead},  # alone, as the authors' files hold it
        default_variant="degradation-classifier",
        size=SizeRule(minimum=16, multiple_of=16),
        paper="DCPT (Hu et al., ICLR 2025, arXiv 2501.15510) and MaskDCPT (Hu et al., 2025, arXiv 2510.13282)",
        licence="not stated",
        config_map=CONFIG_MAP,
        convert=convert,
        revert=revert,
    )
)
