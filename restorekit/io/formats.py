"""The picture formats: their names, their suffixes, and how a file's first bytes tell them apart."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import PurePath

from restorekit.errors import UnknownNameError

__all__ = [
    "PICTURE_SUFFIXES",
    "READABLE",
    "WRITABLE",
    "canonical_format",
    "format_of_suffix",
    "looks_like_text",
    "sniff",
    "suffix_of_format",
]

_SUFFIXES = {
    "png": (".png", ".apng"),
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "webp": (".webp",),
    "tiff": (".tif", ".tiff", ".btf"),
    "bmp": (".bmp", ".dib"),
    "gif": (".gif",),
    "avif": (".avif",),
    "heic": (".heic", ".heif", ".hif"),
    "raw": (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"),
}
READABLE = tuple(name for name in _SUFFIXES if name != "gif")
"""Formats that can be read (the last ones if their codec is installed)."""

_CODECS = {"avif": "PIL._avif", "heic": "pillow_heif"}


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it belongs to is there
        return False


WRITABLE = (
    *("png", "jpeg", "webp", "tiff", "bmp"),
    *(name for name, module in _CODECS.items() if _installed(module)),
)
"""Formats that can be written (the last ones if their codec is installed)."""

PICTURE_SUFFIXES = frozenset(suffix for name in READABLE for suffix in _SUFFIXES[name])
"""Suffixes, in lower case, of files that are taken for pictures."""

_BY_SUFFIX = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes}
_ALIASES = {"jpg": "jpeg", "tif": "tiff", "heif": "heic"}
_TEXT = frozenset(range(32, 127)) | {9, 10, 13}


def canonical_format(name: str) -> str:
    """Return the canonical name of a writable format (``"jpg"`` -> ``"jpeg"``).

    Args:
        name: A format or a suffix, with or without the dot, in any case.

    Raises:
        UnknownNameError: Nothing writable has that name.
    """
    key = name.lower().removeprefix(".")
    key = _ALIASES.get(key, _BY_SUFFIX.get(f".{key}", key))
    if key not in WRITABLE:
        raise UnknownNameError("picture format", name, WRITABLE)
    return key


def format_of_suffix(path: PurePath | str) -> str | None:
    """Return the format that a file's suffix stands for, or None where it stands for none."""
    return _BY_SUFFIX.get(PurePath(path).suffix.lower())


def suffix_of_format(name: str) -> str:
    """Return the usual suffix of a format, with the dot (``"jpeg"`` -> ``".jpg"``)."""
    return _SUFFIXES[name][0]


def sniff(head: bytes) -> str | None:
    """Return the format that a file's first bytes show, or None.

    Args:
        head: At least the first 32 bytes of the file.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "tiff"
    if head.startswith(b"BM"):
        return "bmp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith((b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\x00")):
        return "raw"
    return _sniff_boxes(head)


def _sniff_boxes(head: bytes) -> str | None:
    if head[4:8] != b"ftyp":
        return None
    brands = {head[8:12], *(head[start : start + 4] for start in range(16, min(len(head), 64), 4))}
    if head[8:12] == b"crx ":
        return "raw"
    if brands & {b"avif", b"avis"}:
        return "avif"
    return "heic" if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"} else None


def looks_like_text(head: bytes) -> bool:
    """Return whether a file's first bytes are plain text."""
    return bool(head) and all(byte in _TEXT for byte in head)
