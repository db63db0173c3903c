"""Deformable convolution: both ways of reading taps against a loop over pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from restorekit.ops.deform import TAPS, gather_columns, sample_columns, to_table


def read(x: Tensor, row: float, column: float) -> Tensor:
    """Return the channels of ``(C, H, W)`` at a place between pixels, zeros outside."""
    top, left = math.floor(row), math.floor(column)
    total = torch.zeros(x.shape[0], dtype=x.dtype)
    for y in (top, top + 1):
        for z in (left, left + 1):
            if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                total += (1 - abs(row - y)) * (1 - abs(column - z)) * x[:, y, z]
    return total


def literal(x: Tensor, shift: Tensor) -> Tensor:
    """Return ``(C, 9, H, W)`` of ``(C, H, W)`` and shifts ``(27, H, W)``, dy and dx in turn."""
    height, width = x.shape[1:]
    columns = torch.zeros(x.shape[0], TAPS, height, width, dtype=x.dtype)
    for tap in range(TAPS):
        for row in range(height):
            for column in range(width):
                dy, dx = shift[2 * tap, row, column].item(), shift[2 * tap + 1, row, column].item()
                mask = torch.sigmoid(shift[18 + tap, row, column])
                columns[:, tap, row, column] = mask * read(x, row + tap // 3 - 1 + dy, column + tap % 3 - 1 + dx)
    return columns


def case(height: int, width: int, *, spread: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height * 100 + width)
    x = torch.randn(1, 3, height, width, generator=generator, dtype=torch.float64)
    return x, spread * torch.randn(1, 27, height, width, generator=generator, dtype=torch.float64)


def by_kind(shift: Tensor) -> Tensor:
    """Return shifts with all dy, then all dx, then the masks."""
    return torch.cat([shift[:, 0:18:2], shift[:, 1:18:2], shift[:, 18:]], 1)


def gathered(x: Tensor, shift: Tensor, *, rows: int) -> Tensor:
    """Gather in bands; return ``(C, 9, H, W)``."""
    (channels, height, width), table = x.shape[1:], to_table(x)
    bands = [
        gather_columns(table, by_kind(shift)[:, :, top : top + rows], top=top, height=height)
        for top in range(0, height, rows)
    ]
    return torch.cat(bands).view(height, width, TAPS, channels).permute(3, 2, 0, 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 1), (5, 8)], ids=str)
@pytest.mark.parametrize("spread", [0.0, 0.7, 9.0])
def test_both_ways_read_what_a_loop_reads(size: tuple[int, int], spread: float) -> None:
    x, shift = case(*size, spread=spread)
    wanted = literal(x[0], shift[0])
    sampled = sample_columns(x, shift).view(3, TAPS, *size)
    assert torch.allclose(sampled, wanted, atol=1e-12)
    with torch.no_grad():
        assert torch.allclose(gathered(x, shift, rows=size[0]), wanted, atol=1e-12)


def test_bands_are_parts_of_the_whole() -> None:
    x, shift = case(11, 6)
    with torch.no_grad():
        whole, bands = gathered(x, shift, rows=11), gathered(x, shift, rows=3)
        assert torch.equal(whole, bands)
        halves = [sample_columns(x, shift[:, :, part], top=top) for part, top in ((slice(4), 0), (slice(4, 11), 4))]
        assert torch.allclose(torch.cat(halves, 2), sample_columns(x, shift), atol=1e-12)


@pytest.mark.parametrize("far", [1e3, -1e3, 1e30, math.inf, -math.inf])
def test_a_tap_far_outside_reads_zero(far: float) -> None:
    x, shift = case(4, 5, spread=0.0)
    shift[:, 0, 2, 2] = far
    columns = gathered(x, shift, rows=4)
    assert (columns[:, 0, 2, 2] == 0).all()
    assert torch.isfinite(columns).all()


def test_a_shift_that_is_no_number_spoils_its_tap_and_nothing_else() -> None:
    x, shift = case(4, 5, spread=0.5)
    wanted = gathered(x, shift, rows=4)
    shift[:, 1, 2, 2] = math.nan
    columns = gathered(x, shift, rows=4)
    assert columns[:, 0, 2, 2].isnan().all()
    columns[:, 0, 2, 2] = wanted[:, 0, 2, 2]
    assert torch.equal(columns, wanted)


def test_gradients_reach_pixels_places_and_masks() -> None:
    x, shift = (value[:, :, :3, :4].clone().requires_grad_() for value in case(3, 4, spread=0.4))
    assert torch.autograd.gradcheck(sample_columns, (x, shift), atol=1e-4)
