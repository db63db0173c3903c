"""How cards of guided networks say what depth counts as."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from restorekit.errors import ModelError
from restorekit.hub import UNMEASURED, Card, read_card, write_card
from restorekit.hub.card import DepthRule
from restorekit.hub.card_page import render

ZOO = Path(__file__).resolve().parents[3] / "model_zoo"
CARD = Card(
    tag="dornet-t.one-v1",
    family="dornet",
    variant="dornet-t",
    task="guided",
    summary="For tests.",
    source="made here",
    licence_code="Apache-2.0",
    licence_weights="Apache-2.0",
    data="nothing",
    inference=UNMEASURED,
    depth=DepthRule(guide="stretched", full_scale_m=5.0),
)


@pytest.mark.parametrize("rule", [CARD.depth, DepthRule(guide="plain", scale=4), None])
def test_a_rule_that_was_written_is_read_as_it_was(tmp_path: Path, rule: DepthRule | None) -> None:
    card = replace(CARD, depth=rule)
    write_card(card, tmp_path / "card.toml")
    assert read_card(tmp_path / "card.toml") == card


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("full_scale_m = 5.0", "full_scale_m = 0", "full_scale_m is a positive number of metres"),
        ("full_scale_m = 5.0", "full_scale_m = nan", "full_scale_m is a positive number of metres"),
        ("full_scale_m = 5.0", "scale = 1", "scale a whole number from 2 on"),
        ('"stretched"', '"grey"', "guide is 'grey'; it must be one of plain, stretched"),
        ("full_scale_m", "full_scale", "unknown key 'full_scale'; did you mean 'full_scale_m'"),
        ('task = "guided"', 'task = "restore"', r"\[depth\] is for guided networks, and the task is 'restore'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "card.toml"
    write_card(CARD, path)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        read_card(path)


def test_the_page_says_how_depth_counts_and_shows_a_guide() -> None:
    page = render(CARD, None)
    assert "| depth counts | 5 m as 1 |" in page
    assert "| made for | real sensors |" in page
    assert "restorekit restore depth.png --guide photo.jpg --model dornet-t.one-v1" in page


def test_every_card_of_a_guided_network_has_a_rule_and_no_other() -> None:
    cards = [read_card(path) for path in ZOO.glob("*/*/card.toml")]
    assert {card.tag for card in cards if card.depth is not None} == {c.tag for c in cards if c.task == "guided"}
    assert any(card.depth is not None and card.depth.full_scale_m == 5 for card in cards)
