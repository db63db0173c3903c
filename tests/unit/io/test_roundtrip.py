"""The matrix mode x depth x format x metadata, judged by readers and fed by writers that are not ours."""

from __future__ import annotations

import json
import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from restorekit.io import ImageData, Metadata, encode_image, exif, iptc, read_image
from restorekit.io.depth import values_to_depth
from tests.unit.io.samples import IPTC, XMP, exif_block, full_metadata, picture, smooth, srgb_profile, values

DEPTHS = {"png": ("uint8", "uint16"), "tiff": ("uint8", "uint16", "float32"), "bmp": ("uint8",), "webp": ("uint8",)}
KEPT = {
    "png": {"icc", "exif", "xmp", "photoshop", "dpi"},
    "tiff": {"icc", "exif", "xmp", "photoshop", "dpi"},
    "webp": {"icc", "exif", "xmp", "dpi"},
    "jpeg": {"icc", "exif", "xmp", "photoshop", "dpi"},
    "bmp": {"icc", "dpi"},
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, ImageData]:
    """Draw a format, and a picture of a kind that it holds without loss, with any part of the metadata."""
    format = draw(st.sampled_from(sorted(DEPTHS)))
    alpha = draw(st.booleans())
    colour_only = format == "webp" or (format == "bmp" and alpha)
    image = picture(
        height=draw(st.integers(1, 40)),
        width=draw(st.integers(1, 40)),
        channels=3 if colour_only else draw(st.sampled_from([1, 3])),
        dtype=draw(st.sampled_from(DEPTHS[format])),
        alpha=alpha,
        seed=draw(st.integers(0, 2**16)),
    )
    full = full_metadata()
    # a profile of RGB does not belong into a grey PNG
    chosen = draw(st.sets(st.sampled_from(sorted(KEPT[format] - ({"icc"} if image.grey else set())))))
    metadata = Metadata(**{name: getattr(full, name) for name in chosen})
    return format, ImageData(pixels=image.pixels, alpha=image.alpha, format=format, metadata=metadata)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_what_we_write_others_read_and_so_do_we(case: tuple[str, ImageData]) -> None:
    format, image = case
    file = encode_image(image)
    pixels, alpha = _JUDGES[format](file, image)
    np.testing.assert_array_equal(pixels, image.pixels)
    if image.alpha is not None:
        np.testing.assert_array_equal(alpha, image.alpha)
    again = read_image(file)
    np.testing.assert_array_equal(again.pixels, image.pixels)
    assert again.pixels.dtype == image.pixels.dtype
    assert again.format == format
    if image.alpha is not None:
        assert again.alpha is not None
        np.testing.assert_array_equal(again.alpha, image.alpha)
    _same_metadata(again, image.metadata, format)
    _same_by_pillow(file, image.metadata, format)


def _same_metadata(image: ImageData, before: Metadata, format: str) -> None:
    after = image.metadata
    assert after.icc == before.icc
    assert after.xmp == before.xmp
    assert iptc.iim(after.photoshop) == iptc.iim(before.photoshop)
    if before.dpi is not None:
        assert after.dpi == pytest.approx(before.dpi, abs=0.02)
    if before.exif is not None and format in ("png", "jpeg"):
        assert after.exif == exif.settle(before.exif, width=image.width, height=image.height)


def _same_by_pillow(file: bytes, metadata: Metadata, format: str) -> None:
    """Hold the metadata to what Pillow finds in the file, where it opens such a file."""
    if format == "tiff":
        return  # tifffile has judged
    with Image.open(BytesIO(file)) as image:
        found = dict(image.info)
        if metadata.icc is not None and format != "bmp":
            assert found["icc_profile"] == metadata.icc
        if metadata.exif is not None:
            tags = image.getexif()
            assert tags[272] == "Model X"
            assert tags.get_ifd(34665)[34855] == 400
        if metadata.xmp is not None:
            assert found["xmp"] == XMP
        if metadata.dpi is not None and format != "webp":
            assert found["dpi"] == pytest.approx(metadata.dpi, abs=0.02)


def _by_opencv(file: bytes, image: ImageData) -> tuple[NDArray[Any], NDArray[Any] | None]:
    decoded = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    colours = decoded if decoded.ndim == 2 else decoded[:, :, 0] if image.grey else decoded[:, :, 2::-1]
    return colours, decoded[:, :, -1] if image.alpha is not None else None


def _by_pillow(file: bytes, image: ImageData) -> tuple[NDArray[Any], NDArray[Any] | None]:
    with Image.open(BytesIO(file)) as opened:
        # an alpha that is opaque everywhere may be left out
        layers = np.asarray(opened.convert("RGBA") if image.alpha is not None else opened)
    colours = layers if layers.ndim == 2 else layers[:, :, 0] if image.grey else layers[:, :, :3]
    return colours, layers[:, :, -1] if image.alpha is not None else None


