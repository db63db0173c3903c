"""PromptIR and MIR-L: prompts that are kept and forgotten, hidden patches, sizes and names."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from restorekit.hub.convert import recognise, tensor_shapes
from restorekit.models import MODELS, _promptir, mirl, promptir
from restorekit.models._masking import Visibility, sample_mask
from restorekit.models._promptir import Prompt
from restorekit.models.mirl import MIRL
from restorekit.models.promptir import PromptIR
from tests.helpers.networks import picture, randomise

SMALL: dict[str, Any] = {
    "embed_dim": 8,
    "num_blocks": (1, 1, 1, 1),
    "num_refinement_blocks": 1,
    "prompt_channels": (4, 8, 16),
    "prompt_sizes": (16, 8, 4),
}


def _small(network: Callable[..., Any] = PromptIR, **changes: Any) -> Any:
    model = network(**{**SMALL, **changes})
    randomise(model)
    return model.eval()


def _prompt() -> Prompt:
    prompt = Prompt(10, 6, size=4)
    randomise(prompt)
    return prompt.eval()


def _on_paper(module: torch.nn.Module, x: Tensor) -> Any:
    """Call a module as it is called in training."""
    module.train()
    with torch.no_grad():
        result = module(x)
    module.eval()
    return result


# --- prompts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(4, 4), (9, 13), (2, 3), (1, 1)])
def test_kept_maps_give_the_same_prompt(size: tuple[int, int]) -> None:
    prompt, x = _prompt(), picture(3, 10, *size)
    expected = _on_paper(prompt, x)
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(prompt(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(prompt(x), expected, atol=1e-5, rtol=1e-5)  # with gradients


def test_maps_are_kept_for_a_size_and_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt, calls = _prompt(), []
    prompt.filter.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        for x in (picture(1, 10, 8, 8), picture(2, 10, 8, 8), picture(1, 10, 6, 8), picture(1, 10, 6, 8)):
            prompt(x)
        assert len(calls) == 2
        monkeypatch.setattr(_promptir, "_KEPT_BYTES", 5 * 6 * 9 * 8 * 4 - 1)
        prompt(picture(1, 10, 9, 8))
        prompt(picture(1, 10, 9, 8))
        assert len(calls) == 4, "maps that are too large are not kept"


def _in_place(prompt: Prompt) -> None:
    with torch.no_grad():
        prompt.components.mul_(2)


def _by_loading(prompt: Prompt) -> None:
    prompt.load_state_dict({key: 2 * value for key, value in prompt.state_dict().items()})


def _by_assigning(prompt: Prompt) -> None:
    prompt.load_state_dict({key: 2 * value for key, value in prompt.state_dict().items()}, assign=True)


def _by_training(prompt: Prompt) -> None:
    prompt.train()
    prompt.filter.weight.data.mul_(2)
    prompt.eval()


@pytest.mark.parametrize("change", [_in_place, _by_loading, _by_assigning, _by_training])
def test_kept_maps_are_forgotten_when_weights_change(change: Callable[[Prompt], None]) -> None:
    prompt, x = _prompt(), picture(1, 10, 5, 7)
    with torch.no_grad():
        before = prompt(x).clone()
        change(prompt)
        after = prompt(x)
        assert not torch.allclose(before, after)
        torch.testing.assert_close(after, _on_paper(prompt, x), atol=1e-5, rtol=1e-5)


def test_a_prompt_can_be_copied_and_be_double() -> None:
    prompt, x = _prompt(), picture(1, 10, 5, 7)
    with torch.no_grad():
        expected = prompt(x)
        assert torch.equal(copy.deepcopy(prompt)(x), expected)
        torch.testing.assert_close(prompt.double()(x.double()).float(), expected, atol=1e-5, rtol=1e-5)


def test_inference_mode_keeps_maps_that_serve_elsewhere() -> None:
    prompt, x = _prompt(), picture(1, 10, 5, 7)
    with torch.inference_mode():
        expected = prompt(x).clone()
    with torch.no_grad():
        assert torch.equal(prompt(x), expected)
    prompt(x.requires_grad_()).sum().backward()
    assert prompt.components.grad is not None


# --- the networks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("network", "bias"), [(PromptIR, True), (PromptIR, False), (MIRL, False), (MIRL, True)])
@pytest.mark.parametrize("size", [(8, 8), (40, 24)])
def test_the_network_without_gradients_gives_the_same(
    network: Callable[..., Any], bias: bool, size: tuple[int, int]
) -> None:
    model, image = _small(network, bias=bias), picture(2, 3, *size)
    with torch.inference_mode():
        result = model(image)
    torch.testing.assert_close(result, _on_paper(model, image), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(model(image), result, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("changes", [{}, {"norm": "bias_free", "num_prompts": 3}])
def test_every_parameter_gets_a_gradient(changes: dict[str, Any]) -> None:
    model = _small(**changes).train()
    model(picture(2, 3, 16, 24)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_hidden_places_are_zero_everywhere_and_have_no_influence() -> None:
    model, image = _small(bias=False), picture(2, 3, 16, 24)
    mask = sample_mask(2, (2, 3), generator=torch.Generator().manual_seed(0))
    visible = Visibility(mask)
    other = torch.where(visible.at(16, 24).bool(), image, picture(2, 3, 16, 24, seed=9))
    with torch.no_grad():
        first, second = model.forward_masked(image, mask), model.forward_masked(other, mask)
    assert torch.equal(first.reconstruction, second.reconstruction)
    for feature in first.features:
        assert not feature[~visible.at(*feature.shape[2:]).bool().expand_as(feature)].any()
        assert feature.abs().max() > 0


def test_nothing_depends_on_what_mir_l_does_not_use() -> None:
    model, image = _small(MIRL), picture(1, 3, 16, 16)
    with torch.no_grad():
        before = model(image)
        for parameter in model.unused.parameters():
            parameter.fill_(float("nan"))
        assert torch.equal(model(image), before)


# --- variants and the authors' names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "variant", "size"),
    [
        ("promptir", "promptir", 35_539_290),
        ("promptir", "promptir-dcpt", 35_376_967),
        ("mirl", "mirl", 35_592_263),
    ],
)
def test_released_variants_have_the_released_size(family: str, variant: str, size: int) -> None:
    with torch.device("meta"):
        model = MODELS.get(family).build(variant)
    assert sum(p.numel() for p in model.parameters()) == size


def test_the_groups_that_pruning_makes_have_the_published_sizes() -> None:
    with torch.device("meta"):
        state = mirl.revert(dict(MIRL().named_parameters()))
    weights = sum(p.numel() for name, p in state.items() if "weight" in name)
    biases = sum(p.numel() for name, p in state.items() if "bias" in name)
    assert (weights, biases) == (33_199_064, 17_359)


@pytest.mark.parametrize(
    ("variant", "release"), [("promptir", "maskdcpt"), ("promptir-dcpt", "maskdcpt"), ("promptir-dcpt", "original")]
)
def test_a_file_of_promptir_is_recognised(variant: str, release: str) -> None:
    ours = {key: torch.zeros(1).expand(shape) for key, shape in tensor_shapes("promptir", variant).items()}
    match = recognise(promptir.revert(ours, release=release), name="file.pth")
    assert (match.spec.name, match.variant) == ("promptir", variant)
    assert not any("assumed" in note for note in match.notes)


def test_a_file_of_mir_l_is_recognised() -> None:
    ours = {key: torch.zeros(1).expand(shape) for key, shape in tensor_shapes("mirl", "mirl").items()}
    authors = {f"net.{key}": value for key, value in mirl.revert(ours).items()}
    assert "net.reduce_noise_channel_3.weight" in authors
    match = recognise(authors, name="file.ckpt")
    assert (match.spec.name, match.variant) == ("mirl", "mirl")
    assert match.state.keys() == ours.keys()
