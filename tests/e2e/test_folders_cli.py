"""Folders that survive anything: bad files, bad disks, other runs, kill -9; all through the command line."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from restorekit.inference.batch_request import Settings
from restorekit.inference.restorer import Restorer
from restorekit.io import read_image
from tests.e2e.conftest import Cli, photo, put

COMMAND = (sys.executable, "-m", "restorekit", "restore")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def names(folder: Path) -> list[str]:
    """Return everything below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def shown(folder: Path) -> list[str]:
    """Return what is not hidden below a folder."""
    return [name for name in names(folder) if not Path(name).name.startswith(".")]


def lines_about(error: str, folder: Path) -> dict[str, str]:
    """Return file -> reason of the lines that follow the counts."""
    lines = error.splitlines()
    first = next(index for index, line in enumerate(lines) if " written" in line) + 1
    found = dict(line.removeprefix(f"{folder}/").split(": ", 1) for line in lines[first:])
    assert len(found) == len(lines) - first
    return found


# --- bad files --------------------------------------------------------------------------------------------------------


def with_wrong_checksum(file: bytes) -> bytes:
    """Return a PNG in which the checksum of the pixels is wrong."""
    at = file.index(b"IDAT") - 4
    end = at + 8 + struct.unpack_from(">I", file, at)[0]
    (check,) = struct.unpack_from(">I", file, end)
    assert check == zlib.crc32(file[at + 4 : end])
    return file[:end] + struct.pack(">I", check ^ 1) + file[end + 4 :]


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """Return the folder of field report 10."""
    folder = tmp_path / "in"
    good = put(folder / "1.png").read_bytes()
    jpeg = put(folder / "2.jpg", np.tile(photo(), (6, 6, 1)), format="jpeg")
    jpeg.write_bytes(jpeg.read_bytes()[: jpeg.stat().st_size // 2])
    (folder / "3.png").write_bytes(b"")
    (folder / "4.jpg").write_text("Dear reader, this is no picture.\n")
    (folder / "5.png").write_bytes(with_wrong_checksum(good))
    put(folder / "6.png")
    return folder


REASONS = {
    "2.jpg": "a part of the JPEG's picture data is missing; the file is damaged, get it again",
    "3.png": "the file is empty (0 bytes)",
    "4.jpg": "the file is text, not a picture",
    "5.png": "the checksum of the IDAT chunk is wrong; the PNG is damaged, get it again",
}


def test_one_bad_file_does_not_end_the_nights_work(cli: Cli, weights: Path, night: Path, tmp_path: Path) -> None:
    """Field report 10."""
    before = {name: (night / name).read_bytes() for name in names(night)}
    out = tmp_path / "out"
    ended = cli("restore", night, "--out", out, "--model", weights)
    assert ended.code == 3
    assert names(out) == ["1.png", "6.png"]
    assert list(lines_about(ended.error, night).items()) == list(REASONS.items())
    for name in ("1.png", "6.png"):
        assert read_image(out / name).pixels.shape == (40, 56, 3)
    assert {name: (night / name).read_bytes() for name in names(night)} == before
    assert "Traceback" not in ended.error


def test_the_same_as_json(cli: Cli, weights: Path, night: Path, tmp_path: Path) -> None:
    """Field report 10."""
    ended = cli("restore", night, "--out", tmp_path / "out", "--model", weights, "--json")
    assert ended.code == ended.json["exit_code"] == 3
    outcomes = {Path(one["source"]).name: (one["status"], one["reason"]) for one in ended.json["pictures"]}
    assert outcomes == {
        **{name: ("failed", reason) for name, reason in REASONS.items()},
        **dict.fromkeys(("1.png", "6.png"), ("done", None)),
    }


def test_nothing_good_in_a_folder(cli: Cli, weights: Path, night: Path, tmp_path: Path) -> None:
    for name in ("1.png", "6.png"):
        (night / name).unlink()
    ended = cli("restore", night, "--out", tmp_path / "out", "--model", weights)
    assert ended.code == 3
    assert "0 written, 4 failed" in ended.error
    assert not (tmp_path / "out").exists() or shown(tmp_path / "out") == []


def test_junk_is_passed_over(cli: Cli, weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    put(folder / "a.png")
    put(folder / "sub" / "b.PNG")
    for name in ("._a.png", ".hidden.png", "Thumbs.db", "desktop.ini", "notes.txt", "sub/.DS_Store", "png"):
        (folder / name).write_bytes(b"\x00\x05\x16\x07junk")
    (folder / ".git").mkdir()
    (folder / "__MACOSX").mkdir()
    put(folder / ".git" / "c.png")
    (folder / "folder.png").mkdir()
    (folder / "broken-link.png").symlink_to("nowhere.png")
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket.png"))
        ended = cli("restore", folder, "--out", tmp_path / "out", "--recursive", "--model", weights)
    assert ended.code == 0
    assert names(tmp_path / "out") == ["a.png", "sub/b.PNG"]
    assert "2 written in" in ended.error


def test_names_of_any_bytes_stay_one_line(cli: Cli, weights: Path, tmp_path: Path) -> None:
    """Line breaks and terminal codes in names neither break lines nor reach the terminal."""
    folder = tmp_path / "in"
    odd = ["new\nline", "\x1b[31mred", os.fsdecode(b"\xff\xfe"), "-dash", "ü" * 120, " a  b "]
    for name in odd:
        put(folder / f"{name}.png")
        (folder / f"{name}.jpg").write_text("text")
    ended = cli("restore", folder, "--out", tmp_path / "out", "--model", weights)
    assert ended.code == 3
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.png")) == sorted(odd)
    lines = ended.error.splitlines()
    assert sum(line.endswith(".jpg: the file is text, not a picture") for line in lines) == len(odd)
    assert sum(".png -> " in line for line in lines) == len(odd)
    assert "\x1b" not in ended.error


# --- files that do not stay -------------------------------------------------------------------------------------------


def test_a_file_that_vanishes_between_listing_and_reading(
    cli: Cli, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    for name in ("1.png", "2.png", "3.png"):
        put(folder / name)
    load = Settings.load

    def slow(self: Settings) -> Restorer:
        (folder / "2.png").unlink()
        return load(self)

    monkeypatch.setattr(Settings, "load", slow)
    ended = cli("restore", folder, "--out", tmp_path / "out", "--model", weights)
    assert ended.code == 3
    assert lines_about(ended.error, folder) == {"2.png": "there is no such file"}
    assert shown(tmp_path / "out") == ["1.png", "3.png"]


def test_a_file_that_changes_while_it_is_read(
    cli: Cli, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    for name in ("1.png", "2.png"):
        put(folder / name)
    fstat, seen = os.fstat, []

    def busy(handle: int) -> os.stat_result:
        state = fstat(handle)
        if os.path.samestat(state, (folder / "1.png").stat()) and not seen:
            seen.append(handle)
            with (folder / "1.png").open("ab") as file:
                file.write(b"more")
        return state

    monkeypatch.setattr("restorekit.io.read.os.fstat", busy)
    ended = cli("restore", folder, "--out", tmp_path / "out", "--model", weights)
    assert ended.code == 3
    assert lines_about(ended.error, folder) == {
        "1.png": "the file changed while it was read; try again when nothing writes to it"
    }
    assert shown(tmp_path / "out") == ["2.png"]
    assert (folder / "1.png").read_bytes().endswith(b"more")


# --- disks ------------------------------------------------------------------------------------------------------------


def test_an_output_folder_that_cannot_be_made(cli: Cli, weights: Path, tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        put(tmp_path / "in" / name)
    (tmp_path / "file").write_text("a file")
    ended = cli("restore", tmp_path / "in", "--out", tmp_path / "file" / "out", "--model", weights)
    assert ended.code == 3
    assert ended.error.startswith(f"Error: {tmp_path / 'file' / 'out'}")
    assert ended.error.endswith(": a part of the path is a file, not a folder\n")
    ended = cli("restore", tmp_path / "in" / "1.png", "--out", tmp_path / "file" / "out", "--model", weights)
    assert ended.code == 3
    assert "1.png: a part of the path is a file, not a folder" in ended.error


Mounted = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    """Return a function that runs shell lines in which ``$DISK`` is a disk of a size of its own."""
    unshare = shutil.which("unshare")
    disk = tmp_path / "disk"
    disk.mkdir()

    def run(size: str, script: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        lines = f'mount -t tmpfs -o size={size} none "$DISK" || exit 99\n{script}'
        command = [str(unshare), "--user", "--map-root-user", "--mount", "sh", "-c", lines, "sh", *map(str, words)]
        environment = {**ENVIRONMENT, "DISK": str(disk), "KEPT": str(tmp_path / "kept")}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    if unshare is None or run("64k", "true").returncode:
        pytest.skip("needs the right to mount a small disk of its own (unshare --user --mount)")
    return run


def test_a_read_only_disk(mounted: Mounted, weights: Path, tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        put(tmp_path / "in" / name)
    script = 'mkdir "$DISK/out"; mount -o remount,ro "$DISK"; "$@"'
    ended = mounted("64k", script, *COMMAND, tmp_path / "in", "--model", weights, "--out", tmp_path / "disk" / "out")
    assert ended.returncode == 3
    assert ended.stderr.startswith(f"Error: {tmp_path / 'disk' / 'out'}")
    reason = "the folder cannot be written to (read-only file system); choose another one with --out"
    assert ended.stderr.endswith(f": {reason}\n")
    assert ended.stderr.count("\n") == 1


FILL_UP = """
"$@"; echo $?
cp -a "$DISK/out" "$KEPT"
mount -o remount,size=4m "$DISK"
"$@"; echo $?
cp -a "$DISK/out" "$KEPT-2"
"""


def test_a_disk_that_fills_up_and_is_given_room(mounted: Mounted, weights: Path, tmp_path: Path) -> None:
    """What fits is whole, the rest fails with a sentence, and --resume does just that when there is room."""
    source, all_of_them = tmp_path / "in", [f"{index}.png" for index in range(6)]
    for index, name in enumerate(all_of_them):
        put(source / name, np.random.default_rng(index).integers(0, 256, (64, 96, 3)).astype(np.uint8))
    more = ("--model", weights, "--out", tmp_path / "disk" / "out", "--strength", "0", "--resume")
    ended = mounted("80k", FILL_UP, *COMMAND, source, *more)
    assert ended.stdout == "3\n0\n"
    kept, again = tmp_path / "kept", tmp_path / "kept-2"
    first = shown(kept)
    assert 1 <= len(first) < 6
    lines = ended.stderr.splitlines()
    for name in set(all_of_them) - set(first):
        assert f"{source / name}: there is no space left on the disk; make room and run it again" in lines
    assert not list(kept.rglob("*.tmp"))
    for name in first:
        assert np.array_equal(read_image(kept / name).pixels, read_image(source / name).pixels)
        assert (again / name).stat().st_mtime_ns == (kept / name).stat().st_mtime_ns
    assert shown(again) == all_of_them
    assert any(line.startswith(f"{6 - len(first)} written, {len(first)} skipped") for line in lines)


# --- other runs, and kill -9 ------------------------------------------------------------------------------------------


def start(*words: str | Path) -> subprocess.Popen[bytes]:
    command = [*COMMAND, *map(str, words)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(run: subprocess.Popen[bytes], happened: Callable[[], bool]) -> None:
    """Wait until something has happened; the run must not end before."""
    until = time.monotonic() + 120
    while not happened():
        assert run.poll() is None, "the run ended too early"
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.0005)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Return a folder of pictures that keep a run busy for a while."""
    folder = tmp_path / "in"
    for index in range(24):
        put(folder / f"{index:02d}.png", np.tile(photo() ^ index, (4, 3, 1)))
    return folder


def test_two_runs_at_once_on_one_folder(cli: Cli, weights: Path, many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--out", out, "--model", weights)
    first = start(many, *words)
    try:
        wait_for(first, lambda: len(shown(out)) >= 1 if out.exists() else False)
        first.send_signal(signal.SIGSTOP)
        there = names(out)
        for more in ((), ("--resume",), ("--overwrite",), ("--resume", "--skip-existing")):
            ended = cli("restore", many, *words, *more)
            assert ended.code == 2
            waits = f"another run is at work in {out}; wait for its end, or share the work with --shard i/n"
            exists = "exists already; give --overwrite or --skip-existing"
            assert (waits in ended.error) or (not more and exists in ended.error)
        assert names(out) == there  # its temporary files, too
    finally:
        first.send_signal(signal.SIGCONT)
    assert first.wait(120) == 0
    assert names(out) == [f"{index:02d}.png" for index in range(24)]


def test_kill_at_several_moments_and_go_on(cli: Cli, weights: Path, many: Path, tmp_path: Path) -> None:
    """Nothing is lost, nothing done twice, nothing partial, nothing left behind."""
    reference = tmp_path / "reference"
    assert cli("restore", many, "--out", reference, "--model", weights).code == 0
    whole = {name: (reference / name).read_bytes() for name in names(reference)}
    out = tmp_path / "out"
    moments: tuple[Callable[[], bool], ...] = (
        lambda: (out / ".restorekit.journal").exists(),
        lambda: len(shown(out)) >= 3,
        lambda: len(shown(out)) >= 9 and any(out.glob(".*.tmp")),
    )
    done: dict[str, tuple[int, int]] = {}
    for happened in moments:
        run = start(many, "--out", out, "--model", weights, "--resume")
        wait_for(run, happened)
        run.kill()
        assert run.wait(120) == -signal.SIGKILL
        states = {name: (out / name).stat() for name in shown(out)}
        for name in states:
            assert (out / name).read_bytes() == whole[name]  # never a part of a picture
        again = {name: (state.st_ino, state.st_mtime_ns) for name, state in states.items()}
        assert done.items() <= again.items()  # nothing that was there was written once more
        done = again
    ended = cli("restore", many, "--out", out, "--model", weights, "--resume", "--json")
    assert ended.code == 0
    statuses = {Path(one["source"]).name: (one["status"], one["reason"]) for one in ended.json["pictures"]}
    assert statuses == {name: ("skipped", "done before") if name in done else ("done", None) for name in whole}
    assert {name: (out / name).read_bytes() for name in shown(out)} == whole
    assert names(out) == [".restorekit.journal", *whole]
    assert all((state := (out / name).stat()) and (state.st_ino, state.st_mtime_ns) == done[name] for name in done)
