from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from restorekit.errors import PictureError
from restorekit.io import ImageData, Metadata, encode_image, read_image
from tests.unit.io.samples import exif_block, picture, smooth, srgb_profile, values


def webp(pixels: np.ndarray[Any, Any], **options: Any) -> bytes:
    """Return a WebP by Pillow."""
    out = BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", **options)
    return out.getvalue()


def is_lossless(file: bytes) -> bool:
    return b"VP8L" in file


def test_webp_stays_lossless_or_lossy_as_it_was() -> None:
    lossless, lossy = read_image(webp(smooth(), lossless=True)), read_image(webp(smooth(), quality=80))
    assert is_lossless(encode_image(lossless))
    assert not is_lossless(encode_image(lossy))
    assert not is_lossless(encode_image(lossless, quality=90))
    assert is_lossless(encode_image(picture(), format="webp"))


def test_colours_under_full_transparency_are_kept() -> None:
    pixels, alpha = values((9, 9, 3), "uint8"), np.zeros((9, 9), np.uint8)
    again = read_image(encode_image(ImageData(pixels=pixels, alpha=alpha), format="webp"))
    np.testing.assert_array_equal(again.pixels, pixels)


def test_a_resolution_goes_into_the_exif_block_and_leaves_the_rest_of_it_alone() -> None:
    for block in (None, exif_block(1)):
        image = ImageData(pixels=smooth(), metadata=Metadata(exif=block, dpi=(300.0, 150.0)))
        again = read_image(encode_image(image, format="webp"))
        assert again.metadata.dpi == (300, 150)
        assert again.metadata.exif is not None
        if block is not None:
            assert block[8:200].count(b"Model X") == again.metadata.exif.count(b"Model X") == 1
            at = block.index(b"maker's own bytes")
            assert again.metadata.exif[at:].startswith(b"maker's own bytes"), "offsets in maker notes still hold"


@pytest.mark.parametrize("length", [19, 40, 200, -1])
def test_a_cut_webp_is_refused(length: int) -> None:
    with pytest.raises(PictureError, match=r"cut off|damaged"):
        read_image(webp(smooth())[:length])


def test_an_animated_webp_is_refused() -> None:
    frames = [Image.fromarray(smooth()), Image.fromarray(smooth()[::-1])]
    out = BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(PictureError, match="this is an animation"):
        read_image(out.getvalue())


def test_webp_without_pixels_or_with_damaged_ones() -> None:
    body = b"WEBPVP8 " + struct.pack("<I", 10) + bytes(10)
    with pytest.raises(PictureError, match="picture data of the WebP are damaged"):
        read_image(b"RIFF" + struct.pack("<I", len(body)) + body)
    body = b"WEBPEXIF" + struct.pack("<I", 10) + bytes(10)
    with pytest.raises(PictureError, match="holds no picture data"):
        read_image(b"RIFF" + struct.pack("<I", len(body)) + body)


def test_a_side_too_long_for_webp() -> None:
    with pytest.raises(PictureError, match="at most 16383 pixels a side, and the picture has 16384 x 1"):
        encode_image(ImageData(pixels=np.zeros((1, 16384), np.uint8)), format="webp")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_bmp_files_of_pillow(mode: str) -> None:
    source = Image.fromarray(smooth(7, 11)).convert(mode)
    out = BytesIO()
    source.save(out, "BMP", dpi=(96, 96))
    image = read_image(out.getvalue())
    expected = np.asarray(source.convert("RGB" if mode in ("P", "RGB") else "L"))
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.metadata.dpi == pytest.approx((96, 96), abs=0.02)


def test_bmp_of_the_oldest_kind() -> None:
    rows = values((2, 2, 3), "uint8")
    body = b"".join(row[:, ::-1].tobytes() + b"\x00\x00" for row in rows[::-1])
    file = struct.pack("<2sIHHI", b"BM", 26 + len(body), 0, 0, 26) + struct.pack("<IHHHH", 12, 2, 2, 1, 24) + body
    np.testing.assert_array_equal(read_image(file).pixels, rows)


def test_bmp_keeps_alpha_only_where_the_input_was_one() -> None:
    image = picture(alpha=True)
    kept = encode_image(ImageData(pixels=image.pixels, alpha=image.alpha, format="bmp"))
    np.testing.assert_array_equal(read_image(kept).alpha, image.alpha)
    assert read_image(encode_image(image, format="bmp")).alpha is None


def test_bmp_profile_of_grey_and_colour() -> None:
    for channels in (1, 3):
        image = picture(channels=channels)
        image = ImageData(pixels=image.pixels, metadata=Metadata(icc=srgb_profile()))
        again = read_image(encode_image(image, format="bmp"))
        assert again.metadata.icc == srgb_profile()
        np.testing.assert_array_equal(again.pixels, image.pixels)


BMP = encode_image(picture(), format="bmp")


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (BMP[:20], "ends in its header"),
        (BMP[:60], "header is damaged"),
        (BMP[:200], "cut off"),
        (BMP[:14] + struct.pack("<I", 13) + BMP[18:], "header is damaged"),
        (BMP[:18] + struct.pack("<ii", 10**5, 10**5) + BMP[26:], "10000 megapixels"),
        (BMP[:18] + struct.pack("<ii", -5, 5) + BMP[26:], "-5 x 5 pixels"),
    ],
)
def test_broken_bmp_files_are_refused_by_what_is_wrong(file: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        read_image(file)


def test_a_bmp_upside_down_is_turned() -> None:
    image = picture()
    height = struct.unpack_from("<i", BMP, 22)[0]
    flipped = BMP[:22] + struct.pack("<i", -height) + BMP[26:]
    np.testing.assert_array_equal(read_image(flipped).pixels, image.pixels[::-1])
