"""``restorekit restore`` from the words to the files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from restorekit.inference import Restorer
from restorekit.io import ImageData, encode_image, read_image, write_image
from tests.e2e.conftest import Cli, photo, put

COMMAND = (sys.executable, "-m", "restorekit")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def names(folder: Path) -> list[str]:
    """Return everything below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def pixels(path: Path) -> np.ndarray:
    return read_image(path).pixels


def flat(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((16, 20, 3), colour, np.uint8)


# --- which files become which -----------------------------------------------------------------------------------------


def test_one_picture_beside_its_input(cli: Cli, weights: Path, tmp_path: Path) -> None:
    given = put(tmp_path / "a.png")
    before = given.read_bytes()
    ended = cli("restore", given, "--model", weights)
    assert ended.code == 0
    assert names(tmp_path) == ["a.png", "a_restored.png"]
    assert given.read_bytes() == before
    restored = pixels(tmp_path / "a_restored.png")
    assert restored.shape == (40, 56, 3)
    assert restored.dtype == np.uint8
    assert not np.array_equal(restored, pixels(given))
    assert "resunet (resunet-test), weights without a card, on cpu in fp32: padded to multiples of 8" in ended.error
    assert f"{given} -> {tmp_path / 'a_restored.png'} (" in ended.error
    assert "1 written in" in ended.error
    assert ended.output == b""


def test_folders_patterns_and_several_inputs(cli: Cli, weights: Path, tmp_path: Path) -> None:
    for name in ("in/1.png", "in/2.png", "in/sub/3.png", "in/Thumbs.db.txt", "other/x.jpg", "other/y.jpg", "z.png"):
        put(tmp_path / name, format="png" if name.endswith("png") else "jpeg")
    out = tmp_path / "out"
    more = ("--model", weights, "--out", out)
    ended = cli("restore", tmp_path / "in", tmp_path / "other" / "*.jpg", tmp_path / "z.png", "--recursive", *more)
    assert ended.code == 0
    assert names(out) == ["1.png", "2.png", "sub/3.png", "x.jpg", "y.jpg", "z.png"]
    assert "[6/6] " in ended.error


def test_out_is_a_file_for_one_input_and_a_picture_suffix(cli: Cli, weights: Path, tmp_path: Path) -> None:
    given = put(tmp_path / "a.png")
    assert cli("restore", given, "-o", tmp_path / "new" / "b.webp", "-m", weights).code == 0
    assert read_image(tmp_path / "new" / "b.webp").format == "webp"
    assert cli("restore", given, "-o", tmp_path / "folder", "-m", weights).code == 0
    assert names(tmp_path / "folder") == ["a.png"]


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "bmp"])
def test_formats_and_suffixes(cli: Cli, weights: Path, tmp_path: Path, format: str) -> None:
    given = put(tmp_path / "a.png")
    assert cli("restore", given, "-m", weights, "--format", format, "--suffix", "-new").code == 0
    made = [name for name in names(tmp_path) if name.startswith("a-new.")]
    assert [read_image(tmp_path / name).format for name in made] == [format]


def test_from_standard_input_to_standard_output(cli: Cli, weights: Path) -> None:
    given = encode_image(ImageData(pixels=photo(), format="png"))
    ended = cli("restore", "-", "-m", weights, stdin=given)
    assert ended.code == 0
    assert read_image(ended.output).pixels.shape == (40, 56, 3)
    assert read_image(ended.output).format == "png"
    ended = cli("restore", "-", "-o", "-", "--format", "jpg", "-m", weights, stdin=given)
    assert read_image(ended.output).format == "jpeg"


def test_standard_output_takes_one_thing(cli: Cli, weights: Path, tmp_path: Path) -> None:
    given = put(tmp_path / "a.png")
    assert "not both; give --out a file name" in cli("restore", given, "-o", "-", "--json").error
    assert "not both; give --out a file name" in cli("restore", "-", "--json").error
    assert "needs a file; give --out a file name" in cli("restore", given, "-o", "-", "--compare", "-m", weights).error


