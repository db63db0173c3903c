"""How a picture is cut so that it fits the memory: the whole of it if possible, else tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from restorekit.errors import UsageError
from restorekit.hub import InferenceRule
from restorekit.models import SizeRule
from restorekit.ops.pad import padded_length
from restorekit.ops.tiles import plan_spans, tile_length

__all__ = ["SMALLEST_TILE", "TILES", "Budget", "Plan", "TileOption", "plan_picture"]

TileOption = Literal["auto", "off"] | int

SMALLEST_TILE = 64
"""Side below which no tile is cut of its own accord: the network would see next to nothing around a pixel."""

TILES = (2048, 1536, 1024, 768, 512, 384, 256, 192, 128, 96, SMALLEST_TILE)
"""Sides that are chosen from. Larger tiles would save no work worth their memory; and with few sides to choose from, a
little more or less free memory does not change the plan, and with it the last bits of the picture."""

_KEPT = 2**25  # bytes; measured with glibc: from tile to tile the memory grows by this and not further
_FLOAT_RGB = 12  # bytes of a pixel in float32


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Memory that one restoration may take.

    Attributes:
        bytes: The budget.
        given: The caller named it (it is kept or refused), as opposed to a share of what is free (it is a guess).
        on_cpu: It is the memory in which the finished picture lies, too.
    """

    bytes: int
    given: bool
    on_cpu: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one picture is restored.

    Attributes:
        height: Rows.
        width: Columns.
        tile: Greatest side of a tile in pixels; ``None``: the whole picture at once.
        overlap: Least overlap of neighbouring tiles, in pixels.
        tiles: Number of tiles.
        bytes: Expected peak, in bytes, above the loaded model and the given picture.
        seconds: Expected time, from the model's card; ``None`` where it was not measured for this device.
    """

    height: int
    width: int
    tile: int | None
    overlap: int
    tiles: int
    bytes: int
    seconds: float | None

    def __str__(self) -> str:
        """Say it in one line."""
        if self.tile is None:
            how = "whole picture"
        else:
            how = f"{self.tiles} tiles of {self.tile}x{self.tile} with {self.overlap} pixels overlap"
        time = "" if self.seconds is None else f", about {self.seconds:.1f} s"
        return f"{self.width}x{self.height}: {how}, about {self.bytes / 2**20:.0f} MiB{time}"


@dataclass(frozen=True, kw_only=True)
class _Costs:
    """Arithmetic of one picture's memory and time."""

    height: int
    width: int
    size: SizeRule
    rule: InferenceRule
    ensemble: bool
    pixel_bytes: int
    on_cpu: bool
    scale: int

    def _padded(self, length: int) -> int:
        return padded_length(length, self.size.multiple_of, self.size.minimum)

    def whole(self) -> int:
        return self._network(self._padded(self.height) * self._padded(self.width)) + self._enlarged()

    def tiled(self, tile: int) -> int:
        pixels = min(tile, self._padded(self.height)) * min(tile, self._padded(self.width))
        if not self.on_cpu:
            return self._network(pixels)
        # the band of tiles that is being blended, with what is carried over to the next; the finished picture; and
        # what the allocator keeps of earlier tiles
        network, band = self._network(pixels), 2 * _FLOAT_RGB * tile * self.width * self.scale**2
        picture = self._enlarged() or self.pixel_bytes * self.height * self.width
        return network + band + picture + min(_KEPT, 2 * network)

    def _enlarged(self) -> int:
        """Return the bytes of an enlarged picture, plain and restored; 0 where nothing is enlarged."""
        larger = self.scale > 1 and self.on_cpu
        return 2 * self.pixel_bytes * self.height * self.width * self.scale**2 if larger else 0

    def _network(self, pixels: int) -> int:
        each = self.rule.bytes_per_pixel + (2 * _FLOAT_RGB * self.scale**2 if self.ensemble else 0)
        return int(self.rule.base_bytes + each * pixels)

    def seconds(self, pixels: int) -> float | None:
        if self.rule.seconds_per_megapixel is None or not self.on_cpu:
            return None
        return self.rule.seconds_per_megapixel * pixels / 1e6 * (8 if self.ensemble else 1)

    def plan(self, tile: int | None) -> Plan:
        if tile is None:
            pixels = self._padded(self.height) * self._padded(self.width)
            overlap, tiles, size = 0, 1, self.whole()
        else:
            overlap = min(self.rule.overlap, tile // 2)
            rows, columns = (
                plan_spans(length, tile=tile, overlap=overlap, multiple=self.size.multiple_of)
                for length in (self.height, self.width)
            )
            tiles = len(rows) * len(columns)
            pixels = sum(self._padded(s.stop - s.start) for s in rows) * sum(
                self._padded(s.stop - s.start) for s in columns
            )
            size = self.tiled(tile)
        return Plan(
            height=self.height,
            width=self.width,
            tile=tile,
            overlap=overlap,
            tiles=tiles,
            bytes=size,
            seconds=self.seconds(pixels),
        )


def plan_picture(
    height: int,
    width: int,
    *,
    size: SizeRule,
    rule: InferenceRule,
    tile: TileOption,
    budget: Budget,
    ensemble: bool,
    pixel_bytes: int = 3,
    scale: int = 1,
) -> Plan:
    """Decide how a picture is cut.

    Args:
        height: Rows of the picture.
        width: Columns of the picture.
        size: Sizes that the network takes.
        rule: What was measured of the model.
        tile: ``auto``: whole if it fits the budget, else the largest tiles that fit; ``off``: whole; a number: tiles
            of that side wherever the picture is larger.
        budget: Memory that there is.
        ensemble: The picture is restored in eight orientations.
        pixel_bytes: Bytes of one of its pixels.
        scale: How many times larger the result is.

    Returns:
        The plan.

    Raises:
        UsageError: The caller's budget is too small, even for the smallest tile.
    """
    costs = _Costs(
        height=height,
        width=width,
        size=size,
        rule=rule,
        ensemble=ensemble,
        pixel_bytes=pixel_bytes,
        on_cpu=budget.on_cpu,
        scale=scale,
    )
    if tile == "auto":
        side = None if costs.whole() <= budget.bytes else _largest_tile(costs, budget)
        return costs.plan(side)
    plan = costs.plan(None if tile == "off" else _wished_tile(costs, tile))
    if budget.given and plan.bytes > budget.bytes:
        how = "as a whole" if plan.tile is None else f"in tiles of {plan.tile}x{plan.tile}"
        raise UsageError(
            f"a picture of {width}x{height} needs about {plan.bytes / 2**20:.0f} MiB {how}, more than the "
            f"{budget.bytes / 2**20:.0f} MiB that it may take; use tile auto or allow more memory"
        )
    return plan


def _wished_tile(costs: _Costs, tile: int) -> int | None:
    side = tile_length(tile, costs.size.multiple_of, costs.size.minimum)
    return side if max(costs.height, costs.width) > side else None


def _largest_tile(costs: _Costs, budget: Budget) -> int:
    multiple, minimum = costs.size.multiple_of, costs.size.minimum
    sides = [tile_length(side, multiple, minimum) for side in TILES]
    longest, least = max(costs.height, costs.width), sides[-1]
    fitting = next((side for side in sides if side < longest and costs.tiled(side) <= budget.bytes), None)
    if fitting is not None:
        return fitting
    if budget.given or budget.on_cpu:
        raise UsageError(
            f"a picture of {costs.width}x{costs.height} needs about {costs.tiled(least) / 2**20:.0f} MiB even in tiles "
            f"of {least}x{least}, more than the {budget.bytes / 2**20:.0f} MiB that it may take; allow more memory"
        )
    return least  # a card's free memory is a guess; what really does not fit is cut further when it is met
