"""Haze follows the scattering model."""

from __future__ import annotations

import torch

from restorekit.degradations.haze import Haze


def haze(**changes: float) -> Haze:
    base = {
        "beta": 1.0, "near": 0.1, "airlight": 0.8, "airlight_red": 0.02, "airlight_blue": -0.01,
        "ramp": 0.5, "objects": 0.3, "seed": 4,
    }  # fmt: skip
    return Haze(**{**base, **changes})  # type: ignore[arg-type]


def test_dense_haze_is_airlight() -> None:
    out = haze(beta=10, near=1.0).apply(torch.rand(1, 3, 20, 20))
    assert torch.allclose(out.mean((0, 2, 3)), torch.tensor([0.82, 0.8, 0.79]), atol=1e-3)


def test_model_holds_at_every_pixel() -> None:
    image = torch.rand(1, 3, 30, 40)
    params = haze(airlight_red=0, airlight_blue=0)
    seen = torch.exp(-torch.from_numpy(params.depth(30, 40)))
    assert torch.allclose(params.apply(image), image * seen + 0.8 * (1 - seen), atol=1e-6)
    depth = params.depth(30, 40)
    assert depth.min() >= 0.1 - 1e-6
    assert abs(depth.max() - 1) < 1e-5
