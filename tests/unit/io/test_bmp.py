"""BMP files of all kinds, read as another program reads them, and the broken ones refused."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from restorekit.errors import PictureError
from restorekit.io import read_image

PALETTE = np.array([[0, 0, 0], [250, 10, 20], [30, 240, 40], [50, 60, 230]] + [[n, n, 255 - n] for n in range(12)])
ROWS = np.random.default_rng(0).integers(0, 16, (9, 13)).astype(np.uint8)


def bmp(
    body: bytes,
    *,
    width: int = 13,
    height: int = 9,
    bits: int = 8,
    compression: int = 0,
    palette: NDArray[Any] | None = None,
    masks: tuple[int, ...] = (),
    head: int = 40,
) -> bytes:
    """Return a BMP by hand; ``masks`` stand behind a header of 40 bytes, and in one of 56 or more."""
    table = b"" if palette is None else b"".join(bytes((b, g, r, 0)) for r, g, b in palette)
    colours = 0 if palette is None else len(palette)
    info = struct.pack("<IiiHHIIiiII", head, width, height, 1, bits, compression, len(body), 0, 0, colours, 0)
    info += b"".join(struct.pack("<I", mask) for mask in masks)
    info = info.ljust(head, b"\x00") if len(info) > 40 else info[:head]
    start = 14 + len(info) + len(table)
    return struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start) + info + table + body


def by_pillow(file: bytes, mode: str) -> NDArray[Any]:
    with Image.open(BytesIO(file)) as image:
        return np.asarray(image.convert(mode))


def packed(rows: NDArray[np.uint8], bits: int) -> bytes:
    each = ["".join(f"{value:0{bits}b}" for value in row) for row in rows[::-1]]
    length = (rows.shape[1] * bits + 31) // 32 * 32
    return b"".join(int(row.ljust(length, "0"), 2).to_bytes(length // 8, "big") for row in each)


def runs(rows: NDArray[np.uint8], *, four: bool) -> bytes:
    """Return run lengths: alternately coded runs, and values as they are."""
    out = b""
    for index, row in enumerate(rows[::-1]):
        if index % 2:
            out += b"".join(bytes((1, value << 4 if four else value)) for value in row)
        else:
            plain = packed(row[None], 4)[: (len(row) + 1) // 2] if four else row.tobytes()
            out += bytes((0, len(row))) + plain + bytes(len(plain) % 2)
        out += b"\x00\x00"
    return out[:-2] + b"\x00\x01"


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes(bits: int) -> None:
    rows = ROWS & (2**bits - 1)
    palette = PALETTE[: 2**bits]
    image = read_image(bmp(packed(rows, bits), bits=bits, palette=palette))
    np.testing.assert_array_equal(image.pixels, palette[rows])
    assert image.encoding.bits == bits


def test_a_palette_of_greys_is_grey() -> None:
    greys = np.array([[255, 255, 255], [0, 0, 0]])
    image = read_image(bmp(packed(ROWS % 2, 1), bits=1, palette=greys))
    np.testing.assert_array_equal(image.pixels, np.where(ROWS % 2, 0, 255))


@pytest.mark.parametrize("four", [False, True])
def test_run_lengths(four: bool) -> None:
    kind: dict[str, Any] = {"bits": 4, "compression": 2} if four else {"bits": 8, "compression": 1}
    file = bmp(runs(ROWS, four=four), palette=PALETTE, **kind)
    np.testing.assert_array_equal(read_image(file).pixels, PALETTE[ROWS])
    np.testing.assert_array_equal(by_pillow(file, "RGB"), PALETTE[ROWS])
    beyond = bmp(bytes((20, 0x22 if four else 2, 0, 0)) * 9 + b"\x00\x01", palette=PALETTE, **kind)
    assert (read_image(beyond).pixels == PALETTE[2]).all()  # some writers fill rows up


@pytest.mark.parametrize(
    ("bits", "masks"),
    [(16, (0xF800, 0x7E0, 0x1F)), (16, (0x7C00, 0x3E0, 0x1F)), (32, (0xFF0000, 0xFF00, 0xFF))],
)
def test_colour_masks(bits: int, masks: tuple[int, ...]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (9, (13 * bits + 31) // 32 * 4), np.uint8)
    file = bmp(noise.tobytes(), bits=bits, compression=3, masks=masks)
    ours, theirs = read_image(file).pixels.astype(int), by_pillow(file, "RGB").astype(int)
    assert np.abs(ours - theirs).max() <= 1  # it cuts where it might round


@pytest.mark.parametrize("head", [40, 56, 124])
def test_masks_of_any_width_with_alpha(head: int) -> None:
    values = np.array([[0x3FF, 0x200, 0x0, 0x3], [0x3FF << 20, 0x3FF << 10, 0x1FF << 20, 0x2 << 30]], np.uint32)
    masks = (0x3FF << 20, 0x3FF << 10, 0x3FF, 0x3 << 30)
    compression = 6 if head == 40 else 3
    file = bmp(values[::-1].tobytes(), width=4, height=2, bits=32, compression=compression, masks=masks, head=head)
    image = read_image(file)
    assert image.pixels.tolist() == [
        [[0, 0, 255], [0, 0, 128], [0, 0, 0], [0, 0, 1]],
        [[255, 0, 0], [0, 255, 0], [127, 0, 0], [0, 0, 0]],
    ]
    assert image.alpha is not None
    assert image.alpha.tolist() == [[0, 0, 0, 0], [0, 0, 0, 170]]


def test_a_short_header_of_os2() -> None:
    file = bytearray(bmp(packed(ROWS, 8), palette=PALETTE, head=16))
    struct.pack_into("<I", file, 10, 14 + 16 + 4 * len(PALETTE))
    # without a count of colours the palette goes up to the pixels
    np.testing.assert_array_equal(read_image(bytes(file)).pixels, PALETTE[ROWS])


def test_filling_that_is_missing_at_the_very_end() -> None:
    body = packed(ROWS, 8)
    np.testing.assert_array_equal(read_image(bmp(body[:-3], palette=PALETTE)).pixels, PALETTE[ROWS])
    with pytest.raises(PictureError, match="end too early"):
        read_image(bmp(body[:-4], palette=PALETTE))


RLE = {"palette": PALETTE, "compression": 1}


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (bmp(packed(ROWS, 8), palette=PALETTE[:7]), "outside its palette"),
        (bmp(packed(ROWS, 8)), "outside its palette"),
        (bmp(bytes((5, 1, 0, 1)), width=2, height=2, **RLE), "says nothing about 2 of its pixels"),
        (bmp(bytes((2, 1, 0, 2, 0, 1, 0, 1)), width=2, height=2, **RLE), "says nothing about 2 of its pixels"),
        (bmp(bytes((2, 1, 0, 0, 1)), width=2, height=2, **RLE), "end too early"),
        (bmp(bytes((0, 9, 1, 1)), width=9, height=1, **RLE), "end too early"),
        (bmp(bytes((2, 1)), width=20_000, height=20_000, **RLE), "end too early"),
        (bmp(bytes((2, 1, 0, 1)), width=2, height=-1, **RLE), "header is damaged"),
        (bmp(bytes(99), bits=24, compression=4), "holds a JPEG"),
        (bmp(bytes(99), bits=24, compression=5), "holds a PNG"),
        (bmp(bytes(99), bits=5), "5 bits a pixel, compression 0, is not supported"),
        (bmp(bytes(99), bits=8, compression=77), "8 bits a pixel, compression 77, is not supported"),
        (bmp(bytes(999), bits=32, compression=3, masks=(0xFF, 0xFF, 0xFF00)), "colour masks of the BMP are damaged"),
        (bmp(bytes(999), bits=32, compression=3, masks=(0x101, 0x10, 0xFF00)), "colour masks of the BMP are damaged"),
        (bmp(bytes(999), bits=16, compression=3, masks=(0xFF0000, 0xFF, 0xFF00)), "colour masks of the BMP are dam"),
        (bmp(bytes(999), bits=24, compression=3, head=64), "a method of OS/2"),
    ],
)
def test_broken_and_odd_files_are_refused_by_what_is_wrong(file: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        read_image(file)
