"""Writing AVIF files by Pillow, where it was built with the codec, and HEIC files by the extra that reads them.

Reference:
    ISO/IEC 23008-12 (HEIF); AV1 Image File Format 1.1; ITU-T H.273 (code points); ITU-T H.265, annex A (levels).
"""

from __future__ import annotations

import importlib
import logging
import struct
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from restorekit.errors import MissingExtraError
from restorekit.io import exif
from restorekit.io.faults import Refusal
from restorekit.io.ifd import TaggedFile
from restorekit.io.picture import ImageData

__all__ = ["DEFAULT_QUALITY", "write_avif", "write_heic"]

DEFAULT_QUALITY = 95

_FULL_COLOUR = 90  # from this quality on, colour is not subsampled
_LONGEST_SIDE = 65535
_MOST_AT_ONCE = 2**25  # pixels of one HEVC picture; more are beyond its highest level, and are cut into tiles
_TILE = 1024
_ROWS = 256  # rows that are put together at a time
_LOSSLESS = -1
_UNSPECIFIED, _BT601 = 2, 6  # of H.273; the profile says the rest

logger = logging.getLogger(__name__)


def write_avif(image: ImageData, out: BinaryIO, *, quality: int | None) -> None:
    """Write a picture of 8 bits.

    Args:
        image: uint8, grey or RGB, with or without alpha, which loses nothing.
        out: Where to.
        quality: 1 to 100; 95 if None. From 90 on colour has full resolution, below that half (4:2:0).

    Raises:
        Refusal: The picture is larger than an AVIF can be, or the codec is not installed.
    """
    from PIL import Image

    _check_size(image, "an AVIF")
    codec = _avif_encoder()
    chosen = quality or DEFAULT_QUALITY
    layers = _layers(image, 8)
    if image.grey and image.alpha is not None:
        layers = layers[:, :, [0, 0, 0, 1]]  # the encoder takes no LA; without colour it keeps the first channel
    sampling = "4:0:0" if image.grey else "4:4:4" if chosen >= _FULL_COLOUR else "4:2:0"
    coded = BytesIO()
    Image.fromarray(layers).save(
        coded,
        "AVIF",
        quality=chosen,
        subsampling=sampling,
        codec=codec,
        advanced={"alpha:lossless": "1"} if codec == "aom" and image.alpha is not None else None,
        icc_profile=image.metadata.icc or b"",
        exif=_without_orientation(_block(image, "AVIF") or b""),
        xmp=image.metadata.xmp or b"",
    )
    out.write(coded.getbuffer())


def write_heic(image: ImageData, out: BinaryIO, *, quality: int | None) -> None:
    """Write a picture of 8 bits, or of 12 (10 where it came from a HEIC of 10).

    Args:
        image: uint8 or uint16, grey or RGB, with or without alpha.
        out: Where to.
        quality: 1 to 100. If None: 95, or without loss where there is alpha, which the codec does not code apart. From
            90 on colour has full resolution; below that, the resolution of the HEIC it came from, or else half (4:2:0).

    Raises:
        Refusal: The picture is larger than a HEIC can be, or the codec is not installed.
    """
    _check_size(image, "a HEIC")
    try:
        codec = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise Refusal(str(MissingExtraError("a HEIC file", "heic"))) from error
    if not codec.libheif_info()["HEIF"]:
        raise Refusal("this pillow-heif was built without an encoder; choose another format with --format")
    chosen = quality or DEFAULT_QUALITY
    kept = image.encoding.subsampling if image.format == "heic" else None
    sampling = "4:4:4" if chosen >= _FULL_COLOUR else kept or "4:2:0"
    if quality is not None and image.alpha is not None:
        logger.warning("HEIC codes alpha with the same loss as the colours; without --quality nothing of it is lost")
    bits = 8 if image.bits == 8 else _depth(image)
    layers = _layers(image, bits)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[1 if layers.ndim == 2 else layers.shape[2]]
    file = codec.from_bytes(
        mode=mode if bits == 8 else f"{mode};16", size=(image.width, image.height), data=layers.tobytes()
    )
    file.save(
        out,
        quality=_LOSSLESS if quality is None and image.alpha is not None else chosen,
        bit_depth=bits,
        subsampling=sampling,
        enc_params={"preset": "medium"},  # measured: the default takes twice the time for the same size and error
        icc_profile=image.metadata.icc,
        exif=_block(image, "HEIC"),
        xmp=image.metadata.xmp,
        tile_size=_TILE if image.height * image.width > _MOST_AT_ONCE else 0,
        **_code_points(image),
    )


