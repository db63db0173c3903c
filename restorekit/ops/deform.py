"""Modulated deformable 3x3 convolution (Zhu et al., "Deformable ConvNets v2", CVPR 2019), in plain PyTorch.

Every pixel reads its nine taps beside their usual places, each weighted by a mask. Here the taps are gathered into
columns, which one matrix product turns into the result.

Shapes: B pictures, C channels, 9 taps t, row by row. A *shift* is ``(B, 27, H, W)``: dy and dx of each tap in turn
(18 channels), then the masks before their sigmoid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TAPS", "gather_columns", "sample_columns", "to_table"]

TAPS = 9
_SIDE = 3


def sample_columns(x: Tensor, shift: Tensor, *, top: int = 0) -> Tensor:
    """Read the taps of a band of rows, bilinearly, zeros outside the picture; differentiable, on any device.

    Args:
        x: ``(B, C, H, W)``.
        shift: ``(B, 27, h, W)`` of the band, at least float32.
        top: First row of the band.

    Returns:
        ``(B, C * 9, h * W)``: channel by channel, its taps.
    """
    batch, channels, height, width = x.shape
    count = shift.shape[2]
    tap = torch.arange(TAPS, device=x.device).view(TAPS, 1, 1)
    rows = torch.arange(top, top + count, device=x.device).view(-1, 1) + (tap // _SIDE - 1) + shift[:, 0 : 2 * TAPS : 2]
    columns = torch.arange(width, device=x.device) + (tap % _SIDE - 1) + shift[:, 1 : 2 * TAPS : 2]
    # without align_corners, which knows no places but one in a picture of one row
    places = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1)
    grid = places.view(batch, TAPS * count, width, 2).to(x.dtype)
    taps = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    mask = torch.sigmoid(shift[:, 2 * TAPS :]).to(x.dtype)
    taps = taps.view(batch, channels, TAPS, count, width)
    weighed = taps * mask[:, None] if torch.is_grad_enabled() else taps.mul_(mask[:, None])
    return weighed.view(batch, channels * TAPS, count * width)


def to_table(x: Tensor) -> Tensor:
    """Return the pixels of one picture ``(1, C, H, W)`` as rows, ``((H + 3) (W + 3), C)``.

    There are zeros around it: one row and column before, two behind, so that a tap that lies outside reads zeros and
    needs no care.
    """
    return F.pad(x, (1, 2, 1, 2)).permute(0, 2, 3, 1).reshape(-1, x.shape[1]).contiguous()


def gather_columns(table: Tensor, shift: Tensor, *, top: int, height: int) -> Tensor:
    """Read the taps of a band of rows; on a processor, without gradient, what ``sample_columns`` reads.

    A tap is the sum of four rows of a table, each with its weight: what an embedding bag is made for.

    Args:
        table: ``((H + 3) (W + 3), C)`` from ``to_table``.
        shift: ``(1, 27, h, W)`` of the band, float32 or float64, **dy of all taps, then dx of all, then the masks**.
        top: First row of the band.
        height: H.

    Returns:
        ``(h * W, 9 * C)``: tap by tap, its channels.
    """
    rows, width = shift.shape[2:]
    stride = width + 3
    dy, dx, mask = shift[0].permute(1, 2, 0).chunk(3, 2)  # each (h, W, 9)
    tap = torch.arange(TAPS, device=shift.device)
    y = (dy + (torch.arange(top, top + rows, device=shift.device).view(-1, 1, 1) + (tap // _SIDE - 1))).clamp_(
        -1, height
    )
    x = (dx + (torch.arange(width, device=shift.device).view(-1, 1) + (tap % _SIDE - 1))).clamp_(-1, width)
    above, left = y.floor(), x.floor()
    below_share, right_share = y.sub_(above), x.sub_(left)
    # what is no number is no place either: its weight says so, and its index must lie in the table
    corner = (left.int().add_(above.int(), alpha=stride) + (stride + 1)).clamp_(0, table.shape[0] - stride - 2)
    sources = torch.empty((*corner.shape, 4), dtype=corner.dtype, device=corner.device)
    for place, step in enumerate((0, 1, stride, stride + 1)):
        torch.add(corner, step, out=sources[..., place])
    mask = torch.sigmoid(mask.contiguous())  # of a slice it takes six times as long
    lower = mask * below_share
    upper = mask.sub_(lower)
    shares = torch.empty((*corner.shape, 4), dtype=table.dtype, device=corner.device)
    for place, share in ((0, upper), (2, lower)):
        right = torch.mul(share, right_share, out=shares[..., place + 1])
        torch.sub(share, right, out=shares[..., place])
    read = F.embedding_bag(sources.view(-1, 4), table, per_sample_weights=shares.view(-1, 4), mode="sum")
    return read.view(rows * width, -1)
