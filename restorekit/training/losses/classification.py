"""Losses of classifiers."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from restorekit.errors import UsageError

__all__ = ["IGNORED", "focal_loss"]

IGNORED = -100
"""Label of a sample that does not count."""


def focal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: float = 0.0,
    class_weights: Tensor | None = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
) -> Tensor:
    """Compare classes with the truth: (1 - p)^gamma times the cross-entropy, p the probability of the true class.

    Samples that are already right weigh less, so that a class of which there is much does not drown the others.

    Args:
        logits: ``(B, K)``.
        labels: ``(B,)``, whole numbers below K, or ``IGNORED``.
        gamma: How much less, 0 or more; at 0 it is the cross-entropy.
        class_weights: ``(K,)``; the mean stays one over samples, it is not divided by their weights.
        reduction: What becomes of the samples that count.

    Returns:
        A number, 0 where no sample counts; with ``"none"`` one for each sample that counts, in their order.

    Raises:
        UsageError: gamma is negative.

    Reference:
        Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017 (arXiv 1708.02002), equation 5.
    """
    if gamma < 0:
        raise UsageError(f"gamma of the focal loss is {gamma}; choose 0 or more")
    counts = labels != IGNORED
    chances, labels = F.log_softmax(logits[counts], 1), labels[counts]
    right = chances.gather(1, labels[:, None])[:, 0]
    wrong = -torch.expm1(right)  # 1 - p, exact where p is almost 1; kept from 0, where a root has no slope
    each = wrong.clamp_min(torch.finfo(wrong.dtype).tiny) ** gamma * -right
    if class_weights is not None:
        each = each * class_weights.to(each)[labels]
    if reduction == "none":
        return each
    return each.sum() / (max(1, each.numel()) if reduction == "mean" else 1)
