from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from restorekit.errors import PictureError, UsageError
from restorekit.io import ImageData, Metadata, encode_image, read_image
from tests.unit.io.samples import XMP, exif_block, jpeg, smooth, srgb_profile, values


def sampling(file: bytes) -> list[int]:
    """Return the sampling factors that the frame header states."""
    at = next(file.index(bytes([0xFF, kind])) for kind in (0xC0, 0xC2) if bytes([0xFF, kind]) in file)
    return [file[at + 11 + 3 * index] for index in range(file[at + 9])]


STRIPES = np.tile(np.array([[255, 0, 0], [0, 0, 255]], np.uint8), (256, 128, 1))


@pytest.mark.parametrize("quality", [None, 90, 95, 100])
def test_at_high_quality_colour_is_not_subsampled(quality: int | None) -> None:
    """Field report 4."""
    file = encode_image(ImageData(pixels=STRIPES), format="jpeg", quality=quality)
    assert sampling(file) == [0x11, 0x11, 0x11]
    assert np.abs(read_image(file).pixels.astype(int) - STRIPES).mean() < 12


@pytest.mark.parametrize(("source", "expected"), [(0, 0x11), (1, 0x21), (2, 0x22), (None, 0x22)])
def test_below_that_it_is_what_the_input_had(source: int | None, expected: int) -> None:
    image = ImageData(pixels=STRIPES) if source is None else read_image(jpeg(STRIPES, subsampling=source))
    assert sampling(encode_image(image, format="jpeg", quality=80))[0] == expected


@pytest.mark.parametrize(("source", "least"), [(30, 94), (95, 94), (98, 97), (100, 99)])
def test_default_quality_is_95_or_that_of_the_input(source: int, least: int) -> None:
    image = read_image(jpeg(smooth(), quality=source))
    assert image.encoding.quality == pytest.approx(source, abs=1)
    again = read_image(encode_image(image)).encoding.quality
    assert again is not None
    assert again >= least


def test_progressive_stays_progressive_and_grey_stays_grey() -> None:
    image = read_image(jpeg(smooth()[:, :, 0], progressive=True))
    assert image.grey
    again = read_image(encode_image(image))
    assert again.encoding.progressive
    assert again.grey


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "webp"])
def test_a_turned_photo_looks_the_same_in_every_viewer(orientation: int, format: str) -> None:
    """Field report 2."""
    half = np.zeros((40, 80, 3), np.uint8)
    half[:, :40, 0] = half[:, 40:, 2] = 220
    half[:10, :10] = 255
    stored = jpeg(half, exif=b"Exif\x00\x00" + exif_block(orientation), subsampling=0)
    with Image.open(BytesIO(stored)) as opened:
        shown = np.asarray(_as_shown(opened)).astype(int)
    image = read_image(stored)
    with Image.open(BytesIO(encode_image(image, format=format))) as opened:
        assert opened.getexif().get(274, 1) == 1
        assert opened.getexif()[272] == "Model X"
        again = np.asarray(_as_shown(opened)).astype(int)
    assert again.shape == shown.shape
    assert np.abs(again - shown).mean() < 6


def _as_shown(image: Image.Image) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def test_the_sides_in_the_exif_block_follow_and_the_thumbnail_goes() -> None:
    block = exif_block(6, thumbnail=jpeg(smooth(8, 8)))
    image = read_image(jpeg(smooth(40, 80), exif=b"Exif\x00\x00" + block))
    assert image.metadata.exif is not None
    assert b"\xff\xd8" not in image.metadata.exif
    assert b"maker's own bytes" in image.metadata.exif
    with Image.open(BytesIO(encode_image(image))) as opened:
        below = opened.getexif().get_ifd(34665)
        assert (below[40962], below[40963]) == opened.size == (40, 80)
        assert not opened.getexif().get_ifd(1)


