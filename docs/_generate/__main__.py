"""Writes the pages and tables that are made from records: ``python docs/_generate`` (``make generate``).

With ``--check`` nothing is written; stale files are named, and the exit code is 1 if there are any.
"""

from __future__ import annotations

import sys
from pathlib import Path

import commands
import models

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Write or check all generated files."""
    check = "--check" in sys.argv[1:]
    wanted = {**models.pages(ROOT), **commands.pages(ROOT)}
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(path.relative_to(ROOT).as_posix())
        if not check:
            path.write_text(wanted[path], encoding="utf-8", newline="\n")
    return 1 if check and stale else 0


sys.exit(main())