def _by_tifffile(file: bytes, image: ImageData) -> tuple[NDArray[Any], NDArray[Any] | None]:
    with tifffile.TiffFile(BytesIO(file)) as opened:
        (page,) = opened.pages
        assert isinstance(page, tifffile.TiffPage)
        layers = page.asarray()
        tags = {tag.code: tag.value for tag in page.tags}
        metadata = image.metadata
        assert [int(extra) for extra in page.extrasamples] == ([] if image.alpha is None else [2])
        assert tags.get(34675) == metadata.icc
        assert tags.get(700) == metadata.xmp
        if metadata.photoshop is not None:
            assert bytes(tags[33723]) == IPTC
        if metadata.dpi is not None:
            assert [tags[code][0] / tags[code][1] for code in (282, 283)] == list(metadata.dpi)
        if metadata.exif is not None:
            assert tags[272] == "Model X"
            assert tags[34665]["ISOSpeedRatings"] == 400
            assert tags[34853]["GPSLatitudeRef"] == "N"
    colours = layers if image.alpha is None else layers[:, :, 0] if image.grey else layers[:, :, :3]
    return colours, None if image.alpha is None else layers[:, :, -1]


_JUDGES = {"png": _by_opencv, "tiff": _by_tifffile, "bmp": _by_pillow, "webp": _by_pillow}


@settings(max_examples=40, deadline=None)
@given(
    chosen=st.sets(st.sampled_from(sorted(KEPT["jpeg"]))),
    grey=st.booleans(),
    quality=st.one_of(st.none(), st.integers(90, 100)),
)
def test_jpeg_keeps_what_a_jpeg_can(chosen: set[str], grey: bool, quality: int | None) -> None:
    pixels = smooth()[:, :, 0] if grey else smooth()
    metadata = Metadata(**{name: getattr(full_metadata(), name) for name in chosen})
    file = encode_image(ImageData(pixels=pixels, metadata=metadata), format="jpeg", quality=quality)
    by_opencv = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    assert by_opencv.ndim == pixels.ndim
    assert np.abs(by_opencv[..., ::-1].astype(int) - pixels[..., ::1]).mean() < 2 if not grey else True
    again = read_image(file)
    assert np.abs(again.pixels.astype(int) - pixels).max() <= 6
    _same_metadata(again, metadata, "jpeg")
    _same_by_pillow(file, metadata, "jpeg")


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3, 4]),
    dtype=st.sampled_from(["uint8", "uint16"]),
    seed=st.integers(0, 2**16),
)
def test_png_files_of_opencv(height: int, width: int, channels: int, dtype: str, seed: int) -> None:
    layers = values((height, width) if channels == 1 else (height, width, channels), dtype, seed=seed)
    done, file = cv2.imencode(".png", layers)
    assert done
    image = read_image(file.tobytes())
    assert image.pixels.dtype == layers.dtype
    np.testing.assert_array_equal(image.pixels, layers if channels == 1 else layers[:, :, 2::-1])
    assert (image.alpha is not None) == (channels == 4)
    if image.alpha is not None:
        np.testing.assert_array_equal(image.alpha, layers[:, :, 3])


