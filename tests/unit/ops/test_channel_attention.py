"""Attention between channels against its definition, whatever side is the smaller."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from restorekit.ops.channel_attention import attend, mix, products, weigh


def _columns(pixels: int, channels: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 3, pixels, channels, generator=generator) for _ in range(3))


def _by_definition(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    q, k, v = (t.transpose(2, 3).double() for t in (q, k, v))
    weights = torch.exp(F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(2, 3) * temperature)
    return (weights / (1 + weights.sum(-1, keepdim=True)) @ v).transpose(2, 3).float()


@pytest.mark.parametrize(("pixels", "channels"), [(20, 4), (4, 20), (5, 5), (1, 3)])
def test_attention_is_as_defined(pixels: int, channels: int) -> None:
    q, k, v = _columns(pixels, channels)
    temperature = torch.tensor([0.5, 1.0, 2.0]).view(3, 1, 1)
    torch.testing.assert_close(attend(q, k, v, temperature), _by_definition(q, k, v, temperature))


def test_a_channel_without_signal_does_no_harm() -> None:
    q, k, v = _columns(8, 4)
    q[..., 1] = 0
    temperature = torch.ones(3, 1, 1)
    result = attend(q, k, v, temperature)
    assert torch.isfinite(result).all()
    torch.testing.assert_close(result, _by_definition(q, k, v, temperature))


def test_products_of_bands_add_up() -> None:
    q, k, v = _columns(12, 4)
    temperature = torch.ones(3, 1, 1)
    parts = [products(q[:, :, rows], k[:, :, rows]) for rows in (slice(0, 5), slice(5, 12))]
    torch.testing.assert_close(mix(v, weigh(parts, temperature)), attend(q, k, v, temperature))
