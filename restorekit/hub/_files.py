"""Files and folders of weights that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from restorekit.io.atomic import atomic_file, temporary_for

__all__ = ["locked", "sha256_of", "staged_folder", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write a text file, as a whole or not at all."""
    with atomic_file(path) as file:
        file.write(text.encode("utf-8"))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def staged_folder(folder: Path, *, last: str) -> Iterator[Path]:
    """Give a folder to fill, whose files then take their places in ``folder``.

    Each file appears whole. After an error while it is filled, ``folder`` is as it was. Of two processes that do this
    at the same time, one waits for the other. Other files in ``folder`` stay.

    Args:
        folder: The folder to make or to renew; its parents are made.
        last: The file that takes its place after all others: who finds it finds them.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = temporary_for(folder)
    staged.mkdir()
    try:
        yield staged
        with _only_one(folder.parent):
            folder.mkdir(exist_ok=True)
            for path in sorted(staged.iterdir(), key=lambda path: (path.name == last, path.name)):
                path.replace(folder / path.name)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


@contextmanager
def locked(path: Path, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let one at a time do what follows, of all processes and threads that name the same file; others wait.

    The lock ends with its process, however that ends. The file is made and stays: it is what they meet at.

    Args:
        path: An empty file of its own; its folder exists.
        waiting: Is told, once, that somebody else is at work.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _take(handle, wait=False):
            waiting()
            _take(handle, wait=True)
        yield
    finally:
        os.close(handle)


def _take(handle: int, *, wait: bool) -> bool:
    """Take the lock of an open file; where the system has none (some network shares), everybody has it."""
    if sys.platform == "win32":
        import msvcrt

        while True:
            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    return False
                time.sleep(0.2)
            else:
                return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Let one process at a time do what follows, where the system has locks that end with their process."""
    try:
        import fcntl
    except ImportError:  # Windows: there a file that is being written cannot be replaced, which is an error
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a network share without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
