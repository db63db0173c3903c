"""When one dense convolution replaces two."""

from __future__ import annotations

import pytest
import torch

from restorekit.ops.matrix_unit import dense_pays, has_matrix_unit


def test_the_answer_is_a_plain_one() -> None:
    assert has_matrix_unit() in (True, False)


@pytest.mark.parametrize(
    ("shape", "dtype", "pays"),
    [
        ((1, 8, 32, 32), torch.bfloat16, True),
        ((1, 8, 32, 32), torch.float16, False),
        ((1, 8, 4, 4), torch.bfloat16, False),  # few pixels
        ((1, 65, 64, 64), torch.bfloat16, False),  # many channels
    ],
)
def test_dense_pays_for_many_pixels_of_few_channels(shape: tuple[int, ...], dtype: torch.dtype, pays: bool) -> None:
    x = torch.zeros(shape)
    assert not dense_pays(x, widest=64)  # in float32 never
    with torch.autocast("cpu", dtype=dtype):
        assert dense_pays(x, widest=64) is pays
