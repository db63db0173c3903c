"""PSNR, SSIM and NRMSE against scikit-image, closed forms and their own contract."""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
import pytest
import skimage.metrics as oracle
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from restorekit.errors import UnknownNameError, UsageError
from restorekit.metrics import METRICS, nrmse, psnr, register_metric, ssim, to_luma, to_steps

WITH_LUMA = [name for name in METRICS.names() if "luma" in signature(METRICS.get(name).function).parameters]


def pair(
    seed: int, *, size: tuple[int, int] = (37, 31), channels: int = 3, sigma: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Return a smooth picture with noise, and the picture itself: ``(2, C, H, W)`` each, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((2, channels, 5, 6), generator=generator)
    clean = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    noise = sigma * torch.randn(clean.shape, generator=generator)
    return (clean + noise).clamp(0, 1), clean


def each(first: Tensor, second: Tensor, score: Callable[[np.ndarray, np.ndarray], float]) -> list[float]:
    """Score every picture of a batch with a function of arrays ``(C, H, W)`` in float64."""
    return [score(a.double().numpy(), b.double().numpy()) for a, b in zip(first, second, strict=True)]


@pytest.mark.parametrize("data_range", [1.0, 255.0, 65535.0])
def test_psnr_is_that_of_scikit_image(data_range: float) -> None:
    restored, clean = (data_range * x for x in pair(1))
    wanted = each(
        restored, clean, lambda a, b: oracle.peak_signal_noise_ratio(image_true=b, image_test=a, data_range=data_range)
    )
    got = psnr(restored, clean, data_range=data_range)
    assert got.dtype == torch.float64
    assert got.tolist() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}),
        ({"covariance": "sample"}, {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": True}),
        ({"window": "uniform", "window_size": 7, "covariance": "sample"}, {}),
        ({"window": "uniform", "window_size": 11, "covariance": "sample"}, {"win_size": 11}),
        ({"window": "uniform", "window_size": 5}, {"win_size": 5, "use_sample_covariance": False}),
    ],
)
@pytest.mark.parametrize("data_range", [1.0, 255.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_that_of_scikit_image(
    ours: dict[str, Any], theirs: dict[str, Any], data_range: float, channels: int
) -> None:
    restored, clean = (data_range * x for x in pair(2, channels=channels))
    wanted = each(
        restored,
        clean,
        lambda a, b: oracle.structural_similarity(a, b, channel_axis=0, data_range=data_range, **theirs),
    )
    assert ssim(restored, clean, data_range=data_range, **ours).tolist() == pytest.approx(wanted, abs=1e-9)


def test_ssim_with_another_gaussian_is_that_of_scikit_image() -> None:
    restored, clean = pair(3)
    wanted = each(
        restored,
        clean,
        lambda a, b: oracle.structural_similarity(
            a, b, channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=0.8, use_sample_covariance=False
        ),
    )
    got = ssim(restored, clean, data_range=1.0, window_size=7, window_sigma=0.8)  # scikit-image cuts at 3.5 sigma
    assert got.tolist() == pytest.approx(wanted, abs=1e-9)


def test_nrmse_is_that_of_scikit_image_with_the_clean_picture_first() -> None:
    restored, clean = pair(4)
    wanted = each(restored, clean, lambda a, b: oracle.normalized_root_mse(b, a, normalization="min-max"))
    assert nrmse(restored, clean, data_range=1.0, range_of="reference").tolist() == pytest.approx(wanted, rel=1e-9)
    wanted = each(restored, clean, lambda a, b: oracle.normalized_root_mse(a, b, normalization="min-max"))
    assert nrmse(restored, clean, data_range=1.0).tolist() == pytest.approx(wanted, rel=1e-9)


def test_grey_100_against_110() -> None:
    """Closed forms: 20 log10(255 / 10); the luma of a grey step is 219/255 of it; in whole steps it is 9 of 255."""
    dark, light = (torch.full((1, 3, 64, 64), value) for value in (100.0, 110.0))
    assert psnr(light, dark, data_range=255).item() == pytest.approx(28.1308, abs=5e-5)
    assert psnr(light, dark, data_range=255, luma="studio").item() == pytest.approx(29.4527, abs=5e-5)
    for scale in (1, 1 / 255, 257):  # 8 bit, [0, 1], 16 bit
        got = psnr(light * scale, dark * scale, data_range=255 * scale, luma="studio_rounded")
        assert got.item() == pytest.approx(20 * math.log10(255 / 8), abs=1e-9)


def test_per_picture_whatever_the_batch() -> None:
    clean = torch.zeros((2, 3, 64, 64))
    restored = torch.stack([clean[0] + 1, clean[1] + 20])
    got = psnr(restored, clean, data_range=255)
    assert got.tolist() == pytest.approx([48.1308, 22.1102], abs=5e-5)
    assert got.mean().item() == pytest.approx(35.1205, abs=5e-5)


@pytest.mark.parametrize("name", METRICS.names())
@settings(max_examples=10)
@given(seed=st.integers(0, 1000), height=st.integers(11, 40), width=st.integers(11, 40))
def test_contract_of_every_metric(name: str, seed: int, height: int, width: int) -> None:
    spec = METRICS.get(name)
    restored, clean = pair(seed, size=(height, width))
    before = restored.clone()
    score = spec.function(restored, clean, data_range=1.0)
    same = spec.function(clean, clean, data_range=1.0)
    assert score.shape == (2,)
    assert torch.equal(restored, before)
    low, high = spec.range
    assert ((score >= low) & (score <= high)).all()
    assert ((same > score) if spec.higher_is_better else (same < score)).all()
    assert same.tolist() == pytest.approx([high if spec.higher_is_better else low] * 2)
    alone = torch.cat([spec.function(a[None], b[None], data_range=1.0) for a, b in zip(restored, clean, strict=True)])
    assert alone.tolist() == pytest.approx(score.tolist(), rel=1e-12)


@pytest.mark.parametrize("name", METRICS.names())
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32])
def test_any_dtype_is_scored_in_double(name: str, dtype: torch.dtype) -> None:
    function = METRICS.get(name).function
    restored, clean = ((100 * x).round().to(dtype) for x in pair(5))
    wanted = function(restored.double(), clean.double(), data_range=255)
    assert torch.equal(function(restored, clean, data_range=255), wanted)


