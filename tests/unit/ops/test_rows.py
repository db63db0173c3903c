"""Moving pixels: permutations, their inverses and gradients, and the layouts that attention reads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from restorekit.ops.rows import (
    fill_patches,
    group,
    invert,
    patch_sources,
    permute,
    spread,
    to_patches,
    to_picture,
    to_rows,
    ungroup,
)


def _order(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randperm(length, generator=torch.Generator().manual_seed(seed))


@given(length=st.integers(1, 40), seed=st.integers(0, 9))
def test_the_inverse_undoes_a_permutation(length: int, seed: int) -> None:
    order, rows = _order(length, seed), torch.arange(length * 2.0).view(length, 2)
    assert torch.equal(permute(permute(rows, order), invert(order)), rows)


def test_the_gradient_of_a_permutation_is_right() -> None:
    order = _order(7)
    rows = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: permute(x, order) ** 2, (rows,))


def test_rows_are_views_in_channels_last() -> None:
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    rows = to_rows(x)
    assert rows.data_ptr() == x.data_ptr()
    assert torch.equal(rows[1, 7], x[1, :, 1, 2])
    assert torch.equal(to_picture(rows, 4, 5), x)


def test_patches_are_read_row_by_row() -> None:
    x = torch.arange(8 * 12.0).view(1, 8, 12)
    patches = to_patches(x, 4)
    assert torch.equal(patches[0, 4], x[0, 4:8, 4:8].flatten())
    assert torch.equal(fill_patches(torch.ones(1, 1, 3, 5), 4).sum(), torch.tensor(15.0))
    assert fill_patches(torch.ones(1, 1, 3, 5), 4).shape == (1, 1, 4, 8)


def test_sources_move_pixels_within_their_patch() -> None:
    batch, height, width, patch = 2, 4, 8, 4
    order = torch.stack([_order(16, seed) for seed in range(4)]).view(batch, 2, 16)
    x = torch.randn(batch, 3, height, width)
    moved = permute(to_rows(x).flatten(0, 1), patch_sources(order, height, width, patch))
    moved = to_picture(moved.view(batch, -1, 3), height, width)
    for b in range(batch):
        for channel in range(3):
            want = to_patches(x[b, channel][None], patch).gather(2, order[b][None])
            assert torch.equal(to_patches(moved[b, channel][None], patch), want)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_groups_for_the_heads(heads: int) -> None:
    """Element for element as the layout is defined: neighbours for q1 and k1, every f-th pixel for q2, k2 and v."""
    batch, length, channels = 2, 8, 4
    count, share = length // heads, channels // heads
    rows = torch.randn(batch, length, 5 * channels)
    order = torch.stack([_order(length, seed) for seed in range(batch)])
    kinds = group(rows, order, heads)
    for kind, matrix in enumerate(kinds):
        for b, head, j, g, c in ((b, h, j, g, c) for b in range(batch) for h in range(heads) for j in range(count)
                                 for g in range(heads) for c in range(share)):  # fmt: skip
            place = g * count + j if kind < 2 else j * heads + g
            want = rows[b, order[b, place], kind * channels + head * share + c]
            assert matrix[b, head, j, g * share + c] == want
    near = spread(kinds[4], heads)
    assert near[1, 0, 0, (heads - 1) * share] == rows[1, order[1, (heads - 1) * count], 4 * channels]
    assert torch.equal(spread(near, heads, back=True).reshape(kinds[4].shape), kinds[4])
    assert torch.equal(ungroup(kinds[4], order, heads), rows[:, :, 4 * channels :])
