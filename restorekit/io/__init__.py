"""Picture files <-> ``ImageData``: pixels in the file's own depth, and all that must survive when they change."""

from __future__ import annotations

from restorekit.io.faults import FileError
from restorekit.io.info import read_size
from restorekit.io.limits import DEFAULT_LIMITS, Limits
from restorekit.io.picture import Encoding, ImageData, Metadata
from restorekit.io.read import read_image, read_pages
from restorekit.io.write import encode_image, write_image, write_pages

__all__ = [
    "DEFAULT_LIMITS",
    "Encoding",
    "FileError",
    "ImageData",
    "Limits",
    "Metadata",
    "encode_image",
    "read_image",
    "read_pages",
    "read_size",
    "write_image",
    "write_pages",
]
