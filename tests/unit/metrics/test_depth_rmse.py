"""Depth RMSE: field report 25 (1.21 or 1.35 cm for the same files), units, borders and masks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from restorekit.errors import UsageError
from restorekit.metrics import METRICS, DepthProtocol, depth_rmse, depth_rmse_pooled, score_depth

METRES = {"data_range": 1.0}


def maps() -> tuple[Tensor, Tensor]:
    """Return two maps in metres, restored with errors of exactly 1 cm and 3 cm, and what was measured."""
    generator = torch.Generator().manual_seed(0)
    measured = 0.5 + 4 * torch.rand(2, 1, 64, 64, generator=generator, dtype=torch.float64)
    signs = torch.where(torch.rand(2, 1, 64, 64, generator=generator) > 0.5, 1.0, -1.0)
    return measured + signs * torch.tensor([0.01, 0.03]).view(2, 1, 1, 1), measured


def test_mean_of_maps_and_pooled_are_two_numbers_under_two_names() -> None:
    restored, measured = maps()
    assert depth_rmse(restored, measured, **METRES).tolist() == pytest.approx([1, 3], abs=1e-6)
    assert depth_rmse(restored, measured, **METRES).mean().item() == pytest.approx(2.000, abs=1e-6)
    assert depth_rmse_pooled(restored, measured, **METRES).item() == pytest.approx(2.2361, abs=5e-5)


def test_errors_in_the_border_vanish_with_the_border() -> None:
    restored, measured = maps()
    inner = (..., slice(6, -6), slice(6, -6))
    restored[inner] = measured[inner]
    assert (depth_rmse(restored, measured, **METRES) > 0.5).all()
    assert depth_rmse(restored, measured, crop_border=6, **METRES).tolist() == [0, 0]
    assert depth_rmse_pooled(restored, measured, crop_border=6, **METRES).item() == 0


def test_pixels_that_are_not_valid_may_hold_anything() -> None:
    restored, measured = maps()
    valid = torch.ones_like(measured, dtype=torch.bool)
    valid[:, :, 20:40, 10:30] = False
    restored[0][~valid[0]], measured[1][~valid[1]] = math.nan, math.inf
    assert depth_rmse(restored, measured, valid=valid, **METRES).tolist() == pytest.approx([1, 3], abs=1e-6)
    assert depth_rmse(restored, measured, valid=valid, crop_border=6, **METRES).tolist() == pytest.approx(
        [1, 3], abs=1e-6
    )
    with pytest.raises(UsageError, match="no finite numbers"):
        depth_rmse(restored, measured, **METRES)


def test_a_mask_counts_after_the_border_is_cut() -> None:
    restored, measured = maps()
    valid = torch.zeros_like(measured, dtype=torch.bool)
    valid[:, :, :6] = True  # in the border only
    valid[0, :, 30] = True
    value = depth_rmse(restored, measured, valid=valid, crop_border=6, **METRES)
    assert value[0].item() == pytest.approx(1, abs=1e-6)
    assert math.isnan(value[1].item())


@pytest.mark.parametrize(
    ("factor", "scale"),
    [
        (1.0, {"data_range": 1.0}),
        (1.0, {"data_range": 10.0, "full_scale_m": 10.0}),
        (1000.0, {"data_range": 1000.0}),
        (1000.0, {"data_range": 65535.0, "full_scale_m": 65.535}),
        (0.2, {"data_range": 1.0, "full_scale_m": 5.0}),
    ],
    ids=["metres", "metres of ten", "millimetres", "16 bits", "share of 5 m"],
)
def test_any_unit_gives_centimetres(factor: float, scale: dict[str, float]) -> None:
    restored, measured = maps()
    assert depth_rmse(factor * restored, factor * measured, **scale).tolist() == pytest.approx([1, 3], abs=1e-6)


@pytest.mark.parametrize(
    ("protocol", "value", "words"),
    [
        (DepthProtocol(), 2.0, "depth RMSE, mean over maps, in cm, 6 pixels left out on each side, all pixels; 2 maps"),
        (DepthProtocol(pooled=True, crop_border=0), 5**0.5, "pooled over all pixels, in cm, no border left out"),
        (DepthProtocol(valid_m=(0.1, 5)), 2.0, "pixels measured at 0.1 to 5 m"),
    ],
)
def test_unit_border_and_mask_stand_beside_the_number(protocol: DepthProtocol, value: float, words: str) -> None:
    score = score_depth(*maps(), protocol)
    assert score.value == pytest.approx(value, abs=1e-6)
    assert str(score).startswith(f"{value:.4f} cm (")
    assert words in str(score)


def test_a_map_without_a_pixel_that_counts_is_not_scored() -> None:
    restored, measured = maps()
    with pytest.raises(UsageError, match=r"a depth map has no pixel that counts .*pixels measured at 50 to 60 m"):
        score_depth(restored, measured, DepthProtocol(valid_m=(50, 60)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"full_scale_m": 0.0}, "full_scale_m is a positive number of metres, not 0.0"),
        ({"full_scale_m": math.nan}, "full_scale_m is a positive number of metres, not nan"),
        ({"valid": torch.ones(2, 1, 64, 63, dtype=torch.bool)}, r"\(2, 1, 64, 64\) bool, not \(2, 1, 64, 63\) bool"),
        ({"valid": torch.ones(2, 1, 64, 64)}, r"\(2, 1, 64, 64\) bool, not \(2, 1, 64, 64\) float32"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        depth_rmse(*maps(), **METRES, **options)


def test_the_registry_knows_its_unit() -> None:
    assert METRICS.get("depth_rmse").unit == "cm"
