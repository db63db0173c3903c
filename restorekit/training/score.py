"""Score a restorer on the usual small test sets.

Protocol ``rgb8``: the whole picture, 8-bit in and out, PSNR over all pixels and channels (peak 255), per picture, then
the mean. Degraded pictures that no set holds are made here: noise is ``clip(round(clean + N(0, sigma)))`` with one seed
per picture and sigma, JPEG is OpenCV's (4:2:0).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from restorekit.hub import InferenceRule, SetScore
from restorekit.inference import Restorer
from restorekit.io import read_image
from restorekit.metrics import psnr
from restorekit.training.run import find_variant

__all__ = ["PAIRED", "PROTOCOL", "SYNTHETIC", "first_picture", "list_sets", "score", "watcher"]

PROTOCOL = "rgb8"
Picture = NDArray[np.uint8]
RULE = InferenceRule(precision="bf16", channels_last=True, overlap=64, bytes_per_pixel=2048.0, base_bytes=2**26)
"""How networks of our own training are run before anything is measured."""
_log = logging.getLogger(__name__)


def _noise(sigma: int) -> Callable[[Picture, int], Picture]:
    def degrade(clean: Picture, index: int) -> Picture:
        noise = np.random.default_rng(1000 * sigma + index).normal(0, sigma, clean.shape)
        return np.clip(np.round(clean + noise), 0, 255).astype(np.uint8)

    return degrade


def _jpeg(quality: int) -> Callable[[Picture, int], Picture]:
    def degrade(clean: Picture, index: int) -> Picture:
        _, code = cv2.imencode(".jpg", clean[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.ascontiguousarray(np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1])

    return degrade


def _nothing(clean: Picture, index: int) -> Picture:
    return clean


SYNTHETIC: dict[str, tuple[str, Callable[[Picture, int], Picture]]] = {
    "Kodak24 clean": ("Kodak24", _nothing),
    "CBSD68 sigma 15": ("CBSD68", _noise(15)),
    "CBSD68 sigma 25": ("CBSD68", _noise(25)),
    "CBSD68 sigma 50": ("CBSD68", _noise(50)),
    "Kodak24 JPEG 10": ("Kodak24", _jpeg(10)),
    "Kodak24 JPEG 20": ("Kodak24", _jpeg(20)),
    "Kodak24 JPEG 30": ("Kodak24", _jpeg(30)),
    "Kodak24 JPEG 40": ("Kodak24", _jpeg(40)),
    "LIVE1_gray JPEG 10": ("LIVE1_gray", _jpeg(10)),
    "Classic5 JPEG 10": ("Classic5", _jpeg(10)),
}
"""Row name -> folder of clean pictures, and how they are degraded given their index in the sorted folder."""

PAIRED = (
    "noise_real_nam",
    "noise_real_polyu",
    "Rain100L",
    "Rain100H",
    "Rain200L",
    "Rain200H",
    "rain_veil",
    "OutdoorRain_Test1",
    "raindrop",
    "snow_composite",
    "SOTS_indoor",
    "SOTS_outdoor",
    "OHAZE",
    "LOL_eval15",
    "GoPro",
    "Levin",
    "composite_cdd",
    "UDC_synthetic",
)
"""Folders with ``input/`` and ``target/`` under equal names."""


def list_sets(data: Path) -> list[str]:
    """Return the names of the sets that a folder of test sets holds."""
    synthetic = [name for name, (folder, _) in SYNTHETIC.items() if (data / folder).is_dir()]
    return synthetic + [name for name in PAIRED if (data / name / "input").is_dir()]


def score(restorer: Restorer, data: Path, *, sets: list[str] | None = None, most: int | None = None) -> list[SetScore]:
    """Score a restorer.

    Args:
        restorer: What is scored.
        data: Folder of test sets.
        sets: Names of sets; all that are there when ``None``.
        most: Use the first so many pictures of each set only.

    Returns:
        A row for each set.
    """
    rows = []
    for name in list_sets(data) if sets is None else sets:
        before, after = [], []
        for count, (degraded, clean) in enumerate(_pairs(data, name)):
            if count == most:
                break
            restored = restorer.restore(degraded)
            before.append(_psnr(degraded, clean))
            after.append(_psnr(restored, clean))
        gains = [b - a for a, b in zip(before, after, strict=True) if np.isfinite(a)]
        row = SetScore(
            set=name,
            pictures=len(after),
            psnr_input=float(np.mean(before)) if gains else None,
            psnr_output=float(np.mean(after)),
            worst_gain=min(gains) if gains else None,
        )
        _log.info("%s: %s -> %.2f dB (%d)", name, row.psnr_input, row.psnr_output, row.pictures)
        rows.append(row)
    return rows


def watcher(data: Path, variant: str, *, most: int = 4) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that scores a network in training on the first pictures of each set.

    Args:
        data: Folder of test sets.
        variant: Variant of the network, for its size rule.
        most: Pictures of each set.

    Returns:
        Network -> PSNR of the restored pictures, in dB, by set.
    """
    size = find_variant(variant)[0].size

    def watch(network: nn.Module) -> dict[str, float]:
        rows = score(Restorer(network, size=size, rule=RULE), data, most=most)
        return {row.set: round(row.psnr_output, 2) for row in rows}

    return watch


def _pairs(data: Path, name: str) -> Iterator[tuple[Picture, Picture]]:
    """Yield (degraded, clean) of a set, 8-bit RGB."""
    if name in SYNTHETIC:
        folder, degrade = SYNTHETIC[name]
        for index, path in enumerate(sorted(p for p in (data / folder).iterdir() if p.is_file())):
            clean = _read(path)
            yield degrade(clean, index), clean
    else:
        for path in sorted((data / name / "input").iterdir()):
            yield _read(path), _read(data / name / "target" / path.name)


def first_picture(data: Path, name: str) -> Picture:
    """Return the first degraded picture of a set.

    Args:
        data: Folder of test sets.
        name: Name of a set.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    return next(_pairs(data, name))[0]


def _read(path: Path) -> Picture:
    pixels = read_image(path).pixels
    return np.asarray(np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels, np.uint8)


def _psnr(a: Picture, b: Picture) -> float:
    first, second = (torch.from_numpy(x.astype(np.float64)).permute(2, 0, 1)[None] for x in (a, b))
    return float(psnr(first, second, data_range=255)[0])
