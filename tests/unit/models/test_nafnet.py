"""NAFNet: the same in bands as on paper, means of windows, hidden patches, names of three releases."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restorekit.errors import UsageError
from restorekit.hub.convert import recognise, tensor_shapes
from restorekit.models import MODELS, nafnet
from restorekit.models._masking import Visibility, sample_mask
from restorekit.models.nafnet import Block, NAFNet, extend, window_means
from restorekit.ops import bands
from tests.helpers.networks import picture, randomise

SMALL: dict[str, Any] = {"width": 8, "encoder_blocks": (1, 2), "middle_blocks": 1, "decoder_blocks": (1, 1)}


def _small(**changes: Any) -> NAFNet:
    model = NAFNet(**{**SMALL, **changes})
    randomise(model)
    return model.eval()


def _on_paper(module: nn.Module, x: Tensor) -> Any:
    """Call a module as it is called in training."""
    module.train()
    with torch.no_grad():
        result = module(x)
    module.eval()
    return result


# --- bands ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 40, 24), (2, 8, 37, 9), (1, 8, 1, 1), (3, 5, 2, 7), (1, 8, 9, 1)])
@pytest.mark.parametrize("band_bytes", [1, 3 << 20])
def test_a_block_in_bands_gives_the_same(
    shape: tuple[int, ...], band_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bands, "_BAND_BYTES", band_bytes)
    monkeypatch.setattr(bands, "_FEWEST", 3)
    block = Block(shape[1], norm_eps=1e-5).eval()
    randomise(block)
    x = picture(*shape)
    with torch.no_grad():
        torch.testing.assert_close(block(x), _on_paper(block, x), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(16, 16), (64, 24)])
def test_the_network_without_gradients_gives_the_same(size: tuple[int, int]) -> None:
    model, image = _small(), picture(2, 3, *size)
    with torch.inference_mode():
        result = model(image)
    torch.testing.assert_close(result, _on_paper(model, image), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model(image), result, atol=1e-4, rtol=1e-4)


def test_autocast_to_bfloat16_is_near() -> None:
    block = Block(16, norm_eps=1e-5).eval()
    randomise(block)
    x = picture(1, 16, 20, 12)
    with torch.no_grad():
        exact = block(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            near = block(x)
    assert near.dtype == torch.float32
    assert (near - exact).norm() < 0.02 * exact.norm()


def test_a_compiled_block_is_one_graph_where_one_band_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    block = Block(8, norm_eps=1e-5).eval()
    randomise(block)
    x = picture(1, 8, 16, 24)
    with torch.no_grad():
        compiled = torch.compile(block, backend="aot_eager", fullgraph=True, dynamic=False)
        torch.testing.assert_close(compiled(x), block(x), atol=2e-5, rtol=1e-4)
        monkeypatch.setattr(bands, "_BAND_BYTES", 1)
        torch.compiler.reset()
        compiled = torch.compile(block, backend="aot_eager", dynamic=False)
        torch.testing.assert_close(compiled(x), block(x), atol=2e-5, rtol=1e-4)


# --- means of windows -------------------------------------------------------------------------------------------------


def local_mean(x: Tensor, window: tuple[int, int], *, longest_steps: tuple[int, int] | None = None) -> Tensor:
    return extend(window_means(x, window, longest_steps=longest_steps), (x.shape[2], x.shape[3]))


@pytest.mark.parametrize(
    ("size", "window"), [((9, 12), (4, 5)), ((8, 8), (8, 3)), ((7, 5), (20, 2)), ((6, 6), (1, 1)), ((3, 10), (3, 9))]
)
def test_a_local_mean_is_the_mean_of_the_nearest_whole_window(size: tuple[int, int], window: tuple[int, int]) -> None:
    x = picture(2, 3, *size)
    expected = torch.empty_like(x)
    high, wide = (min(w, s) for w, s in zip(window, size, strict=True))
    above, left = (size[0] - (size[0] - high + 1)) // 2, (size[1] - (size[1] - wide + 1)) // 2
    for row in range(size[0]):
        for column in range(size[1]):
            top = min(max(row - above, 0), size[0] - high)
            first = min(max(column - left, 0), size[1] - wide)
            expected[:, :, row, column] = x[:, :, top : top + high, first : first + wide].mean((2, 3))
    torch.testing.assert_close(local_mean(x, window).expand_as(x), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("steps", [None, (5, 5)])
def test_a_window_that_covers_the_picture_gives_its_mean(steps: tuple[int, int] | None) -> None:
    x = picture(1, 2, 6, 4)
    means = local_mean(x, (6, 9), longest_steps=steps)
    assert means.shape == (1, 2, 1, 1)
    torch.testing.assert_close(means, x.mean((2, 3), keepdim=True))


def test_the_fast_form_is_near_where_the_picture_is_smooth() -> None:
    x = torch.linspace(0, 1, 60)[None, None, None].expand(1, 1, 40, 60)
    near, exact = local_mean(x, (10, 20), longest_steps=(5, 5)), local_mean(x, (10, 20))
    assert near.shape == x.shape
    assert (near - exact).abs().max() < 0.15
    assert not torch.equal(near, exact)


def test_a_step_need_not_divide_the_size() -> None:
    assert local_mean(picture(1, 1, 15, 15), (8, 8), longest_steps=(2, 2)).shape == (1, 1, 15, 15)


@pytest.mark.parametrize("rule", ["local_pool", "local_pool_fast"])
def test_the_same_weights_give_another_picture_under_another_rule(rule: Any) -> None:
    image = picture(1, 3, 64, 48)
    whole, local, covered = _small(), _small(inference_rule=rule, window=24), _small(inference_rule=rule, window=64)
    assert [model.inference_rule for model in (whole, local)] == ["global_pool", rule]
    with torch.no_grad():
        assert (local(image) - whole(image)).abs().max() > 1e-2
        torch.testing.assert_close(covered(image), whole(image))
    assert torch.equal(_on_paper(local, image), _on_paper(whole, image)), "the rule is one of inference"
    torch.testing.assert_close(local(image), whole(image))  # with gradients


def test_local_means_in_bands_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = _small(inference_rule="local_pool", window=20), picture(2, 3, 48, 32)
    with torch.no_grad():
        in_bands = model(image)
        monkeypatch.setattr(nafnet, "runs_in_bands", lambda _module, _x: False)
        torch.testing.assert_close(in_bands, model(image), atol=1e-4, rtol=1e-4)


# --- gradients and hidden patches -------------------------------------------------------------------------------------


def test_every_parameter_gets_a_gradient() -> None:
    model = _small().train()
    model(picture(2, 3, 16, 32)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_a_new_block_is_the_identity() -> None:
    x = picture(1, 4, 5, 5)
    assert torch.equal(Block(4, norm_eps=1e-5)(x), x)


def test_hidden_pixels_have_no_influence() -> None:
    model, image = _small(), picture(2, 3, 16, 24)
    mask = sample_mask(2, (4, 6), generator=torch.Generator().manual_seed(0))
    other = torch.where(Visibility(mask).at(16, 24).bool(), image, picture(2, 3, 16, 24, seed=9))
    assert not torch.equal(image, other)
    with torch.no_grad():
        first, second = model.forward_masked(image, mask), model.forward_masked(other, mask)
    assert torch.equal(first.reconstruction, second.reconstruction)
    assert [f.shape[1] for f in first.features] == list(model.feature_channels) == [8, 16]


def test_a_mask_that_hides_nothing_changes_nothing() -> None:
    model, image = _small(), picture(1, 3, 16, 16)
    with torch.no_grad():
        masked = model.forward_masked(image, torch.ones(1, 1, 4, 4, dtype=torch.bool))
        torch.testing.assert_close(masked.reconstruction + image, model(image), atol=1e-4, rtol=1e-4)
        for seen, whole in zip(masked.features, model.forward_features(image), strict=True):
            torch.testing.assert_close(seen, whole, atol=1e-4, rtol=1e-4)


def test_patches_smaller_than_a_pixel_of_the_lowest_level_are_an_error() -> None:
    with pytest.raises(UsageError, match="choose a multiple of 4"):
        _small().forward_masked(picture(1, 3, 16, 16), torch.ones(1, 1, 8, 8, dtype=torch.bool))


# --- variants and the authors' names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["nafnet", "nafnet-local", "nafnet-original", "nafnet-original-local"])
def test_released_variants_have_the_released_size(variant: str) -> None:
    with torch.device("meta"):
        model = MODELS.get("nafnet").build(variant)
    assert sum(p.numel() for p in model.parameters()) == 67_888_835


@pytest.mark.parametrize("release", ["maskdcpt", "dcpt", "original"])
def test_names_go_there_and_back(release: str) -> None:
    state = _small(norm_eps=1e-5 if release == "maskdcpt" else 1e-6).state_dict()
    authors = nafnet.revert(state, release=release)
    assert ("decoders.0.0.conv1.weight" in authors) == (release == "original")
    assert ("middle_blks.blocks.0.sca.1.bias" in authors) == (release == "maskdcpt")
    back = nafnet.convert(authors)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("release", "variant"), [("maskdcpt", "nafnet"), ("dcpt", "nafnet-original"), ("original", "nafnet-original")]
)
def test_a_file_tells_its_eps_and_the_rule_is_said_to_be_assumed(release: str, variant: str) -> None:
    ours = {key: torch.zeros(1).expand(shape) for key, shape in tensor_shapes("nafnet", variant).items()}
    match = recognise(nafnet.revert(ours, release=release), name="file.pth")
    assert (match.spec.name, match.variant) == ("nafnet", variant)
    assert any(f"{variant}-local" in note and "assumed" in note for note in match.notes)
