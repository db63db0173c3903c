"""Batches are seeded, stratified and true to their tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restorekit.data.clean import CleanPictures
from restorekit.data.synthesis import Mixture, Synthesis
from restorekit.errors import UsageError
from restorekit.training.recipes.seven_task import MIXTURE


@pytest.fixture
def clean(tmp_path: Path) -> CleanPictures:
    random = np.random.default_rng(0)
    for index, size in enumerate([(80, 120), (200, 150), (40, 40)]):
        Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(tmp_path / f"{index}.png")
    return CleanPictures([tmp_path])


def test_batch_is_the_same_whenever_asked(clean: CleanPictures) -> None:
    first = Synthesis(clean=clean, mixture=MIXTURE, seed=3).batch(17, count=8, side=16)
    again = Synthesis(clean=clean, mixture=MIXTURE, seed=3).batch(17, count=8, side=16)
    other = Synthesis(clean=clean, mixture=MIXTURE, seed=3).batch(18, count=8, side=16)
    assert torch.equal(first.degraded, again.degraded)
    assert first.tasks == again.tasks
    assert not torch.equal(first.degraded, other.degraded)
    assert first.degraded.shape == first.clean.shape == (8, 3, 16, 16)
    assert first.surroundings.shape == (8, 3, 48, 48)


def test_every_batch_has_its_share_of_every_task() -> None:
    mixture = Mixture(shares={"a": 2, "b": 1, "c": 1}, degradations={})
    for seed in range(20):
        tasks = mixture.tasks(8, torch.Generator().manual_seed(seed))
        assert [tasks.count(t) for t in "abc"] == [4, 2, 2]


def test_clean_task_changes_nothing_and_others_do(clean: CleanPictures) -> None:
    batch = Synthesis(clean=clean, mixture=MIXTURE, seed=5).batch(1, count=32, side=24)
    for task, degraded, truth in zip(batch.tasks, batch.degraded, batch.clean, strict=True):
        if task in ("clean", "noise", "haze", "low_light", "jpeg"):  # a small crop may lie between drops and flakes
            assert torch.equal(degraded, truth) == (task == "clean"), task


def test_mixture_names_known_degradations(clean: CleanPictures) -> None:
    assert set(MIXTURE.shares) == set(MIXTURE.degradations)
    assert sum(MIXTURE.shares.values()) == pytest.approx(1)


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no picture; name a folder"):
        CleanPictures([tmp_path])