@pytest.mark.parametrize("name", METRICS.names())
@pytest.mark.parametrize("border", [1, 4])
def test_borders_do_not_count(name: str, border: int) -> None:
    function = METRICS.get(name).function
    restored, clean = pair(6)
    cut = (..., slice(border, -border), slice(border, -border))
    spoiled = torch.ones_like(restored)
    spoiled[cut] = restored[cut]
    wanted = function(restored[cut], clean[cut], data_range=1.0)
    assert torch.equal(function(spoiled, clean, data_range=1.0, crop_border=border), wanted)


@pytest.mark.parametrize("name", WITH_LUMA)
def test_luma_option_scores_the_luma(name: str) -> None:
    function = METRICS.get(name).function
    restored, clean = (255 * x.double() for x in pair(7))
    luma = [to_luma(x, data_range=255) for x in (restored, clean)]
    assert torch.equal(function(restored, clean, data_range=255, luma="studio"), function(*luma, data_range=255))
    rounded = [x.round() for x in luma]
    got = function(restored, clean, data_range=255, luma="studio_rounded")
    assert got.tolist() == pytest.approx(function(*rounded, data_range=255).tolist(), rel=1e-12)


def test_luma_is_in_studio_range_with_red_first() -> None:
    colours = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])[:, :, None, None]
    wanted = [16, 235, 16 + 65.481, 16 + 128.553, 16 + 24.966]
    assert (255 * to_luma(colours, data_range=1)).flatten().tolist() == pytest.approx(wanted, abs=1e-4)
    assert to_luma(255 * colours, data_range=255).flatten().tolist() == pytest.approx(wanted, abs=1e-4)
    swapped = to_luma(colours.flip(1), data_range=1, weights=(24.966, 128.553, 65.481))
    assert swapped.flatten().tolist() == pytest.approx([x / 255 for x in wanted], abs=1e-6)


def test_whole_steps_round_halves_to_even_and_clip() -> None:
    image = torch.tensor([-0.2, 0.0, 0.5 / 255, 1.5 / 255, 2.5 / 255, 1.0, 1.2], dtype=torch.float64).view(1, 1, 1, -1)
    assert to_steps(image, data_range=255).flatten().tolist() == [0, 0, 0, 2, 2, 255, 255]
    assert to_steps(image, data_range=65535).max() == 65535


