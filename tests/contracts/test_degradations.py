"""What every registered degradation keeps, whatever it does."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restorekit.degradations import DEGRADATIONS, Degradation, from_record
from restorekit.errors import UnknownNameError, UsageError

SIZES = [(1, 1), (1, 9), (7, 1), (8, 8), (31, 37), (64, 96)]


def picture(batch: int, channels: int, height: int, width: int) -> torch.Tensor:
    return torch.rand((batch, channels, height, width), generator=torch.Generator().manual_seed(height * 100 + width))


def draw(name: str, seed: int, level: float | None = None) -> Degradation:
    return DEGRADATIONS.get(name).sample(torch.Generator().manual_seed(seed), level)


@pytest.mark.parametrize("name", DEGRADATIONS.names())
@pytest.mark.parametrize("size", SIZES)
def test_any_size_any_channels(name: str, size: tuple[int, int]) -> None:
    for batch, channels in ((1, 3), (2, 1)):
        image = picture(batch, channels, *size)
        before = image.clone()
        params = draw(name, seed=batch)
        out = params.apply(image)
        assert out.shape == image.shape
        assert out.dtype == image.dtype
        assert torch.isfinite(out).all()
        assert float(out.min()) >= 0
        assert float(out.max()) <= 1
        assert torch.equal(image, before)
        assert out.data_ptr() != image.data_ptr()
        assert torch.equal(params.apply(image), out)


@pytest.mark.parametrize("name", DEGRADATIONS.names())
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), level=st.none() | st.floats(0, 1))
def test_record_replays(name: str, seed: int, level: float | None) -> None:
    params = draw(name, seed, level)
    image = picture(1, 3, 24, 33)
    record = json.loads(json.dumps(params.record()))
    assert from_record(record) == params
    assert torch.equal(from_record(record).apply(image), params.apply(image))


@pytest.mark.parametrize("name", DEGRADATIONS.names())
def test_extremes_of_every_bound(name: str) -> None:
    image = picture(1, 3, 40, 33)
    record = draw(name, 3, 0.5).record()
    for key, bounds in DEGRADATIONS.get(name).bounds.items():
        for value in bounds:
            extreme = {**record, key: type(record[key])(value)}
            if name == "haze" and key in ("ramp", "objects"):
                extreme["objects" if key == "ramp" else "ramp"] = 0.0
            out = from_record(extreme).apply(image)
            assert torch.isfinite(out).all(), (key, value)
            assert 0 <= float(out.min()) <= float(out.max()) <= 1, (key, value)


@pytest.mark.parametrize("name", DEGRADATIONS.names())
def test_bounds_are_checked(name: str) -> None:
    record = draw(name, 3).record()
    for key, (low, high) in DEGRADATIONS.get(name).bounds.items():
        for value in (low - 1, high + 1, math.nan):
            with pytest.raises(UsageError, match=f"{name}: {key} is .*; give a number from"):
                from_record({**record, key: value})


@pytest.mark.parametrize("name", DEGRADATIONS.names())
def test_level_is_severity(name: str) -> None:
    smooth = torch.nn.functional.interpolate(picture(8, 3, 12, 12), size=(96, 96), mode="bicubic").clamp(0, 1)

    def error(level: float) -> float:
        return sum(
            float((draw(name, seed, level).apply(one[None]) - one).square().mean()) for seed, one in enumerate(smooth)
        )

    assert error(0.05) < error(0.5) < error(1.0)


def test_unknown_words_are_refused() -> None:
    record = draw("rain", 1).record()
    with pytest.raises(UnknownNameError, match="did you mean rain"):
        from_record({**record, "name": "rian"})
    with pytest.raises(UnknownNameError, match="did you mean density"):
        from_record({**record, "densty": 1})
    with pytest.raises(UsageError, match="lacks seed"):
        from_record({k: v for k, v in record.items() if k != "seed"})
    with pytest.raises(UsageError, match="needs a 'name'"):
        from_record({"density": 1})
    with pytest.raises(UsageError, match="give a number from 0"):
        draw("rain", 1, 1.5)
