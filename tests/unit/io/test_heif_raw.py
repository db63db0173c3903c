from __future__ import annotations

import importlib
import struct
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from restorekit.errors import PictureError
from restorekit.io import ImageData, Metadata, encode_image, exif, read_image, read_size, write_image
from restorekit.io.color_profile import to_working
from restorekit.io.depth import values_to_depth
from restorekit.io.formats import WRITABLE, sniff
from restorekit.io.icc import profile_name
from restorekit.io.verify import compare
from tests.helpers.profiles import PARAMETRIC, profile
from tests.unit.io.samples import TOPS, exif_block, full_metadata, smooth, srgb_profile, values


def avif(**options: Any) -> bytes:
    """Return an AVIF by Pillow, or skip."""
    plugin = pytest.importorskip("PIL.AvifImagePlugin", reason="needs a Pillow with AVIF (11.3 or later)")
    if not plugin.SUPPORTED:
        pytest.skip("this Pillow was built without AVIF")
    out = BytesIO()
    Image.fromarray(smooth()).save(out, "AVIF", quality=95, subsampling="4:4:4", **options)
    return out.getvalue()


def test_avif_with_its_metadata_is_read_upright(tmp_path: Path) -> None:
    image = read_image(avif(exif=exif_block(6), icc_profile=srgb_profile(), xmp=b"<x/>"))
    assert image.format == "avif"
    assert image.pixels.shape == (64, 48, 3)
    (tmp_path / "a.avif").write_bytes(avif())
    assert read_size(tmp_path / "a.avif") == (64, 48)
    assert image.metadata.icc == srgb_profile()
    assert image.metadata.xmp == b"<x/>"
    assert image.metadata.exif is not None


def test_a_cut_or_animated_avif_is_refused() -> None:
    with pytest.raises(PictureError, match=r"8-bit AVIF of 64 x 48 pixels cannot be decoded"):
        read_image(avif()[:400])
    more = [Image.fromarray(smooth()[::-1])]
    with pytest.raises(PictureError, match="this is an animation"):
        read_image(avif(save_all=True, append_images=more))


def test_a_size_in_the_boxes_above_the_limit_is_refused_before_decoding() -> None:
    file = avif().replace(
        b"ispe\x00\x00\x00\x00" + struct.pack(">II", 64, 48), b"ispe" + bytes(4) + struct.pack(">II", 65535, 65535)
    )
    with pytest.raises(PictureError, match="4295 megapixels"):
        read_image(file)


HEIC = struct.pack(">I4s4s4x", 20, b"ftyp", b"heic") + b"mif1" + bytes(40)


