"""From a run to the zoo: measure, score, and write weights, card and page."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from restorekit.errors import ModelError
from restorekit.hub import Card, Scores, release
from restorekit.inference import Restorer
from restorekit.inference.measure import measure_rule
from restorekit.io import read_image
from restorekit.models import MODELS
from restorekit.resources import records
from restorekit.training.run import load_average
from restorekit.training.score import PROTOCOL, RULE, score

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
    record = _record(run)
    family, variant = record["family"], record["variant"]
    network = MODELS.get(family).build(variant)
    network.load_state_dict({key: value.half().float() for key, value in load_average(run).items()})
    network.eval()
    rule = measure_rule(family, network, RULE, pictures=_samples(), variant=variant)
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


def _record(run: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{run} holds no record of a run ({error}); name a folder that `restorekit train run` made"
        ) from error
    return record


def _lineage(run: Path) -> list[str]:
    """Return the commands that made the weights of a run, those of the runs that it started from first."""
    record = _record(run)
    parents = [Path(p) for p in record.get("parents", [record["starts"][0]["config"]["start_from"]]) if p]
    earlier = [command for parent in parents if (parent / "run.json").exists() for command in _lineage(parent)]
    return [*earlier, *(start["command"] for start in record["starts"])]


def _source(record: Mapping[str, Any]) -> str:
    config = record["starts"][-1]["config"]
    start = f", from the weights of {Path(config['start_from']).name}" if config["start_from"] else ""
    return f"trained by this project, recipe {record['recipe']}, {config['steps']} steps{start}"


def _samples() -> Sequence[NDArray[np.uint8]]:
    """Return the bundled degraded sample, to compare whole and tiled on."""
    return [np.asarray(read_image(records("datasets") / "samples" / "demo" / "degraded.png").pixels, np.uint8)]


def _commit() -> str:
    """Return the commit of the code, where it is a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (fixed words)
    return done.stdout.strip() or "unknown"
