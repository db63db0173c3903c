from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
from io import FileIO
from pathlib import Path

import pytest

from restorekit.errors import PictureError, UsageError
from restorekit.io.atomic import temporary_for
from restorekit.jobs import Job, Journal, Stages, journal_path, run, sweep
from tests.unit.jobs.fakes import jobs_in

SETTINGS = {"model": "resunet", "strength": 1.0}


def journal(jobs: list[Job], *, resume: bool, settings: dict[str, object] | None = None) -> Journal:
    return Journal(journal_path(jobs), settings=SETTINGS if settings is None else settings, resume=resume)


def copy(job: Job) -> None:
    job.target.write_bytes(job.source.read_bytes())


def names(jobs: list[Job]) -> list[str]:
    return [job.source.name for job in jobs]


def test_the_journal_lies_hidden_in_the_folder_of_all_outputs(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 2)
    assert journal_path(jobs) == tmp_path / "out" / ".restorekit.journal"
    assert journal_path(jobs, shard=(2, 4)).name == ".restorekit-2of4.journal"
    apart = [jobs[0], Job(jobs[1].item, tmp_path / "elsewhere" / "1.bmp")]
    assert journal_path(apart).parent == tmp_path
    assert journal_path(jobs, out=tmp_path).parent == tmp_path


def test_a_resumed_run_does_what_is_left_and_nothing_twice(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 4)

    def stop_at_third(job: Job) -> None:
        if job is jobs[2]:
            raise KeyboardInterrupt("stop")
        copy(job)

    with journal(jobs, resume=False) as ledger, pytest.raises(KeyboardInterrupt, match="stop"):
        run(jobs, stop_at_third, ledger=ledger)
    jobs = jobs_in(tmp_path, 4, resume=True)
    with journal(jobs, resume=True) as ledger:
        report = run(ledger.sort(jobs), copy, ledger=ledger)
    assert names([skip.job for skip in report.skipped]) == ["0.bmp", "1.bmp"]
    assert names(report.done) == ["2.bmp", "3.bmp"]
    with journal(jobs, resume=True) as ledger:
        assert run(ledger.sort(jobs_in(tmp_path, 4, resume=True)), copy, ledger=ledger).done == []


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 2)

    def fail(job: Job) -> None:
        raise PictureError("the file is cut off")

    with journal(jobs, resume=False) as ledger:
        run(jobs, fail, ledger=ledger)
    with journal(jobs, resume=True) as ledger:
        assert run(ledger.sort(jobs), copy, ledger=ledger).done == jobs


@pytest.mark.parametrize("staged", [False, True])
def test_an_input_that_changed_after_it_was_read_is_done_again(tmp_path: Path, *, staged: bool) -> None:
    jobs = jobs_in(tmp_path, 2)

    def copy_what_was_there(job: Job) -> None:
        content = job.source.read_bytes()
        if job is jobs[1]:
            job.source.write_bytes(b"newer and longer")
        job.target.write_bytes(content)

    stages = Stages(read=lambda job: job, work=lambda job, _: job, write=lambda job, _: copy_what_was_there(job))
    with journal(jobs, resume=False) as ledger:
        run(jobs, stages if staged else copy_what_was_there, ledger=ledger)
    jobs = jobs_in(tmp_path, 2, resume=True)
    with journal(jobs, resume=True) as ledger:
        assert names(run(ledger.sort(jobs), copy, ledger=ledger).done) == ["1.bmp"]


@pytest.mark.parametrize("change", ["input", "output"])
def test_a_file_that_changed_since_is_done_again(tmp_path: Path, change: str) -> None:
    jobs = jobs_in(tmp_path, 2)
    with journal(jobs, resume=False) as ledger:
        run(jobs, copy, ledger=ledger)
    changed = jobs[0].source if change == "input" else jobs[0].target
    changed.write_bytes(b"another one")
    with journal(jobs, resume=True) as ledger:
        assert [job.skip for job in ledger.sort(jobs)] == [None, "done before"]


