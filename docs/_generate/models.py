"""The table of networks and weights in the README, docs/models.md, and a page beside each card."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from restorekit.hub.card import CARD_FILE, Card, read_card
from restorekit.models import MODELS

BLOCK = re.compile(r"(<!-- models: .*? -->\n).*?(<!-- /models -->)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A card with what is counted and measured of its weights."""

    folder: Path
    card: Card
    parameters: int
    scores: dict[str, Any] | None


def pages(root: Path) -> dict[Path, str]:
    """Return the generated files and their texts."""
    entries = [_entry(path.parent) for path in sorted((root / "model_zoo").glob(f"*/*/{CARD_FILE}"))]
    readme = root / "README.md"
    texts = {readme: BLOCK.sub(rf"\g<1>{_table(entries)}\g<2>", readme.read_text(encoding="utf-8"))}
    texts[root / "docs" / "models.md"] = _models(entries)
    for entry in entries:
        texts[entry.folder / "README.md"] = _page(entry)
    return texts


def _entry(folder: Path) -> Entry:
    card = read_card(folder / CARD_FILE)
    spec = MODELS.get(card.family)
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in spec.network(**spec.variants[card.variant]).parameters())
    path = folder / "scores.json"
    scores = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return Entry(folder=folder, card=card, parameters=parameters, scores=scores)


def _table(entries: list[Entry]) -> str:
    lines = [
        "| weights | family | parameters | file | licence of code, weights |",
        "|---|---|---|---|---|",
        *(_row(entry) for entry in entries),
    ]
    return "\n".join(lines) + "\n"


def _row(entry: Entry) -> str:
    card = entry.card
    name = f"[`{card.tag}`](model_zoo/{card.family}/{card.tag}/README.md)"
    file = "not here" if card.bytes is None else f"{card.bytes / 1e6:.1f} MB"
    return (
        f"| {name} | `{card.family}` | {entry.parameters / 1e6:.1f} M | {file} | "
        f"{card.licence_code}, {card.licence_weights} |"
    )


def _models(entries: list[Entry]) -> str:
    lines = [
        "# Networks",
        "",
        "Written by `make generate` from the registered networks and `model_zoo/*/*/card.toml`.",
    ]
    for name in MODELS.names():
        spec = MODELS.get(name)
        variants = ", ".join(f"`{variant}`" for variant in spec.variants if not variant.endswith("-test"))
        weights = ", ".join(
            f"[`{e.card.tag}`](../model_zoo/{name}/{e.card.tag}/README.md)" for e in entries if e.card.family == name
        )
        lines += [
            "",
            f"## {name}",
            "",
            f"- Task: {spec.task}",
            f"- Paper: {spec.paper}",
            f"- Licence of the authors' code: {spec.licence}",
            f"- Variants: {variants} (default: `{spec.default_variant}`)",
            f"- Sizes: multiples of {spec.size.multiple_of}, from {spec.size.minimum}; the Restorer pads all others",
            f"- Weights: {weights or 'none of ours'}",
        ]
    return "\n".join(lines) + "\n"


def _page(entry: Entry) -> str:
    card, rule = entry.card, entry.card.inference
    lines = [
        f"# {card.tag}",
        "",
        "Written by `make generate` from `card.toml` and `scores.json`.",
        "",
        card.summary,
        "",
        f"- Family {card.family}, variant {card.variant}, task {card.task}; {entry.parameters:,} parameters",
        f"- File: {card.file}" + ("" if card.bytes is None else f", {card.bytes:,} bytes, SHA-256 `{card.sha256}`"),
        f"- Licence: code {card.licence_code}, weights {card.licence_weights}",
        f"- Trained on: {card.data}",
        f"- Source: {card.source}",
        f"- Use: {rule.precision}; tiles overlap by {rule.overlap} pixels; {rule.bytes_per_pixel:.0f} bytes per pixel",
    ]
    if rule.seconds_per_megapixel is not None:
        lines.append(f"- Time: {rule.seconds_per_megapixel:.1f} s per megapixel on the CPU of the record")
    if rule.whole_vs_tiled_db is not None:
        lines.append(f"- Whole against tiled: {rule.whole_vs_tiled_db:.1f} dB")
    return "\n".join([*lines, *_scores(entry.scores)]) + "\n"


def _scores(scores: dict[str, Any] | None) -> list[str]:
    if scores is None:
        return []
    rows = [
        f"| {row['set']} | {row['pictures']} | {_db(row['psnr_input'])} | {_db(row['psnr_output'])} |"
        for row in scores["rows"]
    ]
    return [
        "",
        f"## PSNR, protocol {scores['protocol']}",
        "",
        "| set (part) | pictures | input, dB | restored, dB |",
        "|---|---|---|---|",
        *rows,
    ]


def _db(value: float | None) -> str:
    return "clean" if value is None or value == float("inf") else f"{value:.2f}"
