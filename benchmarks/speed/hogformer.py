"""Time and peak memory of HOGformer beside a plain transcription of its description, in turn, in one run.

    python benchmarks/speed/hogformer.py --side 256 --threads 1

Each measurement runs in a process of its own. Time is processor time (least of the repeats after a warm-up), memory the
peak of the resident set above the loaded model. Writes hogformer.json beside this file; nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
SUBJECTS = ("ours", "plain")


def status(field: str) -> float:
    """Return a field of the process's memory, in MB."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(text.split(f"{field}:")[1].split()[0]) / 1e3


def measure(subject: str, side: int, threads: int, repeats: int, *, compiled: bool) -> dict[str, float]:
    """Measure one network in this process."""
    sys.path.insert(0, str(ROOT))
    from restorekit.models.hogformer import HOGformer
    from tests.helpers.plain_hogformer import PlainHOGformer

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network: torch.nn.Module = PlainHOGformer() if subject == "plain" else HOGformer()
    network.eval()
    if subject == "ours":
        network.to(memory_format=torch.channels_last)
    if compiled:
        network.compile()
    image = torch.rand(1, 3, side, side)
    times = []
    with torch.inference_mode():
        network(image if compiled else image[:, :, :32, :32])
        loaded = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        for _ in range(repeats):
            start = time.process_time()
            network(image)
            times.append(time.process_time() - start)
    return {"seconds": round(min(times), 2), "peak_mb": round(status("VmHWM") - loaded)}


def main() -> None:
    """Measure both in turn and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--subject", choices=SUBJECTS)
    args = parser.parse_args()
    if args.subject:
        done = measure(args.subject, args.side[0], args.threads[0], args.repeats, compiled=args.compiled)
        sys.stdout.write(json.dumps(done))
        return
    rows = []
    for side in args.side:
        for threads in args.threads:
            for subject in SUBJECTS:
                command = [
                    sys.executable,
                    __file__,
                    "--subject",
                    subject,
                    "--side",
                    str(side),
                    "--threads",
                    str(threads),
                ]
                command += ["--repeats", str(args.repeats), *(["--compiled"] if args.compiled else [])]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                row = {"network": subject, "side": side, "threads": threads, "compiled": args.compiled}
                rows.append({**row, **json.loads(done.stdout)})
                sys.stdout.write(f"{rows[-1]}\n")
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    record = {"command": " ".join(sys.argv), "torch": torch.__version__, "commit": commit.stdout.strip(), "rows": rows}
    target = Path(__file__).with_suffix(".json")
    target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
