"""DWFormer as its authors compute it, step by step: what our network is compared with in numbers, time and memory.

A literal transcription of the description of the released network, with the authors' arguments and keys: batch norms
that are not folded, a softmax over an axis of length one, padding as a step of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PlainBlock", "PlainDWFormer", "PlainGate"]


class PlainGate(nn.Module):
    """The channel gate, ``Global_Block`` of the authors; ``softmax_axis`` 2 in place of 1 is what the paper shows."""

    def __init__(self, *, dim: int, ratio: int = 1, softmax_axis: int = 1) -> None:
        super().__init__()
        self.softmax_axis = softmax_axis
        self.pwconv = nn.Conv2d(dim, 1, 1)
        squeeze = nn.Linear(dim, dim // ratio, bias=False)
        self.mlp = nn.Sequential(squeeze, nn.ReLU(), nn.Linear(dim // ratio, dim, bias=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        batch, channels = x.shape[:2]
        logits = self.pwconv(x).flatten(2)  # (N, 1, HW)
        weights = torch.softmax(logits, dim=self.softmax_axis).permute(0, 2, 1)
        pooled = torch.matmul(x.flatten(2), weights).flatten(1)
        gate: Tensor = self.mlp(pooled).view(batch, channels, 1, 1)
        return x * gate


class PlainBlock(nn.Module):
    """The two residual branches, ``inter`` and ``intra``."""

    def __init__(self, *, dim: int, mlp_ratio: int, se_ratio: int, softmax_axis: int = 1) -> None:
        super().__init__()
        self.inter = nn.Sequential(
            nn.BatchNorm2d(dim),
            nn.Conv2d(dim, dim, 1),
            nn.Conv2d(dim, dim, 5, padding=2, groups=dim, padding_mode="reflect"),
            nn.ReLU(inplace=True),
            PlainGate(dim=dim, ratio=se_ratio, softmax_axis=softmax_axis),
            nn.Conv2d(dim, dim, 1),
        )
        self.intra = nn.Sequential(
            nn.BatchNorm2d(dim),
            nn.Conv2d(dim, dim * mlp_ratio, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(dim * mlp_ratio, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.inter(x)
        return x + self.intra(x)


class _Stage(nn.Module):
    def __init__(self, blocks: list[PlainBlock]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class PlainDWFormer(nn.Module):
    """The whole network, with the authors' arguments; the defaults are the released configuration."""

    def __init__(
        self,
        *,
        in_ch: int = 3,
        emd_dims: tuple[int, ...] = (24, 48, 96, 48, 24),
        mlp_ratios: tuple[int, ...] = (2, 4, 4, 2, 2),
        layer_num: tuple[int, ...] = (8, 8, 8, 6, 6),
        se_ratio: int = 1,
        softmax_axis: int = 1,
    ) -> None:
        super().__init__()

        def stage(i: int) -> _Stage:
            settings = {"mlp_ratio": mlp_ratios[i], "se_ratio": se_ratio, "softmax_axis": softmax_axis}
            return _Stage([PlainBlock(dim=emd_dims[i], **settings) for _ in range(layer_num[i])])

        def up(coarse: int, fine: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(coarse, 4 * fine, 1), nn.PixelShuffle(2))

        def fuse(channels: int) -> nn.Sequential:
            mix = nn.Conv2d(2 * channels, channels, 3, padding=1, padding_mode="reflect")
            return nn.Sequential(mix, nn.ReLU(inplace=True))

        d = emd_dims
        self.downproj1, self.block1 = nn.Conv2d(in_ch, d[0], 3, padding=1), stage(0)
        self.downproj2, self.block2 = nn.Conv2d(d[0], d[1], 2, stride=2), stage(1)
        self.downproj3, self.block3 = nn.Conv2d(d[1], d[2], 2, stride=2), stage(2)
        self.upproj4, self.fuse1, self.block4 = up(d[2], d[3]), fuse(d[3]), stage(3)
        self.upproj5, self.fuse2, self.block5 = up(d[3], d[4]), fuse(d[4]), stage(4)
        self.out = nn.Conv2d(d[4], in_ch, 3, padding=1, padding_mode="reflect")

    def forward(self, image: Tensor) -> Tensor:
        first = self.block1(self.downproj1(image))
        second = self.block2(self.downproj2(first))
        x = self.block3(self.downproj3(second))
        x = self.block4(self.fuse1(torch.cat([self.upproj4(x), second], 1)))
        x = self.block5(self.fuse2(torch.cat([self.upproj5(x), first], 1)))
        return self.out(x) + image
