"""The Python blocks of the documentation do what they show."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restorekit.io import ImageData, write_image
from restorekit.resources import records

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = sorted(page.name for page in DOCS.glob("*.md") if BLOCK.search(page.read_text(encoding="utf-8")))
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with what the pages name, made from a bundled sample, as the working folder."""
    samples = records("datasets") / "samples"
    sample = next(path for path in sorted(samples.rglob("*")) if path.suffix in SUFFIXES)
    photo = Image.open(sample).convert("RGB").crop((0, 0, 120, 80))
    photo.save(tmp_path / "photo.png")
    photo.save(tmp_path / "photo.jpg", quality=95)
    grey = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    write_image(ImageData(pixels=grey, format="tiff"), tmp_path / "scan.tif")
    mask = Image.new("L", photo.size)
    mask.paste(255, (30, 20, 90, 60))
    mask.save(tmp_path / "mask.png")
    (tmp_path / "photos").mkdir()
    for index in (1, 2, 3):
        photo.crop((0, 0, 40 * index, 60)).save(tmp_path / "photos" / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run_from_top_to_bottom(page: str) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    text = (DOCS / page).read_text(encoding="utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for block in BLOCK.finditer(text):
            line = text.count("\n", 0, block.start(1))  # so that a traceback names the line of the page
            exec(compile("\n" * line + block.group(1), str(DOCS / page), "exec"), names)  # noqa: S102 (our own page)


def test_the_page_for_pipelines_is_among_them() -> None:
    assert "pipelines.md" in PAGES
