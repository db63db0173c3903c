"""The page of a set of weights, made from its card and its scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from restorekit.hub.card import CARD_FILE, Card, read_card
from restorekit.hub.convert import count_parameters
from restorekit.hub.load import resolve_weights
from restorekit.hub.scores import SCORES_FILE, Scores, SetScore, read_scores
from restorekit.hub.store import how_to_get
from restorekit.models import MODELS

__all__ = ["PAGE_FILE", "Shown", "render", "render_folder", "show_weights"]

PAGE_FILE = "README.md"
_SIDE = 512  # pixels; of the picture whose time and memory the page states


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is known of weights, for people and for programs.

    Attributes:
        page: The page, in Markdown.
        record: Card, place and scores, as plain data.
    """

    page: str
    record: dict[str, Any]


def show_weights(name: str) -> Shown:
    """Return what is known of the weights that a name stands for.

    Args:
        name: Tag, variant, family, alias, or ``auto``.

    Raises:
        UnknownNameError: Nothing has that name.
        ModelError: The name stands for no weights that are here, or their card cannot be read.
    """
    entry = resolve_weights(name).entry
    assert entry is not None
    scores = _scores_of(entry.folder)
    record = {**entry.record(), "parameters": count_parameters(entry.card.family, entry.card.variant)}
    return Shown(
        page=render(entry.card, scores), record={**record, "scores": None if scores is None else asdict(scores)}
    )


def render_folder(folder: Path) -> str:
    """Return the page of the weights of a folder.

    Raises:
        ModelError: The card or the scores cannot be read.
    """
    return render(read_card(folder / CARD_FILE), _scores_of(folder))


def _scores_of(folder: Path) -> Scores | None:
    path = folder / SCORES_FILE
    return read_scores(path) if path.is_file() else None


def render(card: Card, scores: Scores | None) -> str:
    """Return the page of a set of weights in Markdown.

    Args:
        card: The card.
        scores: What was measured; ``None`` if nothing was.
    """
    parts = [
        f"# {card.tag}",
        f"Written from `{CARD_FILE}`{f' and `{SCORES_FILE}`' if scores else ''}; change those, not this page.",
        card.summary,
        _facts(card),
        _use(card),
        _costs(card),
        *([] if scores is None else [_table(scores), _record(scores)]),
        f"## Reference\n\n{MODELS.get(card.family).paper}",
    ]
    return "\n\n".join(parts) + "\n"


def _facts(card: Card) -> str:
    rows = [
        ("network", f"{card.family}, variant `{card.variant}` ({card.task})"),
        ("parameters", f"{count_parameters(card.family, card.variant):,}"),
        ("licence of the code", card.licence_code),
        ("licence of the weights", card.licence_weights),
        ("trained on", card.data),
        ("source", card.source),
    ]
    if card.sha256 is None:
        rows.append(("file", f"not part of RestoreKit; {how_to_get(card)}"))
    else:
        rows += [("file", f"`{card.file}`, {card.bytes:,} bytes"), ("SHA-256", f"`{card.sha256}`")]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _use(card: Card) -> str:
    return f"## Use\n\n```sh\nrestorekit restore photo.jpg --model {card.tag}\n```"


def _costs(card: Card) -> str:
    rule = card.inference
    memory = rule.base_bytes + rule.bytes_per_pixel * _SIDE**2
    layout = ", colours together in memory (`channels_last`)" if rule.channels_last else ""
    lines = [
        f"- Precision that was found to be safe: {rule.precision}{layout}",
        f"- Memory for {_SIDE}x{_SIDE}, above the loaded model: {memory / 2**20:.0f} MiB "
        f"({rule.bytes_per_pixel:.0f} bytes per pixel)",
    ]
    if rule.seconds_per_megapixel is not None:
        lines.append(f"- Time for {_SIDE}x{_SIDE}, CPU: {rule.seconds_per_megapixel * _SIDE**2 / 1e6:.2f} s")
    tiled = "" if rule.whole_vs_tiled_db is None else f"; tiled against whole: {rule.whole_vs_tiled_db:.1f} dB"
    lines.append(f"- Tiles overlap by {rule.overlap} pixels{tiled}")
    return "\n".join(["## Costs", "", *lines])


def _table(scores: Scores) -> str:
    return "\n".join(
        [
            f"## PSNR in dB, protocol `{scores.protocol}`",
            "",
            "| set | pictures | input | restored | gain | worst picture |",
            "|---|---:|---:|---:|---:|---:|",
            *map(_row, scores.rows),
        ]
    )


def _row(row: SetScore) -> str:
    if row.psnr_input is None:
        return f"| {row.set} | {row.pictures} | clean | {row.psnr_output:.2f} | | |"
    worst = "" if row.worst_gain is None else f"{row.worst_gain:+.2f}"
    gain = row.psnr_output - row.psnr_input
    return f"| {row.set} | {row.pictures} | {row.psnr_input:.2f} | {row.psnr_output:.2f} | {gain:+.2f} | {worst} |"


def _record(scores: Scores) -> str:
    commands = "\n".join(scores.commands)
    return f"Commit `{scores.commit}`, PyTorch {scores.torch}, {scores.device}:\n\n```sh\n{commands}\n```"
