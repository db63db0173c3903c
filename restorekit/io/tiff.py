"""TIFF and BigTIFF files: what the directory says, and what the bytes mean.

Readers disagree on what lies beyond 8-bit chunky RGB (planar, floating point, 16 bit, both kinds of alpha), and some
return another picture without a word. So no more than the unpacking of bytes is left to a codec.

Reference:
    TIFF, Revision 6.0, Adobe 1992; TIFF Technical Note 3 (floating-point predictor), Adobe 2005.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.io import exif, iptc
from restorekit.io.color_profile import cmyk_to_srgb
from restorekit.io.faults import Refusal
from restorekit.io.ifd import Ifd, TaggedFile
from restorekit.io.limits import Limits, check_size
from restorekit.io.picture import Encoding, ImageData, Metadata
from restorekit.io.pil_bridge import planes
from restorekit.io.tiff_segments import Grid, segments, unpack, unpack_fax, unpack_jpeg, unpack_pictures

__all__ = ["page_offsets", "read_page"]

_BYTES = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits", 34925: "LZMA", 50000: "ZSTD"}
_PREDICTED = (5, 8, 32946, 34925, 50000)  # other codecs know no predictor, whatever the directory says
_FAX, _JPEG = (2, 3, 4), 7
_YCBCR = 6
_ASSOCIATED, _UNASSOCIATED = 1, 2
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}
_KINDS = {4: "transparency mask", 8: "L*a*b*", 9: "L*a*b*", 10: "L*a*b*", 32803: "camera raw", 32844: "LogLuv"}
_BLOCKS = frozenset({700, 33723, 34377, 34675})
_CODEC_TAGS = (256, 257, 258, 259, 262, 266, 277, 278, 284, 292, 293, 320, 322, 323, 339, 347, 530, 531, 532)


@dataclass(frozen=True)
class _Page:
    """What the directory of a page says about its pixels."""

    width: int
    height: int
    bits: int
    samples: int
    kind: int
    photometric: int
    compression: int
    predictor: int
    planar: bool
    tile: tuple[int, int] | None
    rows: int
    extra: tuple[int, ...]

    @property
    def colours(self) -> int:
        return _COLOURS[self.photometric]

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the stored area: the tiles' if there are some, else the picture's."""
        if self.tile is None:
            return self.height, self.width
        return -(-self.height // self.tile[0]) * self.tile[0], -(-self.width // self.tile[1]) * self.tile[1]


def page_offsets(data: memoryview, limits: Limits) -> tuple[TaggedFile, list[int], tuple[str, ...]]:
    """Return the file, where its pages lie, and notes on what is no page (reduced copies, masks).

    Args:
        data: The file.
        limits: What is refused.

    Raises:
        Refusal: The file is damaged or holds too many pages.
    """
    file = TaggedFile(data)
    chain = file.offsets(limits.pages)
    pages = [offset for offset in chain if not _subfile(file, offset) & 0b101]
    if not pages:
        raise Refusal("the TIFF holds no picture; the file is damaged")
    left_out = len(chain) - len(pages)
    notes = (f"{left_out} reduced copies or masks beside the picture were left out",) if left_out else ()
    return file, pages, notes


def _subfile(file: TaggedFile, offset: int) -> int:
    value = file.find(offset, 254)
    return next(iter(value.integers(1)), 0) if value else 0


def read_page(file: TaggedFile, offset: int, limits: Limits) -> ImageData:
    """Read a page, as stored (the caller applies the orientation).

    Args:
        file: The open file.
        offset: Where the directory of the page lies.
        limits: What is refused.

    Returns:
        uint8 for 1 to 8 bits (scaled), uint16, or float32; grey, RGB, alpha not multiplied into the colours.

    Raises:
        Refusal: The page is damaged, cut off, too large, or of a kind that is not supported.
    """
    directory = file.read(offset, exif.POINTERS)
    page = _describe(directory, limits)
    metadata, notes = _metadata(directory, limits)
    encoding = Encoding(bits=page.bits)
    blank = ImageData(
        pixels=np.zeros((1, 1), np.uint8), format="tiff", metadata=metadata, encoding=encoding, notes=notes
    )
    if page.photometric == _YCBCR and page.compression != _JPEG:
        return _through_codec(file, directory, page, blank)
    values = _values(file, directory, page, limits)
    return _arrange(values, page, directory, blank)


def _describe(directory: Ifd, limits: Limits) -> _Page:
    photometric = directory.integer(262, 1)
    if photometric in _KINDS or photometric not in _COLOURS:
        kind = _KINDS.get(photometric, f"photometric interpretation {photometric}")
        raise Refusal(f"the pixels of the TIFF are {kind}, which is not supported here; convert it to RGB first")
    samples = directory.integer(277, 1)
    bits = set(directory.integers(258, (1,)))
    formats = set(directory.integers(339, (1,)))
    width, height = directory.integer(256, 0), directory.integer(257, 0)
    if not 1 <= samples <= 16 or samples < (3 if photometric == 6 else _COLOURS[photometric]):
        raise Refusal(f"the TIFF says {samples} samples a pixel, which do not make a picture; the file is damaged")
    if len(bits) != 1 or len(formats) != 1:
        raise Refusal("the channels of the TIFF differ in depth, which is not supported; convert it first")
    check_size(width, height, limits)
    tile = (directory.integer(323, 0), directory.integer(322, 0)) if 322 in directory.tags else None
    if tile is not None and (min(tile) < 1 or max(tile) > 2 * max(width, height, 16384) or tile[1] % 8):
        raise Refusal("the TIFF's tile size is damaged")
    compression = directory.integer(259, 1)
    page = _Page(
        width=width,
        height=height,
        bits=bits.pop(),
        samples=samples,
        kind=formats.pop(),
        photometric=photometric,
        compression=compression,
        predictor=directory.integer(317, 1) if compression in _PREDICTED else 1,
        planar=directory.integer(284, 1) == 2 and samples > 1,
        tile=tile,
        rows=min(directory.integer(278, height), height) or height,
        extra=directory.integers(338),
    )
    _check_supported(page, limits)
    return page


def _check_supported(page: _Page, limits: Limits) -> None:
    if page.compression not in (*_BYTES, *_FAX, _JPEG):
        raise Refusal(
            f"the TIFF is compressed by a method that is not supported (number {page.compression}); "
            "save it with LZW or deflate"
        )
    if page.kind == 2:
        raise Refusal(f"the TIFF holds signed {page.bits}-bit values, which is not supported; convert it to unsigned")
    known = (page.kind in (1, 4) and page.bits in (1, 2, 4, 8, 16)) or (page.kind == 3 and page.bits in (16, 32, 64))
    if not known:
        kind = {3: "floating-point ", 5: "complex ", 6: "complex "}.get(page.kind, "")
        raise Refusal(f"the TIFF holds {page.bits}-bit {kind}values, which is not supported; convert it to 16 bits")
    if page.photometric in (3, 5) and page.bits > 8 and not (page.photometric == 3 and page.bits == 16):
        raise Refusal(f"a {page.bits}-bit TIFF of this colour space is not supported; convert it to RGB first")
    if (page.compression == _JPEG and (page.bits != 8 or (page.photometric == _YCBCR and page.planar))) or (
        page.compression in _FAX and (page.bits, page.photometric > 1) != (1, False)
    ):
        raise Refusal("a fax or JPEG TIFF of this kind is not supported; save it with LZW or deflate")
    if page.bits < 8 and page.predictor != 1:
        raise Refusal(f"the TIFF uses predictor {page.predictor} on {page.bits} bits, which is not supported")
    height, width = page.grid
    check_size(width, height, limits)


def _grid(page: _Page, row: int, tile_row: int) -> Grid:
    """Return how a plane is cut, whose rows and whose tiles' rows have so many bytes or pixels."""
    height, _ = page.grid
    if page.tile is None:
        return Grid(height, row, page.rows, row, tiled=False)
    return Grid(height, row, page.tile[0], tile_row, tiled=True)


def _through_codec(file: TaggedFile, directory: Ifd, page: _Page, blank: ImageData) -> ImageData:
    """Read a page of YCbCr values, of which libtiff makes RGB."""
    if page.bits != 8 or page.planar or page.compression in _FAX:
        raise Refusal("a YCbCr TIFF of this kind is not supported; save it as RGB with LZW or deflate")
    grid = _grid(page, page.grid[1], 0 if page.tile is None else page.tile[1])
    parts = segments(file, directory, grid, plane=0, planes=1)
    bands = unpack_pictures(parts, grid, directory, _CODEC_TAGS)
    pixels = np.concatenate([planes(band.convert("RGB"))[0] for band in bands])[: page.height, : page.width]
    return replace(blank, pixels=np.ascontiguousarray(pixels))


def _values(file: TaggedFile, directory: Ifd, page: _Page, limits: Limits) -> NDArray[Any]:
    """Return the stored samples, ``(H, W, samples)``."""
    if page.planar:
        each = [_plane(file, directory, page, limits, index, 1) for index in range(page.samples)]
        return np.concatenate(each, 2)
    return _plane(file, directory, page, limits, 0, page.samples)


def _plane(file: TaggedFile, directory: Ifd, page: _Page, limits: Limits, index: int, samples: int) -> NDArray[Any]:
    height, width = page.grid
    planes_ = page.samples if page.planar else 1
    values: NDArray[Any]
    if page.compression in (*_FAX, _JPEG):
        grid = _grid(page, width, 0 if page.tile is None else page.tile[1])
        values = _coded(segments(file, directory, grid, plane=index, planes=planes_), grid, directory, page, limits)
    else:
        tile_width = 0 if page.tile is None else page.tile[1]
        grid = _grid(page, *((side * samples * page.bits + 7) // 8 for side in (width, tile_width)))
        parts = segments(file, directory, grid, plane=index, planes=planes_)
        rows = unpack(parts, grid, compression=page.compression, fill_order=directory.integer(266, 1))
        if page.bits < 8:
            values = _unpack(rows, page.bits)[:, : width * samples]
        else:
            values = _without_predictor(rows, page, file.order, samples)
    return values.reshape(height, width, samples)[: page.height, : page.width]


def _coded(parts: list[memoryview], grid: Grid, directory: Ifd, page: _Page, limits: Limits) -> NDArray[np.uint8]:
    """Return the pixels of a plane whose codec knows of pixels."""
    if page.compression == _JPEG:
        tables = directory.tags[347].data if 347 in directory.tags else b""
        samples = 1 if page.planar else page.samples
        coded = page.photometric == _YCBCR
        return unpack_jpeg(parts, grid, limits, samples=samples, tables=tables, coded_colour=coded)
    options = directory.integer(292 if page.compression == 3 else 293, 0)
    order = directory.integer(266, 1)
    return unpack_fax(parts, grid, compression=page.compression, fill_order=order, options=options)


def _unpack(rows: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Return the values of 1, 2 or 4 bits that are packed into bytes, highest first."""
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    values = rows[:, :, None] >> shifts & np.uint8(2**bits - 1)
    return values.reshape(rows.shape[0], -1)


def _without_predictor(rows: NDArray[np.uint8], page: _Page, order: str, samples: int) -> NDArray[Any]:
    """Return values, ``(H, W * samples)``, in this machine's byte order, with differences summed up again."""
    kind = "f" if page.kind == 3 else "u"
    dtype = np.dtype(f"{order}{kind}{page.bits // 8}")
    native = dtype.newbyteorder("=")
    if page.predictor == 3 and kind == "f":
        return _floats(rows, page, samples).astype(native)
    values = rows.view(dtype).astype(native, copy=False)
    if page.predictor == 2:
        width = page.grid[1] if page.tile is None else page.tile[1]
        whole = values.view(f"u{page.bits // 8}").reshape(values.shape[0], -1, width, samples)
        np.cumsum(whole, axis=2, dtype=whole.dtype, out=whole)
    elif page.predictor != 1:
        raise Refusal(f"the TIFF uses predictor {page.predictor}, which is not supported")
    return values


def _floats(rows: NDArray[np.uint8], page: _Page, samples: int) -> NDArray[Any]:
    """Undo the floating-point predictor: bytes summed up along the row, then taken from their planes."""
    width = page.grid[1] if page.tile is None else page.tile[1]
    size = page.bits // 8
    parts = rows.reshape(rows.shape[0], -1, width * samples * size).copy()
    by_sample = parts.reshape(*parts.shape[:2], width * size, samples)
    np.cumsum(by_sample, axis=2, dtype=np.uint8, out=by_sample)
    split = parts.reshape(*parts.shape[:2], size, width * samples).swapaxes(2, 3)
    return np.ascontiguousarray(split).view(f">f{size}").reshape(rows.shape[0], -1)


def _arrange(values: NDArray[Any], page: _Page, directory: Ifd, blank: ImageData) -> ImageData:
    """Make grey or RGB with alpha out of the stored samples."""
    notes = list(blank.notes)
    if page.kind == 3:
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number stays none, and is refused later
            values = values.astype(np.float32)
    elif page.bits < 8 and page.photometric != 3:
        values = values * np.uint8(255 // (2**page.bits - 1))
    colours, rest = values[:, :, : page.colours], values[:, :, page.colours :]
    if page.photometric == 3:
        return replace(blank, pixels=_palette(colours[:, :, 0], directory, page.bits))
    if page.photometric == 5:
        from PIL import Image

        return cmyk_to_srgb(Image.fromarray(np.ascontiguousarray(colours), "CMYK"), blank)
    if page.photometric == 0:
        colours = 1 - colours if page.kind == 3 else np.iinfo(colours.dtype).max - colours
    alpha, others = _alpha(rest, page)
    if others:
        notes.append(f"{others} further channels beside colour and alpha were left out")
    pixels = colours[:, :, 0] if page.colours == 1 else colours
    if alpha is not None and page.extra[0] == _ASSOCIATED:
        pixels = _divide(pixels, alpha)
    if alpha is not None:
        alpha = np.ascontiguousarray(alpha)
    return replace(blank, pixels=np.ascontiguousarray(pixels), alpha=alpha, notes=tuple(notes))


def _alpha(rest: NDArray[Any], page: _Page) -> tuple[NDArray[Any] | None, int]:
    """Return the alpha channel, if there is one, and how many further channels there are."""
    count = rest.shape[2]
    if count and page.extra and page.extra[0] in (_ASSOCIATED, _UNASSOCIATED):
        return rest[:, :, 0], count - 1
    return None, count


def _divide(pixels: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Return colours that had been multiplied by alpha as they were before."""
    share = alpha.astype(np.float64) / (1.0 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max)
    share = np.where(share > 0, share, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        whole = pixels / (share if pixels.ndim == 2 else share[:, :, None])
    if pixels.dtype.kind == "f":
        return whole.astype(pixels.dtype)
    return np.rint(whole).clip(0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)


def _palette(indices: NDArray[Any], directory: Ifd, bits: int) -> NDArray[np.uint8]:
    table = directory.integers(320)
    if len(table) < 3 * 2**bits:
        raise Refusal("the TIFF has no palette, which its pixels point into; the file is damaged")
    colours = np.array(table[: 3 * 2**bits], np.uint32).reshape(3, -1).T
    # some writers scale to 16 bits by 257, some by 256, which comes to the same here, and some leave 8 bits
    scale = 1 if colours.max(initial=0) < 256 else 256
    scaled: NDArray[np.uint8] = (colours // scale).astype(np.uint8)[indices]
    return scaled


def _metadata(directory: Ifd, limits: Limits) -> tuple[Metadata, tuple[str, ...]]:
    blocks = {tag: directory.tags[tag].data for tag in _BLOCKS if tag in directory.tags}
    kept = {tag: value for tag, value in directory.tags.items() if tag not in exif.STRUCTURE}
    notes: tuple[str, ...] = ()
    if 37724 in directory.tags:
        notes = ("the file holds Photoshop layers; only the flattened picture was read",)
    if any(len(data) > limits.metadata_bytes for data in blocks.values()):
        raise Refusal("a metadata block of the TIFF is larger than the limit")
    resources = iptc.without_thumbnail(blocks.get(34377, b""))
    if iptc.iim(resources) is None and 33723 in blocks:
        resources = (resources or b"") + iptc.from_iim(blocks[33723])
    metadata = Metadata(
        icc=blocks.get(34675) or None,
        exif=exif.build(Ifd(kept, directory.children)),
        xmp=blocks.get(700) or None,
        photoshop=resources,
        dpi=exif.resolution(directory),
    )
    return metadata, notes
