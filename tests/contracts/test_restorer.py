"""What the Restorer makes of every network that restores: field reports 6, 7 and 8, tile borders, batches."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from restorekit.hub import DEFAULT_MODEL, UNMEASURED, create_model, list_cards, load
from restorekit.inference import Pipeline, Restorer
from restorekit.inference.measure import whole_vs_tiled_db
from restorekit.inference.plan import TileOption
from restorekit.io import read_image
from restorekit.models import MODELS
from restorekit.ops.tiles import plan_spans
from restorekit.resources import records

FAMILIES = [name for name in MODELS if MODELS.get(name).task == "restore"]
BUNDLED = [card.tag for card in list_cards() if card.task == "restore"]
TILES: list[TileOption] = ["off", 64, 128]
RULE = replace(UNMEASURED, overlap=24)

every_family = pytest.mark.parametrize("family", FAMILIES)
every_tile = pytest.mark.parametrize("tile", TILES)


def smallest_variant(family: str) -> str:
    spec = MODELS.get(family)
    sizes = {}
    for variant, config in spec.variants.items():
        with torch.device("meta"):
            sizes[variant] = sum(parameter.numel() for parameter in spec.network(**config).parameters())
    return min(sizes, key=lambda variant: sizes[variant])


@cache
def network(family: str) -> torch.nn.Module:
    """Return the family's smallest network with weights that are the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return create_model(family, variant=smallest_variant(family))


def restorer(family: str, *, tile: TileOption = "off", precision: str = "fp32", ensemble: bool = False) -> Restorer:
    return Restorer(
        network(family),
        size=MODELS.get(family).size,
        rule=RULE,
        device="cpu",
        precision=precision,
        tile=tile,
        ensemble=ensemble,
    )


def photo(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return something with areas, edges and noise."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    areas = 0.5 + 0.2 * np.sin(x / 23 + 1) + 0.15 * np.cos(y / 17) + 0.1 * ((x // 40 + y // 30) % 2)
    tinted = areas[:, :, None] * [1.0, 0.9, 0.8] + generator.normal(0, 0.05, (height, width, 3))
    return (tinted.clip(0, 1) * 255).round().astype(np.uint8)


def psnr(restored: NDArray[Any], reference: NDArray[Any]) -> float:
    """Return the PSNR of 8-bit pictures in dB, 100 where they are equal."""
    error = np.mean((restored.astype(np.float64) - reference) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-6)))


# --- field report 6: odd sizes ---------------------------------------------------------------------------------------


@every_family
@every_tile
@pytest.mark.parametrize("size", [(321, 481), (97, 133), (8, 9), (255, 257)], ids=lambda size: "x".join(map(str, size)))
def test_a_picture_keeps_its_size_and_its_corners(family: str, size: tuple[int, int], tile: TileOption) -> None:
    given = photo(*size)
    corners = [(0, 0), (0, -1), (-1, 0), (-1, -1)]
    for corner in corners:
        given[corner] = 255
    restored = restorer(family, tile=tile).restore(given)
    assert restored.shape == given.shape
    assert restored.dtype == given.dtype
    untouched = restorer(family, tile=tile).restore(given, strength=0)
    assert np.array_equal(untouched, given)
    assert all((untouched[corner] == 255).all() for corner in corners)


# --- field report 7: pictures smaller than the padding ---------------------------------------------------------------

SMALL = [(1, 1), (1, 300), (300, 1), (7, 7), (16, 256), (3, 5000)]


@every_family
@pytest.mark.parametrize("tile", ["auto", "off", 64])
@pytest.mark.parametrize("size", SMALL, ids=lambda size: "x".join(map(str, size)))
def test_a_picture_smaller_than_the_padding_is_restored(family: str, size: tuple[int, int], tile: TileOption) -> None:
    given = photo(*size).astype(np.float32) / 255
    restored = restorer(family, tile=tile).restore(given)
    assert restored.shape == given.shape
    assert np.isfinite(restored).all()


@every_family
def test_small_pictures_beside_a_large_one(family: str) -> None:
    given = [photo(140, 180), *(photo(*size) for size in SMALL[:-1]), photo(3, 500), photo(1, 1), photo(1, 1)]
    together = Pipeline([restorer(family, tile=128)], batch_size=len(given))(given)
    for result, image in zip(together, given, strict=True):
        assert result.shape == image.shape
        assert psnr(result, restorer(family, tile=128).restore(image)) > 45


@every_family
@pytest.mark.parametrize("level", [0.0, 0.5])
def test_a_constant_picture_stays_as_constant_as_a_large_one(family: str, level: float) -> None:
    def answer(height: int, width: int, tile: TileOption) -> NDArray[Any]:
        return restorer(family, tile=tile).restore(np.full((height, width, 3), level, np.float32))

    reference = answer(256, 256, "off")
    low, high = reference.min((0, 1)) - 2 / 255, reference.max((0, 1)) + 2 / 255
    cases: list[tuple[int, int, TileOption]] = [*((*size, "off") for size in SMALL[:-1]), (16, 256, 64), (3, 500, 64)]
    for case in cases:
        restored = answer(*case)
        assert (restored >= low).all()
        assert (restored <= high).all()


# --- field report 8: half precision on the CPU -----------------------------------------------------------------------


