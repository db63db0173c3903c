"""Where tiles lie and how they are blended: plain arithmetic along one axis, used once for rows and once for columns.

A tile sees more than it answers for. Where two neighbours overlap, the outer quarter of the overlap is seen by a tile
and thrown away, because a network knows too little of what lies beyond it; over the middle half the result passes
smoothly from one tile to the other. The weights of all tiles add up to one everywhere (a partition of unity), so a
picture on which the tiles agree comes out unchanged.

Tiles start at multiples of the network's ``multiple_of`` only: a network that un-shuffles pixels or halves its
resolution gives another answer when its grid is shifted.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Box", "Span", "plan_spans", "span_weights", "tile_length"]


class Box(NamedTuple):
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """First row below."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """First column to the right."""
        return self.left + self.width

    def scaled(self, scale: int) -> Box:
        """Return the same rectangle of the picture enlarged."""
        return Box(scale * self.top, scale * self.left, scale * self.height, scale * self.width)


@dataclass(frozen=True, kw_only=True)
class Span:
    """One tile along one axis, in pixels from the start of the axis.

    Attributes:
        start: First pixel that the network sees.
        stop: End of what it sees.
        first: First pixel with a weight above zero.
        last: End of the pixels with a weight above zero.
        rise: Pixels from ``first`` over which the weight grows to one.
        fall: Pixels before ``last`` over which it falls to zero.
    """

    start: int
    stop: int
    first: int
    last: int
    rise: int
    fall: int

    def scaled(self, scale: int) -> Span:
        """Return the same tile of the axis enlarged."""
        return Span(
            start=scale * self.start,
            stop=scale * self.stop,
            first=scale * self.first,
            last=scale * self.last,
            rise=scale * self.rise,
            fall=scale * self.fall,
        )


def tile_length(tile: int, multiple: int, minimum: int) -> int:
    """Return the tile side that is used when ``tile`` is wished: a multiple, with room for an overlap.

    Args:
        tile: Wished side, in pixels.
        multiple: The network's ``multiple_of``.
        minimum: The network's smallest side.

    Returns:
        A multiple of ``multiple``, at least ``2 * multiple`` and ``minimum``.
    """
    return math.ceil(max(tile, 2 * multiple, minimum) / multiple) * multiple


def plan_spans(length: int, *, tile: int, overlap: int, multiple: int = 1) -> list[Span]:
    """Cover an axis with tiles of one length.

    There are as few as their length allows; then they are made as short as their number allows, because what
    neighbours share is computed twice, and spread evenly.

    Args:
        length: Pixels to cover, at least 1.
        tile: Greatest length of a tile, in pixels, as ``tile_length`` returns it.
        overlap: Least overlap of neighbours, in pixels; at most half of ``tile`` is demanded.
        multiple: Tiles start at multiples of this.

    Returns:
        The tiles in order, all of one length, but the last, which ends with the axis, may be shorter by less than
        ``multiple``. One tile if ``length`` is not longer than ``tile``.
    """
    if length <= tile:
        return [Span(start=0, stop=length, first=0, last=length, rise=0, fall=0)]
    overlap = min(overlap, tile // 2)
    whole, most = math.ceil(length / multiple), tile // multiple  # from here on in units of ``multiple``
    shared = most - max((tile - overlap) // multiple, 1)
    more = math.ceil((whole - most) / (most - shared))  # tiles beyond the first
    each = math.ceil((whole + more * shared) / (more + 1))
    starts = [multiple * ((whole - each) * i // more) for i in range(more + 1)]
    tile, ramp = each * multiple, min(overlap, shared * multiple) // 4 * 2
    turns = [(a + tile + b) // 2 for a, b in itertools.pairwise(starts)]  # centres of the overlaps
    last = len(starts) - 1
    return [
        Span(
            start=start,
            stop=min(start + tile, length),
            first=turns[i - 1] - ramp // 2 if i else 0,
            last=turns[i] + ramp // 2 if i < last else length,
            rise=ramp if i else 0,
            fall=ramp if i < last else 0,
        )
        for i, start in enumerate(starts)
    ]


def span_weights(span: Span) -> Tensor:
    """Return the weights of a tile between ``span.first`` and ``span.last``.

    Where neighbours overlap their weights are ``sin^2`` and ``1 - sin^2``, which add up to one.

    Args:
        span: From ``plan_spans``.

    Returns:
        ``(span.last - span.first,)`` float32 in (0, 1].
    """
    weights = torch.ones(span.last - span.first)
    if span.rise:
        weights[: span.rise] = _rising(span.rise)
    if span.fall:
        weights[-span.fall :] = 1 - _rising(span.fall)
    return weights


def _rising(count: int) -> Tensor:
    return torch.sin((torch.arange(count) + 0.5) * (math.pi / 2 / count)) ** 2
