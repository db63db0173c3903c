"""From a name or a file to a network that is ready to run."""

from __future__ import annotations

import fnmatch
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from restorekit.errors import ModelError, UnknownNameError
from restorekit.hub.card import UNMEASURED, Card, InferenceRule
from restorekit.hub.checkpoint import parse_checkpoint, read_checkpoint
from restorekit.hub.community import Community, recognise_community
from restorekit.hub.convert import Match, NoFitError, WithoutDraws, recognise
from restorekit.hub.store import Entry, entries, how_to_get, how_to_repair, natural_order
from restorekit.models import MODELS, ModelSpec

__all__ = [
    "DEFAULT_MODEL",
    "Loaded",
    "Resolved",
    "create_model",
    "list_models",
    "load",
    "looks_like_file",
    "resolve",
    "resolve_weights",
]

DEFAULT_MODEL = "resunet"
"""The family that ``auto`` stands for."""

_OURS = 0.5  # share of a network's entries from which on weights that do not fit are taken for damaged ones of ours
_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What a name stands for.

    Attributes:
        spec: Family.
        variant: Variant.
        entry: Card and place of the weights; ``None`` where no weights are known.
        notes: What was assumed, one sentence each.
    """

    spec: ModelSpec
    variant: str
    entry: Entry | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A network with its weights.

    Attributes:
        model: The network, in evaluation mode, float32, on the CPU.
        spec: Its family.
        variant: Its variant.
        card: The card of the weights; ``None`` for a file that no card knows.
        tag: Tag of the weights; ``None`` for a file that no card knows.
        rule: How they are used: what the card says, or what is assumed.
        scale: How many times larger than the picture the network's answer is.
        notes: What was assumed on the way, one sentence each.
    """

    model: nn.Module
    spec: ModelSpec
    variant: str
    card: Card | None
    tag: str | None
    rule: InferenceRule = UNMEASURED
    scale: int = 1
    notes: list[str] = field(default_factory=list)


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """Return the names of networks, or of weights.

    Args:
        pattern: Shell pattern that the names must match, such as ``"hogformer*"``.
        pretrained: Return the tags of weights that are here, instead of the variants that ``create_model`` builds.

    Returns:
        The names, sorted.
    """
    if pretrained:
        names = [entry.card.tag for entry in entries() if entry.place != "absent"]
    else:
        names = sorted(
            variant for family in MODELS for variant in MODELS.get(family).variants if not variant.endswith("-test")
        )
    return fnmatch.filter(names, pattern)


def resolve(name: str) -> Resolved:
    """Find out what a name stands for.

    A tag stands for its weights; a variant for its weights that are here (of several for the default ones, then for
    those that were imported last); a family or an alias for its weights in the same order; ``auto`` for the default
    family.

    Args:
        name: Family, alias, variant, tag, or ``auto``.

    Raises:
        UnknownNameError: Nothing has that name; the message suggests close ones.
        ModelError: A card of the package is broken.
    """
    name = DEFAULT_MODEL if name == "auto" else name
    known = [entry for entry in entries() if entry.card.family in MODELS]
    variants = {variant: MODELS.get(family) for family in MODELS for variant in MODELS.get(family).variants}
    tagged = next((entry for entry in known if entry.card.tag == name), None)
    if tagged is not None:
        return Resolved(spec=MODELS.get(tagged.card.family), variant=tagged.card.variant, entry=tagged)
    if name in MODELS:
        spec = MODELS.get(name)
        best, notes = _best(name, [entry for entry in known if entry.card.family == spec.name])
        variant = spec.default_variant if best is None else best.card.variant
        return Resolved(spec=spec, variant=variant, entry=best, notes=notes)
    if name in variants:
        best, notes = _best(name, [entry for entry in known if entry.card.variant == name])
        return Resolved(spec=variants[name], variant=name, entry=best, notes=notes)
    names = {*MODELS.names(), *MODELS.aliases(), *variants, *(entry.card.tag for entry in known), "auto"}
    raise UnknownNameError("model", name, [n for n in names if not n.endswith("-test")])


def _best(name: str, fitting: list[Entry]) -> tuple[Entry | None, tuple[str, ...]]:
    """Return the weights that a family or variant stands for, and a note where there was a choice."""
    here = [entry for entry in fitting if entry.place != "absent"]
    if not here:
        return None, ()
    best = max(here, key=_rank)
    if len(here) == 1 or best.card.default:
        return best, ()
    others = ", ".join(entry.card.tag for entry in here if entry is not best)
    return best, (f"{name!r} stands for several weights; {best.card.tag} was taken, there are also {others}",)


def _rank(entry: Entry) -> tuple[bool, float, list[tuple[int, str]]]:
    imported = entry.path.stat().st_mtime if entry.place == "cached" else 0.0
    return entry.card.default, imported, natural_order(entry.card.tag)


def resolve_weights(name: str) -> Resolved:
    """Find out which weights a name stands for; for the rest see ``resolve``.

    Returns:
        What it stands for, with an entry (of a tag whose weights are not here, too).

    Raises:
        UnknownNameError: Nothing has that name; the message suggests close ones.
        ModelError: No weights of that network are here, or a card of the package is broken.
    """
    found = resolve(name)
    if found.entry is None:
        raise ModelError(_no_weights(name, found))
    return found


