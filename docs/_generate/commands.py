"""The page of all commands, from the command line's own help."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAD = "# Commands\n\nWritten by `make generate` from `restorekit --help` and the help of every command.\n"


def pages(root: Path) -> dict[Path, str]:
    """Return the generated files and their texts."""
    return {root / "docs" / "commands.md": HEAD}


def _help(*words: str) -> str:
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    code = f"from restorekit.cli.app import main; main({[*words, '--help']!r})"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