def test_equal_pictures() -> None:
    _, clean = pair(8)
    assert psnr(clean, clean, data_range=1.0).tolist() == [math.inf] * 2
    assert psnr(clean, clean, data_range=1.0, epsilon=1e-12).tolist() == pytest.approx([120.0] * 2)
    flat = torch.full((1, 1, 12, 12), 0.5)
    assert nrmse(flat, flat, data_range=1.0).item() == 0
    assert nrmse(flat, flat + 0.1, data_range=1.0).item() == math.inf


@pytest.mark.parametrize("name", METRICS.names())
@pytest.mark.parametrize(
    ("restored", "reference", "options", "message"),
    [
        ((1, 3, 20, 20), (1, 3, 20, 21), {}, r"restored picture is \(1, 3, 20, 20\), the reference \(1, 3, 20, 21\)"),
        ((1, 3, 20, 20), (1, 1, 20, 20), {}, "only pictures of equal size can be compared"),
        ((3, 20, 20), (3, 20, 20), {}, "add the axis of the batch"),
        ((0, 3, 20, 20), (0, 3, 20, 20), {}, r"\(B, C, H, W\)"),
        ((1, 3, 20, 20), (1, 3, 20, 20), {"crop_border": 10}, "leaves nothing of a picture of 20x20"),
        ((1, 3, 20, 20), (1, 3, 20, 20), {"crop_border": -1}, "crop_border -1"),
        ((1, 3, 20, 20), (1, 3, 20, 20), {"data_range": 0}, "data_range is the largest value"),
        ((1, 3, 20, 20), (1, 3, 20, 20), {"data_range": math.nan}, "data_range is the largest value"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    name: str, restored: tuple[int, ...], reference: tuple[int, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        METRICS.get(name).function(torch.zeros(restored), torch.zeros(reference), **{"data_range": 1.0, **options})


@pytest.mark.parametrize("name", WITH_LUMA)
@pytest.mark.parametrize(
    ("channels", "luma", "message"),
    [
        (1, "studio", "luma is made from 3 channels, the pictures have 1"),
        (3, "full", "luma is studio, studio_rounded or None, not 'full'"),
    ],
)
def test_luma_that_does_not_exist_is_refused(name: str, channels: int, luma: str, message: str) -> None:
    grey = torch.zeros(1, channels, 20, 20)
    with pytest.raises(UsageError, match=message):
        METRICS.get(name).function(grey, grey, data_range=1.0, luma=luma)


@pytest.mark.parametrize("name", METRICS.names())
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("which", ["restored", "reference"])
def test_values_that_are_no_numbers_are_refused(name: str, value: float, which: str) -> None:
    pictures = {"restored": torch.zeros(1, 3, 20, 20), "reference": torch.zeros(1, 3, 20, 20)}
    pictures[which][0, 1, 3, 4] = value
    with pytest.raises(UsageError, match=f"the {which} picture holds values that are no finite numbers"):
        METRICS.get(name).function(*pictures.values(), data_range=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_size": 21}, "a window of 21x21 does not fit a picture of 31x20"),
        ({"crop_border": 5}, "a window of 11x11 does not fit a picture of 21x10"),
        ({"window_size": 8}, "odd number from 3 on, not 8"),
        ({"window_size": 1}, "odd number from 3 on, not 1"),
        ({"window": "box"}, "gaussian or uniform, not 'box'"),
        ({"window_sigma": 0.0}, "positive number of pixels, not 0.0"),
        ({"covariance": "unbiased"}, "population or sample, not 'unbiased'"),
    ],
)
def test_ssim_refuses_windows_that_do_not_exist(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ssim(*pair(9, size=(20, 31)), data_range=1.0, **options)


def test_nrmse_refuses_an_unknown_range() -> None:
    with pytest.raises(UsageError, match="range_of is restored or reference, not 'both'"):
        nrmse(*pair(9), data_range=1.0, range_of="both")  # type: ignore[arg-type]


def test_registry_knows_directions_and_suggests() -> None:
    assert {name: METRICS.get(name).higher_is_better for name in METRICS} == {
        "depth_rmse": False,
        "nrmse": False,
        "psnr": True,
        "ssim": True,
    }
    with pytest.raises(UnknownNameError, match="unknown metric 'pnsr'; did you mean psnr"):
        METRICS.get("pnsr")
    with pytest.raises(ValueError, match="metric 'psnr' is already registered"):
        register_metric("psnr", higher_is_better=True, range=(0, 1))(psnr)
