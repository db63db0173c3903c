"""Noise has the statistics that its parameters promise."""

from __future__ import annotations

import pytest
import torch

from restorekit.degradations.noise import GaussianNoise, SensorNoise


def test_gaussian_noise_is_centred_and_as_strong_as_said() -> None:
    image = torch.full((1, 3, 256, 256), 128 / 255)
    change = (GaussianNoise(sigma_255=25, seed=0).apply(image) - image) * 255
    assert abs(float(change.mean())) < 0.3
    assert float(change.std()) == pytest.approx(25, abs=0.3)
    assert float((change > 0).float().mean()) == pytest.approx(0.5, abs=0.01)


def test_gaussian_noise_on_black_is_clipped() -> None:
    out = GaussianNoise(sigma_255=25, seed=1).apply(torch.zeros(1, 3, 256, 256))
    assert float(out.mean()) * 255 == pytest.approx(9.97, abs=0.1)  # 25 / sqrt(2 pi)


def test_sensor_noise_grows_with_the_signal_and_keeps_its_variance_when_blurred() -> None:
    def sigma(value: float, blur_px: float) -> float:
        image = torch.full((1, 3, 200, 200), value)
        noise = SensorNoise(gain_255=20, read_255=5, blur_px=blur_px, common=0.5, seed=2).apply(image) - image
        return float(noise.std()) * 255

    assert sigma(0.5, 0) == pytest.approx((0.5 * 20**2 + 5**2) ** 0.5, rel=0.03)
    assert sigma(0.5, 1.2) == pytest.approx(sigma(0.5, 0), rel=0.06)
    assert sigma(0.2, 0) < sigma(0.7, 0)
