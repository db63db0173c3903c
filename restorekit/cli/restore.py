"""``restorekit restore``: picture files in, restored picture files out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from restorekit.cli import _options as o
from restorekit.cli._common import set_up_logging
from restorekit.cli._depth import concerns_depth, restore_depth
from restorekit.cli._words import parse_bytes, parse_color, parse_count, parse_crop, parse_shard, parse_tile
from restorekit.errors import UsageError

app = typer.Typer()

_AS_GIVEN = (
    *("inputs", "out", "recursive", "suffix", "format", "quality", "bit_depth", "strip_metadata"),
    *("overwrite", "skip_existing", "resume", "workers", "compare"),
)
_EXAMPLES = """\b
Examples:
  restorekit restore photo.jpg --compare
  restorekit restore holiday/ --out better/ --recursive --model hogformer
"""


@app.command(epilog=_EXAMPLES)
def restore(
    ctx: typer.Context,
    inputs: Annotated[list[str], Argument(metavar="INPUT", help="Files, folders, patterns; - is standard input.")],
    out: o.Out = None,
    model: Annotated[str, Option("--model", "-m", help="Family, variant, tag, file of weights, or auto.")] = "resunet",
    recursive: o.Recursive = False,
    suffix: o.Suffix = None,
    format: o.Format = None,
    quality: o.Quality = None,
    bit_depth: o.BitDepth = None,
    strip_metadata: o.StripMetadata = False,
    background: o.Background = "white",
    overwrite: o.Overwrite = False,
    skip_existing: o.SkipExisting = False,
    resume: o.Resume = False,
    shard: o.Shard = None,
    workers: o.Workers = 1,
    max_pixels: o.MaxPixels = "500M",
    max_file_size: o.MaxFileSize = "4GB",
    strength: Annotated[float, Option(help="0 to 1: share of the restored picture; 0 changes nothing.")] = 1.0,
    mask: Annotated[Path | None, Option(help="Picture of the same size: white is restored, black stays.")] = None,
    crop: Annotated[str | None, Option(metavar="X,Y,WIDTH,HEIGHT", help="Only this part, to try a setting.")] = None,
    guide: o.Guide = None,
    scale: o.Scale = None,
    unit: o.Unit = None,
    compare: Annotated[bool, Option("--compare", help="Also write a before/after picture.")] = False,
    tile: Annotated[str, Option(help="auto, off, or the side of a tile in pixels.")] = "auto",
    max_memory: Annotated[str | None, Option(help="Memory a restoration may take: 4GB, 500M.")] = None,
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    precision: Annotated[str, Option(help="auto, fp32, bf16, fp16.")] = "auto",
    ensemble: Annotated[bool, Option("--ensemble", help="Mean of eight orientations: eight times slower.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="List what would be done, and the time it takes.")] = False,
    as_json: o.AsJson = False,
    verbose: o.Verbose = False,
) -> None:
    """Restore pictures: noise, rain, haze, low light, blur, JPEG and snow.

    Without --out, photo.jpg becomes photo_restored.jpg beside it. In a folder given by --out, names stay as they were.
    A picture that fails is named at the end with its reason; the others are done, and the exit code is 3.
    """
    set_up_logging(verbose=verbose)
    if concerns_depth(ctx):
        restore_depth(ctx)
    if as_json and (out == "-" or (out is None and "-" in inputs)):
        raise UsageError("standard output takes the picture or the JSON, not both; give --out a file name")
    from restorekit.cli._show import show
    from restorekit.cli._watch import Watcher
    from restorekit.inference.batch import Files, Settings, forecast_files, restore_files
    from restorekit.io.limits import Limits

    files = Files(
        **{name: ctx.params[name] for name in _AS_GIVEN},
        background=parse_color(background),
        shard=None if shard is None else parse_shard(shard),
        limits=Limits(pixels=parse_count(max_pixels), file_bytes=parse_bytes(max_file_size)),
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
    show(report, as_json=as_json, planned=dry_run)
    raise typer.Exit(report.exit_code)
