"""Networks that enlarge: whole or in tiles, every kind of picture, alpha, masks, strength and crops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from restorekit.errors import ModelError, UsageError
from restorekit.hub import UNMEASURED
from restorekit.inference import Restorer
from restorekit.inference.enlarge import enlarge
from restorekit.inference.plan import Budget, plan_picture
from restorekit.io import ImageData
from restorekit.models import SizeRule


class Larger(nn.Module):
    """Enlarges each pixel to a square, inverted; pixels at the border of what it sees are wrong, as networks are."""

    def __init__(self, scale: int, *, wrong: int = 0) -> None:
        super().__init__()
        self.scale, self.wrong = scale, wrong

    def forward(self, image: Tensor) -> Tensor:
        larger = 1 - image.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)
        if self.wrong:
            larger[..., : self.wrong] = larger[..., -self.wrong :] = 0.5
        return larger


def restorer(scale: int = 2, *, wrong: int = 0, minimum: int = 1, multiple_of: int = 1, **options: Any) -> Restorer:
    return Restorer(
        Larger(scale, wrong=wrong),
        size=SizeRule(minimum=minimum, multiple_of=multiple_of),
        rule=UNMEASURED,
        scale=scale,
        device="cpu",
        **options,
    )


def squares(pixels: np.ndarray, scale: int) -> np.ndarray:
    return pixels.repeat(scale, 0).repeat(scale, 1)


def noise(height: int = 37, width: int = 53, channels: int = 3, dtype: str = "uint8") -> np.ndarray:
    generator = np.random.default_rng(0)
    if dtype.startswith("float"):
        return generator.random((height, width, channels)).astype(dtype)
    return generator.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype=dtype)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(37, 53), (1, 1), (3, 90), (128, 65)])
@pytest.mark.parametrize(
    "options", [{}, {"tile": 32}, {"tile": 48, "multiple_of": 8, "minimum": 16}, {"ensemble": True}]
)
def test_every_pixel_is_where_it_belongs(scale: int, size: tuple[int, int], options: dict[str, Any]) -> None:
    pixels = noise(*size)
    restored = restorer(scale, **options).restore(pixels)
    assert restored.dtype == pixels.dtype
    assert np.array_equal(restored, 255 - squares(pixels, scale))


def test_what_a_network_gets_wrong_at_the_border_of_a_tile_is_not_seen() -> None:
    pixels = noise(20, 300)
    restored = restorer(4, wrong=16, tile=128).restore(pixels)
    assert np.array_equal(restored[:, 16:-16], 255 - squares(pixels, 4)[:, 16:-16])


def test_tiles_of_a_description_meet_without_a_seam() -> None:
    """Where tiles disagree a little, the result passes smoothly from one to the other."""

    class Drifts(Larger):
        def forward(self, image: Tensor) -> Tensor:
            self.count = getattr(self, "count", 0) + 1
            return torch.full((1, 3, 2 * image.shape[2], 2 * image.shape[3]), 0.4 if self.count % 2 else 0.6)

    network = Restorer(Drifts(2), size=SizeRule(), rule=UNMEASURED, scale=2, device="cpu", tile=128)
    restored = network.restore(np.zeros((64, 400, 3), np.float32))
    assert restored.min() >= 0.399
    assert restored.max() <= 0.601
    assert np.abs(np.diff(restored[0, :, 0])).max() < 0.02


KINDS = {
    "array": lambda pixels: pixels,
    "planes": lambda pixels: torch.from_numpy(pixels).permute(2, 0, 1),
    "batch": lambda pixels: torch.from_numpy(pixels).permute(2, 0, 1).repeat(2, 1, 1, 1),
    "PIL": Image.fromarray,
    "data": lambda pixels: ImageData(pixels=pixels),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_of_picture_comes_back_as_its_own_kind(kind: str) -> None:
    pixels = noise()
    given = KINDS[kind](pixels)
    restored = restorer(2).restore(given)
    assert type(restored) is type(given)
    expected = 255 - squares(pixels, 2)
    if isinstance(restored, Tensor):
        assert restored.dtype == given.dtype
        assert restored.shape[:-2] == given.shape[:-2]
        assert all(np.array_equal(one.permute(1, 2, 0), expected) for one in restored.reshape(-1, *restored.shape[-3:]))
    else:
        assert np.array_equal(restored.pixels if isinstance(restored, ImageData) else np.asarray(restored), expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_depth_is_kept_and_alpha_is_enlarged_plainly(dtype: str, channels: int) -> None:
    pixels = noise(channels=channels, dtype=dtype)
    alpha = channels in (2, 4)
    if alpha:
        pixels[..., -1] = 1.0 if dtype.startswith("float") else np.iinfo(dtype).max
        pixels[:10, :10, -1] = 0
    restored = restorer(2).restore(pixels)
    assert (restored.dtype, restored.shape) == (pixels.dtype, (74, 106, channels))
    if alpha:
        assert (restored[24:, 24:, -1] == pixels[20, 20, -1]).all()
        assert (restored[:16, :16, -1] == 0).all()
    most = 1.0 if dtype.startswith("float") else np.iinfo(dtype).max
    expected = most - squares(pixels, 2)[24:, 24:, : channels - alpha].astype(np.float64)
    assert np.abs(restored[24:, 24:, : channels - alpha] - expected).max() <= (1e-3 if most == 1.0 else 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.uint16])
def test_tensors_of_every_dtype(dtype: torch.dtype) -> None:
    given = (torch.rand(1, 3, 8, 9) * 60_000).to(dtype) if dtype == torch.uint16 else torch.rand(1, 3, 8, 9).to(dtype)
    restored = restorer(4).restore(given)
    assert (restored.dtype, restored.shape) == (dtype, (1, 3, 32, 36))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I", "F", "I;16"])
def test_every_mode_of_pil(mode: str) -> None:
    grey = Image.fromarray(noise(12, 16, 1)[..., 0])
    if mode in ("I", "I;16"):
        given = Image.fromarray(noise(12, 16, 1, "uint16")[..., 0].astype(np.int32 if mode == "I" else np.uint16))
    elif mode == "F":
        given = Image.fromarray(noise(12, 16, 1, "float32")[..., 0])
    else:
        given = grey.convert(mode)
    restored = restorer(2).restore(given)
    assert restored.size == (32, 24)
    assert restored.mode == {"P": "RGB", "1": "L"}.get(mode, mode)


def test_strength_leaves_a_share_of_the_picture_enlarged_plainly() -> None:
    pixels = noise(dtype="float32")
    plain, full = restorer(2).restore(pixels, strength=0), restorer(2).restore(pixels)
    assert plain.shape == full.shape == (74, 106, 3)
    assert np.array_equal(plain, enlarge(pixels, 2))
    half = restorer(2).restore(pixels, strength=0.5)
    assert np.abs(half - (plain + full) / 2).max() < 1e-5


@pytest.mark.parametrize("tile", ["off", 32])
def test_a_mask_says_where(tile: Any) -> None:
    pixels = noise()
    mask = np.zeros((37, 53), bool)
    mask[5:20, 7:40] = True
    network = restorer(2, tile=tile)
    restored, plain = network.restore(pixels, mask=mask), enlarge(pixels, 2)
    where = squares(mask, 2)
    assert np.array_equal(restored[where], (255 - squares(pixels, 2))[where])
    assert np.array_equal(restored[~where], plain[~where])


def test_a_crop_counts_in_pixels_of_the_picture() -> None:
    pixels = noise(90, 120)
    whole = restorer(3).restore(pixels)
    part = restorer(3).restore(pixels, crop=(40, 30, 25, 20))
    assert np.array_equal(part, whole[90:150, 120:195])


def test_progress_counts_the_picture_and_ends_at_all_of_it() -> None:
    seen: list[tuple[int, int]] = []
    restorer(4, tile=32).restore(noise(64, 96), progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 64 * 96)
    assert seen[-1] == (64 * 96, 64 * 96)


def test_several_at_once() -> None:
    pictures = [noise(20, 30), noise(20, 30), noise(8, 9)]
    restored = restorer(2).restore_many(pictures)
    assert all(np.array_equal(one, 255 - squares(given, 2)) for one, given in zip(restored, pictures, strict=True))


def test_it_is_said_and_planned_for() -> None:
    assert "enlarges 4 times" in restorer(4).summary.rule
    assert "enlarges" not in Restorer(Larger(1), size=SizeRule(), rule=UNMEASURED, device="cpu").summary.rule

    def planned(scale: int) -> int:
        budget = Budget(bytes=10**12, given=False, on_cpu=True)
        return plan_picture(
            2000, 3000, size=SizeRule(), rule=UNMEASURED, tile="auto", budget=budget, ensemble=False, scale=scale
        ).bytes

    assert planned(4) - planned(1) == 2 * 16 * 3 * 2000 * 3000


def test_an_answer_of_another_size_is_refused() -> None:
    network = Restorer(Larger(2), size=SizeRule(), rule=UNMEASURED, scale=4, device="cpu")
    with pytest.raises(
        ModelError,
        match=r"answers a picture \(1, 3, 37, 53\) with \(1, 3, 74, 106\), which is not 4 times its size; its weights",
    ):
        network.restore(noise())


def test_a_crop_outside_is_still_refused() -> None:
    with pytest.raises(UsageError, match="does not lie inside the picture"):
        restorer(2).restore(noise(), crop=(40, 30, 25, 20))
