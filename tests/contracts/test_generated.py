"""What is made from records is not stale."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_generated_files_are_what_the_records_say(repository: Path) -> None:
    result = subprocess.run(
        [sys.executable, "docs/_generate", "--check"], cwd=repository, capture_output=True, text=True, check=False
    )
    assert result.returncode in (0, 1), result.stderr
    assert not result.stdout, f"run 'make generate'; stale: {result.stdout}"
    assert not result.stderr, result.stderr