@settings(max_examples=120, deadline=None)
@given(
    sides=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    samples=st.integers(1, 4),
    dtype=st.sampled_from(["uint8", "uint16", "float32", "float16", "float64"]),
    order=st.sampled_from("<>"),
    tiled=st.booleans(),
    planar=st.booleans(),
    compression=st.sampled_from([None, "zlib", "lzma"]),
    big=st.booleans(),
    rows=st.integers(1, 70),
)
def test_tiff_files_of_tifffile(
    sides: tuple[int, int],
    samples: int,
    dtype: str,
    order: str,
    tiled: bool,
    planar: bool,
    compression: str | None,
    big: bool,
    rows: int,
) -> None:
    noise = np.random.default_rng(sides[0] * 100 + sides[1]).uniform(0, 1, (*sides, samples))
    layers = (noise * (65535 if dtype == "uint16" else 255 if dtype == "uint8" else 1)).astype(dtype)
    planar = planar and samples > 1
    stored = np.moveaxis(layers, 2, 0) if planar else layers[:, :, 0] if samples == 1 else layers
    out = BytesIO()
    with tifffile.TiffWriter(out, bigtiff=big, byteorder=order) as writer:
        writer.write(
            stored,
            photometric="rgb" if samples > 2 else "minisblack",
            planarconfig=None if samples == 1 else "separate" if planar else "contig",
            extrasamples=["unassalpha"] if samples in (2, 4) else None,
            tile=(16, 32) if tiled else None,
            rowsperstrip=None if tiled else rows,
            compression=compression,
            metadata=None,
        )
    image = read_image(out.getvalue())
    colours = layers[:, :, 0] if samples < 3 else layers[:, :, :3]
    expected = colours if dtype.startswith("u") else colours.astype(np.float32)
    np.testing.assert_array_equal(image.pixels, expected)
    if samples in (2, 4):
        np.testing.assert_array_equal(image.alpha, layers[:, :, -1].astype(expected.dtype))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "tiff_deflate", "zstd"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_tiff_files_of_pillow(mode: str, compression: str) -> None:
    layers = values((37, 29), "uint16") if mode == "I;16" else values((37, 29, len(mode)), "uint8").squeeze()
    out = BytesIO()
    Image.fromarray(layers).save(out, "TIFF", compression=compression)
    image = read_image(out.getvalue())
    np.testing.assert_array_equal(image.pixels, layers if layers.ndim == 2 else layers[:, :, :3])
    if mode == "RGBA":
        np.testing.assert_array_equal(image.alpha, layers[:, :, 3])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiff_files_of_opencv(dtype: str, channels: int) -> None:
    """OpenCV writes LZW with a predictor."""
    layers = values((37, 29) if channels == 1 else (37, 29, 3), dtype)
    done, file = cv2.imencode(".tiff", layers)
    assert done
    image = read_image(file.tobytes())
    np.testing.assert_array_equal(image.pixels, layers if channels == 1 else layers[:, :, ::-1])


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_change_of_depth_is_exact_where_the_numbers_allow_it(bits: int, dtype: str) -> None:
    top = {"uint8": 255, "uint16": 65535, "float32": 1.0}[dtype]
    ramp = (
        (np.arange(256)[:, None] / 255 * top).astype(dtype)
        if dtype == "float32"
        else (np.arange(256, dtype=dtype)[:, None] * (top // 255)).astype(dtype)
    )
    there = values_to_depth(ramp, bits)
    back = values_to_depth(there, {"uint8": 8, "uint16": 16, "float32": 32}[dtype])
    assert len(np.unique(there)) == 256
    np.testing.assert_allclose(back, ramp, atol=1e-7 if bits == 32 else 1 / 65535 * (top if dtype == "float32" else 0))


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool (Debian: libimage-exiftool-perl)")
@pytest.mark.parametrize("format", ["png", "jpeg", "tiff", "webp"])
def test_exiftool_finds_everything_and_has_nothing_to_complain_of(format: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{format}"
    path.write_bytes(encode_image(ImageData(pixels=smooth(), metadata=full_metadata()), format=format))
    command = ["exiftool", "-json", "-a", "-G1", "-n", "-warning", "-error", "-all", str(path)]
    (found,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert not [name for name in found if name.endswith((":Warning", ":Error"))]
    assert found["IFD0:Model"] == "Model X"
    assert found["ExifIFD:ISO"] == 400
    assert found["GPS:GPSLatitude"] == pytest.approx(50 + 44 / 60 + 2.5 / 3600)
    assert found["XMP-dc:Format"] == "image/x"
    assert "ICC-header:ColorSpaceData" in found
    if format != "webp":
        assert found["IPTC:City"] == "Bonn"


@pytest.mark.skipif(shutil.which("vips") is None, reason="needs vips (Debian: libvips-tools)")
@pytest.mark.parametrize("format", ["png", "tiff"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("alpha", [False, True])
def test_vips_sees_the_same_pixels(format: str, dtype: str, alpha: bool, tmp_path: Path) -> None:
    image = picture(dtype=dtype, alpha=alpha)
    image.save(tmp_path / f"a.{format}")
    command = ["vips", "copy", str(tmp_path / f"a.{format}"), str(tmp_path / "b.v")]
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run(["vips", "rawsave", str(tmp_path / "b.v"), str(tmp_path / "b.raw")], check=True, capture_output=True)
    layers = np.fromfile(tmp_path / "b.raw", image.pixels.dtype).reshape(image.height, image.width, -1)
    np.testing.assert_array_equal(layers[:, :, :3], image.pixels)
    if image.alpha is not None:
        np.testing.assert_array_equal(layers[:, :, 3], image.alpha)


def test_every_kind_is_in_the_samples() -> None:
    """The samples hold what the tests above lean on."""
    block = exif_block(6)
    assert exif_block(6, thumbnail=b"\xff\xd8x") != block
    assert srgb_profile()[36:40] == b"acsp"
