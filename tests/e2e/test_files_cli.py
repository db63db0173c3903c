"""What must survive in a file, through the real command: field reports 1 to 5, and every odd file of the shared ones.

Inputs are made, and outputs judged, by other readers and writers than the package's own: Pillow, tifffile, a few lines
on the JPEG header, and exiftool and vips where they are installed.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

import restorekit
from restorekit.metrics import psnr
from tests.e2e.conftest import Cli, Ended, photo
from tests.helpers.shared import find_shared_folder, shared_folder

EXIFTOOL, VIPS = shutil.which("exiftool"), shutil.which("vips")
Options = tuple[object, ...]


@pytest.fixture
def unchanged(weights: Path) -> Options:
    """Return the options that leave every pixel as it is; the network is a small one, since it does not matter."""
    return "--strength", 0, "--model", weights


# --- judges -----------------------------------------------------------------------------------------------------------


def shown(path: Path) -> NDArray[np.uint8]:
    """Return a picture as a viewer shows it, ``(H, W, 4)``."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGBA"))


def sampling(path: Path) -> list[tuple[int, int]]:
    """Return the sampling factors that the frame header (SOF) of a JPEG states."""
    data, at = path.read_bytes(), 2
    while True:
        marker, length = struct.unpack_from(">HH", data, at)
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            return [(data[at + 11 + 3 * i] >> 4, data[at + 11 + 3 * i] & 15) for i in range(data[at + 9])]
        at += 2 + length


def by_exiftool(*paths: Path) -> list[dict[str, Any]]:
    """Return what exiftool says of files, as numbers; nothing where it is not installed."""
    if EXIFTOOL is None:
        return []
    words = [EXIFTOOL, "-j", "-n", "-G0", *map(str, paths)]
    return list(json.loads(subprocess.run(words, capture_output=True, check=True).stdout))


def by_vips(path: Path, field: str) -> str | None:
    """Return what vips says of a file, or None where it is not installed."""
    if VIPS is None:
        return None
    words = [str(Path(VIPS).with_name("vipsheader")), "-f", field, str(path)]
    text = subprocess.run(words, capture_output=True, check=True, text=True).stdout.strip()
    return text.removeprefix("((VipsBandFormat) VIPS_FORMAT_").removesuffix(")").lower()


