from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from restorekit.errors import ModelError, UsageError
from restorekit.inference import Restorer, Summary
from restorekit.inference.batch import BatchReport, Files, Outcome, Settings, forecast_files, restore_files
from restorekit.io import ImageData, read_image, write_image
from restorekit.jobs import Progress
from tests.unit.inference.fakes import ANY_SIZE, RULE, Invert


class Ear:
    """Listens to a batch."""

    def __init__(self) -> None:
        self.began: list[tuple[Summary, Sequence[str]]] = []
        self.moved: list[Progress] = []
        self.ended: list[Outcome] = []

    def begins(self, model: Summary, notes: Sequence[str]) -> None:
        self.began.append((model, notes))

    def moves(self, progress: Progress) -> None:
        self.moved.append(progress)

    def ends(self, outcome: Outcome) -> None:
        self.ended.append(outcome)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Let a network that inverts stand for all models; return the settings that models were loaded with."""
    asked: list[Settings] = []

    def load(self: Settings) -> Restorer:
        asked.append(self)
        return Restorer(
            Invert(), size=ANY_SIZE, rule=RULE, device="cpu", tile=self.tile, name=("invert", "small", "invert.one")
        )

    monkeypatch.setattr(Settings, "load", load)
    return asked


def put(path: Path, pixels: NDArray[Any] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(ImageData(pixels=np.full((8, 12, 3), 200, np.uint8) if pixels is None else pixels), path)
    return path


def restore(folder: Path, ear: Ear | None = None, *, settings: Settings | None = None, **files: Any) -> BatchReport:
    wanted = Files(inputs=[folder], out=folder.parent / "out", **files)
    return restore_files(wanted, settings or Settings(), listener=ear)


def test_every_input_has_its_outcome_in_order(tmp_path: Path, loads: list[Settings]) -> None:
    for name in ("1.png", "2.png", "4.png"):
        put(tmp_path / "in" / name)
    (tmp_path / "in" / "3.png").write_bytes(b"")
    put(tmp_path / "out" / "2.png")
    ear = Ear()
    report = restore(tmp_path / "in", ear, skip_existing=True)
    assert [outcome.status for outcome in report.pictures] == ["done", "skipped", "failed", "done"]
    assert [Path(outcome.source).name for outcome in report.pictures] == ["1.png", "2.png", "3.png", "4.png"]
    first, second, third, _ = report.pictures
    assert (first.width, first.height, first.target) == (12, 8, str(tmp_path / "out" / "1.png"))
    assert second.reason == "the output exists"
    assert third.reason == "the file is empty (0 bytes)"
    assert report.exit_code == 3
    assert (read_image(tmp_path / "out" / "4.png").pixels == 55).all()
    assert len(loads) == 1
    assert report.model.tag == "invert.one"
    assert ear.began == [(report.model, ())]
    assert sorted(outcome.source for outcome in ear.ended) == sorted(p.source for p in report.pictures if p != second)
    assert (ear.moved[-1].done, ear.moved[-1].total) == (3, 3)
    assert ear.moved[-1].pixels_done == ear.moved[-1].pixels_total == 2 * 96
    assert json.loads(json.dumps(report.record()))["pictures"][2]["reason"] == "the file is empty (0 bytes)"


def test_progress_counts_the_pixels_of_tiles(tmp_path: Path, loads: list[Settings]) -> None:
    put(tmp_path / "in" / "1.png", np.zeros((100, 200), np.uint8))
    ear = Ear()
    restore(tmp_path / "in", ear, settings=Settings(tile=64))
    steps = [progress.pixels_done for progress in ear.moved]
    assert len(steps) > 4
    assert steps == sorted(steps)
    assert steps[-1] == 100 * 200


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (Files(inputs=["nowhere.png"]), "there is no file or folder"),
        (Files(inputs=["a.png", "b.jpg"], out="x.png"), "there is no file or folder"),
        (Files(inputs=["a.png"], out="a.png"), "an input is never overwritten"),
        (Files(inputs=["a.png"], out="there.png"), "exists already"),
        (Files(inputs=["a.png"], out="-", compare=True), "a before/after picture needs a file"),
    ],
)
def test_nothing_is_loaded_when_files_are_wrong(
    tmp_path: Path, loads: list[Settings], monkeypatch: pytest.MonkeyPatch, files: Files, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "a.png")
    put(tmp_path / "there.png")
    for work in (restore_files, forecast_files):
        with pytest.raises(UsageError, match=message):
            work(files, Settings())
    assert not loads


def test_a_mask_that_is_no_picture_is_found_first(tmp_path: Path, loads: list[Settings]) -> None:
    put(tmp_path / "in" / "a.png")
    with pytest.raises(UsageError, match=r"the mask cannot be used: .*no\.png: there is no such file"):
        restore(tmp_path / "in", settings=Settings(mask=tmp_path / "no.png"))
    assert not loads


@pytest.mark.usefixtures("loads")
@pytest.mark.parametrize("levels", [255, 65535])
def test_mask_and_crop_reach_the_picture(tmp_path: Path, levels: int) -> None:
    put(tmp_path / "in" / "a.png")
    mask = np.zeros((8, 12), np.uint8 if levels == 255 else np.uint16)
    mask[:, :6] = levels
    settings = Settings(mask=put(tmp_path / "mask.png", mask), crop=(4, 0, 4, 8))
    restore(tmp_path / "in", settings=settings)
    assert read_image(tmp_path / "out" / "a.png").pixels[0, :, 0].tolist() == [55, 55, 200, 200]


@pytest.mark.usefixtures("loads")
def test_options_that_fit_no_picture_are_wrong_usage(tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png")
    report = restore(tmp_path / "in", settings=Settings(crop=(0, 0, 100, 100)))
    assert report.exit_code == 2
    put(tmp_path / "in" / "b.png", np.zeros((100, 100), np.uint8))
    assert restore(tmp_path / "in", settings=Settings(crop=(0, 0, 100, 100))).exit_code == 3


@pytest.mark.usefixtures("loads")
def test_a_fault_of_the_network_is_one_of_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModelError("the answer is not finite")

    monkeypatch.setattr(Restorer, "run", fail)
    put(tmp_path / "in" / "a.png")
    report = restore(tmp_path / "in")
    assert [outcome.reason for outcome in report.of("failed")] == ["the answer is not finite"]
    assert report.exit_code == 3


@pytest.mark.usefixtures("loads")
def test_comparisons_are_no_inputs_of_the_next_run(tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png")
    put(tmp_path / "in" / "_compare.png")
    put(tmp_path / "in" / "b_compare.png")  # no comparison: there is no b
    for _ in range(2):
        report = restore_files(Files(inputs=[tmp_path / "in"], compare=True, overwrite=True), Settings())
        assert [Path(outcome.source).name for outcome in report.pictures] == ["_compare.png", "a.png", "b_compare.png"]
    named = restore_files(Files(inputs=[tmp_path / "in" / "a_restored_compare.png"]), Settings())
    assert len(named.of("done")) == 1


def test_a_forecast_takes_the_time_of_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = replace(RULE, seconds_per_megapixel=50.0)
    network = Invert()
    monkeypatch.setattr(Settings, "load", lambda _: Restorer(network, size=ANY_SIZE, rule=rule, device="cpu"))
    put(tmp_path / "in" / "a.png", np.zeros((200, 300), np.uint8))
    files = Files(inputs=[tmp_path / "in"], out=tmp_path / "out")
    report = forecast_files(files, Settings())
    assert report.seconds == report.pictures[0].seconds == pytest.approx(3.0)
    assert report.pictures[0].plan is not None
    assert report.pictures[0].plan.endswith("about 3.0 s")
    assert not network.sizes
    assert forecast_files(files, Settings(crop=(0, 0, 30, 20))).seconds == pytest.approx(0.03)
    assert not (tmp_path / "out").exists()


def test_a_forecast_without_a_time_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Invert()
    monkeypatch.setattr(Settings, "load", lambda _: Restorer(network, size=ANY_SIZE, rule=RULE, device="cpu", tile=64))
    for name, side in (("1.png", 64), ("2.png", 128)):
        put(tmp_path / "in" / name, np.zeros((side, side), np.uint8))
    report = forecast_files(Files(inputs=[tmp_path / "in"]), Settings())
    first, second = report.pictures
    assert first.seconds is not None
    assert second.seconds is not None
    assert 0 < first.seconds < second.seconds
    assert network.sizes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Settings(strength=-0.1), "strength is between 0 and 1, got -0.1"),
        (lambda: Settings(strength=float("nan")), "strength is between 0 and 1, got nan"),
        (lambda: Files(inputs=["a"], quality=0), "quality is 1 to 100, got 0"),
    ],
)
def test_values_that_do_not_exist_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
