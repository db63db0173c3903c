"""Whatever bytes come: a picture that can be written again, or one sentence; no traceback, no hang, little memory."""

from __future__ import annotations

import logging
import re
import tracemalloc
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restorekit.io import FileError, ImageData, Limits, encode_image, read_image
from tests.helpers.shared import find_shared_folder
from tests.unit.io.samples import full_metadata, picture

FORMATS = ("png", "jpeg", "webp", "tiff", "bmp")
LIMITS = Limits(pixels=4_000_000)
MOST_BYTES = 200 * 2**20
HEADS = (
    *(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", b"RIFF\x40\x00\x00\x00WEBPVP8 "),
    *(
        b"II*\x00\x08\x00\x00\x00\x05\x00",
        b"MM\x00+\x00\x08\x00\x00",
        b"BM\x40\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28",
    ),
)


@cache
def seeds() -> list[bytes]:
    """Return valid files of every format and depth, and the real ones where they are there."""
    made = [
        ImageData(
            pixels=picture(channels=channels, dtype=dtype).pixels,
            alpha=picture(alpha=True, dtype=dtype).alpha if alpha else None,
            metadata=full_metadata(),
        )
        for channels in (1, 3)
        for dtype in ("uint8", "uint16", "float32")
        for alpha in (False, True)
    ]
    logging.disable(logging.WARNING)
    try:
        files = [encode_image(image, format=format) for image in made for format in FORMATS]
    finally:
        logging.disable(logging.NOTSET)
    shared = find_shared_folder()
    if shared is not None:
        paths = sorted((shared / "data" / "files").glob("*/*"))
        files += [path.read_bytes() for path in paths if 0 < path.stat().st_size < 20_000]
    return files


def hold(data: bytes, format: str) -> None:
    """Read, write what was read, and hold all that to the promise."""
    refusal: FileError | None = None
    tracemalloc.start()
    try:
        encode_image(read_image(data, limits=LIMITS), format=format)
    except FileError as error:
        refusal = error
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert refusal is None or re.fullmatch(r"[^\n]{5,300}", refusal.reason)
    assert peak < MOST_BYTES


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(seeds())))
    for _ in range(draw(st.integers(1, 4))):
        reach = len(data) if draw(st.booleans()) else min(len(data), 200)
        at = draw(st.integers(0, max(0, reach - 1)))
        kind = draw(st.sampled_from(["set", "cut", "drop", "insert", "word"]))
        if kind == "set":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=8))
        else:
            data[at : at + 4] = draw(
                st.sampled_from([b"\xff" * 4, b"\x7f" + b"\xff" * 3, bytes(4), b"\xff" * 3 + b"\x7f"])
            )
    return bytes(data)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("restorekit.io")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=mutated(), format=st.sampled_from(FORMATS))
def test_mutated_files(data: bytes, format: str) -> None:
    hold(data, format)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=st.sampled_from((b"", *HEADS)), rest=st.binary(max_size=300))
def test_any_bytes(head: bytes, rest: bytes) -> None:
    hold(head + rest, "png")
