"""``restorekit demo``: restore the bundled sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restorekit.cli._common import print_json

app = typer.Typer()

_EXAMPLES = """\b
Examples:
  restorekit demo
  restorekit demo --model hogformer --out pictures/
"""


@app.command(epilog=_EXAMPLES)
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures.")] = Path("demo"),
    model: Annotated[str, typer.Option(help="Family, variant or tag; auto is the default network.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Restore the bundled sample, say how well, and leave a before/after picture."""
    from restorekit.inference.demo import demonstrate

    done = demonstrate(out, model=model, device=device)
    values = {
        "model": f"{done.summary.model}, variant {done.summary.variant}",
        "weights": done.summary.tag,
        "device": f"{done.summary.device}, {done.summary.precision}",
        "seconds": round(done.seconds, 2),
        "psnr_before_db": round(done.psnr_before, 2),
        "psnr_after_db": round(done.psnr_after, 2),
        "restored": str(done.restored),
        "before_after": str(done.comparison),
    }
    if as_json:
        print_json(values)
        return
    typer.echo(f"model         {values['model']}")
    typer.echo(f"weights       {values['weights']}")
    typer.echo(f"device        {values['device']}")
    typer.echo(f"time          {values['seconds']:.2f} s")
    typer.echo(f"PSNR          {done.psnr_before:.2f} dB -> {done.psnr_after:.2f} dB")
    typer.echo(f"restored      {done.restored}")
    typer.echo(f"before/after  {done.comparison}")
