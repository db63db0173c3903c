"""Weights and their cards: from a name to a network that is ready to run."""

from __future__ import annotations

from restorekit.hub.card import UNMEASURED, Card, InferenceRule, read_card, write_card
from restorekit.hub.card_page import show_weights
from restorekit.hub.checkpoint import Checkpoint, read_checkpoint
from restorekit.hub.convert import convert
from restorekit.hub.importing import Imported, import_weights
from restorekit.hub.load import DEFAULT_MODEL, Loaded, create_model, list_models, load, resolve
from restorekit.hub.pulling import Pulled, pull
from restorekit.hub.release import release
from restorekit.hub.scores import Scores, SetScore
from restorekit.hub.store import cache_folder, list_cards

__all__ = [
    "DEFAULT_MODEL",
    "UNMEASURED",
    "Card",
    "Checkpoint",
    "Imported",
    "InferenceRule",
    "Loaded",
    "Pulled",
    "Scores",
    "SetScore",
    "cache_folder",
    "convert",
    "create_model",
    "import_weights",
    "list_cards",
    "list_models",
    "load",
    "pull",
    "read_card",
    "read_checkpoint",
    "release",
    "resolve",
    "show_weights",
    "write_card",
]