def test_what_exists_is_kept_unless_told_otherwise(cli: Cli, weights: Path, tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        put(tmp_path / "in" / name)
    out = tmp_path / "out"
    there = put(out / "1.png", flat(RED))
    more = ("--model", weights, "--out", out)
    ended = cli("restore", tmp_path / "in", *more)
    assert ended.code == 2
    assert f"{there} exists already; give --overwrite or --skip-existing" in ended.error
    ended = cli("restore", tmp_path / "in", *more, "--skip-existing", "--json")
    assert ended.code == 0
    assert [(p["status"], p["reason"]) for p in ended.json["pictures"]] == [
        ("skipped", "the output exists"),
        ("done", None),
    ]
    assert np.array_equal(pixels(there), flat(RED))
    assert cli("restore", tmp_path / "in", *more, "--overwrite").code == 0
    assert pixels(there).shape == (40, 56, 3)
    assert cli("restore", tmp_path / "in", *more, "--overwrite", "--skip-existing").code == 2


def clashing(folder: Path) -> None:
    """Field report 9: a.jpg red, a.png blue, sub/a.png and A.PNG green."""
    for name, colour in (("a.jpg", RED), ("a.png", BLUE), ("sub/a.png", GREEN)):
        put(folder / name, flat(colour), format="jpeg" if name.endswith("jpg") else "png")
    shutil.copy(folder / "sub" / "a.png", folder / "A.PNG")


@pytest.mark.parametrize("recursive", [[], ["--recursive"]])
def test_two_inputs_of_one_name_are_refused_before_the_first(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recursive: list[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the model is loaded although the outputs clash")

    monkeypatch.setattr(Restorer, "from_pretrained", fail)
    clashing(tmp_path / "in")
    ended = cli("restore", tmp_path / "in", "-o", tmp_path / "out", "--format", "png", *recursive)
    assert ended.code == 2
    for name in ("a.jpg", "a.png", "A.PNG"):
        assert str(tmp_path / "in" / name) in ended.error
    assert "several inputs would become one file" in ended.error
    assert str(tmp_path / "in" / "sub") not in ended.error
    assert not (tmp_path / "out").exists()


def test_names_without_a_clash_stay_plain(cli: Cli, weights: Path, tmp_path: Path) -> None:
    clashing(tmp_path / "in")
    (tmp_path / "in" / "A.PNG").unlink()
    out = tmp_path / "out"
    assert cli("restore", tmp_path / "in", "-o", out, "--recursive", "-m", weights).code == 0
    assert names(out) == ["a.jpg", "a.png", "sub/a.png"]
    for name, colour in (("a.jpg", RED), ("a.png", BLUE), ("sub/a.png", GREEN)):
        assert pixels(out / name).mean((0, 1)).argmax() == np.argmax(colour)


# --- how a picture is restored ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_strength_0_keeps_every_value(
    cli: Cli, weights: Path, tmp_path: Path, dtype: type, grey: bool, suffix: str
) -> None:
    values = photo().astype(dtype) * (np.iinfo(dtype).max // 255)
    given = put(tmp_path / f"a{suffix}", values[..., 0] if grey else values, format=suffix[1:])
    assert cli("restore", given, "-o", tmp_path / f"b{suffix}", "--strength", 0, "-m", weights).code == 0
    after = pixels(tmp_path / f"b{suffix}")
    assert after.dtype == dtype
    assert np.array_equal(after, pixels(given))


def test_a_mask_leaves_what_is_black(cli: Cli, weights: Path, tmp_path: Path) -> None:
    given = put(tmp_path / "a.png")
    mask = np.zeros((40, 56), np.uint8)
    mask[:, :20] = 255
    put(tmp_path / "mask.png", mask)
    assert cli("restore", given, "--mask", tmp_path / "mask.png", "-m", weights).code == 0
    before, after = pixels(given), pixels(tmp_path / "a_restored.png")
    assert np.array_equal(before[:, 20:], after[:, 20:])
    assert not np.array_equal(before[:, :20], after[:, :20])


def test_a_mask_that_does_not_fit_is_a_wrong_option(cli: Cli, weights: Path, tmp_path: Path) -> None:
    given = put(tmp_path / "a.png")
    put(tmp_path / "mask.png", np.zeros((8, 8), np.uint8))
    ended = cli("restore", given, "--mask", tmp_path / "mask.png", "-m", weights)
    assert ended.code == 2
    assert f"{given}: the mask is (8, 8), the picture 40 rows by 56 columns" in ended.error
    (tmp_path / "mask.png").write_text("no picture")
    ended = cli("restore", given, "--mask", tmp_path / "mask.png", "-m", weights)
    assert ended.code == 2
    assert "the mask cannot be used" in ended.error
    assert names(tmp_path) == ["a.png", "mask.png"]


def test_a_crop_is_what_is_written(cli: Cli, weights: Path, tmp_path: Path) -> None:
    given = put(tmp_path / "a.png")
    out = tmp_path / "b.png"
    assert cli("restore", given, "-o", out, "--crop", "8,4,20,10", "--strength", 0, "-m", weights).code == 0
    assert np.array_equal(pixels(out), pixels(given)[4:14, 8:28])
    ended = cli("restore", given, "-o", tmp_path / "c.png", "--crop", "50,0,20,10", "-m", weights)
    assert ended.code == 2
    assert "crop 50,0,20,10 (x,y,width,height) does not lie inside the picture of 56x40" in ended.error


def test_compare_shows_before_and_after(cli: Cli, weights: Path, tmp_path: Path) -> None:
    given = put(tmp_path / "a.png")
    ended = cli("restore", given, "--compare", "-m", weights)
    assert ended.code == 0
    both = pixels(tmp_path / "a_restored_compare.png")
    assert np.array_equal(both[:, :56], pixels(given))
    assert np.array_equal(both[:, -56:], pixels(tmp_path / "a_restored.png"))
    assert "a_restored_compare.png" in ended.error
    ended = cli("restore", tmp_path, "--compare", "--overwrite", "--json", "-m", weights)
    assert [Path(p["source"]).name for p in ended.json["pictures"]] == ["a.png"]  # no comparison of the comparison
    assert ended.json["pictures"][0]["comparison"] == str(tmp_path / "a_restored_compare.png")
    ended = cli("restore", given, "--crop", "0,0,9,7", "--compare", "-o", tmp_path / "part.png", "-m", weights)
    assert pixels(tmp_path / "part_compare.png").shape == (7, 20, 3)


def test_compare_replaces_nothing_unasked(cli: Cli, weights: Path, tmp_path: Path) -> None:
    given, there = put(tmp_path / "a.png"), put(tmp_path / "out" / "a_compare.png", flat(RED))
    ended = cli("restore", given, "-o", tmp_path / "out", "--compare", "-m", weights)
    assert ended.code == 2
    assert f"{there} exists already; give --overwrite, or leave --compare out" in ended.error
    other = put(tmp_path / "a_compare.png", flat(BLUE))
    ended = cli("restore", given, other, "-o", tmp_path / "out", "--compare", "--overwrite", "-m", weights)
    assert ended.code == 2
    assert f"{there} would be both a before/after picture and another one" in ended.error
    assert np.array_equal(pixels(there), flat(RED))


@pytest.mark.parametrize("options", [["--tile", "64"], ["--tile", "off"], ["--max-memory", "400M"], ["--ensemble"]])
def test_ways_to_run_make_nearly_the_same_picture(cli: Cli, weights: Path, tmp_path: Path, options: list[str]) -> None:
    given = put(tmp_path / "a.png", photo(130, 200))
    assert cli("restore", given, "-o", tmp_path / "b.png", "-m", weights).code == 0
    ended = cli("restore", given, "-o", tmp_path / "c.png", "-v", *options, "-m", weights)
    assert ended.code == 0
    assert ("tiles of 64x64" in ended.error) == (options[0] in ("--tile", "--max-memory") and options[1] != "off")
    first, second = (pixels(tmp_path / name).astype(float) for name in ("b.png", "c.png"))
    assert np.abs(first - second).mean() < 1


def test_quality_of_a_jpeg(cli: Cli, weights: Path, tmp_path: Path) -> None:
    given = put(tmp_path / "a.png", photo(200, 200))
    for quality in (30, 100):
        assert cli("restore", given, "-o", tmp_path / f"{quality}.jpg", "--quality", quality, "-m", weights).code == 0
    assert (tmp_path / "30.jpg").stat().st_size < (tmp_path / "100.jpg").stat().st_size / 2


@pytest.mark.parametrize("tile", ["auto", "64"])
@pytest.mark.parametrize("count", [1, 3])
def test_half_precision_on_the_cpu(cli: Cli, weights: Path, tmp_path: Path, tile: str, count: int) -> None:
    """Field report 8: it runs in a precision that the CPU has, says so once, and gives no advice about memory."""
    for index in range(count):
        put(tmp_path / "in" / f"{index}.png", photo(70, 90))
    more = ("--device", "cpu", "--precision", "fp16", "--tile", tile, "--model", weights)
    ended = cli("restore", tmp_path / "in", "-o", tmp_path / "out", *more)
    assert ended.code == 0
    assert names(tmp_path / "out") == [f"{index}.png" for index in range(count)]
    assert ended.error.count("the CPU does not compute in fp16; running in fp32 instead") == 1
    assert "on cpu in fp32" in ended.error
    assert "memory" not in ended.error


# --- when something is wrong ------------------------------------------------------------------------------------------


def bad_folder(folder: Path) -> None:
    """Field report 10: 1.png and 6.png are good; the others are cut, empty, text and damaged."""
    for name in ("1.png", "5.png", "6.png"):
        put(folder / name)
    put(folder / "2.jpg", photo(100, 100), format="jpeg")
    (folder / "2.jpg").write_bytes((folder / "2.jpg").read_bytes()[: (folder / "2.jpg").stat().st_size // 2])
    (folder / "3.png").write_bytes(b"")
    (folder / "4.jpg").write_text("this is no picture")
    damaged = bytearray((folder / "5.png").read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    (folder / "5.png").write_bytes(damaged)


def test_bad_files_are_named_at_the_end_and_the_rest_is_done(cli: Cli, weights: Path, tmp_path: Path) -> None:
    bad_folder(tmp_path / "in")
    ended = cli("restore", tmp_path / "in", "-o", tmp_path / "out", "-m", weights)
    assert ended.code == 3
    assert names(tmp_path / "out") == ["1.png", "6.png"]
    *_, summary, second, third, fourth, fifth = ended.error.splitlines()
    assert summary.startswith("2 written, 4 failed in")
    for line, name in ((second, "2.jpg"), (third, "3.png"), (fourth, "4.jpg"), (fifth, "5.png")):
        start = f"{tmp_path / 'in' / name}: "
        assert line.startswith(start)
        assert len(line) > len(start) + 10
    ended = cli("restore", tmp_path / "in", "-o", tmp_path / "out", "--overwrite", "--json", "-m", weights)
    assert ended.code == ended.json["exit_code"] == 3
    statuses = [picture["status"] for picture in ended.json["pictures"]]
    assert statuses == ["done", "failed", "failed", "failed", "failed", "done"]
    assert all((picture["reason"] is None) == (picture["status"] == "done") for picture in ended.json["pictures"])


def test_nothing_written_is_no_success(cli: Cli, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    ended = cli("restore", tmp_path / "a.png", "-m", weights)
    assert ended.code == 3
    assert f"{tmp_path / 'a.png'}: the file is empty (0 bytes)" in ended.error
    assert cli("restore", "-", "-m", weights, stdin=b"nothing").code == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.png"], "there is no file or folder 'nowhere.png'"),
        (["*.nothing"], r"nothing matches the pattern '*.nothing'"),
        (["."], "there is no picture file in ."),
        (["a.pic", "--device", "cuda:99"], "there is no device 'cuda:99' here"),
        (["a.pic", "--precision", "fp12"], "unknown precision 'fp12'; choose auto, fp32, bf16, fp16"),
        (["a.pic", "--model", "resnet"], "unknown model 'resnet'; did you mean resunet"),
        (["a.pic", "--quality", "101"], "quality is 1 to 100, got 101"),
        (["a.pic", "--strength", "1.5"], "strength is between 0 and 1, got 1.5"),
        (["a.pic", "--format", "gif"], "unknown picture format 'gif'"),
        (["a.pic", "--tile", "big"], "a tile is auto, off, or a number of pixels, not 'big'"),
        (["a.pic", "--tile", "1"], "a side of at least 16 pixels, got 1"),
        (["a.pic", "--crop", "1,2,3"], "a crop is x,y,width,height in pixels"),
        (["a.pic", "--crop", "1,2,0,3"], "a crop is x,y,width,height in pixels"),
        (["a.pic", "--crop", "-1,2,3,3"], "a crop is x,y,width,height in pixels"),
        (["a.pic", "--max-memory", "much"], "an amount of memory is a number with a unit, such as 4GB or 500M"),
        (["a.pic", "--max-memory", "0"], "an amount of memory is a number with a unit"),
        (["a.pic", "--max-memory", "1K"], "more than the 0 MiB that it may take"),
        (["a.pic", "--shard", "3/2"], "a shard is i/n with 1 <= i <= n, such as 2/4, not '3/2'"),
        (["a.pic", "--workers", "0"], "workers are 1 or more, got 0"),
        (["a.pic", "--bit-depth", "12"], "bit depth is 8, 16 or 32 (floating point), got 12"),
        (["a.pic", "--background", "mauve"], "a colour is white, black, grey, gray or #RRGGBB, not 'mauve'"),
        (["a.pic", "--max-pixels", "0"], "a number of pixels is one with a unit, such as 500M or 2G, not '0'"),
        (["a.pic", "--resume", "-o", "-"], "--resume and --shard need files to write to"),
        (["a.pic", "--suffix", "x/y"], "a suffix is a part of a name, got 'x/y'"),
        (["a.pic", "--strength", "much"], "Invalid value for '--strength'"),
        (["a.pic", "--stength", "1"], "No such option: --stength"),
        ([], "Missing argument 'INPUT'"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_sentence(
    cli: Cli, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    put(tmp_path / "a.pic", format="png")
    monkeypatch.chdir(tmp_path)
    model = [] if "--model" in words else ["--model", str(weights)]
    ended = cli("restore", *words, *model)
    assert ended.code == 2
    assert message in ended.error
    assert "Traceback" not in ended.error
    assert names(tmp_path) == ["a.pic"]


def test_weights_that_cannot_be_used_end_with_4(cli: Cli, tmp_path: Path) -> None:
    given = put(tmp_path / "a.png")
    (tmp_path / "bad.safetensors").write_bytes(b"not weights")
    ended = cli("restore", given, "-m", tmp_path / "bad.safetensors")
    assert ended.code == 4
    assert "bad.safetensors" in ended.error
    assert cli("restore", given, "-m", tmp_path / "none.safetensors").code == 4
    assert names(tmp_path) == ["a.png", "bad.safetensors"]


@pytest.mark.parametrize("place", [0, -1])
def test_debug_shows_the_traceback(cli: Cli, tmp_path: Path, place: int) -> None:
    words = ["restore", str(tmp_path / "none.png")]
    words.insert(place % 3, "--debug")
    ended = cli(*words)
    assert ended.code == 2
    assert "Traceback" in ended.error
    assert "UsageError: there is no file or folder" in ended.error


def test_an_answer_that_is_no_picture_fails_that_picture_only(
    cli: Cli, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from restorekit.errors import ModelError

    run = Restorer.run

    def sometimes(self: Restorer, image: ImageData, **options: object) -> object:
        if image.width == 20:
            raise ModelError("the network's answer is not finite")
        return run(self, image, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Restorer, "run", sometimes)
    put(tmp_path / "in" / "1.png", flat(RED))
    put(tmp_path / "in" / "2.png")
    ended = cli("restore", tmp_path / "in", "-o", tmp_path / "out", "-m", weights)
    assert ended.code == 3
    assert names(tmp_path / "out") == ["2.png"]
    assert f"{tmp_path / 'in' / '1.png'}: the network's answer is not finite" in ended.error


def test_an_interruption_ends_with_130_and_leaves_whole_files(
    cli: Cli, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Restorer.run

    def interrupted(self: Restorer, image: ImageData, **options: object) -> object:
        if image.width == 20:
            raise KeyboardInterrupt
        return run(self, image, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Restorer, "run", interrupted)
    put(tmp_path / "in" / "1.png")
    put(tmp_path / "in" / "2.png", flat(RED))
    ended = cli("restore", tmp_path / "in", "-o", tmp_path / "out", "-m", weights)
    assert ended.code == 130
    assert ended.error.splitlines()[-1] == "Interrupted."
    assert "the same command with --resume goes on" in ended.error
    assert names(tmp_path / "out") == [".restorekit.journal", "1.png"]
    assert pixels(tmp_path / "out" / "1.png").shape == (40, 56, 3)
    monkeypatch.setattr(Restorer, "run", run)
    written = (tmp_path / "out" / "1.png").stat().st_mtime_ns
    resumed = cli("restore", tmp_path / "in", "-o", tmp_path / "out", "-m", weights, "--resume", "--json")
    assert [(picture["status"], picture["reason"]) for picture in resumed.json["pictures"]] == [
        ("skipped", "done before"),
        ("done", None),
    ]
    assert (tmp_path / "out" / "1.png").stat().st_mtime_ns == written
    again = cli("restore", tmp_path / "in", "-o", tmp_path / "out", "-m", weights, "--resume")
    assert again.code == 0
    assert "0 written, 2 skipped" in again.error
    other = cli("restore", tmp_path / "in", "-o", tmp_path / "out", "-m", weights, "--resume", "--strength", "0.5")
    assert other.code == 2
    assert "the run to resume had other settings (strength)" in other.error


# --- what would be done -----------------------------------------------------------------------------------------------


def test_a_dry_run_lists_and_writes_nothing(cli: Cli, weights: Path, tmp_path: Path) -> None:
    bad_folder(tmp_path / "in")
    before = names(tmp_path)
    ended = cli("restore", tmp_path / "in", "-o", tmp_path / "out", "--dry-run", "-m", weights)
    assert ended.code == 3
    assert names(tmp_path) == before
    first = f"{tmp_path / 'in' / '1.png'} -> {tmp_path / 'out' / '1.png'}: 56x40: whole picture, about "
    assert first in ended.text
    assert f"{tmp_path / 'in' / '3.png'} -> {tmp_path / 'out' / '3.png'}: failed, " in ended.text
    assert "to restore, about" in ended.text.splitlines()[-1]


def test_a_dry_run_as_json_has_times(cli: Cli, weights: Path, tmp_path: Path) -> None:
    put(tmp_path / "in" / "1.png", photo(40, 56))
    put(tmp_path / "in" / "2.png", photo(400, 560))
    ended = cli("restore", tmp_path / "in", "-o", tmp_path / "out", "--dry-run", "--json", "--compare", "-m", weights)
    assert ended.code == 0
    assert not (tmp_path / "out").exists()
    first, second = ended.json["pictures"]
    assert first["status"] == second["status"] == "planned"
    assert (second["width"], second["height"]) == (560, 400)
    assert second["comparison"] == str(tmp_path / "out" / "2_compare.png")
    assert second["seconds"] == pytest.approx(100 * first["seconds"])
    assert ended.json["seconds"] == pytest.approx(first["seconds"] + second["seconds"])
    ended = cli("restore", tmp_path / "in" / "2.png", "--dry-run", "--json", "--tile", "64", "-m", weights)
    assert "tiles of 64x64" in ended.json["pictures"][0]["plan"]
    ended = cli("restore", tmp_path / "in" / "2.png", "--dry-run", "--json", "--strength", "0", "-m", weights)
    assert ended.json["seconds"] == 0
    ended = cli("restore", "-", "--dry-run", "-m", weights)
    assert "standard input -> -: as large as it is" in ended.text


# --- in a process of its own ------------------------------------------------------------------------------------------


def test_through_pipes(weights: Path, tmp_path: Path) -> None:
    given = encode_image(ImageData(pixels=photo(), format="webp"))
    words = [*COMMAND, "restore", "-", "--model", str(weights)]
    ended = subprocess.run(words, input=given, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    assert read_image(ended.stdout).format == "webp"
    assert read_image(ended.stdout).pixels.shape == (40, 56, 3)
    assert b"Warning" not in ended.stderr


@pytest.mark.skipif(os.name == "nt", reason="a terminal and its interrupt key are others on Windows")
def test_a_bar_on_a_terminal_and_its_interrupt_key(weights: Path, tmp_path: Path) -> None:
    import pty

    for index in range(300):
        write_image(ImageData(pixels=photo(128, 128), format="png"), tmp_path / f"{index}.png")
    master, slave = pty.openpty()
    words = [*COMMAND, "restore", ".", "-o", "out", "--model", str(weights), "--ensemble"]
    shown, interrupted = b"", False
    with subprocess.Popen(words, cwd=tmp_path, env=ENVIRONMENT, stdout=slave, stderr=slave, stdin=slave) as process:
        os.close(slave)
        try:
            while part := shown_by(master):
                shown += part  # what is looked for may come in two parts
                if b" left" in shown and not interrupted:
                    interrupted = True
                    process.send_signal(signal.SIGINT)
        finally:
            process.kill()
    os.close(master)
    assert process.returncode == 130
    assert b"Interrupted." in shown
    assert b"%" in shown
    made = [name for name in names(tmp_path / "out") if name != ".restorekit.journal"]
    assert 0 < len(made) < 300
    assert all(pixels(tmp_path / "out" / name).shape == (128, 128, 3) for name in made)


def shown_by(terminal: int) -> bytes:
    """Return what a terminal shows next; nothing when the process has ended."""
    try:
        return os.read(terminal, 65536)
    except OSError:  # that is how Linux tells the end
        return b""
