"""``restorekit doctor``: what this installation has and lacks."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from restorekit.cli._common import print_json
from restorekit.errors import RestoreKitError

app = typer.Typer()

_EXAMPLES = """\b
Examples:
  restorekit doctor
  restorekit doctor --json
"""


@app.command(epilog=_EXAMPLES)
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show versions, devices, memory, formats, extras and weights, and what brings those that are missing."""
    try:
        from restorekit.hub.doctor import Device, describe_device, diagnose, screen
        from restorekit.inference.device import available_devices, choose_device, choose_precision, free_memory
    except ImportError as error:
        raise RestoreKitError(
            f"this installation is broken ({error}); repair it: {sys.executable} -m pip install --upgrade restorekit"
        ) from error

    def describe(name: str) -> Device:
        device = choose_device(name)
        return describe_device(
            name, lambda: (free_memory(device), choose_precision("auto", device, "bf16")[0] == "bf16")
        )

    names = [name for name in available_devices() if name != "cuda"]  # each card is listed under its number
    found = diagnose([describe(name) for name in names])
    if as_json:
        print_json(found.record())
    else:
        typer.echo("\n".join(screen(found)))
    if found.faults:
        raise typer.Exit(RestoreKitError.exit_code)
