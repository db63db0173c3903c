"""Training of networks: one resumable loop, tasks, losses and recipes."""

from __future__ import annotations

from restorekit.training.average import average_runs
from restorekit.training.loop import Stage, TrainConfig, train
from restorekit.training.release import release_run
from restorekit.training.run import RECIPES, start_run
from restorekit.training.score import score, watcher

__all__ = ["RECIPES", "Stage", "TrainConfig", "average_runs", "release_run", "score", "start_run", "train", "watcher"]
