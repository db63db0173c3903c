"""Where the shared material lies: golden cases, pictures and official weights that are not part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

__all__ = ["find_shared_folder", "shared_folder"]

_BESIDE = Path(__file__).resolve().parents[3] / "shared"


def find_shared_folder() -> Path | None:
    """Return the folder that RESTOREKIT_SHARED names, else ``shared`` beside the repository, if it exists."""
    named = os.environ.get("RESTOREKIT_SHARED")
    folder = Path(named) if named else _BESIDE
    return folder if folder.is_dir() else None


def shared_folder() -> Path:
    """Return the folder of the shared material, or skip the test that asks for it."""
    folder = find_shared_folder()
    if folder is None:
        pytest.skip("needs the shared material: set RESTOREKIT_SHARED, or put it beside the repository as 'shared'")
    return folder
