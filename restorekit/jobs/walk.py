"""From what a user names (files, folders, patterns) to a list of picture files."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from restorekit.errors import UsageError
from restorekit.io.formats import PICTURE_SUFFIXES

__all__ = ["STANDARD_STREAM", "Item", "is_picture_name", "list_folder", "natural", "walk"]

STANDARD_STREAM = Path("-")
"""Stands for standard input as a source, and for standard output as a target."""

_JUNK = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})
_MAGIC = re.compile(r"[*?\[]")
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Item:
    """One picture file to work on.

    Attributes:
        path: The file, or ``STANDARD_STREAM``.
        relative: Its path below the folder that was named, for a mirrored tree; only its name where the file itself
            was named.
        named: Whether the user named the file itself (then it is never taken for junk).
    """

    path: Path
    relative: Path
    named: bool = False


def walk(inputs: Sequence[str | Path], *, recursive: bool) -> list[Item]:
    """List the picture files that inputs stand for.

    In folders, and among the matches of a pattern, only files with a picture's suffix count; dotfiles, ``._*`` and
    ``Thumbs.db`` are ignored. A file that is reached twice is listed once, where it came first.

    Args:
        inputs: Files, folders, patterns (``*``, ``?``, ``[...]``, and ``**`` for any depth), ``-`` for standard input.
        recursive: Whether to go into the folders of folders.

    Returns:
        The files, in the order of the inputs and in natural order (2 before 10) within each.

    Raises:
        UsageError: An input does not exist, or no picture was found.
    """
    if not inputs:
        raise UsageError("no input was given; name files, folders or patterns")
    found: dict[str, Item] = {}
    for given in inputs:
        for item in _expand(str(given), recursive=recursive):
            found.setdefault(_identity(item.path), item)
    if not found:
        names = ", ".join(map(str, inputs))
        hint = "" if recursive else " (folders inside them are entered with --recursive)"
        raise UsageError(f"there is no picture file in {names}{hint}")
    return list(found.values())


def _identity(path: Path) -> str:
    return str(path) if path == STANDARD_STREAM else os.path.realpath(path)


def _expand(given: str, *, recursive: bool) -> Iterator[Item]:
    path = Path(given)
    if given == "-":
        yield Item(STANDARD_STREAM, Path("stdin"), named=True)
    elif path.is_dir():
        yield from list_folder(path, recursive=recursive)
    elif path.exists() or path.is_symlink():
        yield Item(path, Path(path.name), named=True)
    elif _MAGIC.search(given):
        yield from _pattern(given, recursive=recursive)
    else:
        raise UsageError(f"there is no file or folder {given!r}")


def list_folder(folder: Path, *, recursive: bool) -> Iterator[Item]:
    """Yield the pictures of a folder, its own before those of the folders in it; links to folders are not followed.

    Args:
        folder: The folder.
        recursive: Whether to go into the folders of folders.

    Raises:
        UsageError: A folder cannot be listed.
    """
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural) if recursive else []
        for name in sorted(names, key=natural):
            path = Path(place, name)
            if is_picture_name(name) and path.is_file():
                yield Item(path, path.relative_to(folder))


def _refuse(error: OSError) -> None:
    raise UsageError(f"the folder {error.filename!r} cannot be listed ({error.strerror}); check its rights") from error


def _pattern(given: str, *, recursive: bool) -> Iterator[Item]:
    matches = sorted(glob.glob(given, recursive=True), key=natural)  # noqa: PTH207 (relative patterns stay relative)
    if not matches:
        raise UsageError(f"nothing matches the pattern {given!r}")
    parts = Path(given).parts
    first = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    base = Path(*parts[:first])
    for match in map(Path, matches):
        if match.is_dir():
            for item in list_folder(match, recursive=recursive) if "**" not in given else ():
                yield Item(item.path, match.relative_to(base) / item.relative)
        elif is_picture_name(match.name):
            yield Item(match, match.relative_to(base))


def is_picture_name(name: str) -> bool:
    """Return whether a file's name is that of a picture, and none that systems leave behind."""
    hidden = name.startswith((".", "__MACOSX"))
    return not hidden and name.lower() not in _JUNK and Path(name).suffix.lower() in PICTURE_SUFFIXES


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts names as people do: 2 before 10, capitals beside small letters."""
    parts = _DIGITS.split(name)
    key = [(1, 0, part.casefold()) if index % 2 == 0 else (0, int(part), "") for index, part in enumerate(parts)]
    return [*key, (1, 0, name)]
