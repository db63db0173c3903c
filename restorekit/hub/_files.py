"""Files and folders of weights that appear whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from restorekit.io.atomic import atomic_file, temporary_for

__all__ = ["replaced_folder", "sha256_of", "write_text"]

_ATTEMPTS = 20


def write_text(path: Path, text: str) -> None:
    """Write a text file, as a whole or not at all."""
    with atomic_file(path) as file:
        file.write(text.encode("utf-8"))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill that then takes the place of ``folder``, and keeps what else lay in that.

    After an error ``folder`` is as it was. Of two processes that do this at the same time, the later one wins.

    Args:
        folder: The folder to make or replace; its parents are made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = temporary_for(folder)
    try:
        if folder.is_dir():
            shutil.copytree(folder, staged)
        else:
            staged.mkdir()
        yield staged
        _swap(staged, folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _swap(staged: Path, folder: Path) -> None:
    """Put a folder in the place of another one, which may appear or vanish meanwhile."""
    for attempt in range(_ATTEMPTS):
        old = temporary_for(folder)
        try:
            folder.rename(old)
        except FileNotFoundError:
            pass
        else:
            shutil.rmtree(old, ignore_errors=True)
        try:
            staged.rename(folder)
        except OSError:  # another process was faster
            if attempt == _ATTEMPTS - 1 or not folder.exists():
                raise
        else:
            return
