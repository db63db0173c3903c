"""Restoring depth maps: sizes, holes, units, weights that count differently, the published figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from restorekit.data.depth import low_resolution, resize, stretch
from restorekit.errors import ModelError, PictureError, UsageError
from restorekit.hub import UNMEASURED
from restorekit.hub.card import DepthRule
from restorekit.inference import depth as module
from restorekit.inference.depth import DepthRestorer, needs_guide, restore_depth
from restorekit.io import read_image
from restorekit.io.depth_map import read_depth
from restorekit.metrics import depth_rmse
from tests.helpers.shared import shared_folder


class Fake(nn.Module):
    """Returns the depth that it is given, and remembers both inputs."""

    def __init__(self, change: float = 0.0) -> None:
        super().__init__()
        self.change = change
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, depth: Tensor, guide: Tensor) -> Tensor:
        self.seen.append((depth, guide))
        return depth + self.change


def restorer(*, change: float = 0.0, rule: DepthRule = module.ASSUMED, **options: Any) -> DepthRestorer:
    return DepthRestorer(Fake(change), depth=rule, device="cpu", **options)


SENSOR = DepthRule(guide="stretched", full_scale_m=5.0)


def scene(height: int = 12, width: int = 16) -> NDArray[np.uint16]:
    """Return a near and a far wall, in millimetres."""
    depth = np.full((height, width), 900, np.uint16)
    depth[:, width // 2 :] = 3000
    return depth


def colours(height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(20, 200, (height, width, 3), np.uint8)


# --- counting ---------------------------------------------------------------------------------------------------------


def test_maps_are_stretched_for_weights_that_want_it() -> None:
    fake = restorer()
    restored = fake.restore(scene(), colours(), scale=4)
    depth, guide = fake.model.seen[0]
    wanted = (resize(scene(), (48, 64)) - 900) / 2100
    assert np.abs(depth[0, 0].numpy() - wanted).max() < 1e-3  # a millimetre: whole numbers are enlarged as such
    assert torch.equal(guide[0], torch.from_numpy(colours()).permute(2, 0, 1) / 255)
    assert restored.dtype == np.uint16
    assert restored.shape == (48, 64)
    assert restored[0, 0] == 900


def test_maps_count_in_metres_for_weights_of_sensors() -> None:
    fake = restorer(rule=SENSOR, change=0.1)
    restored = fake.restore(scene(), colours(), scale=4)
    depth, guide = fake.model.seen[0]
    assert depth[0, 0, 0, 0].item() == pytest.approx(0.9 / 5)
    assert (guide.min().item(), guide.max().item()) == (0, 1)
    assert restored[0, 0] == 900 + 500


def test_a_given_range_takes_the_place_of_the_maps_own() -> None:
    fake = restorer()
    fake.run(scene(), colours(), depth_range=(0.9, 9.3))
    depth, _ = fake.model.seen[0]
    assert depth[0, 0, -1, -1].item() == pytest.approx(2.1 / 8.4, abs=1e-5)


@pytest.mark.parametrize(
    ("unit", "factor", "dtype"),
    [("mm", 1, np.uint16), ("cm", 0.1, np.float32), ("m", 0.001, np.float64), ("0.0005", 2, np.int32)],
)
def test_the_unit_changes_nothing_but_the_numbers(unit: str, factor: float, dtype: Any) -> None:
    fake = restorer(rule=SENSOR, change=0.1)
    given = (scene() * factor).astype(dtype)
    restored = fake.restore(given, colours(), unit=unit)
    assert fake.model.seen[0][0][0, 0, 0, 0].item() == pytest.approx(0.9 / 5, rel=1e-5)
    assert restored.dtype == dtype
    assert restored[0, 0] == pytest.approx(1400 * factor, rel=1e-5)


def test_numbers_without_a_unit_go_to_weights_that_stretch_only() -> None:
    grey = np.array([[10, 250], [30, 40]], np.uint8)
    assert restorer().restore(grey, colours(4, 4), unit="raw").shape == (4, 4)
    with pytest.raises(UsageError, match=r"these weights count depth in 5 m, .*give another --unit than raw"):
        restorer(rule=SENSOR).restore(grey, colours(4, 4), unit="raw")


def test_a_flat_map_stays_flat() -> None:
    assert (restorer(change=7).restore(np.full((4, 5), 1234, np.uint16), colours(8, 10)) == 1234).all()


# --- holes ------------------------------------------------------------------------------------------------------------


def test_holes_stay_holes_and_bleed_into_nothing() -> None:
    given = scene()
    given[3:5, 2:4] = 0
    given[6, 7:9] = 0  # across the edge
    done = restorer().run(given, colours(), scale=4)
    holes = np.kron(given == 0, np.ones((4, 4), bool))
    assert np.array_equal(done.depth == 0, holes)
    measured = done.depth[~holes]
    overshoot = 0.08 * 2100  # of bicubic interpolation at an edge
    assert measured.min() > 900 - overshoot
    assert measured.max() < 3000 + overshoot
    assert np.isfinite(done.enlarged).all()
    assert (done.depth[8:24, 4:20][~holes[8:24, 4:20]] == 900).all(), "around a hole in a wall there is the wall"


@pytest.mark.parametrize("hole", [0.0, math.nan, -1.0, math.inf])
def test_whatever_stands_in_a_hole_does_not_matter(hole: float) -> None:
    given = (scene() / 1000).astype(np.float32)
    given[2:4, 5:9] = hole
    without = np.where(np.isfinite(given) & (given > 0), given, 0)
    got, wanted = (restorer().restore(value, colours()) for value in (given, without))
    holes = wanted == 0
    assert holes.sum() == 8 * 16
    assert np.array_equal(got[~holes], wanted[~holes])
    assert (np.isnan(got[holes]) if math.isnan(hole) else got[holes] == 0).all()


def test_the_extremes_are_those_of_measured_pixels() -> None:
    fake = restorer()
    given = scene()
    given[0, 0] = 0
    fake.restore(given, colours())
    assert fake.model.seen[0][0].min() > -0.1


def test_holes_have_the_place_of_their_pixels_at_uneven_factors() -> None:
    given = np.full((3, 3), 1000, np.uint16)
    given[1, 1] = 0
    restored = restorer().restore(given, colours(8, 8))
    assert np.array_equal(np.argwhere(restored == 0).min(0), [3, 3])
    assert np.array_equal(np.argwhere(restored == 0).max(0), [4, 4])


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("small", "large", "scale"),
    [((1, 1), (1, 1), None), ((1, 1), (9, 4), None), ((3, 5), (13, 22), 4), ((144, 192), (384, 512), None)],
)
def test_sizes_that_go_together_do(small: tuple[int, int], large: tuple[int, int], scale: int | None) -> None:
    restored = restorer().restore(np.full(small, 500, np.uint16), colours(*large), scale=scale)
    assert restored.shape == large


@pytest.mark.parametrize(
    ("small", "large", "scale", "message"),
    [
        (
            (12, 16),
            (48, 64),
            8,
            "16x12 pixels and the picture 64x48, which is not 8 times finer; give the right --scale",
        ),
        ((12, 16), (48, 48), None, "16x12 pixels and the picture 48x48, which have other proportions"),
        ((48, 64), (12, 16), None, "64x48 pixels and the picture 16x12: the picture has to be the finer one"),
        ((12, 16), (48, 64), 0, "scale is a whole number from 1 on, got 0"),
    ],
)
def test_sizes_that_do_not_are_refused(
    small: tuple[int, int], large: tuple[int, int], scale: int | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        restorer().restore(np.full(small, 500, np.uint16), colours(*large), scale=scale)


def test_a_map_of_the_pictures_size_is_taken_as_it_is() -> None:
    fake = restorer(rule=SENSOR)
    given = np.random.default_rng(1).uniform(1, 2, (6, 9)).astype(np.float32)
    done = fake.run(given, colours(6, 9), scale=4)
    assert fake.model.seen[0][0][0, 0].numpy() == pytest.approx(given / 5)
    assert "the depth map has the size of the picture; it was taken as enlarged already" in done.notes
    assert done.factor == 4


def test_weights_for_another_factor_are_said() -> None:
    done = restorer(rule=DepthRule(guide="plain", scale=16)).run(scene(), colours())
    assert done.notes == ("these weights are made for pictures 16 times finer, and this one is 4 times",)


# --- kinds ------------------------------------------------------------------------------------------------------------


def test_tensors_come_back_as_they_were() -> None:
    fake = restorer(rule=SENSOR)
    metres = torch.rand(2, 1, 6, 8, dtype=torch.float64) + 1
    pictures = torch.rand(2, 3, 24, 32)
    restored = fake.restore(metres, pictures, scale=4)
    assert (restored.shape, restored.dtype) == ((2, 1, 24, 32), torch.float64)
    for one, picture, wanted in zip(metres, pictures, restored, strict=True):
        assert torch.equal(fake.restore(one, picture, scale=4), wanted)
        assert torch.equal(fake.restore(one[0], picture), wanted[0])


def test_paths_and_grey_and_deep_pictures(tmp_path: Path) -> None:
    Image.fromarray(scene()).save(tmp_path / "depth.png")
    grey = np.random.default_rng(0).integers(0, 2**16, (48, 64)).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    fake = restorer()
    done = fake.restore(tmp_path / "depth.png", tmp_path / "grey.png")
    assert (done.unit.name, done.format, done.values.shape) == ("mm", "png", (48, 64))
    assert torch.equal(fake.model.seen[0][1][0], torch.from_numpy(grey.astype(np.float32) / 65535).expand(3, -1, -1))
    again = fake.restore(read_depth(tmp_path / "depth.png"), read_image(tmp_path / "grey.png"))
    assert np.array_equal(again.values, done.values)


@pytest.mark.parametrize(
    ("depth", "guide", "message"),
    [
        ("colours", "colours", r"a depth map has one number for each pixel, \(H, W\), not 48 x 64 x 3"),
        ([[1.0]], "colours", "a depth map is a path, a DepthMap, an array or a tensor of numbers, not list"),
        ("zeros", "colours", "nothing was measured anywhere in this depth map"),
        ("scene", [1], "a guide is a path, ImageData, an array or a tensor, not list"),
        ("scene", "four", r"a guide is a picture of three colours, \(H, W, 3\), not 48 x 64 x 4"),
        ("scene", "wild", "a guide has 8 or 16 bits, or finite numbers"),
        ("batch", "colours", r"a batch of 2 depth maps needs a batch of as many pictures, \(B, 3, H, W\)"),
    ],
)
def test_what_is_no_pair_is_refused(depth: object, guide: object, message: str) -> None:
    known: dict[str, object] = {
        "colours": colours(),
        "scene": scene(),
        "zeros": np.zeros((12, 16)),
        "four": np.zeros((48, 64, 4), np.uint8),
        "wild": np.full((48, 64, 3), math.nan),
        "batch": torch.ones(2, 1, 12, 16),
    }
    pair = [known[value] if isinstance(value, str) else value for value in (depth, guide)]
    with pytest.raises(UsageError, match=message):
        restorer().restore(*pair)


def test_a_colour_file_as_depth_is_refused(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / "photo.png")
    with pytest.raises(PictureError, match=r"photo\.png: this is a colour picture, not a depth map"):
        restorer().restore(tmp_path / "photo.png", tmp_path / "photo.png")


def test_an_answer_that_is_no_number_is_refused() -> None:
    with pytest.raises(ModelError, match="the network's answer is not finite"):
        restorer(change=math.nan).restore(scene(), colours())


# --- memory -----------------------------------------------------------------------------------------------------------


def test_tiles_of_a_network_without_surroundings_are_the_whole() -> None:
    given = np.random.default_rng(2).uniform(1, 3, (90, 160)).astype(np.float32)
    pictures = colours(360, 640)
    whole = restorer(change=0.2).run(given, pictures)
    tiled = restorer(change=0.2, tile=256).run(given, pictures)
    assert np.abs(whole.depth - tiled.depth).max() < 1e-5
    assert whole.notes == ()
    assert "640x360 in tiles of 256: the network describes each tile by itself" in tiled.notes[0]


def test_what_does_not_fit_is_cut_or_refused() -> None:
    costs = UNMEASURED.base_bytes + UNMEASURED.bytes_per_pixel * 256 * 256
    fake = restorer(max_memory=int(costs) + 1)
    fake.restore(scene(90, 160), colours(360, 640))
    assert len(fake.model.seen) > 1
    assert all(max(depth.shape) <= 256 for depth, _ in fake.model.seen)
    with pytest.raises(UsageError, match="MiB of memory are not enough for a tile of 256x256 pixels"):
        restorer(max_memory=int(costs) - 1).restore(scene(90, 160), colours(360, 640))


def test_a_tile_that_is_too_small_is_refused() -> None:
    with pytest.raises(UsageError, match="a tile of a depth map is auto, off, or a side from 256 pixels on, got 64"):
        restorer(tile=64)


# --- the authors' weights ---------------------------------------------------------------------------------------------


def weights(name: str) -> Path:
    return shared_folder() / "weights" / "dornet" / f"{name}.pth"


@pytest.mark.shared
@pytest.mark.parametrize(("scale", "network", "bicubic"), [(4, 4.5829, 13.3414)])
def test_the_published_protocol_gives_the_published_figures(scale: int, network: float, bicubic: float) -> None:
    folder = shared_folder() / "data" / "depth"
    metres = read_depth(folder / "synth2_depth_mm.png").metres
    low, high = float(metres.min()), float(metres.max())
    shrunk = resize(stretch(metres), (metres.shape[0] // scale, metres.shape[1] // scale)) * (high - low) + low
    restorer = DepthRestorer.from_pretrained(weights(f"NYU_T_X{scale}"), device="cpu")
    done = restorer.run(shrunk, folder / "synth2_rgb.png", scale=scale, depth_range=(low, high))
    for got, wanted in ((done.depth, network), (done.enlarged, bicubic)):
        maps = (torch.from_numpy(value)[None, None] for value in (got, metres))
        assert depth_rmse(*maps, data_range=1.0, crop_border=6).item() == pytest.approx(wanted, abs=5.1e-5)
    assert np.abs(done.enlarged - (low_resolution(stretch(metres), scale) * (high - low) + low)).max() < 1e-5


@pytest.mark.shared
def test_weights_of_sensors_are_recognised_and_count_in_metres() -> None:
    folder, name = shared_folder() / "data" / "depth" / "rgbdd_real", "20200509112638"
    restorer = DepthRestorer.from_pretrained(weights("RGBDD_T"), device="cpu")
    assert restorer.depth == SENSOR
    assert restorer.notes == ("RGBDD_T.pth is dornet-t.rgbdd, by its SHA-256",)
    done = restorer.run(folder / "depth_lr" / f"{name}.png", folder / "rgb" / f"{name}.jpg")
    maps = [done.depth.metres, read_depth(folder / "depth" / f"{name}.png").metres]
    first, second = (torch.from_numpy(value)[None, None] for value in maps)
    valid = second.isfinite() & first.isfinite()
    got = depth_rmse(first, second, data_range=1.0, crop_border=6, valid=valid).item()
    assert got == pytest.approx(3.207, abs=5.1e-4)


@pytest.mark.shared
def test_one_call_restores(tmp_path: Path) -> None:
    restored = restore_depth(scene(), colours(), model=weights("NYU_T_X4"), scale=4, device="cpu")
    assert restored.shape == (48, 64)
    assert np.abs(restored.astype(float) - np.kron(scene(), np.ones((4, 4)))).mean() < 60


@pytest.mark.shared
def test_a_file_says_that_it_needs_a_guide() -> None:
    assert needs_guide(str(weights("NYU_T_X4")))
    assert not needs_guide(str(weights("README").with_suffix(".txt")))


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_say_whether_they_need_a_guide() -> None:
    assert needs_guide("dornet-t")
    assert needs_guide("dornet-t.rgbdd")
    assert not needs_guide("resunet")
    assert not needs_guide("nothing.pth")


@pytest.mark.parametrize(
    ("name", "scale", "tag"),
    [
        ("dornet-t", 4, "dornet-t.nyu-x4"),
        ("dornet-t", 16, "dornet-t.nyu-x16"),
        ("dornet", 8, "dornet.nyu-x8"),
        ("dornet-t.rgbdd", 4, "dornet-t.rgbdd"),
    ],
)
def test_the_scale_chooses_among_weights(
    name: str, scale: int, tag: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=f"the weights '{tag}' are not here; "):
        DepthRestorer.from_pretrained(name, scale=scale)


def test_a_model_without_a_guide_is_refused() -> None:
    with pytest.raises(UsageError, match=r"resunet restores pictures and takes no guide; .* such as dornet-t"):
        DepthRestorer.from_pretrained("resunet")
