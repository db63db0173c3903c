"""SwinIR: equal to a literal transcription in pieces, in bands, with gradients and with hidden patches; its limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restorekit import hub
from restorekit.errors import UsageError
from restorekit.hub.convert import count_parameters
from restorekit.inference import Restorer
from restorekit.models import MODELS, swinir
from restorekit.models._masking import sample_mask
from restorekit.models.swinir import SwinIR
from restorekit.ops import bands
from tests.helpers.plain_swinir import PlainSwinIR

SMALL: dict[str, Any] = {"embed_dim": 12, "num_blocks": (2, 1, 2, 1, 3, 2), "num_heads": (2, 3, 1, 4, 2, 6)}


def _randomise(module: nn.Module, seed: int = 0) -> None:
    """Give every parameter a value that matters; at their start biases are zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)


def _small(**changes: Any) -> SwinIR:
    model = SwinIR(**{**SMALL, **changes})
    _randomise(model)
    return model.eval()


def _plain(ours: SwinIR, **changes: Any) -> PlainSwinIR:
    """Return the transcription with the weights of ours."""
    plain = PlainSwinIR(embed_dim=12, depths=SMALL["num_blocks"], num_heads=SMALL["num_heads"], **changes)
    plain.load_state_dict(swinir.revert(ours.state_dict()))
    return plain.eval()


