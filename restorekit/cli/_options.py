"""Options that several commands have in common: which files, how they are written, and how a run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

Out = Annotated[str | None, Option("--out", "-o", help="File, folder (made if missing), or - (stdout).")]
Recursive = Annotated[bool, Option("--recursive", "-r", help="Enter folders of folders; mirror the tree.")]
Suffix = Annotated[str | None, Option(help="End of the names of outputs, before the dot.")]
Format = Annotated[str | None, Option(help="png, jpeg, webp, tiff, bmp, avif, heic; that of the input if not given.")]
Quality = Annotated[int | None, Option(help="1 to 100 of JPEG, AVIF, HEIC, lossy WebP; 95, or the input's if higher.")]
BitDepth = Annotated[int | None, Option(help="8, 16, or 32 (floating point TIFF); that of the input if not given.")]
StripMetadata = Annotated[bool, Option("--strip-metadata", help="Write pixels and colour profile only.")]
Background = Annotated[str, Option(help="Ground under transparency where a format has none: white, black, #RRGGBB.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace outputs that exist.")]
SkipExisting = Annotated[bool, Option("--skip-existing", help="Pass over inputs whose output exists.")]
Resume = Annotated[bool, Option("--resume", help="Go on with a run that was stopped; nothing is done twice.")]
Shard = Annotated[str | None, Option(metavar="I/N", help="Do the I-th of N shares, one for each machine.")]
Workers = Annotated[int, Option(help="Threads that read files, and as many that write them.")]
MaxPixels = Annotated[str, Option(help="Larger pictures are refused: 500M, 2G (pixels).")]
MaxFileSize = Annotated[str, Option(help="Larger files are refused: 4GB, 500M.")]
Guide = Annotated[Path | None, Option(help="Picture that helps to restore a depth map, or a folder of them.")]
Scale = Annotated[int | None, Option(help="How many times finer the guide is than the depth map.")]
Unit = Annotated[str | None, Option(help="What depth is counted in: mm, cm, m, the metres of a step, or raw.")]
AsJson = Annotated[bool, Option("--json", help="Print the result as JSON on standard output.")]
Verbose = Annotated[bool, Option("--verbose", "-v", help="Say more.")]
