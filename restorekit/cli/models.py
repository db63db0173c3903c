"""``restorekit models``: which weights there are, and bring more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from restorekit.cli import _models_bring as bring
from restorekit.cli._common import print_json, say

app = typer.Typer(no_args_is_help=True, help="List weights, bring those of others, check and remove them.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  restorekit models {line}" for line in lines)


def _answer(value: Any, lines: Iterable[str], *, as_json: bool) -> None:
    if as_json:
        print_json(value)
    else:
        typer.echo("\n".join(lines))


@app.command("list", epilog=_examples("list --license commercial", "list 'hogformer*' --json"))
def list_(
    pattern: Annotated[str, typer.Argument(help="Shell pattern of tags or families.")] = "*",
    licence: Annotated[
        str | None,
        typer.Option(
            "--license",
            "--licence",
            help="commercial (network and weights may be used commercially), or a name such as MIT; * is anything.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List all weights: those that are here, and those that can be pulled or imported."""
    from restorekit.hub.licences import fits_licence
    from restorekit.hub.store import entries, summarise

    found = [entry for entry in entries(pattern=pattern) if licence is None or fits_licence(entry.card, licence)]
    if licence is not None and not as_json:
        say("What the data that weights were trained on allows stands on their cards: restorekit models show TAG")
    _answer([entry.record() for entry in found], summarise(found), as_json=as_json)


@app.command(epilog=_examples("show resunet", "show downloads/net_g.pth --json"))
def show(
    name: Annotated[str, typer.Argument(help="Tag, variant, family, auto, or a file of weights.")],
    as_json: Json = False,
) -> None:
    """Show the card of weights: what they are for, their licence, what they reach; of a file, what it is taken for."""
    from restorekit.hub import show_weights

    shown = show_weights(name)
    _answer(shown.record, [shown.page.rstrip()], as_json=as_json)


app.command(epilog=_examples("pull hogformer-natural.five-task", "pull mirl.all-in-one --json"))(bring.pull)
app.command(
    "import", epilog=_examples("import hogformer-natural.five-task model.ckpt", "import resunet a.pth --tag resunet.a")
)(bring.import_)
app.command(
    epilog=_examples("convert net_g_latest.pth --out net.safetensors", "convert net.safetensors --to authors --json")
)(bring.convert)


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
