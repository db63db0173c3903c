"""The table of weights in the README, docs/models.md, and the page beside each card."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from restorekit.hub.card import CARD_FILE, Card, read_card
from restorekit.hub.card_page import PAGE_FILE, render_folder
from restorekit.hub.convert import count_parameters
from restorekit.models import MODELS, ModelSpec

_BLOCK = re.compile(r"(<!-- models: .*? -->\n).*?(<!-- /models -->)", re.DOTALL)
_SPEED = Path("benchmarks", "speed", "models.json")
_NOTES = Path(__file__).with_name("networks.toml")
_HEAD = """# Networks

Written by `make generate` from the registered networks, the cards in `model_zoo/` and the record of
`benchmarks/speed/models.py`.

`restorekit restore photo.jpg --model NAME` takes a family, a variant, a set of weights, or a file of weights of
anybody: ours and the authors' are recognised by their SHA-256 or by their keys, others by
[spandrel](https://github.com/chaiNNer-org/spandrel) (`pip install 'restorekit[community]'`), networks that enlarge
included.
"""


def pages(root: Path) -> dict[Path, str]:
    """Return the generated files and their texts."""
    zoo = root / "model_zoo"
    folders = sorted(path.parent for path in zoo.glob(f"*/*/{CARD_FILE}"))
    cards = [read_card(folder / CARD_FILE) for folder in folders]
    readme = root / "README.md"
    texts = {folder / PAGE_FILE: render_folder(folder) for folder in folders}
    texts[readme] = _BLOCK.sub(rf"\g<1>{_overview(cards)}\g<2>", readme.read_text(encoding="utf-8"))
    texts[root / "docs" / "models.md"] = "".join(_page(root, cards))
    return texts


def _link(card: Card, base: str) -> str:
    return f"[`{card.tag}`]({base}model_zoo/{card.family}/{card.tag}/{PAGE_FILE})"


# --- README -----------------------------------------------------------------------------------------------------------


def _overview(cards: list[Card]) -> str:
    """Return the table of what is bundled, and a line on what authors offer."""
    bundled = sorted((card for card in cards if card.bytes is not None), key=lambda card: card.tag)
    others = [card for card in cards if card.bytes is None]
    head = "| weights | what for | parameters | licence of code, weights | file |\n|---|---|---:|---|---|\n"
    families = ", ".join(sorted({f"`{card.family}`" for card in others}))
    line = (
        f"\n{len(others)} more sets, of the networks' authors ({families}), are fetched by `restorekit models pull` or "
        "brought by `restorekit models import`: [all networks and weights](docs/models.md).\n"
    )
    return head + "".join(_row(card) for card in bundled) + (line if others else "")


def _row(card: Card) -> str:
    parameters = f"{count_parameters(card.family, card.variant) / 1e6:.1f} M"
    licences = f"{card.licence_code}, {card.licence_weights}"
    file = f"bundled, {(card.bytes or 0) / 1e6:.1f} MB"
    return f"| {_link(card, '')} | {card.summary} | {parameters} | {licences} | {file} |\n"


# --- docs/models.md ---------------------------------------------------------------------------------------------------


def _page(root: Path, cards: list[Card]) -> Iterator[str]:
    speed = _speed(root)
    notes = tomllib.loads(_NOTES.read_text(encoding="utf-8"))
    yield _HEAD
    yield "\n## At a glance\n\n"
    yield "| network | task | parameters | GMACs | licence of the authors' code | weights offered | seconds |\n"
    yield "|---|---|---:|---:|---|---|---:|\n"
    for name in MODELS.names():
        yield from _rows(MODELS.get(name), cards, speed)
    yield _footnote(speed)
    for name in MODELS.names():
        yield from _section(MODELS.get(name), cards, notes.get(name, {}))


def _speed(root: Path) -> dict[str, Any]:
    path = root / _SPEED
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return record


def _offered(variants: list[str]) -> list[str]:
    return [variant for variant in variants if not variant.endswith("-test")]


def _rows(spec: ModelSpec, cards: list[Card], speed: dict[str, Any]) -> Iterator[str]:
    for variant in _offered(list(spec.variants)):
        counted = speed.get("networks", {}).get(variant, {}).get("giga_macs")
        macs = "" if counted is None else f"{sum(counted.values()):.1f}"
        parameters = f"{count_parameters(spec.name, variant) / 1e6:.1f} M"
        fitting = [card for card in cards if card.variant == variant]
        cells = (f"[`{variant}`](#{spec.name})", spec.task, parameters, macs, spec.licence, _weights(fitting))
        yield f"| {' | '.join(cells)} | {_seconds(variant, speed)} |\n"


def _weights(cards: list[Card]) -> str:
    if not cards:
        return "none"
    bundled, others = sum(card.bytes is not None for card in cards), [card for card in cards if card.bytes is None]
    pulled = sum(card.url is not None for card in others)
    counts = ((bundled, "bundled"), (pulled, "to pull"), (len(others) - pulled, "to import"))
    return ", ".join(f"{count} {what}" for count, what in counts if count)


def _seconds(variant: str, speed: dict[str, Any]) -> str:
    for row in speed.get("rows", []):
        if (row["variant"], row["size"], row["compiled"]) == (variant, 256, False):
            ours, plain = (row["times"][form]["processor_seconds"] for form in ("ours", "plain"))
            return f"{ours:.2g} ({plain:.2g})"
    return ""


def _footnote(speed: dict[str, Any]) -> str:
    if not speed:
        return ""
    return (
        "\nGMACs (10^9 multiply-accumulates) and seconds are those of a 256x256 picture; seconds of the processor, one "
        f"thread, {speed['dtype']}, {speed['processor']}; in brackets those of the plain form that training uses, in "
        "the same run. Larger pictures, compiled code, memory: "
        "[benchmarks/speed/models.md](../benchmarks/speed/models.md).\n"
    )


def _section(spec: ModelSpec, cards: list[Card], notes: dict[str, str]) -> Iterator[str]:
    title, body = _described(spec)
    yield f"\n## {spec.name}\n\n{title}\n\n"
    if "when" in notes:
        yield f"**When to use it.** {notes['when'].strip()}\n\n"
    yield f"{body}\n\n"
    variants = ", ".join(f"`{variant}`" for variant in _offered(list(spec.variants)))
    yield f"- Task: {spec.task}\n"
    yield f"- Variants: {variants} (default: `{spec.default_variant}`)\n"
    yield f"- Sizes: multiples of {spec.size.multiple_of}, from {spec.size.minimum} on; all others are padded\n"
    yield f"- Licence of the authors' code: {spec.licence}\n"
    yield f"- Cite: {_cited(spec.paper)}\n"
    own = [card for card in cards if card.family == spec.name]
    if own:
        yield "\n| weights | what for | licence | how to get them |\n|---|---|---|---|\n"
        yield from (
            f"| {_link(card, '../')} | {card.summary} | {card.licence_weights} | {_how(card)} |\n"
            for card in sorted(own, key=lambda card: (card.bytes is None, card.tag))
        )
    else:
        yield f"- Weights: none are offered; import yours with `restorekit models import {spec.default_variant} FILE`\n"


def _described(spec: ModelSpec) -> tuple[str, str]:
    """Return what the file of a network says of it: the first sentence, and the rest, in Markdown."""
    file = sys.modules[spec.network.__module__].__file__
    assert file is not None
    text = ast.get_docstring(ast.parse(Path(file).read_text(encoding="utf-8"))) or spec.name
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    title, _, body = text.partition("\n\n")
    body = re.sub(r"\n\nShapes: [^\n]*(\n[^\n]+)*", "", f"\n\n{body}").strip()
    return " ".join(title.split()), body


def _cited(paper: str) -> str:
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", paper)


def _how(card: Card) -> str:
    if card.bytes is not None:
        return f"bundled, {card.bytes / 1e6:.1f} MB"
    if card.url is not None:
        return f"`restorekit models pull {card.tag}`"
    return f"[by hand]({card.source}), then `restorekit models import {card.tag} FILE`"
