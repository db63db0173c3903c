"""Degradations: one file per kind, one import line here per file."""

from __future__ import annotations

from restorekit.degradations import blur, haze, jpeg, low_light, noise, rain, snow
from restorekit.degradations._base import DEGRADATIONS, Degradation, from_record, register_degradation

__all__ = [
    "DEGRADATIONS",
    "Degradation",
    "blur",
    "from_record",
    "haze",
    "jpeg",
    "list_degradations",
    "low_light",
    "noise",
    "rain",
    "register_degradation",
    "snow",
]


def list_degradations() -> list[str]:
    """Return the names of all degradations, sorted."""
    return DEGRADATIONS.names()
