"""What the cards in the zoo say is true."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import pytest

from restorekit.hub import Card, load, read_card
from restorekit.hub._files import sha256_of
from restorekit.hub.card_page import PAGE_FILE, render_folder
from restorekit.hub.load import DEFAULT_MODEL
from restorekit.hub.scores import Scores, read_scores
from restorekit.models import MODELS
from restorekit.resources import records

ZOO = records("model_zoo")
FOLDERS = sorted(path.parent for path in ZOO.glob("*/*/card.toml"))
BUNDLED = [folder for folder in FOLDERS if list(folder.glob("*.safetensors"))]
MOST_BYTES = 30e6
CLEAN_DB = 38.0
HARM_DB = 0.1
DEFAULT_TILED_DB = 45.0


def name(folder: Path) -> str:
    return folder.name


every_card = pytest.mark.parametrize("folder", FOLDERS, ids=name)
every_bundled = pytest.mark.parametrize("folder", BUNDLED, ids=name)


def card_of(folder: Path) -> Card:
    return read_card(folder / "card.toml")


def scores_of(folder: Path) -> Scores:
    return read_scores(folder / "scores.json")


@every_card
def test_a_card_is_of_a_network_that_there_is(folder: Path) -> None:
    card = card_of(folder)
    assert (card.family, card.tag) == (folder.parent.name, folder.name)
    assert card.tag.startswith(card.family)
    spec = MODELS.get(card.family)
    assert spec.name == card.family
    assert card.variant in spec.variants
    assert not card.variant.endswith("-test")
    assert card.task == spec.task
    assert card.licence_code == spec.licence


@every_card
def test_a_card_says_something_in_every_field(folder: Path) -> None:
    card = card_of(folder)
    for field in ("summary", "source", "licence_code", "licence_weights", "data"):
        assert len(getattr(card, field)) >= 3, field
    assert card.summary.endswith(".")
    tomllib.loads((folder / "card.toml").read_text(encoding="utf-8"))


@every_card
def test_the_page_is_what_card_and_scores_say(folder: Path) -> None:
    page = folder / PAGE_FILE
    assert page.is_file(), "run 'make generate'"
    assert page.read_text(encoding="utf-8") == render_folder(folder), "run 'make generate'"


@every_card
def test_a_folder_holds_nothing_else(folder: Path) -> None:
    usual = {"card.toml", "README.md", "scores.json", card_of(folder).file}
    others = {path.name for path in folder.iterdir()} - usual
    assert not {other for other in others if not other.startswith("train")}, "records of training start with 'train'"


@every_card
def test_weights_that_are_not_here_say_where_they_are(folder: Path) -> None:
    card = card_of(folder)
    if folder in BUNDLED:
        assert card.sha256 is not None
    else:
        assert (card.sha256, card.bytes, card.default) == (None, None, False)
        assert card.source.startswith("https://")


@pytest.mark.parametrize("family", sorted({folder.parent.name for folder in BUNDLED}))
def test_one_set_of_weights_of_each_family_is_the_default(family: str) -> None:
    defaults = [folder.name for folder in FOLDERS if folder.parent.name == family and card_of(folder).default]
    assert len(defaults) == 1, f"exactly one card of {family} has 'default = true'; now: {defaults}"
    assert load(family).tag == defaults[0]


def test_auto_has_weights_as_soon_as_any_are_bundled() -> None:
    families = {folder.parent.name for folder in BUNDLED}
    assert not families or DEFAULT_MODEL in families


def test_bundled_weights_stay_small() -> None:
    assert sum(path.stat().st_size for folder in BUNDLED for path in folder.glob("*.safetensors")) <= MOST_BYTES


# --- weights of ours --------------------------------------------------------------------------------------------------


@every_bundled
def test_the_file_is_the_one_of_the_card_and_fits_strictly(folder: Path) -> None:
    card = card_of(folder)
    path = folder / card.file
    assert (path.stat().st_size, sha256_of(path)) == (card.bytes, card.sha256)
    loaded = load(card.tag)
    assert (loaded.tag, loaded.variant, loaded.notes) == (card.tag, card.variant, [])


@every_bundled
def test_costs_were_measured(folder: Path) -> None:
    rule = card_of(folder).inference
    assert rule.seconds_per_megapixel is not None
    assert rule.whole_vs_tiled_db is not None
    if folder.parent.name == DEFAULT_MODEL:
        assert rule.whole_vs_tiled_db >= DEFAULT_TILED_DB


@every_bundled
def test_scores_come_with_their_commands(folder: Path) -> None:
    scores = scores_of(folder)
    assert scores.commands
    assert all(scores.commands)
    assert scores.commit
    assert scores.device
    assert scores.torch
    assert len({row.set for row in scores.rows}) == len(scores.rows) > 0
    assert all(row.pictures > 0 and math.isfinite(row.psnr_output) for row in scores.rows)


@every_bundled
def test_no_harm_is_done(folder: Path) -> None:
    rows = scores_of(folder).rows
    clean = [row for row in rows if row.psnr_input is None]
    assert clean, "score the clean pictures, too"
    for row in clean:
        assert row.psnr_output >= CLEAN_DB, row
    for row in rows:
        if row.psnr_input is not None:
            assert row.psnr_output >= row.psnr_input - HARM_DB, row
