"""From a run to the zoo: measure, score, and write weights, card and page."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from restorekit.hub import Card, Scores, release
from restorekit.inference import Restorer
from restorekit.inference.measure import measure_rule
from restorekit.io import read_image
from restorekit.models import MODELS
from restorekit.resources import records
from restorekit.training.run import load_average, read_record
from restorekit.training.score import PAIRED, PROTOCOL, RULE, first_picture, list_sets, score

__all__ = ["release_run"]

_OWN_DATA = {
    "gb82": "gb82 (CC0 1.0)",
    "budgie": "BuddiesOfBudgie backgrounds (CC0 1.0)",
    "clic2025": "CLIC 2025 (Unsplash licence)",
    "pop": "pop-os wallpapers (Unsplash licence, public domain)",
    "cid22": "Cloudinary Image Dataset '22 (CC BY-SA 4.0)",
}
"""Folder of clean pictures -> what it holds, with its licence."""


def release_run(
    run: Path,
    *,
    tag: str,
    data: Path,
    zoo: Path,
    summary: str,
    default: bool = True,
    overwrite: bool = False,
) -> Card:
    """Score the averaged weights of a run, measure what they cost, and put them into the zoo.

    Weights are rounded to half precision first, so that what is scored is what is kept.

    Args:
        run: Folder of the run.
        tag: Name of the weights.
        data: Folder of test sets.
        zoo: Folder that takes them.
        summary: One sentence for the card.
        default: Whether the family's name stands for them from now on.
        overwrite: Whether a tag that is there may be replaced.

    Returns:
        The card.

    Raises:
        ModelError: The run has no record or no weights, or the tag is taken.
    """
    record = read_record(run)
    family, variant = record["family"], record["variant"]
    network = MODELS.get(family).build(variant)
    network.load_state_dict({key: value.half().float() for key, value in load_average(run).items()})
    network.eval()
    rule = measure_rule(family, network, RULE, pictures=_samples(data), variant=variant)
    rows = score(Restorer(network, size=MODELS.get(family).size, rule=rule), data)
    return release(
        network,
        tag=tag,
        family=family,
        variant=variant,
        summary=summary,
        source=_source(record),
        data="; ".join(_OWN_DATA.get(name, name) for name in record["clean"]),
        inference=rule,
        scores=Scores(
            protocol=PROTOCOL,
            rows=tuple(rows),
            commands=(*_lineage(run), shlex.join(["restorekit", *sys.argv[1:]])),
            commit=_commit(),
            device=f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s)",
            torch=torch.__version__,
        ),
        folder=zoo,
        default=default,
        overwrite=overwrite,
    )


def _lineage(run: Path) -> list[str]:
    """Return the commands that made the weights of a run, each once, those of the runs that it started from first."""
    record = read_record(run)
    parents = record["parents"] if "parents" in record else [record["starts"][0]["config"]["start_from"]]
    earlier = [
        command
        for parent in parents
        if parent and Path(parent, "run.json").exists()
        for command in _lineage(Path(parent))
    ]
    return list(dict.fromkeys([*earlier, *(start["command"] for start in record["starts"])]))


def _source(record: Mapping[str, Any]) -> str:
    if "parents" in record:
        return f"trained by this project, mean of the weights of {', '.join(Path(p).name for p in record['parents'])}"
    config = record["starts"][-1]["config"]
    start = f", from the weights of {Path(config['start_from']).name}" if config["start_from"] else ""
    return f"trained by this project, recipe {record['recipe']}, {config['steps']} steps{start}"


def _samples(data: Path) -> list[NDArray[np.uint8]]:
    """Return pictures to compare whole and tiled on: the bundled degraded sample, and the first of each set."""
    demo = np.asarray(read_image(records("datasets") / "samples" / "demo" / "degraded.png").pixels, np.uint8)
    return [demo, *(first_picture(data, name) for name in list_sets(data) if name in PAIRED)]


def _commit() -> str:
    """Return the commit of the code, where it is a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (fixed words)
    return done.stdout.strip() or "unknown"
