"""Runs are recorded, go on, and hand their weights over."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restorekit.errors import ModelError, UnknownNameError, UsageError
from restorekit.training.loop import Stage, TrainConfig
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
