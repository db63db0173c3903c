"""Where cards and weights lie: those that travel with the package, and those that the user brought."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from restorekit.errors import ModelError, UnknownNameError
from restorekit.hub._files import sha256_of
from restorekit.hub.card import CARD_FILE, Card, check_tag, read_card
from restorekit.models import MODELS
from restorekit.resources import records

__all__ = [
    "Entry",
    "Place",
    "cache_folder",
    "check_new_tag",
    "downloads_folder",
    "entries",
    "find_entry",
    "how_to_get",
    "how_to_import",
    "how_to_repair",
    "list_cards",
    "natural_order",
    "remove",
    "summarise",
    "verify",
    "verify_all",
]

_TAG_LIKE = re.compile(r"[a-z0-9._-]+")  # nothing that a shell pattern would take for more
_WIDEST = 24  # letters of a licence in a table
Place = Literal["bundled", "cached", "absent"]
_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return the folder of the weights that the user brought: RESTOREKIT_CACHE, or the usual one of the system.

    It need not exist.
    """
    named = os.environ.get("RESTOREKIT_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "restorekit"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "restorekit"


def downloads_folder() -> Path:
    """Return the folder of downloads that are not complete. It need not exist."""
    return cache_folder() / ".downloads"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A card and where it lies.

    Attributes:
        card: The card.
        folder: Its folder, in which the weights lie if they are here.
        place: ``bundled``: the weights travel with the package; ``cached``: the user brought them; ``absent``: they
            are not here.
    """

    card: Card
    folder: Path
    place: Place

    @property
    def path(self) -> Path:
        """The weights file."""
        return self.folder / self.card.file

    def record(self) -> dict[str, Any]:
        """Return the card as plain data, with ``place``, ``path``, and for weights that are not here ``how_to_get``."""
        here = {"path": str(self.path)} if self.place != "absent" else {"how_to_get": how_to_get(self.card)}
        return {**asdict(self.card), "place": self.place, **here}


def entries(*, pattern: str = "*", faults: list[str] | None = None) -> list[Entry]:
    """Return all cards, sorted by tag; of two with the same tag the one whose weights are here, bundled ones first.

    Args:
        pattern: Shell pattern that the tag or the family must match.
        faults: Takes one sentence for each card that cannot be read. Without it an unreadable card of the package is
            an error, and one of the cache is logged and left out.

    Raises:
        ModelError: A card of the package cannot be read.
    """
    found: dict[str, Entry] = {}
    for entry in [*_scan(records("model_zoo"), "bundled", faults), *_scan(cache_folder(), "cached", faults)]:
        tag = entry.card.tag
        if tag not in found or found[tag].place == "absent":
            found[tag] = entry
    fitting = [e for e in found.values() if fnmatch(e.card.tag, pattern) or fnmatch(e.card.family, pattern)]
    return sorted(fitting, key=lambda entry: natural_order(entry.card.tag))


def _scan(root: Path, place: Literal["bundled", "cached"], faults: list[str] | None) -> Iterator[Entry]:
    for path in sorted(root.glob(f"[!.]*/[!.]*/{CARD_FILE}")):
        try:
            card = read_card(path)
            if (card.family, card.tag) != (path.parent.parent.name, path.parent.name):
                raise ModelError(f"{path} is the card of {card.family}/{card.tag}; move it to the folder of that name")
        except ModelError as error:
            if faults is not None:
                faults.append(str(error))
            elif place == "bundled":
                raise
            else:
                _log.warning("%s", error)
            continue
        here = card.sha256 is not None and (path.parent / card.file).is_file()
        yield Entry(card=card, folder=path.parent, place=place if here else "absent")


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts ``v10`` after ``v9``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def list_cards(*, place: Place | None = "bundled") -> list[Card]:
    """Return cards, sorted by tag.

    Args:
        place: ``bundled``: of weights that travel with the package; ``cached``: that the user brought; ``absent``:
            that are known but not here; ``None``: all.

    Raises:
        ModelError: A card of the package cannot be read.
    """
    return [entry.card for entry in entries() if place in (None, entry.place)]


def find_entry(tag: str) -> Entry:
    """Return the card of a tag.

    Raises:
        UnknownNameError: No weights have that tag; the message suggests close ones.
        ModelError: A card of the package cannot be read.
    """
    known = {entry.card.tag: entry for entry in entries()}
    if tag not in known:
        raise UnknownNameError("weights", tag, known)
    return known[tag]


def verify(entry: Entry) -> None:
    """Check that a weights file is the one of its card.

    Raises:
        ModelError: It is missing, or has another size or hash.
    """
    card, path = entry.card, entry.path
    if not path.is_file():
        raise ModelError(f"the weights {card.tag!r} are not here ({path} is missing); {how_to_get(card)}")
    size = path.stat().st_size
    if size != card.bytes:
        raise ModelError(f"{path} is damaged: it has {size} bytes, its card says {card.bytes}; {how_to_repair(entry)}")
    if sha256_of(path) != card.sha256:
        raise ModelError(f"{path} is damaged: its SHA-256 is not the one of its card; {how_to_repair(entry)}")


def verify_all(tags: Sequence[str] | None = None) -> dict[str, str | None]:
    """Check weights files against their cards.

    Args:
        tags: Which; all that are here if ``None`` or empty.

    Returns:
        Tag -> what is wrong, or ``None``. A card that cannot be read stands under its path.

    Raises:
        UnknownNameError: No weights have one of the tags.
    """
    faults: list[str] = []
    wanted = [find_entry(tag) for tag in tags] if tags else [e for e in entries(faults=faults) if e.place != "absent"]
    results: dict[str, str | None] = dict.fromkeys((entry.card.tag for entry in wanted), None)
    for entry in wanted:
        try:
            verify(entry)
        except ModelError as error:
            results[entry.card.tag] = str(error)
    return {**results, **{fault.partition(" ")[0]: fault for fault in faults}}


def summarise(found: Sequence[Entry]) -> list[str]:
    """Return a table of weights as lines of text, and below it how to get those that are not here."""
    rows = [("WEIGHTS", "VARIANT", "TASK", "SIZE", "LICENCE", "WHERE")]
    for entry in found:
        card = entry.card
        size = "-" if card.bytes is None else f"{card.bytes / 1e6:.1f} MB"
        mark = " (default)" if card.default else ""
        where = ("to import" if card.url is None else "to pull") if entry.place == "absent" else entry.place
        licence = textwrap.shorten(card.licence_weights, _WIDEST, placeholder=" ...")
        rows.append((card.tag + mark, card.variant, card.task, size, licence, where))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    absent = [entry.card for entry in found if entry.place == "absent"]
    by_hand = [f"  {card.tag}: {how_to_import(card)}" for card in absent if card.url is None]
    if any(card.url is not None for card in absent):
        lines += ["", "To pull: restorekit models pull TAG"]
    return [*lines, *(["", "To import:", *by_hand] if by_hand else [])]


def how_to_get(card: Card) -> str:
    """Return what to do to get weights that are not here."""
    return how_to_import(card) if card.url is None else f"run: restorekit models pull {card.tag}"


def how_to_import(card: Card) -> str:
    """Return what to do to get weights whose file has to be fetched by hand."""
    file = card.source_file or "FILE"
    return (
        f"get {card.source_file or 'the file'} from {card.source} and run: restorekit models import {card.tag} {file}"
    )


def how_to_repair(entry: Entry) -> str:
    """Return what to do about a damaged weights file."""
    if entry.place != "cached":
        return "install RestoreKit again"
    if entry.card.url is not None:
        return f"run: restorekit models pull {entry.card.tag}, which fetches it again"
    return f"run: restorekit models rm {entry.card.tag}, and import it again"


def check_new_tag(tag: str) -> None:
    """Refuse a tag that cannot be one, or that is the name of a network.

    Raises:
        ModelError: It is no folder name for every system, or a family, alias or variant has it.
    """
    check_tag(tag)
    names = {*MODELS.names(), *MODELS.aliases(), *(v for family in MODELS for v in MODELS.get(family).variants), "auto"}
    if tag in names:
        raise ModelError(f"the tag {tag!r} is the name of a network; add something to it, such as '{tag}.v1'")


def remove(tag: str) -> int:
    """Remove weights that the user brought, with their card and with what was fetched of them but is not complete.

    Returns:
        The number of bytes that are free now.

    Raises:
        UnknownNameError: No weights have that tag.
        ModelError: They are not in the cache, or cannot be removed.
    """
    folder = next(
        (path.parent for path in cache_folder().glob(f"[!.]*/[!.]*/{CARD_FILE}") if path.parent.name == tag), None
    )
    begun = list(downloads_folder().glob(f"{tag}.part*")) if _TAG_LIKE.fullmatch(tag) else []
    if folder is None and not begun:
        entry = find_entry(tag)
        reason = "they came with RestoreKit" if entry.place == "bundled" else "they are not here"
        raise ModelError(f"the weights {tag!r} cannot be removed: {reason}; only imported weights can be")
    files = [*([] if folder is None else folder.iterdir()), *begun]
    size = sum(path.stat().st_size for path in files)
    try:
        for path in begun:
            path.unlink()
        if folder is not None:
            shutil.rmtree(folder)
    except OSError as error:
        raise ModelError(
            f"{error.filename or folder} cannot be removed ({error.strerror}); remove it by hand"
        ) from error
    return size
