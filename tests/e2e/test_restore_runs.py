"""``restorekit restore`` on many files, and how their outputs are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ImageCms

from restorekit.io import ImageData, Metadata, read_image, read_pages, write_image, write_pages
from tests.e2e.conftest import Cli, photo, put
from tests.e2e.test_restore_cli import BLUE, RED, flat, names, pixels

# --- many files -------------------------------------------------------------------------------------------------------


def test_shards_share_a_folder(cli: Cli, weights: Path, tmp_path: Path) -> None:
    for index in range(12):
        put(tmp_path / "in" / f"{index}.png")
    made: list[set[str]] = []
    for share in ("1/3", "2/3", "3/3"):
        before = set(names(tmp_path / "out")) if (tmp_path / "out").exists() else set()
        command = ("restore", tmp_path / "in", "-o", tmp_path / "out", "-m", weights, "--shard", share)
        assert cli(*command, "--resume", "--workers", "2").code == 0
        made.append({name for name in names(tmp_path / "out") if name.endswith(".png")} - before)
    assert sum(map(len, made)) == 12
    assert set().union(*made) == {f"{index}.png" for index in range(12)}
    assert all(len(share) < 12 for share in made)


def test_a_dry_run_of_a_resumed_run_leaves_out_what_is_done(cli: Cli, weights: Path, tmp_path: Path) -> None:
    put(tmp_path / "in" / "1.png")
    put(tmp_path / "in" / "2.png")
    command = ("restore", tmp_path / "in", "-o", tmp_path / "out", "-m", weights, "--resume")
    assert "2 to restore" in cli(*command, "--dry-run").text
    assert not (tmp_path / "out").exists()
    assert cli(*command).code == 0
    put(tmp_path / "in" / "3.png")
    assert "1 to restore" in cli(*command, "--dry-run").text


def test_a_run_that_ended_leaves_nothing_but_pictures(cli: Cli, weights: Path, tmp_path: Path) -> None:
    put(tmp_path / "in" / "1.png")
    (tmp_path / "in" / "2.png").write_bytes(b"")
    assert cli("restore", tmp_path / "in", "-o", tmp_path / "out", "-m", weights).code == 3
    assert names(tmp_path / "out") == ["1.png"]


# --- how they are written ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "depth", "dtype"), [("png", 16, np.uint16), ("tiff", 16, np.uint16), ("tiff", 32, np.float32)]
)
def test_a_bit_depth_of_ones_choice(
    cli: Cli, weights: Path, tmp_path: Path, suffix: str, depth: int, dtype: type
) -> None:
    given = put(tmp_path / "a.png")
    out = tmp_path / f"b.{suffix}"
    assert cli("restore", given, "-o", out, "-m", weights, "--strength", "0", "--bit-depth", depth).code == 0
    after = pixels(out)
    assert after.dtype == dtype
    scale = 257 if dtype == np.uint16 else 1 / 255
    assert np.allclose(after, pixels(given) * np.float64(scale), atol=1e-6)


def test_metadata_goes_when_asked(cli: Cli, weights: Path, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    metadata = Metadata(icc=profile, dpi=(300.0, 300.0), comment=b"mine")
    write_image(ImageData(pixels=flat(RED), format="jpeg", metadata=metadata), tmp_path / "a.jpg")
    for more, kept in (((), True), (("--strip-metadata", "--overwrite"), False)):
        assert cli("restore", tmp_path / "a.jpg", "-o", tmp_path / "b.jpg", "-m", weights, *more).code == 0
        after = read_image(tmp_path / "b.jpg").metadata
        assert after.icc == profile
        assert (after.comment == b"mine") is kept
        assert (after.dpi is not None and after.dpi[0] == 300) is kept


@pytest.mark.parametrize(("named", "level"), [("black", 0), ("#ff8000", 255), ("white", 255)])
def test_the_ground_under_transparency(cli: Cli, weights: Path, tmp_path: Path, named: str, level: int) -> None:
    clear = np.zeros((16, 20), np.uint8)
    write_image(ImageData(pixels=flat(BLUE), alpha=clear, format="png"), tmp_path / "a.png")
    command = ("restore", tmp_path / "a.png", "-o", tmp_path / "b.jpg", "-m", weights, "--background", named)
    ended = cli(*command, "--strength", "0")
    assert ended.code == 0
    assert "holds no alpha: the picture was laid on the ground" in ended.error
    assert abs(int(pixels(tmp_path / "b.jpg")[8, 8, 0]) - level) <= 2


def test_every_page_of_a_tiff_is_restored(cli: Cli, weights: Path, tmp_path: Path) -> None:
    pages = [ImageData(pixels=photo(40, 56), format="tiff"), ImageData(pixels=flat(RED), format="tiff")]
    write_pages(pages, tmp_path / "a.tif")
    ended = cli("restore", tmp_path / "a.tif", "-o", tmp_path / "b.tif", "-m", weights, "--compare", "--bit-depth", 16)
    assert ended.code == 0
    assert "2 pages" in ended.error
    after = read_pages(tmp_path / "b.tif")
    assert [page.pixels.shape for page in after] == [(40, 56, 3), (16, 20, 3)]
    assert [page.bits for page in after] == [16, 16]
    assert not np.array_equal(after[0].pixels >> 8, pages[0].pixels)
    assert len(read_pages(tmp_path / "b_compare.tif")) == 2
    refused = cli("restore", tmp_path / "a.tif", "-o", tmp_path / "b.png", "-m", weights)
    assert refused.code == 3
    assert "it holds 2 pages and a PNG holds one; write a TIFF (--format tiff)" in refused.error
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--max-pixels", "1000"), "the header says 56 x 40 pixels"),
        (("--max-file-size", "100"), "the file is larger than the limit"),
    ],
)
def test_limits_guard_against_what_is_too_large(
    cli: Cli, weights: Path, tmp_path: Path, options: tuple[str, str], reason: str
) -> None:
    ended = cli("restore", put(tmp_path / "a.png"), "-o", tmp_path / "b.png", "-m", weights, *options)
    assert ended.code == 3
    assert reason in ended.error