def _picture(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work on three windows and on bands of eight rows."""
    monkeypatch.setitem(swinir._PIECE_BYTES, "cpu", 3 * 64 * 3 * 12 * 4)
    monkeypatch.setattr(bands, "_BAND_BYTES", 1)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (2, 3, 24, 40), (3, 3, 8, 24)])
@pytest.mark.parametrize("pieces", [False, True])
def test_network_equals_the_transcription(
    shape: tuple[int, ...], pieces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, image = _small(), _picture(*shape)
    if pieces:
        _in_small_pieces(monkeypatch)
    with torch.no_grad():
        expected = _plain(ours)(image)
        torch.testing.assert_close(ours(image), expected, atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(ours.train()(image), expected, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(ours.eval()(image).detach(), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"window": 5}, {"window_size": 5}),  # an odd window: it is not shifted by half of it
        ({"window": 1}, {"window_size": 1}),
        ({"nominal_size": 8}, {"img_size": 8}),  # no larger than a window: nothing is shifted
        ({"nominal_size": 4, "window": 10}, {"img_size": 4, "window_size": 10}),
        ({"qkv_bias": False, "expansion": 1.3}, {"qkv_bias": False, "mlp_ratio": 1.3}),
    ],
)
def test_other_configurations_equal_the_transcription(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    model, image = _small(**ours), _picture(1, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(model(image), _plain(model, **theirs)(image), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("patch", [8, 16, 4])
@pytest.mark.parametrize("pieces", [False, True])
def test_hidden_patches_equal_the_transcription(patch: int, pieces: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = _small(), _picture(2, 3, 32, 48)
    mask = sample_mask(2, (32 // patch, 48 // patch), generator=torch.Generator().manual_seed(3))
    if pieces:
        _in_small_pieces(monkeypatch)
    with torch.no_grad():
        *levels, reconstruction = _plain(model).masked(image, mask)
        ways = [model.forward_masked(image, mask)]
    ways.append(model.forward_masked(image, mask))
    for way in ways:
        torch.testing.assert_close(way.reconstruction, reconstruction, atol=2e-5, rtol=1e-5)
        assert len(way.features) == 3
        for feature, level in zip(way.features, reversed(levels), strict=False):
            torch.testing.assert_close(feature.flatten(2).transpose(1, 2), level, atol=2e-4, rtol=1e-4)


def test_hidden_pixels_do_not_matter() -> None:
    model, image = _small(), _picture(1, 3, 32, 32)
    mask = sample_mask(1, (2, 2), generator=torch.Generator().manual_seed(3))
    shown = mask.repeat_interleave(16, 2).repeat_interleave(16, 3)
    with torch.no_grad():
        first = model.forward_masked(image, mask)
        second = model.forward_masked(torch.where(shown, image, 7.0), mask)
    assert torch.equal(first.reconstruction, second.reconstruction)
    assert all((feature * ~shown).abs().max() == 0 for feature in first.features)


def test_features_are_the_last_groups_first_and_stay_as_they_were() -> None:
    model, image = _small(), _picture(1, 3, 16, 24)
    with torch.no_grad():
        features = model.forward_features(image)
    recorded = model.forward_features(image)
    assert [tuple(feature.shape) for feature in features] == [(1, 12, 16, 24)] * 3
    assert model.feature_channels == (12, 12, 12)
    for feature, other in zip(features, recorded, strict=True):
        torch.testing.assert_close(feature, other.detach(), atol=2e-5, rtol=1e-4)
    with torch.no_grad():
        x = model.output(
            model.deep(model.norm(features[0].permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
            + model.first(model._centred(image))
        )
        torch.testing.assert_close(model(image), image + x, atol=2e-5, rtol=1e-5)


def test_gradients_are_those_of_the_transcription() -> None:
    model, image = _small().train(), _picture(2, 3, 16, 24)
    plain = _plain(model).train()
    for network in (model, plain):
        network(image).square().mean().backward()
    ours = {swinir.authors_key(name): parameter.grad for name, parameter in model.named_parameters()}
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, atol=2e-5, rtol=1e-3)


def test_a_group_and_a_block_leave_their_input() -> None:
    model, tokens = _small(), torch.randn(1, 16, 16, 12, generator=torch.Generator().manual_seed(2))
    given = tokens.clone()
    layout = swinir.Layout(tokens, 8)
    with torch.no_grad():
        model.groups[2](tokens, layout)
        model.groups[2].blocks[1](tokens, layout)
        assert torch.equal(tokens, given)
        turned = tokens.transpose(1, 2).contiguous().transpose(1, 2)  # other strides, the same values
        assert torch.equal(model.groups[2](turned, layout), model.groups[2](tokens, layout))
    assert torch.equal(turned, given)


@pytest.mark.parametrize("pieces", [False, True])
def test_a_compiled_group_gives_the_same(pieces: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one graph, but the loops over pieces and bands stay out of it."""
    if pieces:
        _in_small_pieces(monkeypatch)
    group, tokens = _small().groups[0], torch.randn(1, 24, 16, 12, generator=torch.Generator().manual_seed(2))

    def run(tokens: Tensor) -> Tensor:
        return group(tokens, swinir.Layout(tokens, 8))

    compiled = torch.compile(run, backend="aot_eager", fullgraph=not pieces, dynamic=False)
    with torch.no_grad():
        torch.testing.assert_close(compiled(tokens), run(tokens), atol=2e-5, rtol=1e-5)


def test_autocast_to_bfloat16_is_near() -> None:
    model, image = _small(), _picture(1, 3, 24, 16)
    with torch.no_grad():
        expected = model(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(image)
    assert (half - expected).norm() < 0.03 * (expected - image).norm()


def test_one_channel_and_double_precision() -> None:
    model, image = _small(in_channels=1).double(), _picture(1, 1, 8, 16).double()
    with torch.no_grad():
        without = model(image)
    torch.testing.assert_close(without, model(image).detach())


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (8, 9), (17, 30)])
def test_any_size_through_the_restorer(size: tuple[int, int]) -> None:
    restorer = Restorer(_small(), size=MODELS.get("swinir").size, rule=hub.UNMEASURED, device="cpu", precision="fp32")
    picture = (255 * _picture(*size, 3)).round().byte().numpy()
    assert restorer.restore(picture).shape == picture.shape


def test_the_released_network_has_as_many_parameters_as_published() -> None:
    assert count_parameters("swinir", "swinir") == 11_455_563


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_blocks": (1, 1)}, "swinir has 6 groups, but num_blocks names 2 and num_heads 6; give 6 numbers each"),
        ({"num_blocks": (1, 1, 0, 1, 1, 1)}, r"a group has at least one block, but num_blocks is \(1, 1, 0, 1, 1, 1\)"),
        ({"embed_dim": 10}, r"swinir: 10 channels cannot be divided among \(2, 3, 1, 4, 2, 6\) heads"),
    ],
)
def test_impossible_configurations_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _small(**changes)
