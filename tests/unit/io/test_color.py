from __future__ import annotations

import logging
import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from restorekit.io import ImageData, Metadata
from restorekit.io.alpha import fill_transparent
from restorekit.io.color_profile import from_working, to_working, working_space
from restorekit.io.icc import Curve, color_model, matrix_profile, profile_name
from tests.unit.io.samples import srgb_profile, values

D50 = {
    "sRGB": ((0.4360747, 0.2225045, 0.0139322), (0.3850649, 0.7168786, 0.0971045), (0.1430804, 0.0606169, 0.7141733)),
    "P3": ((0.5151187, 0.2411926, -0.0010505), (0.2919778, 0.6922441, 0.0418791), (0.1571035, 0.0665741, 0.7840713)),
    "Adobe": ((0.6097559, 0.3111242, 0.0194811), (0.2052401, 0.6256560, 0.0608902), (0.1492240, 0.0632197, 0.7448387)),
    "ProPhoto": ((0.7976749, 0.2880402, 0.0), (0.1351917, 0.7118741, 0.0), (0.0313534, 0.0000857, 0.82521)),
}
GAMMA = b"curv" + struct.pack(">III", 0, 1, 0)[:8] + struct.pack(">H", round(2.2 * 256))
PARAMETRIC = (
    b"para"
    + bytes(4)
    + struct.pack(">HH", 3, 0)
    + struct.pack(">5i", *(round(n * 65536) for n in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)))
)
TABLE = (
    b"curv"
    + bytes(4)
    + struct.pack(">I", 1024)
    + struct.pack(">1024H", *(round(65535 * (n / 1023) ** 1.8) for n in range(1024)))
)


