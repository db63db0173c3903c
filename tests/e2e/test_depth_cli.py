"""Depth maps through the command line."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from restorekit.hub import create_model
from tests.e2e.conftest import Cli, photo, put
from tests.helpers.shared import shared_folder


def scene(height: int = 10, width: int = 14) -> NDArray[np.uint16]:
    """Return a slope with an edge and two holes, in millimetres."""
    depth = (1000 + 20 * np.arange(height)[:, None] + np.zeros(width)).astype(np.uint16)
    depth[:, width // 2 :] += 800
    depth[2, 3] = depth[7, 9] = 0
    return depth


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of weights of the smallest guided network, which changes depths a little."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = create_model("dornet", variant="dornet-test").state_dict()
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    safetensors.torch.save_file({k: v if "norm" in k else 0.5 * v for k, v in state.items()}, path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Return a depth map and a picture that is four times finer."""
    Image.fromarray(scene()).save(tmp_path / "depth.png")
    return tmp_path / "depth.png", put(tmp_path / "rgb.png", photo(40, 56))


def test_a_depth_map_becomes_as_fine_as_its_picture(cli: Cli, files: tuple[Path, Path], network: Path) -> None:
    depth, guide = files
    ended = cli("restore", depth, "--guide", guide, "--model", network, "--scale", 4, "--compare")
    assert (ended.code, ended.output) == (0, b"")
    assert f"{depth} with {guide} -> {depth.parent / 'depth_restored.png'} and " in ended.error
    assert "by its keys it is dornet 'dornet-test'" in ended.error
    assert "no card says how these weights count depth" in ended.error
    restored = np.asarray(Image.open(depth.parent / "depth_restored.png"))
    assert (restored.shape, restored.dtype) == ((40, 56), np.uint16)
    assert np.array_equal(restored == 0, np.kron(scene() == 0, np.ones((4, 4), bool)))
    preview = np.asarray(Image.open(depth.parent / "depth_restored_compare.png"))
    assert preview.shape[1:] == (2 * 56 + 2, 3)
    assert len(np.unique(preview.reshape(-1, 3), axis=0)) > 50, "depth in false colours"


def test_json_says_what_was_written(cli: Cli, files: tuple[Path, Path], network: Path) -> None:
    depth, guide = files
    ended = cli("restore", depth, "--guide", guide, "--model", network, "--json", "--out", depth.parent / "out.tiff")
    assert ended.code == 0
    (outcome,) = ended.json["maps"]
    stored = tifffile.imread(depth.parent / "out.tiff")
    assert (outcome["status"], outcome["unit"], outcome["holes"]) == ("done", "mm", 32)
    assert (outcome["width"], outcome["height"], outcome["factor"]) == (56, 40, 4)
    assert outcome["greatest"] == pytest.approx(stored.max(), abs=0.51)
    assert ended.json["model"]["variant"] == "dornet-test"


@pytest.mark.parametrize("name", ["depth.npy", "depth.tiff"])
def test_metres_stay_metres_and_holes_what_they_were(cli: Cli, tmp_path: Path, network: Path, name: str) -> None:
    metres = (scene() / 1000).astype(np.float32)
    metres[metres == 0] = math.nan
    np.save(tmp_path / "depth.npy", metres)
    tifffile.imwrite(tmp_path / "depth.tiff", metres)
    guide = put(tmp_path / "rgb.png", photo(40, 56))
    assert cli("restore", tmp_path / name, "--guide", guide, "--model", network, "--out", tmp_path / "out").code == 0
    path = tmp_path / "out" / name
    restored = np.load(path) if name.endswith("npy") else tifffile.imread(path)
    assert restored.dtype == np.float32
    assert np.array_equal(np.isnan(restored), np.kron(np.isnan(metres), np.ones((4, 4), bool)))


def test_a_unit_and_a_format_are_followed(cli: Cli, files: tuple[Path, Path], network: Path) -> None:
    depth, guide = files
    words = ("restore", depth, "--guide", guide, "--model", network, "--unit", "0.0005", "--format", "npy", "--json")
    ended = cli(*words)
    assert ended.code == 0
    assert ended.json["maps"][0]["unit"] == "0.0005 m"
    assert np.load(depth.parent / "depth_restored.npy").dtype == np.uint16


def test_a_folder_has_pictures_of_the_same_names(cli: Cli, tmp_path: Path, network: Path) -> None:
    for name in ("a", "b", "c"):
        Image.fromarray(scene()).convert("I;16").save(tmp_path / f"{name}.png")
        put(tmp_path / "rgb" / f"{name}.jpg", photo(40, 56), format="jpeg")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:60])
    ended = cli("restore", tmp_path, "--guide", tmp_path / "rgb", "--model", network, "--out", tmp_path / "out")
    assert ended.code == 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]
    assert "2 written, 1 failed" in ended.error
    assert f"{tmp_path / 'b.png'}: the PNG ends in the middle of a chunk" in ended.error


def test_nothing_is_written_when_it_is_only_asked(cli: Cli, files: tuple[Path, Path], network: Path) -> None:
    depth, guide = files
    before = sorted(depth.parent.iterdir())
    ended = cli("restore", depth, "--guide", guide, "--model", network, "--dry-run")
    assert ended.code == 0
    assert "depth_restored.png" in ended.error
    assert sorted(depth.parent.iterdir()) == before


