from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from restorekit.errors import PictureError
from restorekit.hub import UNMEASURED
from restorekit.inference import demo
from restorekit.inference.demo import demonstrate
from restorekit.inference.restorer import Restorer
from restorekit.io import ImageData, read_image, write_image
from restorekit.models import SizeRule


class _Smooth(torch.nn.Module):
    """Takes noise off a flat picture: every pixel becomes the mean of the 5x5 pixels around it."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(image, 5, stride=1, padding=2, count_include_pad=False)


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a sample, which a network without weights on disk restores."""
    clean = np.full((24, 32, 3), 120, np.uint8)
    noise = np.random.default_rng(0).normal(0, 20, clean.shape)
    degraded = np.clip(clean + noise, 0, 255).astype(np.uint8)
    for name, pixels in (("clean", clean), ("degraded", degraded)):
        _write(pixels, tmp_path / "sample" / f"{name}.png")
    restorer = Restorer(_Smooth(), size=SizeRule(), rule=UNMEASURED, device="cpu")
    monkeypatch.setattr(demo.Restorer, "from_pretrained", lambda *args, **kwargs: restorer)
    return tmp_path / "sample"


def _write(pixels: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    write_image(ImageData(pixels=pixels, format="png"), path)


def test_demonstration_restores_measures_and_leaves_pictures(sample: Path, tmp_path: Path) -> None:
    done = demonstrate(tmp_path / "new" / "demo", sample=sample)
    degraded, clean = (read_image(sample / f"{name}.png").pixels.astype(float) for name in ("degraded", "clean"))
    restored = read_image(done.restored).pixels
    assert done.psnr_before == pytest.approx(10 * np.log10(255**2 / np.mean((degraded - clean) ** 2)), abs=1e-3)
    assert done.psnr_after == pytest.approx(10 * np.log10(255**2 / np.mean((restored - clean) ** 2)), abs=1e-3)
    assert done.psnr_after > done.psnr_before + 10
    assert done.seconds > 0
    assert done.summary.device == "cpu"
    both = read_image(done.comparison).pixels
    assert np.array_equal(both[-24:, :32], degraded)
    assert np.array_equal(both[-24:, -32:], restored)


def test_demonstration_refuses_a_sample_that_does_not_match(sample: Path, tmp_path: Path) -> None:
    _write(np.zeros((24, 31, 3), np.uint8), sample / "clean.png")
    with pytest.raises(PictureError, match=r"degraded\.png and clean\.png in .* differ in size or depth"):
        demonstrate(tmp_path, sample=sample)


def test_demonstration_says_what_is_missing(sample: Path, tmp_path: Path) -> None:
    (sample / "clean.png").unlink()
    with pytest.raises(PictureError, match=r"clean\.png"):
        demonstrate(tmp_path, sample=sample)
