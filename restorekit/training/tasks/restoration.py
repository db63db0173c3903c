"""Task: restore pictures that were degraded by a mixture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from restorekit.data.synthesis import Batch, Synthesis
from restorekit.models import DescribesPicture
from restorekit.models._blocks import TONES
from restorekit.training.losses.restoration import relative_error

__all__ = ["RestorationTask"]


@dataclass(frozen=True, kw_only=True)
class RestorationTask:
    """All-in-one restoration of synthetic pairs.

    Attributes:
        synthesis: Source of batches.
        tone_weight: Weight of the cross entropy that trains the tone classifier.
    """

    synthesis: Synthesis
    tone_weight: float = 0.1

    def batch(self, number: int, *, count: int, side: int) -> Batch:
        """Make batch ``number``; see ``Synthesis.batch``."""
        return self.synthesis.batch(number, count=count, side=side)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch and, for each task in it, the mean error relative to the input's.

        Args:
            model: A restorer; if it describes pictures, it is given the surroundings of each crop.
            batch: On the model's device.
        """
        if isinstance(model, DescribesPicture):
            description = model.describe(batch.surroundings)
            restored = model.restore(batch.degraded, description)
            tones = torch.tensor([TONES.index(t) if t in TONES else 0 for t in batch.tasks], device=description.device)
            tone = F.cross_entropy(description[:, : len(TONES)], tones)
        else:
            restored, tone = model(batch.degraded), torch.zeros((), device=batch.degraded.device)
        each = relative_error(restored.float(), batch.clean, batch.degraded)
        with torch.no_grad():
            after = (restored.float() - batch.clean).square().mean((1, 2, 3)) + 5e-5
            before = (batch.degraded - batch.clean).square().mean((1, 2, 3)) + 5e-5
            ratios = (after / before).sqrt().tolist()
        by_task: dict[str, list[float]] = {}
        for task, ratio in zip(batch.tasks, ratios, strict=True):
            by_task.setdefault(task, []).append(ratio)
        log = {task: sum(values) / len(values) for task, values in by_task.items()}
        return each.mean() + self.tone_weight * tone, {**log, "tone": float(tone.detach())}
