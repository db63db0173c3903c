from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from restorekit.errors import ModelError, PictureError, UsageError
from restorekit.jobs import Failure, Item, Job, Meter, Progress, Stages, job_pixels, run
from tests.unit.jobs.fakes import jobs_in


def copy(job: Job) -> None:
    job.target.write_bytes(job.source.read_bytes())


def test_a_bad_item_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 4)
    told: list[Failure] = []

    def work(job: Job) -> None:
        if job.source.name == "1.bmp":
            raise PictureError(f"{job.source}: the file is cut off")
        copy(job)

    report = run(jobs, work, on_error=told.append)
    assert [job.source.name for job in report.done] == ["0.bmp", "2.bmp", "3.bmp"]
    assert [str(failure) for failure in report.failed] == [f"{tmp_path}/in/1.bmp: the file is cut off"]
    assert told == report.failed
    assert report.exit_code == 3


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "x"), "there is no space left on the disk; make room and run it again"),
        (FileNotFoundError(errno.ENOENT, "x"), "there is no such file"),
        (PermissionError(errno.EACCES, "x"), "permission denied; check the rights of the file and its folder"),
        (OSError(errno.EROFS, "x"), "the folder cannot be written to (read-only file system); choose another"),
        (MemoryError(), "there is not enough memory for this picture"),
        (ValueError("two\nlines"), "two lines"),
        (RuntimeError(), "RuntimeError"),
        (UsageError("crop 1,2,3,4 does not lie inside"), "crop 1,2,3,4 does not lie inside"),
    ],
)
@pytest.mark.parametrize("stage", ["read", "work", "write", None])
def test_whatever_goes_wrong_is_one_sentence(tmp_path: Path, error: Exception, reason: str, stage: str | None) -> None:
    jobs = jobs_in(tmp_path, 3)

    def fail(job: Job, *, here: bool = True) -> None:
        if here and job is jobs[1]:
            raise error

    stages = Stages(
        read=lambda job: fail(job, here=stage == "read"),
        work=lambda job, _: fail(job, here=stage == "work"),
        write=lambda job, _: fail(job, here=stage == "write"),
    )
    report = run(jobs, stages if stage else fail)
    assert report.done == [jobs[0], jobs[2]]
    assert report.failed[0].reason.startswith(reason)
    assert "\n" not in str(report.failed[0])


def test_a_model_error_ends_the_run(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 3)
    tried: list[Job] = []

    def work(job: Job) -> None:
        tried.append(job)
        raise ModelError("weights of another network")

    with pytest.raises(ModelError, match="another network"):
        run(jobs, work)
    assert tried == jobs[:1]


def test_an_interruption_passes_but_what_is_being_written_is_completed(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 5)
    begun, going_on = threading.Event(), threading.Event()
    written: list[Job] = []

    def work(job: Job, _: bytes) -> None:
        if job is jobs[1]:
            assert begun.wait(10)
            going_on.set()
            raise KeyboardInterrupt("stop")

    def write(job: Job, _: None) -> None:
        begun.set()
        assert going_on.wait(10)
        written.append(job)

    with pytest.raises(KeyboardInterrupt, match="stop"):
        run(jobs, Stages(read=lambda job: job.source.read_bytes(), work=work, write=write))
    assert written == jobs[:1]


def test_skipped_jobs_are_listed_with_their_reason(tmp_path: Path) -> None:
    first, second = jobs_in(tmp_path, 2)
    skipped = Job(first.item, first.target, skip="the output exists")
    report = run([skipped, second], copy)
    assert [(skip.job, skip.reason) for skip in report.skipped] == [(skipped, "the output exists")]
    assert report.done == [second]
    assert report.exit_code == 0


def test_folders_of_outputs_are_made(tmp_path: Path) -> None:
    (job,) = jobs_in(tmp_path, 1)
    deep = Job(job.item, tmp_path / "x" / "y" / "0.bmp")
    assert run([deep], copy).done == [deep]
    blocked = Job(job.item, job.source / "z" / "0.bmp")
    assert "is a file, not a folder" in run([blocked], copy).failed[0].reason