def load(name: str | Path) -> Loaded:
    """Return a network with its weights.

    Args:
        name: Family, alias, variant, tag, the path of a weights file, or ``auto``. A ``Path`` is always a file; a
            string that is no name is one if it has a separator or the suffix of a weights file, or if the file exists.

    Raises:
        UnknownNameError: Nothing has that name.
        ModelError: There are no weights, or they are damaged, unsafe, or fit no network.
    """
    if isinstance(name, Path):
        return _load_file(name)
    try:
        found = resolve_weights(name)
    except UnknownNameError:
        if looks_like_file(name):
            return _load_file(Path(name))
        raise
    assert found.entry is not None
    match = _read_entry(found.entry)
    notes = (*found.notes, *match.notes)
    return _build(match, found.entry.card, notes)


def looks_like_file(name: str) -> bool:
    """Tell whether a word that is no name of weights is meant to be a file."""
    return "/" in name or "\\" in name or name.lower().endswith(_SUFFIXES) or Path(name).is_file()


def _no_weights(name: str, found: Resolved) -> str:
    family = found.spec.name
    known = [entry.card for entry in entries() if entry.card.family == family and entry.place == "absent"]
    fitting = [card for card in known if card.variant == found.variant] or known
    start = f"no weights of {name!r} are here"
    if fitting:
        return f"{start}; {how_to_get(fitting[0])}"
    return f"{start}; import a file of yours with: restorekit models import {found.variant} FILE"


def _read_entry(entry: Entry) -> Match:
    """Read weights that have a card, and make sure that they are the ones of the card."""
    card = entry.card
    if entry.place == "absent":
        raise ModelError(f"the weights {card.tag!r} are not here; {how_to_get(card)}")
    try:
        data = entry.path.read_bytes()
    except OSError as error:
        raise ModelError(f"{entry.path} cannot be read ({error.strerror}); {how_to_repair(entry)}") from error
    if len(data) != card.bytes or hashlib.sha256(data).hexdigest() != card.sha256:
        raise ModelError(
            f"{entry.path} is damaged: {len(data)} bytes that are not those of its card; {how_to_repair(entry)}"
        )
    state = parse_checkpoint(data, str(entry.path)).state
    return recognise(state, name=str(entry.path), family=card.family, variant=card.variant)


def _load_file(path: Path) -> Loaded:
    """Load a file that the user named: by its hash if a card knows it, else by its keys."""
    if path.is_dir():
        raise ModelError(f"{path} is a folder; name the file of weights in it")
    checkpoint = read_checkpoint(path)
    card = next(
        (entry.card for entry in entries() if checkpoint.sha256 in (entry.card.sha256, entry.card.source_sha256)), None
    )
    if card is not None:
        match = recognise(checkpoint.state, name=str(path), family=card.family, variant=card.variant)
        return _build(match, card, (f"{path.name} is {card.tag}, by its SHA-256", *checkpoint.notes))
    try:
        match = recognise(checkpoint.state, name=str(path))
    except NoFitError as error:
        if error.likeness >= _OURS:
            raise
        found = recognise_community(checkpoint.state, name=str(path), metadata=checkpoint.metadata)
        return _foreign(found, checkpoint.notes)
    assumed = f"no card knows {path.name}; by its keys it is {match.spec.name} {match.variant!r}"
    rule = "whose inference rule was not measured: fp32, tiles overlap by 64 pixels"
    return _build(match, None, (f"{assumed}, {rule}", *match.notes, *checkpoint.notes))


def _build(match: Match, card: Card | None, notes: tuple[str, ...]) -> Loaded:
    with WithoutDraws():
        network = match.spec.build(match.variant)
    network.load_state_dict(match.state)
    return Loaded(
        model=network.eval(),
        spec=match.spec,
        variant=match.variant,
        card=card,
        tag=None if card is None else card.tag,
        rule=UNMEASURED if card is None else card.inference,
        notes=list(notes),
    )


def _foreign(found: Community, notes: tuple[str, ...]) -> Loaded:
    """Return a network of the community, with a description that no registry holds."""
    spec = ModelSpec(
        name=found.name,
        task="restore",
        network=lambda: found.model,
        variants={found.variant: {}},
        default_variant=found.variant,
        size=found.size,
        paper="not known",
        licence="not stated",
    )
    return Loaded(
        model=found.model,
        spec=spec,
        variant=found.variant,
        card=None,
        tag=None,
        rule=found.rule,
        scale=found.scale,
        notes=[*found.notes, *notes],
    )


def create_model(
    name: str, *, variant: str | None = None, pretrained: bool | str | Path = False, **config: Any
) -> nn.Module:
    """Build a network.

    Args:
        name: Family, alias, variant or tag. Of a family the variant of its default weights is built.
        variant: Another variant of the family.
        pretrained: ``True`` loads the default weights of the name, a tag or a path those weights.
        **config: Arguments of the network that replace those of the variant.

    Returns:
        The network, in training mode as PyTorch builds it, float32, on the CPU.

    Raises:
        UnknownNameError: Nothing has that name, the family has no such variant, or the network no such argument.
        ModelError: There are no such weights, or they do not fit the network.
    """
    found = resolve(name)
    spec = found.spec
    chosen = variant or found.variant
    if pretrained is False:
        return spec.build(chosen, **config)
    weights = pretrained if pretrained is not True else (variant if variant is not None else name)
    loaded = load(weights)
    if variant is None and loaded.spec is spec:
        chosen = loaded.variant
    network = spec.build(chosen, **config)
    try:
        network.load_state_dict(loaded.model.state_dict())
    except RuntimeError as error:
        raise ModelError(
            f"the weights {loaded.tag or weights} do not fit {chosen!r} as asked for; leave out what changes its shape"
        ) from error
    return network