def test_an_orientation_in_xmp_is_reset_with_the_one_in_exif() -> None:
    packet = XMP.replace(b"dc:format", b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" dc:format')
    turned = encode_image(ImageData(pixels=smooth(), metadata=Metadata(xmp=packet)), format="jpeg")
    assert read_image(turned).metadata.xmp == packet
    segment = struct.pack(">BBH", 0xFF, 0xE1, 2 + 6 + len(exif_block(6))) + b"Exif\x00\x00" + exif_block(6)
    both = read_image(turned[:2] + segment + turned[2:]).metadata.xmp
    assert both is not None
    assert b'tiff:Orientation="1"' in both


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 5}, {"subsampling": 2}])
@pytest.mark.parametrize("part", [0.4, 0.5, 0.9, 0.99])
def test_a_half_is_never_taken_for_the_whole(options: dict[str, object], part: float) -> None:
    """Field report 10: cut in the middle, with and without a marker put at the end."""
    file = jpeg(values((96, 128, 3), "uint8", low=0.3, high=0.7), **options)
    assert read_image(file).pixels.shape == (96, 128, 3)
    cut = file[: int(len(file) * part)]
    for broken in (cut, cut + b"\xff\xd9", cut + bytes(100), cut + file[-2:] + bytes(5000)):
        with pytest.raises(PictureError, match=r"missing|cut off|damaged"):
            read_image(broken)


def test_a_whole_picture_without_its_end_marker_is_read_with_a_word() -> None:
    file = jpeg(smooth())
    image = read_image(file[:-2])
    np.testing.assert_array_equal(image.pixels, read_image(file).pixels)
    assert image.notes == ("the end marker of the JPEG is missing; the picture is whole",)


def test_what_stands_behind_the_picture_is_left_out_with_a_word() -> None:
    image = read_image(jpeg(smooth()) + bytes(5000))
    assert image.notes == ("5000 bytes after the end of the picture (a video or another picture) were left out",)
    assert len(encode_image(image)) < 5000 + len(jpeg(smooth()))


@pytest.mark.parametrize("profile", [None, "cmyk", "broken"])
def test_cmyk_is_converted_and_said(profile: str | None, caplog: pytest.LogCaptureFixture) -> None:
    ink = np.zeros((32, 32, 4), np.uint8)
    ink[:, :16, 1:3] = 255  # red
    ink[:, 16:, 3] = 255  # black
    out = BytesIO()
    Image.fromarray(ink, "CMYK").save(out, "JPEG", quality=100, icc_profile=b"x" * 200 if profile == "broken" else b"")
    with caplog.at_level(logging.WARNING):
        image = read_image(out.getvalue())
    assert image.pixels.shape == (32, 32, 3)
    assert image.pixels[4, 4].tolist() == pytest.approx([255, 0, 0], abs=40)
    assert image.pixels[4, 28].max() < 40
    assert "CMYK was converted to sRGB" in caplog.text
    assert image.metadata.icc is None


def test_a_profile_in_several_segments_comes_together_again() -> None:
    profile = srgb_profile() + bytes(range(256)) * 600
    file = encode_image(ImageData(pixels=smooth(), metadata=Metadata(icc=profile)), format="jpeg")
    assert file.count(b"ICC_PROFILE\x00") == 3
    assert read_image(file).metadata.icc == profile


def test_blocks_too_long_for_a_jpeg_are_left_out_with_a_word(caplog: pytest.LogCaptureFixture) -> None:
    metadata = Metadata(xmp=b"x" * 70000, exif=exif_block(1) + bytes(70000))
    file = encode_image(ImageData(pixels=smooth(), metadata=metadata), format="jpeg")
    assert "EXIF block" in caplog.text
    assert "XMP block" in caplog.text
    assert read_image(file).metadata == Metadata()


