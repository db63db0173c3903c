"""Camera raw files, developed by LibRaw (an extra)."""

from __future__ import annotations

import importlib
from io import BytesIO

import numpy as np

from restorekit.errors import MissingExtraError
from restorekit.io import exif
from restorekit.io.faults import Refusal
from restorekit.io.ifd import Ifd, TaggedFile
from restorekit.io.limits import Limits, check_size
from restorekit.io.picture import Encoding, ImageData, Metadata

__all__ = ["read_raw"]


def read_raw(data: memoryview, limits: Limits) -> ImageData:
    """Develop a camera raw file: white balance of the camera, sRGB, upright.

    Args:
        data: The file.
        limits: What is refused.

    Returns:
        uint16 RGB; a note says how it was developed.

    Raises:
        Refusal: The file is damaged, too large or of an unknown camera, or LibRaw is not installed.
    """
    try:
        rawpy = importlib.import_module("rawpy")
    except ImportError as error:
        raise Refusal(str(MissingExtraError("a camera raw file", "raw"))) from error
    try:
        with rawpy.imread(BytesIO(bytes(data))) as raw:
            check_size(raw.sizes.width, raw.sizes.height, limits)
            pixels = raw.postprocess(output_bps=16, use_camera_wb=True, output_color=rawpy.ColorSpace.sRGB)
    except rawpy.LibRawError as error:
        text = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise Refusal(f"the camera raw file cannot be developed ({text}); it is damaged or of a new kind") from error
    metadata = Metadata(exif=_description(data, pixels.shape[1], pixels.shape[0]))
    return ImageData(
        pixels=np.ascontiguousarray(pixels),
        format="raw",
        metadata=metadata,
        encoding=Encoding(bits=16),
        notes=("the camera raw file was developed to sRGB with the white balance of the camera",),
    )


def _description(data: memoryview, width: int, height: int) -> bytes | None:
    """Return the EXIF block of a raw file that is built like a TIFF, or None."""
    try:
        file = TaggedFile(data)
        main = file.read(file.first, exif.POINTERS)
    except Refusal:
        return None
    # what stands above 50000 tells a developer about the sensor
    tags = {tag: value for tag, value in main.tags.items() if tag not in exif.STRUCTURE and tag < 50000}
    block = exif.build(Ifd(tags, main.children))
    return None if block is None else exif.settle(block, width=width, height=height)
