"""Bands: the same result as in one piece, and when there are any."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from restorekit.ops import bands
from restorekit.ops.bands import band_rows, over_bands


@given(height=st.integers(1, 30), rows=st.integers(1, 31), halo=st.integers(0, 3))
def test_bands_with_their_halo_give_the_whole(height: int, rows: int, halo: int) -> None:
    x = torch.arange(2 * height * 3.0).view(1, 2, height, 3)
    kernel = torch.ones(4, 2, 2 * halo + 1, 1)

    def compute(part: torch.Tensor) -> torch.Tensor:
        return F.conv2d(part, kernel, padding=(halo, 0))

    torch.testing.assert_close(over_bands(compute, x, rows=rows, halo=halo), compute(x))


@given(height=st.integers(1, 30), rows=st.integers(1, 31), halo=st.integers(0, 3))
def test_own_rows_make_up_the_picture(height: int, rows: int, halo: int) -> None:
    x = torch.arange(float(height)).view(1, 1, height, 1)
    own = [band[:, :, rows_of_it] for band, rows_of_it in bands.bands(x, rows=rows, halo=halo)]
    assert torch.equal(torch.cat(own, 2), x)


def test_bands_are_small_only_where_that_helps() -> None:
    x = torch.zeros(1, 1, 4096, 1024)
    with torch.no_grad():
        rows = band_rows(x, channels=100)
        assert 8 <= rows < 100
        assert band_rows(x.double(), channels=20) <= band_rows(x, channels=20)
        assert band_rows(x.to("meta"), channels=100) == 4096
    assert band_rows(x, channels=100) == 4096  # gradients are recorded


def test_a_short_picture_is_one_call() -> None:
    calls = []

    def compute(part: torch.Tensor) -> torch.Tensor:
        calls.append(part.shape[2])
        return part

    with torch.no_grad():
        over_bands(compute, torch.zeros(1, 1, 6, 2), rows=8, halo=1)
    assert calls == [6]


@pytest.mark.parametrize("rows", [2, 5])
def test_gradients_flow_where_it_is_one_piece(rows: int) -> None:
    x = torch.ones(1, 1, 4, 2, requires_grad=True)
    over_bands(lambda part: part * 2, x, rows=max(rows, 4)).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.full_like(x, 2))
