"""Restoring pictures with a network: any size, any device, any kind of picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, overload

from restorekit.inference.pipeline import Pipeline
from restorekit.inference.plan import Plan, TileOption
from restorekit.inference.restorer import P, Progress, Restored, Restorer, Summary
from restorekit.io import ImageData

__all__ = ["Pipeline", "Plan", "Progress", "Restored", "Restorer", "Summary", "restore"]


@overload
def restore(
    image: str | Path,
    *,
    model: str | Path = "resunet",
    device: str = "auto",
    precision: str = "auto",
    tile: TileOption = "auto",
    max_memory: int | None = None,
    ensemble: bool = False,
    compile: bool = False,
    strength: float = 1.0,
    mask: object = None,
    crop: tuple[int, int, int, int] | None = None,
    progress: Progress | None = None,
) -> ImageData: ...


@overload
def restore(
    image: P,
    *,
    model: str | Path = "resunet",
    device: str = "auto",
    precision: str = "auto",
    tile: TileOption = "auto",
    max_memory: int | None = None,
    ensemble: bool = False,
    compile: bool = False,
    strength: float = 1.0,
    mask: object = None,
    crop: tuple[int, int, int, int] | None = None,
    progress: Progress | None = None,
) -> P: ...


def restore(
    image: Any,
    *,
    model: str | Path = "resunet",
    device: str = "auto",
    precision: str = "auto",
    tile: TileOption = "auto",
    max_memory: int | None = None,
    ensemble: bool = False,
    compile: bool = False,
    strength: float = 1.0,
    mask: object = None,
    crop: tuple[int, int, int, int] | None = None,
    progress: Progress | None = None,
) -> Any:
    """Restore one picture. For several, make a ``Restorer`` once: this loads the weights each time.

    Args:
        image: Tensor ``(B, C, H, W)`` or ``(C, H, W)``, array ``(H, W)`` or ``(H, W, C)``, PIL image, ``ImageData``
            or a path; uint8, uint16, or float in [0, 1]. More in ``Restorer``.
        model: Family, variant, tag, a file of weights, or ``auto`` for the default.
        device: See ``Restorer``.
        precision: See ``Restorer``.
        tile: See ``Restorer``.
        max_memory: See ``Restorer``, in bytes.
        ensemble: See ``Restorer``.
        compile: See ``Restorer``.
        strength: See ``Restorer.restore``, in [0, 1].
        mask: See ``Restorer.restore``.
        crop: See ``Restorer.restore``: x, y, width, height in pixels.
        progress: See ``Restorer.restore``.

    Returns:
        The restored picture, of the type that was given; ``ImageData`` for a path.

    Raises:
        UsageError: An option has no such value.
        PictureError: The picture cannot be read or holds impossible values.
        ModelError: The weights cannot be used.
    """
    restorer = Restorer.from_pretrained(
        model,
        device=device,
        precision=precision,
        tile=tile,
        max_memory=max_memory,
        ensemble=ensemble,
        compile=compile,
    )
    return restorer.restore(image, strength=strength, mask=mask, crop=crop, progress=progress)
