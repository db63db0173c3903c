"""What a run has done, line by line on the disk, so that another can go on after any kind of end.

A line goes out before an output is written and another one after it is in place, each of them flushed to the disk.
An output appears whole or not at all; so whatever moment a run is killed at, the next one can tell which outputs are
its own and complete.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from restorekit.errors import UsageError
from restorekit.io.atomic import origin_of_temporary, short_name, writer_lives
from restorekit.io.faults import about, sentence
from restorekit.jobs.outputs import Job
from restorekit.jobs.walk import STANDARD_STREAM

__all__ = ["Journal", "journal_path", "sweep"]

_FORMAT = 1

logger = logging.getLogger(__name__)


def journal_path(jobs: Sequence[Job], *, out: Path | None = None, shard: tuple[int, int] | None = None) -> Path:
    """Return where the journal of jobs lies: a hidden file in the folder that holds all their outputs.

    Args:
        jobs: All jobs of the run, those of other shares too.
        out: The folder of the outputs, where there is one: the place then stays the same when inputs are added.
        shard: Which share of how many this run does; each share has its own journal.
    """
    folder = out
    if folder is None:
        parents = [str(job.target.parent.absolute()) for job in jobs if job.target != STANDARD_STREAM]
        folder = Path(os.path.commonpath(parents)) if parents else Path.cwd()
    share = f"-{shard[0]}of{shard[1]}" if shard else ""
    return folder / f".restorekit{share}.journal"


@dataclass(frozen=True)
class _Stamp:
    """What tells one state of a file from another."""

    size: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> _Stamp | None:
        try:
            state = path.stat()
        except OSError:
            return None
        return cls(state.st_size, state.st_mtime_ns)

    @classmethod
    def from_json(cls, value: Any) -> _Stamp | None:
        return cls(*value) if isinstance(value, list) and len(value) == 2 else None


class Journal:
    """The journal of one run; a context manager that holds it against other runs.

    Args:
        path: The file, see ``journal_path``; its folder is made.
        settings: What the outputs depend on besides the inputs (model, strength, ...); plain values.
        resume: Whether to go on with the run that the file tells of, if there is one.

    Raises:
        UsageError: Another run holds the journal, or the run to resume had other settings.
        PictureError: The journal cannot be written.
    """

    def __init__(self, path: Path, *, settings: Mapping[str, Any], resume: bool) -> None:
        self.path = path
        self._settings = json.loads(json.dumps(settings, sort_keys=True, default=str))
        self._lock = threading.Lock()
        self._unwritten: set[str] = set()
        self._read: dict[str, _Stamp | None] = {}
        self._begun: dict[str, _Stamp | None] = {}
        self._ended: dict[str, tuple[_Stamp | None, _Stamp | None]] = {}
        with about(str(path), "opening the journal"):
            self._file = self._open(resume=resume)

    def _open(self, *, resume: bool) -> FileIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = FileIO(self.path, "a+")
        try:
            _hold(file, self.path)
            if not self.path.exists() or not os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                file.close()  # its run has ended and removed it since it was opened
                return self._open(resume=resume)
            file.seek(0)
            records = [record for line in file.readall().split(b"\n") if (record := _parse(line)) is not None]
            if resume and records:
                self._replay(records)
            else:
                file.truncate(0)
                self._append(file, {"restorekit": _FORMAT, "settings": self._settings})
        except BaseException:
            file.close()
            raise
        return file

    def _replay(self, records: Sequence[Mapping[str, Any]]) -> None:
        head = records[0]
        if head.get("restorekit") != _FORMAT:
            raise UsageError(f"{self.path} is no journal of this version; remove it or run without --resume")
        if head.get("settings") != self._settings:
            theirs = head.get("settings") or {}
            differing = sorted(key for key in {*theirs, *self._settings} if theirs.get(key) != self._settings.get(key))
            raise UsageError(
                f"the run to resume had other settings ({', '.join(differing)}); give the same ones, "
                "or run without --resume"
            )
        for record in records[1:]:
            if "begin" in record:
                self._begun[record["begin"]] = _Stamp.from_json(record.get("there"))
                self._ended.pop(record["begin"], None)
            elif "end" in record:
                stamps = (_Stamp.from_json(record.get("source")), _Stamp.from_json(record.get("target")))
                self._ended[record["end"]] = stamps

    def sort(self, jobs: Sequence[Job], *, overwrite: bool = False) -> list[Job]:
        """Return the jobs, those that an earlier run has done marked to be skipped.

        Done is a job whose output is the one that the journal tells of, from an input that has not changed since.

        Args:
            jobs: All jobs of the run, planned with ``resume``.
            overwrite: Whether outputs of other runs may be replaced.

        Raises:
            UsageError: An output exists that this run never began.
        """
        foreign = [str(job.target) for job in jobs if job.skip is None and self._is_foreign(job)]
        if foreign and not overwrite:
            more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
            raise UsageError(
                f"{foreign[0]}{more} exists and is not of the run to resume; give --overwrite or --skip-existing"
            )
        return [replace(job, skip="done before") if job.skip is None and self._is_done(job) else job for job in jobs]

    def _is_foreign(self, job: Job) -> bool:
        return job.target.exists() and self._key(job) not in self._begun

    def _is_done(self, job: Job) -> bool:
        key = self._key(job)
        there = _Stamp.of(job.target)
        if there is None or key not in self._begun:
            return False
        if key in self._ended:
            return self._ended[key] == (_Stamp.of(job.source), there)
        # killed between the renaming of the output and the line in the journal
        return there != self._begun[key]

    def _key(self, job: Job) -> str:
        return Path(os.path.relpath(job.target, self.path.parent)).as_posix()

    def read(self, job: Job) -> None:
        """Take note of the input as it is when its reading begins; what changes later is done anew by the next run."""
        self._read[self._key(job)] = _Stamp.of(job.source)

    def begin(self, job: Job) -> None:
        """Write down that the output of a job is about to be written."""
        key, there = self._key(job), _Stamp.of(job.target)
        with self._lock:
            self._unwritten.add(key)
            self._append(self._file, {"begin": key, "there": _plain(there)})

    def end(self, job: Job) -> None:
        """Write down that the output of a job is in place."""
        key, target = self._key(job), _Stamp.of(job.target)
        source = self._read.pop(key, None)
        with self._lock:
            self._append(self._file, {"end": key, "source": _plain(source), "target": _plain(target)})
            self._unwritten.discard(key)

    @property
    def complete(self) -> bool:
        """Whether every output that was begun is in place: none was stopped by a full disk, say."""
        return not self._unwritten

    def _append(self, file: FileIO, record: Mapping[str, Any]) -> None:
        # the line break comes first: it also ends a line that a kill or a full disk may have cut in two
        line = b"\n" + json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogateescape")
        if file.write(line) != len(line):
            raise OSError(errno.ENOSPC, "the journal could not be written")
        os.fsync(file.fileno())

    def discard(self) -> None:
        """Remove the journal, since nobody is to go on with what it tells of."""
        if os.name == "nt":  # pragma: no cover (the tests run elsewhere; an open file cannot be removed there)
            self.close()
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s: it is of no more use and could not be removed (%s)", self.path, sentence(error))

    def close(self) -> None:
        """Let the journal go."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _plain(stamp: _Stamp | None) -> list[int] | None:
    return None if stamp is None else [stamp.size, stamp.changed]


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line, or None where the line is empty or cut."""
    try:
        record = json.loads(line.decode("utf-8", "surrogateescape"))
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _hold(file: FileIO, path: Path) -> None:
    """Lock a file for this process until it is closed (a killed process holds nothing).

    Raises:
        UsageError: Another process holds it.
    """
    try:
        if os.name == "nt":  # pragma: no cover (the tests run elsewhere)
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            # network shares without locks
            logger.warning("%s cannot be locked here: see to it that no other run works in this folder", path)
            return
        raise UsageError(
            f"another run is at work in {path.parent}; wait for its end, or share the work with --shard i/n"
        ) from error


def sweep(jobs: Sequence[Job], *, held: bool = True) -> int:
    """Remove the temporary files that a killed run left beside the outputs of jobs.

    Args:
        jobs: Whose outputs.
        held: Whether the journal of these jobs is held; if not, only what processes left that are no more is removed,
            since the rest could belong to a run at work.

    Returns:
        How many there were.
    """
    names: dict[Path, set[str]] = {}
    for job in jobs:
        if job.target != STANDARD_STREAM:
            names.setdefault(job.target.parent, set()).add(short_name(job.target.name))
    removed = 0
    for folder, targets in names.items():
        for path in folder.glob(".*.tmp"):
            origin = origin_of_temporary(path)
            if origin is not None and origin in targets and (held or not writer_lives(path)):
                path.unlink(missing_ok=True)
                removed += 1
    if removed:
        logger.info("%d temporary files of an earlier run were removed", removed)
    return removed
