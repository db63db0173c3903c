"""Licences are taken for what they are known to allow, and for nothing more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from restorekit.hub.licences import fits_licence, permits_commercial_use
from tests.unit.hub.test_card import CARD


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("Apache-2.0", True),
        ("apache-2.0", True),
        ("GPL-3.0-only", True),
        ("GPL-3.0-or-later WITH GCC-exception-3.1", True),
        ("CC0-1.0", True),
        ("CC-BY-SA-4.0", True),
        ("MIT AND Apache-2.0", True),
        ("(MIT OR CC-BY-NC-4.0)", True),
        ("MIT AND CC-BY-NC-4.0", False),
        ("CC-BY-NC-4.0", False),
        ("CC-BY-NC-SA-4.0", False),
        ("CC-BY-ND-4.0", False),
        ("not stated", False),
        ("MIT as stated by its authors; the network's first licence is non-commercial", False),
        ("", False),
    ],
)
def test_commercial_use(licence: str, allowed: bool) -> None:
    assert permits_commercial_use(licence) == allowed


@pytest.mark.parametrize(
    ("code", "weights", "wanted", "fits"),
    [
        ("MIT", "Apache-2.0", "commercial", True),
        ("MIT", "Apache-2.0", "Commercial", True),
        ("MIT", "not stated", "commercial", False),
        ("not stated", "MIT", "commercial", False),
        ("MIT", "Apache-2.0", "apache-2.0", True),
        ("MIT", "Apache-2.0", "apache*", True),
        ("MIT", "Apache-2.0", "MIT", False),
    ],
)
def test_weights_are_picked_by_licence(code: str, weights: str, wanted: str, fits: bool) -> None:
    assert fits_licence(replace(CARD, licence_code=code, licence_weights=weights), wanted) == fits
