"""Restore an area in one go or in tiles, and in smaller tiles when the memory turns out to be too small."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from restorekit.errors import UsageError
from restorekit.inference.engine import Engine, Tally
from restorekit.inference.plan import SMALLEST_TILE
from restorekit.ops.tiles import Box, Span, plan_spans, span_weights, tile_length

__all__ = ["Band", "Tiling"]

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed")  # CUDA and MPS, the CPU, cuDNN and cuBLAS


@dataclass(frozen=True)
class Band:
    """Finished rows of an area.

    Attributes:
        top: First row, counted from the area's first, in pixels of the result.
        rows: ``(B, 3, h, w)`` float32, not clamped, over the area's full width.
    """

    top: int
    rows: Tensor

    def strips(self, pixels: int, *, multiple: int = 1) -> Iterator[Band]:
        """Yield the rows again, in bands of about so many pixels at most, whose heights are multiples of something."""
        step = max(1, pixels // self.rows.shape[3] // multiple) * multiple
        for start in range(0, self.rows.shape[2], step):
            yield Band(self.top + start, self.rows[:, :, start : start + step])


@dataclass
class Tiling:
    """Restores areas of a picture (or of several of equal size at once).

    Tiles are blended in a buffer that is one row of tiles high; what no later tile touches leaves it as a ``Band``.
    They are cut in pixels of the picture and blended in pixels of the result, which a network may enlarge.

    Args:
        engine: The network.
        batch: Number of pictures, B.
        read: Return a box of the pictures as ``(B, 3, h, w)`` float32 in [0, 1].
        store: Where results are kept.
        description: ``(B, K)`` of the whole pictures, or ``None``.
        overlap: Least overlap of tiles, in pixels.
        tally: Is told what happened.
        may_halve: Cut further when the memory is not enough.
        wanted: Tell whether anything of a box is needed; what is not stays zero.
        seen: Is told the number of pixels of each tile of the plan that is done.
    """

    engine: Engine
    batch: int
    read: Callable[[Box], Tensor]
    store: torch.device
    description: Tensor | None
    overlap: int
    tally: Tally
    may_halve: bool = True
    wanted: Callable[[Box], bool] = lambda box: True
    seen: Callable[[int], None] = lambda pixels: None
    _limit: int | None = None  # longest side that was not yet too much for the memory

    def bands(self, area: Box, tile: int | None) -> Iterator[Band]:
        """Restore an area.

        Args:
            area: Its left and upper sides lie on the grid of the network's multiple.
            tile: Side of a tile, as ``tile_length`` returns it; ``None``: the area at once.

        Yields:
            Its rows from top to bottom, each once; nothing if nothing is wanted.

        Raises:
            UsageError: The memory does not hold even the smallest tile.
        """
        if tile is not None:
            yield from self._blend(area, tile, self.seen)
        elif self.wanted(area):
            yield Band(0, self._area(area))
            self.seen(area.height * area.width)

    def _blend(self, area: Box, tile: int, seen: Callable[[int], None]) -> Iterator[Band]:
        multiple, scale = self.engine.size.multiple_of, self.engine.scale
        rows, columns = (
            plan_spans(length, tile=tile, overlap=self.overlap, multiple=multiple)
            for length in (area.height, area.width)
        )
        carry = torch.zeros(self.batch, 3, 0, scale * area.width, device=self.store)
        for row, below in zip(rows, [*rows[1:], None], strict=True):
            height, width = scale * (row.last - row.first), scale * area.width
            band = torch.zeros(self.batch, 3, height, width, device=self.store)
            band[:, :, : carry.shape[2]] = carry
            for column in columns:
                part = self._tile(area, row, column)
                if part is not None:
                    band[..., scale * column.first : scale * column.last] += part
                seen(_own(row) * _own(column))
            done = scale * ((area.height if below is None else below.first) - row.first)
            yield Band(scale * row.first, band[:, :, :done])
            carry = band[:, :, done:].clone()

    def _tile(self, area: Box, row: Span, column: Span) -> Tensor | None:
        """Return a tile's weighted share of the result, or ``None`` where nobody wants it."""
        answers = Box(area.top + row.first, area.left + column.first, row.last - row.first, column.last - column.first)
        if not self.wanted(answers):
            return None
        sees = Box(area.top + row.start, area.left + column.start, row.stop - row.start, column.stop - column.start)
        restored = self._area(sees)
        row, column = row.scaled(self.engine.scale), column.scaled(self.engine.scale)
        rows = slice(row.first - row.start, row.last - row.start)
        columns = slice(column.first - column.start, column.last - column.start)
        weights = span_weights(row)[:, None] * span_weights(column)
        return restored[:, :, rows, columns] * weights.to(restored.device)

    def _area(self, area: Box) -> Tensor:
        """Restore an area at once, or in halves where the memory is not enough."""
        longest = max(area.height, area.width)
        limit = self._limit
        if limit is None or longest <= limit:
            try:
                return self.engine.restore(self.read(area), self.description, self.tally).to(self.store)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                if not self.may_halve:
                    raise UsageError(_advice(self.engine.device, longest)) from None
            limit = self._halve(longest)  # outside of the handler: the error keeps the failed pass's tensors alive
        bands = list(self._blend(area, limit, lambda pixels: None))
        return torch.cat([band.rows for band in bands], 2)

    def _halve(self, longest: int) -> int:
        """Return half a side, on the network's grid, and remember it."""
        size = self.engine.size
        limit = tile_length(longest // 2, size.multiple_of, max(size.minimum, SMALLEST_TILE))
        if limit >= longest:
            raise UsageError(_advice(self.engine.device, longest))
        if self.engine.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.engine.device.type == "mps":
            torch.mps.empty_cache()
        self.tally.halvings += 1
        self._limit = limit
        return limit


def _own(span: Span) -> int:
    """Return the pixels that a tile answers for when every pixel is counted once."""
    return span.last - span.first - (span.rise + span.fall) // 2


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        sign in str(error).lower() for sign in _OUT_OF_MEMORY
    )


def _advice(device: torch.device, side: int) -> str:
    return (
        f"the memory of {device} is not enough for a side of {side} pixels at a time; let the picture be tiled, "
        "free some memory, or run on another device"
    )