@pytest.mark.parametrize("workers", [1, 3])
def test_reading_working_and_writing_overlap_and_keep_their_order(tmp_path: Path, workers: int) -> None:
    jobs = jobs_in(tmp_path, 6)
    reading_third, writing_first = threading.Event(), threading.Event()
    order: list[str] = []

    def read(job: Job) -> str:
        if job is jobs[2]:
            reading_third.set()
        return job.source.name

    def work(job: Job, name: str) -> str:
        if job is jobs[1]:
            # the third is read and the first is written while the second is worked on
            assert reading_third.wait(10)
            assert writing_first.wait(10)
        order.append(name)
        return name

    def write(job: Job, name: str) -> None:
        assert name == job.source.name
        if job is jobs[0]:
            writing_first.set()

    report = run(jobs, Stages(read=read, work=work, write=write), workers=workers)
    assert order == [job.source.name for job in jobs]
    assert report.done == jobs


@pytest.mark.parametrize(("most", "together"), [(1, 1), (32, 2), (10**6, 5)])
def test_no_more_pixels_are_in_flight_than_allowed(tmp_path: Path, most: int, together: int) -> None:
    jobs = jobs_in(tmp_path, 8)  # of 16 pixels each
    lock = threading.Lock()
    alive: set[Path] = set()
    peak = 0

    def read(job: Job) -> None:
        nonlocal peak
        with lock:
            alive.add(job.source)
            peak = max(peak, len(alive))

    def write(job: Job, _: None) -> None:
        with lock:
            alive.remove(job.source)

    report = run(jobs, Stages(read=read, work=lambda job, _: None, write=write), pixels_in_flight=most)
    assert report.done == jobs
    assert 1 <= peak <= together


def test_pixels_come_from_the_header(tmp_path: Path) -> None:
    (job,) = jobs_in(tmp_path, 1)
    assert job_pixels(job) == 16
    assert job_pixels(Job(Item(Path("-"), Path("stdin")), job.target)) == 0
    assert job_pixels(Job(Item(tmp_path / "absent.png", Path("x")), job.target)) == 0


def test_time_left_goes_by_pixels(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 4)
    seen: list[Progress] = []
    now = iter([0.0, 5.0, 10.0, 20.0, 30.0])
    meter = Meter(seen.append, clock=lambda: next(now))
    meter.start(jobs)
    meter.part(jobs[0], 0.5)
    meter.finish(jobs[0])
    meter.finish(jobs[1], failed=True)
    meter.finish(jobs[2])
    assert [(p.done, p.pixels_done, p.pixels_total) for p in seen] == [
        *[(0, 8, 64), (1, 16, 64), (2, 16, 48), (3, 32, 48)]
    ]
    # from the second report on by the pace since the first one: what came before it was reading
    assert [p.seconds_left for p in seen] == pytest.approx([5 * 56 / 8, 5 * 48 / 8, 15 * 32 / 8, 25 * 16 / 24])


def test_the_last_picture_has_to_be_written_when_all_else_is_done(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 2)
    seen: list[Progress] = []
    now = iter([0.0, 5.0, 10.0, 20.0, 30.0])
    meter = Meter(seen.append, clock=lambda: next(now))
    meter.start(jobs)
    meter.seconds_to_write = 0.5
    meter.finish(jobs[0])
    meter.part(jobs[1], 0.5)
    meter.part(jobs[1], 1.0)
    meter.finish(jobs[1])
    writing = 0.5 * 16
    assert [p.seconds_left for p in seen] == pytest.approx([5 + writing, 5 + writing, writing, 0.0])


def test_nothing_is_said_of_the_time_left_before_anything_is_done(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 1)
    seen: list[Progress] = []
    meter = Meter(seen.append)
    meter.start(jobs)
    meter.finish(jobs[0], failed=True)
    assert seen[0].seconds_left is None