def likeness(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the correlation of two pictures of one shape."""
    return float(np.corrcoef(first.astype(float).ravel(), second.astype(float).ravel())[0, 1])


def findings(cli: Cli, before: Path, after: Path) -> dict[str, list[str]]:
    """Return what verify calls lost, by the name of the input; an empty list where all was kept."""
    pairs = cli("verify", before, after, "--json").json["pairs"]
    assert [pair["reason"] for pair in pairs if pair["status"] in ("missing", "failed")] == []
    return {
        Path(pair["before"]).name: [finding["aspect"] for finding in pair["findings"] if not finding["kept"]]
        for pair in pairs
    }


def restored(cli: Cli, given: Path, out: Path, *options: object) -> Ended:
    ended = cli("restore", given, "--out", out, *map(str, options))
    assert ended.code == 0, ended.error
    return ended


# --- 1: 16-bit grey turns white ---------------------------------------------------------------------------------------

RAMP = np.tile(np.arange(0, 65536, 257, dtype=np.uint16), (64, 1))


def save_ramp(path: Path, ramp: NDArray[np.uint16] = RAMP) -> Path:
    if path.suffix == ".png":
        Image.fromarray(ramp).save(path)
    else:
        tifffile.imwrite(path, ramp, photometric="minisblack")
    return path


def grey16(path: Path) -> NDArray[np.uint16]:
    """Return the pixels of a 16-bit grey file, by a reader of its format, when all judges agree that it is one."""
    for record in by_exiftool(path):
        assert record.get("PNG:BitDepth", record.get("EXIF:BitsPerSample")) == 16
        assert record.get("PNG:ColorType", 0) == 0
        assert record.get("EXIF:SamplesPerPixel", 1) == 1
    if VIPS is not None:
        assert (by_vips(path, "format"), by_vips(path, "bands")) == ("ushort", "1")
    if path.suffix == ".png":
        with Image.open(path) as image:
            assert image.mode == "I;16"
            return np.asarray(image)
    values = tifffile.imread(path)
    assert values.dtype == np.uint16
    return values


@pytest.mark.parametrize("source", [".png", ".tif"])
@pytest.mark.parametrize("target", [".png", ".tif"])
def test_1_every_level_of_a_16_bit_ramp_survives(
    cli: Cli, unchanged: Options, tmp_path: Path, source: str, target: str
) -> None:
    given, out = save_ramp(tmp_path / f"ramp{source}"), tmp_path / f"out{target}"
    restored(cli, given, out, *unchanged)
    assert np.abs(grey16(out).astype(int) - RAMP).max() <= 1
    assert np.unique(grey16(out)).size == 256
    assert findings(cli, given, out) == {given.name: []}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_1_a_restored_ramp_is_still_a_ramp_of_16_bits(cli: Cli, tmp_path: Path, suffix: str) -> None:
    given, out = save_ramp(tmp_path / f"ramp{suffix}"), tmp_path / f"out{suffix}"
    restored(cli, given, out)
    after = grey16(out)
    assert likeness(after, RAMP) > 0.99
    assert np.unique(after).size > 256
    assert (after % 257 != 0).any(), "the values are those of 8 bits"
    assert findings(cli, given, out) == {given.name: []}


@pytest.mark.parametrize("values", [(0, 300), (0, 4095), (60000, 65535)], ids=str)
def test_1_the_header_tells_the_depth_and_not_the_values(
    cli: Cli, unchanged: Options, tmp_path: Path, values: tuple[int, int]
) -> None:
    """A scan that is dark all over, or bright, is no picture of 8 or 12 bits."""
    ramp = np.tile(np.linspace(*values, 256).round().astype(np.uint16), (64, 1))
    given, out = save_ramp(tmp_path / "ramp.png", ramp), tmp_path / "out.png"
    restored(cli, given, out, *unchanged)
    np.testing.assert_array_equal(grey16(out), ramp)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_1_the_same_through_the_python_interface(tmp_path: Path, suffix: str) -> None:
    given = save_ramp(tmp_path / f"ramp{suffix}")
    result = restorekit.restore(given, strength=0)
    np.testing.assert_array_equal(result.pixels, RAMP)
    result.save(tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(grey16(tmp_path / f"out{suffix}"), RAMP)
    np.testing.assert_array_equal(restorekit.restore(RAMP, strength=0), RAMP)
    again = restorekit.restore(Image.fromarray(RAMP), strength=0)
    assert again.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(again), RAMP)
    planes = as_planes(RAMP), as_planes(np.asarray(restorekit.read_image(given).pixels))
    assert psnr(*planes, data_range=65535).item() == np.inf


def as_planes(values: NDArray[Any]) -> Any:
    import torch

    return torch.from_numpy(values.astype(np.float32))[None, None]


# --- 2: a portrait comes out lying down -------------------------------------------------------------------------------

SIDES = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp", "BMP": ".bmp"}
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


def quarters() -> NDArray[np.uint8]:
    """Return 20 x 40 pixels red on the left and blue on the right, with a corner that tells up from down."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20, 0] = pixels[:, 20:, 2] = 255
    pixels[:10, :10] = (255, 255, 255)
    return pixels


def save_turned(folder: Path, format: str) -> Path:
    """Save a picture eight times, with each of the orientations."""
    folder.mkdir()
    for way in range(1, 9):
        exif = Image.Exif()
        exif[274], exif[271] = way, "Maker"
        options = {"quality": 95, "subsampling": 0, "xmp": XMP % way} if format == "JPEG" else {}
        if format == "WEBP":
            options = {"lossless": True}
        Image.fromarray(quarters()).save(folder / f"{way}{SIDES[format]}", format, exif=exif, **options)
    return folder


def check_upright(before: Path, after: Path, tolerance: float) -> None:
    first, second = shown(before)[..., :3].astype(int), shown(after)[..., :3].astype(int)
    assert first.shape == second.shape, f"{before.name} lies down"
    assert np.abs(first - second).mean() < tolerance, f"{before.name} is turned"
    with Image.open(after) as image:
        assert image.getexif().get(274, 1) == 1
        assert image.size == first.shape[1::-1]


@pytest.mark.parametrize("source", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("target", sorted(SIDES))
def test_2_any_viewer_shows_all_orientations_the_same_way_up(
    cli: Cli, unchanged: Options, tmp_path: Path, source: str, target: str
) -> None:
    given, out = save_turned(tmp_path / "in", source), tmp_path / "out"
    restored(cli, given, out, "--format", target, *unchanged)
    pairs = [(given / f"{way}{SIDES[source]}", out / f"{way}{SIDES[target]}") for way in range(1, 9)]
    for before, after in pairs:
        check_upright(before, after, tolerance=6 if target in ("JPEG", "WEBP") else 1)
    for record in by_exiftool(*(after for _, after in pairs)):
        stated = [record[key] for key in record if key.endswith(":Orientation")]
        assert set(map(int, stated)) <= {1}
    lost = findings(cli, given, out)
    assert all("orientation" not in aspects and "size" not in aspects for aspects in lost.values())


def test_2_vips_turns_nothing_either(cli: Cli, unchanged: Options, tmp_path: Path) -> None:
    if VIPS is None:
        pytest.skip("needs vips")
    given, out = save_turned(tmp_path / "in", "JPEG"), tmp_path / "out"
    restored(cli, given, out, *unchanged)
    for way in range(1, 9):
        for folder in ("in", "out"):
            words = [VIPS, "autorot", tmp_path / folder / f"{way}.jpg", tmp_path / f"{folder}.png"]
            subprocess.run(words, capture_output=True, check=True)
        check_upright(tmp_path / "in.png", tmp_path / "out.png", tolerance=6)


def test_2_restored_portraits_stand_as_well(cli: Cli, tmp_path: Path) -> None:
    given, out = save_turned(tmp_path / "in", "JPEG"), tmp_path / "out"
    restored(cli, given, out)
    for way in range(1, 9):
        check_upright(given / f"{way}.jpg", out / f"{way}.jpg", tolerance=20)
    assert findings(cli, given, out) == {f"{way}.jpg": [] for way in range(1, 9)}


# --- 3: a palette loses its transparency ------------------------------------------------------------------------------

SQUARE = (slice(16, 48), slice(16, 48))


def save_palette(path: Path, kind: str) -> Path:
    """Save 64 x 64 pixels of a PNG: a red square on a ground that is transparent in one of several ways."""
    indices = np.zeros((64, 64), np.uint8)
    indices[SQUARE] = 1
    if kind == "one entry":
        image, options = Image.fromarray(indices, "P"), {"transparency": 0}
        image.putpalette([10, 200, 30, 255, 0, 0])
    elif kind == "an entry each":
        indices[:, 40:] += 2
        image, options = Image.fromarray(indices % 3, "P"), {"transparency": bytes([0, 128, 255])}
        image.putpalette([10, 200, 30, 255, 0, 0, 0, 0, 255])
    elif kind == "one bit":
        image, options = Image.fromarray(indices, "P"), {"transparency": 0, "bits": 1}
        image.putpalette([10, 200, 30, 255, 0, 0])
    elif kind == "a grey":
        image, options = Image.fromarray(indices * 90 + 40, "L"), {"transparency": 40}
    else:
        image, options = (
            Image.fromarray(np.uint8([[10, 200, 30], [255, 0, 0]])[indices]),
            {"transparency": (10, 200, 30)},
        )
    image.save(path, **options)
    return path


KINDS = ["one entry", "an entry each", "one bit", "a grey", "a colour"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_3_transparency_is_what_it_was(cli: Cli, unchanged: Options, tmp_path: Path, kind: str, suffix: str) -> None:
    given, out = save_palette(tmp_path / "a.png", kind), tmp_path / f"out{suffix}"
    restored(cli, given, out, *unchanged)
    before, after = shown(given), shown(out)
    assert {0, 255} <= set(np.unique(before[..., 3])), "the input is no test"
    np.testing.assert_array_equal(after[..., 3], before[..., 3])
    opaque = before[..., 3] == 255
    np.testing.assert_array_equal(after[opaque], before[opaque])
    assert by_vips(out, "bands") in (None, "2" if kind == "a grey" and suffix != ".webp" else "4")
    assert findings(cli, given, out) == {"a.png": []}


@pytest.mark.parametrize("kind", KINDS)
def test_3_a_restored_picture_keeps_its_transparency_without_fringes(cli: Cli, tmp_path: Path, kind: str) -> None:
    """What lies under the transparent ground is not drawn into the edges of the square."""
    given, out = save_palette(tmp_path / "a.png", kind), tmp_path / "out.png"
    restored(cli, given, out)
    before, after = shown(given), shown(out)
    np.testing.assert_array_equal(after[..., 3], before[..., 3])
    seen = before[..., 3] == 255
    assert np.abs(after[seen].astype(int) - before[seen]).mean(0).max() < 12
    assert findings(cli, given, out) == {"a.png": []}


# --- 4: quality 95, yet colours smear ---------------------------------------------------------------------------------


def save_columns(path: Path) -> Path:
    """Save columns of red and blue, each one pixel wide."""
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[:, ::2, 0] = pixels[:, 1::2, 2] = 255
    Image.fromarray(pixels).save(path, **({"lossless": True} if path.suffix == ".webp" else {}))
    return path


@pytest.mark.parametrize(
    ("source", "quality"),
    [*((".png", quality) for quality in (None, 90, 91, 95, 100)), (".tif", None), (".bmp", None), (".webp", None)],
)
def test_4_colour_has_full_resolution_from_quality_90_on(
    cli: Cli, unchanged: Options, tmp_path: Path, source: str, quality: int | None
) -> None:
    given, out = save_columns(tmp_path / f"a{source}"), tmp_path / "out.jpg"
    restored(cli, given, out, *unchanged, *(() if quality is None else ("--quality", quality)))
    assert sampling(out) == [(1, 1)] * 3
    assert [record["File:YCbCrSubSampling"] for record in by_exiftool(out)] in ([], ["1 1"])
    assert likeness(shown(out)[..., :3], shown(given)[..., :3]) > 0.99
    assert findings(cli, given, out) == {given.name: []}


@pytest.mark.parametrize("given_sampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [None, 50, 80, 90])
def test_4_a_jpeg_keeps_at_least_its_own_sampling(
    cli: Cli, unchanged: Options, tmp_path: Path, given_sampling: int, quality: int | None
) -> None:
    given, out = tmp_path / "a.jpg", tmp_path / "out.jpg"
    Image.fromarray(photo(64, 64)).save(given, quality=92, subsampling=given_sampling)
    restored(cli, given, out, *unchanged, *(() if quality is None else ("--quality", quality)))
    if quality in (None, 90):
        assert sampling(out) == [(1, 1)] * 3
    else:
        assert sampling(out) == sampling(given)
    assert findings(cli, given, out) == {"a.jpg": []}


def test_4_restored_colour_is_not_subsampled_either(cli: Cli, tmp_path: Path) -> None:
    given, out = save_columns(tmp_path / "a.png"), tmp_path / "out.jpg"
    restored(cli, given, out)
    assert sampling(out) == [(1, 1)] * 3
    assert findings(cli, given, out) == {"a.png": []}


def test_4_the_default_quality_is_stated_and_used(cli: Cli, unchanged: Options, tmp_path: Path) -> None:
    text = re.sub(r"\s+", " ", cli("restore", "--help").text)
    assert "lossy WebP; 95, or the input's if higher" in text
    tables = {}
    for name, options in (("default", ()), ("95", ("--quality", 95)), ("75", ("--quality", 75))):
        given, out = save_columns(tmp_path / "a.png"), tmp_path / f"{name}.jpg"
        restored(cli, given, out, *unchanged, *options)
        with Image.open(out) as image:
            tables[name] = image.quantization
    assert tables["default"] == tables["95"] != tables["75"]


# --- 5: RGBA to JPEG: slanted stripes ---------------------------------------------------------------------------------

MODES = ["RGBA", "LA", "P", "16 bit"]


def save_soft(path: Path, mode: str) -> NDArray[np.float64]:
    """Save 63 x 50 pixels with a gradient and soft alpha; return colours and alpha, ``(50, 63, 4)`` in [0, 1]."""
    y, x = np.mgrid[:50, :63] / 62
    layers = np.stack([x, y, 1 - x, np.clip(1.4 - 2 * np.hypot(x - 0.5, y - 0.4), 0, 1)], 2)
    eight = np.rint(layers * 255).astype(np.uint8)
    if mode == "16 bit":
        tifffile.imwrite(
            path.with_suffix(".tif"), np.rint(layers * 65535).astype(np.uint16), photometric="rgb", extrasamples=[2]
        )
        return layers
    image = Image.fromarray(eight)
    image = image.convert("LA") if mode == "LA" else image.quantize(64) if mode == "P" else image
    image.save(path)
    return np.asarray(image.convert("RGBA")) / 255.0


def composite(layers: NDArray[np.float64], ground: tuple[int, int, int]) -> NDArray[np.float64]:
    colours, share = layers[..., :3], layers[..., 3:]
    return 255 * (colours * share + np.array(ground) / 255 * (1 - share))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
@pytest.mark.parametrize(
    ("ground", "colour"), [(None, (255, 255, 255)), ("black", (0, 0, 0)), ("#204060", (32, 64, 96))]
)
def test_5_transparency_is_laid_on_a_ground_that_is_stated(
    cli: Cli,
    unchanged: Options,
    tmp_path: Path,
    mode: str,
    suffix: str,
    ground: str | None,
    colour: tuple[int, int, int],
) -> None:
    layers = save_soft(tmp_path / "a.png", mode)
    given = tmp_path / ("a.tif" if mode == "16 bit" else "a.png")
    ended = restored(
        cli, given, tmp_path / f"out{suffix}", *unchanged, *([] if ground is None else ["--background", ground])
    )
    lines = [line for line in ended.error.splitlines() if "ground" in line]
    assert len(lines) == 1
    assert str(colour) in lines[0]
    after, expected = shown(tmp_path / f"out{suffix}"), composite(layers, colour)
    assert after.shape == (50, 63, 4)
    assert (after[..., 3] == 255).all()
    assert likeness(after[..., :3], expected) > 0.99
    assert np.abs(after[..., :3] - expected).max() <= (1.01 if suffix == ".bmp" else 40)
    assert np.abs(after[..., :3] - expected).mean() < 2
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.mode == ("L" if mode == "LA" and len(set(colour)) == 1 else "RGB")
    assert "alpha" in findings(cli, given, tmp_path / f"out{suffix}")[given.name]


@pytest.mark.parametrize("mode", MODES)
def test_5_a_webp_keeps_soft_alpha(cli: Cli, unchanged: Options, tmp_path: Path, mode: str) -> None:
    layers = save_soft(tmp_path / "a.png", mode)
    given, out = tmp_path / ("a.tif" if mode == "16 bit" else "a.png"), tmp_path / "out.webp"
    ended = restored(cli, given, out, *unchanged)
    assert "ground" not in ended.error
    assert np.abs(shown(out) - 255 * layers).max() <= 0.51
    assert findings(cli, given, out) == {given.name: ["bit depth"] if mode == "16 bit" else []}


def test_5_a_restored_picture_on_a_ground_has_no_stripes(cli: Cli, tmp_path: Path) -> None:
    layers = save_soft(tmp_path / "a.png", "RGBA")
    for suffix in (".jpg", ".webp", ".bmp"):
        out = tmp_path / f"out{suffix}"
        restored(cli, tmp_path / "a.png", out)
        with Image.open(out) as image:
            seen = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        assert likeness(np.asarray(seen)[..., :3], composite(layers, (255, 255, 255))) > 0.99


# --- every odd file of the shared material ----------------------------------------------------------------------------


def records() -> dict[str, dict[str, Any]]:
    """Return what is known of the good files of the shared material, by their names."""
    folder = shared_folder() / "data" / "files"
    if not (folder / "manifest.jsonl").exists():
        pytest.skip("needs the shared material: data/files")
    found = [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]
    return {Path(record["path"]).name: record for record in found if record["path"].startswith("good/")}


def explained(path: Path, facts: dict[str, Any]) -> set[str]:
    """Return what no output can have of a file, since nothing here writes it, by what others know of the file."""
    lost = set()
    if facts["pillow_mode"] == "CMYK":
        lost.add("colour model")
    if "MPO" in facts["format"] or has_layers(path):
        lost.add("contents")
    return lost


def has_layers(path: Path) -> bool:
    """Return whether Photoshop's layers stand in a TIFF beside the picture."""
    if path.suffix not in (".tif", ".tiff"):
        return False
    with tifffile.TiffFile(path) as file:
        return 37724 in file.pages[0].tags


def copy_good_files(folder: Path, *, most: int) -> dict[str, dict[str, Any]]:
    """Copy the good files of no more than so many pixels; return what is known of them."""
    folder.mkdir()
    known = {name: record for name, record in records().items() if area(record) <= most}
    for name, record in known.items():
        shutil.copyfile(shared_folder() / "data" / "files" / record["path"], folder / name)
    return known


def area(record: dict[str, Any]) -> int:
    return int(record["facts"]["width"] * record["facts"]["height"])


@pytest.mark.shared
@pytest.mark.skipif(find_shared_folder() is None, reason="needs the shared material beside the repository")
@pytest.mark.parametrize("real", [False, True], ids=["strength 0", "restored"])
def test_every_good_file_is_kept_or_refused(cli: Cli, unchanged: Options, tmp_path: Path, real: bool) -> None:
    """One run over all of them; a restoration that changes pixels takes time, so only over those that are small."""
    given, out = tmp_path / "in", tmp_path / "out"
    known = copy_good_files(given, most=100 * 100 if real else 10**9)
    report = cli("restore", given, "--out", out, "--json", *(() if real else unchanged)).json
    refused = {Path(picture["source"]).name for picture in report["pictures"] if picture["status"] == "failed"}
    for name in refused:
        assert known[name]["expect"] == "read_or_refuse" or known[name]["facts"]["format"] == "HEIC"
    pairs = {Path(pair["before"]).name: pair for pair in cli("verify", given, out, "--json").json["pairs"]}
    assert set(pairs) == {name for name in known if not name.endswith(".gif")}
    assert {name for name, pair in pairs.items() if pair["status"] == "failed"} == refused
    for name, pair in pairs.items():
        if name not in refused:
            lost = {finding["aspect"] for finding in pair["findings"] if not finding["kept"]}
            assert (name, lost) == (name, explained(given / name, known[name]["facts"]))
            assert pair["status"] == ("lost" if lost else "kept")
