"""Small networks of the community, built by spandrel's own classes with weights that are the same every time."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ["ARCHITECTURES", "build"]


def _esrgan() -> nn.Module:
    from spandrel.architectures.ESRGAN import ESRGAN

    return ESRGAN(scale=4, num_filters=16, num_blocks=2)


def _compact() -> nn.Module:
    from spandrel.architectures.Compact import Compact

    return Compact(num_feat=16, num_conv=3, upscale=2)


def _swinir() -> nn.Module:
    from spandrel.architectures.SwinIR import SwinIR

    sizes: dict[str, Any] = {"embed_dim": 12, "depths": [2, 2], "num_heads": [2, 2], "mlp_ratio": 2.0}
    return SwinIR(upscale=2, window_size=8, img_size=64, upsampler="pixelshuffledirect", **sizes)


def _dat() -> nn.Module:
    from spandrel.architectures.DAT import DAT

    sizes: dict[str, Any] = {"embed_dim": 16, "split_size": [4, 8], "depth": [2], "num_heads": [2]}
    return DAT(upscale=4, expansion_factor=2.0, resi_connection="1conv", upsampler="pixelshuffledirect", **sizes)


def _span() -> nn.Module:
    from spandrel.architectures.SPAN import SPAN

    return SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=4)


def _scunet() -> nn.Module:
    from spandrel.architectures.SCUNet import SCUNet

    return SCUNet(config=[1] * 7, dim=64)


def _dncnn() -> nn.Module:
    from spandrel.architectures.DnCNN import DnCNN

    return DnCNN(in_nc=1, out_nc=1, nc=8, nb=5)


ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "ESRGAN": (_esrgan, 4),
    "RealESRGAN Compact": (_compact, 2),
    "SwinIR": (_swinir, 2),
    "DAT": (_dat, 4),
    "SPAN": (_span, 4),
    "SCUNet": (_scunet, 1),
    "DnCNN": (_dncnn, 1),
}
"""Name that spandrel gives the architecture -> how a small one is built, and how many times it enlarges."""


def build(name: str) -> nn.Module:
    """Build a small network."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return ARCHITECTURES[name][0]().eval()
