"""AVIF files, which Pillow decodes where it was built with that codec, and HEIC files, which need an extra.

Reference:
    ISO/IEC 23008-12 (HEIF), boxes ispe and pixi; AV1 Image File Format 1.1.
"""

from __future__ import annotations

import importlib
import re
import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.errors import MissingExtraError
from restorekit.io import exif
from restorekit.io.color_profile import coded_profile
from restorekit.io.faults import Refusal, sentence
from restorekit.io.limits import Limits, check_size
from restorekit.io.picture import Encoding, ImageData, Metadata
from restorekit.io.pil_bridge import planes

__all__ = ["largest_size", "read_avif", "read_heic"]

_HEAD = 2**20  # bytes that the boxes before the pixels have at most
_SIZE_BOX = re.compile(rb"ispe\x00\x00\x00\x00(.{8})", re.DOTALL)
_DEPTH_BOX = re.compile(rb"pixi\x00\x00\x00\x00(.)(.)", re.DOTALL)
_COLOR_BOX = re.compile(rb"colrnclx(.{6})", re.DOTALL)
_HIGH_RANGE = (16, 18)  # curves that no ICC profile of curves holds
_SAMPLING = {420: "4:2:0", 422: "4:2:2", 444: "4:4:4"}


@dataclass(frozen=True)
class _Boxes:
    """What the boxes before the pixels say.

    Attributes:
        bits: Bits per channel.
        size: Width and height of the largest picture.
        grey: Whether all pictures have one channel (alpha is a picture of its own).
        coded: Code points of the colours: primaries and curve, or None.
    """

    bits: int
    size: tuple[int, int]
    grey: bool
    coded: tuple[int, int] | None


def largest_size(head: bytes) -> tuple[int, int]:
    """Return width and height, as stored, of the largest picture that the first boxes of a file name; else zeros."""
    return max(_sizes(head), key=lambda size: size[0] * size[1], default=(0, 0))


def _sizes(head: bytes) -> list[tuple[int, int]]:
    return [struct.unpack(">II", match.group(1)) for match in _SIZE_BOX.finditer(head)]


def _check_boxes(data: memoryview, limits: Limits) -> _Boxes:
    """Refuse sizes above the limits by what the boxes say."""
    head = bytes(data[:_HEAD])
    for width, height in _sizes(head):
        check_size(width, height, limits)
    depths = _DEPTH_BOX.findall(head)
    colors = _COLOR_BOX.search(head)
    return _Boxes(
        bits=depths[0][1][0] if depths else 8,
        size=largest_size(head),
        grey=bool(depths) and all(channels == b"\x01" for channels, _ in depths),
        coded=None if colors is None else struct.unpack(">HH", colors.group(1)[:4]),
    )


def read_avif(data: memoryview, limits: Limits) -> ImageData:
    """Read an AVIF, upright.

    Args:
        data: The file.
        limits: What is refused.

    Returns:
        uint8, grey or RGB, with or without alpha; a note says so if the file has more bits.

    Raises:
        Refusal: The file is damaged, animated or too large, or the codec is absent.
    """
    boxes = _check_boxes(data, limits)
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
    except (OSError, RuntimeError, SyntaxError, ValueError) as error:
        kind = f"{boxes.bits}-bit AVIF of {boxes.size[0]} x {boxes.size[1]} pixels"
        raise Refusal(
            f"the {kind} cannot be decoded ({sentence(error)}); it is damaged, or too much for the codec"
        ) from error
    pixels, alpha = planes(image)
    notes = (f"the {boxes.bits} bits of the AVIF were reduced to 8",) if boxes.bits > 8 else ()
    # the decoder makes an EXIF orientation of the turn that the container states, so that one rule does for both
    return _assemble(pixels, alpha, dict(image.info), boxes, Encoding(bits=boxes.bits), "avif", notes)


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
    boxes = _check_boxes(data, limits)
    try:
        codec = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise Refusal(str(MissingExtraError("a HEIC file", "heic"))) from error
    try:
        file = codec.open_heif(BytesIO(bytes(data)), convert_hdr_to_8bit=False)
        values, bits = np.asarray(file), int(file.info["bit_depth"])
    except IndexError as error:  # what the codec makes of a file without a picture
        raise Refusal("the HEIC holds no picture; it is damaged") from error
    except (EOFError, OSError, RuntimeError, SyntaxError, ValueError) as error:
        raise Refusal(f"the HEIC cannot be decoded ({sentence(error)}); it is damaged, or of an odd kind") from error
    if values.dtype == np.uint16:
        values = _spread(values, bits)
    layers = values if values.ndim == 3 else values[:, :, None]
    colours = layers[:, :, :3] if layers.shape[2] > 2 else layers[:, :, 0]
    alpha = np.ascontiguousarray(layers[:, :, -1]) if layers.shape[2] in (2, 4) else None
    if alpha is not None and getattr(file, "premultiplied_alpha", False):
        colours = _divide(colours, alpha)
    info = dict(file.info)
    if info.get("exif"):
        # the turn that the container states has been applied; the tag only repeats it
        block = info["exif"].removeprefix(b"Exif\x00\x00")
        info["exif"] = exif.settle(block, width=colours.shape[1], height=colours.shape[0])
    notes = (f"{len(file) - 1} further pictures in the file were left out",) if len(file) > 1 else ()
    encoding = Encoding(bits=bits, subsampling=_SAMPLING.get(info.get("chroma", 0)))
    return _assemble(np.ascontiguousarray(colours), alpha, info, boxes, encoding, "heic", notes)


def _spread(values: NDArray[Any], bits: int) -> NDArray[np.uint16]:
    """Return values that stand in the upper bits of 16 spread over the whole range."""
    top = 2**bits - 1
    spread: NDArray[np.uint16] = ((values >> (16 - bits)).astype(np.uint32) * 65535 // top).astype(np.uint16)
    return spread


def _divide(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Return colours that alpha was multiplied into without it."""
    top = np.iinfo(colours.dtype).max
    share = alpha.astype(np.float32)[..., None] if colours.ndim == 3 else alpha.astype(np.float32)
    divided: NDArray[Any] = np.rint(colours * (top / np.maximum(share, 1))).clip(0, top).astype(colours.dtype)
    return divided


def _assemble(
    pixels: NDArray[Any],
    alpha: NDArray[Any] | None,
    info: dict[Any, Any],
    boxes: _Boxes,
    encoding: Encoding,
    kind: str,
    notes: tuple[str, ...],
) -> ImageData:
    if boxes.grey and pixels.ndim == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = np.ascontiguousarray(pixels[:, :, 0])  # the decoders make RGB of grey that has alpha
    block = (info.get("exif") or b"").removeprefix(b"Exif\x00\x00") or None
    icc: bytes | None = info.get("icc_profile") or None
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    if icc is None and boxes.coded is not None and pixels.ndim == 3:
        icc = coded_profile(*boxes.coded)
        if icc is None and boxes.coded[1] in _HIGH_RANGE and boxes.coded[0] < 256:
            chunks = ((b"cICP", bytes([*boxes.coded, 0, 1])),)
            notes += (f"the colours are coded for high dynamic range (H.273, {boxes.coded}) and taken as they are",)
    metadata = Metadata(icc=icc, exif=block, xmp=info.get("xmp") or None, dpi=exif.dpi(block), png_chunks=chunks)
    return ImageData(pixels=pixels, alpha=alpha, format=kind, metadata=metadata, encoding=encoding, notes=notes)