def test_an_output_in_place_without_its_line_counts_as_done(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 2)
    with journal(jobs, resume=False) as ledger:
        ledger.begin(jobs[0])
        copy(jobs[0])
        ledger.begin(jobs[1])
    with journal(jobs, resume=True) as ledger:
        assert [job.skip for job in ledger.sort(jobs)] == ["done before", None]


def test_an_older_output_that_was_to_be_replaced_does_not_count(tmp_path: Path) -> None:
    (job,) = jobs_in(tmp_path, 1)
    job.target.write_bytes(b"older")
    with journal([job], resume=False) as ledger:
        ledger.begin(job)
    with journal([job], resume=True) as ledger:
        assert ledger.sort([job])[0].skip is None


def test_an_output_that_no_run_began_is_not_touched(tmp_path: Path) -> None:
    (job,) = jobs_in(tmp_path, 1)
    job.target.write_bytes(b"the user's own")
    with journal([job], resume=True) as ledger:
        with pytest.raises(UsageError, match=r"out/0.bmp exists and is not of the run to resume"):
            ledger.sort([job])
        assert ledger.sort([job], overwrite=True)[0].skip is None


def test_a_run_with_other_settings_is_not_mixed_in(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 1)
    journal(jobs, resume=False).close()
    with pytest.raises(UsageError, match=r"other settings \(strength\)"):
        journal(jobs, resume=True, settings={**SETTINGS, "strength": 0.5})
    journal(jobs, resume=False, settings={}).close()


def test_a_file_that_is_no_journal(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 1)
    journal_path(jobs).write_text('{"x": 1}\n')
    with pytest.raises(UsageError, match="is no journal of this version"):
        journal(jobs, resume=True)


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_a_line_cut_by_a_kill_loses_only_itself(tmp_path: Path, cut: int) -> None:
    jobs = jobs_in(tmp_path, 3)
    with journal(jobs, resume=False) as ledger:
        run(jobs[:2], copy, ledger=ledger)
    path = journal_path(jobs)
    path.write_bytes(path.read_bytes()[:-cut])
    with journal(jobs, resume=True) as ledger:
        assert [job.skip for job in ledger.sort(jobs)] == ["done before", "done before", None]
        run(ledger.sort(jobs), copy, ledger=ledger)
    with journal(jobs, resume=True) as ledger:
        assert [job.skip for job in ledger.sort(jobs)] == ["done before"] * 3


def test_two_runs_at_once_on_one_folder(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 1)
    with (
        journal(jobs, resume=False),
        pytest.raises(UsageError, match=r"another run is at work in .*out"),
    ):
        journal(jobs, resume=True)
    journal(jobs, resume=True).close()


def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with journal(jobs_in(tmp_path, 1), resume=False):
        assert "cannot be locked here: see to it that no other run" in caplog.text


def test_a_journal_that_is_of_no_more_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    jobs = jobs_in(tmp_path, 1)
    with journal(jobs, resume=False) as ledger:
        monkeypatch.setattr(Path, "unlink", refuse)
        ledger.discard()
        monkeypatch.undo()
        assert "could not be removed (the folder cannot be written to" in caplog.text
        ledger.discard()
    assert not journal_path(jobs).exists()


