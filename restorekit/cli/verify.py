"""``restorekit verify``: what of pictures was kept in what was made of them, and what was lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from restorekit.cli import _options as o
from restorekit.cli._common import print_json, set_up_logging
from restorekit.cli._words import parse_bytes, parse_count

if TYPE_CHECKING:
    from restorekit.jobs.verify import Verdict, VerifyReport

app = typer.Typer()

_EXAMPLES = """\b
Examples:
  restorekit verify photo.jpg photo_restored.jpg
  restorekit verify holiday/ better/ --recursive --json
"""


@app.command(epilog=_EXAMPLES)
def verify(
    before: Annotated[Path, Argument(metavar="BEFORE", help="File or folder as it was.")],
    after: Annotated[Path, Argument(metavar="AFTER", help="What was made of it: a file, or a folder.")],
    recursive: Annotated[bool, Option("--recursive", "-r", help="Enter folders of folders.")] = False,
    suffix: Annotated[
        str | None, Option(help="End of the names of outputs, before the dot. Default: none, or _restored.")
    ] = None,
    max_pixels: o.MaxPixels = "500M",
    max_file_size: o.MaxFileSize = "4GB",
    as_json: o.AsJson = False,
    verbose: Annotated[bool, Option("--verbose", "-v", help="Also list what was kept.")] = False,
) -> None:
    """Compare pictures with what was made of them: size, depth, alpha, profile, metadata, the way up.

    Files of two folders are paired by their names; another format is fine. Exit codes: 0 if all was kept, 1 if anything
    was lost or a picture has no counterpart, 3 if nothing was lost but a file could not be read.
    """
    set_up_logging(verbose=verbose)
    from restorekit.io.limits import Limits
    from restorekit.jobs.verify import verify_files

    limits = Limits(pixels=parse_count(max_pixels), file_bytes=parse_bytes(max_file_size))

    def tell(verdict: Verdict) -> None:
        for line in _lines(verdict, verbose=verbose):
            typer.echo(line)

    report = verify_files(
        before, after, recursive=recursive, suffix=suffix, limits=limits, tell=None if as_json else tell
    )
    if as_json:
        print_json(report.record())
    else:
        typer.echo(_summary(report))
    raise typer.Exit(report.exit_code)


def _lines(verdict: Verdict, *, verbose: bool) -> list[str]:
    """Say what became of one picture; nothing where all was kept, unless asked."""
    if verdict.status == "failed":
        return [f"not readable: {verdict.reason}"]
    if verdict.status == "missing":
        return [f"{verdict.before}: missing, {verdict.reason}"]
    if verdict.status == "kept" and not verbose:
        return []
    kept = verdict.status == "kept"
    lines = [f"{verdict.before} -> {verdict.after}: {'all kept' if kept else 'something was lost'}"]
    for finding in verdict.findings:
        if verbose or not finding.kept:
            change = finding.after if finding.before == finding.after else f"{finding.before} -> {finding.after}"
            lines.append(f"  {finding.aspect} {'kept' if finding.kept else 'lost'}: {change}")
    return lines


def _summary(report: VerifyReport) -> str:
    counts = [
        (len(report.of("kept")), "kept"),
        (len(report.of("lost")), "with losses"),
        (len(report.of("missing")), "missing"),
        (len(report.of("failed")), "not readable"),
    ]
    said = ", ".join(f"{count} {what}" for count, what in counts if count)
    more = f"; {len(report.passed_over)} passed over that belong to none" if report.passed_over else ""
    total = len(report.pairs)
    return f"{total} picture{'' if total == 1 else 's'}: {said}{more}"
