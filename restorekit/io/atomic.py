"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from restorekit.io.faults import Refusal

__all__ = ["atomic_file", "origin_of_temporary", "short_name", "temporary_for", "writer_lives"]

_TEMPORARY = re.compile(r"\.(.+)\.(\d+)-[0-9a-f]{8}\.tmp", re.DOTALL)


def short_name(name: str) -> str:
    """Return what of a file's name stands in that of its temporary file; file systems allow 255 bytes in all."""
    return os.fsencode(name)[:200].decode("utf-8", "ignore")


def temporary_for(path: Path) -> Path:
    """Return a new name for a temporary file in the folder of a file: hidden, with the process and ``.tmp`` in it."""
    return path.with_name(f".{short_name(path.name)}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def origin_of_temporary(path: Path) -> str | None:
    """Return the short name of the file that a temporary file was made for, or None if the path is none."""
    match = _TEMPORARY.fullmatch(path.name)
    return match.group(1) if match else None


def writer_lives(path: Path) -> bool:
    """Return whether the process that makes a temporary file may still be at work."""
    match = _TEMPORARY.fullmatch(path.name)
    if match is None or os.name == "nt":  # there, asking for a process would end it
        return True
    try:
        os.kill(int(match.group(2)), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def atomic_file(path: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file in the folder of ``path`` that takes its place once it is written to the end.

    The content is on the disk before the name is (fsync, rename, fsync of the folder). After an error, and after an
    interruption, the temporary file is gone and ``path`` is as it was. A symbolic link is followed: the file that it
    points at is replaced.

    Args:
        path: The file to make.
        overwrite: Whether a file of that name may be replaced; if not, one that appears meanwhile is kept, too.

    Raises:
        Refusal: The file exists and may not be replaced.
        OSError: The folder cannot be written to, or the disk is full.
    """
    path = path.resolve() if path.is_symlink() else path
    temporary = temporary_for(path)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _put_in_place(temporary, path, overwrite=overwrite)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _put_in_place(temporary: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(path)
        return
    try:
        # a second name for the finished file: unlike a rename it fails where the name is taken
        path.hardlink_to(temporary)
    except FileExistsError as error:
        raise Refusal("this file exists already; give --overwrite to replace it") from error
    except OSError as error:
        # file systems without hard links (FAT, some network shares)
        if path.exists():
            raise Refusal("this file exists already; give --overwrite to replace it") from error
        temporary.replace(path)


def _sync_folder(folder: Path) -> None:
    """Write the folder itself to the disk, where the system can do that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
