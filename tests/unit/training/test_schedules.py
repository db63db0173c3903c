"""Learning rates and modes by epoch."""

from __future__ import annotations

import pytest
import torch

from restorekit.training.schedules import CosineByEpoch, freezes_norms


def test_the_cosine_is_that_of_torch() -> None:
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1e-4)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=30, eta_min=1e-6)
    ours = CosineByEpoch(epochs=30, learning_rate=1e-4, final_rate=1e-6)
    for epoch in range(1, 32):
        assert ours(epoch) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9)
        optimiser.step()
        theirs.step()


def test_norms_are_frozen_until_the_last_epochs() -> None:
    frozen = [epoch for epoch in range(1, 301) if freezes_norms(epoch, epochs=300, running=20)]
    assert frozen == list(range(1, 280))