def profile(space: str, curve: bytes, *, model: bytes = b"RGB ") -> bytes:
    """Return a profile of three curves and a matrix, or of one curve for grey."""
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"Test\x00" + bytes(79), b"cprt": b"text" + bytes(8)}
    white = b"XYZ " + bytes(4) + struct.pack(">3i", *(round(n * 65536) for n in (0.9642, 1.0, 0.8249)))
    tags[b"wtpt"] = white
    if model == b"RGB ":
        for name, column in zip(b"rgb", D50[space], strict=True):
            tags[bytes([name]) + b"XYZ"] = b"XYZ " + bytes(4) + struct.pack(">3i", *(round(n * 65536) for n in column))
            tags[bytes([name]) + b"TRC"] = curve
    else:
        tags[b"kTRC"] = curve
    place = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, place + len(body), len(content))
        body += content.ljust(-(-len(content) // 4) * 4, b"\x00")
    size = place + len(body)
    head = struct.pack(">I4xI4s4s4s", size, 0x02400000, b"mntr", model, b"XYZ ") + bytes(12) + b"acsp" + bytes(28)
    illuminant = struct.pack(">3i", *(round(n * 65536) for n in (0.9642, 1.0, 0.8249)))
    return (head + illuminant).ljust(128, b"\x00") + table + body


def image(icc: bytes | None, pixels: NDArray[Any]) -> ImageData:
    return ImageData(pixels=pixels, metadata=Metadata(icc=icc))


@pytest.mark.parametrize("space", ["P3", "Adobe", "ProPhoto"])
@pytest.mark.parametrize("curve", [GAMMA, PARAMETRIC, TABLE], ids=["gamma", "parametric", "table"])
def test_conversion_is_that_of_a_color_management_system(space: str, curve: bytes) -> None:
    icc = profile(space, curve)
    pixels = values((40, 40, 3), "uint8")
    expected = ImageCms.profileToProfile(
        Image.fromarray(pixels),
        ImageCms.ImageCmsProfile(BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert np.abs(to_working(image(icc, pixels)) * 255 - np.asarray(expected)).max() < 1.1


@pytest.mark.parametrize("space", ["P3", "Adobe", "ProPhoto"])
@pytest.mark.parametrize("curve", [GAMMA, PARAMETRIC, TABLE], ids=["gamma", "parametric", "table"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_there_and_back_changes_nothing_even_beyond_srgb(space: str, curve: bytes, dtype: str) -> None:
    source = image(profile(space, curve), values((40, 40, 3), dtype))
    there = to_working(source)
    assert there.min() == 0
    assert there.max() == 1
    back = from_working(source, there).pixels
    assert np.abs(back.astype(int) - source.pixels).max() <= 1


def test_a_change_is_carried_over_and_colours_within_srgb_become_what_the_network_says() -> None:
    source = image(profile("P3", PARAMETRIC), values((20, 20, 3), "uint16", low=0.4, high=0.6))
    wanted = np.clip(to_working(source) * 0.9 + 0.02, 0, 1)
    restored = from_working(source, wanted)
    np.testing.assert_allclose(to_working(restored), wanted, atol=2e-4)
    red = image(profile("P3", PARAMETRIC), np.full((2, 2, 3), [65535, 0, 0], np.uint16))
    assert from_working(red, to_working(red)).pixels[0, 0].tolist() == [65535, 0, 0]


@pytest.mark.parametrize("icc", [None, srgb_profile(), profile("sRGB", PARAMETRIC)], ids=["none", "lcms", "ours"])
def test_srgb_is_left_alone(icc: bytes | None) -> None:
    source = image(icc, values((5, 5, 3), "uint8"))
    assert working_space(source) is None
    np.testing.assert_allclose(to_working(source), source.pixels / np.float32(255))


def test_grey_has_curves_too() -> None:
    source = image(profile("", TABLE, model=b"GRAY"), values((9, 9), "uint16"))
    there = to_working(source)
    expected = (source.pixels / 65535) ** 1.8
    np.testing.assert_allclose(((there + 0.055) / 1.055) ** 2.4, expected, atol=3e-3)
    assert np.abs(from_working(source, there).pixels.astype(int) - source.pixels).max() <= 1


def test_code_points_of_a_png_go_before_a_profile() -> None:
    chunks = ((b"cICP", bytes([12, 13, 0, 1])),)
    pixels = values((9, 9, 3), "uint8")
    coded = ImageData(pixels=pixels, metadata=Metadata(png_chunks=chunks, icc=srgb_profile()))
    np.testing.assert_allclose(to_working(coded), to_working(image(profile("P3", PARAMETRIC), pixels)), atol=3e-3)
    srgb = ImageData(pixels=pixels, metadata=Metadata(png_chunks=((b"cICP", bytes([1, 13, 0, 1])),)))
    assert working_space(srgb) is None


@pytest.mark.parametrize(
    ("icc", "chunks", "message"),
    [
        (profile("P3", GAMMA).replace(b"RGB ", b"CMYK", 1), (), "one of CMYK"),
        (b"x" * 300, (), "damaged"),
        (profile("P3", b"mft2" + bytes(20)), (), "'Test' works by tables"),
        (None, ((b"cICP", bytes([9, 16, 0, 1])),), r"cICP \[9, 16\]"),
    ],
)
def test_what_cannot_be_applied_is_said(
    icc: bytes | None, chunks: tuple[tuple[bytes, bytes], ...], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        source = ImageData(pixels=values((5, 5, 3), "uint8"), metadata=Metadata(icc=icc, png_chunks=chunks))
        assert working_space(source) is None
    assert __import__("re").search(message, caplog.text)


def test_names_and_models() -> None:
    assert profile_name(profile("P3", GAMMA)) == "Test"
    assert profile_name(srgb_profile()) == "sRGB built-in"
    assert profile_name(b"short") == "a profile without a name (5 bytes)"
    assert color_model(profile("P3", GAMMA)) == "RGB"
    assert color_model(b"") == ""
    cut = profile("P3", GAMMA)[:300]
    assert matrix_profile(cut) is None


@given(
    kind=st.integers(0, 4),
    g=st.floats(0.4, 3.0),
    a=st.floats(0.5, 1.0),
    x=st.lists(st.floats(0, 1), min_size=1, max_size=9),
)
def test_curves_have_inverses(kind: int, g: float, a: float, x: list[float]) -> None:
    b = 1 - a
    curve = {
        0: Curve((g, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
        1: Curve((g, a, b, 0.0, 0.0, 0.0, 0.0)),
        2: Curve((g, a, b, 0.0, 0.0, 0.1, 0.1)),
        3: Curve((g, a, b, 0.5, 0.0, 0.0, 0.0)),
        4: Curve(table=np.linspace(0, 1, 9) ** g),
    }[kind]
    coded = np.array(x)
    linear = curve.decode(coded)
    np.testing.assert_allclose(curve.decode(curve.encode(linear)), linear, atol=1e-9)


def test_what_lies_under_transparency_takes_the_colours_around_it() -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    alpha = np.zeros((16, 16), np.uint8)
    pixels[4:9, 4:9] = [200, 100, 50]
    alpha[4:9, 4:9] = 255
    filled = fill_transparent(pixels, alpha)
    assert filled.dtype == np.uint8
    assert (filled == [200, 100, 50]).all()


@given(seed=st.integers(0, 999), height=st.integers(1, 20), width=st.integers(1, 20), grey=st.booleans())
def test_what_is_seen_is_never_changed_by_that(seed: int, height: int, width: int, grey: bool) -> None:
    dtype = ["uint8", "uint16", "float32"][seed % 3]
    pixels = values((height, width) if grey else (height, width, 3), dtype, seed=seed)
    alpha = np.where(
        values((height, width), "float32", seed=seed + 1) < 0.5, 0, pixels.reshape(height, width, -1)[..., 0]
    )
    filled = fill_transparent(pixels, alpha)
    assert filled.shape == pixels.shape
    assert filled.dtype == pixels.dtype
    np.testing.assert_array_equal(filled[alpha > 0], pixels[alpha > 0])
    seen = pixels[alpha > 0]
    if seen.size:
        assert filled.max() <= seen.max() * (1 + 1e-6)
        assert filled.min() >= seen.min() * (1 - 1e-6)
