"""Restormer and its block: the same in bands as on paper, hidden patches, and the names of three releases."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from restorekit.errors import UsageError
from restorekit.hub.convert import recognise, tensor_shapes
from restorekit.models import MODELS, restormer
from restorekit.models._masking import Visibility, sample_mask
from restorekit.models._norm import Norm
from restorekit.models._restormer import Attention, Block, FeedForward
from restorekit.models._transformer_unet import LAYOUTS
from restorekit.models.restormer import Restormer
from restorekit.ops import bands
from tests.helpers.networks import picture, randomise

SMALL: dict[str, Any] = {"embed_dim": 8, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1}
DCPT: dict[str, Any] = {"norm": "bias_free", "norm_eps": 1e-6, "scoring": "relu"}


def _small(**changes: Any) -> Restormer:
    model = Restormer(**{**SMALL, **changes})
    randomise(model)
    return model.eval()


def _block(channels: int, heads: int, **changes: Any) -> Block:
    block = Block(channels, heads, **{"expansion": 2.66, "bias": False, **changes})
    randomise(block)
    return block.eval()


def _on_paper(module: torch.nn.Module, x: Tensor) -> Any:
    """Call a module as it is called in training."""
    module.train()
    with torch.no_grad():
        result = module(x)
    module.eval()
    return result


# --- bands ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "heads", "changes", "shape"),
    [
        (8, 1, {}, (1, 40, 24)),
        (8, 4, {"bias": True}, (2, 37, 9)),
        (12, 2, DCPT, (1, 9, 14)),
        (12, 3, {"norm": "bias_free", "bias": True, "expansion": 2.0}, (2, 5, 5)),
        (48, 8, {"bias": True}, (1, 1, 1)),
        (6, 2, {}, (3, 2, 7)),
        (6, 1, {}, (1, 11, 1)),
    ],
)
@pytest.mark.parametrize("band_bytes", [1, 3 << 20])
def test_a_block_in_bands_gives_the_same(
    channels: int,
    heads: int,
    changes: dict[str, Any],
    shape: tuple[int, int, int],
    band_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bands, "_BAND_BYTES", band_bytes)
    monkeypatch.setattr(bands, "_FEWEST", 3)
    block, x = _block(channels, heads, **changes), picture(shape[0], channels, *shape[1:])
    with torch.no_grad():
        torch.testing.assert_close(block(x), _on_paper(block, x), atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("scoring", ["softmax", "relu"])
def test_attention_without_gradients_gives_the_same(scoring: Any) -> None:
    attention = Attention(12, 3, bias=True, scoring=scoring).eval()
    randomise(attention)
    x = picture(2, 12, 7, 10)
    with torch.no_grad():
        torch.testing.assert_close(attention(x), _on_paper(attention, x), atol=2e-5, rtol=1e-4)


def test_products_of_many_pixels_in_half_precision_do_not_overflow() -> None:
    q = torch.full((1, 70_000, 4), 2.0, dtype=torch.float16)
    with torch.autocast("cpu", dtype=torch.float16):
        products = Attention(4, 2, bias=False).products(q, q)
    assert [part.unique().tolist() for part in products] == [[280_000.0]] * 3


@pytest.mark.parametrize("hidden", [16, 21])
def test_hidden_channels_that_are_filled_up_change_nothing(hidden: int) -> None:
    change = FeedForward(8, expansion=hidden / 8, bias=True)
    randomise(change)
    few, many = change.aligned(pixels=1), change.aligned(pixels=1 << 20)
    assert [len(weight) for weight, _ in few] == [2 * hidden, 2 * hidden, 8]
    assert [len(weight) for weight, _ in many] == [2 * 16 * -(-hidden // 16)] * 2 + [8]


@pytest.mark.parametrize("changes", [{}, {"bias": True}, DCPT])
@pytest.mark.parametrize("size", [(8, 8), (40, 24)])
def test_the_network_without_gradients_gives_the_same(changes: dict[str, Any], size: tuple[int, int]) -> None:
    model, image = _small(**changes), picture(2, 3, *size)
    with torch.inference_mode():
        result = model(image)
    torch.testing.assert_close(result, _on_paper(model, image), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(model(image), result, atol=1e-3, rtol=1e-3)


def test_autocast_to_bfloat16_is_near() -> None:
    block, x = _block(16, 2), picture(1, 16, 20, 12)
    with torch.no_grad():
        exact = block(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            near = block(x)
    assert near.dtype == torch.float32
    assert (near - exact).norm() < 0.02 * exact.norm()


def test_a_compiled_block_is_one_graph_where_one_band_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    block, x = _block(8, 2), picture(1, 8, 16, 24)
    with torch.no_grad():
        compiled = torch.compile(block, backend="aot_eager", fullgraph=True, dynamic=False)
        torch.testing.assert_close(compiled(x), block(x), atol=5e-5, rtol=1e-4)
        monkeypatch.setattr(bands, "_BAND_BYTES", 1)
        torch.compiler.reset()
        compiled = torch.compile(block, backend="aot_eager", dynamic=False)
        torch.testing.assert_close(compiled(x), block(x), atol=5e-5, rtol=1e-4)


def test_a_network_can_be_copied_moved_and_be_double() -> None:
    model, image = _small(), picture(1, 3, 16, 16)
    double = copy.deepcopy(model).double().to("cpu")
    with torch.no_grad():
        result = double(image.double())
        torch.testing.assert_close(model(image), result.float(), atol=1e-3, rtol=1e-3)
    assert result.dtype == torch.float64


# --- norms and gradients ----------------------------------------------------------------------------------------------


def test_norms() -> None:
    x = picture(2, 6, 3, 4).double()
    mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, correction=0)
    with_bias, without = Norm(6, eps=0.1).double(), Norm(6, kind="bias_free", eps=0.1).double()
    randomise(with_bias)
    randomise(without)
    assert with_bias.bias is not None
    assert without.bias is None
    weight, bias = with_bias.weight.view(-1, 1, 1), with_bias.bias.view(-1, 1, 1)
    torch.testing.assert_close(with_bias(x), (x - mean) / (variance + 0.1).sqrt() * weight + bias)
    torch.testing.assert_close(without(x), x / (variance + 0.1).sqrt() * without.weight.view(-1, 1, 1))


@pytest.mark.parametrize("changes", [{}, {"bias": True}, DCPT, {"num_heads": (2, 2, 4, 4), "expansion": 2.0}])
def test_every_parameter_gets_a_gradient(changes: dict[str, Any]) -> None:
    model = _small(**changes).train()
    model(picture(2, 3, 16, 24)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("scoring", ["softmax", "relu"])
def test_gradients_of_attention_are_right(scoring: Any) -> None:
    attention = Attention(4, 2, bias=True, scoring=scoring).double()
    randomise(attention)
    x = picture(1, 4, 3, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(attention, (x,))


def test_channels_that_were_pruned_leave_gradients_finite() -> None:
    attention = Attention(4, 2, bias=False)
    with torch.no_grad():
        attention.project_in.weight[::3] = 0
    attention(picture(1, 4, 6, 6)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in attention.parameters())


def test_a_black_picture_stays_finite() -> None:
    with torch.no_grad():
        assert torch.isfinite(_small()(torch.zeros(1, 3, 16, 16))).all()


# --- hidden patches ---------------------------------------------------------------------------------------------------


def test_hidden_places_are_zero_everywhere_and_have_no_influence() -> None:
    model, image = _small(), picture(2, 3, 32, 48)
    mask = sample_mask(2, (4, 6), generator=torch.Generator().manual_seed(0))
    visible = Visibility(mask)
    other = torch.where(visible.at(32, 48).bool(), image, picture(2, 3, 32, 48, seed=9))
    with torch.no_grad():
        first, second = model.forward_masked(image, mask), model.forward_masked(other, mask)
    assert torch.equal(first.reconstruction, second.reconstruction)
    assert [feature.shape[1] for feature in first.features] == list(model.feature_channels) == [16, 16, 32]
    for feature in first.features:
        assert not feature[~visible.at(*feature.shape[2:]).bool().expand_as(feature)].any()
        assert feature.abs().max() > 0


def test_a_mask_that_hides_nothing_changes_nothing() -> None:
    model, image = _small(bias=True), picture(1, 3, 16, 16)
    with torch.no_grad():
        masked = model.forward_masked(image, torch.ones(1, 1, 2, 2, dtype=torch.bool))
        torch.testing.assert_close(masked.reconstruction + image, model(image), atol=1e-3, rtol=1e-3)


def test_patches_smaller_than_a_pixel_of_the_lowest_level_are_an_error() -> None:
    with pytest.raises(UsageError, match="choose a multiple of 8"):
        _small().forward_masked(picture(1, 3, 16, 16), torch.ones(1, 1, 4, 4, dtype=torch.bool))


# --- variants and the authors' names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "size"),
    [("restormer", 26_126_644), ("restormer-dcpt", 26_111_668), ("restormer-bias-free", 26_111_668)],
)
def test_released_variants_have_the_released_size(variant: str, size: int) -> None:
    with torch.device("meta"):
        model = MODELS.get("restormer").build(variant)
    assert sum(p.numel() for p in model.parameters()) == size


@pytest.mark.parametrize("release", list(LAYOUTS))
def test_names_go_there_and_back(release: str) -> None:
    state = _small(**(DCPT if release == "dcpt-restormer" else {"bias": True})).state_dict()
    back = restormer.convert(restormer.revert(state, release=release))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("variant", "release", "key"),
    [
        ("restormer", "maskdcpt", "latent.blocks.7.norm1.bias"),
        ("restormer", "original", "latent.7.norm1.body.bias"),
        ("restormer-bias-free", "original", "encoder_level1.0.attn.temperature"),
        ("restormer-dcpt", "dcpt-restormer", "encoder_level1.body.0.attn.temperature"),
    ],
)
def test_a_file_is_recognised(variant: str, release: str, key: str) -> None:
    ours = {key: torch.zeros(1).expand(shape) for key, shape in tensor_shapes("restormer", variant).items()}
    authors = restormer.revert(ours, release=release)
    assert key in authors
    match = recognise(authors, name="file.pth")
    assert (match.spec.name, match.variant) == ("restormer", variant)
    assert not any("assumed" in note for note in match.notes)
