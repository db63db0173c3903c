"""``python -m restorekit`` is ``restorekit``."""

from __future__ import annotations

from restorekit.cli.app import main

if __name__ == "__main__":
    main()