def test_without_the_codec_the_message_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PictureError, match=r"pip install 'restorekit\[heic\]'"):
        read_image(HEIC)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(PictureError, match=r"pip install 'restorekit\[raw\]'"):
        read_image(b"FUJIFILMCCD-RAW " + bytes(100))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_heic_keeps_its_depth(channels: int, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The codec hands over more than 8 bits in the upper bits of 16."""
    levels = np.array([[0, 1], [2 ** (bits - 1), 2**bits - 1]])
    stored = (levels << (16 - bits)).astype(np.uint16) if bits > 8 else levels.astype(np.uint8)
    layers = stored if channels == 1 else np.repeat(stored[:, :, None], channels, 2)

    class Opened(list[int]):
        premultiplied_alpha = False
        info: ClassVar = {
            "chroma": 420,
            "bit_depth": bits,
            "exif": b"Exif\x00\x00" + exif_block(6),
            "xmp": None,
            "icc_profile": srgb_profile(),
        }

        def __array__(self, *_: Any, **__: Any) -> np.ndarray[Any, Any]:
            return layers

    codec = ModuleType("pillow_heif")
    codec.open_heif = lambda data, convert_hdr_to_8bit: Opened([1, 2])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", codec)
    image = read_image(HEIC)
    expected = levels if bits == 8 else levels * 65535 // (2**bits - 1)
    np.testing.assert_array_equal(image.pixels.reshape(2, 2, -1)[:, :, 0], expected)
    assert image.grey == (channels < 3)
    assert (image.alpha is not None) == (channels in (2, 4))
    assert image.notes == ("1 further pictures in the file were left out",)
    assert image.metadata.icc == srgb_profile()
    assert (image.encoding.bits, image.encoding.subsampling) == (bits, "4:2:0")


@pytest.mark.parametrize("named", [True, False])
def test_camera_raw_is_developed(named: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    asked: dict[str, Any] = {}
    pixels = values((4, 6, 3), "uint16")

    class Opened:
        sizes = SimpleNamespace(width=6, height=4)

        def __enter__(self) -> Opened:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def postprocess(self, **options: Any) -> np.ndarray[Any, Any]:
            asked.update(options)
            return pixels

    library = ModuleType("rawpy")
    library.imread = lambda data: Opened()  # type: ignore[attr-defined]
    library.LibRawError = type("LibRawError", (Exception,), {})  # type: ignore[attr-defined]
    library.ColorSpace = SimpleNamespace(sRGB=1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rawpy", library)
    if named:
        (tmp_path / "a.dng").write_bytes(exif_block(6))
        image = read_image(tmp_path / "a.dng")
        assert image.metadata.exif is not None
    else:
        image = read_image(b"FUJIFILMCCD-RAW " + bytes(100))
        assert image.metadata.exif is None
    np.testing.assert_array_equal(image.pixels, pixels)
    assert asked["output_bps"] == 16
    assert "developed to sRGB" in image.notes[0]

    def broken(data: object) -> Opened:
        raise library.LibRawError(b"Unsupported file format or not RAW file")

    monkeypatch.setattr(library, "imread", broken)
    with pytest.raises(PictureError, match=r"cannot be developed .Unsupported file format"):
        read_image(b"FUJIFILMCCD-RAW " + bytes(100))


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (struct.pack(">I4s4s4x4s", 20, b"ftyp", b"mif1", b"avif"), "avif"),
        (struct.pack(">I4s4s4x4s", 20, b"ftyp", b"avif", b"mif1"), "avif"),
        (HEIC, "heic"),
        (struct.pack(">I4s4s4x", 16, b"ftyp", b"crx "), "raw"),
        (struct.pack(">I4s4s4x", 16, b"ftyp", b"isom"), None),
        (b"IIRO\x08\x00", "raw"),
        (b"II*\x00", "tiff"),
        (b"MM\x00+", "tiff"),
        (b"", None),
    ],
)
def test_formats_by_their_first_bytes(head: bytes, kind: str | None) -> None:
    assert sniff(head) == kind


@pytest.mark.parametrize("bits", [8, 10])
def test_real_heic_files(bits: int) -> None:
    layers = smooth().astype(np.uint16) << 8 if bits == 10 else smooth()
    image = read_image(heic(layers, quality=-1, bit_depth=bits))
    assert image.bits == (16 if bits == 10 else 8)
    assert image.encoding.bits == bits
    scale = 257 if bits == 10 else 1
    assert np.abs(image.pixels.astype(int) - smooth().astype(int) * scale).mean() < 3 * scale


def heic(layers: NDArray[Any], **options: Any) -> bytes:
    """Return a HEIC by its codec, or skip."""
    pytest.importorskip("pillow_heif", reason="needs the codec of HEIC: pip install pillow-heif")
    codec = importlib.import_module("pillow_heif")
    mode = {3: "RGB", 4: "RGBA"}[layers.shape[2]] + (";16" if layers.dtype == np.uint16 else "")
    out = BytesIO()
    codec.from_bytes(mode=mode, size=(layers.shape[1], layers.shape[0]), data=layers.tobytes()).save(out, **options)
    return out.getvalue()


def test_colours_that_alpha_was_multiplied_into_are_divided() -> None:
    pytest.importorskip("pillow_heif", reason="needs the codec of HEIC: pip install pillow-heif")
    codec = importlib.import_module("pillow_heif")
    alpha = np.full((48, 64, 1), 128, np.uint8)
    alpha[:, :9] = 0
    multiplied = np.rint(smooth() * (alpha / 255)).astype(np.uint8)
    out = BytesIO()
    file = codec.from_bytes(mode="RGBa", size=(64, 48), data=np.dstack([multiplied, alpha]).tobytes())
    file.save(out, quality=-1, chroma=444)
    image = read_image(out.getvalue())
    assert image.alpha is not None
    np.testing.assert_array_equal(image.alpha, alpha[:, :, 0])
    assert np.abs(image.pixels[:, 9:].astype(int) - smooth()[:, 9:]).max() <= 4


# --- writing ----------------------------------------------------------------------------------------------------------


def needs(kind: str) -> None:
    if kind not in WRITABLE:
        pytest.skip(f"needs the codec of {kind.upper()}")


both = pytest.mark.parametrize("kind", ["avif", "heic"])


@both
@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("transparent", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_what_is_written_is_read_again(kind: str, grey: bool, transparent: bool, dtype: str) -> None:
    needs(kind)
    scale = 257 if dtype == "uint16" else 1
    pixels = smooth(50, 63).astype(dtype) * np.array(scale, dtype)
    alpha = values((50, 63), dtype) if transparent else None
    if alpha is not None:
        alpha[:20], alpha[20:30] = 0, TOPS[dtype]
        if kind == "heic" and dtype == "uint16":
            alpha = ((alpha >> 4).astype(np.uint32) * 65535 // 4095).astype(np.uint16)  # of 12 bits
    given = ImageData(
        pixels=pixels[:, :, 1] if grey else pixels,
        alpha=alpha,
        metadata=replace(full_metadata(), photoshop=None, icc=None if grey else srgb_profile()),
    )
    file = encode_image(given, format=kind)
    assert sniff(file[:64]) == kind
    image = read_image(file)
    bits = 16 if kind == "heic" and dtype == "uint16" else 8
    assert (image.format, image.grey, image.bits) == (kind, grey, bits)
    expected = values_to_depth(given.pixels, bits).astype(int)
    assert np.abs(image.pixels.astype(int) - expected).max() <= 4 * (257 if bits == 16 else 1)
    if alpha is None:
        assert image.alpha is None
    else:
        assert image.alpha is not None
        np.testing.assert_array_equal(image.alpha, values_to_depth(alpha, bits))
    lost = [str(finding) for finding in compare(given, image) if not finding.kept]
    assert lost == ([] if bits == given.bits else [lost[0]])
    _hold_block(given, image, whole=kind == "heic")


def _hold_block(given: ImageData, image: ImageData, *, whole: bool) -> None:
    """Maker notes stay where they are: their offsets count from the start of the block."""
    assert given.metadata.exif is not None
    assert image.metadata.exif is not None
    stated = exif.with_dpi(exif.settle(given.metadata.exif, width=63, height=50), (300, 200))
    assert image.metadata.exif.index(b"maker's own bytes") == stated.index(b"maker's own bytes")
    assert not whole or image.metadata.exif == stated
    assert image.metadata.dpi == pytest.approx((300, 200))


@both
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 130), (65, 64)])
def test_pictures_of_any_size(kind: str, shape: tuple[int, int]) -> None:
    needs(kind)
    pixels = np.full((*shape, 3), [200, 100, 60], np.uint8)
    image = read_image(encode_image(ImageData(pixels=pixels), format=kind))
    assert image.pixels.shape == pixels.shape
    assert np.abs(image.pixels.astype(int) - pixels).max() <= 3


@both
def test_colour_has_full_resolution_from_90_on(kind: str) -> None:
    needs(kind)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = [255, 0, 0], [0, 0, 255]
    for quality, sharp in ((None, True), (90, True), (89, False)):
        image = read_image(encode_image(ImageData(pixels=stripes), format=kind, quality=quality))
        apart = image.pixels[:, ::2, 0].mean() - image.pixels[:, 1::2, 0].mean()
        assert (apart > 200) == sharp
    sizes = [len(encode_image(ImageData(pixels=smooth()), format=kind, quality=quality)) for quality in (30, 95)]
    assert sizes[0] < sizes[1]


def test_a_heic_keeps_its_depth_and_below_90_its_sampling() -> None:
    needs("heic")
    ten = read_image(heic(smooth().astype(np.uint16) * 257, quality=90, bit_depth=10, chroma=422))
    assert (ten.encoding.bits, ten.encoding.subsampling) == (10, "4:2:2")
    again = read_image(encode_image(ten, quality=80))
    assert (again.encoding.bits, again.encoding.subsampling) == (10, "4:2:2")
    assert read_image(encode_image(ten)).encoding.subsampling == "4:4:4"


def test_many_bits_are_rounded_not_cut() -> None:
    needs("heic")
    levels = np.linspace(0, 65535, 4096).round().astype(np.uint16).reshape(64, 64)
    opaque = np.full_like(levels, 65535)  # without loss, since alpha is
    image = read_image(encode_image(ImageData(pixels=levels, alpha=opaque), format="heic"))
    error = image.pixels.astype(int) - levels
    assert np.abs(error).max() <= 16
    assert abs(error.mean()) < 1


def test_a_lossy_alpha_is_said(caplog: pytest.LogCaptureFixture) -> None:
    needs("heic")
    image = ImageData(pixels=smooth(), alpha=smooth()[:, :, 0].copy())
    encode_image(image, format="heic", quality=95)
    assert "HEIC codes alpha with the same loss" in caplog.text


def test_large_pictures_are_cut_into_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("heic")
    monkeypatch.setattr("restorekit.io.heif_write._MOST_AT_ONCE", 1000)
    monkeypatch.setattr("restorekit.io.heif_write._TILE", 64)
    given = ImageData(pixels=smooth(90, 150))
    file = encode_image(given, format="heic")
    codec = importlib.import_module("pillow_heif")
    assert codec.open_heif(BytesIO(file)).info["tiling"]["tile_width"] == 64
    assert np.abs(read_image(file).pixels.astype(int) - given.pixels).max() <= 4


@both
def test_a_damaged_exif_block_is_left_out_and_said(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    needs(kind)
    given = ImageData(pixels=smooth(), metadata=Metadata(exif=b"no block at all"))
    assert read_image(encode_image(given, format=kind)).metadata.exif is None
    assert f"the EXIF block is damaged, which {kind.upper()} files do not allow" in caplog.text


@both
def test_a_picture_beyond_the_format_is_refused(kind: str, tmp_path: Path) -> None:
    needs(kind)
    wide = ImageData(pixels=np.zeros((1, 65536), np.uint8))
    with pytest.raises(PictureError, match=r"has at most 65535 pixels a side, and the picture has 65536 x 1; choose"):
        write_image(wide, tmp_path / f"a.{kind}")
    assert list(tmp_path.iterdir()) == []


def test_without_an_encoder_the_message_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    image = ImageData(pixels=smooth())
    monkeypatch.setattr("restorekit.io.formats.WRITABLE", ("png", "avif", "heic"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PictureError, match=r"pip install 'restorekit\[heic\]'"):
        write_image(image, tmp_path / "a.heic")
    codec = ModuleType("pillow_heif")
    codec.libheif_info = lambda: {"HEIF": ""}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", codec)
    with pytest.raises(PictureError, match="this pillow-heif was built without an encoder"):
        write_image(image, tmp_path / "a.heic")
    monkeypatch.setattr("PIL._avif.encoder_codec_available", lambda name: False, raising=False)
    with pytest.raises(PictureError, match=r"this Pillow (was built without an encoder for|writes no) AVIF"):
        write_image(image, tmp_path / "a.avif")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_becomes_a_png(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorekit.io.write.WRITABLE", ("png", "jpeg"))
    image = ImageData(pixels=smooth(), format="heic")
    assert encode_image(image).startswith(b"\x89PNG")


# --- colours that code points tell ------------------------------------------------------------------------------------


def test_code_points_of_a_file_become_a_profile() -> None:
    needs("heic")
    points = {"color_primaries": 12, "transfer_characteristics": 13, "matrix_coefficients": 6, "full_range_flag": 1}
    image = read_image(heic(smooth(), quality=95, **points))
    assert image.metadata.icc is not None
    assert profile_name(image.metadata.icc) == "Display P3, curve 13 (H.273)"
    expected = ImageData(pixels=image.pixels, metadata=Metadata(icc=profile("P3", PARAMETRIC)))
    np.testing.assert_allclose(to_working(image), to_working(expected), atol=2e-3)
    for kind in ("heic", "png", "jpeg", "avif"):
        if kind in WRITABLE:
            assert read_image(encode_image(image, format=kind)).metadata.icc == image.metadata.icc


@pytest.mark.parametrize("points", [(1, 13), (1, 1), (2, 2), (1, 6)])
def test_code_points_of_srgb_are_no_profile(points: tuple[int, int]) -> None:
    file = avif().replace(b"colrnclx" + struct.pack(">HH", 1, 13), b"colrnclx" + struct.pack(">HH", *points))
    assert struct.pack(">4s4sHH", b"colr", b"nclx", *points) in file
    assert read_image(file).metadata.icc is None


def test_an_avif_has_code_points_too() -> None:
    file = avif().replace(b"colrnclx" + struct.pack(">HH", 1, 13), b"colrnclx" + struct.pack(">HH", 9, 8))
    image = read_image(file)
    assert image.metadata.icc is not None
    assert profile_name(image.metadata.icc) == "BT.2020, curve 8 (H.273)"


def test_high_dynamic_range_stays_what_it_is(caplog: pytest.LogCaptureFixture) -> None:
    needs("heic")
    points = {"color_primaries": 9, "transfer_characteristics": 16, "matrix_coefficients": 9, "full_range_flag": 1}
    image = read_image(heic(smooth().astype(np.uint16) * 257, quality=95, bit_depth=10, **points))
    assert image.metadata.icc is None
    assert "coded for high dynamic range" in image.notes[0]
    for kind in ("heic", "png"):
        again = read_image(encode_image(image, format=kind))
        assert dict(again.metadata.png_chunks)[b"cICP"] == bytes([9, 16, 0, 1])
    assert "left out" not in caplog.text
