from __future__ import annotations

import copy
import logging
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from restorekit.errors import ModelError, UsageError
from restorekit.inference import Restorer
from restorekit.inference.plan import TileOption
from restorekit.models import SizeRule
from tests.unit.inference.fakes import ANY_SIZE, RULE, Describes, Identity, Invert, NeedsMemory, Overflows


def make(
    model: nn.Module,
    *,
    size: SizeRule = ANY_SIZE,
    precision: str = "auto",
    tile: TileOption = "auto",
    max_memory: int | None = None,
    ensemble: bool = False,
) -> Restorer:
    return Restorer(
        model,
        size=size,
        rule=RULE,
        device="cpu",
        precision=precision,
        tile=tile,
        max_memory=max_memory,
        ensemble=ensemble,
    )


def picture(height: int, width: int, dtype: str = "uint8") -> NDArray[Any]:
    values = np.random.default_rng(height * width).random((height, width, 3))
    full = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    return (values * full).round().astype(dtype) if full > 1 else values.astype(dtype)


class Convolution(nn.Conv2d):
    """A fixed random 5x5 convolution, which knows left from right."""

    def __init__(self) -> None:
        super().__init__(3, 3, 5, padding=2)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.weight.copy_(torch.randn(self.weight.shape, generator=generator) * 0.02)
            self.bias.copy_(torch.tensor([0.4, 0.5, 0.6]))


# --- strength -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
def test_strength_0_returns_the_bits_and_asks_no_network(dtype: str) -> None:
    model, given = Invert(), picture(30, 20, dtype)
    if given.dtype.kind == "f":
        given[0, 0] = (np.nan, -3, 700)  # not even values that cannot be restored
    restored = make(model).run(given, strength=0)
    assert restored.image.tobytes() == given.tobytes()
    assert not np.shares_memory(restored.image, given)
    assert model.sizes == []
    assert restored.plan is None


def test_strength_mixes_before_rounding() -> None:
    given = np.array([[0, 1, 100, 255]], np.uint8)
    assert make(Invert()).restore(given, strength=0.25).tolist() == [[64, 64, 114, 191]]  # 63.75, 64.25, 113.75, 191.25
    assert make(Invert()).restore(given, strength=1.0).tolist() == [[255, 254, 155, 0]]


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan")])
def test_a_strength_that_is_none_is_refused(strength: float) -> None:
    with pytest.raises(UsageError, match="strength is between 0 and 1, got"):
        make(Invert()).restore(picture(4, 4), strength=strength)


# --- mask -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", ["off", 64])
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_what_a_mask_spares_keeps_its_bits(tile: TileOption, dtype: str, tmp_path: Path) -> None:
    given = picture(150, 200, dtype)
    here = np.zeros((150, 200), bool)
    here[20:70, 100:190] = True
    wanted = np.where(here[:, :, None], make(Invert()).restore(given), given)
    Image.fromarray(np.where(here, 255, 0).astype(np.uint8)).convert("RGB").save(tmp_path / "mask.png")
    masks: list[object] = [
        here,
        here.astype(np.uint8) * 255,
        here.astype(np.uint16) * 65535,
        here.astype(np.float32),
        torch.from_numpy(here),
        Image.fromarray(here),
        tmp_path / "mask.png",
        str(tmp_path / "mask.png"),
    ]
    for mask in masks:
        restored = make(Invert(), tile=tile).restore(given, mask=mask)
        assert np.allclose(restored, wanted, rtol=0, atol=1e-6)
        assert restored[~here].tobytes() == given[~here].tobytes()


def test_a_soft_mask_mixes_and_strength_scales_it() -> None:
    given = np.array([[0, 0, 0, 0]], np.uint8)
    mask = np.array([[0, 51, 102, 255]], np.uint8)
    assert make(Invert()).restore(given, mask=mask).tolist() == [[0, 51, 102, 255]]
    assert make(Invert()).restore(given, mask=mask, strength=0.5).tolist() == [[0, 26, 51, 128]]  # 25.5, 127.5: to even


