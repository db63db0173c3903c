from __future__ import annotations

import importlib
import struct
import sys
from io import BytesIO
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from restorekit.errors import PictureError
from restorekit.io import encode_image, read_image
from restorekit.io.formats import sniff
from tests.unit.io.samples import exif_block, smooth, srgb_profile, values


def avif(**options: Any) -> bytes:
    """Return an AVIF by Pillow, or skip."""
    plugin = pytest.importorskip("PIL.AvifImagePlugin", reason="needs a Pillow with AVIF (11.3 or later)")
    if not plugin.SUPPORTED:
        pytest.skip("this Pillow was built without AVIF")
    out = BytesIO()
    Image.fromarray(smooth()).save(out, "AVIF", quality=95, subsampling="4:4:4", **options)
    return out.getvalue()


def test_avif_with_its_metadata_is_read_upright() -> None:
    image = read_image(avif(exif=exif_block(6), icc_profile=srgb_profile(), xmp=b"<x/>"))
    assert image.format == "avif"
    assert image.pixels.shape == (64, 48, 3)
    assert image.metadata.icc == srgb_profile()
    assert image.metadata.xmp == b"<x/>"
    assert image.metadata.exif is not None
    assert encode_image(image).startswith(b"\x89PNG"), "what cannot be written becomes a PNG"


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
        info: ClassVar = {
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
    pytest.importorskip("pillow_heif", reason="needs the codec of HEIC: pip install pillow-heif")
    codec = importlib.import_module("pillow_heif")
    layers = smooth().astype(np.uint16) << 8 if bits == 10 else smooth()
    out = BytesIO()
    mode = "RGB;16" if bits == 10 else "RGB"
    codec.from_bytes(mode=mode, size=(64, 48), data=layers.tobytes()).save(out, quality=-1)
    image = read_image(out.getvalue())
    assert image.bits == (16 if bits == 10 else 8)
    scale = 257 if bits == 10 else 1
    assert np.abs(image.pixels.astype(int) - smooth().astype(int) * scale).mean() < 3 * scale
