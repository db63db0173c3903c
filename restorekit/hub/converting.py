"""From a file of weights to another one: the authors' container to ours, and back."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor

from restorekit.errors import ModelError, UsageError
from restorekit.hub.checkpoint import WRAPPERS, read_checkpoint
from restorekit.hub.convert import Match, recognise
from restorekit.hub.load import resolve
from restorekit.hub.store import entries
from restorekit.io.atomic import atomic_file
from restorekit.models import MODELS

__all__ = ["Converted", "Form", "container_of", "convert_file"]

Form = Literal["ours", "authors"]
_LIGHTNING = {"epoch": 0, "global_step": 0, "pytorch-lightning_version": "2.0.0"}
"""What programs that read a Lightning checkpoint look for besides the weights."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What a conversion did.

    Attributes:
        path: The file that was written.
        family: Family of the network.
        variant: Its variant.
        container: How the weights lie in the file, as a card says it; ``plain`` for ours.
        tensors: Number of tensors in it.
        bytes: Size of the file.
        sha256: Hash of the file.
        notes: What was assumed, one sentence each.
    """

    path: Path
    family: str
    variant: str
    container: str
    tensors: int
    bytes: int
    sha256: str
    notes: tuple[str, ...]


def container_of(variant: str) -> str:
    """Return how the authors put the weights of a variant into a file, as its cards say; else ``params``."""
    cards = [entry.card for entry in entries() if entry.card.variant == variant]
    return next((card.source_container for card in cards if card.source_container is not None), "params")


def convert_file(
    file: Path,
    *,
    to: Form = "ours",
    out: Path | None = None,
    network: str | None = None,
    container: str | None = None,
    overwrite: bool = False,
) -> Converted:
    """Write the weights of a file under our names, or under those of the network's authors.

    Args:
        file: Weights in any container, under our names or the authors'.
        to: ``ours``: our names, as safetensors, with family and variant in the file's head. ``authors``: their names,
            in the container that their program reads.
        out: The file to write; beside ``file`` if ``None``.
        network: Family, variant or tag that the weights belong to; found out by their names and shapes if ``None``.
        container: For ``authors``: how the weights lie in the file, such as ``params`` or ``state_dict/net.``; what the
            cards of the variant say if ``None``.
        overwrite: Whether a file of that name may be replaced.

    Returns:
        What was written.

    Raises:
        UsageError: The file exists, or the container has no such form.
        ModelError: The file cannot be read, fits no network, or the network's authors have no names of their own.
    """
    checkpoint = read_checkpoint(file)
    match = _recognise(checkpoint.state, str(file), network)
    if to == "ours":
        container, state = "plain", match.state
        target = out or file.with_name(f"{file.stem}.ours.safetensors")
    else:
        container = container or container_of(match.variant)
        state = _authors_names(match)
        target = out or file.with_name(
            f"{file.stem}.authors{'.ckpt' if container.startswith('state_dict') else '.pth'}"
        )
    data = _ours(match) if to == "ours" else _theirs(state, container, target)
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists already; give --overwrite to replace it, or another name with --out")
    _write(data, target)
    return Converted(
        path=target,
        family=match.spec.name,
        variant=match.variant,
        container=container,
        tensors=len(state),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        notes=(*match.notes, *checkpoint.notes),
    )


def _recognise(state: Mapping[str, Tensor], name: str, network: str | None) -> Match:
    if network is None:
        return recognise(state, name=name)
    found = resolve(network)
    return recognise(state, name=name, family=found.spec.name, variant=None if network in MODELS else found.variant)


def _authors_names(match: Match) -> dict[str, Tensor]:
    if match.spec.revert is None:
        raise ModelError(f"{match.spec.name} has no names but ours: it is a network of this project; leave --to out")
    return match.spec.revert(dict(match.state))


def _ours(match: Match) -> bytes:
    # one entry: of several the order in the file would differ from time to time, and with it the hash
    return safetensors.torch.save(match.state, {"restorekit": f"{match.spec.name} {match.variant}"})


def _theirs(state: Mapping[str, Tensor], container: str, target: Path) -> bytes:
    entry, _, prefix = container.partition("/")
    if entry not in ("plain", *WRAPPERS):
        raise UsageError(f"unknown container {container!r}; give plain, {', '.join(WRAPPERS)}, with /PREFIX behind it")
    named = {prefix + key: value.contiguous() for key, value in state.items()}
    if target.suffix == ".safetensors":
        return safetensors.torch.save(named, {"format": "pt"})
    content: dict[str, Any] = named if entry == "plain" else {entry: named}
    if entry == "state_dict" and prefix:
        content = {**_LIGHTNING, **content}
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def _write(data: bytes, target: Path) -> None:
    try:
        with atomic_file(target) as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"{target} cannot be written ({error.strerror}); name another file with --out") from error
