"""Fetch weights from where their authors put them, and take them into the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from restorekit.errors import ModelError
from restorekit.hub._files import locked
from restorekit.hub.card import Card
from restorekit.hub.download import Progress, Wanted, fetch, forget
from restorekit.hub.importing import import_weights
from restorekit.hub.store import Entry, downloads_folder, entries, find_entry, how_to_import, verify

__all__ = ["Pulled", "pull"]


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What a pull did.

    Attributes:
        entry: The card and where it lies now.
        fetched: Whether something was fetched; ``False`` if the weights were here already.
        notes: What was assumed, one sentence each.
    """

    entry: Entry
    fetched: bool
    notes: tuple[str, ...] = ()


def pull(
    tag: str,
    *,
    progress: Progress = lambda done, total: None,
    waiting: Callable[[], None] = lambda: None,
) -> Pulled:
    """Fetch the weights of a tag, check and convert them, and keep them under their tag.

    A download that was interrupted goes on where it stopped. Of several processes that pull the same tag at once, one
    fetches and the others wait for it. Weights in the cache that are damaged are fetched again.

    Args:
        tag: Tag of the weights; a family or a variant does where one tag of it can be pulled.
        progress: Is told of the bytes that are here and, where they are known, the bytes in all.
        waiting: Is told that another process is at it.

    Returns:
        Where they are now, and what was assumed.

    Raises:
        UnknownNameError: Nothing has that name.
        ModelError: Their file lies at no address that can be fetched from, cannot be reached, or is another one; or
            the disk is full.
    """
    entry = _choose(tag)
    if _is_whole(entry):
        return Pulled(entry=entry, fetched=False)
    card = entry.card
    if card.url is None or entry.place == "bundled":
        raise ModelError(_no_address(entry))
    folder = downloads_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f"{card.tag}.lock", waiting=waiting):
            entry = find_entry(card.tag)
            if _is_whole(entry):  # another process was faster
                return Pulled(entry=entry, fetched=False)
            return _fetch(entry, folder / f"{card.tag}.part", progress)
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written ({error.strerror}); name another folder in RESTOREKIT_CACHE"
        ) from error


def _choose(name: str) -> Entry:
    """Return the card of a tag, or the only one of a family or variant whose file has an address."""
    known = entries()
    fitting = [e for e in known if name in (e.card.family, e.card.variant) and e.card.url is not None]
    if not fitting or any(entry.card.tag == name for entry in known):
        return find_entry(name)
    if len(fitting) > 1:
        tags = ", ".join(entry.card.tag for entry in fitting)
        raise ModelError(f"{name!r} has several sets of weights; name one of {tags}")
    return fitting[0]


def _is_whole(entry: Entry) -> bool:
    """Tell whether weights are here and as on their card."""
    if entry.place == "absent":
        return False
    try:
        verify(entry)
    except ModelError:
        return False
    return True


def _no_address(entry: Entry) -> str:
    if entry.place == "bundled":
        return f"the weights {entry.card.tag!r} came with RestoreKit and are damaged; install RestoreKit again"
    return f"the weights {entry.card.tag!r} cannot be fetched; {how_to_import(entry.card)}"


def _fetch(entry: Entry, part: Path, progress: Progress) -> Pulled:
    card = entry.card
    fetched = fetch(_wanted(card), part, progress=progress)
    try:
        imported = import_weights(card.tag, fetched.path, source_file=card.source_file or card.tag)
    except ModelError as error:
        reason = str(error).removeprefix(f"{fetched.path} ").removeprefix(f"{fetched.path}: ")
        raise ModelError(f"what {card.url} gave is not the file of {card.tag!r}: {reason}") from error
    finally:
        forget(part)
    return Pulled(entry=imported.entry, fetched=True, notes=imported.notes)


def _wanted(card: Card) -> Wanted:
    assert card.url is not None
    by_hand = f"get the file in another way and run: restorekit models import {card.tag} FILE"
    renewed = f"if its authors have renewed it, run: restorekit models rm {card.tag}, and pull it again"
    return Wanted(
        url=card.url,
        name=card.source_file or card.tag,
        otherwise=renewed if card.pinned else by_hand,
        sha256=card.source_sha256,
        bytes=card.source_bytes,
    )
