"""The kinds of pictures that callers hand over: read tile by tile, written row by row, in their own type.

Nothing here ever holds a whole picture in float32: a picture of 100 megapixels in 8 bit stays in 8 bit. What the
network sees of it is made tile by tile: sRGB of the colours that its profile describes, and something better than the
black that editors leave under full transparency. What it answers goes the same way back.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from restorekit.errors import PictureError, UsageError
from restorekit.io import ImageData, Metadata, read_image
from restorekit.io.alpha import Underpaint
from restorekit.io.color_profile import WorkingSpace, cmyk_to_srgb, profile_space, working_space
from restorekit.io.icc import color_model
from restorekit.ops.tiles import Box

__all__ = ["THUMBNAIL", "Canvas", "Opened", "open_picture"]

THUMBNAIL = 512
"""Longest side, in pixels, of the reduced copy that a network describes a picture from."""

_CHUNK = 2**18  # pixels that are converted at a time while a picture is reduced
_FLOAT_RANGE = (-0.5, 1.5)  # what filters leave of [0, 1]; beyond it the picture is in another unit

_SCALES = {torch.uint8: 255, torch.uint16: 65535}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_PLAIN_MODES = ("L", "LA", "RGB", "RGBA", "I;16", "I;16L", "I;16B", "F")
_ARRAY_DTYPES = {np.dtype(name) for name in ("uint8", "uint16", "float16", "float32", "float64")}


_log = logging.getLogger(__name__)


class Canvas(ABC):
    """A picture that is being restored: read from the caller's pixels, written to a copy of a part of them.

    Grey is read as three equal channels and written as their mean. What is never written (alpha, what is fully
    transparent, and all that a mask spares) keeps its exact value.

    Args:
        size: Height and width of the picture.
        part: The part that the copy covers.
        space: The way between the picture's colours and sRGB; ``None`` where they are sRGB.
    """

    def __init__(self, size: tuple[int, int], part: Box, space: WorkingSpace | None = None) -> None:
        self.height, self.width = size
        self.part = part
        self._space = space
        self._under = Underpaint(*size, self._colours_and_alpha)

    @property
    @abstractmethod
    def store(self) -> torch.device:
        """Where the pixels lie."""

    @property
    @abstractmethod
    def pixel_bytes(self) -> int:
        """Bytes of a pixel, alpha included."""

    @abstractmethod
    def _take(self, box: Box) -> Tensor:
        """Return the colours of a box, ``(1 or 3, h, w)``, in the picture's dtype."""

    @abstractmethod
    def _take_alpha(self, box: Box) -> Tensor | None:
        """Return the alpha of a box, ``(h, w)``, in the picture's dtype; ``None`` where there is none."""

    @abstractmethod
    def _put(self, box: Box, colours: Tensor) -> None:
        """Write the colours of a box, ``(1 or 3, h, w)``, in the picture's dtype; the box counts from the part."""

    def read(self, box: Box) -> Tensor:
        """Return a box of the picture as ``(3, h, w)`` float32 in [0, 1], in sRGB."""
        pixels = self._shown(box)
        seen = _to_float(pixels) if self._space is None else _planes(self._space.to_srgb(_layers(pixels)))
        return seen.expand(3, -1, -1)

    def _shown(self, box: Box) -> Tensor:
        """Return the colours of a box in the picture's dtype, with those around it where it is fully transparent."""
        colours, alpha = self._take(box), self._take_alpha(box)
        if alpha is None or not _hidden(alpha).any():
            return colours
        filled = self._under.part(slice(box.top, box.bottom), slice(box.left, box.right))
        return torch.from_numpy(filled).permute(2, 0, 1).to(colours.device, colours.dtype)

    def _colours_and_alpha(self, rows: slice, columns: slice) -> tuple[NDArray[Any], NDArray[Any]]:
        box = Box(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
        alpha = self._take_alpha(box)
        assert alpha is not None
        return _numpy(self._take(box)).transpose(1, 2, 0), _numpy(alpha)

    def write(self, box: Box, restored: Tensor, share: Tensor | float) -> None:
        """Mix a restored box into the copy; what lies outside the part is dropped.

        Args:
            box: Where, in pixels of the picture.
            restored: ``(3, h, w)`` float32 sRGB, clamped here to [0, 1].
            share: How much of it is taken, in [0, 1]: a number or ``(h, w)``.
        """
        inner = _intersect(box, self.part)
        if inner is None:
            return
        rows = slice(inner.top - box.top, inner.bottom - box.top)
        columns = slice(inner.left - box.left, inner.right - box.left)
        before = self._take(inner)
        value = self._in_own_colours(restored[:, rows, columns].to(before.device).clamp(0, 1), before)
        alpha = self._take_alpha(inner)
        kept = None if alpha is None else _hidden(alpha)
        if isinstance(share, Tensor):
            share = share[rows, columns].to(before.device)
            kept = share == 0 if kept is None else kept | (share == 0)
            value = torch.lerp(_to_float(before), value, share)
        elif share < 1:
            value = torch.lerp(_to_float(before), value, share)
        after = _from_float(value, before.dtype)
        if kept is not None:
            after = torch.where(kept, before, after)
        self._put(Box(inner.top - self.part.top, inner.left - self.part.left, inner.height, inner.width), after)

    def _in_own_colours(self, restored: Tensor, before: Tensor) -> Tensor:
        """Return sRGB ``(3, h, w)`` as the picture's colours ``(1 or 3, h, w)``, still in float32."""
        if before.shape[0] == 1:
            restored = restored.mean(0, keepdim=True)
        if self._space is None:
            return restored
        return _planes(self._space.carry_back(_layers(restored), before=_layers(before)))

    def thumbnail(self) -> Tensor:
        """Return the picture, at most ``THUMBNAIL`` pixels long, as ``(1, 3, h, w)`` float32 in [0, 1].

        A picture that is small enough is returned as it is. Else every pixel of the copy is the mean of k x k pixels,
        for the smallest whole k that makes it small enough (at the right and lower border of what there is).
        """
        factor = math.ceil(max(self.height, self.width) / THUMBNAIL)
        if factor == 1:
            return self.read(Box(0, 0, self.height, self.width)).unsqueeze(0).contiguous()
        rows = max(1, _CHUNK // (factor**2 * math.ceil(self.width / factor)))  # of the copy, at a time
        copy = torch.empty(1, 3, math.ceil(self.height / factor), math.ceil(self.width / factor), device=self.store)
        for top in range(0, copy.shape[2], rows):
            box = Box(top * factor, 0, min(rows * factor, self.height - top * factor), self.width)
            # written into what is there already: small results between large ones would leave the memory in pieces
            copy[:, :, top : top + rows] = F.avg_pool2d(
                self.read(box).unsqueeze(0), factor, ceil_mode=True, count_include_pad=False
            )
        return copy


class _ArrayCanvas(Canvas):
    """Pixels of an array ``(H, W)`` or ``(H, W, C)``; the alpha ``(H, W)`` of one without an alpha channel."""

    def __init__(
        self,
        pixels: NDArray[Any],
        part: Box,
        *,
        alpha: NDArray[Any] | None = None,
        space: WorkingSpace | None = None,
    ) -> None:
        super().__init__((pixels.shape[0], pixels.shape[1]), part, space)
        self._before = pixels if pixels.ndim == 3 else pixels[:, :, None]
        channels = self._before.shape[2]
        self._colours = _colours(channels)
        self._alpha = alpha if self._colours == channels else self._before[:, :, -1]
        self.after = pixels[part.top : part.bottom, part.left : part.right].copy()
        self._after = self.after if pixels.ndim == 3 else self.after[:, :, None]

    @property
    def store(self) -> torch.device:
        return torch.device("cpu")

    @property
    def pixel_bytes(self) -> int:
        return int(self._before.itemsize * self._before.shape[2])

    def _take(self, box: Box) -> Tensor:
        view = self._before[box.top : box.bottom, box.left : box.right, : self._colours]
        return _own(view).permute(2, 0, 1)

    def _take_alpha(self, box: Box) -> Tensor | None:
        return None if self._alpha is None else _own(self._alpha[box.top : box.bottom, box.left : box.right])

    def _put(self, box: Box, colours: Tensor) -> None:
        self._after[box.top : box.bottom, box.left : box.right, : self._colours] = colours.permute(1, 2, 0).numpy()


class _TensorCanvas(Canvas):
    """Pixels of a tensor ``(C, H, W)``; the copy is a part of ``after``."""

    def __init__(self, pixels: Tensor, after: Tensor, part: Box) -> None:
        super().__init__((pixels.shape[1], pixels.shape[2]), part)
        self._channels = pixels.shape[0]
        colours = _colours(self._channels)
        self._before, self._after = pixels[:colours], after[:colours]
        self._alpha = None if colours == self._channels else pixels[-1]

    @property
    def store(self) -> torch.device:
        return self._before.device

    @property
    def pixel_bytes(self) -> int:
        return self._before.itemsize * self._channels

    def _take(self, box: Box) -> Tensor:
        return self._before[:, box.top : box.bottom, box.left : box.right]

    def _take_alpha(self, box: Box) -> Tensor | None:
        return None if self._alpha is None else self._alpha[box.top : box.bottom, box.left : box.right]

    def _put(self, box: Box, colours: Tensor) -> None:
        self._after[:, box.top : box.bottom, box.left : box.right] = colours


@dataclass(frozen=True)
class Opened:
    """What a caller handed over, ready to be restored.

    Attributes:
        canvases: One for each picture (a batch has several).
        close: Return the copies, in the type that was handed over.
        check: Raise ``PictureError`` where the values cannot be restored.
    """

    canvases: list[Canvas]
    close: Callable[[], Any]
    check: Callable[[], None]


def open_picture(image: object, *, crop: tuple[int, int, int, int] | None = None) -> Opened:
    """Open any kind of picture that the Restorer takes.

    Args:
        image: Tensor, array, PIL image, ``ImageData``, or the path of a file.
        crop: x, y, width and height of the part to return; all of it if ``None``.

    Returns:
        The open picture.

    Raises:
        UsageError: The type, dtype or shape is none that can be restored, or the crop lies outside the picture.
        PictureError: A file cannot be read.
    """
    if isinstance(image, str | Path):
        return _open_data(read_image(image), crop, where=str(image))
    if isinstance(image, ImageData):
        return _open_data(image, crop, where="the picture")
    if isinstance(image, Image.Image):
        return _open_pil(image, crop)
    if isinstance(image, np.ndarray):
        canvas = _open_array(image, crop)
        return Opened([canvas], lambda: canvas.after, lambda: _check_array(image, "the array"))
    if isinstance(image, Tensor):
        return _open_tensor(image.detach(), crop)
    raise UsageError(
        f"cannot restore a {type(image).__name__}; give a tensor, an array, a PIL image, ImageData or a path "
        "(several: Restorer.restore_many or a Pipeline)"
    )


def _open_array(
    pixels: NDArray[Any],
    crop: tuple[int, int, int, int] | None,
    *,
    alpha: NDArray[Any] | None = None,
    space: WorkingSpace | None = None,
) -> _ArrayCanvas:
    if pixels.dtype.newbyteorder("=") not in _ARRAY_DTYPES:
        raise UsageError(f"cannot restore an array of {pixels.dtype}; give uint8, uint16, or float in [0, 1]")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and not 1 <= pixels.shape[2] <= 4) or pixels.size == 0:
        raise UsageError(
            f"an array is (H, W) or (H, W, C) with 1 to 4 channels, got {pixels.shape}; give several as a list"
        )
    return _ArrayCanvas(pixels, _part(crop, pixels.shape[0], pixels.shape[1]), alpha=alpha, space=space)


def _open_data(image: ImageData, crop: tuple[int, int, int, int] | None, *, where: str) -> Opened:
    canvas = _open_array(image.pixels, crop, alpha=image.alpha, space=working_space(image))

    def close() -> ImageData:
        part, alpha = canvas.part, image.alpha
        if alpha is not None and crop is not None:
            alpha = alpha[part.top : part.bottom, part.left : part.right].copy()
        return replace(image, pixels=canvas.after, alpha=alpha)

    return Opened([canvas], close, lambda: _check_array(image.pixels, where))


def _open_pil(image: Image.Image, crop: tuple[int, int, int, int] | None) -> Opened:
    pixels = _pil_pixels(image)
    colours = 1 if pixels.ndim == 2 else _colours(pixels.shape[2])
    icc = _pil_profile(image, grey=colours == 1)
    space = None if icc is None else profile_space(icc, grey=colours == 1, bits=8 * pixels.itemsize)
    canvas = _open_array(pixels, crop, space=space)

    def close() -> Image.Image:
        result = Image.fromarray(canvas.after.astype(np.int32) if image.mode == "I" else canvas.after)
        result.info = {key: value for key, value in image.info.items() if key not in ("transparency", "icc_profile")}
        if icc is not None:
            result.info["icc_profile"] = icc
        return result

    return Opened([canvas], close, lambda: _check_array(pixels, "the picture"))


def _pil_profile(image: Image.Image, *, grey: bool) -> bytes | None:
    """Return the profile of a PIL image, unless it described colours that were converted to others."""
    icc: bytes | None = image.info.get("icc_profile")
    if icc is None or image.mode not in ("CMYK", "LAB", "YCbCr", "HSV"):
        return icc
    return icc if color_model(icc) == ("GRAY" if grey else "RGB") else None


def _pil_pixels(image: Image.Image) -> NDArray[Any]:
    """Return an array of a PIL image; palettes and other colour spaces become RGB or RGBA, mode I becomes 16 bit."""
    if image.mode == "I":
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise PictureError(
                "a PIL image of mode I holds values outside 0 to 65535; convert it to I;16, F or L first"
            )
        return values.astype(np.uint16)
    if image.mode == "CMYK":
        blank = ImageData(pixels=np.zeros((1, 1, 3), np.uint8), metadata=Metadata(icc=image.info.get("icc_profile")))
        converted = cmyk_to_srgb(image, blank)
        _log.warning("%s", *converted.notes)
        return converted.pixels
    if "transparency" in image.info:
        image = image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in _PLAIN_MODES:
        image = image.convert("RGBA" if image.mode in ("PA", "RGBa", "La") else "RGB")
    return np.asarray(image)


def _open_tensor(pixels: Tensor, crop: tuple[int, int, int, int] | None) -> Opened:
    if pixels.dtype not in (*_SCALES, *_FLOATS):
        raise UsageError(f"cannot restore a tensor of {pixels.dtype}; give uint8, uint16, or float in [0, 1]")
    if pixels.ndim not in (3, 4) or not 1 <= pixels.shape[-3] <= 4 or pixels.numel() == 0:
        raise UsageError(f"a tensor is (C, H, W) or (B, C, H, W) with 1 to 4 channels, got {tuple(pixels.shape)}")
    part = _part(crop, pixels.shape[-2], pixels.shape[-1])
    after = pixels[..., part.top : part.bottom, part.left : part.right].clone(memory_format=torch.contiguous_format)
    batch = pixels.ndim == 4
    pairs = zip(pixels, after, strict=True) if batch else iter([(pixels, after)])
    canvases: list[Canvas] = [_TensorCanvas(one, copy, part) for one, copy in pairs]

    def check() -> None:
        if pixels.dtype in _FLOATS:
            low, high = pixels.aminmax()
            _check_range(float(low), float(high), "the tensor")

    return Opened(canvases, lambda: after, check)


def _colours(channels: int) -> int:
    """Return how many of 1 to 4 channels are colours; a second or fourth one is alpha."""
    return 1 if channels < 3 else 3


def _own(view: NDArray[Any]) -> Tensor:
    """Return a copy of a tile, whose bytes are in this machine's order, whatever the caller's array looks like."""
    return torch.from_numpy(np.array(view, dtype=view.dtype.newbyteorder("="), order="C"))


def _numpy(tile: Tensor) -> NDArray[Any]:
    """Return a tile as an array; bfloat16, which numpy lacks, as float32."""
    return (tile.float() if tile.dtype == torch.bfloat16 else tile).cpu().numpy()


def _layers(planes: Tensor) -> NDArray[Any]:
    """Return ``(1 or 3, h, w)`` as an array ``(h, w)`` or ``(h, w, 3)``."""
    return planes[0].numpy() if planes.shape[0] == 1 else planes.permute(1, 2, 0).numpy()


def _planes(layers: NDArray[Any]) -> Tensor:
    """Return an array ``(h, w)`` or ``(h, w, 3)`` as ``(1 or 3, h, w)``."""
    return torch.from_numpy(layers).unsqueeze(0) if layers.ndim == 2 else torch.from_numpy(layers).permute(2, 0, 1)


def _hidden(alpha: Tensor) -> Tensor:
    """Return where an alpha says fully transparent."""
    return ~(alpha.to(torch.float32) > 0)


def _part(crop: tuple[int, int, int, int] | None, height: int, width: int) -> Box:
    if crop is None:
        return Box(0, 0, height, width)
    x, y, w, h = crop
    if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
        raise UsageError(
            f"crop {x},{y},{w},{h} (x,y,width,height) does not lie inside the picture of {width}x{height}; "
            "choose another part"
        )
    return Box(y, x, h, w)


def _intersect(a: Box, b: Box) -> Box | None:
    top, left = max(a.top, b.top), max(a.left, b.left)
    bottom, right = min(a.bottom, b.bottom), min(a.right, b.right)
    return Box(top, left, bottom - top, right - left) if top < bottom and left < right else None


def _to_float(pixels: Tensor) -> Tensor:
    scale = _SCALES.get(pixels.dtype)
    return pixels.to(torch.float32) if scale is None else pixels.to(torch.float32).div_(scale)


def _from_float(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return [0, 1] in a dtype; whole numbers are rounded, halves to the even one."""
    scale = _SCALES.get(dtype)
    return value.to(dtype) if scale is None else (value * scale).round().to(dtype)


def _check_array(pixels: NDArray[Any], where: str) -> None:
    if pixels.dtype.kind == "f":
        _check_range(float(pixels.min()), float(pixels.max()), where)


def _check_range(low: float, high: float, where: str) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise PictureError(f"{where} holds values that are no finite numbers; replace them before restoring")
    if low < _FLOAT_RANGE[0] or high > _FLOAT_RANGE[1]:
        raise PictureError(
            f"{where} holds values from {low:g} to {high:g}; floating-point pictures are in [0, 1]: scale it first"
        )
