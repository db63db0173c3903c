"""Every real odd or broken file of the shared material, held to what is known of it."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from restorekit.errors import PictureError
from restorekit.io import ImageData, iptc, read_image, write_image
from restorekit.io.formats import WRITABLE
from restorekit.io.icc import color_model, profile_name
from restorekit.io.verify import verify
from tests.helpers.shared import find_shared_folder

_FOLDER = Path("data", "files")


def _records() -> list[dict[str, Any]]:
    shared = find_shared_folder()
    manifest = None if shared is None else shared / _FOLDER / "manifest.jsonl"
    if manifest is None or not manifest.exists():
        return []
    return [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]


RECORDS = _records()
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not RECORDS, reason="needs the shared material: data/files beside the repository"),
]
each_file = pytest.mark.parametrize("record", RECORDS, ids=[record["path"] for record in RECORDS])


def path_of(record: dict[str, Any]) -> Path:
    shared = find_shared_folder()
    assert shared is not None
    return shared / _FOLDER / record["path"]


def read(record: dict[str, Any]) -> ImageData | PictureError:
    """Return the picture of a file, or why it is refused; skip where a codec is absent."""
    if record["facts"].get("format") == "HEIC" and importlib.util.find_spec("pillow_heif") is None:
        pytest.skip("needs the codec of HEIC: pip install pillow-heif")
    try:
        return read_image(path_of(record))
    except PictureError as error:
        if "this Pillow" in str(error):
            pytest.skip(str(error))
        return error


def must_read(record: dict[str, Any]) -> ImageData:
    image = read(record)
    assert isinstance(image, ImageData)
    return image


@each_file
def test_it_is_kept_as_it_should_be_or_refused_in_a_sentence(record: dict[str, Any], tmp_path: Path) -> None:
    outcome = read(record)
    if isinstance(outcome, PictureError):
        assert record["expect"] != "read", str(outcome)
        reason = str(outcome).removeprefix(f"{path_of(record)}: ")
        assert reason != str(outcome), "the message names the file"
        assert re.fullmatch(r"[^\n]{20,250}", reason)
        return
    assert record["expect"] != "refuse"
    _hold_shape(outcome, record)
    _hold_metadata(outcome, record["facts"])
    _hold_when_written(outcome, record, tmp_path)


def _sides(facts: dict[str, Any]) -> tuple[int, int]:
    """Return width and height as a viewer shows them (an orientation that only XMP states is shown by none)."""
    sides = facts["width"], facts["height"]
    turned = facts["exif"] or facts["format"] == "TIFF"
    return sides[::-1] if turned and (facts["orientation"] or 1) >= 5 else sides


def _hold_shape(image: ImageData, record: dict[str, Any]) -> None:
    """Size, depth, alpha and grey are those of the file."""
    facts = record["facts"]
    assert (image.width, image.height) == _sides(facts)
    assert image.bits == (32 if facts["bits"] == 32 else 16 if facts["bits"] > 8 else 8)
    if not record["path"].startswith("broken"):
        assert (image.alpha is not None) == bool(facts["alpha"])
    if facts["channels"] in (1, 2):
        assert image.grey or facts["pillow_mode"] == "P"


def _hold_metadata(image: ImageData, facts: dict[str, Any]) -> None:
    """Everything beside the pixels that the file has was read, and what was left out is said."""
    metadata = image.metadata
    if facts.get("icc") and not any("CMYK" in note for note in image.notes):
        assert metadata.icc is not None
        assert facts["icc"] == f"{profile_name(metadata.icc)} [{color_model(metadata.icc)}]"
    assert (metadata.xmp is not None) == bool(facts.get("xmp"))
    assert metadata.exif is not None or not facts.get("exif")
    assert iptc.iim(metadata.photoshop) is not None or not facts.get("iptc")
    if facts.get("dpi"):
        assert metadata.dpi == pytest.approx(tuple(facts["dpi"]), abs=0.02)
    if facts.get("pages", 1) > 1:
        assert image.notes


def _hold_when_written(image: ImageData, record: dict[str, Any], folder: Path) -> None:
    """Written in its own format, nothing is lost; where that is lossless, no pixel either."""
    target = folder / f"out.{image.format if image.format in WRITABLE else 'png'}"
    write_image(image, target)
    findings = verify(path_of(record), target)
    # a second picture, layers, CMYK: what no writer here can write, and what the reader has said
    lost = [finding for finding in findings if not finding.kept]
    assert [str(finding) for finding in lost if finding.aspect not in ("contents", "colour model")] == []
    assert image.notes or not lost
    if image.format in ("png", "tiff", "bmp"):
        again = read_image(target)
        np.testing.assert_array_equal(again.pixels, image.pixels)
        np.testing.assert_array_equal(*(np.zeros(0) if one.alpha is None else one.alpha for one in (again, image)))


def _named(name: str) -> dict[str, Any]:
    found = [record for record in RECORDS if record["path"].endswith(name)]
    if not found:
        pytest.skip(f"{name} is not in the shared material")
    return found[0]


def test_planar_16_bit_is_the_picture_that_two_independent_readers_see() -> None:
    record = _named("flower-rgb-planar-16.tif")
    expected = np.moveaxis(tifffile.imread(path_of(record)), 0, -1)
    np.testing.assert_array_equal(must_read(record).pixels, expected)


def test_floating_point_values_are_exact() -> None:
    cv2 = pytest.importorskip("cv2")
    record = _named("predictor-3-rgb-f32.tif")
    expected = cv2.imread(str(path_of(record)), cv2.IMREAD_UNCHANGED)[:, :, ::-1]
    np.testing.assert_array_equal(must_read(record).pixels, expected)


def test_associated_alpha_is_divided_out_and_unassociated_is_left_alone() -> None:
    stored = tifffile.imread(path_of(_named("rgba-50969cda.tiff")))
    image = must_read(_named("rgba-50969cda.tiff"))
    assert image.alpha is not None
    np.testing.assert_array_equal(image.alpha, stored[:, :, 3])
    again = image.pixels * (image.alpha[:, :, None] / 255.0)
    np.testing.assert_allclose(again, stored[:, :, :3], atol=0.51)
    image = must_read(_named("rgba-unassoc-50969cda.tiff"))
    stored = tifffile.imread(path_of(_named("rgba-unassoc-50969cda.tiff")))
    np.testing.assert_array_equal(np.dstack([image.pixels, image.alpha]), stored)


def test_the_old_thumbnail_is_not_kept() -> None:
    image = must_read(_named("Canon_40D.jpg"))
    assert image.metadata.exif is not None
    assert b"\xff\xd8\xff" not in image.metadata.exif
    assert b"Canon EOS 40D" in image.metadata.exif


@pytest.mark.parametrize("name", ["jpg-cmyk-1.jpg", "ycck-2111.jpg"])
def test_adobe_cmyk_is_not_negative(name: str) -> None:
    cv2 = pytest.importorskip("cv2")
    image = must_read(_named(name))
    assert any("CMYK was converted to sRGB" in note for note in image.notes)
    expected = cv2.imread(str(path_of(_named(name))))[:, :, ::-1]
    assert np.abs(image.pixels.astype(int) - expected).mean() < 2
