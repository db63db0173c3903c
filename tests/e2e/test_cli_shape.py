"""What all commands have in common."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import restorekit
from restorekit.cli import app as application
from restorekit.cli.app import COMMANDS
from tests.e2e.conftest import Cli

FOLDER = Path(str(application.__file__)).parent
MOST_LINES = 120


def commands(command: Any = None, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the words of all commands that do something."""
    command = typer.main.get_command(application.app) if command is None else command
    if not hasattr(command, "list_commands"):
        return [words]
    context = typer.Context(command)
    names = command.list_commands(context)
    return [found for name in names for found in commands(command.get_command(context, name), (*words, name))]


ALL = [(), *commands()]


def examples(text: str) -> list[str]:
    """Return the examples at the end of a help text."""
    _, _, tail = text.partition("Examples:")
    return [line.strip() for line in tail.splitlines() if line.strip()]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_ends_with_two_examples_that_parse(cli: Cli, words: tuple[str, ...]) -> None:
    ended = cli(*words, "--help")
    assert ended.code == 0
    assert not ended.error
    shown = examples(ended.text)
    assert len(shown) == 2
    for line in shown:
        program, *rest = shlex.split(line)
        assert program == "restorekit"
        assert tuple(rest[: len(words)]) == words
        _parse(rest)


def _parse(words: list[str]) -> None:
    """Parse words without running anything; what is wrong with them is raised."""
    command: Any = typer.main.get_command(application.app)
    context = command.make_context("restorekit", list(words))
    while hasattr(command, "get_command"):
        name, *words = words
        command = command.get_command(context, name)
        context = command.make_context(name, list(words), parent=context)


def test_every_file_is_a_command_that_is_offered(cli: Cli) -> None:
    files = {path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_")} - {"app"}
    assert files == set(COMMANDS), "name the command in COMMANDS of restorekit/cli/app.py"
    text = cli("--help").text
    assert [name for name in COMMANDS if not re.search(rf"^  {name} ", text, re.MULTILINE)] == []


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_files_stay_thin(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_version(cli: Cli) -> None:
    assert cli("--version").text == f"restorekit {restorekit.__version__}\n"


def test_unknown_commands_and_options_end_with_2(cli: Cli) -> None:
    ended = cli("restroe", "a.png")
    assert ended.code == 2
    assert ended.error == "Error: unknown command 'restroe'; did you mean restore?\n"
    ended = cli("--nothing")
    assert ended.code == 2
    assert "No such option: --nothing" in ended.error


def test_nothing_asked_shows_the_help(cli: Cli) -> None:
    ended = cli()  # its exit code is a matter of click's version
    assert "Commands:" in ended.text + ended.error


def test_help_needs_no_torch_and_no_command_but_its_own() -> None:
    code = (
        "import contextlib, io, sys\n"
        "from restorekit.cli.app import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main(['restore', '--help'])\n"
        "print(*sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ended.stdout.split())
    assert "restorekit.cli.restore" in loaded
    assert not loaded & {
        "torch",
        "numpy",
        *(f"restorekit.cli.{name}" for name in COMMANDS if name != "restore"),
    }