def test_a_disk_that_is_full_when_the_journal_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each picture fails with a sentence, nothing is written that no journal tells of; with room it goes on."""
    jobs = jobs_in(tmp_path, 3)
    with journal(jobs, resume=False) as ledger:
        write = ledger._append

        def full(file: FileIO, record: dict[str, object]) -> None:
            if record.get("begin") == "1.bmp":
                file.write(b'\n{"begin": "1.b')  # what a full disk leaves of a line
                raise OSError(errno.ENOSPC, "no space")
            write(file, record)

        monkeypatch.setattr(ledger, "_append", full)
        report = run(jobs, copy, ledger=ledger)
    assert [(failure.job.source.name, failure.reason) for failure in report.failed] == [
        ("1.bmp", "there is no space left on the disk; make room and run it again")
    ]
    assert not jobs[1].target.exists()
    with journal(jobs, resume=True) as ledger:
        assert names(run(ledger.sort(jobs), copy, ledger=ledger).done) == ["1.bmp"]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PictureError, match=r"file/x: (a part of the path is a file|.*exists)"):
        Journal(tmp_path / "file" / "x", settings={}, resume=False)


def test_without_the_journal_only_what_dead_processes_left_is_swept(tmp_path: Path) -> None:
    (job,) = jobs_in(tmp_path, 1)
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    mine = temporary_for(job.target)
    theirs = mine.with_name(mine.name.replace(f".{os.getpid()}-", f".{int(dead.stdout)}-"))
    for path in (mine, theirs):
        path.write_bytes(b"")
    assert sweep([job], held=False) == 1
    assert mine.exists()
    assert not theirs.exists()


def test_a_journal_is_complete_when_every_output_that_was_begun_is_in_place(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 2)

    def full(job: Job) -> None:
        raise OSError(28, "No space left on device")

    with journal(jobs, resume=False) as ledger:
        run(jobs[:1], copy, ledger=ledger)
        assert ledger.complete
        run(jobs[1:], full, ledger=ledger)
        assert not ledger.complete


def test_sweeping_takes_only_what_belongs_to_the_outputs(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 2)
    out = tmp_path / "out"
    ours = temporary_for(jobs[0].target)
    others = [out / ".other.png.12-ab.tmp", out / "0.bmp.tmp", out / ".0.bmp", out / "x.tmp"]
    for path in [ours, *others]:
        path.write_bytes(b"x")
    assert sweep(jobs) == 1
    assert not ours.exists()
    assert all(path.exists() for path in others)


SCRIPT = """
import sys, time
from pathlib import Path
from restorekit.io import read_image, write_image
from restorekit.io.atomic import atomic_file
from restorekit.jobs import Journal, journal_path, run, sweep
from tests.unit.jobs.fakes import jobs_in

folder, stop_at, where = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
jobs = jobs_in(folder, 5, resume=True)

def wait(job, here):
    if job.source.name == stop_at and where == here:
        print("here", flush=True)
        time.sleep(60)

class Late(Journal):
    def end(self, job):
        wait(job, "renamed")
        super().end(job)

def work(job):
    wait(job, "read")
    image = read_image(job.source)
    with open(folder / "log", "a") as log:
        log.write(job.source.name + "\\n")
    with atomic_file(job.target) as file:
        write_image(image, file, format="bmp")
        file.flush()
        wait(job, "written")

with Late(journal_path(jobs), settings={}, resume=True) as journal:
    sweep(jobs)
    report = run(journal.sort(jobs), work, ledger=journal)
    print("done", *(job.source.name for job in report.done))
"""


@pytest.mark.parametrize("where", ["read", "written", "renamed"])
def test_a_run_killed_at_any_moment_goes_on_where_it_was(tmp_path: Path, where: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}

    def start(stop_at: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), str(tmp_path), stop_at, where]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    with start("2.bmp") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "here\n"
        first.send_signal(signal.SIGKILL)
    assert (tmp_path / "out" / "2.bmp").exists() == (where == "renamed")
    with start("none") as second:
        said, _ = second.communicate(timeout=60)
    left = ["3.bmp", "4.bmp"] if where == "renamed" else ["2.bmp", "3.bmp", "4.bmp"]
    assert said.split() == ["done", *left]
    # nothing lost, nothing partial, nothing left behind, nothing done twice (but what the kill undid)
    out = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert out == [".restorekit.journal", *(f"{index}.bmp" for index in range(5))]
    sizes = [{path.stat().st_size for path in (tmp_path / folder).glob("*.bmp")} for folder in ("in", "out")]
    assert sizes[0] == sizes[1]
    done = (tmp_path / "log").read_text().split()
    assert done == ["0.bmp", "1.bmp", *(["2.bmp"] * (2 if where == "written" else 1)), "3.bmp", "4.bmp"]
