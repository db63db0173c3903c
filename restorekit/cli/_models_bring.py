"""The commands of ``restorekit models`` that bring weights: pull, import, convert."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from restorekit.cli._common import print_json, say

__all__ = ["convert", "import_", "pull"]

Json = Annotated[bool, Option("--json", help="Print JSON.")]


class Whose(StrEnum):
    """Whose names weights have."""

    OURS = "ours"
    AUTHORS = "authors"


Overwrite = Annotated[bool, Option("--overwrite", help="Replace what has that name.")]


def pull(
    tags: Annotated[list[str], Argument(metavar="TAG...", help="Tags that models list shows as not here.")],
    as_json: Json = False,
) -> None:
    """Fetch weights from where their authors put them, check and convert them.

    A download that was interrupted goes on where it stopped; weights in the cache that are damaged are fetched again.
    """
    from restorekit.cli._transfer import Transfer
    from restorekit.hub.pulling import pull as fetch

    records: list[dict[str, Any]] = []
    for tag in tags:
        with Transfer(tag) as transfer:
            done = fetch(tag, progress=transfer.moves, waiting=transfer.waits)
        _note(done.notes)
        card = done.entry.card
        records.append({**done.entry.record(), "fetched": done.fetched, "notes": done.notes})
        if not as_json:
            typer.echo(f"{card.tag}: {'fetched' if done.fetched else 'here already'}; {_use(card)}")
    if as_json:
        print_json(records)


def import_(
    name: Annotated[str, Argument(help="What the file holds: a listed tag, a variant, or a family.")],
    file: Annotated[Path, Argument(help="Weights as published: .pth, .pt, .ckpt, .safetensors.")],
    tag: Annotated[str | None, Option(help="Name for them. Default: the tag, or VARIANT.imported.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Convert a file of weights, strictly and safely, and keep it under a name."""
    from restorekit.hub import import_weights

    done = import_weights(name, file, tag=tag, overwrite=overwrite)
    _note(done.notes)
    if as_json:
        print_json({**done.entry.record(), "notes": done.notes})
        return
    card = done.entry.card
    typer.echo(f"{card.tag}: {card.family}, variant {card.variant}; {_use(card)}")


def convert(
    file: Annotated[Path, Argument(help="Weights, under our names or their authors'.")],
    to: Annotated[Whose, Option(help="Whose names and container are written.")] = Whose.OURS,
    out: Annotated[Path | None, Option("--out", "-o", help="File to write; beside FILE if not given.")] = None,
    network: Annotated[str | None, Option(help="Family, variant or tag, where names and shapes fit several.")] = None,
    container: Annotated[
        str | None, Option(help="plain, params, state_dict/net., ...; default: as its cards say.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write weights under our names as safetensors, or under their authors' names as their program reads them."""
    from dataclasses import asdict

    from restorekit.hub.converting import convert_file

    done = convert_file(
        file,
        to="ours" if to is Whose.OURS else "authors",
        out=out,
        network=network,
        container=container,
        overwrite=overwrite,
    )
    _note(done.notes)
    if as_json:
        print_json({**asdict(done), "path": str(done.path)})
        return
    typer.echo(
        f"{done.path}: {done.family}, variant {done.variant}, {done.tensors} tensors, {done.bytes / 1e6:.1f} MB, "
        f"container {done.container}"
    )


def _note(notes: tuple[str, ...]) -> None:
    for note in notes:
        say(f"Note: {note}.")


def _use(card: Any) -> str:
    return (
        f"licence of the weights: {card.licence_weights}\nUse it with: restorekit restore photo.jpg --model {card.tag}"
    )
