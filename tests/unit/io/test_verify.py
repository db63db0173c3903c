from __future__ import annotations

import struct
import tracemalloc
import zlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from restorekit.errors import PictureError
from restorekit.io import Encoding, ImageData, Metadata, encode_image, read_image, write_pages
from restorekit.io.orientation import turn
from restorekit.io.verify import Finding, compare, verify
from tests.unit.io.samples import exif_block, full_metadata, jpeg, picture, smooth, srgb_profile, values

FULL = ImageData(pixels=smooth(40, 40).astype(np.uint16) * 257 + np.uint16(3), metadata=full_metadata())


def lost(findings: list[Finding]) -> list[str]:
    return [finding.aspect for finding in findings if not finding.kept]


def only_loss(findings: list[Finding]) -> str:
    (finding,) = [finding for finding in findings if not finding.kept]
    return str(finding)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_nothing_is_lost_where_nothing_is(format: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(encode_image(FULL, format="png"))
    (tmp_path / "b").write_bytes(encode_image(FULL, format=format))
    findings = verify(tmp_path / "a", str(tmp_path / "b"))
    assert lost(findings) == []
    assert {finding.aspect for finding in findings} == {
        *("size", "orientation", "bit depth", "colour", "profile", "EXIF", "XMP", "IPTC", "resolution")
    }


def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(PictureError, match="empty"):
        verify(encode_image(FULL), b"")


@pytest.mark.parametrize(
    ("format", "aspects"),
    [
        ("png", []),
        ("tiff", []),
        ("jpeg", ["bit depth", "alpha"]),
        ("webp", ["bit depth", "IPTC"]),
        ("bmp", ["bit depth", "alpha", "EXIF", "XMP", "IPTC"]),
    ],
)
def test_what_another_format_cannot_hold_is_a_loss_that_is_explained(format: str, aspects: list[str]) -> None:
    before = replace(FULL, alpha=values((40, 40), "uint16"))
    findings = verify(encode_image(before, format="png"), encode_image(before, format=format))
    assert lost(findings) == aspects
    explained = [
        finding for finding in findings if not finding.kept and f"(a {format.upper()} holds no" in str(finding)
    ]
    # the writer lays pictures on a ground for a BMP, though one could hold alpha
    assert [finding.aspect for finding in explained] == [name for name in aspects if (name, format) != ("alpha", "bmp")]


def test_a_format_that_is_not_written_here_is_no_excuse() -> None:
    after = ImageData(pixels=FULL.pixels, format="raw", metadata=replace(FULL.metadata, exif=None))
    assert only_loss(compare(FULL, after)) == "EXIF LOST: 11 tags -> none"


# --- pages ------------------------------------------------------------------------------------------------------------


def pages(*images: ImageData) -> bytes:
    out = BytesIO()
    write_pages(images, out)
    return out.getvalue()


def test_all_pages_are_compared() -> None:
    first, second = replace(FULL, format="tiff"), picture(height=30, width=20, alpha=True)
    before = pages(first, second, first)
    findings = verify(before, before)
    assert lost(findings) == []
    assert {"pages", "page 1: profile", "page 2: alpha", "page 3: EXIF"} <= {finding.aspect for finding in findings}
    assert lost(verify(before, pages(first, replace(second, alpha=None), first))) == ["page 2: alpha"]


def test_pages_that_are_missing_are_found() -> None:
    page = ImageData(pixels=smooth())
    assert only_loss(verify(pages(page, page, page), pages(page, page))) == "pages LOST: 3 pages -> 2 pages"
    text = only_loss(verify(pages(page, page), encode_image(page, format="png")))
    assert text == "pages LOST: 2 pages -> 1 page (a PNG holds no pages)"
    assert lost(verify(encode_image(page, format="png"), pages(page, page))) == []


# --- size and way up --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", range(2, 9))
@pytest.mark.parametrize("sides", [(40, 40), (40, 20), (7, 11), (333, 97)])
def test_a_picture_that_lies_down_is_found(way: int, sides: tuple[int, int]) -> None:
    before = ImageData(pixels=values((*sides, 3), "uint8"))
    if min(sides) > 20:
        before = ImageData(pixels=smooth(*sides) + values((*sides, 3), "uint8") // 8)
    expected = ["size", "orientation"] if way >= 5 and sides[0] != sides[1] else ["orientation"]
    assert lost(compare(before, before.replace(pixels=turn(before.pixels, way)))) == expected


@pytest.mark.parametrize("way", [2, 3, 4, 5, 7])
def test_halves_of_equal_brightness_show_which_way_is_up(way: int) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20, 0] = pixels[:, 20:, 2] = 255
    findings = compare(ImageData(pixels=pixels), ImageData(pixels=turn(pixels, way)))
    assert ("orientation" in lost(findings)) == (way != 4)  # this one mirrors the halves onto themselves


def test_a_restoration_turns_nothing() -> None:
    """Noise that was taken away, a curve, a tint and a gain in contrast leave the way up."""
    clean = smooth(64, 48).astype(float)
    noisy = (clean + np.random.default_rng(0).normal(0, 50, clean.shape)).clip(0, 255).astype(np.uint8)
    dark = (255 * (clean / 255) ** 3 * [1, 0.9, 0.7]).astype(np.uint8)
    for before in (noisy, dark):
        assert lost(compare(ImageData(pixels=before), ImageData(pixels=clean.astype(np.uint8)))) == []


def test_flat_pictures_have_no_way_up() -> None:
    flat = ImageData(pixels=np.full((9, 5), 7, np.uint8))
    noise = ImageData(pixels=values((64, 64), "uint8", low=0.48, high=0.52))
    assert lost(compare(flat, flat)) == []
    assert lost(compare(noise, ImageData(pixels=np.full((64, 64), 127, np.uint8)))) == []
    assert lost(compare(noise, ImageData(pixels=values((64, 64), "uint8", low=0.49, high=0.51, seed=1)))) == []


def test_another_picture_is_found() -> None:
    before = ImageData(pixels=smooth(64, 64))
    rings = np.hypot(*np.mgrid[-32:32, -32:32])
    other = ImageData(pixels=np.repeat(np.uint8(127 + 127 * np.sin(rings / 2))[:, :, None], 3, 2))
    assert only_loss(compare(before, other)) == "picture LOST: this one -> another one"


def test_another_size_is_a_loss_and_nothing_else() -> None:
    before = ImageData(pixels=smooth(48, 64), alpha=values((48, 64), "uint8"))
    part = ImageData(pixels=before.pixels[5:30, 9:], alpha=values((25, 55), "uint8"))
    assert only_loss(compare(before, part)) == "size LOST: 64 x 48 -> 55 x 25"


def test_transparent_parts_count_as_grey() -> None:
    """What lies under full transparency is not seen, and may be anything."""
    alpha = np.zeros((40, 40), np.uint8)
    alpha[:, :20] = 255
    before = ImageData(pixels=smooth(40, 40), alpha=alpha)
    hidden = before.pixels.copy()
    hidden[:, 20:] = values((40, 20, 3), "uint8")
    assert lost(compare(before, before.replace(pixels=hidden))) == []


# --- depth and colour -------------------------------------------------------------------------------------------------


def depth_loss(before: NDArray[Any], after: NDArray[Any]) -> str:
    (finding,) = [found for found in compare(*map(as_image, (before, after))) if found.aspect == "bit depth"]
    return "" if finding.kept else finding.after


def as_image(pixels: NDArray[Any]) -> ImageData:
    return ImageData(pixels=pixels, format="tiff")


RAMP16 = np.tile(np.linspace(0, 65535, 256).round().astype(np.uint16) + np.arange(256, dtype=np.uint16) % 2, (64, 1))
RAMP16[:, -1] = 65535
FLOATS = values((40, 40), "float32")


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (RAMP16, RAMP16, ""),
        (RAMP16, (RAMP16 // 257).astype(np.uint8), "8 bit"),
        (RAMP16, RAMP16 // 257 * 257, "16 bit with the values of 8 bit"),
        (RAMP16, RAMP16 // 256 * 256, "16 bit with the values of 8 bit"),
        (RAMP16 // 257 * 257, RAMP16 // 257 * 257, ""),
        (RAMP16 // 257 * 257, RAMP16, ""),
        (RAMP16, np.where(RAMP16 > 255, 65535, 0).astype(np.uint16), "16 bit with no more than 4 levels"),
        (RAMP16, (RAMP16 / 65535).astype(np.float32), ""),
        (RAMP16, (RAMP16 // 257 / 255).astype(np.float32), "32 bit floating point with the values of 8 bit"),
        (FLOATS, FLOATS, ""),
        (FLOATS, np.rint(FLOATS * 65535).astype(np.uint16), "16 bit"),
        (
            FLOATS,
            (np.rint(FLOATS * 65535) / 65535).astype(np.float32),
            "32 bit floating point with the values of 16 bit",
        ),
        (smooth(), smooth() // 17 * 17, "8 bit with the values of 4 bit"),
        (smooth() // 17 * 17, smooth(), ""),
        (smooth(), smooth().astype(np.uint16) * 257, ""),
        (np.uint8([[0, 255], [255, 0]]), np.uint16([[0, 65535], [65535, 0]]), ""),
        (values((64, 64), "uint16", high=0.01), np.zeros((64, 64), np.uint16), ""),
    ],
)
def test_depth_is_what_the_values_use(before: NDArray[Any], after: NDArray[Any], text: str) -> None:
    assert depth_loss(before, after) == text


def test_double_precision_is_more_than_single() -> None:
    before = replace(as_image(FLOATS), encoding=Encoding(bits=64))
    assert lost(compare(before, as_image(FLOATS))) == ["bit depth"]
    half = replace(as_image(FLOATS), encoding=Encoding(bits=16))
    assert lost(compare(half, as_image(FLOATS))) == []


def test_grey_stays_grey_where_the_format_can_hold_it() -> None:
    grey = ImageData(pixels=smooth()[:, :, 0])
    neutral = np.repeat(grey.pixels[:, :, None], 3, 2)
    tinted = np.clip(neutral + np.int16([9, 0, 0]), 0, 255).astype(np.uint8)
    assert only_loss(compare(grey, grey.replace(pixels=neutral))) == "colour LOST: grey -> RGB of equal channels"
    assert only_loss(compare(grey, grey.replace(pixels=tinted))) == "colour LOST: grey -> RGB, tinted"
    assert lost(compare(grey, replace(grey, pixels=neutral, format="webp"))) == []
    assert lost(compare(grey, replace(grey, pixels=tinted, format="webp"))) == ["colour"]
    slightly = np.clip(neutral + np.int16([3, 0, -2]), 0, 255).astype(np.uint8)
    lossy = replace(grey, pixels=slightly, format="webp", encoding=Encoding(lossless=False))
    assert lost(compare(grey, lossy)) == []
    transparent = replace(grey, alpha=values((48, 64), "uint8"))
    assert lost(compare(transparent, replace(transparent, pixels=neutral, format="bmp"))) == []
    assert lost(compare(grey.replace(pixels=neutral), grey)) == []
    assert lost(compare(grey.replace(pixels=tinted), grey)) == ["colour"]


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (jpeg(smooth(), subsampling=0), jpeg(smooth(), subsampling=2), "4:4:4 -> 4:2:0"),
        (jpeg(smooth(), subsampling=0), jpeg(smooth(), subsampling=1), "4:4:4 -> 4:2:2"),
        (jpeg(smooth(), subsampling=1), jpeg(smooth(), subsampling=2), "4:2:2 -> 4:2:0"),
        (jpeg(smooth(), subsampling=2), jpeg(smooth(), subsampling=0), ""),
        (jpeg(smooth(), subsampling=2), jpeg(smooth(), subsampling=2), ""),
        (jpeg(smooth(), subsampling=2), encode_image(ImageData(pixels=smooth())), ""),
        (encode_image(ImageData(pixels=smooth())), jpeg(smooth(), subsampling=2), "4:4:4 -> 4:2:0"),
        (encode_image(ImageData(pixels=smooth())), jpeg(smooth(), subsampling=0), ""),
        (jpeg(smooth()[:, :, 0]), jpeg(smooth()[:, :, 0]), ""),
    ],
)
def test_coarser_colour_of_a_jpeg_is_found(before: bytes, after: bytes, text: str) -> None:
    findings = [str(finding) for finding in verify(before, after) if not finding.kept]
    assert findings == ([f"chroma sampling LOST: {text}"] if text else [])


def test_a_lossy_webp_halves_the_resolution_of_colour() -> None:
    fine, coarse = jpeg(smooth(), subsampling=0), jpeg(smooth(), subsampling=2)
    webp = encode_image(ImageData(pixels=smooth()), format="webp", quality=95)
    assert lost(verify(fine, webp)) == ["chroma sampling"]
    assert lost(verify(coarse, webp)) == []
    assert lost(verify(webp, coarse)) == lost(verify(webp, webp)) == []
    plain = encode_image(ImageData(pixels=smooth()))
    assert only_loss(verify(plain, webp)) == "chroma sampling LOST: 4:4:4 -> 4:2:0"
    assert lost(verify(webp, plain)) == []


# --- alpha ------------------------------------------------------------------------------------------------------------

ALPHA = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
LAYER = ImageData(pixels=smooth(64, 64), alpha=ALPHA)


def alpha_loss(alpha: NDArray[Any] | None, **changes: Any) -> str:
    bits = changes.pop("bits", 8)
    pixels = LAYER.pixels if bits == 8 else LAYER.pixels.astype(np.uint16) * 257
    (finding,) = [
        found for found in compare(LAYER, ImageData(pixels=pixels, alpha=alpha, **changes)) if found.aspect == "alpha"
    ]
    return "" if finding.kept else finding.after


def test_alpha_that_is_the_same_up_to_rounding_is_kept() -> None:
    assert alpha_loss(ALPHA) == ""
    assert alpha_loss(ALPHA.astype(np.uint16) * 257, bits=16) == ""
    assert alpha_loss(ALPHA.astype(np.uint16) * 256, bits=16) == ""
    assert alpha_loss(ALPHA + np.uint8(1)) == ""


def test_alpha_that_is_gone_opaque_or_changed_is_lost() -> None:
    assert alpha_loss(None) == "none"
    assert alpha_loss(None, format="jpeg") == "none (a JPEG holds no alpha)"
    assert alpha_loss(np.full_like(ALPHA, 255)) == "opaque"
    assert alpha_loss(np.where(ALPHA > 127, 255, 0).astype(np.uint8)) == "transparent, changed by up to 127 of 255"
    assert alpha_loss(255 - ALPHA) == "transparent, changed by up to 255 of 255"
    one = ALPHA.copy()
    one[5, 5] += 3
    assert alpha_loss(one) == "transparent, changed by up to 3 of 255"


def test_a_lossy_codec_may_change_alpha_a_little() -> None:
    noise = (ALPHA.astype(int) + np.random.default_rng(0).integers(-3, 4, ALPHA.shape)).clip(0, 255).astype(np.uint8)
    lossy = Encoding(lossless=False)
    assert alpha_loss(noise, format="webp", encoding=lossy) == ""
    assert alpha_loss(noise, format="webp", encoding=Encoding(lossless=True)) != ""
    assert alpha_loss(np.clip(ALPHA, 0, 200), format="webp", encoding=lossy) != ""


def test_opaque_alpha_comes_and_goes() -> None:
    opaque = replace(LAYER, alpha=np.full_like(ALPHA, 255))
    bare = replace(LAYER, alpha=None)
    assert lost(compare(opaque, bare)) == lost(compare(bare, opaque)) == []
    assert only_loss(compare(bare, LAYER)) == "alpha LOST: none -> transparent"
    assert only_loss(compare(opaque, LAYER)) == "alpha LOST: opaque -> transparent"


# --- metadata ---------------------------------------------------------------------------------------------------------


def wide_profile() -> bytes:
    """Return a profile of other primaries than those of sRGB: its red and green swapped."""
    profile = bytearray(srgb_profile())
    for index in range(struct.unpack_from(">I", profile, 128)[0]):
        name = bytes(profile[132 + 12 * index : 136 + 12 * index])
        if name in (b"rXYZ", b"gXYZ"):
            profile[132 + 12 * index : 136 + 12 * index] = b"gXYZ" if name == b"rXYZ" else b"rXYZ"
    return bytes(profile)


@pytest.mark.parametrize(
    ("change", "aspects"),
    [
        ({"icc": None}, ["profile"]),
        ({"icc": b"another"}, ["profile"]),
        ({"icc": wide_profile()}, ["profile"]),
        ({"exif": None}, ["EXIF"]),
        ({"xmp": None}, ["XMP"]),
        ({"xmp": b"<x:xmpmeta/>"}, ["XMP"]),
        ({"photoshop": None}, ["IPTC"]),
        ({"dpi": (72.0, 72.0)}, ["resolution"]),
        ({"dpi": (200.0, 300.0)}, ["resolution"]),
        ({"dpi": None}, ["resolution"]),
        ({"dpi": (300.2, 199.8)}, []),
    ],
)
def test_each_block_that_is_missing_is_found(change: dict[str, Any], aspects: list[str]) -> None:
    after = replace(FULL, metadata=replace(FULL.metadata, **change))
    assert lost(compare(FULL, after)) == aspects


def test_a_profile_that_came_out_of_nowhere() -> None:
    """A file without a profile is taken for sRGB: it may say so afterwards, and nothing else."""
    before = ImageData(pixels=smooth())
    for icc, aspects in ((srgb_profile(), []), (wide_profile(), ["profile"]), (b"no profile", ["profile"])):
        assert lost(compare(before, replace(before, metadata=Metadata(icc=icc)))) == aspects
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert lost(compare(before, replace(before, metadata=Metadata(icc=lab)))) == ["profile"]


def test_a_single_tag_that_is_missing_is_named() -> None:
    block = FULL.metadata.exif
    assert block is not None
    other = replace(FULL, metadata=replace(FULL.metadata, exif=block.replace(b"Model X", b"Model Y")))
    assert only_loss(compare(FULL, other)) == "EXIF LOST: 11 tags -> 1 lost or changed: Model"


def test_maker_notes_may_be_moved_but_not_emptied() -> None:
    block = FULL.metadata.exif
    assert block is not None
    moved = replace(FULL, metadata=replace(FULL.metadata, exif=block.replace(b"maker's own", b"maker's new")))
    assert lost(compare(FULL, moved)) == []
    exif = Image.Exif()
    exif.load(block)
    del exif.get_ifd(34665)[37500]
    rest = exif.tobytes().removeprefix(b"Exif\x00\x00")
    text = only_loss(compare(FULL, replace(FULL, metadata=replace(FULL.metadata, exif=rest))))
    assert text == "EXIF LOST: 11 tags -> 1 lost or changed: MakerNote"


def test_what_has_to_change_is_no_loss() -> None:
    """Orientation, sides, software and the way in which numbers are stored follow from the restoration itself."""
    before = ImageData(pixels=smooth(), metadata=Metadata(exif=exif_block(6)))
    after = ImageData(pixels=smooth(), metadata=Metadata(exif=exif_block(1)))
    assert lost(compare(before, after)) == []


GAMMA, P3 = (b"gAMA", struct.pack(">I", 100000)), (b"cICP", bytes([12, 13, 0, 1]))
SRGB_CHUNKS = (
    (b"gAMA", struct.pack(">I", 45455)),
    (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
)


@pytest.mark.parametrize(
    ("first", "second", "aspects"),
    [
        ((GAMMA,), (GAMMA,), []),
        ((GAMMA,), (), ["colour space"]),
        ((GAMMA,), SRGB_CHUNKS, ["colour space"]),
        ((), (GAMMA,), ["colour space"]),
        ((P3,), (P3,), []),
        ((P3, GAMMA), (P3,), []),
        ((P3,), (), ["colour space"]),
        (SRGB_CHUNKS, (), []),
        (((b"sRGB", b"\x00"), *SRGB_CHUNKS), (), []),
        ((), SRGB_CHUNKS, []),
        (((b"gAMA", struct.pack(">I", 45000)),), (), []),
        (((b"gAMA", b"\x00"),), (), []),
    ],
)
def test_what_a_png_says_of_its_colours(first: Any, second: Any, aspects: list[str]) -> None:
    images = [ImageData(pixels=smooth(), metadata=Metadata(png_chunks=chunks)) for chunks in (first, second)]
    assert lost(compare(*images)) == aspects


def test_the_colour_chunks_of_a_png_are_lost_in_a_jpeg_unless_a_profile_says_the_same() -> None:
    before = ImageData(pixels=smooth(), metadata=Metadata(png_chunks=(P3,)))
    text = only_loss(verify(encode_image(before), jpeg(smooth(), subsampling=0)))
    assert text == "colour space LOST: cICP -> none (a JPEG holds no colour chunks)"
    for icc, aspects in ((srgb_profile(), ["colour space"]), (display_p3(), [])):
        after = replace(before, format="jpeg", metadata=Metadata(icc=icc))
        assert lost(compare(before, after)) == aspects


def display_p3() -> bytes:
    """Return a profile of Display P3: that of sRGB with its columns exchanged."""
    columns = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    profile = bytearray(srgb_profile())
    for index in range(struct.unpack_from(">I", profile, 128)[0]):
        name, start, _ = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if name in columns:
            struct.pack_into(">3i", profile, start + 8, *(round(value * 65536) for value in columns[name]))
    return bytes(profile)


def test_texts_are_compared_however_they_are_packed() -> None:
    plain = (b"tEXt", b"Title\x00Bonn"), (b"iTXt", "Author\x00\x00\x00\x00\x00Ann Öz".encode())
    packed = (b"zTXt", b"Title\x00\x00" + zlib.compress(b"Bonn")), plain[1]
    cases = [(plain, []), (packed, []), (plain[:1], ["texts"]), (((b"tEXt", b"Title\x00Koeln"), plain[1]), ["texts"])]
    before = ImageData(pixels=smooth(), metadata=Metadata(png_chunks=plain))
    for chunks, aspects in cases:
        assert lost(compare(before, replace(before, metadata=Metadata(png_chunks=chunks)))) == aspects
    text = only_loss(verify(encode_image(before), jpeg(smooth(), subsampling=0)))
    assert text == "texts LOST: Title, Author -> without Title, Author (a JPEG holds no texts)"


def test_the_comment_of_a_jpeg_becomes_a_text_of_a_png() -> None:
    before = jpeg(smooth(), comment=b"a word", subsampling=0)
    image = read_image(before)
    assert lost(verify(before, encode_image(image))) == []
    assert lost(verify(before, encode_image(image, format="png"))) == []
    text = only_loss(verify(before, encode_image(image, format="tiff")))
    assert text == "comment LOST: 6 bytes -> none (a TIFF holds no comment)"


def test_more_pictures_in_a_file_are_part_of_it() -> None:
    out = BytesIO()
    first, second = (Image.fromarray(smooth()) for _ in range(2))
    first.save(out, "MPO", save_all=True, append_images=[second], quality=95, subsampling=0)
    before = out.getvalue()
    assert lost(verify(before, before)) == []
    text = only_loss(verify(before, jpeg(smooth(), subsampling=0)))
    assert text.startswith("contents LOST: the file holds more pictures after the first one (MPO)")


def test_cmyk_that_became_rgb_is_found() -> None:
    inks = Image.fromarray(smooth()).convert("CMYK")
    out, copy = BytesIO(), BytesIO()
    inks.save(out, "JPEG", quality=95, subsampling=0)
    image = read_image(out.getvalue())
    inks.save(copy, "JPEG", quality=90, subsampling=0)
    assert only_loss(verify(out.getvalue(), encode_image(image))) == "colour model LOST: CMYK -> RGB"
    assert lost(verify(out.getvalue(), copy.getvalue())) == []


def test_bits_that_the_reader_could_not_get_at_are_known() -> None:
    before = ImageData(pixels=smooth(), format="avif", notes=("the 12 bits of the AVIF were reduced to 8",))
    assert only_loss(compare(before, ImageData(pixels=smooth()))) == "bit depth LOST: 12 bit -> 8 bit"
    assert lost(compare(before, before)) == []
    assert lost(compare(before, ImageData(pixels=smooth().astype(np.uint16) * 256 + np.uint16(9)))) == []


# --- cost -------------------------------------------------------------------------------------------------------------


def test_large_pictures_are_compared_in_small_parts() -> None:
    large = values((3000, 1000, 3), "uint16")
    alpha = values((3000, 1000), "uint16", seed=1)
    before, after = (ImageData(pixels=large.copy(), alpha=alpha.copy()) for _ in range(2))
    tracemalloc.start()
    try:
        assert lost(compare(before, after)) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.75 * (large.nbytes + alpha.nbytes)
