from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from restorekit.errors import UsageError
from restorekit.inference.engine import Engine, Tally
from restorekit.inference.tiling import Tiling
from restorekit.models import SizeRule
from restorekit.ops.tiles import Box
from tests.unit.inference.fakes import Blur, Identity, Invert, NeedsMemory, ShiftsTone

CPU = torch.device("cpu")


def picture(height: int, width: int, *, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height))


def restore(
    model: nn.Module,
    image: Tensor,
    *,
    tile: int | None,
    overlap: int = 32,
    multiple: int = 1,
    may_halve: bool = True,
    wanted: Callable[[Box], bool] = lambda box: True,
    seen: Callable[[int], None] = lambda pixels: None,
) -> tuple[Tensor, Tally]:
    engine = Engine(
        model,
        size=SizeRule(multiple_of=multiple),
        device=CPU,
        precision="fp32",
        channels_last=False,
        ensemble=False,
        compile=False,
    )
    tally = Tally()
    tiling = Tiling(
        engine=engine,
        batch=image.shape[0],
        read=lambda box: image[:, :, box.top : box.bottom, box.left : box.right],
        store=CPU,
        description=None,
        overlap=overlap,
        tally=tally,
        may_halve=may_halve,
        wanted=wanted,
        seen=seen,
    )
    bands = list(tiling.bands(Box(0, 0, *image.shape[-2:]), tile))
    assert [band.top for band in bands] == [sum(b.rows.shape[2] for b in bands[:i]) for i in range(len(bands))]
    return torch.cat([band.rows for band in bands], 2), tally


@pytest.mark.parametrize("tile", [None, 64, 96, 128])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (97, 133), (255, 257), (64, 64)])
def test_tiles_of_a_pointwise_network_give_what_the_whole_gives(size: tuple[int, int], tile: int | None) -> None:
    image = picture(*size, batch=2)
    restored, _ = restore(Invert(), image, tile=tile, multiple=8)
    assert restored.shape == image.shape
    assert (restored - (1 - image)).abs().max() < 1e-6


def test_the_margin_hides_what_a_network_does_not_know_at_its_border() -> None:
    image = picture(300, 400)
    whole, _ = restore(Blur(), image, tile=None)
    tiled, _ = restore(Blur(), image, tile=96, overlap=32)  # quarter of the overlap: 8 pixels, the blur reaches 4
    assert (whole - tiled).abs().max() < 1e-6
    bare, _ = restore(Blur(), image, tile=100, overlap=0)
    assert (whole - bare).abs().max() > 0.1  # what the margin hides


@pytest.mark.parametrize("overlap", [16, 32, 48])
def test_tiles_that_disagree_about_the_tone_meet_without_a_step(overlap: int) -> None:
    ramp = torch.linspace(0, 1, 400).expand(1, 3, 300, 400)  # each tile sees another mean
    tiled, _ = restore(ShiftsTone(), ramp, tile=128, overlap=overlap)
    steps = tiled[0, 0].diff(dim=1).abs()
    difference = (tiled[0, 0, 0] - ramp[0, 0, 0]).abs().max()
    assert difference > 0.3  # they do disagree
    assert steps.max() < 4 * difference / overlap  # and share the step over half the overlap


def test_pixels_that_are_seen_add_up_to_the_picture() -> None:
    for size, tile in (((97, 133), 64), ((300, 40), 64), ((255, 257), None)):
        seen: list[int] = []
        restore(Identity(), picture(*size), tile=tile, multiple=8, seen=seen.append)
        assert sum(seen) == size[0] * size[1]
        assert min(seen) > 0


def test_tiles_that_nobody_wants_are_not_restored() -> None:
    model = Identity()
    image = picture(256, 256)
    restored, tally = restore(model, image, tile=64, wanted=lambda box: box.top < 30 and box.left < 30)
    assert tally.passes == 1
    assert torch.equal(restored[..., :30, :30], image[..., :30, :30])
    assert (restored[..., 70:, :] == 0).all()


@pytest.mark.parametrize(
    "message", [None, "MPS backend out of memory (MPS allocated: 9 GB)", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"]
)
def test_a_full_memory_halves_the_tile_and_keeps_what_is_finished(message: str | None) -> None:
    class FillsUp(NeedsMemory):
        """Has less memory from the seventh pass on, as when another program takes some."""

        def forward(self, image: Tensor) -> Tensor:
            if len(self.passes) == 6:
                self.pixels = 70 * 70
            return super().forward(image)

    model, image = FillsUp(128 * 128, message), picture(400, 500)
    restored, tally = restore(model, image, tile=128)
    assert (restored - (1 - image)).abs().max() < 1e-6  # nothing lost, nothing wrong
    assert model.failures == tally.halvings == 1
    assert min(shape[-1] for shape in model.passes[:6]) > 100  # done before: kept
    assert max(shape[-1] for shape in model.passes[6:]) <= 64  # from then on the smaller tile at once


def test_memory_that_holds_a_sixteenth_is_found_in_two_steps() -> None:
    model, image = NeedsMemory(128 * 128), picture(512, 512)
    restored, tally = restore(model, image, tile=None)
    assert (restored - (1 - image)).abs().max() < 1e-6
    assert model.failures == tally.halvings == 2
    assert min(min(shape[-2:]) for shape in model.passes) >= 64
    assert max(max(shape[-2:]) for shape in model.passes) <= 128


def test_memory_that_holds_nothing_ends_with_advice_about_memory() -> None:
    with pytest.raises(UsageError, match=r"memory of cpu is not enough for a side of 6\d pixels"):
        restore(NeedsMemory(10), picture(300, 300), tile=None)
    with pytest.raises(UsageError, match="let the picture be tiled"):
        restore(NeedsMemory(10), picture(300, 300), tile=None, may_halve=False)


def test_other_failures_are_not_taken_for_a_full_memory() -> None:
    with pytest.raises(RuntimeError, match="not implemented for 'Half'"):
        restore(NeedsMemory(10, "\"conv\" not implemented for 'Half'"), picture(100, 100), tile=64)
