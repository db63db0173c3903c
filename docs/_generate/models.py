"""The table of weights in the README, docs/models.md, and the page beside each card."""

from __future__ import annotations

import re
from pathlib import Path

from restorekit.hub.card import CARD_FILE, Card, read_card
from restorekit.hub.card_page import PAGE_FILE, render_folder
from restorekit.hub.convert import count_parameters
from restorekit.models import MODELS

_BLOCK = re.compile(r"(<!-- models: .*? -->\n).*?(<!-- /models -->)", re.DOTALL)
_HEAD = """# Networks

Written by `make generate` from the registered networks and the cards in `model_zoo/`.
"""


def pages(root: Path) -> dict[Path, str]:
    """Return the generated files and their texts."""
    zoo = root / "model_zoo"
    folders = sorted(path.parent for path in zoo.glob(f"*/*/{CARD_FILE}"))
    cards = [read_card(folder / CARD_FILE) for folder in folders]
    readme = root / "README.md"
    texts = {folder / PAGE_FILE: render_folder(folder) for folder in folders}
    texts[readme] = _BLOCK.sub(rf"\g<1>{_table(cards)}\g<2>", readme.read_text(encoding="utf-8"))
    texts[root / "docs" / "models.md"] = _HEAD + "".join(_section(name, cards) for name in MODELS.names())
    return texts


def _link(card: Card, base: str) -> str:
    return f"[`{card.tag}`]({base}model_zoo/{card.family}/{card.tag}/{PAGE_FILE})"


def _table(cards: list[Card]) -> str:
    head = "| weights | what for | parameters | licence of code, weights | file |\n|---|---|---:|---|---|\n"
    return head + "".join(_row(card) for card in sorted(cards, key=lambda card: (card.bytes is None, card.tag)))


def _row(card: Card) -> str:
    file = "from the authors" if card.bytes is None else f"bundled, {card.bytes / 1e6:.1f} MB"
    parameters = f"{count_parameters(card.family, card.variant) / 1e6:.1f} M"
    licences = f"{card.licence_code}, {card.licence_weights}"
    return f"| {_link(card, '')} | {card.summary} | {parameters} | {licences} | {file} |\n"


def _section(name: str, cards: list[Card]) -> str:
    spec = MODELS.get(name)
    variants = ", ".join(f"`{variant}`" for variant in spec.variants if not variant.endswith("-test"))
    weights = ", ".join(_link(card, "../") for card in cards if card.family == name)
    return f"""
## {name}

- Task: {spec.task}
- Paper: {spec.paper}
- Licence of the authors' code: {spec.licence}
- Variants: {variants} (default: `{spec.default_variant}`)
- Sizes: multiples of {spec.size.multiple_of}, from {spec.size.minimum} on; the Restorer pads all others
- Weights: {weights or "none"}
"""
