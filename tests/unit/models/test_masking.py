"""Hidden patches: how many, which, and what becomes of them at every resolution."""

from __future__ import annotations

import pytest
import torch

from restorekit.errors import UsageError
from restorekit.models._masking import Visibility, sample_mask


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("grid", "ratio", "seen"), [((5, 5), 0.5, 12), ((3, 5), 0.5, 8), ((4, 6), 0.75, 6), ((2, 2), 1, 0)]
)
def test_every_picture_shows_the_same_number_of_patches(grid: tuple[int, int], ratio: float, seen: int) -> None:
    mask = sample_mask(7, grid, ratio=ratio, generator=_generator())
    assert mask.shape == (7, 1, *grid)
    assert mask.sum((1, 2, 3)).tolist() == [seen] * 7


def test_pictures_and_seeds_differ_and_a_seed_repeats() -> None:
    mask = sample_mask(2, (8, 8), generator=_generator())
    assert not torch.equal(mask[0], mask[1])
    assert torch.equal(mask, sample_mask(2, (8, 8), generator=_generator()))
    assert not torch.equal(mask, sample_mask(2, (8, 8), generator=_generator(1)))


def test_a_ratio_outside_its_range_is_an_error() -> None:
    with pytest.raises(UsageError, match="choose one from 0 to 1"):
        sample_mask(1, (2, 2), ratio=50, generator=_generator())


@pytest.mark.parametrize("size", [(16, 24), (8, 12), (2, 3)])
def test_hidden_patches_are_zero_at_every_resolution(size: tuple[int, int]) -> None:
    mask = sample_mask(2, (2, 3), generator=_generator())
    visible = Visibility.of(torch.zeros(2, 3, 16, 24), mask, reduction=8)
    x = torch.rand(2, 5, *size, generator=_generator()) + 1
    hidden = visible.hide(x)
    side = size[0] // 2
    for picture in range(2):
        for row in range(2):
            for column in range(3):
                patch = (
                    picture,
                    slice(None),
                    slice(row * side, (row + 1) * side),
                    slice(column * side, (column + 1) * side),
                )
                assert torch.equal(
                    hidden[patch], x[patch] if mask[picture, 0, row, column] else torch.zeros_like(x[patch])
                )
    rows = visible.hide_rows(x.flatten(2).transpose(1, 2), *size)
    assert torch.equal(rows.transpose(1, 2).reshape(x.shape), hidden)


def test_without_a_mask_everything_is_seen() -> None:
    x = torch.rand(1, 2, 4, 4, generator=_generator())
    assert Visibility().hide(x) is x
    rows = x.flatten(2).transpose(1, 2)
    assert Visibility().hide_rows(rows, 4, 4) is rows


@pytest.mark.parametrize(
    ("mask", "complaint"),
    [
        (torch.ones(2, 1, 2, 2), "does not suit 2 pictures"),
        (torch.ones(1, 1, 2, 2, dtype=torch.bool), "does not suit 2 pictures"),
        (torch.ones(2, 1, 2, 4, dtype=torch.bool), "into squares"),
        (torch.ones(2, 1, 3, 3, dtype=torch.bool), "into squares"),
        (torch.ones(2, 1, 4, 4, dtype=torch.bool), "choose a multiple of 8"),
    ],
)
def test_a_mask_that_does_not_suit_is_an_error(mask: torch.Tensor, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Visibility.of(torch.zeros(2, 3, 16, 16), mask, reduction=8)
