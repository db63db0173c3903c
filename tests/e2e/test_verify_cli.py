"""``restorekit verify``: what it says, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from restorekit.io import ImageData, Metadata, write_image, write_pages
from tests.e2e.conftest import Cli, photo, put

SOFT = np.tile(np.linspace(0, 255, 56).astype(np.uint8), (40, 1))
FULL = ImageData(pixels=photo().astype(np.uint16) * 256 + np.uint16(7), alpha=SOFT.astype(np.uint16) * 257)


def save(path: Path, image: ImageData, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(image, path, **options)  # type: ignore[arg-type]
    return path


def test_two_files_of_which_nothing_is_lost(cli: Cli, tmp_path: Path) -> None:
    before, after = save(tmp_path / "a.png", FULL), save(tmp_path / "b.tif", FULL)
    ended = cli("verify", before, after)
    assert ended.code == 0
    assert ended.text == "1 picture: 1 kept\n"
    ended = cli("verify", before, after, "--verbose")
    assert ended.code == 0
    assert ended.text.splitlines() == [
        f"{before} -> {after}: all kept",
        "  size kept: 56 x 40",
        "  orientation kept: upright",
        "  bit depth kept: 16 bit",
        "  colour kept: RGB",
        "  alpha kept: transparent",
        "1 picture: 1 kept",
    ]


def test_losses_are_said_in_plain_words(cli: Cli, tmp_path: Path) -> None:
    before, after = save(tmp_path / "a.png", FULL), save(tmp_path / "b.jpg", FULL, quality=80)
    ended = cli("verify", before, after)
    assert ended.code == 1
    assert ended.text.splitlines() == [
        f"{before} -> {after}: something was lost",
        "  bit depth lost: 16 bit -> 8 bit (a JPEG holds no 16 bit)",
        "  alpha lost: transparent -> none (a JPEG holds no alpha)",
        "  chroma sampling lost: 4:4:4 -> 4:2:0",
        "1 picture: 1 with losses",
    ]
    assert "  size kept: 56 x 40" in cli("verify", before, after, "--verbose").text.splitlines()


def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return two folders: kept, of another format, lossy, missing, bad on either side, and what belongs to none."""
    before, after = tmp_path / "in", tmp_path / "out"
    for name in ("1.png", "2.png", "3.png", "4.png", "5.png", "6.png", "sub/7.png"):
        save(before / name, FULL)
    for name in ("1.png", "2_restored.tif", "5.png", "6.png", "1_compare.png", "stray.png", "sub/7.png"):
        save(after / name, FULL)
    save(after / "3.jpg", FULL)
    (before / "5.png").write_bytes(b"")
    (after / "6.png").write_bytes((after / "6.png").read_bytes()[:200])
    (after / "notes.txt").write_text("no picture")
    return before, after


def test_folders_are_compared_past_bad_files(cli: Cli, tmp_path: Path) -> None:
    before, after = folders(tmp_path)
    ended = cli("verify", before, after, "--recursive")
    assert ended.code == 1
    assert ended.text.splitlines() == [
        f"{before / '3.png'} -> {after / '3.jpg'}: something was lost",
        "  bit depth lost: 16 bit -> 8 bit (a JPEG holds no 16 bit)",
        "  alpha lost: transparent -> none (a JPEG holds no alpha)",
        f"{before / '4.png'}: missing, nothing that was made of it is there",
        f"not readable: {before / '5.png'}: the file is empty (0 bytes)",
        f"not readable: {after / '6.png'}: the PNG ends in the middle of a chunk; the file is cut off, get it again",
        "7 pictures: 3 kept, 1 with losses, 1 missing, 2 not readable; 2 passed over that belong to none",
    ]
    assert "sub" not in cli("verify", before, after, "--verbose").text


def test_json_has_every_pair_with_its_findings(cli: Cli, tmp_path: Path) -> None:
    before, after = folders(tmp_path)
    ended = cli("verify", before, after, "--recursive", "--json")
    assert ended.code == ended.json["exit_code"] == 1
    pairs = ended.json["pairs"]
    assert [pair["status"] for pair in pairs] == ["kept", "kept", "lost", "missing", "failed", "failed", "kept"]
    assert [pair["after"] for pair in pairs[1:4]] == [str(after / "2_restored.tif"), str(after / "3.jpg"), None]
    assert pairs[0]["findings"][0] == {"aspect": "size", "kept": True, "before": "56 x 40", "after": "56 x 40"}
    assert [finding["aspect"] for finding in pairs[2]["findings"] if not finding["kept"]] == ["bit depth", "alpha"]
    assert all((pair["reason"] is None) == (pair["status"] in ("kept", "lost")) for pair in pairs)
    assert sorted(Path(name).name for name in ended.json["passed_over"]) == ["1_compare.png", "stray.png"]


