"""What changes from epoch to epoch; epochs count from 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["CosineByEpoch", "freezes_norms"]


@dataclass(frozen=True, kw_only=True)
class CosineByEpoch:
    """A learning rate that falls along half a cosine, one step at the end of each epoch.

    Attributes:
        epochs: Length of the run; the final rate is what an epoch behind the last one would have.
        learning_rate: Rate of the first epoch.
        final_rate: Rate at the end.
    """

    epochs: int
    learning_rate: float
    final_rate: float

    def __call__(self, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        share = (epoch - 1) / self.epochs
        return self.final_rate + 0.5 * (self.learning_rate - self.final_rate) * (1 + math.cos(math.pi * share))


def freezes_norms(epoch: int, *, epochs: int, running: int) -> bool:
    """Tell whether an epoch trains with frozen batch norms (the network in evaluation mode, gradients on).

    DWFormer's released training freezes them from the start, at mean 0 and variance 1, and lets the statistics run in
    the last epochs only.

    Args:
        epoch: The epoch.
        epochs: Length of the run.
        running: The statistics run in the epochs from ``epochs - running`` on.
    """
    return epochs - epoch > running
