"""The loss ranks what it should."""

from __future__ import annotations

import math

import pytest
import torch

from restorekit.training.losses.restoration import relative_error


def test_untouched_pictures_all_cost_one() -> None:
    clean = torch.rand(3, 3, 16, 16)
    degraded = clean + torch.tensor([0.0, 0.01, 0.4])[:, None, None, None] * torch.randn(3, 3, 16, 16)
    assert torch.allclose(relative_error(degraded, clean, degraded), torch.ones(3), atol=1e-5)


def test_value_by_hand() -> None:
    clean, degraded, restored = torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.2), torch.full((1, 1, 4, 4), 0.1)
    ratio = math.sqrt((0.01 + 5e-5) / (0.04 + 5e-5))
    assert float(relative_error(restored, clean, degraded)[0]) == pytest.approx(ratio + math.log(ratio), abs=1e-5)


def test_harm_costs_more_than_the_same_gain_pays() -> None:
    clean, degraded = torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.1)
    cost = [float(relative_error(degraded * factor, clean, degraded)[0]) for factor in (0.5, 1.0, 2.0)]
    assert cost[2] - cost[1] > cost[1] - cost[0] > 0
