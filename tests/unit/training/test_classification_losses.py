"""The focal loss: its definition, its limits, and gradients that stay finite."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from restorekit.errors import UsageError
from restorekit.training.losses.classification import IGNORED, focal_loss

LOGITS = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 4, 2, 2, 1, 3, 0, 4])


def test_without_focus_it_is_the_cross_entropy() -> None:
    torch.testing.assert_close(focal_loss(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS))


def test_value_by_hand() -> None:
    logits = torch.tensor([[math.log(0.8), math.log(0.2)]])
    assert float(focal_loss(logits, torch.tensor([0]), gamma=2)) == pytest.approx(0.2**2 * -math.log(0.8), rel=1e-5)
    assert float(focal_loss(logits, torch.tensor([1]), gamma=2)) == pytest.approx(0.8**2 * -math.log(0.2), rel=1e-5)


def test_class_weights_scale_samples_and_do_not_divide_the_mean() -> None:
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    each = focal_loss(LOGITS, LABELS, gamma=2, reduction="none")
    weighted = focal_loss(LOGITS, LABELS, gamma=2, class_weights=weights)
    torch.testing.assert_close(weighted, (each * weights[LABELS]).mean())
    torch.testing.assert_close(focal_loss(LOGITS, LABELS, gamma=2, reduction="sum"), each.sum())


def test_ignored_samples_do_not_count() -> None:
    labels = LABELS.clone()
    labels[[1, 5]] = IGNORED
    kept = [0, 2, 3, 4, 6, 7]
    for reduction in ("mean", "sum", "none"):
        torch.testing.assert_close(
            focal_loss(LOGITS, labels, gamma=1, reduction=reduction),
            focal_loss(LOGITS[kept], LABELS[kept], gamma=1, reduction=reduction),
        )
    logits = LOGITS.clone().requires_grad_()
    none = focal_loss(logits, torch.full_like(LABELS, IGNORED))
    none.backward()
    assert float(none.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2])
def test_gradients_are_finite_however_sure_the_classifier_is(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]]).requires_grad_()
    loss = focal_loss(logits, torch.tensor([0, 0]), gamma=gamma)
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_negative_focus_is_refused() -> None:
    with pytest.raises(UsageError, match=r"gamma of the focal loss is -1; choose 0 or more"):
        focal_loss(LOGITS, LABELS, gamma=-1)
