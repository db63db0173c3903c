"""The degradation classifier: on every encoder, with hidden patches, at sizes that halve unevenly, and its refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from restorekit.errors import UnknownNameError, UsageError
from restorekit.hub.convert import count_parameters
from restorekit.models import MODELS
from restorekit.models._masking import MaskableEncoder, sample_mask
from restorekit.models.degradation_classifier import DegradationClassifier, DegradationHead

ENCODERS = ("nafnet-test", "promptir-test", "restormer-test", "swinir-test")


def _picture(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _maps(*shapes: tuple[int, ...]) -> list[Tensor]:
    return [torch.randn(shape, generator=torch.Generator().manual_seed(n)) for n, shape in enumerate(shapes)]


def _head(**changes: Any) -> DegradationHead:
    return DegradationHead(**{"feature_channels": (4, 6), "num_classes": 3, "num_blocks": 1, **changes}).eval()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_is_classified_by_what_it_offers(encoder: str) -> None:
    model, image = DegradationClassifier(encoder=encoder, num_classes=4, num_blocks=1).eval(), _picture(2, 3, 32, 48)
    assert isinstance(model.encoder, MaskableEncoder)
    with torch.no_grad():
        logits = model(image)
        features = model.encoder.forward_features(image)
        torch.testing.assert_close(model.head(features), logits)
    assert logits.shape == (2, 4)
    assert tuple(feature.shape[1] for feature in features) == model.encoder.feature_channels
    assert features[0].shape[2:] == image.shape[2:]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_classes_and_reconstruction_come_from_what_is_seen(encoder: str) -> None:
    model, image = DegradationClassifier(encoder=encoder, num_blocks=1).eval(), _picture(1, 3, 32, 48)
    mask = sample_mask(1, (2, 3), generator=torch.Generator().manual_seed(2))
    shown = mask.repeat_interleave(16, 2).repeat_interleave(16, 3)
    with torch.no_grad():
        seen = model.forward_masked(image, mask)
        other = model.forward_masked(torch.where(shown, image, 0.5), mask)
    assert seen.reconstruction.shape == image.shape
    assert seen.logits.shape == (1, 5)
    assert torch.equal(seen.logits, other.logits)
    assert torch.equal(seen.reconstruction, other.reconstruction)


def test_both_decoders_teach_the_encoder() -> None:
    model = DegradationClassifier(encoder="swinir-test", num_blocks=1).train()
    mask = sample_mask(2, (2, 2), generator=torch.Generator().manual_seed(2))
    for part in ("logits", "reconstruction"):
        model.zero_grad()
        getattr(model.forward_masked(_picture(2, 3, 16, 16), mask), part).square().mean().backward()
        slopes = [p.grad for p in model.encoder.groups.parameters() if p.grad is not None]
        assert all(torch.isfinite(slope).all() for slope in slopes)
        assert sum(float(slope.abs().sum()) for slope in slopes) > 0


def test_maps_of_one_resolution_are_reduced() -> None:
    head = _head()
    first, second = _maps((2, 4, 10, 14), (2, 6, 10, 14))
    with torch.no_grad():
        torch.testing.assert_close(head([first, second]), head([first, second[:, :, ::2, ::2]]))


def test_odd_sizes_lose_their_last_row_and_column() -> None:
    head = _head()
    first, second = _maps((1, 4, 9, 7), (1, 6, 9, 7))
    with torch.no_grad():
        torch.testing.assert_close(head([first, second]), head([first, second[:, :, :8:2, :6:2]]))


def test_the_share_of_a_map_can_be_learnt() -> None:
    head, maps = _head(), _maps((1, 4, 8, 8), (1, 6, 4, 4))
    with torch.no_grad():
        head.mixing.copy_(torch.tensor([0.0, -100.0]))  # nothing of the second
        torch.testing.assert_close(head(maps), head([maps[0], maps[1] * 9]))


def test_the_picture_counts_where_it_is_seen() -> None:
    head, maps = _head(with_image=True), _maps((1, 4, 8, 8), (1, 6, 4, 4))
    with torch.no_grad():
        assert not torch.allclose(head(maps, _picture(1, 3, 16, 16)), head(maps, _picture(1, 3, 16, 16, seed=2)))


def test_the_released_head_has_as_many_parameters_as_published() -> None:
    assert count_parameters("degradation-classifier", "degradation-classifier-head") == 49_290_505


def test_every_variant_but_the_head_is_a_classifier_of_pictures() -> None:
    spec = MODELS.get("degradation-classifier")
    for variant in spec.variants:
        with torch.device("meta"):
            network = spec.build(variant)
        assert isinstance(network, DegradationHead if variant.endswith("-head") else DegradationClassifier)


@pytest.mark.parametrize(
    ("maps", "image", "message"),
    [
        ([(1, 4, 8, 8)], None, "takes 2 maps, but there are 1; make it with the encoder's feature_channels"),
        ([(1, 4, 8, 3), (1, 6, 4, 1)], None, "maps of 8x3 are too small for the degradation head, which halves them 2"),
        ([(1, 4, 8, 8), (1, 6, 4, 4)], (1, 3, 16, 16), "this degradation head does not see the picture; leave it out"),
    ],
)
def test_maps_that_do_not_suit_are_refused(maps: list[Any], image: Any, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        _head()(_maps(*maps), None if image is None else _picture(*image))


def test_a_missing_picture_is_refused() -> None:
    with pytest.raises(UsageError, match="this degradation head sees the picture, but it is missing"):
        _head(with_image=True)(_maps((1, 4, 8, 8), (1, 6, 4, 4)))


def test_encoders_that_are_none_are_named() -> None:
    with pytest.raises(UsageError, match="'resunet-test' offers no maps to classify by; choose an encoder such as"):
        DegradationClassifier(encoder="resunet-test")
    with pytest.raises(UnknownNameError, match="unknown encoder 'nafnett'; did you mean nafnet"):
        DegradationClassifier(encoder="nafnett")
