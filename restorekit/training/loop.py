"""One training loop: resumable, with a moving average of the weights."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from restorekit.errors import ModelError, UsageError

__all__ = ["Stage", "TrainConfig", "train"]

_log = logging.getLogger(__name__)


class Task(Protocol):
    """What the loop needs of a task; see ``restorekit.training.tasks``."""

    def batch(self, number: int, *, count: int, side: int) -> Any:
        """Return batch ``number``, the same one whenever it is asked for."""
        ...

    def loss(self, model: nn.Module, batch: Any, progress: float) -> tuple[Tensor, Mapping[str, float]]:
        """Return the loss and numbers for the log; ``progress`` is the share of the run that is over, in [0, 1]."""
        ...


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run.

    Attributes:
        until: Share of the run at which the stage ends, in (0, 1].
        side: Side of the crops, in pixels.
        count: Crops in a batch.
    """

    until: float
    side: int
    count: int


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train.

    Attributes:
        steps: Length of the run; the learning rate reaches its end there.
        stages: Crop sizes over the run; the last one ends at 1.
        learning_rate: Peak of the cosine.
        final_rate: Its end.
        warmup: Steps of linear warm-up.
        clip: Largest norm of the gradient.
        ema: Decay of the moving average of the weights.
        precision: ``"bf16"`` (autocast) or ``"fp32"``.
        save_seconds: Time between checkpoints.
        seed: Seed of the initial weights.
        start_from: Run whose weights are taken over, or ``None``.
        freeze: Part of the network, by its name, that keeps its weights, or ``None``.
    """

    steps: int
    stages: tuple[Stage, ...] = (
        Stage(until=0.15, side=64, count=8),
        Stage(until=0.45, side=64, count=16),
        Stage(until=0.8, side=96, count=8),
        Stage(until=1.0, side=128, count=6),
    )
    learning_rate: float = 1e-3
    final_rate: float = 1e-6
    warmup: int = 100
    clip: float = 0.5
    ema: float = 0.999
    precision: str = "bf16"
    save_seconds: float = 180.0
    seed: int = 0
    start_from: str | None = None
    freeze: str | None = None

    def stage(self, step: int) -> Stage:
        """Return the stage of a step."""
        return next((s for s in self.stages if step < s.until * self.steps), self.stages[-1])

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then a cosine."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        share = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.final_rate + 0.5 * (self.learning_rate - self.final_rate) * (1 + math.cos(math.pi * share))


@dataclass(frozen=True, kw_only=True)
class _State:
    """All that changes during a run."""

    model: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    skipped: int = 0
    seconds: float = 0.0

    def save(self, path: Path, config: TrainConfig) -> None:
        """Write a checkpoint; an interrupted write leaves the old one whole."""
        parts = {name: getattr(self, name).state_dict() for name in ("model", "average", "optimiser")}
        temporary = path.with_suffix(".tmp")
        torch.save(
            {**parts, "step": self.step, "skipped": self.skipped, "seconds": self.seconds, "config": asdict(config)},
            temporary,
        )
        temporary.replace(path)

    def load(self, path: Path) -> _State:
        """Return the state of a checkpoint."""
        saved = torch.load(path, map_location="cpu", weights_only=True)
        for name in ("model", "average", "optimiser"):
            getattr(self, name).load_state_dict(saved[name])
        return replace(self, step=saved["step"], skipped=saved["skipped"], seconds=saved["seconds"])


def train(
    model: nn.Module,
    task: Task,
    config: TrainConfig,
    folder: Path,
    *,
    device: str = "cpu",
    watch: Callable[[nn.Module], Mapping[str, float]] | None = None,
    watch_seconds: float = 600.0,
) -> nn.Module:
    """Train a model, or go on with a run.

    A run lives in a folder: ``last.pt`` (checkpoint), ``log.jsonl`` (a line every 100 steps). If the folder has a
    checkpoint the run goes on from there with the batches that it would have had; ``config.steps`` may differ, which
    plans the learning rate anew.

    Args:
        model: The network, freshly built; it is trained in place.
        task: Where batches and losses come from.
        config: How to train.
        folder: Folder of the run, made if missing.
        device: Where to train.
        watch: Scores the averaged weights now and then; its numbers go to the log.
        watch_seconds: Time between scores.

    Returns:
        The moving average of the weights, on the CPU, in evaluation mode.

    Raises:
        ModelError: The loss was not finite for 50 steps in a row.
        UsageError: ``config.precision`` is unknown.
    """
    if config.precision not in ("bf16", "fp32"):
        raise UsageError(f"precision {config.precision!r} is unknown to training; use bf16 or fp32")
    folder.mkdir(parents=True, exist_ok=True)
    model = model.to(device).to(memory_format=torch.channels_last).train()
    if config.freeze is not None:
        model.get_submodule(config.freeze).requires_grad_(False)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    state = _State(model=model, average=deepcopy(model).eval().requires_grad_(False), optimiser=optimiser)
    checkpoint = folder / "last.pt"
    if checkpoint.exists():
        state = state.load(checkpoint)
    state = _run(state, task, config, folder, device, watch, watch_seconds)
    state.save(checkpoint, config)
    return state.average.cpu()


def _run(
    state: _State,
    task: Task,
    config: TrainConfig,
    folder: Path,
    device: str,
    watch: Callable[[nn.Module], Mapping[str, float]] | None,
    watch_seconds: float,
) -> _State:
    begun, saved, watched = time.monotonic() - state.seconds, time.monotonic(), time.monotonic()
    sums: dict[str, list[float]] = {}
    unlucky = 0
    for step in range(state.step, config.steps):
        values = _step(state, task, config, step, device)
        unlucky = 0 if values else unlucky + 1
        if unlucky == 50:
            raise ModelError(
                f"the loss was not finite for 50 steps up to {step}; lower the learning rate and go on from {folder}"
            )
        for key, value in values.items():
            sums.setdefault(key, []).append(value)
        now = time.monotonic()
        state = replace(state, step=step + 1, skipped=state.skipped + (not values), seconds=now - begun)
        if state.step % 100 == 0:
            _write(
                folder, {"step": state.step, "seconds": round(state.seconds), "rate": config.rate(step), **_means(sums)}
            )
            sums = {}
        if now - saved > config.save_seconds:
            state.save(folder / "last.pt", config)
            saved = now
        if watch and now - watched > watch_seconds:
            _write(folder, {"step": state.step, "seconds": round(state.seconds), "scores": dict(watch(state.average))})
            watched = time.monotonic()
            begun += watched - now  # scoring is not training time
    return state


def _step(state: _State, task: Task, config: TrainConfig, step: int, device: str) -> dict[str, float]:
    """Do one step; return numbers for the log, none if the step was skipped because something was not finite."""
    stage = config.stage(step)
    batch = _to(task.batch(step, count=stage.count, side=stage.side), device)
    for group in state.optimiser.param_groups:
        group["lr"] = config.rate(step)
    state.optimiser.zero_grad(set_to_none=True)
    with torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=config.precision == "bf16"):
        loss, log = task.loss(state.model, batch, step / config.steps)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.clip)
    value = float(loss.detach())
    if not math.isfinite(float(norm) + value):
        return {}
    state.optimiser.step()
    decay = min(config.ema, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, now in zip(state.average.state_dict().values(), state.model.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)
    return {"loss": value, "norm": float(norm), **log}


def _to(batch: Any, device: str) -> Any:
    """Move the tensors of a batch (a dataclass) to a device."""
    if device == "cpu":
        return batch
    return replace(
        batch, **{k: v.to(device, non_blocking=True) for k, v in vars(batch).items() if isinstance(v, Tensor)}
    )


def _means(sums: Mapping[str, list[float]]) -> dict[str, float]:
    return {key: round(sum(values) / len(values), 4) for key, values in sums.items()}


def _write(folder: Path, line: Mapping[str, Any]) -> None:
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    _log.info("%s", json.dumps(line))
