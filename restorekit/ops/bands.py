"""Work on a picture in bands of rows that stay in the processor's cache.

A chain of small operations on a large picture is bound by memory: every step writes its result to main memory and the
next one reads it back, and fresh memory is slower still. Band after band the chain stays in the cache, and the largest
thing in memory is the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ParamSpec

import torch
from torch import Tensor

__all__ = ["band_rows", "bands", "over_bands", "uncompiled"]

P = ParamSpec("P")

# measured with HOGformer's blocks on a processor with 2 MB of second-level cache
_BAND_BYTES = 3 << 20  # of the widest intermediate
_FEWEST = 8  # rows; with fewer the halo costs more than the cache saves


def band_rows(x: Tensor, *, channels: int) -> int:
    """Return how many rows of a picture to work on at a time.

    All of them where bands would not help: while gradients are recorded (every step is kept anyway) and on graphics
    cards (which want large pieces).

    Args:
        x: ``(B, C, H, W)``.
        channels: Channels of the widest intermediate.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return x.shape[2]
    per_row = x.shape[0] * x.shape[3] * channels * x.element_size()
    return max(_FEWEST, _BAND_BYTES // per_row)


def bands(x: Tensor, *, rows: int, halo: int) -> Iterator[tuple[Tensor, slice]]:
    """Cut ``(B, C, H, W)`` into bands.

    Args:
        x: The picture.
        rows: Rows of a band.
        halo: Further rows above and below it, where there are some.

    Yields:
        The band with its halo, and which of its rows are its own.
    """
    height = x.shape[2]
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first = max(top - halo, 0)
        yield x[:, :, first : min(bottom + halo, height)], slice(top - first, bottom - first)


def over_bands(compute: Callable[[Tensor], Tensor], x: Tensor, *, rows: int, halo: int = 0) -> Tensor:
    """Apply a function that keeps height and width, band by band.

    Args:
        compute: ``(B, C, h, W) -> (B, C', h, W)``; a row of its result may depend on ``halo`` rows above and below.
        x: ``(B, C, H, W)``.
        rows: Rows of a band; the whole picture is one call where it has no more.
        halo: How far the function sees.

    Returns:
        ``(B, C', H, W)``, what ``compute(x)`` is up to rounding, in channels-last where it was cut.
    """
    if rows >= x.shape[2]:
        return compute(x)
    out: Tensor | None = None
    top = 0
    for band, own in bands(x, rows=rows, halo=halo):
        done = compute(band)[:, :, own]
        if out is None:
            shape = (done.shape[0], done.shape[1], x.shape[2], done.shape[3])
            out = torch.empty(shape, dtype=done.dtype, device=done.device, memory_format=torch.channels_last)
        out[:, :, top : top + done.shape[2]] = done
        top += done.shape[2]
    assert out is not None
    return out


def uncompiled(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Return a function that ``torch.compile`` does not look into; for what runs in bands.

    It would unroll the loop into one huge graph; without bands it would write every intermediate of a large picture to
    main memory, and fusing saves less than the cache does. The compiler takes a second to import, so that nothing is
    decorated before it is at work.
    """
    if not torch.compiler.is_compiling():
        return function
    disabled: Callable[P, Tensor] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return disabled