def test_comments_extended_xmp_and_iptc_pass_through() -> None:
    extended = b"http://ns.adobe.com/xmp/extension/\x00" + b"A" * 32 + bytes(8) + b"<more/>"
    segment = b"\xff\xe1" + struct.pack(">H", len(extended) + 2) + extended
    base = jpeg(smooth(), comment=b"said so")
    image = read_image(base[:2] + segment + base[2:])
    assert image.metadata.jpeg_segments == (segment,)
    again = read_image(encode_image(image))
    assert again.metadata.jpeg_segments == (segment,)
    assert again.metadata.comment == b"said so"


def test_density_per_centimetre_is_understood() -> None:
    file = bytearray(jpeg(smooth(), dpi=(118, 118)))
    file[13] = 2
    assert read_image(bytes(file)).metadata.dpi == pytest.approx((299.72, 299.72))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file[:300], "cut off"),
        (lambda file: file[:2] + b"\xff\xd9", "ends before its picture data"),
        (lambda file: file.replace(b"\xff\xc0", b"\xff\xc3", 1), "lossless JPEG"),
        (lambda file: file.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc1\x00\x11\x0c", 1), "12-bit JPEG"),
        (lambda file: file[:20] + b"stray" + file[20:], "stray bytes"),
        (lambda file: file.replace(struct.pack(">HH", 48, 64), struct.pack(">HH", 65000, 65000), 1), "4225 megapixels"),
        (lambda file: file.replace(struct.pack(">HH", 48, 64), struct.pack(">HH", 0, 64), 1), "64 x 0 pixels"),
    ],
)
def test_broken_and_odd_files_are_refused_by_what_is_wrong(change: Callable[[bytes], bytes], reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        read_image(change(jpeg(smooth())))


def test_a_file_made_to_take_long_is_refused() -> None:
    file = jpeg(smooth(), progressive=True)
    start = file.index(b"\xff\xda")
    with pytest.raises(PictureError, match="scans, which no camera writes"):
        read_image(file[:start] + file[start:-2] * 30 + file[-2:])


def test_alpha_is_laid_on_a_stated_ground(caplog: pytest.LogCaptureFixture) -> None:
    """Field report 5."""
    alpha = np.tile(np.linspace(0, 255, 63).astype(np.uint8), (50, 1))
    image = ImageData(pixels=smooth(50, 63), alpha=alpha)
    for ground in ((255, 255, 255), (0, 128, 255)):
        share = alpha[:, :, None] / 255
        exact = image.pixels * share + np.array(ground) * (1 - share)
        for format in ("jpeg", "bmp"):
            caplog.clear()
            out = BytesIO()
            image.save(out, format=format, background=ground)
            again = read_image(out.getvalue())
            assert again.alpha is None
            assert np.corrcoef(again.pixels.ravel(), exact.ravel())[0, 1] > 0.999
            assert np.abs(again.pixels - exact).max() < 6
            assert f"laid on the ground {ground}" in caplog.text
    out = BytesIO()
    image.save(out, format="webp")
    np.testing.assert_array_equal(read_image(out.getvalue()).alpha, alpha)


def test_options_out_of_range() -> None:
    with pytest.raises(UsageError, match="quality is 1 to 100, got 101"):
        encode_image(ImageData(pixels=smooth()), format="jpeg", quality=101)
    wide = ImageData(pixels=np.zeros((1, 65501), np.uint8))
    with pytest.raises(PictureError, match="at most 65500 pixels a side"):
        encode_image(wide, format="jpeg")


def test_cmyk_goes_through_its_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no free CMYK profile small enough to carry along: the call is watched instead."""
    calls: list[str] = []

    def watched(image: Image.Image, source: object, target: object, **options: str) -> Image.Image:
        calls.append(options["outputMode"])
        return Image.new("RGB", image.size, (1, 2, 3))

    monkeypatch.setattr(ImageCms, "profileToProfile", watched)
    out = BytesIO()
    Image.new("CMYK", (8, 8)).save(out, "JPEG", icc_profile=srgb_profile())
    image = read_image(out.getvalue())
    assert calls == ["RGB"]
    assert image.pixels[0, 0].tolist() == [1, 2, 3]
    assert "with its profile 'sRGB built-in'" in image.notes[0]
