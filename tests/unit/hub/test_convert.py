"""The authors' keys become ours, strictly; a file says by its keys what it is."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from restorekit.errors import ModelError, UnknownNameError
from restorekit.hub import convert
from restorekit.hub.convert import Match, count_parameters, recognise, tensor_shapes
from restorekit.models import MODELS

FAMILIES = MODELS.names()
CONVERTED = [name for name in FAMILIES if MODELS.get(name).convert is not None]


def smallest(family: str) -> str:
    return min(MODELS.get(family).variants, key=lambda variant: count_parameters(family, variant))


@cache
def _ours(family: str) -> dict[str, Tensor]:
    shapes = tensor_shapes(family, smallest(family))
    return {
        key: torch.randn(shape, generator=torch.Generator().manual_seed(n))
        for n, (key, shape) in enumerate(shapes.items())
    }


def ours(family: str) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in _ours(family).items()}


def authors(family: str) -> dict[str, Tensor]:
    revert = MODELS.get(family).revert
    assert revert is not None
    return revert(ours(family))


def equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


def alike(state: dict[str, Tensor]) -> set[tuple[str, str]]:
    """Return all families and variants whose weights these may be, under their names or their authors'."""
    found = set()
    for family in FAMILIES:
        rename = MODELS.get(family).convert or dict
        for names in (state, rename(dict(state))):
            shapes = {key: value.shape for key, value in names.items()}
            found |= {(family, v) for v in MODELS.get(family).variants if tensor_shapes(family, v) == shapes}
    return found


def check_choice(match: Match, family: str, state: dict[str, Tensor]) -> None:
    """Check that weights were taken for what they may be, and that all else that they may be is named."""
    fitting = alike(state)
    assert (family, smallest(family)) in fitting
    assert (match.spec.name, match.variant) in fitting
    others = [f"{name} {variant!r}" for name, variant in fitting - {(match.spec.name, match.variant)}]
    assert all(any(other in note for note in match.notes) for other in others)
    assert any("as well as" in note for note in match.notes) == bool(others)


@pytest.mark.parametrize("family", CONVERTED)
@pytest.mark.parametrize("prefix", ["", "module.", "net.", "module.net."])
def test_the_authors_keys_become_ours(family: str, prefix: str) -> None:
    state = {prefix + key: value for key, value in authors(family).items()}
    assert equal(convert(family, state), ours(family))
    check_choice(recognise(state, name="file.pth"), family, authors(family))
    match = recognise(state, name="file.pth", family=family, variant=smallest(family))
    assert equal(match.state, ours(family))
    assert any("they were renamed" in note for note in match.notes) == (match.state.keys() != authors(family).keys())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_our_keys_stay(family: str, prefix: str) -> None:
    state = {prefix + key: value for key, value in ours(family).items()}
    check_choice(recognise(state, name="file.pth"), family, ours(family))
    match = recognise(state, name="file.pth", family=family, variant=smallest(family))
    assert (match.spec.name, match.variant, match.notes) == (family, smallest(family), ())
    assert equal(match.state, ours(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_becomes_single(family: str) -> None:
    halved = {key: value.half() for key, value in ours(family).items()}
    state = convert(family, halved)
    assert {value.dtype for value in state.values()} == {torch.float32}
    assert equal(state, {key: value.float() for key, value in halved.items()})


@pytest.mark.parametrize("family", CONVERTED)
def test_unknown_missing_and_misshapen_keys_are_listed(family: str) -> None:
    state = authors(family)
    rename = MODELS.get(family).convert
    assert rename is not None
    weights = [key for key, value in state.items() if value.ndim == 4 and rename({key: value})]
    first, second = weights[:2]
    removed, bent = next(iter(rename({first: state[first]}))), next(iter(rename({second: state[second]})))
    del state[first]
    state[second] = state[second][1:]
    state["something.else"] = torch.zeros(1)
    with pytest.raises(ModelError, match="these weights of") as raised:
        convert(family, state, variant=smallest(family))
    message = str(raised.value)
    assert f"not the weights of {smallest(family)!r}" in message
    assert "1 unknown keys (something.else)" in message
    assert f"1 missing keys ({removed})" in message
    assert f"1 wrong shapes ({bent} is (" in message


def test_long_lists_are_cut() -> None:
    state = {f"layer{n}.weight": torch.zeros(1) for n in range(9)}
    with pytest.raises(ModelError, match=r"9 unknown keys \(layer0.weight, .*layer4.weight and 4 more\)"):
        convert("resunet", state)


def test_weights_of_nobody_are_refused() -> None:
    with pytest.raises(ModelError, match=r"file.pth fits no network that is known; known are .*resunet"):
        recognise({"layer.weight": torch.zeros(1)}, name="file.pth")


def test_weights_that_are_nearly_ours_name_the_closest() -> None:
    state = ours("resunet")
    key = next(iter(state))
    del state[key]
    with pytest.raises(
        ModelError, match=rf"fits no network that is known; the closest is 'resunet-test': 1 missing keys \({key}\)"
    ):
        recognise(state, name="file.pth")


def test_kernels_that_are_not_sobels_are_refused_with_the_familys_own_words() -> None:
    state = authors("hogformer")
    key = next(key for key in state if key.endswith("sobel_x"))
    state[key] = state[key] * 2
    with pytest.raises(ModelError, match=rf"{key} is not Sobel's kernel"):
        convert("hogformer", state)


def test_two_variants_that_are_equal_are_both_named() -> None:
    shapes = tensor_shapes("hogformer", "hogformer-natural")
    state = {key: torch.zeros(1).expand(shape) for key, shape in shapes.items()}
    match = recognise(state, name="file.pth", family="hogformer")
    assert match.variant == "hogformer-all-weather"
    assert match.notes == (
        "its keys fit hogformer 'hogformer-natural' as well as hogformer 'hogformer-all-weather', which was assumed",
    )
    asked = recognise(state, name="file.pth", family="hogformer", variant="hogformer-natural")
    assert (asked.variant, asked.notes) == ("hogformer-natural", ())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_broken_values_are_refused(value: float) -> None:
    state = ours("resunet")
    key = list(state)[3]
    state[key].view(-1)[0] = value
    with pytest.raises(ModelError, match=rf"{key} holds values that are not finite"):
        convert("resunet", state)


def test_the_result_shares_no_memory_with_the_file() -> None:
    state = ours("resunet")
    converted = convert("resunet", state)
    assert not {v.data_ptr() for v in state.values()} & {v.data_ptr() for v in converted.values()}


def test_unknown_families_and_variants_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean resunet"):
        convert("resnet", {})
    with pytest.raises(ModelError, match="resunet has no variant 'resunet-huge'"):
        recognise(ours("resunet"), name="file.pth", family="resunet", variant="resunet-huge")


def test_parameters_are_counted_without_buffers() -> None:
    assert count_parameters("hogformer", "hogformer-natural") == 16_646_220  # as published
