"""Measure what the Restorer must know of each network, and what it costs beside the bare network.

Run from the repository's root:

    python benchmarks/speed/restorer.py --model resunet --picture photo.png

Without ``--model`` every network that restores pictures; without ``--picture`` the bundled samples, at most four. The
threads are those of ``--threads`` (one by default), so that numbers of machines with more cores can be compared.
Writes ``benchmarks/speed/restorer-<device>.json`` and prints, for each network, the lines of its card's ``[inference]``
table and its times.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from restorekit.hub import UNMEASURED, load
from restorekit.inference import Restorer
from restorekit.inference.measure import Job, measure_rule, peak_memory, seconds_per_megapixel
from restorekit.io import read_image
from restorekit.models import MODELS
from restorekit.resources import records

FOLDER = Path(__file__).parent
SIDE = 512  # pixels
MOST_PICTURES = 4


def pictures(paths: list[Path]) -> list[NDArray[np.uint8]]:
    """Read 8-bit RGB pictures; the bundled samples if none is named."""
    if not paths:
        samples = sorted((records("datasets") / "samples").rglob("*.*"))
        paths = [path for path in samples if path.suffix in (".png", ".jpg")][:MOST_PICTURES]
    arrays = [read_image(path).pixels for path in paths]
    return [array for array in arrays if array.ndim == 3 and array.dtype == np.uint8]


def measure(name: str, arrays: list[NDArray[np.uint8]], device: str) -> dict[str, Any]:
    """Measure one network in the ways in which people run it."""
    loaded = load(name)
    given = UNMEASURED if loaded.card is None else loaded.card.inference
    family, variant = loaded.spec.name, loaded.variant
    rule = measure_rule(family, loaded.model, given, pictures=arrays, variant=variant, device=device)
    seconds = {}
    for precision in ("fp32", "bf16"):
        for tile in ("off", 256):
            restorer = Restorer(
                loaded.model, size=loaded.spec.size, rule=rule, device=device, precision=precision, tile=tile
            )
            seconds[f"{precision}, tile {tile}"] = seconds_per_megapixel(restorer, side=SIDE)
    job = Job(model=family, variant=variant, height=SIDE, width=SIDE, device=device, channels_last=rule.channels_last)
    tiled = Job(**{**asdict(job), "tile": 256, "overlap": rule.overlap})
    return {
        "model": family,
        "variant": variant,
        "tag": loaded.tag,
        "inference": asdict(rule),
        "seconds_per_megapixel": seconds,
        "peak_bytes_512x512": {"whole": peak_memory(job), "tile 256": peak_memory(tiled)},
    }


def card_lines(rule: dict[str, Any]) -> str:
    """Return the ``[inference]`` table of a card."""
    values = {key: json.dumps(value) for key, value in rule.items() if value is not None}
    return "\n".join(["[inference]", *(f"{key} = {value}" for key, value in values.items())])


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="family, variant, tag or file; may be repeated")
    parser.add_argument("--picture", action="append", type=Path, default=[], help="to compare whole and tiled on")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    names = given.model or [name for name in MODELS if MODELS.get(name).task == "restore"]
    rows = []
    for name in names:
        row = measure(name, pictures(given.picture), given.device)
        rows.append(row)
        times = "\n".join(
            f"# {how}: {seconds:.2f} s per megapixel" for how, seconds in row["seconds_per_megapixel"].items()
        )
        sys.stdout.write(f"# {row['tag'] or row['variant']}\n{card_lines(row['inference'])}\n{times}\n\n")
    record = {
        "command": "python benchmarks/speed/restorer.py " + " ".join(sys.argv[1:]),
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
        "threads": given.threads,
        "device": given.device,
        "rows": rows,
    }
    (FOLDER / f"restorer-{given.device.replace(':', '')}.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
