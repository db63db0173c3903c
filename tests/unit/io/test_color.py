from __future__ import annotations

import logging
import re
import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from restorekit.io import ImageData, Metadata
from restorekit.io.alpha import Underpaint, fill_transparent
from restorekit.io.color_profile import WorkingSpace, from_working, to_working, working_space
from restorekit.io.icc import Curve, color_model, matrix_profile, profile_name
from tests.helpers.profiles import GAMMA, LINEAR, PARAMETRIC, SPACES, TABLE, dot_gain, profile, table_profile
from tests.unit.io.samples import srgb_profile, values


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


@settings(max_examples=60, deadline=None)
@given(
    space=st.sampled_from(SPACES),
    curve=st.sampled_from([GAMMA, PARAMETRIC, TABLE, LINEAR]),
    dtype=st.sampled_from(["uint8", "uint16"]),
    seed=st.integers(0, 999),
)
def test_a_restoration_that_changes_nothing_gives_back_the_same_integers(
    space: str, curve: bytes, dtype: str, seed: int
) -> None:
    top = np.iinfo(dtype).max
    corners = np.array([[r, g, b] for r in (0, 1, top) for g in (0, 1, top) for b in (0, 1, top)], dtype)
    pixels = np.concatenate([values((40, 27, 3), dtype, seed=seed), corners[None]])
    working = working_space(image(profile(space, curve), pixels))
    if working is None:
        assert (space, curve) == ("sRGB", PARAMETRIC)
        return
    seen = working.to_srgb(pixels)
    # tiles are blended with weights whose sum is not quite 1
    noise = np.random.default_rng(seed).uniform(-2e-7, 2e-7, seen.shape).astype(np.float32)
    for restored in (seen, seen * (1 + noise)):
        back = working.carry_back(restored, before=pixels)
        np.testing.assert_array_equal(np.rint(back * np.float32(top)), pixels)
    part = (slice(7, 31), slice(3, 20))
    np.testing.assert_array_equal(working.to_srgb(pixels[part]), seen[part])
    np.testing.assert_array_equal(
        working.carry_back(seen[part] * 0.9, before=pixels[part]), _darker(working, pixels)[part]
    )


def _darker(working: WorkingSpace, pixels: NDArray[Any]) -> NDArray[Any]:
    return working.carry_back(working.to_srgb(pixels) * 0.9, before=pixels)


def test_floating_point_pixels_go_there_and_back_too() -> None:
    pixels = values((40, 27, 3), "float32")
    working = working_space(image(profile("Adobe", GAMMA), pixels))
    assert working is not None
    np.testing.assert_allclose(
        working.to_srgb(pixels), working.to_srgb(np.rint(pixels * 65535).astype(np.uint16)), atol=2e-4
    )
    np.testing.assert_array_equal(working.carry_back(working.to_srgb(pixels), before=pixels), pixels)


