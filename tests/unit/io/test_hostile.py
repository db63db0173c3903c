"""Files that were made to cost much: refused before the memory is taken, and what is no file is not read at all."""

from __future__ import annotations

import os
import re
import socket
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restorekit.errors import PictureError
from restorekit.io import Limits, read_image, read_pages, read_size
from tests.unit.io.samples import grey_png, jpeg, png, smooth

MIB = 2**20


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Hold what is inside to some bytes at its peak."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size, f"{peak / MIB:.1f} MiB"


def refused(source: bytes | Path, reason: str, *, most: int = 4 * MIB, limits: Limits | None = None) -> None:
    with at_most(most), pytest.raises(PictureError, match=reason):
        read_image(source, limits=limits or Limits())


# --- what is no file --------------------------------------------------------------------------------------------------


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    os.mkfifo(path)
    refused(path, r"a\.png: this is a device, a pipe or a socket, not a file")


def test_devices_and_sockets(tmp_path: Path) -> None:
    refused(Path("/dev/zero"), "/dev/zero: this is a device")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.png"))
        refused(tmp_path / "s.png", "this is a device, a pipe or a socket")


def test_a_pipe_that_a_shell_made_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, grey_png())
    os.close(writing)
    try:
        assert read_image(f"/dev/fd/{reading}").width == 2
    finally:
        os.close(reading)


def sparse(path: Path, head: bytes, size: int) -> Path:
    path.write_bytes(head)
    os.truncate(path, size)
    return path


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    refused(sparse(tmp_path / "a.png", grey_png(), 5 * 2**30), r"larger than the limit of 4096 MiB", most=MIB)


def test_a_large_file_of_another_kind_is_not_read(tmp_path: Path) -> None:
    refused(sparse(tmp_path / "a.jpg", b"", 3 * 2**30), "not JPEG nor any other known picture format", most=MIB)


# --- headers that lie -------------------------------------------------------------------------------------------------


def _jpeg_of(width: int, height: int) -> bytes:
    file = jpeg(smooth(), progressive=False)
    at = file.index(b"\xff\xc0") + 5
    return file[:at] + struct.pack(">HH", height, width) + file[at + 4 :]


def _png_of(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return png((b"IHDR", header), (b"IDAT", zlib.compress(bytes(MIB))), (b"IEND", b""))


def _tiff_of(width: int, height: int, *, compression: str) -> bytes:
    out = BytesIO()
    Image.fromarray(smooth()).save(out, "TIFF", compression=compression)
    file = bytearray(out.getvalue())
    (first,) = struct.unpack_from("<I", file, 4)
    for entry in range(first + 2, first + 2 + 12 * struct.unpack_from("<H", file, first)[0], 12):
        tag = struct.unpack_from("<H", file, entry)[0]
        if tag in (256, 257, 278):
            struct.pack_into("<HHII", file, entry, tag, 4, 1, width if tag == 256 else height)
    return bytes(file)


def _bmp_of(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 2, 0)
    runs = bytes((255, 0)) * 10 + bytes((0, 2, 255, 255)) * 10
    return struct.pack("<2sIHHI", b"BM", 0, 0, 0, 62) + info + bytes(8) + runs + b"\x00\x01"


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (_jpeg_of(20_000, 20_000), "too short for its size"),
        (_png_of(20_000, 20_000), "end after 0 %"),
        (_tiff_of(20_000, 20_000, compression="tiff_lzw"), "too early"),
        (_tiff_of(20_000, 20_000, compression="packbits"), "too early"),
        (_tiff_of(20_000, 20_000, compression="tiff_adobe_deflate"), "too early"),
        (_tiff_of(20_000, 20_000, compression="jpeg"), "too early"),
        (_bmp_of(20_000, 20_000), "end too early"),
        (_bmp_of(400_000_000, 1), "end too early"),
    ],
)
def test_a_size_that_the_data_do_not_bear_out(file: bytes, reason: str) -> None:
    refused(file, reason)


def test_a_progressive_jpeg_of_many_scans_is_refused() -> None:
    file = jpeg(smooth(), progressive=True)
    start = file.rindex(b"\xff\xda")
    scan = file[start:-2]
    refused(file[:-2] + scan * 100 + b"\xff\xd9", "scans, which no camera writes")


# --- directories ------------------------------------------------------------------------------------------------------


def directory(entries: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + rows + struct.pack("<I", following)


def _sides(width: int, height: int) -> list[tuple[int, int, int, int]]:
    return [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (262, 3, 1, 1)]


def test_values_that_share_their_bytes_do_not_multiply() -> None:
    entries = _sides(4, 4) + [(1000 + index, 7, 2 * MIB, 8) for index in range(3000)]
    file = b"II*\x00" + struct.pack("<I", 2 * MIB) + bytes(2 * MIB - 8) + directory(entries)
    refused(file, "values of a directory of the file overlap", most=8 * MIB)


def test_an_endless_chain_of_large_directories() -> None:
    rows = struct.pack("<HHII", 1000, 1, 1, 0) * 3000
    size = 2 + len(rows) + 4
    body = b"".join(struct.pack("<H", 3000) + rows + struct.pack("<I", 8 + size * (index + 1)) for index in range(1200))
    with pytest.raises(PictureError, match="more than 1000 pages"):
        read_pages(b"II*\x00" + struct.pack("<I", 8) + body)


def test_pages_of_the_same_bytes_do_not_multiply() -> None:
    packed = zlib.compress(bytes(4 * MIB))
    first = 8 + len(packed) + len(packed) % 2
    entries = [*_sides(2048, 2048), (259, 3, 1, 8), (273, 4, 1, 8), (278, 4, 1, 2048), (279, 4, 1, len(packed))]
    entries.sort()
    size = len(directory(entries))
    pages = b"".join(directory(entries, first + size * (index + 1) if index < 99 else 0) for index in range(100))
    file = (b"II*\x00" + struct.pack("<I", first) + packed).ljust(first, b"\x00") + pages
    limits = Limits(pixels=10_000_000)
    with at_most(40 * MIB), pytest.raises(PictureError, match="more than the limit of 10 megapixels in all"):
        read_pages(file, limits=limits)


def test_numbers_that_are_none_say_nothing() -> None:
    """A resolution of NaN, and sides as floating-point numbers."""
    rows = np.arange(16, dtype=np.uint8)
    entries = [*_sides(4, 4), (273, 4, 1, 8), (278, 4, 1, 4), (279, 4, 1, 16), (282, 11, 1, 0x7FC00000)]
    entries += [(283, 11, 1, 0x7F800000)]
    image = read_image(b"II*\x00" + struct.pack("<I", 24) + rows.tobytes() + directory(entries))
    np.testing.assert_array_equal(image.pixels, rows.reshape(4, 4))
    assert image.metadata.dpi is None


# --- texts ------------------------------------------------------------------------------------------------------------


def test_many_texts_that_inflate_to_much_are_left_out() -> None:
    bomb = b"Comment\x00\x00" + zlib.compress(bytes(8 * MIB))
    file = grey_png(*[(b"zTXt", bomb)] * 40)
    with at_most(24 * MIB):
        image = read_image(file, limits=Limits(metadata_bytes=8 * MIB))
    assert any("too large" in note for note in image.notes)


@pytest.mark.parametrize("read", [read_image, read_size])
def test_reasons_are_one_line_without_control_characters(read: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 9, b"\x1b[2J") + bytes(13))
    with pytest.raises(PictureError, match=r"a\.png: ") as caught:
        read(path)
    assert re.fullmatch(r"[^\x00-\x1f\x7f]{20,300}", str(caught.value).removeprefix(str(path)))
