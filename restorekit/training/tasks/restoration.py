"""Task: restore pictures that were degraded by a mixture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit.data.synthesis import Batch, Synthesis
from restorekit.models import DescribesPicture
from restorekit.models._blocks import TONES
from restorekit.training.losses.restoration import relative_error

__all__ = ["RestorationTask"]

_CERTAIN = 30.0  # logit
_FALSE_ALARM = 2.0
"""How much worse it is to re-tone a picture whose tone is right than to leave a damaged one alone."""


@dataclass(frozen=True, kw_only=True)
class RestorationTask:
    """All-in-one restoration of synthetic pairs.

    Attributes:
        synthesis: Source of batches.
        tone_weight: Weight of the cross entropy that trains the tone classifier.
        first_floor: ``floor`` of ``relative_error`` at the beginning. A high floor lets a network learn what noise and
            streaks are before it is punished for every touch of a clean picture; with a low one from the start it stays
            at the identity.
        last_floor: The floor from ``settled`` on; in between it falls geometrically.
        settled: Share of the run at which the last floor is reached.
    """

    synthesis: Synthesis
    tone_weight: float = 1.0
    first_floor: float = 2e-3
    last_floor: float = 5e-5
    settled: float = 0.6

    def floor(self, progress: float) -> float:
        """Return the floor of the loss at a share of the run."""
        fallen = min(1.0, progress / self.settled)
        return math.exp((1 - fallen) * math.log(self.first_floor) + fallen * math.log(self.last_floor))

    def batch(self, number: int, *, count: int, side: int) -> Batch:
        """Make batch ``number``; see ``Synthesis.batch``."""
        return self.synthesis.batch(number, count=count, side=side)

    def loss(self, model: nn.Module, batch: Batch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch and, for each task in it, the mean error relative to the input's.

        Args:
            model: A restorer; if it describes pictures, it is given the surroundings of each crop.
            batch: On the model's device.
            progress: Share of the run that is over, in [0, 1].
        """
        if isinstance(model, DescribesPicture):
            description = model.describe(batch.surroundings)
            tones = torch.tensor([TONES.index(t) if t in TONES else 0 for t in batch.tasks], device=description.device)
            known = _CERTAIN * F.one_hot(tones, len(TONES)).to(description)
            # a crop shows too little of its scene: with verdicts that are often wrong a network learns to undo them
            told = torch.cat([known, description[:, len(TONES) :]], 1)
            restored = model.restore(batch.degraded, told)
            weights = torch.tensor([_FALSE_ALARM, *(1.0 for _ in TONES[1:])], device=description.device)
            tone = F.cross_entropy(description[:, : len(TONES)], tones, weight=weights)
        else:
            restored, tone = model(batch.degraded), torch.zeros((), device=batch.degraded.device)
        each = relative_error(restored.float(), batch.clean, batch.degraded, floor=self.floor(progress))
        with torch.no_grad():
            after, before = ((x - batch.clean).square().mean((1, 2, 3)) for x in (restored.float(), batch.degraded))
            ratios = ((after + self.last_floor) / (before + self.last_floor)).sqrt().tolist()
        by_task: dict[str, list[float]] = {}
        for task, ratio in zip(batch.tasks, ratios, strict=True):
            by_task.setdefault(task, []).append(ratio)
        log = {task: sum(values) / len(values) for task, values in by_task.items()}
        return each.mean() + self.tone_weight * tone, {**log, "tone": float(tone.detach())}
