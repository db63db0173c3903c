"""What weights were measured to reach, and with which commands: the file ``scores.json`` beside a card."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from restorekit.errors import ModelError
from restorekit.hub._files import write_text

__all__ = ["SCORES_FILE", "Scores", "SetScore", "read_scores", "write_scores"]

SCORES_FILE = "scores.json"


@dataclass(frozen=True, kw_only=True)
class SetScore:
    """The score of one set of pictures.

    Attributes:
        set: Name of the set, with what was done to it.
        pictures: Number of pictures.
        psnr_input: Mean PSNR of the degraded pictures, in dB; ``None`` where they are the clean ones.
        psnr_output: Mean PSNR of the restored pictures, in dB.
        worst_gain: Smallest gain of a picture, in dB; ``None`` where the input is the clean picture.
    """

    set: str
    pictures: int
    psnr_input: float | None
    psnr_output: float
    worst_gain: float | None = None


@dataclass(frozen=True, kw_only=True)
class Scores:
    """A run of measurements.

    Attributes:
        protocol: Name of the way of scoring.
        rows: One row per set.
        commands: What was typed, in order: training, scoring.
        commit: Commit of the code.
        device: What it ran on.
        torch: Version of PyTorch.
    """

    protocol: str
    rows: tuple[SetScore, ...]
    commands: tuple[str, ...]
    commit: str
    device: str
    torch: str


def write_scores(scores: Scores, path: Path) -> None:
    """Write scores as JSON; ``read_scores`` returns equal ones. An infinite PSNR is written as ``null``."""
    record = asdict(scores)
    record["rows"] = [
        {key: None if isinstance(value, float) and math.isinf(value) else value for key, value in row.items()}
        for row in record["rows"]
    ]
    write_text(path, json.dumps(record, indent=2, allow_nan=False) + "\n")


def read_scores(path: Path) -> Scores:
    """Read scores.

    Raises:
        ModelError: The file is missing or no JSON, or a key is unknown or missing.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(SetScore(**_fields(SetScore, row)) for row in record.pop("rows"))
        commands = tuple(record.pop("commands"))
        return Scores(rows=rows, commands=commands, **record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} cannot be read as scores ({error}); score the weights again") from error


def _fields(kind: type[Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    unknown = sorted(set(values) - {field.name for field in fields(kind)})
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}")
    return values
