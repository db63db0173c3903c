"""Puts the records that commands read into the wheel: cards, bundled weights, manifests, samples, suites.

They lie beside the package in a checkout and in ``restorekit/_records/`` in an installation (restorekit/resources.py).
An editable installation reads the checkout, so nothing is copied for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

RECORDS = (
    "model_zoo/*/*/card.toml",
    "model_zoo/*/*/*.safetensors",
    "datasets/*.toml",
    "datasets/samples/**/*",
    "benchmarks/suites/*.toml",
)


class RecordsHook(BuildHookInterface):
    """Adds the records to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files that the wheel takes in besides the package.

        Args:
            version: ``standard``, or ``editable`` for an installation that reads the checkout.
            build_data: What the build adds; changed in place.
        """
        if version == "editable":
            return
        root = Path(self.root)
        for pattern in RECORDS:
            for path in sorted(root.glob(pattern)):
                if path.is_file():
                    relative = path.relative_to(root).as_posix()
                    build_data["force_include"][relative] = f"restorekit/_records/{relative}"
