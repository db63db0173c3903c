"""Time and memory of HOGformer beside a plain transcription of its authors' way of computing, in one run.

Run from the repository's root, on a machine that does nothing else:

    python -m benchmarks.speed.hogformer

Both networks have the released size and the same random weights. They take turns, call by call, so that a machine that
is busy for a while slows both; times are medians of wall-clock seconds, and of the processor's seconds, which a busy
machine changes less. Memory is measured in a process of its own per network: the peak above what is resident when the
network is loaded. ``compiled`` means that every transformer block is compiled by ``torch.compile`` (the same blocks of
both), which needs a C++ compiler.

``--against module:callable`` puts another network in place of the transcription: whatever is importable, called without
arguments, returning something that takes a picture ``(1, 3, H, W)``. Writes ``benchmarks/speed/hogformer.{md,json}``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed._measure import (
    clock,
    compile_blocks,
    compiler_is_there,
    environment,
    import_callable,
    in_turns,
    multiply_accumulates,
    peak_above_loaded,
)
from restorekit.models import hogformer
from restorekit.models.hogformer import HOGformer
from tests.helpers.plain_hogformer import PlainHOGformer

HERE = Path(__file__).parent
OURS, PLAIN = "ours", "plain"


# --- the two networks -------------------------------------------------------------------------------------------------


def build(name: str, against: str | None) -> nn.Module:
    """Build one of the two networks; without ``against`` both have the same weights."""
    torch.manual_seed(0)
    ours = HOGformer().eval()
    if name == OURS:
        return ours.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if against is not None:
        return import_callable(against)
    plain = PlainHOGformer().eval()
    plain.load_state_dict(hogformer.revert(ours.state_dict()))
    return plain


def picture(size: int) -> Tensor:
    """Return noise as a picture; only its size matters to the time."""
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(size))


# --- measuring --------------------------------------------------------------------------------------------------------


def probe(name: str, size: int, compiled: bool, against: str | None) -> int:
    """Return the peak of resident memory during a call, above that of the loaded network, in bytes."""
    model = build(name, against)
    if compiled:
        compile_blocks(model)
    # the compiler's own memory does not count
    return peak_above_loaded(partial(model, picture(size)), partial(model, picture(size if compiled else 32)))


def peak_in_a_process(name: str, size: int, threads: int, compiled: bool, against: str | None) -> int:
    """Measure ``probe`` in a process of its own."""
    given = ["--probe", name, "--sizes", str(size), "--threads", str(threads)]
    given += ["--compiled"] if compiled else []
    given += ["--against", against] if against else []
    command = [sys.executable, "-m", "benchmarks.speed.hogformer", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def reached(size: int) -> dict[str, float]:
    """Return what convolutions of the network's first level reach here, in 10^9 multiply-accumulates a second."""
    result = {}
    for name, rows in (("whole picture", size), ("band of 16 rows", 16)):
        conv = nn.Conv2d(72, 384, 1, bias=False)
        x = torch.rand(1, 72, rows, size).contiguous(memory_format=torch.channels_last)
        conv(x)
        best = min(clock(lambda conv=conv, x=x: conv(x))[0] for _ in range(20))
        result[f"1x1, 72 to 384 channels, {name}"] = 72 * 384 * rows * size / best / 1e9
    return result


