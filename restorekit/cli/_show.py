"""How results are said to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from restorekit.cli._common import print_json, say

if TYPE_CHECKING:
    from restorekit.inference import Summary
    from restorekit.inference.batch import BatchReport

__all__ = ["describe", "show", "show_time"]


def describe(model: Summary) -> str:
    """Say what was chosen, in one line."""
    weights = f"weights {model.tag}" if model.tag else "weights without a card"
    return f"{model.model} ({model.variant}), {weights}, on {model.device} in {model.precision}: {model.rule}"


def show_time(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def show(report: BatchReport, *, as_json: bool, planned: bool) -> None:
    """Say what came of a batch, or would come of it."""
    if as_json:
        print_json(report.record())
    elif planned:
        _print_forecast(report)
    else:
        _print_report(report)


def _print_report(report: BatchReport) -> None:
    """Say what came of a batch; a picture that failed is named with its reason."""
    counts = [f"{len(report.of('done'))} written"]
    counts += [f"{len(found)} {status}" for status in ("failed", "skipped") if (found := report.of(status))]
    say(f"{', '.join(counts)} in {show_time(report.seconds)}")
    for outcome in report.of("failed"):
        say(f"{outcome.source}: {outcome.reason}")


def _print_forecast(report: BatchReport) -> None:
    """List what would be done, and how long it would take."""
    typer.echo(describe(report.model))
    for outcome in report.pictures:
        planned = outcome.plan or "as large as it is"
        what = planned if outcome.reason is None else f"{outcome.status}, {outcome.reason}"
        typer.echo(f"{outcome.source} -> {outcome.target}: {what}")
    typer.echo(f"{len(report.of('planned'))} to restore, about {show_time(report.seconds)}; nothing was written")
