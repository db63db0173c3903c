"""Task: tell hazy and dark pictures from good ones, and correct them with one curve per colour."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit.data.synthesis import Batch, Synthesis
from restorekit.models._blocks import TONES, ToneCurve
from restorekit.training.losses.restoration import relative_error

__all__ = ["ToneTask"]


@dataclass(frozen=True, kw_only=True)
class ToneTask:
    """Train the ``tone`` part of a restorer alone, on reduced whole scenes: what a histogram needs, at little cost.

    Attributes:
        synthesis: Source of batches; its ``whole_picture`` should name every task, so that all show scenes.
        floor: See ``relative_error``; high, as a curve cannot restore detail.
        false_alarm: How much worse it is to call a good picture damaged than the other way round.
    """

    synthesis: Synthesis
    floor: float = 1e-3
    false_alarm: float = 1.5

    def batch(self, number: int, *, count: int, side: int) -> Batch:
        """Make batch ``number``; see ``Synthesis.batch``."""
        return self.synthesis.batch(number, count=count, side=side)

    def loss(self, model: nn.Module, batch: Batch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch, and how often the classifier is right about each tone.

        Args:
            model: A network whose ``tone`` is a ``ToneCurve``.
            batch: On the model's device.
            progress: Not used.
        """
        tone = model.tone
        assert isinstance(tone, ToneCurve)
        description = tone.describe(batch.surroundings)
        logits = description[:, : len(TONES)]
        truth = torch.tensor([TONES.index(t) if t in TONES else 0 for t in batch.tasks], device=logits.device)
        weight = torch.tensor([self.false_alarm, *(1.0 for _ in TONES[1:])], device=logits.device)
        # the curve learns on what it is for, wherever the classifier stands by now
        damaged = truth > 0
        corrected = tone.curved(batch.degraded, description)
        curve = relative_error(corrected, batch.clean, batch.degraded, floor=self.floor)[damaged]
        right = (logits.argmax(1) == truth).float()
        log = {name: float(right[truth == i].mean()) for i, name in enumerate(TONES) if bool((truth == i).any())}
        return F.cross_entropy(logits, truth, weight=weight) + curve.sum() / max(1, len(curve)), log
