"""Whatever bytes come: a picture that can be written again, or one sentence; no traceback, no hang, little memory.

The files are read in a process of its own, which has limits on the processor's time and on memory.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from collections.abc import Iterator
from functools import cache
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from restorekit.io import ImageData, encode_image
from tests.helpers.mutations import KINDS, mutate
from tests.helpers.shared import find_shared_folder
from tests.unit.io.samples import full_metadata, picture

if sys.platform == "win32":
    pytest.skip("Windows has no limits for a process to set itself", allow_module_level=True)

from tests.helpers.reader import Reader

FORMATS = ("png", "jpeg", "webp", "tiff", "bmp")
MOST_BYTES = 64 * 2**20  # of Python and NumPy; a picture of the limit's size has 4 million pixels
MOST_GROWTH = 256 * 2**20  # of the process
# what stands in a sentence only if an exception of Python's got into it
LEAKED = re.compile(
    r"unpack|argument|attribute|NoneType|index out of|subscript|iterable|buffer|__|[A-Z]\w+(Error|Warning)"
)
HEADS = (
    *(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", b"RIFF\x40\x00\x00\x00WEBPVP8 "),
    *(b"II*\x00\x08\x00\x00\x00\x05\x00", b"MM\x00+\x00\x08\x00\x00", b"II*\x00\x08\x00\x00\x00\x01\x00\x00\x01"),
    *(b"BM\x40\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28", b"\xff\xd8\xff\xc2\x00\x11\x08", b"\xff\xd8\xff\xda"),
    *(b"\x00\x00\x00\x18ftypavif", b"\x00\x00\x00\x18ftypheic", b"GIF89a", b"IIRO"),
)


@cache
def seeds() -> dict[str, bytes]:
    """Return valid files of every format and depth, and the real ones where they are there."""
    made = {
        f"{channels} {dtype} {alpha}": ImageData(
            pixels=picture(channels=channels, dtype=dtype).pixels,
            alpha=picture(alpha=True, dtype=dtype).alpha if alpha else None,
            metadata=full_metadata(),
        )
        for channels in (1, 3)
        for dtype in ("uint8", "uint16", "float32")
        for alpha in (False, True)
    }
    logging.disable(logging.WARNING)
    try:
        files = {
            f"{format} {name}": encode_image(image, format=format) for name, image in made.items() for format in FORMATS
        }
    finally:
        logging.disable(logging.NOTSET)
    shared = find_shared_folder()
    if shared is not None:
        paths = sorted((shared / "data" / "files").glob("*/*"))
        files |= {path.name: path.read_bytes() for path in paths if 0 < path.stat().st_size < 20_000}
    return files


class File(bytes):
    """The bytes of a file, which a report does not print."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes, {hashlib.sha256(self).hexdigest()[:12]}, {bytes(self[:16])!r}...>"


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader() as reader:
        yield reader


def hold(reader: Reader, file: bytes, format: str) -> None:
    """Read, write what was read, and hold all that to the promise."""
    answer = reader.read(file, format=format)
    assert answer.fault == ""
    for reason in filter(None, (answer.reason, answer.size_reason)):
        assert re.fullmatch(r"[^\x00-\x1f\x7f]{5,300}", reason)
        assert not LEAKED.search(reason)
        assert "not enough memory" not in reason
    assert answer.peak < MOST_BYTES
    assert answer.growth < MOST_GROWTH


@st.composite
def _edited(draw: st.DrawFn) -> File:
    """Return a valid file with single edits, mostly in its head, which shrink well."""
    data = bytearray(seeds()[draw(st.sampled_from(sorted(seeds())))])
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
    return File(data)


@st.composite
def _mutated(draw: st.DrawFn) -> File:
    """Return a valid file with its lengths, sizes, chunks or checksums changed, as the format has them."""
    data, _ = mutate(seeds()[draw(st.sampled_from(sorted(seeds())))], Random(draw(st.integers(0, 2**32 - 1))))  # noqa: S311
    return File(data)


@st.composite
def _spliced(draw: st.DrawFn) -> File:
    """Return the beginning of a file with the end of another one."""
    first, second = (seeds()[draw(st.sampled_from(sorted(seeds())))] for _ in range(2))
    return File(first[: draw(st.integers(0, len(first)))] + second[draw(st.integers(0, len(second))) :])


# the same examples in every run: what a run has found is an example of a test beside this one
fuzzed = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@settings(fuzzed, max_examples=350)
@given(file=_edited(), format=st.sampled_from(FORMATS))
def test_edited_files(reader: Reader, file: File, format: str) -> None:
    hold(reader, file, format)


@settings(fuzzed, max_examples=700)
@given(file=_mutated(), format=st.sampled_from(FORMATS))
def test_mutated_files(reader: Reader, file: File, format: str) -> None:
    hold(reader, file, format)


@settings(fuzzed, max_examples=200)
@given(file=_spliced(), format=st.sampled_from(FORMATS))
def test_spliced_files(reader: Reader, file: File, format: str) -> None:
    hold(reader, file, format)


@settings(fuzzed, max_examples=200)
@given(head=st.sampled_from((b"", *HEADS)), rest=st.binary(max_size=300))
@example(head=b"", rest=b"")
def test_any_bytes(reader: Reader, head: bytes, rest: bytes) -> None:
    hold(reader, head + rest, "png")


# --- the means of this test -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["png 3 uint8 True", "tiff 1 uint16 False", "jpeg 3 uint8 False"])
def test_valid_files_are_read_by_the_other_process(reader: Reader, name: str) -> None:
    answer = reader.read(seeds()[name], format="png")
    assert (answer.reason, answer.size_reason, answer.fault) == ("", "", "")
    assert answer.peak > 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_mutation_changes_a_file_and_replays(kind: str) -> None:
    file = seeds()["png 3 uint8 True"]
    once, again = ([KINDS[kind](file, Random(seed)) for seed in range(20)] for _ in range(2))  # noqa: S311
    assert sum(one != file for one in once) > 15
    assert once == again
