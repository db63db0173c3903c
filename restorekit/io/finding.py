"""What a check of two files finds, and which format cannot hold what."""

from __future__ import annotations

from dataclasses import dataclass

from restorekit.io.formats import WRITABLE

__all__ = ["Finding", "lacking"]

_HOLDERS = {
    "10 bit": ("png", "tiff", "heic"),
    "12 bit": ("png", "tiff", "heic"),
    "16 bit": ("png", "tiff"),
    "32 bit": ("tiff",),
    "64 bit": (),
    "alpha": ("png", "tiff", "webp", "bmp", "avif", "heic"),
    "pages": ("tiff",),
    "grey": ("png", "jpeg", "tiff", "bmp", "avif", "heic"),
    "colour chunks": ("png",),
    "EXIF": ("png", "jpeg", "webp", "tiff", "avif", "heic"),
    "XMP": ("png", "jpeg", "webp", "tiff", "avif", "heic"),
    "extended XMP": ("jpeg",),
    "IPTC": ("png", "jpeg", "tiff"),
    "comment": ("png", "jpeg"),
    "texts": ("png",),
}
"""Formats that hold something, of those that are written here."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        aspect: What: ``"size"``, ``"bit depth"``, ``"alpha"``, ``"profile"``, ``"orientation"``, ...
        kept: Whether it was kept.
        before: What it was.
        after: What it is.
    """

    aspect: str
    kept: bool
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.aspect} {'kept' if self.kept else 'LOST'}: {self.before} -> {self.after}"


def lacking(what: str, format: str) -> str:
    """Return ``" (a JPEG holds no alpha)"`` and the like, or nothing where the format could hold it.

    Args:
        what: One of the things that not every format holds; of others it is assumed that all do.
        format: The format of the file that does not have it.
    """
    missing = what in _HOLDERS and format in WRITABLE and format not in _HOLDERS[what]
    return f" (a {format.upper()} holds no {what})" if missing else ""
