"""Runs are recorded, go on, and hand their weights over."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restorekit.errors import ModelError, UnknownNameError, UsageError
from restorekit.training.average import average_runs
from restorekit.training.loop import Stage, TrainConfig
from restorekit.training.release import _lineage
from restorekit.training.run import load_average, start_run

CONFIG = TrainConfig(steps=2, stages=(Stage(until=1.0, side=16, count=2),), precision="fp32")


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    folder = tmp_path / "clean"
    folder.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(folder / "a.png")
    return folder


def test_run_and_warm_start(clean: Path, tmp_path: Path) -> None:
    first = start_run("seven-task", variant="resunet-test", clean=[clean], out=tmp_path / "a", config=CONFIG)
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert (record["variant"], record["clean"], len(record["starts"])) == ("resunet-test", ["clean"], 1)
    saved = load_average(tmp_path / "a")
    assert all(torch.equal(saved[key], value) for key, value in first.state_dict().items())
    none = TrainConfig(steps=0, start_from=str(tmp_path / "a"))
    second = start_run("seven-task", variant="resunet-test", clean=[clean], out=tmp_path / "b", config=none)
    assert all(torch.equal(saved[key], value) for key, value in second.state_dict().items())


def test_mistakes(clean: Path, tmp_path: Path) -> None:
    start_run("seven-task", variant="resunet-test", clean=[clean], out=tmp_path / "a", config=CONFIG)
    with pytest.raises(UsageError, match="holds a run of resunet-test; name another folder"):
        start_run("seven-task", variant="hogformer-test", clean=[clean], out=tmp_path / "a", config=CONFIG)
    with pytest.raises(UnknownNameError, match="did you mean seven-task"):
        start_run("seven-tusk", variant="resunet-test", clean=[clean], out=tmp_path / "c", config=CONFIG)
    with pytest.raises(ModelError, match="name the folder of a run"):
        load_average(tmp_path / "nothing")


def test_the_mean_of_runs_is_a_run(clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        monkeypatch.setattr(sys, "argv", ["restorekit", "train", "run", name])
        start_run(
            "seven-task", variant="resunet-test", clean=[clean], out=tmp_path / name, config=replace(CONFIG, seed=seed)
        )
    runs = [tmp_path / "a", tmp_path / "b"]
    monkeypatch.setattr(sys, "argv", ["restorekit", "train", "average", "a", "b"])
    average_runs(runs, tmp_path / "mean")
    first, second, mean = map(load_average, (*runs, tmp_path / "mean"))
    assert any(not torch.equal(first[key], second[key]) for key in first)
    assert all(torch.allclose(mean[key], (first[key] + second[key]) / 2, atol=1e-6) for key in mean)
    commands = ["restorekit train run a", "restorekit train run b", "restorekit train average a b"]
    assert _lineage(tmp_path / "mean") == commands
    with pytest.raises(UsageError, match="mean holds a run; name another folder"):
        average_runs(runs, tmp_path / "mean")
    with pytest.raises(UsageError, match="two or more runs"):
        average_runs(runs[:1], tmp_path / "c")
    with pytest.raises(ModelError, match="holds no record of a run"):
        average_runs([runs[0], tmp_path / "nothing"], tmp_path / "c")
    start_run("seven-task", variant="hogformer-test", clean=[clean], out=tmp_path / "h", config=CONFIG)
    with pytest.raises(UsageError, match="these are of hogformer-test, resunet-test"):
        average_runs([runs[0], tmp_path / "h"], tmp_path / "c")
