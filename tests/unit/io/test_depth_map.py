"""Depth maps in files: what a step measures, holes, what is none of a depth map."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from restorekit.errors import PictureError, UnknownNameError, UsageError
from restorekit.io import ImageData, Limits, write_image
from restorekit.io.depth_map import DepthMap, parse_unit, read_depth, write_depth

MM = np.array([[1000, 0, 2500], [65535, 1, 333]], np.uint16)


def put(path: Path, values: NDArray[Any]) -> Path:
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".tiff":
        tifffile.imwrite(path, values)
    else:
        write_image(ImageData(pixels=values, format="png"), path)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.npy"])
def test_whole_numbers_are_millimetres_and_zero_is_a_hole(tmp_path: Path, name: str) -> None:
    depth = read_depth(put(tmp_path / name, MM))
    assert (depth.unit.name, depth.format, depth.dtype) == ("mm", name.removeprefix("a."), np.uint16)
    assert np.isnan(depth.values).tolist() == [[False, True, False], [False, False, False]]
    assert depth.metres[0, 0] == 1
    assert depth.metres[1, 2] == np.float32(333) / np.float32(1000)


@pytest.mark.parametrize("name", ["a.tiff", "a.npy"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_numbers_are_metres(tmp_path: Path, name: str, dtype: type[np.floating[Any]]) -> None:
    stored = np.array([[1.5, math.nan], [0, -1], [math.inf, 2.25]], dtype)
    depth = read_depth(put(tmp_path / name, stored))
    assert depth.unit.name == "m"
    assert np.isnan(depth.values).tolist() == [[False, True], [True, True], [True, False]]
    assert depth.metres[~np.isnan(depth.metres)].tolist() == [1.5, 2.25]


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32])
def test_tiffs_of_signed_and_of_32_bit_numbers_are_read(tmp_path: Path, dtype: type[np.integer[Any]]) -> None:
    depth = read_depth(put(tmp_path / "a.tiff", np.array([[5, 0, 30000], [7, 9, 12]], dtype)))
    assert depth.whole
    assert np.nan_to_num(depth.values).tolist() == [[5, 0, 30000], [7, 9, 12]]


@pytest.mark.parametrize(
    ("unit", "metres"), [("mm", 0.123), ("cm", 1.23), ("m", 123.0), ("0.0002", 0.0246), ("raw", 123.0)]
)
def test_a_step_measures_what_is_said(tmp_path: Path, unit: str, metres: float) -> None:
    depth = read_depth(put(tmp_path / "a.png", np.full((2, 2), 123, np.uint16)), unit=parse_unit(unit))
    assert depth.metres == pytest.approx(np.full((2, 2), metres), rel=1e-6)
    assert depth.with_metres(depth.metres).values == pytest.approx(depth.values, rel=1e-6)


@pytest.mark.parametrize("text", ["km", "", "mm "])
def test_an_unknown_unit_is_refused(text: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown unit of depth {text!r}; "):
        parse_unit(text)


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan"])
def test_a_step_that_measures_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"a step of a depth map measures more than 0 m, not {text}"):
        parse_unit(text)


def test_eight_bits_need_a_unit(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", np.array([[10, 0], [255, 3]], np.uint8))
    with pytest.raises(UsageError, match=r"a\.png has 8 bits, .* say it with --unit: mm, cm, m, .*raw"):
        read_depth(path)
    assert read_depth(path, unit=parse_unit("raw")).values[1, 0] == 255


# --- what is none -----------------------------------------------------------------------------------------------------


def test_a_colour_picture_is_no_depth_map(tmp_path: Path) -> None:
    path = put(tmp_path / "photo.png", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(PictureError, match=r"photo\.png: this is a colour picture, not a depth map; .* with --guide"):
        read_depth(path)


def test_a_grey_jpeg_is_no_depth_map(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 100, np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(PictureError, match="JPEG files hold no depth; give a 16-bit PNG, a TIFF or an NPY file"):
        read_depth(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 5, 3), np.float32), "this array is 4 x 5 x 3 float32, and a depth map is height x width numbers"),
        (np.zeros(7), "this array is 7 float64"),
        (np.zeros((2, 2), bool), "this array is 2 x 2 bool"),
        (np.zeros((2, 2), complex), "this array is 2 x 2 complex128"),
        (np.zeros((0, 3)), "there is no picture in it"),
        (np.zeros((3, 4)), "nothing was measured anywhere"),
        (np.full((3, 4), math.nan), "nothing was measured anywhere"),
        (np.zeros((900, 900)), "810000 pixels"),
    ],
    ids=["colours", "a row", "bool", "complex", "empty", "zeros", "nan", "large"],
)
def test_arrays_that_are_none_are_refused(tmp_path: Path, values: NDArray[Any], message: str) -> None:
    np.save(tmp_path / "a.npy", values)
    if message == "810000 pixels":
        message = "the limit is 0 megapixels"
    with pytest.raises(PictureError, match=f"a.npy: .*{message}"):
        read_depth(tmp_path / "a.npy", limits=Limits(pixels=500_000))


@pytest.mark.parametrize("shape", [(1, 4, 5), (4, 5, 1), (1, 1, 4, 5)], ids=str)
def test_axes_of_one_are_no_matter(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.ones(shape))
    assert read_depth(tmp_path / "a.npy").values.shape == (4, 5)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[object()]]), allow_pickle=True)
    with pytest.raises(PictureError, match="this array is 1 x 1 object"):
        read_depth(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY\x01\x00", b"no array", b"\x93NUMPY\x01\x00\x10\x00{'descr': 'x'   \n"]
)
def test_broken_arrays_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(PictureError, match=r"a\.npy: reading it failed"):
        read_depth(tmp_path / "a.npy")


def test_a_cut_array_is_one_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((50, 50)))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-100])
    with pytest.raises(PictureError, match=r"a\.npy: reading it failed"):
        read_depth(tmp_path / "a.npy")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("a.npy", "a.png"):
        with pytest.raises(PictureError, match=f"{name}: there is no such file"):
            read_depth(tmp_path / name)


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.npy"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_what_was_written_is_read_again(tmp_path: Path, name: str, dtype: type[np.generic]) -> None:
    given = MM.astype(dtype) if dtype == np.uint16 else np.array([[0.25, math.nan], [3.001, 0]], dtype)
    depth = read_depth(put(tmp_path / "given.npy", given))
    write_depth(depth, tmp_path / name)
    again = read_depth(tmp_path / name)
    assert np.array_equal(np.isnan(again.values), np.isnan(depth.values))
    step = 0.0005 if again.whole else 0
    assert np.nanmax(np.abs(again.metres - depth.metres)) <= step
    assert again.whole == (dtype == np.uint16 or name == "a.png")


def test_holes_are_written_as_the_file_had_them(tmp_path: Path) -> None:
    for stored in (math.nan, 0.0):
        depth = read_depth(put(tmp_path / "given.npy", np.array([[1.5, stored]])))
        write_depth(depth, tmp_path / "a.npy")
        assert np.array_equal(np.load(tmp_path / "a.npy"), [[1.5, stored]], equal_nan=True)


def test_a_measured_pixel_never_becomes_a_hole(tmp_path: Path) -> None:
    depth = read_depth(put(tmp_path / "given.png", MM))
    tiny = depth.with_metres(np.array([[0.0001, math.nan, -3.0]], np.float32))
    write_depth(tiny, tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[1, 0, 1]]


def test_eight_bits_stay_eight(tmp_path: Path) -> None:
    depth = read_depth(put(tmp_path / "given.png", np.array([[10, 0]], np.uint8)), unit=parse_unit("raw"))
    write_depth(depth, tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png")).dtype == np.uint8


def test_depths_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    depth = read_depth(put(tmp_path / "given.npy", np.array([[70.0, 1.0]])))
    with pytest.raises(PictureError, match=r"a\.png: depths up to 70000 mm do not fit into 16 bits; write a floating"):
        write_depth(depth, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
    write_depth(depth, tmp_path / "a.tiff")
    assert tifffile.imread(tmp_path / "a.tiff").tolist() == [[70, 1]]


def test_an_unknown_format_and_a_taken_name_are_refused(tmp_path: Path) -> None:
    depth = read_depth(put(tmp_path / "given.png", MM))
    with pytest.raises(UnknownNameError, match="unknown format of depth maps 'xyz'; known: npy, png, tiff"):
        write_depth(depth, tmp_path / "a.png", format="xyz")
    for name in ("a.png", "a.npy"):
        (tmp_path / name).write_bytes(b"mine")
        with pytest.raises(PictureError, match="exists already"):
            write_depth(depth, tmp_path / name, overwrite=False)
        assert (tmp_path / name).read_bytes() == b"mine"


def test_a_map_is_a_plain_value() -> None:
    depth = DepthMap(values=np.ones((2, 3), np.float32), unit=parse_unit("m"), dtype=np.dtype(np.float32), format="npy")
    assert not depth.whole
    assert depth.with_metres(np.full((4, 6), 2, np.float32)).values.shape == (4, 6)
