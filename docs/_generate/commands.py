"""The page of all commands, from what the command line says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from restorekit.cli.app import app

HEAD = """# Commands

Written by `make generate` from the commands themselves; `restorekit COMMAND --help` shows the same, with examples.
"""


def pages(root: Path) -> dict[Path, str]:
    """Return the generated files and their texts."""
    command = typer.main.get_command(app)
    context = command.context_class(command, info_name="restorekit")
    return {root / "docs" / "commands.md": HEAD + "".join(_sections(command, context, "restorekit"))}


def _sections(command: Any, context: Any, path: str) -> Iterator[str]:
    """Yield a section for a command and for each one below it."""
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if not below.hidden:
                yield from _sections(
                    below, below.context_class(below, info_name=name, parent=context), f"{path} {name}"
                )
        return
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    words = [parameter for parameter in shown if parameter.param_type_name == "argument"]
    options = [parameter for parameter in shown if parameter.param_type_name == "option"]
    usage = " ".join([path, *(f"<{word.name}>" + ("..." if word.nargs == -1 else "") for word in words), "[options]"])
    yield f"\n## {path}\n\n{_sentences(command.help)}\n\n```text\n{usage}\n```\n\n"
    yield "| argument or option | default | meaning |\n|---|---|---|\n"
    for word in words:
        yield f"| `<{word.name}>` | {_default(word)} | {_cell(word.help)} |\n"
    for option in options:
        names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
        yield f"| {names} | {_default(option)} | {_cell(option.help)} |\n"


def _sentences(text: str | None) -> str:
    """Return the description of a command in one paragraph, without the examples that follow it."""
    return " ".join((text or "").partition("\f")[0].partition("\b")[0].split())


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    return "" if value is None or value is False or value == () or value == [] else f"`{value}`"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
