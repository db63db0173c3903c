"""Writing picture files: whole or not at all, with all that belongs to the picture."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from restorekit.errors import UsageError
from restorekit.io import exif
from restorekit.io.atomic import atomic_file
from restorekit.io.bmp import write_bmp
from restorekit.io.depth import flatten, to_depth
from restorekit.io.faults import about
from restorekit.io.formats import WRITABLE, canonical_format, format_of_suffix
from restorekit.io.heif_write import write_avif, write_heic
from restorekit.io.icc import color_model
from restorekit.io.jpeg_write import write_jpeg
from restorekit.io.picture import ImageData, Metadata
from restorekit.io.png_color import COLOR_CHUNKS, stated_colors
from restorekit.io.png_write import write_png
from restorekit.io.tiff_write import write_tiff
from restorekit.io.webp import write_webp

__all__ = ["encode_image", "write_image", "write_pages"]

_WHITE = (255, 255, 255)
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_DEPTHS = {"png": (8, 16), "jpeg": (8,), "webp": (8,), "bmp": (8,), "tiff": (8, 16, 32)}
_DEPTHS |= {"avif": (8,), "heic": (8, 16)}  # of the 16 bits, a HEIC keeps 12

logger = logging.getLogger(__name__)


def write_image(
    image: ImageData,
    target: Path | str | BinaryIO,
    *,
    format: str | None = None,
    quality: int | None = None,
    bit_depth: int | None = None,
    background: tuple[int, int, int] = _WHITE,
    strip_metadata: bool = False,
    overwrite: bool = True,
) -> None:
    """Write a picture to a file.

    A path gets a temporary file in the same folder first, which takes the name when it is complete and on the disk.
    What the format cannot hold is reduced, and the log says so: depth, alpha (laid on a ground), metadata.

    Args:
        image: The picture.
        target: A path, or an open binary file.
        format: ``"png"``, ``"jpeg"``, ``"webp"``, ``"tiff"``, ``"bmp"``, or where the codec is installed ``"avif"``
            or ``"heic"``; if None, what the suffix of the path says, else that of the picture.
        quality: 1 to 100 for JPEG, AVIF, HEIC and lossy WebP. If None: JPEG 95, or the input's where that is higher;
            AVIF and HEIC 95 (HEIC with alpha: lossless); WebP lossless, unless the picture came from a lossy file: then
            95.
        bit_depth: 8, 16 or 32 (floating point); if None, that of the picture.
        background: Red, green and blue (0 to 255) of the ground under a transparent picture in a JPEG or BMP.
        strip_metadata: Whether to leave out everything but the pixels and their profile.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        UsageError: An option is wrong.
        PictureError: The file cannot be written; the message names it.
    """
    chosen = _format(image, target, format)
    prepared = _prepare(
        image,
        chosen,
        name_of_target(target),
        quality=quality,
        bit_depth=bit_depth,
        background=background,
        strip_metadata=strip_metadata,
    )
    _write([prepared], target, chosen, quality=quality, overwrite=overwrite)


def write_pages(
    pages: Sequence[ImageData],
    target: Path | str | BinaryIO,
    *,
    bit_depth: int | None = None,
    strip_metadata: bool = False,
    overwrite: bool = True,
) -> None:
    """Write several pictures as the pages of one TIFF.

    Args:
        pages: The pictures, of any sizes and kinds.
        target: A path, or an open binary file.
        bit_depth: 8, 16 or 32 (floating point); if None, that of each page.
        strip_metadata: Whether to leave out everything but the pixels and their profiles.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        UsageError: There are no pages, or an option is wrong.
        PictureError: The file cannot be written; the message names it.
    """
    if not pages:
        raise UsageError("a file needs at least one page to be written")
    prepared = [
        _prepare(
            page,
            "tiff",
            name_of_target(target),
            quality=None,
            bit_depth=bit_depth,
            background=_WHITE,
            strip_metadata=strip_metadata,
        )
        for page in pages
    ]
    _write(prepared, target, "tiff", quality=None, overwrite=overwrite)


def encode_image(image: ImageData, *, format: str | None = None, quality: int | None = None) -> bytes:
    """Return the bytes of a picture file; see ``write_image``."""
    out = BytesIO()
    write_image(image, out, format=format, quality=quality)
    return out.getvalue()


def _format(image: ImageData, target: Path | str | BinaryIO, asked: str | None) -> str:
    if asked is not None:
        return canonical_format(asked)
    said = format_of_suffix(target) if isinstance(target, str | Path) else None
    if said is None and image.format not in WRITABLE:
        return "png"
    return canonical_format(said or image.format)


def _prepare(
    image: ImageData,
    chosen: str,
    where: str,
    *,
    quality: int | None,
    bit_depth: int | None,
    background: tuple[int, int, int],
    strip_metadata: bool,
) -> ImageData:
    """Return the picture as the format can hold it."""
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality is 1 to 100, got {quality}")
    if bit_depth is not None and bit_depth not in (8, 16, 32):
        raise UsageError(f"bit depth is 8, 16 or 32 (floating point), got {bit_depth}")
    depths = _DEPTHS[chosen]
    if bit_depth is not None and bit_depth not in depths:
        raise UsageError(f"a {chosen.upper()} holds {' or '.join(map(str, depths))} bits, not {bit_depth}")
    bits = bit_depth or min(image.bits, depths[-1])
    if bits < image.bits and bit_depth is None:
        logger.warning(
            "%s: %d-bit values were reduced to %d bits, all that %s holds", where, image.bits, bits, chosen.upper()
        )
    keeps_alpha = chosen != "jpeg" and (chosen != "bmp" or image.format == "bmp")
    if image.alpha is not None and not keeps_alpha:
        logger.warning(
            "%s: %s holds no alpha: the picture was laid on the ground %s", where, chosen.upper(), background
        )
        image = flatten(image, background)
    if strip_metadata:
        image = replace(image, metadata=_colours_only(image.metadata))
    _tell_what_is_left_out(image.metadata, chosen, where)
    return replace(to_depth(image, bits), metadata=_true_of(image, chosen, where))


def _colours_only(metadata: Metadata) -> Metadata:
    """Return what makes colours of the values, and nothing else."""
    chunks = tuple(pair for pair in metadata.png_chunks if pair[0] in COLOR_CHUNKS)
    return Metadata(icc=metadata.icc, png_chunks=chunks)


def _true_of(image: ImageData, chosen: str, where: str) -> Metadata:
    """Return the metadata as they are true of the pixels: a crop has other sides, and RGB no profile of grey."""
    metadata = image.metadata
    if metadata.exif is not None:
        block = exif.settle(metadata.exif, width=image.width, height=image.height)
        metadata = replace(metadata, exif=block)
    if metadata.icc is not None and (chosen == "webp" or not image.grey) and color_model(metadata.icc) == "GRAY":
        logger.warning("%s: the grey picture became RGB, so its profile for grey was left out", where)
        metadata = replace(metadata, icc=None)
    return metadata


def _tell_what_is_left_out(metadata: Metadata, chosen: str, where: str) -> None:
    stated = stated_colors(metadata)
    blocks = {
        "EXIF": (metadata.exif, ("png", "jpeg", "webp", "tiff", "avif", "heic")),
        "XMP": (metadata.xmp, ("png", "jpeg", "webp", "tiff", "avif", "heic")),
        "IPTC": (metadata.photoshop, ("png", "jpeg", "tiff")),
        "a comment": (metadata.comment, ("png", "jpeg")),
        "extended XMP": (metadata.jpeg_segments, ("jpeg",)),
        "colour space of a PNG's chunks": (stated, ("png", "heic") if b"cICP" in stated else ("png",)),
        "PNG texts": (any(kind in _TEXTS for kind, _ in metadata.png_chunks), ("png",)),
    }
    lost = [name for name, (content, formats) in blocks.items() if content and chosen not in formats]
    if lost:
        logger.warning("%s: %s files hold no %s, so it was left out", where, chosen.upper(), ", ".join(lost))


def name_of_target(target: Path | str | BinaryIO) -> str:
    """Return what messages call a target."""
    name = target if isinstance(target, str | Path) else getattr(target, "name", None)
    return "standard output" if name == "<stdout>" else "the output" if not isinstance(name, str | Path) else str(name)


def _write(
    images: list[ImageData], target: Path | str | BinaryIO, chosen: str, *, quality: int | None, overwrite: bool
) -> None:
    if not isinstance(target, str | Path):
        with about(name_of_target(target), f"writing the {chosen.upper()}"):
            _encode(images, target, chosen, quality)
        return
    path = Path(target)
    with about(str(path), f"writing the {chosen.upper()}"), atomic_file(path, overwrite=overwrite) as file:
        _encode(images, file, chosen, quality)


def _encode(images: list[ImageData], out: BinaryIO, chosen: str, quality: int | None) -> None:
    if chosen == "tiff":
        # the writer goes back to link its directories, which a pipe cannot do
        buffer = out if out.seekable() else BytesIO()
        write_tiff(images, buffer)
        if isinstance(buffer, BytesIO) and buffer is not out:
            out.write(buffer.getbuffer())
    elif chosen == "png":
        write_png(images[0], out)
    elif chosen == "bmp":
        write_bmp(images[0], out)
    elif chosen == "jpeg":
        write_jpeg(images[0], out, quality=quality)
    elif chosen == "avif":
        write_avif(images[0], out, quality=quality)
    elif chosen == "heic":
        write_heic(images[0], out, quality=quality)
    else:
        write_webp(images[0], out, quality=quality)
