"""What every registered network keeps."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch

from restorekit.hub.convert import count_parameters
from restorekit.models import MODELS, DescribesPicture

every_family = pytest.mark.parametrize("family", MODELS.names())


def small(family: str) -> torch.nn.Module:
    """Return the family's test variant with weights that are the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODELS.get(family).build(f"{family}-test").eval()


def picture(family: str, *, batch: int = 1) -> torch.Tensor:
    """Return the smallest picture that is neither minimal nor square."""
    size = MODELS.get(family).size
    height = max(size.minimum, size.multiple_of) + size.multiple_of
    return torch.rand(batch, 3, height, height + size.multiple_of, generator=torch.Generator().manual_seed(1))


def arguments(family: str, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return what the network is called with, as its task says; the answer has the shape of the first."""
    return (image[:, :1], image) if MODELS.get(family).task == "guided" else (image,)


def classifies(family: str) -> bool:
    """Tell whether the network answers with logits ``(B, K)``."""
    return MODELS.get(family).task == "classify"


@every_family
def test_variants_are_plain_data_and_one_is_for_tests(family: str) -> None:
    spec = MODELS.get(family)
    assert json.loads(json.dumps(spec.variants)).keys() == spec.variants.keys()
    assert all(variant.startswith(f"{family}-") or variant == family for variant in spec.variants)
    assert count_parameters(family, f"{family}-test") < 1_000_000
    assert not spec.default_variant.endswith("-test")


@every_family
def test_papers_and_licences_are_named(family: str) -> None:
    spec = MODELS.get(family)
    assert re.search(r"\(.+ (19|20)\d\d.*\)", spec.paper), "name authors, venue and year"
    assert spec.licence


@every_family
def test_sizes_of_the_rule_come_back_as_they_were(family: str) -> None:
    size, network = MODELS.get(family).size, small(family)
    least = max(size.minimum, size.multiple_of)
    for height, width in ((least, least), (least, least + size.multiple_of), (least + size.multiple_of, least)):
        image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(2))
        given = arguments(family, image)
        with torch.inference_mode():
            answer = network(*given)
            assert answer.ndim == 2 if classifies(family) else answer.shape == given[0].shape


@every_family
def test_the_input_is_left_alone_and_the_answer_repeats(family: str) -> None:
    network, image = small(family), picture(family)
    given, state = image.clone(), torch.random.get_rng_state()
    with torch.inference_mode():
        assert torch.equal(network(*arguments(family, image)), network(*arguments(family, image)))
    assert torch.equal(image, given)
    assert torch.equal(torch.random.get_rng_state(), state), "a network that restores draws no random numbers"


@every_family
def test_weights_survive_a_round_through_a_file(family: str, tmp_path: Path) -> None:
    network, image = small(family), picture(family)
    safetensors.torch.save_file(network.state_dict(), tmp_path / "a.safetensors")
    other = MODELS.get(family).build(f"{family}-test").eval()
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "a.safetensors"))
    with torch.inference_mode():
        assert torch.equal(network(*arguments(family, image)), other(*arguments(family, image)))


@every_family
def test_every_parameter_learns(family: str) -> None:
    network, image = small(family).train(), picture(family, batch=2)
    given = arguments(family, image)
    if classifies(family):  # as it is pre-trained: the encoder's last layers serve the reconstruction
        mask = torch.ones(2, 1, image.shape[2] // 16, image.shape[3] // 16, dtype=torch.bool)
        answer = network.forward_masked(image, mask)
        (answer.reconstruction - image.flip(-1)).square().mean().backward(retain_graph=True)
        answer.logits.square().mean().backward()
    else:
        (network(*given) - given[0].flip(-1)).square().mean().backward()
    idle = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert not idle, f"nothing depends on {idle}"


@every_family
def test_a_description_of_the_whole_serves_the_picture(family: str) -> None:
    network, image = small(family), picture(family)
    if isinstance(network, DescribesPicture):
        with torch.inference_mode():
            assert torch.equal(network.restore(image, network.describe(image)), network(image))
