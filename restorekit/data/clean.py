"""Clean pictures in memory, and crops of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from restorekit.errors import UsageError
from restorekit.io import read_image

__all__ = ["CleanPictures"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


class CleanPictures:
    """All pictures of some folders, decoded once, as 8-bit RGB.

    Args:
        folders: Folders to read, subfolders included, in sorted order.

    Raises:
        UsageError: A folder holds no picture.
        PictureError: A file cannot be read.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self.paths: list[Path] = []
        for folder in folders:
            found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
            if not found:
                raise UsageError(f"{folder} holds no picture; name a folder with clean pictures")
            self.paths += found
        self.pictures = [_as_rgb8(read_image(path).pixels) for path in self.paths]

    def __len__(self) -> int:
        return len(self.pictures)

    def crop(
        self, generator: torch.Generator, side: int, *, smallest_scale: float, unscaled: float = 0.5
    ) -> NDArray[np.uint8]:
        """Cut a random square, reduced by a random scale, flipped and turned at random.

        Args:
            generator: Source of all randomness.
            side: Side of the result, in pixels.
            smallest_scale: Crops are reduced by a scale from here to 1; a picture that is too small for its scale is
                reduced less, and enlarged if it is smaller than ``side``.
            unscaled: Share of the crops that are not reduced.

        Returns:
            ``(side, side, 3)``.
        """
        index, turn = (int(torch.randint(0, n, (), generator=generator)) for n in (len(self), 8))
        top, left, coin, scale = torch.rand(4, generator=generator).tolist()
        picture = self.pictures[index]
        scale = 1.0 if coin < unscaled else smallest_scale + (1 - smallest_scale) * scale
        window = min(round(side / scale), *picture.shape[:2])
        y, x = (
            int(share * (length - window + 1)) for share, length in zip((top, left), picture.shape[:2], strict=True)
        )
        cut = picture[y : y + window, x : x + window]
        if window != side:
            cut = np.asarray(cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
        cut = np.rot90(cut, turn % 4)
        return np.ascontiguousarray(cut[:, ::-1] if turn >= 4 else cut)


def _as_rgb8(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Bring pixels of any depth to 8-bit RGB."""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.dtype == np.uint16:
        return np.round(pixels.astype(np.float32) / 257).astype(np.uint8)
    if pixels.dtype != np.uint8:
        return np.round(np.clip(pixels.astype(np.float32), 0, 1) * 255).astype(np.uint8)
    return pixels.astype(np.uint8)
