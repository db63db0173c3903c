"""The page of a set of weights, made from its card and its scores."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from restorekit.errors import UnknownNameError
from restorekit.hub.card import CARD_FILE, Card, read_card
from restorekit.hub.convert import count_parameters
from restorekit.hub.inspecting import Shown, authors_file, inspect_file, say_rule, table, usage
from restorekit.hub.load import looks_like_file, resolve_weights
from restorekit.hub.scores import SCORES_FILE, Scores, SetScore, read_scores
from restorekit.hub.store import how_to_get
from restorekit.models import MODELS

__all__ = ["PAGE_FILE", "Shown", "render", "render_folder", "show_weights"]

PAGE_FILE = "README.md"
_SIDE = 512  # pixels; of the picture whose time and memory the page states


def show_weights(name: str) -> Shown:
    """Return what is known of the weights that a name stands for, or what a file is taken for.

    Args:
        name: Tag, variant, family, alias, ``auto``, or the path of a file of weights.

    Raises:
        UnknownNameError: Nothing has that name.
        ModelError: It stands for no weights that are known, their card cannot be read, or the file cannot be used.
    """
    try:
        entry = resolve_weights(name).entry
    except UnknownNameError:
        if looks_like_file(name):
            return inspect_file(Path(name))
        raise
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
        usage(card.task, card.tag),
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
        *_depth(card),
        ("source", card.source),
        *authors_file(card),
        ("inference rule", say_rule(card.inference, f"variant `{card.variant}`")),
    ]
    if card.sha256 is None:
        rows.append(("file", f"not part of RestoreKit; {how_to_get(card)}"))
    else:
        rows += [("file", f"`{card.file}`, {card.bytes:,} bytes"), ("SHA-256", f"`{card.sha256}`")]
    return table(rows)


def _depth(card: Card) -> list[tuple[str, str]]:
    """Return how depth and colours are counted, for guided networks."""
    rule = card.depth
    if rule is None:
        return []
    depth = "each map from its least to its greatest" if rule.full_scale_m is None else f"{rule.full_scale_m:g} m as 1"
    guide = (
        "from its least to its greatest value" if rule.guide == "stretched" else "from 0 to its largest possible value"
    )
    finer = "real sensors" if rule.scale is None else f"{rule.scale} times finer pictures"
    return [("made for", finer), ("depth counts", depth), ("the picture counts", guide)]


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