def test_files_that_cannot_be_read_end_with_3(cli: Cli, tmp_path: Path) -> None:
    before, after = put(tmp_path / "a.png"), tmp_path / "b.png"
    after.write_text("this is no picture")
    ended = cli("verify", before, after)
    assert ended.code == 3
    assert ended.text == f"not readable: {after}: the file is text, not a picture\n1 picture: 1 not readable\n"
    assert cli("verify", after, before).code == 3


def test_limits_can_be_set(cli: Cli, tmp_path: Path) -> None:
    given = put(tmp_path / "a.png")
    ended = cli("verify", given, given, "--max-pixels", "1000")
    assert ended.code == 3
    assert "the header says 56 x 40 pixels" in ended.text
    assert cli("verify", given, given, "--max-file-size", "1K").code == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.png", "nowhere.png"], "there is no file or folder 'nowhere.png'"),
        (["nowhere.png", "a.png"], "there is no file or folder 'nowhere.png'"),
        (["a.png", "."], "a.png is a file and . a folder; give two files or two folders"),
        (["empty", "."], "there is no picture file in empty"),
        (["a.png"], "Missing argument 'AFTER'"),
        (["a.png", "a.png", "--sufix", "x"], "No such option: --sufix"),
    ],
)
def test_wrong_usage_ends_with_2(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    put(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    ended = cli("verify", *words)
    assert ended.code == 2
    assert message in ended.error
    assert ended.output == b""


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--out", "out"], []),
        (["--out", "out", "--format", "tiff"], []),
        (["--out", "out", "--suffix", "-new"], ["--suffix", "-new"]),
        (["--out", "in/out"], []),
        ([], []),
        (["--format", "png"], []),
        (["--suffix", "-new"], ["--suffix", "-new"]),
    ],
    ids=" ".join,
)
def test_what_restore_makes_is_found_and_kept(
    cli: Cli, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], options: list[str]
) -> None:
    """Wherever and under whatever names outputs are put, with before/after pictures between them."""
    metadata = Metadata(dpi=(300.0, 300.0))
    for name in ("1.png", "2.TIF", "sub/1.png"):
        save(tmp_path / "in" / name, ImageData(pixels=photo(), metadata=metadata))
    monkeypatch.chdir(tmp_path)
    assert cli("restore", "in", "--recursive", "--compare", "--model", weights, *words).code == 0
    place = words[1] if "--out" in words else "in"
    ended = cli("verify", "in", place, "--recursive", *options)
    assert ended.text == "3 pictures: 3 kept; 3 passed over that belong to none\n"
    assert ended.code == 0


def test_every_page_of_a_tiff_counts(cli: Cli, tmp_path: Path) -> None:
    write_pages([FULL, FULL, FULL], tmp_path / "a.tif")
    write_pages([FULL, ImageData(pixels=FULL.pixels)], tmp_path / "b.tif")
    ended = cli("verify", tmp_path / "a.tif", tmp_path / "b.tif")
    assert ended.code == 1
    assert ended.text.splitlines()[1:-1] == [
        "  pages lost: 3 pages -> 2 pages",
        "  page 2: alpha lost: transparent -> none",
    ]


def test_colours_are_no_metadata_that_could_be_stripped(cli: Cli, weights: Path, tmp_path: Path) -> None:
    """The chunks that say what colours the values are stay like a profile; another format has none, and says so."""
    metadata = Metadata(dpi=(300.0, 300.0), png_chunks=((b"cICP", bytes([12, 13, 0, 1])), (b"tEXt", b"Title\x00Bonn")))
    given = save(tmp_path / "a.png", ImageData(pixels=photo(), metadata=metadata))
    assert cli("restore", given, "--out", tmp_path / "b.png", "--strip-metadata", "-m", weights).code == 0
    pair = cli("verify", given, tmp_path / "b.png", "--json").json["pairs"][0]
    lost = [finding["aspect"] for finding in pair["findings"] if not finding["kept"]]
    assert lost == ["texts", "resolution"]
    ended = cli("restore", given, "--out", tmp_path / "b.jpg", "-m", weights)
    assert "JPEG files hold no colour space of a PNG's chunks, PNG texts, so it was left out" in ended.error
    assert (
        "  colour space lost: cICP -> none (a JPEG holds no colour chunks)"
        in cli("verify", given, tmp_path / "b.jpg").text.splitlines()
    )


def test_it_needs_no_torch(tmp_path: Path) -> None:
    given = put(tmp_path / "a.png")
    code = (
        "import sys\n"
        "from restorekit.cli.app import main\n"
        "try:\n"
        f"    main(['verify', {str(given)!r}, {str(given)!r}])\n"
        "finally:\n"
        "    assert 'restorekit.io.verify' in sys.modules and 'torch' not in sys.modules\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "1 picture: 1 kept\n"), ended.stderr
