"""What a picture file is in memory: its pixels, and what must survive when they change."""

from __future__ import annotations

from dataclasses import dataclass, field
from dataclasses import replace as _replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from restorekit.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Encoding", "ImageData", "Metadata"]

_DTYPES = {np.dtype("uint8"): 8, np.dtype("uint16"): 16, np.dtype("float32"): 32}


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a file holds besides its pixels.

    Attributes:
        icc: ICC profile of the pixels.
        exif: EXIF block as a little TIFF file of its own, without the ``Exif`` prefix. Its orientation is 1 (the
            pixels are upright already) and it holds no thumbnail.
        xmp: XMP packet.
        photoshop: Photoshop image resources, among them IPTC.
        dpi: Pixels per inch, horizontally and vertically.
        comment: Free text of a JPEG.
        png_chunks: PNG chunks (type and content) that stay true for other pixels: gAMA, cHRM, sRGB, cICP, texts.
        jpeg_segments: Further JPEG segments, marker included, that are kept as they are (extended XMP).
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    photoshop: bytes | None = None
    dpi: tuple[float, float] | None = None
    comment: bytes | None = None
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()
    jpeg_segments: tuple[bytes, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How the pixels were coded in the file that they came from; a writer of the same format goes on like that.

    Attributes:
        quality: Estimated JPEG quality, 1 to 100.
        subsampling: Chroma sampling of a JPEG: ``"4:4:4"``, ``"4:2:2"``, ``"4:2:0"``, or another as ``"h x v"``.
        progressive: Whether a JPEG is progressive.
        lossless: Whether a WebP is lossless.
        bits: Bits per channel in the file's header.
    """

    quality: int | None = None
    subsampling: str | None = None
    progressive: bool = False
    lossless: bool | None = None
    bits: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """A picture with all that a file of it should keep.

    Attributes:
        pixels: ``(H, W)`` grey or ``(H, W, 3)`` RGB, as coded in the file's own colour space: uint8, uint16, or
            float32 (nominally in [0, 1]). Upright: the file's orientation has been applied.
        alpha: ``(H, W)`` of the same dtype, not multiplied into the colours; ``None`` where the file has none.
        format: ``"png"``, ``"jpeg"``, ``"webp"``, ``"tiff"``, ``"bmp"``, or one that is only read (``"avif"``, ...).
        metadata: What else must survive.
        encoding: How the file was coded.
        notes: Sentences on what was converted or left out when the file was read.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None = None
    format: str = "png"
    metadata: Metadata = field(default_factory=Metadata)
    encoding: Encoding = field(default_factory=Encoding)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)) or 0 in shape:
            raise UsageError(f"pixels of ImageData are (H, W) or (H, W, 3), got {shape}; put a fourth channel in alpha")
        if dtype not in _DTYPES:
            raise UsageError(f"pixels of ImageData are uint8, uint16 or float32, got {dtype}; convert them first")
        if self.alpha is not None and (self.alpha.shape != shape[:2] or self.alpha.dtype != dtype):
            raise UsageError(
                f"alpha of ImageData has the size and dtype of its pixels, {shape[:2]} {dtype}, "
                f"got {self.alpha.shape} {self.alpha.dtype}; replace both together"
            )

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def bits(self) -> int:
        """Bits of one value: 8, 16 or 32 (floating point)."""
        return _DTYPES[self.pixels.dtype]

    @property
    def grey(self) -> bool:
        """Whether there is one colour channel."""
        return self.pixels.ndim == 2

    def replace(self, *, pixels: NDArray[Any], alpha: NDArray[Any] | None = None) -> ImageData:
        """Return the same picture with other pixels.

        Args:
            pixels: ``(H, W)`` or ``(H, W, 3)``.
            alpha: ``(H, W)``; if ``None``, the alpha there is stays.

        Raises:
            UsageError: The arrays do not make a picture, or the alpha there is does not fit the new pixels.
        """
        return _replace(self, pixels=pixels, alpha=self.alpha if alpha is None else alpha)

    def save(
        self,
        target: Path | str | BinaryIO,
        *,
        format: str | None = None,
        quality: int | None = None,
        background: tuple[int, int, int] = (255, 255, 255),
        overwrite: bool = True,
    ) -> None:
        """Write the picture to a file; see ``write_image``."""
        from restorekit.io.write import write_image

        write_image(self, target, format=format, quality=quality, background=background, overwrite=overwrite)

    def to_pil(self) -> Image:
        """Return a PIL image: L, RGB, LA, RGBA or I;16 with every value, else reduced to 8 bits (PIL has no more).

        The profile, the EXIF block and the resolution stand in its ``info``, where PIL's own writers find them.
        """
        from PIL import Image as pil  # noqa: N813

        from restorekit.io.depth import to_depth

        wide = self.bits == 16 and self.grey and self.alpha is None
        image = self if wide else to_depth(self, 8)
        planes = image.pixels
        if image.alpha is not None:
            planes = np.dstack([image.pixels, image.alpha])
        result = pil.fromarray(np.ascontiguousarray(planes))
        facts = {"icc_profile": self.metadata.icc, "exif": self.metadata.exif, "dpi": self.metadata.dpi}
        result.info.update({key: value for key, value in facts.items() if value is not None})
        return result
