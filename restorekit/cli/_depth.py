"""What ``restorekit restore`` does with a depth map and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from restorekit.cli._common import print_json, say
from restorekit.cli._words import parse_bytes, parse_count, parse_tile
from restorekit.errors import UsageError

if TYPE_CHECKING:
    from restorekit.inference import Summary
    from restorekit.inference.depth_files import DepthOutcome, DepthReport

__all__ = ["concerns_depth", "restore_depth"]

_OURS = ("guide", "scale", "unit")
_FOR_PICTURES = (
    *("recursive", "quality", "bit_depth", "strip_metadata", "background", "resume", "shard", "workers"),
    *("strength", "mask", "crop", "ensemble"),
)


def concerns_depth(ctx: typer.Context) -> bool:
    """Tell whether a depth map is meant: by an option, or by a model that needs a guide."""
    if any(ctx.params[name] is not None for name in _OURS):
        return True
    if not _given(ctx, "model"):
        return False
    from restorekit.inference.depth import needs_guide

    return needs_guide(ctx.params["model"])


def restore_depth(ctx: typer.Context) -> None:
    """Restore depth maps as the words say, and exit."""
    params = ctx.params
    if params["guide"] is None:
        raise UsageError("a depth map is restored with the help of a picture of the same view; name it with --guide")
    wrong = [name for name in _FOR_PICTURES if _given(ctx, name)]
    if wrong:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
        raise UsageError(f"with --guide there is no {options}; leave it out")
    if params["precision"] not in ("auto", "fp32"):
        raise UsageError(f"depth is always computed in fp32; leave --precision {params['precision']} out")
    report = _run(params, named=_given(ctx, "model"))
    if params["as_json"]:
        print_json(report.record())
    elif not params["dry_run"]:
        _say_sum(report)
    raise typer.Exit(report.exit_code)


def _given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _run(params: dict[str, Any], *, named: bool) -> DepthReport:
    from restorekit.inference.depth_files import DepthFiles, DepthSettings, restore_depth_files
    from restorekit.io.limits import Limits

    files = DepthFiles(
        **{name: params[name] for name in ("inputs", "guide", "out", "suffix", "format", "overwrite")},
        **{name: params[name] for name in ("skip_existing", "compare", "unit", "scale")},
        limits=Limits(pixels=parse_count(params["max_pixels"]), file_bytes=parse_bytes(params["max_file_size"])),
    )
    memory = params["max_memory"]
    settings = DepthSettings(
        **({"model": params["model"]} if named else {}),
        device=params["device"],
        tile=parse_tile(params["tile"]),
        max_memory=None if memory is None else parse_bytes(memory),
    )
    return restore_depth_files(files, settings, dry_run=params["dry_run"], begins=_begins, ends=_ends)


def _begins(model: Summary, notes: Sequence[str]) -> None:
    from restorekit.cli._show import describe

    say(describe(model))
    for note in notes:
        say(f"Note: {note}")


def _ends(outcome: DepthOutcome) -> None:
    if outcome.status in ("done", "planned"):
        also = f" and {outcome.comparison}" if outcome.comparison else ""
        how = "" if outcome.seconds is None else f" ({_words(outcome)})"
        say(f"{outcome.source} with {outcome.guide} -> {outcome.target}{also}{how}")
    for note in outcome.notes:
        say(f"Note: {outcome.source}: {note}")


def _words(outcome: DepthOutcome) -> str:
    holes = f", {outcome.holes} holes" if outcome.holes else ""
    depths = f"{outcome.least:.4g} to {outcome.greatest:.4g} {outcome.unit}"
    return f"{outcome.width}x{outcome.height}, {depths}{holes}, {outcome.seconds:.1f} s"


def _say_sum(report: DepthReport) -> None:
    counts = {status: [m for m in report.maps if m.status == status] for status in ("done", "failed", "skipped")}
    words = [f"{len(found)} {'written' if status == 'done' else status}" for status, found in counts.items() if found]
    say(f"{', '.join(words)} in {report.seconds:.1f} s")
    for outcome in counts["failed"]:
        say(f"{outcome.source}: {outcome.reason}")
