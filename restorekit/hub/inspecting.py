"""What a file of weights is taken for, and what is known of the file that authors published."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from restorekit.hub._files import sha256_of
from restorekit.hub.card import Card, InferenceRule
from restorekit.hub.load import load

__all__ = ["Shown", "authors_file", "inspect_file", "say_rule", "table", "usage"]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is known of weights, for people and for programs.

    Attributes:
        page: The page, in Markdown.
        record: Card, place and scores, as plain data.
    """

    page: str
    record: dict[str, Any]


def inspect_file(path: Path) -> Shown:
    """Return what a file of weights is taken for, and how it would be used.

    Raises:
        ModelError: The file cannot be read, or fits no network.
        MissingExtraError: It is no network of ours, and the extra that knows others is not installed.
    """
    loaded = load(path)
    digest = sha256_of(path)
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    size = loaded.spec.size
    rows = [
        ("network", f"{loaded.spec.name}, variant `{loaded.variant}` ({loaded.spec.task})"),
        ("parameters", f"{parameters:,}"),
        *([("enlarges", f"{loaded.scale} times")] if loaded.scale > 1 else []),
        ("known", "to no card" if loaded.card is None else f"as `{loaded.tag}`"),
        (
            "inference rule",
            say_rule(loaded.rule, f"padded to multiples of {size.multiple_of}, at least {size.minimum}"),
        ),
        ("licence of the weights", "not stated" if loaded.card is None else loaded.card.licence_weights),
        ("SHA-256", f"`{digest}`"),
    ]
    record = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "sha256": digest,
        "family": loaded.spec.name,
        "variant": loaded.variant,
        "task": loaded.spec.task,
        "tag": loaded.tag,
        "scale": loaded.scale,
        "parameters": parameters,
        "inference": asdict(loaded.rule),
        "card": None if loaded.card is None else asdict(loaded.card),
        "notes": loaded.notes,
    }
    notes = "\n".join(f"- {note}" for note in loaded.notes)
    parts = [f"# {path.name}", table(rows), notes, usage(loaded.spec.task, str(path))]
    return Shown(page="\n\n".join(parts) + "\n", record=record)


def authors_file(card: Card) -> list[tuple[str, str]]:
    """Return what is known of the file that the authors of weights published, as rows of a table."""
    if card.source_file is None and card.url is None:
        return []
    entry, _, prefix = (card.source_container or "").partition("/")
    inside = {"": "", "plain": ", the weights and nothing else"}.get(entry, f", weights under `{entry}`")
    inside += f", names with the prefix `{prefix}`" if prefix else ""
    name = "one" if card.source_file is None else f"`{card.source_file}`"
    size = "" if card.source_bytes is None else f", {card.source_bytes:,} bytes"
    rows = [("authors' file", f"{name}{size}{inside}; the family's key map makes its names ours")]
    if card.url is not None:
        rows.append(("its address", f"<{card.url}>"))
    if card.source_sha256 is None:
        rows.append(("its SHA-256", "not published; the first pull or import pins it"))
    else:
        whose = ", that of the first file that was seen here" if card.pinned else ""
        rows.append(("its SHA-256", f"`{card.source_sha256}`{whose}"))
    return rows


def say_rule(rule: InferenceRule, padding: str) -> str:
    """Return how weights are used, in a few words."""
    return f"{padding}; {rule.precision}; tiles overlap by {rule.overlap} pixels"


def usage(task: str, name: str) -> str:
    """Return the section of a page that says how weights are used."""
    lines = {
        "restore": f"sh\nrestorekit restore photo.jpg --model {name}",
        "guided": f"sh\nrestorekit restore depth.png --guide photo.jpg --model {name}",
    }
    other = f"python\nimport restorekit\n\nnetwork = restorekit.create_model({name!r}, pretrained=True)"
    return f"## Use\n\n```{lines.get(task, other)}\n```"


def table(rows: list[tuple[str, str]]) -> str:
    """Return a table of two columns in Markdown."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
