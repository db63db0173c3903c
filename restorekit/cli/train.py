"""``restorekit train``: train, and release what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Train networks and release weights.")

_RUN_EXAMPLES = """\b
Examples:
  restorekit train run seven-task --clean photos/ --out runs/a
  restorekit train run seven-task --clean photos/ --out runs/b --model hogformer-tiny --start-from runs/a
"""
_AVERAGE_EXAMPLES = """\b
Examples:
  restorekit train average runs/a runs/b --out runs/mean
  restorekit train average runs/a runs/b runs/c --out runs/mean-of-three
"""
_RELEASE_EXAMPLES = """\b
Examples:
  restorekit train release runs/a --tag resunet.mine --data test-sets/
  restorekit train release runs/b --tag hogformer-tiny.mine --data test-sets/ --zoo zoo/
"""


@app.command(epilog=_RUN_EXAMPLES)
def run(
    recipe: Annotated[str, typer.Argument(help="What to learn: seven-task, or tone (the tone curve alone).")],
    clean: Annotated[list[Path], typer.Option(help="Folder of clean pictures; may be given several times.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; if it holds one, that run goes on.")],
    model: Annotated[str, typer.Option(help="Family or variant.")] = "resunet",
    steps: Annotated[int, typer.Option(min=1, help="Length of the run.")] = 20_000,
    learning_rate: Annotated[float, typer.Option(help="Peak of the learning rate.")] = 1e-3,
    start_from: Annotated[str | None, typer.Option(help="Run whose weights are taken over where they fit.")] = None,
    freeze: Annotated[
        str | None, typer.Option(help="Part of the network that keeps its weights, such as tone.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Processor threads.")] = 1,
    watch: Annotated[Path | None, typer.Option(help="Folder of test sets to score on now and then.")] = None,
) -> None:
    """Train a network on clean pictures that are degraded on the fly."""
    import logging

    import torch

    from restorekit.training import TrainConfig, start_run, watcher

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(threads)
    config = TrainConfig(steps=steps, learning_rate=learning_rate, start_from=start_from, freeze=freeze)
    watch_with = watcher(watch, model) if watch else None
    start_run(recipe, variant=model, clean=clean, out=out, config=config, device=device, watch=watch_with)


@app.command(epilog=_AVERAGE_EXAMPLES)
def average(
    folders: Annotated[list[Path], typer.Argument(help="Folders of two or more runs of one variant.")],
    out: Annotated[Path, typer.Option(help="Folder of the new run, which can be released.")],
) -> None:
    """Take the mean of the weights of several runs that go on from one another."""
    from restorekit.training import average_runs

    average_runs(folders, out)
    typer.echo(f"mean of {len(folders)} runs in {out}")


@app.command(epilog=_RELEASE_EXAMPLES)
def release(
    folder: Annotated[Path, typer.Argument(help="Folder of the run.")],
    tag: Annotated[str, typer.Option(help="Name of the weights, FAMILY.NAME.")],
    data: Annotated[Path, typer.Option(help="Folder of test sets; their scores stand on the card.")],
    zoo: Annotated[Path, typer.Option(help="Folder that takes the weights.")] = Path("model_zoo"),
    summary: Annotated[str, typer.Option(help="One sentence for the card.")] = "",
    threads: Annotated[int, typer.Option(min=1, help="Processor threads.")] = 1,
) -> None:
    """Score the weights of a run and put them into the zoo with their card."""
    import torch

    from restorekit.training import release_run

    torch.set_num_threads(threads)
    card = release_run(folder, tag=tag, data=data, zoo=zoo, summary=summary)
    typer.echo(f"{card.tag}: {(card.bytes or 0) / 1e6:.1f} MB in {zoo}")
