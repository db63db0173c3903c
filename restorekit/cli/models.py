"""``restorekit models``: which weights there are, and bring more."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from restorekit.cli._common import print_json, say

app = typer.Typer(no_args_is_help=True, help="List weights, import those of others, check and remove them.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  restorekit models {line}" for line in lines)


def _answer(value: Any, lines: Iterable[str], *, as_json: bool) -> None:
    if as_json:
        print_json(value)
    else:
        typer.echo("\n".join(lines))


@app.command("list", epilog=_examples("list", "list 'hogformer*' --json"))
def list_(
    pattern: Annotated[str, typer.Argument(help="Shell pattern of tags or families.")] = "*", as_json: Json = False
) -> None:
    """List all weights: those that are here, and those that can be imported."""
    from restorekit.hub.store import entries, summarise

    found = entries(pattern=pattern)
    _answer([entry.record() for entry in found], summarise(found), as_json=as_json)


@app.command(epilog=_examples("show resunet", "show hogformer-natural.five-task --json"))
def show(name: Annotated[str, typer.Argument(help="Tag, variant, family, or auto.")], as_json: Json = False) -> None:
    """Show the card of weights: what they are for, their licence, what they reach."""
    from restorekit.hub import show_weights

    shown = show_weights(name)
    _answer(shown.record, [shown.page.rstrip()], as_json=as_json)


@app.command(
    "import", epilog=_examples("import hogformer-natural.five-task model.ckpt", "import resunet a.pth --tag resunet.a")
)
def import_(
    name: Annotated[str, typer.Argument(help="What the file holds: a listed tag, a variant, or a family.")],
    file: Annotated[Path, typer.Argument(help="Weights as published: .pth, .pt, .ckpt, .safetensors.")],
    tag: Annotated[str | None, typer.Option(help="Name for them. Default: the tag, or VARIANT.imported.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other weights of that name.")] = False,
    as_json: Json = False,
) -> None:
    """Convert a file of weights, strictly and safely, and keep it under a name."""
    from restorekit.hub import import_weights

    done = import_weights(name, file, tag=tag, overwrite=overwrite)
    for note in done.notes:
        say(f"Note: {note}.")
    card = done.entry.card
    lines = [
        f"{card.tag}: {card.family}, variant {card.variant}; licence of the weights: {card.licence_weights}",
        f"Use it with: restorekit restore photo.jpg --model {card.tag}",
    ]
    _answer({**done.entry.record(), "notes": done.notes}, lines, as_json=as_json)


@app.command(epilog=_examples("verify", "verify resunet.a"))
def verify(
    tags: Annotated[list[str] | None, typer.Argument(metavar="[TAG...]", help="Default: all that are here.")] = None,
    as_json: Json = False,
) -> None:
    """Compare the files of weights with the size and SHA-256 on their cards; exit with 4 if one differs."""
    from restorekit.errors import ModelError
    from restorekit.hub.store import verify_all

    faults = verify_all(tags)
    lines = [f"{tag}: {fault or 'as on its card'}" for tag, fault in faults.items()] or ["no weights are here"]
    _answer([{"tag": tag, "fault": fault} for tag, fault in faults.items()], lines, as_json=as_json)
    if any(faults.values()):
        raise typer.Exit(ModelError.exit_code)


@app.command(epilog=_examples("rm resunet.a", "rm hogformer-natural.imported --json"))
def rm(tag: Annotated[str, typer.Argument(help="Tag of imported weights.")], as_json: Json = False) -> None:
    """Remove imported weights."""
    from restorekit.hub.store import remove

    size = remove(tag)
    _answer({"tag": tag, "bytes": size}, [f"removed {tag} ({size / 1e6:.1f} MB)"], as_json=as_json)
