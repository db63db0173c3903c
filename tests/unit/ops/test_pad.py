from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from restorekit.ops.pad import crop_to, pad_to, padded_length


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    multiple=st.sampled_from([1, 2, 8, 12]),
    minimum=st.integers(1, 33),
)
def test_any_size_is_padded_to_the_rule_and_comes_back(height: int, width: int, multiple: int, minimum: int) -> None:
    image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    padded, size = pad_to(image, multiple, minimum)
    for before, after in zip((height, width), padded.shape[-2:], strict=True):
        assert after % multiple == 0
        assert after >= max(before, minimum)
        assert after - max(before, minimum) < multiple
    assert torch.equal(crop_to(padded, size), image)


def test_a_long_side_is_mirrored_and_a_short_one_repeated() -> None:
    image = torch.arange(12.0).reshape(1, 1, 2, 6)
    padded, _ = pad_to(image, 8, 1)
    assert padded[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3]  # 2 more than 6: mirrored without the border pixel
    assert padded[0, 0, 1:, 0].tolist() == [6] * 7  # 6 more than 2: the last row again and again


def test_nothing_missing_costs_nothing() -> None:
    image = torch.rand(1, 3, 16, 24)
    assert pad_to(image, 8, 8)[0] is image


@pytest.mark.parametrize(
    ("length", "multiple", "minimum", "wanted"), [(1, 8, 1, 8), (8, 8, 16, 16), (17, 8, 16, 24), (5, 1, 1, 5)]
)
def test_padded_length(length: int, multiple: int, minimum: int, wanted: int) -> None:
    assert padded_length(length, multiple, minimum) == wanted
