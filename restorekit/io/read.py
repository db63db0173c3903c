"""Reading picture files."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from restorekit.io import exif
from restorekit.io.bmp import read_bmp
from restorekit.io.faults import Refusal, about
from restorekit.io.formats import format_of_suffix, looks_like_text, sniff
from restorekit.io.heif import read_avif, read_heic
from restorekit.io.jpeg import read_jpeg
from restorekit.io.limits import DEFAULT_LIMITS, Limits
from restorekit.io.orientation import turn
from restorekit.io.picture import ImageData
from restorekit.io.png import read_png
from restorekit.io.raw import read_raw
from restorekit.io.tiff import page_offsets, read_page
from restorekit.io.webp import read_webp

__all__ = ["Source", "read_image", "read_pages"]

Source = Path | str | bytes | BinaryIO
"""What a picture is read from: a path, the bytes of a file, or an open binary file."""

_HEAD = 256  # bytes that tell what a file is

logger = logging.getLogger(__name__)


def read_image(source: Source, *, limits: Limits = DEFAULT_LIMITS) -> ImageData:
    """Read a picture file, upright and whole.

    The format is told by the content, the bit depth by the file's header. The EXIF orientation is applied, and reset
    in the EXIF block. What was converted or left out stands in ``notes`` and in the log.

    Args:
        source: A path, the bytes of a file, or an open binary file.
        limits: What is too large to be read.

    Returns:
        The picture with all that a file of it should keep.

    Raises:
        PictureError: The file is missing, damaged, cut off, too large, holds several pictures, or is none. The
            message names it.
    """
    name = name_of(source)
    pages = _read(source, name, limits, many=False)
    return pages[0]


def read_pages(source: Source, *, limits: Limits = DEFAULT_LIMITS) -> list[ImageData]:
    """Read every page of a picture file; a file of one picture gives one.

    Args:
        source: A path, the bytes of a file, or an open binary file.
        limits: What is too large to be read; all pages together are held to the limit of pixels.

    Raises:
        PictureError: As ``read_image``, but several pages are welcome (an animation is not).
    """
    return _read(source, name_of(source), limits, many=True)


def name_of(source: Source) -> str:
    """Return what messages call a source."""
    if isinstance(source, str | Path):
        return str(source)
    name = None if isinstance(source, bytes) else getattr(source, "name", None)
    if isinstance(name, str):
        return "standard input" if name == "<stdin>" else name
    return "the picture"


def _read(source: Source, name: str, limits: Limits, *, many: bool) -> list[ImageData]:
    with about(name, "reading it"):
        data = memoryview(load_bytes(source, limits))
        kind = _kind(data, name)
    with about(name, f"reading the {kind.upper()}", hint="the file is damaged or of an odd kind"):
        pages = _read_tiff(data, limits, many=many) if kind == "tiff" else [_READERS[kind](data, limits)]
        pages = [_upright(page) for page in pages]
    for note in dict.fromkeys(note for page in pages for note in page.notes):
        logger.warning("%s: %s", name, note)
    return pages


def load_bytes(source: Source, limits: Limits) -> bytes:
    """Return all bytes of a source.

    Raises:
        Refusal: There are more than the limit, a file is no picture by its first bytes, or it changed while it was
            read.
        OSError: The file cannot be read.
    """
    if isinstance(source, bytes):
        data = source
    elif isinstance(source, str | Path):
        data = _load_file(Path(source), limits)
    else:
        data = source.read(limits.file_bytes + 1)
    if len(data) > limits.file_bytes:
        raise Refusal(_too_large(limits))
    return data


def _too_large(limits: Limits) -> str:
    return f"the file is larger than the limit of {limits.file_bytes / 2**20:.0f} MiB"


def _load_file(path: Path, limits: Limits) -> bytes:
    _refuse_what_is_no_file(path)
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        if before.st_size > limits.file_bytes:
            raise Refusal(_too_large(limits))
        if stat.S_ISREG(before.st_mode):
            _kind(file.read(_HEAD), str(path))  # before gigabytes of something else are read
            file.seek(0)
        data = file.read(limits.file_bytes + 1)
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise Refusal("the file changed while it was read; try again when nothing writes to it")
    return data


def _refuse_what_is_no_file(path: Path) -> None:
    """Refuse what could be endless: a device, a pipe that lies in a folder (one that a shell made for us may pass)."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise Refusal("this is a folder, not a picture")
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode) or stat.S_ISFIFO(path.lstat().st_mode):
        raise Refusal("this is a device, a pipe or a socket, not a file")


def _kind(data: bytes | memoryview, name: str) -> str:
    if not data:
        raise Refusal("the file is empty (0 bytes)")
    head = bytes(data[:_HEAD])
    kind = sniff(head)
    said = format_of_suffix(name)
    if kind == "tiff" and said == "raw":
        return "raw"  # most camera raw files are built like a TIFF
    if kind in _READERS or kind == "tiff":
        return str(kind)
    if head.startswith(b"version https://git-lfs"):
        raise Refusal("this is a Git LFS pointer, not the picture itself; fetch it with: git lfs pull")
    if kind is not None:
        raise Refusal(f"{kind.upper()} files are not supported; convert it to PNG, JPEG, WebP, TIFF or BMP")
    if looks_like_text(head):
        raise Refusal("the file is text, not a picture")
    raise Refusal(f"the content is not {said.upper() if said else 'a picture'} nor any other known picture format")


def _read_tiff(data: memoryview, limits: Limits, *, many: bool) -> list[ImageData]:
    file, offsets, notes = page_offsets(data, limits)
    if len(offsets) > 1 and not many:
        raise Refusal(f"the TIFF holds {len(offsets)} pages and one picture is needed; split it into its pages first")
    pages: list[ImageData] = []
    for offset in offsets:
        pages.append(read_page(file, offset, limits))
        # pages may share their bytes, so that a small file holds any number of large ones
        if sum(page.pixels.shape[0] * page.pixels.shape[1] for page in pages) > limits.pixels:
            raise Refusal(
                f"the pages of the TIFF have more than the limit of {limits.pixels / 1e6:.0f} megapixels in all; "
                "split it into its pages first"
            )
    return [replace(page, notes=(*page.notes, *notes)) for page in pages]


_READERS: dict[str, Callable[[memoryview, Limits], ImageData]] = {
    "png": read_png,
    "jpeg": read_jpeg,
    "webp": read_webp,
    "bmp": read_bmp,
    "avif": read_avif,
    "heic": read_heic,
    "raw": read_raw,
}


def _upright(image: ImageData) -> ImageData:
    """Apply the EXIF orientation, once, and make the metadata say so."""
    metadata = image.metadata
    way = exif.orientation(metadata.exif)
    pixels, alpha, dpi, xmp = image.pixels, image.alpha, metadata.dpi, metadata.xmp
    if way != 1:
        pixels = turn(pixels, way)
        alpha = None if alpha is None else turn(alpha, way)
        dpi = dpi[::-1] if dpi is not None and way >= 5 else dpi
        xmp = None if xmp is None else exif.upright_xmp(xmp)
    block = metadata.exif
    if block is not None:
        block = exif.settle(block, width=pixels.shape[1], height=pixels.shape[0])
    return replace(image, pixels=pixels, alpha=alpha, metadata=replace(metadata, exif=block, dpi=dpi, xmp=xmp))
