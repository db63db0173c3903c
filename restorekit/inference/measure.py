"""Measure once what the Restorer must know of a network: memory per pixel, time per pixel, whole against tiled.

The numbers go onto the card of its weights. ``benchmarks/speed/restorer.py`` runs this from the command line.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from restorekit.errors import RestoreKitError
from restorekit.hub import InferenceRule, create_model
from restorekit.inference.device import choose_device
from restorekit.inference.plan import TileOption
from restorekit.inference.restorer import Restorer
from restorekit.models import MODELS, SizeRule

__all__ = ["Job", "measure_rule", "peak_memory", "seconds_per_megapixel", "whole_vs_tiled_db"]

_SIDES = (256, 512)  # pixels; the larger tells what a pixel takes, the smaller what comes on top of that
_TRIALS = 4  # of each size, the largest counts: an allocator that finds a gap needs up to a third less
_SAFETY = 1.1  # on the bytes of a pixel: allocators differ
_LEAST_BASE = 2**24  # bytes: allocators keep some, whatever the picture
_REPEATS = 5


@dataclass(frozen=True, kw_only=True)
class Job:
    """One restoration whose memory is measured; the weights do not matter for that.

    Attributes:
        model: Family.
        variant: Variant; the family's default one if ``None``.
        height: Rows of the picture, which is 8-bit RGB.
        width: Columns.
        device: Where.
        precision: In which precision.
        channels_last: Keep colours together in memory.
        tile: See ``Restorer``.
        max_memory: See ``Restorer``.
        bytes_per_pixel: What the Restorer plans with.
        base_bytes: What the Restorer plans with.
        overlap: Of tiles, in pixels.
    """

    model: str
    variant: str | None = None
    height: int
    width: int
    device: str = "cpu"
    precision: str = "fp32"
    channels_last: bool = False
    tile: TileOption = "off"
    max_memory: int | None = None
    bytes_per_pixel: float = 0.0
    base_bytes: int = 0
    overlap: int = 32


def measure_rule(
    model: str,
    network: nn.Module,
    rule: InferenceRule,
    *,
    pictures: Sequence[NDArray[np.uint8]],
    variant: str | None = None,
    device: str = "cpu",
) -> InferenceRule:
    """Fill in what can be measured.

    Args:
        model: Family of the network.
        network: The network with its weights.
        rule: Precision, layout and overlap to measure with.
        pictures: ``(H, W, 3)`` uint8, to compare whole and tiled on.
        variant: Variant of the network; the family's default one if ``None``.
        device: Where to measure.

    Returns:
        The rule with memory (in fp32, which needs the most), time and whole against tiled (worst picture).
    """
    size = MODELS.get(model).size
    job = Job(
        model=model,
        variant=variant,
        height=_SIDES[0],
        width=_SIDES[0],
        device=device,
        channels_last=rule.channels_last,
        overlap=rule.overlap,
    )
    small, large = (max(peak_memory(replace(job, height=side, width=side)) for _ in range(_TRIALS)) for side in _SIDES)
    each = (
        large / _SIDES[1] ** 2
    )  # not the slope: what does not grow with the picture is less than what allocators vary
    restorer = Restorer(network, size=size, rule=rule, device=device, tile="off")
    return replace(
        rule,
        bytes_per_pixel=round(_SAFETY * each, 1),
        base_bytes=max(int(small - each * _SIDES[0] ** 2), _LEAST_BASE),
        seconds_per_megapixel=seconds_per_megapixel(restorer),
        whole_vs_tiled_db=min(whole_vs_tiled_db(network, size, rule, picture, device=device) for picture in pictures),
    )


def peak_memory(job: Job) -> int:
    """Return the peak memory of a restoration, in bytes above the loaded model and the picture.

    On the CPU a fresh process does the work, so that nothing that was allocated before hides the peak.

    Args:
        job: What to restore.

    Returns:
        Bytes: resident memory on the CPU, allocated memory on a card.

    Raises:
        RestoreKitError: The process failed; its last line is in the message.
    """
    if job.device != "cpu":
        return _peak_on_card(job)
    code = "import sys; from restorekit.inference.measure import main; sys.stdout.write(main(sys.argv[1]))"
    threads = str(torch.get_num_threads())
    command = [sys.executable, "-c", code, json.dumps({"threads": threads, "job": asdict(job)})]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own interpreter)
    if done.returncode:
        last = done.stderr.strip().rsplit("\n", 1)[-1]
        raise RestoreKitError(f"the memory of {job.model} at {job.width}x{job.height} could not be measured: {last}")
    return int(done.stdout)


def main(arguments: str) -> str:
    """Do a job in this process and return its peak in bytes, as text (what ``peak_memory`` starts)."""
    given = json.loads(arguments)
    torch.set_num_threads(int(given["threads"]))
    return str(_peak_here(Job(**given["job"])))


def _peak_here(job: Job) -> int:
    restorer, picture = _prepare(job)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    except OSError:  # not Linux, or not allowed: the peak so far is that of loading, which is small
        before = _resident("VmHWM")
    else:
        before = _resident("VmRSS")
    restorer.restore(picture)
    return max(_resident("VmHWM") - before, 0)


def _peak_on_card(job: Job) -> int:
    restorer, picture = _prepare(job)
    device = choose_device(job.device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    restorer.restore(picture)
    return torch.cuda.max_memory_allocated(device) - before


def _prepare(job: Job) -> tuple[Restorer, NDArray[np.uint8]]:
    rule = InferenceRule(
        precision="fp32",
        channels_last=job.channels_last,
        overlap=job.overlap,
        bytes_per_pixel=job.bytes_per_pixel,
        base_bytes=job.base_bytes,
    )
    restorer = Restorer(
        create_model(job.model, variant=job.variant),
        size=MODELS.get(job.model).size,
        rule=rule,
        device=job.device,
        precision=job.precision,
        tile=job.tile,
        max_memory=job.max_memory,
    )
    restorer.restore(np.zeros((64, 64, 3), np.uint8))  # what is made once: kernels, thread pools
    generator = np.random.default_rng(0)
    return restorer, generator.integers(0, 256, (job.height, job.width, 3), dtype=np.uint8)


def _resident(field: str) -> int:
    """Return a memory field of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines[field].split()[0]) * 1024
    import resource  # absent on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def seconds_per_megapixel(restorer: Restorer, *, side: int = 512) -> float:
    """Return the time of a megapixel, with everything that a caller waits for, as the median of some runs.

    Args:
        restorer: What is timed.
        side: Of the square picture, in pixels.

    Returns:
        Seconds.
    """
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    restorer.restore(picture)
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        restorer.restore(picture)  # the result lies in this machine's memory, so a card has finished
        times.append(time.perf_counter() - start)
    return round(statistics.median(times) * 1e6 / side**2, 3)


def whole_vs_tiled_db(
    network: nn.Module,
    size: SizeRule,
    rule: InferenceRule,
    picture: NDArray[Any],
    *,
    device: str = "cpu",
    tile: int = 256,
) -> float:
    """Return how equal a picture comes out when it is restored in tiles and as a whole.

    Args:
        network: The network with its weights.
        size: Sizes that it takes.
        rule: Precision, layout and overlap.
        picture: ``(H, W, 3)``, larger than a tile.
        device: Where.
        tile: Side of a tile, in pixels.

    Returns:
        PSNR of the tiled picture against the whole one, in dB, before rounding to 8 bits; 200 where they are equal.
    """
    pixels = picture.astype(np.float32) / (255 if picture.dtype == np.uint8 else 1)
    whole = Restorer(network, size=size, rule=rule, device=device, tile="off").restore(pixels)
    tiled = Restorer(network, size=size, rule=rule, device=device, tile=tile).restore(pixels)
    error = float(np.mean((whole.astype(np.float64) - tiled) ** 2))
    return round(min(-10 * math.log10(max(error, 1e-20)), 200.0), 2)
