"""The loop learns, stops, goes on where it was, and refuses what cannot work."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from restorekit.errors import ModelError, UsageError
from restorekit.training.loop import Stage, TrainConfig, train

STAGES = (Stage(until=0.5, side=4, count=2), Stage(until=1.0, side=6, count=3))


@dataclass(frozen=True)
class Pair:
    x: Tensor
    y: Tensor


class Doubling:
    """Learn to multiply by two; remembers which batches were asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int]] = []

    def batch(self, number: int, *, count: int, side: int) -> Pair:
        self.asked.append((number, count, side))
        x = torch.rand((count, 1, side, side), generator=torch.Generator().manual_seed(number))
        return Pair(x, 2 * x)

    def loss(self, model: nn.Module, batch: Pair, progress: float) -> tuple[Tensor, dict[str, float]]:
        return (model(batch.x) - batch.y).square().mean(), {}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(1, 1, 1)


def config(steps: int, **changes: object) -> TrainConfig:
    return TrainConfig(steps=steps, stages=STAGES, learning_rate=0.05, warmup=5, precision="fp32", **changes)  # type: ignore[arg-type]


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.flatten() for p in model.parameters()])


def test_it_learns(tmp_path: Path) -> None:
    trained = train(network(), Doubling(), config(400, ema=0.9), tmp_path)
    assert float(trained(torch.full((1, 1, 1, 1), 0.5))) == pytest.approx(1.0, abs=0.02)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [100, 200, 300, 400]


def test_going_on_equals_never_having_stopped(tmp_path: Path) -> None:
    class Stopping(Doubling):
        def batch(self, number: int, *, count: int, side: int) -> Pair:
            if number == 13:
                raise KeyboardInterrupt
            return super().batch(number, count=count, side=side)

    whole = train(network(), Doubling(), config(20), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(network(), Stopping(), config(20, save_seconds=0.0), tmp_path / "parts")
    task = Doubling()
    parts = train(network(), task, config(20), tmp_path / "parts")
    assert task.asked[0] == (13, 3, 6)
    assert torch.equal(weights(whole), weights(parts))


def test_stages_and_rate() -> None:
    plan = config(100)
    assert (plan.stage(49).side, plan.stage(50).side) == (4, 6)
    assert plan.rate(0) == pytest.approx(0.01)
    assert plan.rate(5) == pytest.approx(0.05)
    assert plan.rate(100) == pytest.approx(1e-6)


def test_nan_is_skipped_and_then_an_error(tmp_path: Path) -> None:
    class Broken(Doubling):
        def loss(self, model: nn.Module, batch: Pair, progress: float) -> tuple[Tensor, dict[str, float]]:
            return super().loss(model, batch, progress)[0] * float("nan"), {}

    model = network()
    before = weights(model).clone()
    with pytest.raises(ModelError, match="not finite for 50 steps"):
        train(model, Broken(), config(100), tmp_path)
    assert torch.equal(weights(model), before)


def test_unknown_precision(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="use bf16 or fp32"):
        train(network(), Doubling(), TrainConfig(steps=1, precision="fp8"), tmp_path)
