"""Fax coding, against the encoder of another program."""

from __future__ import annotations

import struct
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from restorekit.io import read_image
from restorekit.io.faults import Refusal
from restorekit.io.fax import decode_fax

KINDS: dict[str, dict[str, Any]] = {
    "rows of their own": {"compression": "tiff_ccitt"},
    "group 3": {"compression": "group3"},
    "group 3, two-dimensional": {"compression": "group3", "tiffinfo": {292: 1}},
    "group 3, filled up to bytes": {"compression": "group3", "tiffinfo": {292: 5}},
    "group 4": {"compression": "group4"},
}


def coded(rows: NDArray[Any], **options: Any) -> bytes:
    out = BytesIO()
    Image.fromarray(rows.astype(bool)).save(out, "TIFF", **options)
    return out.getvalue()


def every_run() -> NDArray[np.uint8]:
    """Return rows with white and black runs of all lengths that have a code of their own, and of longer ones."""
    rows = np.zeros((2 * 64 + 2 * 60, 6000), np.uint8)
    for index, length in enumerate([*range(64), *range(64, 3904, 64)]):
        rows[2 * index, length : 2 * length] = 1
        rows[2 * index + 1] = 1 - rows[2 * index]
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_every_run_in_both_colours(kind: str) -> None:
    rows = every_run()
    np.testing.assert_array_equal(read_image(coded(rows, **KINDS[kind])).pixels, 255 * rows)


@pytest.mark.parametrize("width", [1, 7, 8, 9, 300])
@pytest.mark.parametrize("kind", KINDS)
def test_small_differences_from_row_to_row(kind: str, width: int) -> None:
    random = np.random.default_rng(width)
    rows = np.zeros((60, width), np.uint8)
    for above, row in pairwise(rows):
        shifted = np.roll(above, random.integers(-3, 4))
        row[:] = np.where(random.random(width) < 0.05, random.integers(0, 2, width), shifted)
    np.testing.assert_array_equal(read_image(coded(rows, **KINDS[kind])).pixels, 255 * rows)


def test_lowest_bit_first() -> None:
    rows = (np.random.default_rng(0).random((20, 50)) < 0.3).astype(np.uint8)
    turned = coded(rows, compression="group4", tiffinfo={266: 2})
    (first,) = struct.unpack_from("<I", turned, 4)
    count = struct.unpack_from("<H", turned, first)[0]
    tags = dict(struct.unpack_from("<H6xH", turned, first + 2 + 12 * index) for index in range(count))
    assert tags[266] == 2
    np.testing.assert_array_equal(read_image(turned).pixels, 255 * rows)


@pytest.mark.parametrize(
    ("packed", "compression", "options", "reason"),
    [
        (b"", 4, 0, "damaged or cut off"),
        (b"\xff", 4, 0, "damaged or cut off"),  # one row of eight is all white
        (bytes(40), 4, 0, "damaged or cut off"),
        (bytes(40), 3, 0, "damaged or cut off"),
        (b"\x00\x10\x01" * 6, 3, 0, "damaged or cut off"),  # nothing but the end
        (b"\x00\x10\x01" * 6, 4, 0, "damaged or cut off"),
        (b"\xff" * 9, 4, 2, "uncompressed mode"),
        (b"\x35\x35" * 40, 2, 0, "damaged or cut off"),  # a white run of no length, and rows that run past the edge
    ],
)
def test_damaged_rows_are_refused(packed: bytes, compression: int, options: int, reason: str) -> None:
    with pytest.raises(Refusal, match=reason):
        decode_fax(packed, width=30, rows=9, compression=compression, options=options)


def test_white_rows_take_a_bit_each() -> None:
    assert not decode_fax(b"\xff\x80", width=30, rows=9, compression=4, options=0).any()
