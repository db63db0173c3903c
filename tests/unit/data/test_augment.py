"""Flips and turns of pairs."""

from __future__ import annotations

from collections import Counter

import torch

from restorekit.data.augment import flip_and_turn, flip_and_turn_at_random


def test_one_change_at_a_time() -> None:
    image = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert torch.equal(flip_and_turn(image), image)
    assert flip_and_turn(image, vertical_flip=True).tolist() == [[4, 5, 6], [1, 2, 3]]
    assert flip_and_turn(image, horizontal_flip=True).tolist() == [[3, 2, 1], [6, 5, 4]]
    assert flip_and_turn(image, quarter_turn_ccw=True).tolist() == [[3, 6], [2, 5], [1, 4]]
    assert flip_and_turn(image, quarter_turn_cw=True).tolist() == [[4, 1], [5, 2], [6, 3]]
    assert torch.equal(flip_and_turn(image, quarter_turn_ccw=True, quarter_turn_cw=True), image)


def test_both_pictures_of_a_pair_change_alike_and_turns_are_fair() -> None:
    degraded = torch.arange(6).reshape(1, 2, 3)
    generator, seen = torch.Generator().manual_seed(0), Counter[bool]()
    orientations = set()
    for _ in range(400):
        first, second = flip_and_turn_at_random(degraded, degraded + 10, generator)
        assert torch.equal(first + 10, second)
        seen[first.shape == degraded.shape] += 1
        orientations.add(tuple(first.flatten().tolist()))
    assert len(orientations) == 8
    assert 150 < seen[True] < 250
