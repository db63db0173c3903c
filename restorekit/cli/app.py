"""The command line as a whole: which commands there are, and how every one of them ends."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import restorekit
from restorekit.errors import RestoreKitError, UnknownNameError

__all__ = ["COMMANDS", "app", "main"]

COMMANDS = ("restore", "verify", "demo", "models", "doctor", "train")
"""Each one is ``app`` in the module of its name, which is imported when it is asked for."""

_INTERRUPTED = 130
_EXAMPLES = """\b
Examples:
  restorekit restore photo.jpg
  restorekit restore holiday/ --out better/ --recursive
"""


class _Commands(TyperGroup):
    """Commands that are imported on use, and errors that become exit codes."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            raise UnknownNameError("command", cmd_name, COMMANDS)
        command: typer.Typer = import_module(f"restorekit.cli.{cmd_name}").app
        # plain help, quick and the same everywhere; completion is not a matter of single commands
        command.rich_markup_mode, command._add_completion = None, False
        return typer.main.get_command(command)

    def invoke(self, ctx: Any) -> Any:
        with _ending(debug=ctx.params["debug"]):
            return super().invoke(ctx)


@contextmanager
def _ending(*, debug: bool) -> Iterator[None]:
    """Turn errors that a user can cause into a sentence on standard error and an exit code."""
    try:
        yield
    except RestoreKitError as error:
        from restorekit.cli._common import say

        if debug:
            typer.echo(traceback.format_exc(), err=True)
        else:
            say(f"Error: {error}")
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        typer.echo("Interrupted.", err=True)
        raise typer.Exit(_INTERRUPTED) from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"restorekit {restorekit.__version__}")
        raise typer.Exit


@app.callback()
def _begin(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Restore photographs: noise, rain, haze, low light, blur, JPEG and snow."""
    from restorekit.cli._common import set_up_logging

    set_up_logging(debug=debug)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit; ``args`` are the words after the program's name."""
    words = list(sys.argv[1:] if args is None else args)
    if "--debug" in words:  # it is an option of every command
        words.remove("--debug")
        words.insert(0, "--debug")
    app(args=words, prog_name="restorekit")
