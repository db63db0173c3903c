"""Take weights of other authors, or of the user's own, into the cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from restorekit.errors import ModelError
from restorekit.hub._files import staged_folder
from restorekit.hub.card import CARD_FILE, UNMEASURED, WEIGHTS_FILE, Card, write_card
from restorekit.hub.checkpoint import read_checkpoint
from restorekit.hub.convert import recognise
from restorekit.hub.load import resolve
from restorekit.hub.release import write_weights
from restorekit.hub.store import Entry, cache_folder, check_new_tag, entries
from restorekit.models import MODELS, ModelSpec

__all__ = ["Imported", "import_weights"]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import did.

    Attributes:
        entry: The card and where it lies now.
        notes: What was assumed, one sentence each.
    """

    entry: Entry
    notes: tuple[str, ...]


def import_weights(
    name: str, file: Path, *, tag: str | None = None, overwrite: bool = False, source_file: str | None = None
) -> Imported:
    """Convert a file of weights and put it into the cache, under a tag that ``load`` finds.

    Args:
        name: What the weights are: the tag of a card whose file is not here, a variant, or a family. A tag brings its
            licence, data and rule of use with it.
        file: The file, as its authors published it.
        tag: Name of the weights; for a tag that tag, for a variant or family ``<variant>.imported`` if ``None``.
        overwrite: Whether other weights of that tag may be replaced.
        source_file: Name under which the file was published; that of ``file`` if ``None``.

    Returns:
        Where they are now, and what was assumed.

    Raises:
        UnknownNameError: Nothing has that name.
        ModelError: The file cannot be used, its keys do not fit strictly, the tag is taken, or the cache is full.
    """
    found = resolve(name)
    named = found.entry.card if found.entry is not None and found.entry.card.tag == name else None
    variant = None if named is None and name in MODELS else found.variant
    checkpoint = read_checkpoint(file)
    known = None if named is not None else _known(checkpoint.sha256, found.spec.name, variant)
    variant = variant if known is None else known.variant
    match = recognise(checkpoint.state, name=str(file), family=found.spec.name, variant=variant)
    if named is not None and tag is None:
        _check_published(found.entry, checkpoint.sha256, file, overwrite=overwrite)
    template, notes = _template(named or known, tag, checkpoint.sha256, file, given=named is not None)
    card = replace(
        template or _blank(match.spec, match.variant, file),
        tag=tag if tag is not None else name if named else f"{match.variant}.imported",
        file=WEIGHTS_FILE,
        source_file=file.name if source_file is None else source_file,
        source_sha256=checkpoint.sha256,
        source_bytes=file.stat().st_size,
        default=False,
    )
    entry = _store(card, match.state, overwrite=overwrite)
    return Imported(entry=entry, notes=(*match.notes, *checkpoint.notes, *notes))


def _check_published(entry: Entry | None, digest: str, file: Path, *, overwrite: bool) -> None:
    """Refuse another file than the one that a tag stands for."""
    assert entry is not None
    card, tag = entry.card, entry.card.tag
    if entry.place == "bundled":
        raise ModelError(
            f"the weights {tag!r} came with RestoreKit; import {file.name} under a name of yours with --tag"
        )
    if card.source_sha256 in (None, digest) or (overwrite and entry.place == "cached"):
        return
    whose = "that of the file that was seen here first" if card.pinned else "that of the one its authors published"
    renew = ", or if its authors have renewed it give --overwrite" if card.pinned else ""
    raise ModelError(
        f"{file} is not the file that {tag!r} stands for (its SHA-256 is not {whose}); "
        f"import it under a name of yours with --tag{renew}"
    )


def _known(digest: str, family: str, variant: str | None) -> Card | None:
    """Return the card that knows a file by its hash, if it is of the network that was asked for."""
    cards = [entry.card for entry in entries() if entry.card.source_sha256 == digest]
    return next((card for card in cards if card.family == family and variant in (None, card.variant)), None)


def _template(
    card: Card | None, tag: str | None, digest: str, file: Path, *, given: bool
) -> tuple[Card | None, tuple[str, ...]]:
    """Return the card that says how the weights are used, and what was assumed.

    Args:
        card: The card of the tag that was given, or the one that knows the file.
        tag: The user's own name for the weights.
        digest: Hash of the file.
        file: The file.
        given: Whether the card is the one of a tag that was given.
    """
    if card is None:
        return None, ()
    notes = () if given else (f"{file.name} is {card.tag}, by its SHA-256; its card was taken over",)
    if not given or tag is not None:  # weights of the user's own: where the authors' lie does not concern them
        return replace(card, url=None, pinned=False), notes
    if card.source_sha256 is not None:
        return card, notes
    note = f"nobody published the SHA-256 of this file; from now on {card.tag} stands for {digest}"
    return replace(card, pinned=True), (note,)


def _blank(spec: ModelSpec, variant: str, file: Path) -> Card:
    """Return the card of weights of which nothing is known but their network."""
    like = next((entry.card.inference for entry in entries() if entry.card.variant == variant), UNMEASURED)
    return Card(
        tag=f"{variant}.imported",
        family=spec.name,
        variant=variant,
        task=spec.task,
        summary=f"Imported from {file.name}.",
        source="a file of the user's",
        licence_code=spec.licence,
        licence_weights="not stated",
        data="not stated",
        inference=like,
    )


def _store(card: Card, state: dict[str, Tensor], *, overwrite: bool) -> Entry:
    """Write weights and card into the cache, as a whole or not at all."""
    check_new_tag(card.tag)
    folder = cache_folder() / card.family / card.tag
    taken = next((entry for entry in entries() if entry.card.tag == card.tag and entry.place != "absent"), None)
    if taken is not None and taken.place == "bundled":
        raise ModelError(f"the tag {card.tag!r} came with RestoreKit; choose another one with --tag")
    if taken is not None and not overwrite and taken.card.source_sha256 != card.source_sha256:
        raise ModelError(f"the tag {card.tag!r} has other weights; choose another one with --tag, or give --overwrite")
    try:
        with staged_folder(folder, last=CARD_FILE) as staged:
            digest, size = write_weights(state, staged / card.file)
            card = replace(card, sha256=digest, bytes=size)
            write_card(card, staged / CARD_FILE)
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written ({error.strerror}); make room, or name another folder in RESTOREKIT_CACHE"
        ) from error
    return Entry(card=card, folder=folder, place="cached")
