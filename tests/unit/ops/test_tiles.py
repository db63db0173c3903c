from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from restorekit.ops.tiles import Span, plan_spans, span_weights, tile_length

LENGTHS = st.integers(1, 700)
TILES = st.integers(1, 260)
OVERLAPS = st.integers(0, 140)
MULTIPLES = st.sampled_from([1, 2, 8, 16, 24, 64])


def spans(length: int, tile: int, overlap: int, multiple: int) -> tuple[int, list[Span]]:
    side = tile_length(tile, multiple, 1)
    return side, plan_spans(length, tile=side, overlap=overlap, multiple=multiple)


@given(LENGTHS, TILES, OVERLAPS, MULTIPLES)
def test_weights_of_all_tiles_add_up_to_one(length: int, tile: int, overlap: int, multiple: int) -> None:
    _, plan = spans(length, tile, overlap, multiple)
    total = torch.zeros(length)
    for span in plan:
        total[span.first : span.last] += span_weights(span)
    assert (total - 1).abs().max() < 1e-6


@given(LENGTHS, TILES, OVERLAPS, MULTIPLES)
def test_tiles_lie_on_the_grid_of_the_network_and_see_what_they_answer_for(
    length: int, tile: int, overlap: int, multiple: int
) -> None:
    side, plan = spans(length, tile, overlap, multiple)
    assert plan[0].start == 0
    assert plan[-1].stop == length
    for span in plan:
        assert span.start % multiple == 0
        assert 0 <= span.start <= span.first < span.last <= span.stop <= length
        assert span.stop - span.start <= side
    lengths = [span.stop - span.start for span in plan]
    assert len(set(lengths[:-1])) <= 1
    assert 0 <= lengths[0] - lengths[-1] < multiple


@given(LENGTHS, TILES, OVERLAPS, MULTIPLES)
def test_only_neighbours_are_blended(length: int, tile: int, overlap: int, multiple: int) -> None:
    _, plan = spans(length, tile, overlap, multiple)
    for before, after in pairwise(plan):
        assert before.last - after.first == before.fall == after.rise
        assert before.first + before.rise <= before.last - before.fall


@given(st.integers(200, 3000), st.integers(64, 260), st.sampled_from([1, 8]))
def test_overlap_is_kept_with_a_margin_that_is_thrown_away(length: int, tile: int, multiple: int) -> None:
    _, plan = spans(length, tile, 32, multiple)
    for before, after in pairwise(plan):
        assert before.stop - after.start >= 32
        assert after.rise == 16
        assert before.stop - before.last >= 8
        assert after.first - after.start >= 8


def test_weights_are_smooth() -> None:
    left, right = plan_spans(192, tile=128, overlap=64)
    assert (left.rise, left.fall, right.rise, right.fall) == (0, 32, 32, 0)
    weights = span_weights(right)
    steps = weights.diff()
    assert (steps >= 0).all()
    assert steps.max() < 0.05  # pi / 2 / 32: no jump
    assert weights[0] < 0.01


def test_a_tile_that_is_large_enough_is_the_only_one() -> None:
    assert plan_spans(64, tile=64, overlap=32, multiple=8) == [Span(start=0, stop=64, first=0, last=64, rise=0, fall=0)]
    assert len(plan_spans(61, tile=64, overlap=32, multiple=8)) == 1
    assert len(plan_spans(65, tile=64, overlap=32, multiple=8)) == 2


@given(LENGTHS, st.sampled_from([64, 128]), st.sampled_from([0, 16, 32]), st.sampled_from([1, 8]))
def test_no_tile_is_there_for_nothing(length: int, tile: int, overlap: int, multiple: int) -> None:
    plan = plan_spans(length, tile=tile, overlap=overlap, multiple=multiple)
    count = len(plan)
    assert count == 1 or (count - 1) * tile - (count - 2) * overlap < length  # one less would not cover it
    seen = sum(span.stop - span.start for span in plan)
    assert count == 1 or seen <= length + (count - 1) * overlap + count * multiple  # and none is longer than it must be
