from __future__ import annotations

import struct
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from restorekit.errors import PictureError
from restorekit.io import ImageData, Limits, Metadata, encode_image, read_image
from tests.unit.io.samples import grey_png, png, values

ICC = (b"iCCP", b"name\x00\x00" + zlib.compress(b"x" * 200))


def test_sixteen_bit_grey_keeps_every_level() -> None:
    """Field report 1."""
    ramp = np.tile(np.arange(256, dtype=np.uint16) * 257, (64, 1))
    file = cv2.imencode(".png", ramp)[1].tobytes()
    image = read_image(file)
    assert image.grey
    again = cv2.imdecode(np.frombuffer(encode_image(image), np.uint8), cv2.IMREAD_UNCHANGED)
    assert again.dtype == np.uint16
    np.testing.assert_array_equal(again, ramp)


def test_depth_goes_by_the_header_and_not_by_the_values() -> None:
    dark = np.full((4, 4), 200, np.uint16)
    assert read_image(cv2.imencode(".png", dark)[1].tobytes()).pixels.dtype == np.uint16


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("interlaced", [0, 1])
def test_few_bits_are_scaled_to_the_whole_range(bits: int, interlaced: int) -> None:
    levels = 2**bits
    rows = [[(x + y) % levels for x in range(8)] for y in range(8)]
    header = struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, interlaced)
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    data = b""
    for x0, y0, dx, dy in passes if interlaced else [(0, 0, 1, 1)]:
        for y in range(y0, 8, dy):
            packed = "".join(f"{rows[y][x]:0{bits}b}" for x in range(x0, 8, dx))
            data += b"\x00" + int(packed.ljust(-(-len(packed) // 8) * 8, "0"), 2).to_bytes(-(-len(packed) // 8), "big")
    image = read_image(png((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")))
    np.testing.assert_array_equal(image.pixels, np.array(rows) * 255 // (levels - 1))
    assert image.encoding.bits == bits


@pytest.mark.parametrize("soft", [False, True])
def test_a_palette_keeps_its_transparency(soft: bool) -> None:
    """Field report 3."""
    indices = np.zeros((64, 64), np.uint8)
    indices[16:48, 16:48] = 1
    indices[30:34, 30:34] = 2
    picture = Image.fromarray(indices, "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    out = BytesIO()
    picture.save(out, "PNG", transparency=bytes([0, 128, 255]) if soft else 0)
    image = read_image(encode_image(read_image(out.getvalue())))
    assert image.alpha is not None
    expected = np.array([0, 128, 255] if soft else [0, 255, 255], np.uint8)[indices]
    np.testing.assert_array_equal(image.alpha, expected)
    np.testing.assert_array_equal(image.pixels[20, 20], [255, 0, 0])
    np.testing.assert_array_equal(image.pixels[31, 31], [0, 0, 255])


@pytest.mark.parametrize(("bits", "channels"), [(8, 1), (8, 3), (16, 1), (16, 3), (4, 1)])
def test_one_transparent_colour_becomes_alpha(bits: int, channels: int) -> None:
    top = 2**bits - 1
    header = struct.pack(">IIBBBBB", 2, 1, bits, 0 if channels == 1 else 2, 0, 0, 0)
    key, other = top // 3, top
    if bits == 4:
        row = bytes([key << 4 | other])
    else:
        row = b"".join(v.to_bytes(bits // 8, "big") * channels for v in (key, other))
    file = png(
        (b"IHDR", header),
        (b"tRNS", struct.pack(">H", key) * channels),
        (b"IDAT", zlib.compress(b"\x00" + row)),
        (b"IEND", b""),
    )
    image = read_image(file)
    assert image.alpha is not None
    full = 65535 if bits == 16 else 255
    assert image.alpha.tolist() == [[0, full]]
    assert image.alpha.dtype == image.pixels.dtype


def test_texts_and_colour_chunks_are_kept_as_they_are() -> None:
    kept = [
        (b"gAMA", struct.pack(">I", 45455)),
        (b"cHRM", struct.pack(">8I", *range(8))),
        (b"sRGB", b"\x01"),
        (b"tEXt", b"Title\x00A title"),
        (b"zTXt", b"Description\x00\x00" + zlib.compress(b"long" * 100)),
        (b"iTXt", b"Author\x00\x00\x00de\x00Autor\x00" + "Bär".encode()),
        (b"tIME", bytes(7)),
        (b"pHYs", struct.pack(">IIB", 3, 2, 0)),
    ]
    file = grey_png(*kept, (b"bKGD", b"\x00\x00"), (b"prIV", b"x"))
    image = read_image(file)
    assert sorted(image.metadata.png_chunks) == sorted(kept)
    assert sorted(read_image(encode_image(image)).metadata.png_chunks) == sorted(kept)


def test_damaged_metadata_is_left_out_with_a_word() -> None:
    wrong = bytearray(grey_png((b"tEXt", b"Title\x00x"), ICC))
    wrong[wrong.index(b"tEXt") + 10] ^= 1
    image = read_image(bytes(wrong))
    assert image.metadata.icc == b"x" * 200
    assert image.notes == ("the tEXt chunk is damaged (wrong checksum) and was left out",)
    image = read_image(grey_png((b"iCCP", b"name\x00\x00not deflate")))
    assert image.metadata.icc is None
    assert image.notes == ("the iCCP chunk is damaged or too large and was left out",)


def test_a_text_that_inflates_without_end_is_left_out() -> None:
    bomb = zlib.compress(bytes(200_000))
    image = read_image(grey_png((b"zTXt", b"big\x00\x00" + bomb), ICC), limits=Limits(metadata_bytes=100_000))
    assert image.notes == ("the zTXt chunk is damaged or too large and was left out",)
    assert image.metadata.icc is not None


HEADER = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
ROWS = zlib.compress(bytes(6))


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (grey_png()[:-20], "ends in the middle of a chunk"),
        (png((b"IHDR", HEADER), (b"IEND", b"")), "no header or no picture data"),
        (png((b"IDAT", ROWS), (b"IEND", b"")), "no header or no picture data"),
        (png((b"IHDR", HEADER), (b"IDAT", ROWS[:-4]), (b"IEND", b"")), "end after 100 %"),
        (png((b"IHDR", HEADER), (b"IDAT", zlib.compress(bytes(3))), (b"IEND", b"")), "end after 50 %"),
        (png((b"IHDR", HEADER), (b"IDAT", b"x" + ROWS), (b"IEND", b"")), "compressed picture data .* damaged"),
        (png((b"IHDR", HEADER), (b"ABCD", b""), (b"IDAT", ROWS), (b"IEND", b"")), "not known .ABCD."),
        (png((b"IHDR", HEADER[:8] + bytes([3, 0, 0, 0, 0])), (b"IDAT", ROWS), (b"IEND", b"")), "header is damaged"),
        (png((b"IHDR", HEADER[:8] + bytes([8, 3, 0, 0, 0])), (b"IDAT", ROWS), (b"IEND", b"")), "no palette"),
        (png((b"IHDR", bytes(4) + HEADER[4:]), (b"IDAT", ROWS), (b"IEND", b"")), "0 x 2 pixels"),
        (
            png((b"IHDR", HEADER), (b"acTL", struct.pack(">II", 3, 0)), (b"IDAT", ROWS), (b"IEND", b"")),
            "animation of 3 frames",
        ),
        (
            png((b"IHDR", struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)), (b"IDAT", ROWS), (b"IEND", b"")),
            "1600 megapixels.* and the limit is 500",
        ),
    ],
)
def test_broken_files_are_refused_by_what_is_wrong(file: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        read_image(file)


def test_a_wrong_checksum_of_the_pixels_is_refused() -> None:
    """Field report 10."""
    file = bytearray(grey_png())
    file[file.index(b"IDAT") + 6] ^= 1
    with pytest.raises(PictureError, match="checksum of the IDAT chunk is wrong"):
        read_image(bytes(file))


def test_an_animation_of_one_frame_is_a_picture() -> None:
    assert read_image(grey_png((b"acTL", struct.pack(">II", 1, 0)))).pixels.shape == (2, 2)


def test_files_are_no_larger_than_those_of_a_common_encoder() -> None:
    y, x = np.mgrid[0:200, 0:300]
    soft = np.stack([x * y % 256, x, y], -1).astype(np.uint8) // 2 + values((200, 300, 3), "uint8") // 32
    out = BytesIO()
    Image.fromarray(soft).save(out, "PNG")
    assert len(encode_image(ImageData(pixels=soft))) < 1.1 * len(out.getvalue())


def test_a_comment_becomes_a_text() -> None:
    file = encode_image(ImageData(pixels=np.zeros((2, 2), np.uint8), metadata=Metadata(comment="Grüße".encode())))
    with Image.open(BytesIO(file)) as opened:
        assert opened.info["Comment"] == "Grüße"