@every_family
@every_tile
def test_half_precision_on_the_cpu_runs_and_says_so_in_one_line(family: str, tile: TileOption) -> None:
    half = restorer(family, precision="fp16", tile=tile)
    for seed in range(2):
        given = photo(70, 90, seed)
        restored = half.run(given)
        assert restored.notes == ("the CPU does not compute in fp16; running in fp32 instead",)
        assert np.array_equal(restored.image, restorer(family, tile=tile).restore(given))


# --- tiles -----------------------------------------------------------------------------------------------------------


def steps(image: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return the mean difference of neighbouring rows (axis 0) or columns (axis 1)."""
    return np.abs(np.diff(image, axis=axis)).mean(axis=(1 - axis, 2))


def check_borders(restorer: Restorer, kind: str) -> None:
    """Compare the steps where tiles meet with those elsewhere."""
    assert isinstance(restorer.tile, int)
    height, width, tile, overlap = 200, 333, restorer.tile, restorer.describe_plan(200, 333).overlap
    ramp = np.linspace(0.2, 0.8, width) * np.linspace(0.7, 1, height)[:, None]
    given = (np.repeat(ramp[:, :, None], 3, 2) if kind == "ramp" else photo(height, width) / 255).astype(np.float32)
    restored = restorer.restore(given)
    for axis, length in enumerate((height, width)):
        spans = plan_spans(length, tile=tile, overlap=overlap, multiple=restorer.engine.size.multiple_of)
        assert len(spans) > 1
        border = np.zeros(length - 1, bool)
        for span in spans[1:]:
            border[span.first - 1 : span.first + span.rise] = True
        measured = steps(restored, axis)
        edge = 16  # at the border of the picture the network does as it likes
        assert measured[border].max() <= 1.05 * measured[edge:-edge][~border[edge:-edge]].max() + 0.1 / 255


@every_family
@pytest.mark.parametrize("kind", ["ramp", "photo"])
def test_no_step_at_tile_borders_is_larger_than_elsewhere(family: str, kind: str) -> None:
    check_borders(restorer(family, tile=128), kind)


@pytest.mark.parametrize("tag", BUNDLED)
@pytest.mark.parametrize("kind", ["ramp", "photo"])
def test_bundled_weights_show_no_step_at_tile_borders(tag: str, kind: str) -> None:
    check_borders(Restorer.from_pretrained(tag, device="cpu", tile=128), kind)


@pytest.mark.parametrize("tag", BUNDLED)
def test_bundled_weights_give_in_tiles_what_their_card_says(tag: str) -> None:
    loaded = load(tag)
    assert loaded.card is not None
    assert loaded.card.inference.whole_vs_tiled_db is not None
    picture = read_image(records("datasets") / "samples" / "demo" / "degraded.png").pixels
    measured = whole_vs_tiled_db(loaded.model, loaded.spec.size, loaded.card.inference, picture, tile=192)
    assert measured > min(loaded.card.inference.whole_vs_tiled_db - 10, 45)
    assert loaded.spec.name != DEFAULT_MODEL or measured >= 45


@every_family
@every_tile
def test_the_same_call_gives_the_same_bytes(family: str, tile: TileOption) -> None:
    given = photo(70, 140)
    first, second = (restorer(family, tile=tile).restore(given) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@every_family
def test_a_batch_is_restored_picture_by_picture(family: str) -> None:
    batch = np.stack([photo(64, 72, seed) // (seed + 1) for seed in range(3)])  # different tones
    tensor = torch.from_numpy(batch).permute(0, 3, 1, 2)
    together = restorer(family).restore(tensor)
    one_by_one = torch.stack([restorer(family).restore(image) for image in tensor])
    assert psnr(together.numpy(), one_by_one.numpy()) > 45  # a network that sorts may sort nearly equal pixels anew


@every_family
def test_grey_is_restored_as_three_equal_colours(family: str) -> None:
    grey = photo(90, 100)[:, :, 0]
    restored = restorer(family).restore(grey)
    colours = restorer(family).restore(np.repeat(grey[:, :, None], 3, 2).astype(np.float32) / 255)
    assert restored.shape == grey.shape
    assert np.abs(restored - 255.0 * colours.mean(2)).max() <= 0.51


@every_family
def test_eight_orientations_make_a_network_treat_all_directions_alike(family: str) -> None:
    side = 4 * MODELS.get(family).size.multiple_of
    given = photo(side, 2 * side).astype(np.float32) / 255
    upright = restorer(family, ensemble=True).restore(given)
    lying = restorer(family, ensemble=True).restore(np.ascontiguousarray(given[::-1].transpose(1, 0, 2)))
    assert np.abs(lying.transpose(1, 0, 2)[::-1] - upright).max() < 1e-3


@every_family
@pytest.mark.parametrize("crop", [(0, 0, 30, 20), (50, 40, 33, 17), (120, 100, 50, 50)])
def test_a_crop_has_its_size(family: str, crop: tuple[int, int, int, int]) -> None:
    given = photo(150, 170)
    x, y, w, h = crop
    part = restorer(family).restore(given, crop=crop)
    assert part.shape == (h, w, 3)
    assert np.array_equal(restorer(family).restore(given, crop=crop, strength=0), given[y : y + h, x : x + w])
