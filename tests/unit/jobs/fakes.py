"""Jobs on little files, for the tests beside this file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from restorekit.io import ImageData, write_image
from restorekit.jobs import Job, plan_outputs, walk


def jobs_in(folder: Path, count: int, *, resume: bool = False) -> list[Job]:
    """Return jobs on pictures of 4 x 4 pixels, ``in/0.bmp`` and so on, to be written to ``out``."""
    (folder / "in").mkdir(exist_ok=True)
    for index in range(count):
        path = folder / "in" / f"{index}.bmp"
        if not path.exists():
            write_image(ImageData(pixels=np.full((4, 4), index, np.uint8)), path)
    (folder / "out").mkdir(exist_ok=True)
    return plan_outputs(walk([folder / "in"], recursive=False), out=folder / "out", resume=resume)