@pytest.mark.parametrize("space", ["P3", "Adobe", "ProPhoto", "Apple"])
@pytest.mark.parametrize("curve", [GAMMA, PARAMETRIC, TABLE], ids=["gamma", "parametric", "table"])
def test_the_way_back_is_that_of_a_color_management_system(space: str, curve: bytes) -> None:
    icc = profile(space, curve)
    restored = values((40, 40, 3), "uint8", seed=1, low=0.2, high=0.8)
    expected = ImageCms.profileToProfile(
        Image.fromarray(restored),
        ImageCms.createProfile("sRGB"),
        ImageCms.ImageCmsProfile(BytesIO(icc)),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    before = image(icc, values((40, 40, 3), "uint16", low=0.45, high=0.55))
    back = from_working(before, restored / 255).pixels / 257
    assert np.abs(back - np.asarray(expected)).max() < 1.1


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


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("curve", [GAMMA, TABLE, dot_gain()], ids=["gamma", "table", "dot gain"])
def test_grey_has_curves_too(dtype: str, curve: bytes) -> None:
    top = np.iinfo(dtype).max
    source = image(profile("", curve, model=b"GRAY"), np.arange(top + 1, dtype=dtype).reshape(16, -1))
    there = to_working(source)
    coded = source.pixels / top
    # a dot of 20 % gain at half ink covers 70 % of the paper
    exact = {GAMMA: coded**2.2, TABLE: coded**1.8}.get(curve)
    light = np.where(there <= 0.04045, there / 12.92, ((there + 0.055) / 1.055) ** 2.4)
    if exact is not None:
        np.testing.assert_allclose(light, exact, atol=2e-4)
    else:
        assert light.ravel()[round(top / 2)] == pytest.approx(0.3, abs=2e-3)
    np.testing.assert_array_equal(from_working(source, there).pixels, source.pixels)


@pytest.mark.parametrize("space", ["P3", "Adobe"])
def test_tables_are_applied_to_8_bits_by_a_color_management_system(space: str) -> None:
    pixels = values((40, 40, 3), "uint8", low=0.45, high=0.7)
    source = image(table_profile(space), pixels)
    there = to_working(source)
    assert np.abs(there - to_working(image(profile(space, GAMMA), pixels))).max() < 3 / 255
    np.testing.assert_array_equal(from_working(source, there).pixels, pixels)
    changed = from_working(source, there * 0.8 + 0.1).pixels.astype(int)
    exact = from_working(image(profile(space, GAMMA), pixels), there * 0.8 + 0.1).pixels
    assert np.abs(changed - exact).max() <= 3
    assert np.abs(changed - exact).mean() < 0.5


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
        (profile("P3", b"mft2" + bytes(20)), (), "'Test' works by tables that cannot be used both ways"),
        (table_profile("P3", both_ways=False), (), "'Test' works by tables that cannot be used both ways"),
        (None, ((b"cICP", bytes([9, 16, 0, 1])),), r"cICP \[9, 16\]"),
    ],
)
def test_what_cannot_be_applied_is_said(
    icc: bytes | None, chunks: tuple[tuple[bytes, bytes], ...], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        source = ImageData(pixels=values((5, 5, 3), "uint8"), metadata=Metadata(icc=icc, png_chunks=chunks))
        assert working_space(source) is None
    assert re.search(message, caplog.text)


def test_tables_are_not_applied_to_16_bits_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert working_space(image(table_profile("P3"), values((5, 5, 3), "uint16"))) is None
    assert "works by tables and is applied to 8-bit RGB only; the colours were taken for sRGB" in caplog.text


def chromaticities(*points: float) -> bytes:
    return struct.pack(">8I", *(round(100_000 * number) for number in points))


WHITE = (0.3127, 0.3290)
P3 = chromaticities(*WHITE, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


@pytest.mark.parametrize(
    ("gamma", "points", "same"),
    [
        (45455, P3, profile("P3", PARAMETRIC)),
        (55556, P3, profile("P3", TABLE)),
        (55556, None, profile("sRGB", TABLE)),
        (45000, chromaticities(*WHITE, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06), None),
        (45455, None, None),
        (0, P3, None),
        (45455, bytes(32), None),
        (45455, chromaticities(*WHITE, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3), None),
    ],
)
def test_gamma_and_primaries_of_a_png(gamma: int, points: bytes | None, same: bytes | None) -> None:
    chunks = [(b"gAMA", struct.pack(">I", gamma)), *([] if points is None else [(b"cHRM", points)])]
    pixels = values((9, 9, 3), "uint8")
    source = ImageData(pixels=pixels, metadata=Metadata(png_chunks=tuple(chunks)))
    assert (working_space(source) is None) == (same is None)
    np.testing.assert_allclose(to_working(source), to_working(image(same, pixels)), atol=3e-3)
    np.testing.assert_array_equal(from_working(source, to_working(source)).pixels, pixels)
    for other in (((b"sRGB", b"\0"),), ()):
        # sRGB goes before both, and a profile does
        metadata = Metadata(png_chunks=(*chunks, *other), icc=None if other else srgb_profile())
        assert working_space(ImageData(pixels=pixels, metadata=metadata)) is None
    grey = ImageData(pixels=pixels[:, :, 0], metadata=Metadata(png_chunks=tuple(chunks)))
    assert (working_space(grey) is None) == (gamma != 55556)


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


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_what_lies_under_transparency_takes_the_colours_around_it(dtype: str) -> None:
    pixels, alpha = np.zeros((40, 50, 3), dtype), np.zeros((40, 50), dtype)
    colour = np.array([200, 100, 50]) / (255 if dtype == "float32" else 1)
    pixels[4:9, 4:9] = colour
    alpha[4:9, 4:9] = 1 if dtype == "float32" else np.iinfo(dtype).max
    filled = fill_transparent(pixels, alpha)
    assert filled.dtype == pixels.dtype
    np.testing.assert_allclose(filled, np.broadcast_to(colour, filled.shape), rtol=1e-6)


def test_what_is_hardly_seen_counts_little_there() -> None:
    pixels, alpha = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    pixels[2, 2], alpha[2, 2] = 200, 255
    alpha[2, 3] = 1  # black, as rounding left it
    assert fill_transparent(pixels, alpha)[3, 2] == 199


def test_hidden_values_may_be_no_numbers() -> None:
    pixels, alpha = np.full((5, 5), np.nan, np.float32), np.zeros((5, 5), np.float32)
    pixels[1, 1], alpha[1, 1] = 0.25, 1
    assert (fill_transparent(pixels, alpha) == 0.25).all()
    assert (fill_transparent(pixels, np.zeros_like(alpha)) == 0).all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), height=st.integers(1, 70), width=st.integers(1, 70), data=st.data())
def test_a_part_is_filled_as_in_the_whole(seed: int, height: int, width: int, data: st.DataObject) -> None:
    dtype = ["uint8", "uint16", "float32"][seed % 3]
    pixels = values((height, width, 3), dtype, seed=seed)
    # blots of any size, some of which hold whole squares
    blots = values((-(-height // 9), -(-width // 9)), dtype, seed=seed + 1)
    alpha = np.where(blots < blots.max() * data.draw(st.floats(0, 1)), 0, blots).repeat(9, 0).repeat(9, 1)
    alpha = alpha[:height, :width].astype(dtype)
    under = Underpaint(height, width, lambda rows, columns: (pixels[rows, columns], alpha[rows, columns]))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    part = under.part(slice(top, bottom), slice(left, right))
    np.testing.assert_array_equal(part, fill_transparent(pixels, alpha)[top:bottom, left:right])


def test_a_large_picture_is_looked_at_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, alpha = values((200, 90, 3), "uint8"), np.zeros((200, 90), np.uint8)
    alpha[150:170, 20:40] = 255
    at_once = fill_transparent(pixels, alpha)
    monkeypatch.setattr("restorekit.io.alpha._STRIP", 1)
    np.testing.assert_array_equal(fill_transparent(pixels, alpha), at_once)


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
