"""Measure what colour profiles and transparency cost beside a plain picture: time and memory, without a network.

Run from the repository's root:

    python -m benchmarks.speed.colours

Each kind of picture is restored by a network that returns its input, in tiles, in a process of its own. The picture is
one of 24 megapixels (``--megapixels``) with noise in 8 bits; the transparent one is opaque in a disc only. Writes
``benchmarks/speed/colours.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from restorekit.hub import InferenceRule
from restorekit.inference import Restorer
from restorekit.io import ImageData, Metadata
from restorekit.io.icc import Curve, MatrixProfile, build_profile, primaries_to_xyz
from restorekit.models import SizeRule

TARGET = Path(__file__).with_suffix(".json")
KINDS = ("plain", "display-p3", "adobe-rgb", "transparent", "transparent-p3")
TILE, OVERLAP, MIB = 1024, 64, 2**20
SRGB = Curve((2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0.0, 0.0))
GAMMA = Curve((563 / 256, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060))


class Same(nn.Module):
    """A network that returns its input."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the input."""
        return image


def picture(kind: str, megapixels: float) -> ImageData:
    """Return a picture of a kind: smooth colours of moderate saturation with noise."""
    height, width = round((megapixels * 1e6 / 1.5) ** 0.5), round((megapixels * 1e6 * 1.5) ** 0.5)
    generator = np.random.default_rng(0)
    pixels = np.empty((height, width, 3), np.uint8)
    columns = np.linspace(0, 6, width)[None, :, None] + np.arange(3)
    for top in range(0, height, 64):
        rows = np.linspace(0, 4, height)[top : top + 64, None, None]
        values = 128 + 60 * np.sin(columns + rows) + generator.normal(0, 8, (len(rows), width, 3))
        pixels[top : top + 64] = values.clip(0, 255)
    alpha = None
    if kind.startswith("transparent"):
        y, x = np.ogrid[-1 : 1 : height * 1j, -1.5 : 1.5 : width * 1j]
        alpha = np.where(x**2 + y**2 < 0.8, 255, 0).astype(np.uint8)
        pixels[alpha == 0] = 0
    profiles = {"p3": (P3, SRGB), "rgb": (ADOBE, GAMMA)}
    points, curve = profiles.get(kind.rpartition("-")[2], (None, SRGB))
    icc = None if points is None else build_profile(MatrixProfile((curve,) * 3, primaries_to_xyz(points)), kind)
    return ImageData(pixels=pixels, alpha=alpha, metadata=Metadata(icc=icc))


def resident(field: str) -> int:
    """Return a memory field of this process, in bytes (Linux)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Return the least processor time of some runs: what else the machine does is not in it."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return round(min(times), 2)


def measure(kind: str, megapixels: float, repeats: int) -> dict[str, Any]:
    """Restore one kind of picture in this process."""
    rule = InferenceRule(precision="fp32", channels_last=False, overlap=OVERLAP, bytes_per_pixel=12.0, base_bytes=2**20)
    restorer = Restorer(Same(), size=SizeRule(), rule=rule, device="cpu", tile=TILE)
    image = picture(kind, megapixels)
    restorer.restore(ImageData(pixels=image.pixels[:64, :64].copy(), metadata=image.metadata))
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident("VmRSS")
    restored = restorer.restore(image)
    peak = resident("VmHWM") - before
    return {
        "kind": kind,
        "same": bool(np.array_equal(restored.pixels, image.pixels)),
        "peak_mib": round(peak / MIB),
        "result_mib": round(image.pixels.nbytes / MIB),
        "seconds": seconds(lambda: restorer.restore(image), repeats),
    }


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=24.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kind", choices=KINDS, help="measure one in this process and print it")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.kind:
        print(json.dumps(measure(given.kind, given.megapixels, given.repeats)))
        return
    options = ["--megapixels", str(given.megapixels), "--repeats", str(given.repeats)]
    command = [sys.executable, "-m", "benchmarks.speed.colours", *options]
    load, rows = os.getloadavg()[0], []
    for kind in KINDS:
        done = subprocess.run([*command, "--kind", kind], capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout))
        print(rows[-1])
    record = {
        "command": "python -m benchmarks.speed.colours " + " ".join(options),
        "processor": platform.processor() or platform.machine(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "threads": 1,
        "tile": TILE,
        "overlap": OVERLAP,
        "load": round(load, 2),
        "rows": rows,
    }
    TARGET.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
