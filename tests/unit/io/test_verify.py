from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restorekit.errors import PictureError
from restorekit.io import ImageData, Metadata, encode_image
from restorekit.io.orientation import turn
from restorekit.io.verify import Finding, compare, verify
from tests.unit.io.samples import exif_block, full_metadata, jpeg, picture, smooth, values

FULL = ImageData(pixels=smooth(40, 40).astype(np.uint16) * 257, metadata=full_metadata())


def lost(findings: list[Finding]) -> list[str]:
    return [finding.aspect for finding in findings if not finding.kept]


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_nothing_is_lost_where_nothing_is(format: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(encode_image(FULL, format="png"))
    (tmp_path / "b").write_bytes(encode_image(FULL, format=format))
    findings = verify(tmp_path / "a", str(tmp_path / "b"))
    assert lost(findings) == []
    assert {finding.aspect for finding in findings} == {
        *("size", "orientation", "bit depth", "colour", "profile", "EXIF", "XMP", "IPTC", "resolution")
    }


@pytest.mark.parametrize(
    ("change", "aspects"),
    [
        ({"icc": None}, ["profile"]),
        ({"icc": b"another"}, ["profile"]),
        ({"exif": None}, ["EXIF"]),
        ({"xmp": None}, ["XMP"]),
        ({"photoshop": None}, ["IPTC"]),
        ({"dpi": (72.0, 72.0)}, ["resolution"]),
        ({"dpi": None}, ["resolution"]),
    ],
)
def test_each_block_that_is_missing_is_found(change: dict[str, object], aspects: list[str]) -> None:
    after = replace(FULL, metadata=replace(FULL.metadata, **change))
    assert lost(compare(FULL, after)) == aspects


def test_a_single_tag_that_is_missing_is_named() -> None:
    block = FULL.metadata.exif
    assert block is not None
    other = replace(FULL, metadata=replace(FULL.metadata, exif=block.replace(b"Model X", b"Model Y")))
    (finding,) = [finding for finding in compare(FULL, other) if not finding.kept]
    assert str(finding) == "EXIF LOST: 10 tags -> 1 lost or changed: Model"


def test_what_has_to_change_is_no_loss() -> None:
    """Orientation, sides, software and the way in which numbers are stored follow from the restoration itself."""
    before = ImageData(pixels=smooth(), metadata=Metadata(exif=exif_block(6)))
    after = ImageData(pixels=smooth(), metadata=Metadata(exif=exif_block(1)))
    assert lost(compare(before, after)) == []


@pytest.mark.parametrize("way", range(2, 9))
def test_a_picture_that_lies_down_is_found(way: int) -> None:
    before = ImageData(pixels=np.kron(values((8, 8, 3), "uint8"), np.ones((5, 5, 1), np.uint8)))
    assert lost(compare(before, replace(before, pixels=turn(before.pixels, way)))) == ["orientation"]


def test_flat_pictures_have_no_way_up() -> None:
    flat = ImageData(pixels=np.full((9, 5), 7, np.uint8))
    assert lost(compare(flat, flat)) == []


def test_size_depth_colour_and_alpha() -> None:
    before = picture(alpha=True, dtype="uint16")
    grey = ImageData(pixels=before.pixels[:, :, 0], alpha=before.alpha)
    assert lost(compare(before, replace(before, alpha=None))) == ["alpha"]
    assert "size" in lost(compare(before, ImageData(pixels=before.pixels[1:], alpha=before.pixels[1:, :, 0])))
    assert "bit depth" in lost(compare(before, picture(alpha=True)))
    assert "colour" in lost(compare(before, grey))
    assert "colour" in lost(compare(grey, before))
    neutral = ImageData(pixels=np.repeat(grey.pixels[:, :, None], 3, 2), alpha=grey.alpha)
    assert lost(compare(grey, neutral)) == []
    opaque = ImageData(pixels=before.pixels, alpha=np.full(before.pixels.shape[:2], 65535, np.uint16))
    assert lost(compare(opaque, replace(opaque, alpha=None))) == []


def test_coarser_colour_of_a_jpeg_is_found() -> None:
    fine, coarse = jpeg(smooth(), subsampling=0), jpeg(smooth(), subsampling=2)
    assert lost(verify(fine, coarse)) == ["chroma sampling"]
    assert lost(verify(coarse, fine)) == []


def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(PictureError, match="empty"):
        verify(encode_image(FULL), b"")
