"""AVIF files, which Pillow decodes where it was built with that codec, and HEIC files, which need an extra.

Reference:
    ISO/IEC 23008-12 (HEIF), boxes ispe and pixi; AV1 Image File Format 1.1.
"""

from __future__ import annotations

import importlib
import re
import struct
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.errors import MissingExtraError
from restorekit.io import exif
from restorekit.io.faults import Refusal
from restorekit.io.limits import Limits, check_size
from restorekit.io.picture import Encoding, ImageData, Metadata
from restorekit.io.pil_bridge import planes

__all__ = ["read_avif", "read_heic"]

_HEAD = 2**20  # bytes that the boxes before the pixels have at most
_SIZE_BOX = re.compile(rb"ispe\x00\x00\x00\x00(.{8})", re.DOTALL)
_DEPTH_BOX = re.compile(rb"pixi\x00\x00\x00\x00.(.)", re.DOTALL)


def _check_boxes(data: memoryview, limits: Limits) -> tuple[int, tuple[int, int]]:
    """Refuse sizes above the limits by what the boxes say; return the bits per channel and the largest size."""
    head = bytes(data[:_HEAD])
    largest = (0, 0)
    for match in _SIZE_BOX.finditer(head):
        width, height = struct.unpack(">II", match.group(1))
        check_size(width, height, limits)
        largest = max(largest, (width, height))
    depth = _DEPTH_BOX.search(head)
    return (depth.group(1)[0] if depth else 8), largest


def read_avif(data: memoryview, limits: Limits) -> ImageData:
    """Read an AVIF, upright.

    Args:
        data: The file.
        limits: What is refused.

    Returns:
        uint8, RGB with or without alpha; a note says so if the file has more bits.

    Raises:
        Refusal: The file is damaged, animated or too large, or the codec is absent.
    """
    bits, (width, height) = _check_boxes(data, limits)
    try:
        from PIL import AvifImagePlugin
    except ImportError as error:  # Pillow before 11.3
        raise Refusal("this Pillow reads no AVIF; update it with: pip install -U pillow") from error
    if not AvifImagePlugin.SUPPORTED:
        raise Refusal("this Pillow was built without the AVIF codec; convert the file to PNG")
    try:
        image = AvifImagePlugin.AvifImageFile(BytesIO(bytes(data)))
        if getattr(image, "n_frames", 1) > 1:
            raise Refusal("this is an animation, of which no single frame is the picture")
        image.load()
    except (SyntaxError, ValueError) as error:
        kind = f"{bits}-bit AVIF of {width} x {height} pixels"
        raise Refusal(f"the {kind} cannot be decoded ({error}); it is damaged, or too much for the codec") from error
    pixels, alpha = planes(image)
    notes = (f"the {bits} bits of the AVIF were reduced to 8",) if bits > 8 else ()
    # the decoder makes an EXIF orientation of the turn that the container states, so that one rule does for both
    return _assemble(pixels, alpha, dict(image.info), "avif", notes)


def read_heic(data: memoryview, limits: Limits) -> ImageData:
    """Read a HEIC, upright.

    Args:
        data: The file.
        limits: What is refused.

    Returns:
        uint8, or uint16 where the file has more bits; grey or RGB, with or without alpha.

    Raises:
        Refusal: The file is damaged or too large, or the codec is not installed.
    """
    _check_boxes(data, limits)
    try:
        codec = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise Refusal(str(MissingExtraError("a HEIC file", "heic"))) from error
    file = codec.open_heif(BytesIO(bytes(data)), convert_hdr_to_8bit=False)
    values = np.asarray(file)
    if values.dtype == np.uint16:
        values = _spread(values, int(file.info["bit_depth"]))
    layers = values if values.ndim == 3 else values[:, :, None]
    transparent = layers.shape[2] in (2, 4)
    colours = layers[:, :, :3] if layers.shape[2] > 2 else layers[:, :, 0]
    alpha = np.ascontiguousarray(layers[:, :, -1]) if transparent else None
    info = dict(file.info)
    if info.get("exif"):
        # the turn that the container states has been applied; the tag only repeats it
        block = info["exif"].removeprefix(b"Exif\x00\x00")
        info["exif"] = exif.settle(block, width=colours.shape[1], height=colours.shape[0])
    notes = (f"{len(file) - 1} further pictures in the file were left out",) if len(file) > 1 else ()
    return _assemble(np.ascontiguousarray(colours), alpha, info, "heic", notes)


def _spread(values: NDArray[Any], bits: int) -> NDArray[np.uint16]:
    """Return values that stand in the upper bits of 16 spread over the whole range."""
    top = 2**bits - 1
    spread: NDArray[np.uint16] = ((values >> (16 - bits)).astype(np.uint32) * 65535 // top).astype(np.uint16)
    return spread


def _assemble(
    pixels: NDArray[Any], alpha: NDArray[Any] | None, info: dict[Any, Any], kind: str, notes: tuple[str, ...]
) -> ImageData:
    block = (info.get("exif") or b"").removeprefix(b"Exif\x00\x00") or None
    metadata = Metadata(
        icc=info.get("icc_profile") or None, exif=block, xmp=info.get("xmp") or None, dpi=exif.dpi(block)
    )
    bits = 8 if pixels.dtype == np.uint8 else 16
    return ImageData(
        pixels=pixels, alpha=alpha, format=kind, metadata=metadata, encoding=Encoding(bits=bits), notes=notes
    )