def test_tiles_under_an_empty_mask_are_not_restored() -> None:
    model = Identity()
    mask = np.zeros((256, 256), bool)
    make(model, tile=64).restore(picture(256, 256), mask=mask)
    make(model).restore(picture(256, 256), mask=mask)
    assert model.sizes == []
    mask[3, 3] = True
    make(model, tile=64).restore(picture(256, 256), mask=mask)
    assert len(model.sizes) == 1


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((4, 5), bool), r"the mask is \(4, 5\), the picture 5 rows by 4 columns"),
        (np.zeros((5, 4, 3), bool), r"the mask is \(5, 4, 3\)"),
        (np.zeros((5, 4), np.int64), "a mask is bool, uint8, uint16, or float in .* not int64"),
        (np.full((5, 4), 255.0), r"in \[0, 1\], this one reaches from 255 to 255"),
        (np.full((5, 4), np.nan), r"this one reaches from nan"),
        ([[True]], "a mask is an array, a tensor, a PIL image or a path, not a list"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(Invert()).restore(picture(5, 4), mask=mask)


# --- crop -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crop", [(0, 0, 30, 20), (100, 40, 1, 1), (170, 120, 30, 30), (77, 33, 50, 90)])
@pytest.mark.parametrize("tile", ["auto", 64])
def test_a_crop_is_the_same_region_of_the_whole(crop: tuple[int, int, int, int], tile: TileOption) -> None:
    given, size = picture(150, 200), SizeRule(minimum=8, multiple_of=8)
    x, y, w, h = crop
    whole = make(Convolution(), size=size).restore(given)
    part = make(Convolution(), size=size, tile=tile).restore(given, crop=crop)
    assert part.shape == (h, w, 3)
    assert np.abs(part.astype(int) - whole[y : y + h, x : x + w]).max() <= 1  # the network sees beyond the crop
    assert np.array_equal(make(Invert()).restore(given, crop=crop, strength=0), given[y : y + h, x : x + w])


def test_a_crop_of_tensors_and_masks() -> None:
    given = torch.rand(2, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    mask = np.zeros((40, 50), bool)
    mask[:20] = True
    part = make(Invert()).restore(given, crop=(10, 15, 20, 10), mask=mask)
    assert torch.allclose(part[:, :, :5], 1 - given[:, :, 15:20, 10:30])
    assert torch.equal(part[:, :, 5:], given[:, :, 20:25, 10:30])


@pytest.mark.parametrize("crop", [(-1, 0, 4, 4), (0, 0, 0, 4), (0, 0, 5, 4), (3, 4, 2, 2)])
def test_a_crop_outside_the_picture_is_refused(crop: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError, match=r"crop .* does not lie inside the picture of 4x5"):
        make(Invert()).restore(picture(5, 4), crop=crop)


# --- descriptions ---------------------------------------------------------------------------------------------------


def test_all_parts_of_a_picture_share_one_description() -> None:
    given = np.linspace(0, 1, 300 * 400 * 3).reshape(300, 400, 3)  # the parts differ in their means
    model = Describes()
    whole = make(model, tile="off").restore(given)
    assert np.allclose(make(model, tile=64).restore(given), whole, atol=1e-6)
    assert np.allclose(make(model).restore(given, crop=(0, 0, 40, 30)), whole[:30, :40], atol=1e-6)
    assert model.described == [(1, 3, 300, 400)] * 3


def test_large_pictures_are_described_from_a_reduced_copy() -> None:
    model = Describes()
    given = picture(700, 1300)
    whole = make(model).restore(given)
    assert model.described == [(1, 3, 234, 434)]
    wanted = given + 127.5 - given.mean((0, 1))
    assert np.abs(whole - wanted.clip(0, 255)).max() < 1.5


def test_pictures_of_a_batch_are_described_one_by_one() -> None:
    batch = (
        torch.rand(3, 3, 20, 30, generator=torch.Generator().manual_seed(0))
        * torch.tensor([0.2, 0.5, 1])[:, None, None, None]
    )
    model = Describes()
    together = make(model).restore(batch)
    assert model.described == [(1, 3, 20, 30)] * 3
    one_by_one = torch.stack([make(Describes()).restore(image) for image in batch])
    assert torch.allclose(together, one_by_one, atol=1e-6)


# --- sizes, batches, memory ----------------------------------------------------------------------------------------


def test_the_network_sees_sizes_that_it_takes() -> None:
    model = Identity()
    size = SizeRule(minimum=16, multiple_of=8)
    for shape in ((1, 1), (17, 300), (97, 133)):
        given = picture(*shape)
        for tile in ("off", 64):
            assert np.array_equal(make(model, size=size, tile=tile).restore(given), given)
    assert all(h % 8 == 0 and w % 8 == 0 and min(h, w) >= 16 for _, _, h, w in model.sizes)


def test_small_pictures_of_equal_size_share_a_pass_and_large_ones_do_not() -> None:
    model = Identity()
    restorer = make(model, size=SizeRule())
    small, large = picture(100, 100), picture(300, 400)
    results = restorer.restore_many([small, small, large, large, small])
    assert [shape[0] for shape in model.sizes] == [2, 1, 1, 1]
    for result, given in zip(results, [small, small, large, large, small], strict=True):
        assert np.array_equal(result, given)
    model.sizes.clear()
    assert restorer.restore(torch.zeros(40, 3, 64, 64, dtype=torch.uint8)).shape == (40, 3, 64, 64)
    assert [shape[0] for shape in model.sizes] == [16, 16, 8]  # 65,536 pixels at a time
    assert restorer.restore_many([]) == []


def test_the_budget_decides_how_many_share_a_pass_and_how_tiles_are_cut() -> None:
    model = Identity()
    restorer = make(model, max_memory=5 * 2**20)  # 1 MiB + 200 bytes a pixel: 2.9 MiB for 100x100
    restorer.restore(torch.zeros(4, 3, 100, 100))
    assert [shape[0] for shape in model.sizes] == [1] * 4
    model.sizes.clear()
    given, restorer = picture(300, 200), make(model, max_memory=10 * 2**20)
    assert np.array_equal(restorer.restore(given), given)
    assert 1 < len(model.sizes) == restorer.describe_plan(300, 200).tiles
    assert restorer.describe_plan(300, 200).bytes <= 10 * 2**20


def test_a_full_card_is_met_with_smaller_tiles_and_said(caplog: pytest.LogCaptureFixture) -> None:
    model, given = NeedsMemory(100 * 100), picture(200, 300)
    restorer = make(model)
    restored = restorer.run(given)
    assert np.array_equal(restored.image, 255 - given)
    assert restored.notes == ("the memory of cpu was not enough as planned: tiles were halved 2 times",)
    assert caplog.records == []  # who gets the notes says them
    restorer.restore(given)
    restorer.restore(given)
    assert [record.getMessage() for record in caplog.records] == list(restored.notes)  # else the log does, once
    with pytest.raises(UsageError, match="memory of cpu is not enough"):
        make(model, tile="off").restore(given)


# --- precision ------------------------------------------------------------------------------------------------------


def test_an_overflow_is_repeated_in_fp32_and_said() -> None:
    given = np.zeros((200, 200, 3), np.uint8)
    given[:20, :20] = 200
    whole = make(Overflows(), precision="bf16").run(given)
    assert np.array_equal(whole.image, 255 - given)
    assert "1 of 1 passes overflowed in bf16 and were repeated in fp32" in whole.notes
    tiled = make(Overflows(), precision="bf16", tile=128).run(given)
    assert np.array_equal(tiled.image, 255 - given)
    assert "1 of 4 passes overflowed in bf16 and were repeated in fp32" in tiled.notes  # the other three stay
    assert make(Overflows(), precision="fp32").run(given).notes == ()


def test_an_answer_that_is_not_finite_is_an_error_not_a_picture() -> None:
    for precision in ("fp32", "bf16"):
        with pytest.raises(ModelError, match="not finite, even in fp32"):
            make(Overflows(everywhere=True), precision=precision).restore(picture(10, 10))


@pytest.mark.parametrize("tile", ["off", 64])
def test_fp16_on_the_cpu_runs_and_says_in_what(tile: TileOption) -> None:
    restorer = make(Convolution(), precision="fp16", tile=tile)
    restored = restorer.run(picture(100, 90))
    assert restored.notes == ("the CPU does not compute in fp16; running in fp32 instead",)
    assert restorer.summary.precision == "fp32"
    assert np.array_equal(restored.image, make(Convolution(), precision="fp32", tile=tile).restore(picture(100, 90)))


# --- ensemble, progress, and the rest -------------------------------------------------------------------------------


def test_eight_orientations_of_a_network_that_does_not_care_change_nothing() -> None:
    given = picture(37, 50, "float32")
    assert np.allclose(make(Invert(), ensemble=True).restore(given), 1 - given, atol=1e-6)


def test_eight_orientations_are_all_there_and_turned_back() -> None:
    given = picture(24, 30, "float32")
    restored = make(Convolution(), ensemble=True).restore(given)
    wanted = np.zeros((24, 30, 3))
    for axes in ((0, 1), (1, 0)):
        for rows in (1, -1):
            for columns in (1, -1):
                turned = given[::rows, ::columns].transpose(*axes, 2)
                answer = make(Convolution()).restore(np.ascontiguousarray(turned))
                wanted += answer.transpose(*axes, 2)[::rows, ::columns] / 8
    assert np.abs(restored - wanted).max() < 1e-5
    assert np.abs(restored - make(Convolution()).restore(given)).max() > 0.005


@pytest.mark.parametrize("tile", ["off", 64])
@pytest.mark.parametrize("crop", [None, (10, 20, 100, 90)])
def test_progress_starts_at_0_grows_and_ends_with_all(tile: TileOption, crop: tuple[int, int, int, int] | None) -> None:
    calls: list[tuple[int, int]] = []
    make(Identity(), tile=tile).restore(picture(150, 200), crop=crop, progress=lambda *call: calls.append(call))
    total = 150 * 200 if crop is None else 100 * 90
    done = [call[0] for call in calls]
    assert {call[1] for call in calls} == {total}
    assert done[0] == 0
    assert done[-1] == total
    assert done == sorted(set(done))
    assert len(done) > 2 or tile == "off"


def test_progress_of_batches_of_masks_and_of_nothing_to_do() -> None:
    calls: list[tuple[int, int]] = []
    make(Identity(), max_memory=5 * 2**20).restore(torch.zeros(2, 3, 100, 100), progress=lambda *c: calls.append(c))
    assert calls == [(0, 20000), (10000, 20000), (20000, 20000)]
    for strength in (0.0, 1.0):
        calls.clear()
        make(Identity()).restore(
            picture(10, 10), strength=strength, mask=np.zeros((10, 10), bool), progress=lambda *c: calls.append(c)
        )
        assert calls == [(0, 100), (100, 100)]


def test_progress_can_stop() -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    model = Identity()
    with pytest.raises(KeyboardInterrupt):
        make(model).restore(picture(10, 10), progress=stop)
    assert model.sizes == []


@pytest.mark.parametrize("tile", ["off", 64])
def test_the_same_call_gives_the_same_bytes(tile: TileOption) -> None:
    given = picture(131, 90)
    restorer = make(Convolution(), tile=tile, ensemble=True)
    assert restorer.restore(given).tobytes() == restorer.restore(given).tobytes()


def test_a_network_in_training_mode_is_put_into_evaluation_mode_and_gets_no_gradient() -> None:
    model = nn.Sequential(Convolution(), nn.Dropout(0.9)).train()
    restored = make(model).restore(torch.rand(3, 10, 10))
    assert not model.training
    assert not restored.requires_grad


def test_a_restorer_survives_pickling_and_copying() -> None:
    restorer, given = make(Convolution(), tile=64), picture(100, 80)
    wanted = restorer.restore(given)
    for other in (pickle.loads(pickle.dumps(restorer)), copy.deepcopy(restorer)):  # noqa: S301 (our own bytes)
        assert np.array_equal(other.restore(given), wanted)
        assert other.summary == restorer.summary


@pytest.mark.parametrize("tile", ["on", 0, -64, 15, True, 64.0])
def test_a_tile_that_is_none_is_refused(tile: object) -> None:
    with pytest.raises(UsageError, match="tile is auto, off, or a side of at least 16 pixels"):
        make(Identity(), tile=tile)  # type: ignore[arg-type]  # that is the point


def test_a_memory_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="max_memory is a positive number of bytes, got 0"):
        make(Identity(), max_memory=0)


def test_summary_says_what_runs() -> None:
    restorer = Restorer(
        Identity(),
        size=SizeRule(minimum=8, multiple_of=8),
        rule=replace(RULE, channels_last=True),
        device="cpu",
        tile=128,
        ensemble=True,
        name=("resunet", "resunet-small", "resunet-small.v1"),
    )
    summary = restorer.summary
    assert (summary.model, summary.variant, summary.tag) == ("resunet", "resunet-small", "resunet-small.v1")
    assert (summary.device, summary.precision) == ("cpu", "fp32")
    assert (
        summary.rule
        == "padded to multiples of 8, at least 8, tiles of 128, overlap 32, channels_last, eight orientations"
    )
    assert make(Identity()).summary.model == "Identity"


def test_what_was_assumed_is_said_first(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    restorer = Restorer(
        Identity(), size=ANY_SIZE, rule=RULE, device="cpu", precision="fp16", notes=["the variant was guessed"]
    )
    restorer.restore(picture(4, 4))
    assert [record.getMessage() for record in caplog.records] == [
        "the variant was guessed",
        "the CPU does not compute in fp16; running in fp32 instead",
    ]
