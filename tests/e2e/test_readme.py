"""The commands of the pages run as they stand there, and the README's and the how-to pages' Python does, too."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from restorekit.cli.app import main
from restorekit.io import ImageData, write_image

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"restorekit (?!train)")  # a training takes hours
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SCRIPTS = [ROOT / "README.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]


def _commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in SHELL.findall(page.read_text(encoding="utf-8")):
            lines = (line.partition(" #")[0].strip() for line in block.splitlines())
            found += [(page.name, line) for line in lines if COMMAND.match(line)]
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with what the pages name, as the working folder."""
    y, x = np.mgrid[:72, :96]
    photo = np.stack([x * 2, y * 3, (x + y) % 256], axis=2).astype(np.uint8)
    write_image(ImageData(pixels=photo, format="jpeg"), tmp_path / "photo.jpg")
    write_image(ImageData(pixels=photo[..., 0], format="png"), tmp_path / "mask.png")
    scan = np.tile(photo.astype(np.uint16) * 257, (16, 16, 1))[:1200, :1500]
    write_image(ImageData(pixels=scan, format="tiff"), tmp_path / "scan.tif")
    (tmp_path / "holiday" / "day 2").mkdir(parents=True)
    for name in ("1.png", "day 2/1.png"):
        write_image(ImageData(pixels=photo, format="png"), tmp_path / "holiday" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("page", "command"), _commands())
def test_command_of_a_page_runs(page: str, command: str) -> None:
    if command.startswith("restorekit verify"):  # the commands before it on the page have made these
        shutil.copy("photo.jpg", "photo_restored.jpg")
        shutil.copytree("holiday", "better")
    with pytest.raises(SystemExit, match=r"^(0|None|)$"):
        main(shlex.split(command)[1:])


def test_there_are_commands_to_run() -> None:
    assert {page for page, _ in _commands()} >= {"README.md", "quickstart.md"}


@pytest.mark.parametrize("page", SCRIPTS, ids=lambda page: page.name)
def test_python_of_a_page_runs(page: Path, folder: Path) -> None:
    script = folder / "page.py"
    blocks = PYTHON.findall(page.read_text(encoding="utf-8"))
    assert blocks
    script.write_text("\n".join(blocks).replace("from __future__ import annotations\n", ""), encoding="utf-8")
    result = subprocess.run(  # a process of its own: the how-to pages register names
        [sys.executable, str(script)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