# --- reporting --------------------------------------------------------------------------------------------------------


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Measure everything that was asked for."""
    other = given.against or PLAIN
    modes = [False] if given.eager_only or not compiler_is_there() else [False, True]
    record: dict[str, Any] = {
        **environment("benchmarks.speed.hogformer"),
        "against": other,
        "compiler": compiler_is_there(),
        "rows": [],
    }
    torch.set_num_threads(1)
    record["multiply_accumulates_256"] = {
        n: multiply_accumulates(partial(build(n, given.against), picture(256))) for n in (PLAIN, OURS)
    }
    record["reached_one_thread"] = reached(256)
    for compiled in modes:
        for threads in given.threads:
            torch.set_num_threads(threads)
            models = {name: build(name, given.against) for name in (PLAIN, OURS)}
            for size in given.sizes:
                if compiled:
                    for model in models.values():
                        compile_blocks(model)
                times = in_turns({n: partial(model, picture(size)) for n, model in models.items()}, given.repeats)
                peaks = {n: peak_in_a_process(n, size, threads, compiled, given.against) for n in models}
                row = {"size": size, "threads": threads, "compiled": compiled, "times": times, "peak_bytes": peaks}
                record["rows"].append(row)
                sys.stdout.write(json.dumps(row) + "\n")
                sys.stdout.flush()
    return record


def page(record: dict[str, Any]) -> str:
    """Return the page for people."""
    other = record["against"]
    lines = [
        "# HOGformer: time and memory",
        "",
        f"Released size, fp32, one picture: `{record['command'].strip()}` at commit {record['commit']}.",
        f"{record['processor']}, torch {record['torch']}, load {record['load_at_start']} when it began.",
        "",
        "Seconds are medians (+- half of the distance between the quartiles), taken in turns; in brackets the",
        "processor's seconds. Memory is the peak above the loaded network.",
        "",
        f"| picture | threads | | {other}, s | ours, s | times faster | {other}, MB | ours, MB | share |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        plain, ours = row["times"][PLAIN], row["times"][OURS]
        cells = [f"{t['seconds']:.2f} +- {t['spread']:.2f} ({t['processor_seconds']:.2f})" for t in (plain, ours)]
        memory = [row["peak_bytes"][name] / 1e6 for name in (PLAIN, OURS)]
        lines.append(
            f"| {row['size']}x{row['size']} | {row['threads']} | {'compiled' if row['compiled'] else 'eager'} | "
            f"{cells[0]} | {cells[1]} | {plain['seconds'] / ours['seconds']:.2f} | "
            f"{memory[0]:.0f} | {memory[1]:.0f} | {memory[1] / memory[0]:.2f} |"
        )
    if not record["compiler"]:
        lines += ["", "Nothing was compiled: torch.compile needs a C++ compiler, and there is none."]
    return "\n".join([*lines, "", *limits(record), ""])


def limits(record: dict[str, Any]) -> list[str]:
    """Say what limits the network."""
    counts, rates = record["multiply_accumulates_256"], record["reached_one_thread"]
    total = {name: sum(parts.values()) for name, parts in counts.items()}
    best = max(rates.values())
    lines = [
        "## What limits it",
        "",
        f"A 256x256 picture takes {total[PLAIN]:.1f} G multiply-accumulates ({counts[PLAIN]['convolutions']:.1f} G in "
        f"convolutions); ours takes {total[OURS]:.1f} G, because bands of rows overlap by a row. "
        "What a convolution of the first level reaches here on one thread:",
        "",
        *(f"- {name}: {rate:.0f} G a second" for name, rate in rates.items()),
        "",
        f"At the best of these rates the plain count alone takes {total[PLAIN] / best:.2f} s.",
    ]
    rows = [r for r in record["rows"] if (r["size"], r["threads"], r["compiled"]) == (256, 1, False)]
    if rows:
        share = {name: total[PLAIN] / best / rows[0]["times"][name]["seconds"] for name in (PLAIN, OURS)}
        lines.append(
            f"Of the measured time that is {100 * share[OURS]:.0f} % for ours and {100 * share[PLAIN]:.0f} % for the "
            "other; the rest moves memory: depth-wise convolutions (a few multiplications a value), norms, mish, "
            "sorting, gathering. Compiling fuses some of that, but works on whole pictures, whose intermediates do not "
            "fit the cache; bands do, which is why compiled code gains little or nothing over them."
        )
    return lines


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--eager-only", action="store_true")
    parser.add_argument("--against", help="module:callable that returns another network")
    parser.add_argument("--out", type=Path, default=HERE / "hogformer", help="where to write, without suffix")
    parser.add_argument("--probe", choices=[OURS, PLAIN], help=argparse.SUPPRESS)  # one measurement of memory
    parser.add_argument("--compiled", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    with torch.inference_mode():
        if given.probe:
            torch.set_num_threads(given.threads[0])
            peak = probe(given.probe, given.sizes[0], given.compiled, given.against)
            sys.stdout.write(f"{peak}\n")
            return
        record = measure(given)
    given.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    given.out.with_suffix(".md").write_text(page(record))
    sys.stdout.write(page(record))


if __name__ == "__main__":
    main()