def test_outputs_that_exist_are_kept_skipped_or_replaced(cli: Cli, files: tuple[Path, Path], network: Path) -> None:
    depth, guide = files
    out = depth.parent / "depth_restored.png"
    out.write_bytes(b"mine")
    words = ("restore", depth, "--guide", guide, "--model", network)
    ended = cli(*words)
    assert (ended.code, ended.error) == (2, f"Error: {out} exists already; give --overwrite or --skip-existing\n")
    assert cli(*words, "--skip-existing").code == 0
    assert out.read_bytes() == b"mine"
    assert cli(*words, "--overwrite").code == 0
    assert np.asarray(Image.open(out)).shape == (40, 56)


# --- one clear sentence -----------------------------------------------------------------------------------------------

REFUSED = {
    "wrong sizes": (("D", "--guide", "OTHER"), 2, "which have other proportions, so they cannot show the same view"),
    "wrong scale": (("D", "--guide", "G", "--scale", "8"), 2, "which is not 8 times finer"),
    "colours as depth": (("G", "--guide", "D"), 3, "this is a colour picture, not a depth map"),
    "no guide for a scale": (("D", "--scale", "4"), 2, "a depth map is restored with the help of a picture"),
    "no guide for a unit": (("D", "--unit", "mm"), 2, "a depth map is restored with the help of a picture"),
    "guide that is not there": (("D", "--guide", "nothing.png"), 2, "there is no picture 'nothing.png'"),
    "depth that is not there": (("nothing.png", "--guide", "G"), 2, "there is no file or folder 'nothing.png'"),
    "standard input": (("-", "--guide", "G"), 2, "a depth map is read from a file, not from standard input"),
    "standard output": (("D", "--guide", "G", "--out", "-"), 2, "a depth map is written to a file"),
    "a JPEG": (("D", "--guide", "G", "--out", "a.jpg"), 2, "depth maps are written as PNG (16 bits), TIFF or NPY"),
    "a format": (("D", "--guide", "G", "--format", "jpeg"), 2, "unknown format of depth maps 'jpeg'"),
    "a unit": (("D", "--guide", "G", "--unit", "km"), 2, "unknown unit of depth 'km'"),
    "two formats": (("D", "--guide", "G", "--out", "a.npy", "--format", "png"), 2, "contradict each other"),
    "two maps": (("D", "G", "--guide", "G"), 2, "2 depth maps need a picture each; give --guide a folder"),
    "options of pictures": (("D", "--guide", "G", "--strength", "1", "--mask", "G"), 2, "no --strength, --mask; leave"),
    "half precision": (("D", "--guide", "G", "--precision", "bf16"), 2, "depth is always computed in fp32"),
    "over its guide": (("D", "--guide", "G", "--out", "G", "--overwrite"), 2, "an input is never overwritten"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_one_sentence(cli: Cli, files: tuple[Path, Path], network: Path, case: str) -> None:
    given, code, sentence = REFUSED[case]
    names = {"D": files[0], "G": files[1], "OTHER": put(files[0].parent / "wide.png", photo(40, 80))}
    before = sorted(files[0].parent.iterdir())
    model = () if case.startswith("no guide") else ("--model", network)
    ended = cli("restore", *(names.get(word, word) for word in given), *model)
    assert ended.code == code
    last = ended.error.splitlines()[-1]
    assert last.startswith("Error: ")
    assert sentence in last
    assert sorted(files[0].parent.iterdir()) == before


def test_a_guided_model_asks_for_a_guide_and_a_plain_one_refuses_it(cli: Cli, files: tuple[Path, Path]) -> None:
    depth, guide = files
    ended = cli("restore", depth, "--model", "dornet-t")
    assert ended.code == 2
    assert ended.error == (
        "Error: a depth map is restored with the help of a picture of the same view; name it with --guide\n"
    )
    ended = cli("restore", depth, "--guide", guide, "--model", "resunet")
    assert ended.code == 2
    assert "resunet restores pictures and takes no guide; leave --guide out" in ended.error


def test_weights_that_are_not_here_are_said_with_what_brings_them(
    cli: Cli, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path / "cache"))
    ended = cli("restore", files[0], "--guide", files[1], "--scale", "8")
    assert ended.code == 4
    assert "the weights 'dornet-t.nyu-x8' are not here; run: restorekit models pull dornet-t.nyu-x8" in ended.error


@pytest.mark.shared
def test_an_authors_file_takes_the_ranges_of_its_card(cli: Cli, files: tuple[Path, Path]) -> None:
    weights = shared_folder() / "weights" / "dornet"
    rules = {}
    for file in ("RGBDD_T", "NYU_T_X4"):
        words = ("restore", files[0], "--guide", files[1], "--model", weights / f"{file}.pth", "--json", "--overwrite")
        ended = cli(*words)
        assert ended.code == 0
        rules[ended.json["model"]["tag"]] = ended.json["model"]["rule"]
    assert "depth counted in 5 m" in rules["dornet-t.rgbdd"]
    assert "depth stretched from least to greatest" in rules["dornet-t.nyu-x4"]
    ended = cli("restore", files[0], "--model", weights / "RGBDD_T.pth")
    assert (ended.code, ended.error.count("\n")) == (2, 1)
    assert "name it with --guide" in ended.error


@pytest.mark.shared
def test_imported_weights_are_chosen_by_scale(
    cli: Cli, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path / "cache"))
    weights = shared_folder() / "weights" / "dornet"
    for scale in (16, 4, 8):
        assert cli("models", "import", f"dornet-t.nyu-x{scale}", weights / f"NYU_T_X{scale}.pth").code == 0
    ended = cli("restore", files[0], "--guide", files[1], "--model", "dornet-t", "--scale", "4", "--json")
    assert ended.code == 0
    assert ended.json["model"]["tag"] == "dornet-t.nyu-x4"
