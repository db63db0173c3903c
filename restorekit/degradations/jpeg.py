"""JPEG compression by a real codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import cv2
import numpy as np
import torch
from torch import Tensor

from restorekit.degradations._base import Degradation, level_or_draw, register_degradation

__all__ = ["Jpeg"]


@register_degradation("jpeg")
@dataclass(frozen=True, kw_only=True)
class Jpeg(Degradation):
    """Encode as 8-bit JPEG and decode (libjpeg-turbo through OpenCV, colour subsampled 4:2:0).

    Attributes:
        quality: Quality of libjpeg, 1 (worst) to 100.
    """

    bounds: ClassVar[dict[str, tuple[float, float]]] = {"quality": (1, 100)}
    quality: int

    @classmethod
    def sample(cls, generator: torch.Generator, level: float | None = None) -> Self:
        """Draw a quality between 80 and 8, even in the strength of the artefacts; see ``Degradation.sample``."""
        return cls(quality=round(80 * (8 / 80) ** level_or_draw(generator, level)))

    def apply(self, image: Tensor) -> Tensor:
        """Degrade ``(B, C, H, W)``, C = 1 or 3, in [0, 1]; see ``Degradation.apply``."""
        bytes_in = (image.detach().cpu() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        return torch.from_numpy(np.stack([self._round_trip(p) for p in bytes_in])).permute(0, 3, 1, 2).to(image) / 255

    def _round_trip(
        self, picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        # the order of the channels matters to the codec: OpenCV takes blue first
        _, code = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        flag = cv2.IMREAD_GRAYSCALE if picture.shape[2] == 1 else cv2.IMREAD_COLOR
        decoded = np.asarray(cv2.imdecode(code, flag), np.uint8).reshape(picture.shape)
        return np.ascontiguousarray(decoded[:, :, ::-1])
