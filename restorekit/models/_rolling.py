"""Blocks of 1x1 and depth-wise convolutions in bands of rows, for inference on a processor.

Norm, projection, depth-wise convolution and gate make eight or more passes over tensors that are up to five times as
wide as the picture they belong to. In bands of rows they stay in the processor's cache (see ``ops.bands``). A band's
depth-wise convolution sees one row above and below it; those are kept from the neighbours, so that nothing is computed
twice.

Shapes: a picture is ``(H, W, C)`` here, a band of n rows is ``(n W, C)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit.ops.bands import band_rows
from restorekit.ops.rows import to_rows

__all__ = ["add_product", "even_rows", "filtered_bands", "is_traced", "row_bands", "runs_in_bands", "weights_of"]


def runs_in_bands(module: nn.Module, x: Tensor) -> bool:
    """Tell whether a module may work on ``(B, C, H, W)`` in bands: for inference, on a processor, and not for export.

    Compiled code takes whole pictures where they are small, and leaves bands alone (see ``ops.bands.uncompiled``).
    """
    if module.training or torch.is_grad_enabled() or x.device.type != "cpu":
        return False
    if x.dtype not in (torch.float32, torch.float64) or is_traced():
        return False
    return not torch.compiler.is_compiling() or not torch.compiler.is_exporting()


def is_traced() -> bool:
    """Tell whether calls are being recorded for another program, which runs them at any size."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def even_rows(x: Tensor, *, channels: int) -> int:
    """Return how many rows of ``(B, C, H, W)`` a band has, so that all have about as many.

    Args:
        x: The pictures.
        channels: Channels of the widest intermediate.
    """
    height = x.shape[2]
    count = -(-height // band_rows(x[:1], channels=channels))
    return -(-height // count)


def weights_of(conv: nn.Conv2d) -> tuple[Tensor, Tensor | None]:
    """Return weight ``(C', C)`` and bias of a 1x1 convolution."""
    return conv.weight.flatten(1), conv.bias


def row_bands(height: int, rows: int) -> Iterator[tuple[int, int]]:
    """Yield first and behind-last row of every band."""
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def filtered_bands(
    band_at: Callable[[int, int], Tensor],
    size: tuple[int, int],
    enter: tuple[Tensor, Tensor | None],
    kernel: tuple[Tensor, Tensor | None],
    *,
    rows: int,
) -> Iterator[tuple[int, int, Tensor]]:
    """Project bands of a picture and filter the result with a depth-wise 3x3 convolution.

    Args:
        band_at: Returns the rows from the first to before the second as ``(n W, C)``; is called from top to bottom.
        size: (H, W).
        enter: Weight ``(C', C)`` and bias of the projection.
        kernel: Weight ``(C', 1, 3, 3)`` and bias of the convolution.
        rows: Rows of a band.

    Yields:
        First and behind-last row, and those rows of the result, ``((last - first) W, C')``. They lag behind the bands
        that were asked for by one row.
    """
    (height, width), channels = size, enter[0].shape[0]
    window: Tensor | None = None
    done, held = 0, 1  # rows that were given out, and that lie in the window; the first is the zeros above the picture
    for top, bottom in row_bands(height, rows):
        band = band_at(top, bottom)
        if window is None:
            window = _empty(band, (1, min(rows, height) + 3, width, channels))
            window[:, 0].zero_()
        _project(band, *enter, out=window[0, held : held + bottom - top])
        held += bottom - top
        if bottom == height:
            window[:, held].zero_()
            held += 1
        if held < 3:
            continue
        picture = window[:, :held].permute(0, 3, 1, 2)
        yield done, done + held - 2, to_rows(F.conv2d(picture, *kernel, padding=(0, 1), groups=channels))[0]
        done += held - 2
        for row in (0, 1):
            window[:, row] = window[:, held - 2 + row]
        held = 2


def _empty(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return memory of the type that a product has."""
    autocast = torch.is_autocast_enabled("cpu")
    return torch.empty(shape, dtype=torch.get_autocast_dtype("cpu") if autocast else like.dtype)


def _project(band: Tensor, weight: Tensor, bias: Tensor | None, *, out: Tensor) -> None:
    """Write the product of ``(n, C)`` and a weight ``(C', C)`` to ``out``, which has as many numbers as it."""
    if torch.is_autocast_enabled("cpu"):  # it does not know products with a place to go
        out.copy_(F.linear(band, weight, bias).view(out.shape))
        return
    flat = out.view(-1, weight.shape[0])
    torch.mm(band, weight.t(), out=flat)
    if bias is not None:
        flat.add_(bias)


def add_product(out: Tensor, band: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Add the product of ``(n, C)`` and a weight ``(C', C)`` to ``out``, ``(n, C')``."""
    if torch.is_autocast_enabled("cpu"):
        out.add_(F.linear(band, weight, bias))
        return
    out.addmm_(band, weight.t())
    if bias is not None:
        out.add_(bias)
