"""What files cost: a folder read, restored and written at the same time or in turn, and one very large picture.

Run from the repository's root, on a machine that does nothing else:

    python -m benchmarks.speed.files folder
    python -m benchmarks.speed.files large --megapixels 100 --max-memory 4GB

``folder`` restores pictures (cut from the bundled samples, or those of ``--pictures``) once through the batch, whose
reading, network and writing overlap, and once one after the other, in turns; it also says how far the time left that
was shown after the first tenth of the pixels was from what it then took. ``large`` writes a picture of that size,
restores it through the command line in a process of its own, and says the peak of its resident memory and how long it
took. Both write ``benchmarks/speed/files.{md,json}``, each its own part.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from restorekit.inference import Restorer, Summary
from restorekit.inference.batch import Files, Outcome, Settings, restore_files
from restorekit.io import ImageData, read_image, write_image
from restorekit.jobs import Progress
from restorekit.resources import records

HERE = Path(__file__).parent


class Clock:
    """Listens to a batch and keeps what it said of the time left."""

    def __init__(self) -> None:
        self.said: list[tuple[float, float, float]] = []

    def begins(self, model: Summary, notes: object) -> None:
        """The model is loaded."""

    def moves(self, progress: Progress) -> None:
        """Keep share done, seconds gone, seconds left."""
        if progress.seconds_left is not None:
            self.said.append((progress.pixels_done / progress.pixels_total, progress.seconds, progress.seconds_left))

    def ends(self, outcome: Outcome) -> None:
        """A picture is written."""

    def error(self) -> float:
        """Return how far the time left at the first tenth was from the truth, as a share of the truth."""
        end = self.said[-1][1]
        return next((gone + left - end) / (end - gone) for share, gone, left in self.said if share >= 0.1)


def fill(folder: Path, pictures: Path | None, count: int, side: int) -> None:
    """Write ``count`` pictures, PNG and JPEG in turn."""
    names = sorted((pictures or records("datasets") / "samples").rglob("*.*"))
    sources = [read_image(path).pixels for path in names if path.suffix in (".png", ".jpg", ".webp")]
    sources = [pixels for pixels in sources if pixels.ndim == 3 and pixels.dtype == np.uint8]
    for index in range(count):
        pixels = sources[index % len(sources)]
        times = [-(-side // length) for length in pixels.shape[:2]]
        tiled = np.tile(np.roll(pixels, 37 * index, axis=(0, 1)), (*times, 1))[:side, :side]
        suffix = ("png", "jpg")[index % 2]
        write_image(ImageData(pixels=tiled), folder / f"{index:02d}.{suffix}")


def overlapped(folder: Path, out: Path, settings: Settings, clock: Clock) -> float:
    """Restore a folder as the command does; return seconds, without loading the model."""
    return restore_files(Files(inputs=[folder], out=out), settings, listener=clock).seconds


def in_turn(folder: Path, out: Path, restorer: Restorer) -> float:
    """Read, restore and write one picture after the other; return seconds."""
    out.mkdir()
    start = time.perf_counter()
    for path in sorted(folder.iterdir()):
        write_image(restorer.run(read_image(path)).image, out / path.name)
    return time.perf_counter() - start


def measure_folder(given: argparse.Namespace) -> dict[str, Any]:
    """Time a folder both ways, in turns."""
    settings = Settings(model=given.model)
    restorer = settings.load()
    seconds: dict[str, list[float]] = {"overlapped": [], "in turn": []}
    errors = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "in")
        folder.mkdir()
        fill(folder, given.pictures, given.count, given.side)
        for turn in range(given.repeats):
            clock = Clock()
            seconds["overlapped"].append(overlapped(folder, Path(place, f"a{turn}"), settings, clock))
            seconds["in turn"].append(in_turn(folder, Path(place, f"b{turn}"), restorer))
            errors.append(clock.error())
            print(turn, {way: round(times[-1], 2) for way, times in seconds.items()}, f"{errors[-1]:+.1%}", flush=True)
    return {"count": given.count, "side": given.side, "seconds": seconds, "time_left_error": errors}


def measure_large(given: argparse.Namespace) -> dict[str, Any]:
    """Restore one large picture in a process of its own."""
    width = round((given.megapixels * 1e6 * 4 / 3) ** 0.5)
    height = round(given.megapixels * 1e6 / width)
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place, "large.png"), Path(place, "restored.png")
        noise = np.random.default_rng(0).integers(-20, 21, (height, width, 1), np.int16)
        ramp = np.linspace(30, 225, width, dtype=np.int16)[None, :, None] + np.zeros((height, 1, 3), np.int16)
        write_image(ImageData(pixels=(ramp + noise).clip(0, 255).astype(np.uint8)), source)
        del noise, ramp
        command = ["restorekit", "restore", "large.png", "-o", "restored.png", "--model", given.model]
        command += ["--max-memory", given.max_memory]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", *command], cwd=place, check=True)
        seconds = time.perf_counter() - start
        assert target.stat().st_size > 0
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {"command": " ".join(command), "width": width, "height": height, "seconds": seconds, "peak_bytes": peak}


def page(record: dict[str, Any]) -> str:
    """Return what was measured as a page."""
    lines = ["# What files cost", ""]
    if "folder" in record:
        part = record["folder"]
        means = {way: float(np.median(times)) for way, times in part["seconds"].items()}
        lines += [
            f"`{part['run']}` at commit {part['commit']}; {part['machine']}.",
            "",
            f"{part['count']} pictures of {part['side']}x{part['side']}, PNG and JPEG in turn, median of "
            f"{len(part['time_left_error'])}: {means['overlapped']:.1f} s with reading, network and writing at the "
            f"same time, {means['in turn']:.1f} s one after the other. The time left that was shown after the first "
            f"tenth was wrong by at most {max(map(abs, part['time_left_error'])):.1%}.",
            "",
        ]
    if "large" in record:
        part = record["large"]
        lines += [
            f"`{part['run']}` at commit {part['commit']}; {part['machine']}.",
            "",
            f"{part['width']}x{part['height']} pixels ({part['width'] * part['height'] / 1e6:.0f} megapixels), "
            f"`{part['command']}`: {part['seconds']:.0f} s, peak resident memory {part['peak_bytes'] / 2**20:.0f} MiB "
            "of the whole process.",
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    """Measure one part and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["folder", "large"])
    parser.add_argument("--model", default="resunet")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pictures", type=Path, help="folder of pictures to cut from")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--side", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--megapixels", type=float, default=100)
    parser.add_argument("--max-memory", default="4GB")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    measured = (measure_folder if given.part == "folder" else measure_large)(given)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    machine = f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {given.threads} thread(s)"
    measured |= {"run": "python -m benchmarks.speed.files " + " ".join(sys.argv[1:]), "machine": machine}
    measured["commit"] = commit.stdout.strip() or "unknown"
    path = HERE / "files.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    record[given.part] = measured
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(page(record), encoding="utf-8")


if __name__ == "__main__":
    main()
