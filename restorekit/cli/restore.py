"""``restorekit restore``: picture files in, restored picture files out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from restorekit.cli._common import parse_bytes, parse_crop, parse_tile, print_json, set_up_logging
from restorekit.errors import UsageError

app = typer.Typer()

_EXAMPLES = """\b
Examples:
  restorekit restore photo.jpg --compare
  restorekit restore holiday/ --out better/ --recursive --model hogformer
"""


@app.command(epilog=_EXAMPLES)
def restore(
    inputs: Annotated[list[str], Argument(metavar="INPUT", help="Files, folders, patterns; - is standard input.")],
    out: Annotated[str | None, Option("--out", "-o", help="File, folder (made if missing), or - (stdout).")] = None,
    model: Annotated[str, Option("--model", "-m", help="Family, variant, tag, file of weights, or auto.")] = "resunet",
    recursive: Annotated[bool, Option("--recursive", "-r", help="Enter folders of folders; mirror the tree.")] = False,
    suffix: Annotated[str | None, Option(help="End of the names of outputs, before the dot.")] = None,
    format: Annotated[str | None, Option(help="png, jpeg, webp, tiff, bmp; that of the input if not given.")] = None,
    quality: Annotated[int | None, Option(help="1 to 100 of JPEG, lossy WebP; 95 or the input's if higher.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace outputs that exist.")] = False,
    skip_existing: Annotated[bool, Option("--skip-existing", help="Pass over inputs whose output exists.")] = False,
    strength: Annotated[float, Option(help="0 to 1: share of the restored picture; 0 changes nothing.")] = 1.0,
    mask: Annotated[Path | None, Option(help="Picture of the same size: white is restored, black stays.")] = None,
    crop: Annotated[str | None, Option(metavar="X,Y,WIDTH,HEIGHT", help="Only this part, to try a setting.")] = None,
    compare: Annotated[bool, Option("--compare", help="Also write a before/after picture.")] = False,
    tile: Annotated[str, Option(help="auto, off, or the side of a tile in pixels.")] = "auto",
    max_memory: Annotated[str | None, Option(help="Memory a restoration may take: 4GB, 500M.")] = None,
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    precision: Annotated[str, Option(help="auto, fp32, bf16, fp16.")] = "auto",
    ensemble: Annotated[bool, Option("--ensemble", help="Mean of eight orientations: eight times slower.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="List what would be done, and the time it takes.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON on standard output.")] = False,
    verbose: Annotated[bool, Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    """Restore pictures: noise, rain, haze, low light, blur, JPEG and snow.

    Without --out, photo.jpg becomes photo_restored.jpg beside it. In a folder given by --out, names stay as they were.
    A picture that fails is named at the end with its reason; the others are done, and the exit code is 3.
    """
    set_up_logging(verbose=verbose)
    if as_json and (out == "-" or (out is None and "-" in inputs)):
        raise UsageError("standard output takes the picture or the JSON, not both; give --out a file name")
    from restorekit.cli._show import print_forecast, print_report
    from restorekit.cli._watch import Watcher
    from restorekit.inference.batch import Files, Settings, forecast_files, restore_files

    files = Files(
        inputs=inputs,
        out=out,
        recursive=recursive,
        suffix=suffix,
        format=format,
        quality=quality,
        overwrite=overwrite,
        skip_existing=skip_existing,
        compare=compare,
    )
    settings = Settings(
        model=model,
        device=device,
        precision=precision,
        tile=parse_tile(tile),
        max_memory=None if max_memory is None else parse_bytes(max_memory),
        ensemble=ensemble,
        strength=strength,
        mask=mask,
        crop=None if crop is None else parse_crop(crop),
    )
    if dry_run:
        report = forecast_files(files, settings)
    else:
        with Watcher(verbose=verbose) as watcher:
            report = restore_files(files, settings, listener=watcher)
    if as_json:
        print_json(report.record())
    elif dry_run:
        print_forecast(report)
    else:
        print_report(report)
    raise typer.Exit(report.exit_code)