def _check_size(image: ImageData, kind: str) -> None:
    if max(image.height, image.width) > _LONGEST_SIDE:
        raise Refusal(
            f"{kind} has at most {_LONGEST_SIDE} pixels a side, and the picture has {image.width} x {image.height}; "
            "choose another format with --format"
        )


def _avif_encoder() -> str:
    """Return the name of an encoder that is there; the first one can code alpha without loss."""
    try:
        from PIL import _avif
    except ImportError as error:
        raise Refusal("this Pillow writes no AVIF; update it with: pip install -U pillow") from error
    found = next((name for name in ("aom", "rav1e", "svt") if _avif.encoder_codec_available(name)), None)
    if found is None:
        raise Refusal("this Pillow was built without an encoder for AVIF; choose another format with --format")
    return found


def _depth(image: ImageData) -> int:
    """Return how many of 16 bits are kept, and say so where some are not."""
    if image.format == "heic" and image.encoding.bits in (10, 12):
        return image.encoding.bits
    logger.warning("the 16 bits were reduced to 12, all that HEIC holds")
    return 12


def _layers(image: ImageData, bits: int) -> NDArray[Any]:
    """Return colours and alpha as one array, ``(H, W)`` or ``(H, W, C)``; 10 or 12 bits in the upper ones of 16."""
    if image.alpha is None and bits == 8:
        return np.ascontiguousarray(image.pixels)
    colours = image.pixels[:, :, None] if image.grey else image.pixels
    planes = [colours] if image.alpha is None else [colours, image.alpha[:, :, None]]
    layers = np.empty((image.height, image.width, sum(plane.shape[2] for plane in planes)), image.pixels.dtype)
    for top in range(0, image.height, _ROWS):
        rows = np.concatenate([plane[top : top + _ROWS] for plane in planes], 2)
        layers[top : top + _ROWS] = rows if bits == 8 else _rounded(rows, bits)
    return layers[:, :, 0] if layers.shape[2] == 1 else layers


def _rounded(values: NDArray[Any], bits: int) -> NDArray[Any]:
    top = 2**bits - 1
    codes: NDArray[Any] = ((values.astype(np.uint32) * top + 32767) // 65535).astype(np.uint16)
    return codes << (16 - bits)


def _code_points(image: ImageData) -> dict[str, int]:
    """Return what the file says of its colours beside a profile, in the codec's words."""
    coded = dict(image.metadata.png_chunks).get(b"cICP", b"")
    if image.metadata.icc is None and len(coded) == 4 and not image.grey:
        primaries, curve = coded[0], coded[1]
    elif image.metadata.icc is None:
        return {}
    else:
        primaries, curve = _UNSPECIFIED, _UNSPECIFIED
    return {
        "color_primaries": primaries,
        "transfer_characteristics": curve,
        "matrix_coefficients": _BT601,
        "full_range_flag": 1,
    }


def _block(image: ImageData, kind: str) -> bytes | None:
    """Return the EXIF block, which is also where the resolution stands; None where there is none that can be read."""
    block, dpi = image.metadata.exif, image.metadata.dpi
    main = None if block is None else exif.directory(block)
    if main is not None and not main.tags and not main.children:
        logger.warning("the EXIF block is damaged, which %s files do not allow, so it was left out", kind)
        block = None
    return block if dpi is None else exif.with_dpi(block, dpi)


def _without_orientation(block: bytes) -> bytes:
    """Return an EXIF block without the tag of the orientation, whose values all stay where they are.

    Pillow would take the tag out by laying the block anew, which breaks maker notes; upright pixels need none.
    """
    try:
        file = TaggedFile(block)
        count, start, size = file.head(file.first)
    except Refusal:
        return block
    rows = [block[at : at + size] for at in range(start, start + count * size, size)]
    kept = [row for row in rows if struct.unpack_from(f"{file.order}H", row)[0] != exif.ORIENTATION]
    following = start + count * size
    head = block[: start - 2] + struct.pack(f"{file.order}H", len(kept)) + b"".join(kept)
    return head + block[following : following + 4] + bytes(size * (count - len(kept))) + block[following + 4 :]
