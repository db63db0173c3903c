"""Where the records that travel with the package lie: cards and bundled weights, suites, manifests, samples.

In a checkout they are the folders ``model_zoo/``, ``datasets/`` and ``benchmarks/`` beside the package; in a wheel the
build puts the needed part of them into ``restorekit/_records/``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["records"]

_PACKAGE = Path(__file__).resolve().parent


def records(kind: Literal["model_zoo", "datasets", "benchmarks"]) -> Path:
    """Return the folder that holds one kind of record.

    Args:
        kind: Which records.

    Returns:
        The folder in the installed package, or else the one of the checkout.
    """
    installed = _PACKAGE / "_records" / kind
    return installed if installed.is_dir() else _PACKAGE.parent / kind
