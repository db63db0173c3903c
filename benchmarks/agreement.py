"""How far the ways of running a trained network agree, and whether any of them restores worse.

Run from the repository's root, with a folder of test sets (``SET/input/`` and ``SET/target/`` under equal names):

    python -m benchmarks.agreement --model hogformer --data test-sets/

The reference is the whole picture in fp32, one picture at a time, eager, on one thread. Every other way is compared
with it, output against output, in dB (PSNR of the float outputs, peak 1), and both with the clean picture: a way that
differs is safe as long as it is not worse. Networks that sort by values (HOGformer) are chaotic: a difference in the
last bit can exchange two neighbours and grow, so that agreement alone says little. Writes
``benchmarks/results/agreement-<variant>.{md,json}``.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorekit.hub import Loaded, load
from restorekit.inference import Restorer
from restorekit.io import read_image

RESULTS = Path(__file__).parent / "results"
SETS = ("Rain100H", "Rain100L", "LOL_eval15", "SOTS_outdoor", "snow_composite", "noise_real_nam", "GoPro")
Picture = NDArray[np.float32]


def restorer(loaded: Loaded, **options: Any) -> Callable[[Picture], Picture]:
    """Return a way of running a network through the Restorer."""
    assert loaded.card is not None
    made = Restorer(
        loaded.model, size=loaded.spec.size, rule=loaded.card.inference, device="cpu", **{"tile": "off", **options}
    )
    return made.restore


def in_a_batch(loaded: Loaded) -> Callable[[Picture], Picture]:
    """Return a way of running a network on a picture that shares the batch with another one."""

    def restore(picture: Picture) -> Picture:
        one = torch.from_numpy(picture).permute(2, 0, 1)
        with torch.inference_mode():
            both: Tensor = loaded.model(torch.stack([one, one.flip(1)]))
        return both[0].clamp(0, 1).permute(1, 2, 0).numpy()

    return restore


def on_threads(count: int, way: Callable[[Picture], Picture]) -> Callable[[Picture], Picture]:
    """Return a way of running on another number of threads."""

    def restore(picture: Picture) -> Picture:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            return way(picture)
        finally:
            torch.set_num_threads(before)

    return restore


def ways(loaded: Loaded) -> dict[str, Callable[[Picture], Picture]]:
    """Return what is compared, by name."""
    plain = restorer(loaded, precision="fp32")
    return {
        "bf16": restorer(loaded, precision="bf16"),
        "tiles of 256, fp32": restorer(loaded, precision="fp32", tile=256),
        "tiles of 192, fp32": restorer(loaded, precision="fp32", tile=192),
        "tiles of 192, bf16": restorer(loaded, precision="bf16", tile=192),
        "two in a batch, fp32": in_a_batch(loaded),
        "two threads, fp32": on_threads(2, plain),
        "compiled, fp32": restorer(loaded, precision="fp32", compile=True),
    }


def psnr(first: Picture, second: Picture) -> float:
    """Return the PSNR of two pictures, peak 1; 150 dB where they are equal."""
    error = float(np.mean(np.square(first.astype(np.float64) - second)))
    return min(150.0, -10 * float(np.log10(error))) if error > 0 else 150.0


def pairs(data: Path, most: int, step: int) -> list[tuple[str, Picture, Picture]]:
    """Return (set, degraded, clean) of the first pictures of each set, cut to multiples of ``step``: no way pads."""
    found = []
    for name in SETS:
        for path in sorted((data / name / "input").glob("*"))[:most]:
            both = (read_image(path).pixels, read_image(data / name / "target" / path.name).pixels)
            degraded, clean = (pixels.astype(np.float32) / np.float32(255) for pixels in both)
            height, width = (side // step * step for side in clean.shape[:2])
            found.append((name, degraded[:height, :width], clean[:height, :width]))
    return found


def measure(loaded: Loaded, data: Path, most: int) -> list[dict[str, Any]]:
    """Compare every way with the reference on every picture."""
    torch.set_num_threads(1)
    torch._dynamo.config.recompile_limit = 256  # bands and pictures have many shapes; none may fall back to eager
    torch._dynamo.config.accumulated_recompile_limit = 4096
    reference = restorer(loaded, precision="fp32")
    found = pairs(data, most, loaded.spec.size.multiple_of)
    expected = [reference(degraded) for _, degraded, _ in found]
    rows = []
    for name, way in ways(loaded).items():
        for (folder, degraded, clean), whole in zip(found, expected, strict=True):
            output = way(degraded)
            rows.append(
                {
                    "way": name,
                    "set": folder,
                    "agreement": psnr(output, whole),
                    "gain": psnr(output, clean) - psnr(whole, clean),
                }
            )
        print(name, *(f"{row['set']} {row['agreement']:.1f}" for row in rows if row["way"] == name), flush=True)
    return rows


def page(record: dict[str, Any]) -> str:
    """Return the table as a page."""
    rows = record["rows"]
    sets = list(dict.fromkeys(row["set"] for row in rows))
    lines = [
        f"# How far the ways of running {record['tag']} agree",
        "",
        f"`{record['command']}` at commit {record['commit']}.",
        f"{record['processor']}, torch {record['torch']}, {record['pictures']} pictures.",
        "",
        "Against the whole picture in fp32, one at a time, eager, one thread. Lowest agreement of each set's pictures",
        "in dB (PSNR of the float outputs, peak 1; 150: equal); the last columns say how much nearer to the clean",
        "picture (+) or farther from it (-) the way is than the reference: the mean, and the worst picture.",
        "",
        f"| way | {' | '.join(sets)} | mean gain, dB | worst, dB |",
        f"|---{'|---' * len(sets)}|---|---|",
    ]
    for way in dict.fromkeys(row["way"] for row in rows):
        mine = [row for row in rows if row["way"] == way]
        lowest = [f"{min(row['agreement'] for row in mine if row['set'] == name):.1f}" for name in sets]
        gains = [row["gain"] for row in mine]
        lines.append(f"| {way} | {' | '.join(lowest)} | {np.mean(gains):+.3f} | {min(gains):+.3f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="hogformer", help="family, variant or tag with weights")
    parser.add_argument("--data", type=Path, required=True, help="folder of test sets")
    parser.add_argument("--most", type=int, default=2, help="pictures of each set")
    given = parser.parse_args()
    loaded = load(given.model)
    rows = measure(loaded, given.data, given.most)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    record = {
        "tag": loaded.tag,
        "command": "python -m benchmarks.agreement " + " ".join(sys.argv[1:]),
        "commit": commit.stdout.strip() or "unknown",
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "pictures": sum(row["way"] == rows[0]["way"] for row in rows),
        "rows": rows,
    }
    target = RESULTS / f"agreement-{loaded.variant}"
    RESULTS.mkdir(exist_ok=True)
    target.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    target.with_suffix(".md").write_text(page(record), encoding="utf-8")


if __name__ == "__main__":
    main()
