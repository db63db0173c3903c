"""The demonstration: the bundled sample, restored and measured against its clean picture."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from restorekit.errors import PictureError
from restorekit.inference.compare import compare
from restorekit.inference.restorer import Restorer, Summary
from restorekit.io import read_image, write_image
from restorekit.metrics import psnr
from restorekit.resources import records

__all__ = ["Demonstration", "demonstrate"]


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """What the demonstration did.

    Attributes:
        summary: What restored the sample: network, weights, device, precision.
        seconds: How long the restoration took, without loading the weights.
        psnr_before: PSNR of the degraded sample against the clean picture, in dB.
        psnr_after: PSNR of the restored sample, in dB.
        restored: The restored picture.
        comparison: The degraded sample on the left, the restored one on the right.
    """

    summary: Summary
    seconds: float
    psnr_before: float
    psnr_after: float
    restored: Path
    comparison: Path


def demonstrate(
    out: Path, *, model: str | Path = "auto", device: str = "auto", sample: Path | None = None
) -> Demonstration:
    """Restore the bundled sample and write the result and a before/after picture.

    Args:
        out: Folder for the two pictures, made if missing.
        model: Family, variant, tag, a file of weights, or ``auto`` for the default.
        device: Where to run, see ``Restorer``.
        sample: A folder with ``degraded.png`` and ``clean.png`` of equal size; the bundled one if ``None``.

    Returns:
        What was done, with the measured values.

    Raises:
        PictureError: A picture of the sample is missing, or the two differ in size or depth.
        UsageError: An option has no such value.
        ModelError: The weights cannot be used.
    """
    folder = sample or records("datasets") / "samples" / "demo"
    degraded, clean = read_image(folder / "degraded.png"), read_image(folder / "clean.png")
    if degraded.pixels.shape != clean.pixels.shape or degraded.pixels.dtype != clean.pixels.dtype:
        raise PictureError(
            f"degraded.png and clean.png in {folder} differ in size or depth; give two that belong together"
        )
    restorer = Restorer.from_pretrained(model, device=device)
    start = time.perf_counter()
    restored = restorer.restore(degraded)
    seconds = time.perf_counter() - start
    out.mkdir(parents=True, exist_ok=True)
    write_image(restored, out / "restored.png")
    write_image(compare(degraded, restored), out / "before-after.png")
    return Demonstration(
        summary=restorer.summary,
        seconds=seconds,
        psnr_before=_psnr(degraded.pixels, clean.pixels),
        psnr_after=_psnr(restored.pixels, clean.pixels),
        restored=out / "restored.png",
        comparison=out / "before-after.png",
    )


def _psnr(pixels: NDArray[Any], clean: NDArray[Any]) -> float:
    """Return the PSNR of ``(H, W, 3)`` pixels in dB."""
    most = float(np.iinfo(clean.dtype).max)
    picture, reference = (torch.from_numpy(a.astype(np.float32)).permute(2, 0, 1)[None] / most for a in (pixels, clean))
    return psnr(picture, reference, data_range=1.0).item()
