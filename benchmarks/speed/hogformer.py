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
import importlib
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

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
        module, _, function = against.partition(":")
        other = getattr(importlib.import_module(module), function)()
        return other.eval() if isinstance(other, nn.Module) else other
    plain = PlainHOGformer().eval()
    plain.load_state_dict(hogformer.revert(ours.state_dict()))
    return plain


def compile_blocks(model: nn.Module) -> None:
    """Compile every transformer block, or the whole where none is found."""
    blocks = [module for module in model.modules() if type(module).__name__.endswith("Block")]
    torch._dynamo.reset()
    for module in blocks or [model]:
        module.compile(dynamic=False)


def picture(size: int) -> Tensor:
    """Return noise as a picture; only its size matters to the time."""
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(size))


# --- measuring --------------------------------------------------------------------------------------------------------


def clock(call: Callable[[], object]) -> tuple[float, float]:
    """Return wall-clock and processor seconds of a call."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


def in_turns(models: dict[str, nn.Module], image: Tensor, repeats: int) -> dict[str, dict[str, float]]:
    """Time networks in turns: median and spread (half of the distance between the quartiles) in seconds."""
    for model in models.values():
        model(image)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for _ in range(repeats):
        for name, model in models.items():
            seconds[name].append(clock(lambda model=model: model(image)))
    result = {}
    for name, pairs in seconds.items():
        wall, processor = ([pair[i] for pair in pairs] for i in (0, 1))
        quartiles = statistics.quantiles(wall, n=4) if len(wall) > 1 else [wall[0]] * 3
        result[name] = {
            "seconds": statistics.median(wall),
            "spread": (quartiles[2] - quartiles[0]) / 2,
            "processor_seconds": statistics.median(processor),
        }
    return result


def resident(field: str) -> int:
    """Return ``VmRSS`` or ``VmHWM`` of this process, in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def peak_above_loaded(name: str, size: int, compiled: bool, against: str | None) -> int:
    """Return the peak of resident memory during a call, above that of the loaded network, in bytes."""
    model, image = build(name, against), picture(size)
    if compiled:
        compile_blocks(model)
        model(image)  # the compiler's own memory does not count
    else:
        model(picture(32))
    loaded = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    model(image)
    return resident("VmHWM") - loaded


def peak_in_a_process(name: str, size: int, threads: int, compiled: bool, against: str | None) -> int:
    """Measure ``peak_above_loaded`` in a process of its own."""
    given = ["--probe", name, "--sizes", str(size), "--threads", str(threads)]
    given += ["--compiled"] if compiled else []
    given += ["--against", against] if against else []
    command = [sys.executable, "-m", "benchmarks.speed.hogformer", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def multiply_accumulates(model: nn.Module, size: int) -> dict[str, float]:
    """Count multiply-accumulates in units of 10^9: of convolutions and of other matrix products."""
    with FlopCounterMode(display=False) as counter:
        model(picture(size))
    counts = {str(operation): flops / 2e9 for operation, flops in counter.get_flop_counts()["Global"].items()}
    convolutions = sum(count for operation, count in counts.items() if "convolution" in operation)
    return {"convolutions": convolutions, "matrix_products": sum(counts.values()) - convolutions}


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


def compiler_is_there() -> bool:
    """Tell whether ``torch.compile`` finds the C++ compiler that it needs."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        return bool(get_cpp_compiler())
    except RuntimeError:
        return False


def environment() -> dict[str, Any]:
    """Return what the numbers hang on."""
    cpu = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    return {
        "processor": names[0] if names else platform.processor(),
        "logical_cores": len(names),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit.strip(),
        "command": "python -m benchmarks.speed.hogformer " + " ".join(sys.argv[1:]),
        "load_at_start": Path("/proc/loadavg").read_text().split()[0],
    }


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Measure everything that was asked for."""
    other = given.against or PLAIN
    modes = [False] if given.eager_only or not compiler_is_there() else [False, True]
    record: dict[str, Any] = {**environment(), "against": other, "compiler": compiler_is_there(), "rows": []}
    torch.set_num_threads(1)
    record["multiply_accumulates_256"] = {n: multiply_accumulates(build(n, given.against), 256) for n in (PLAIN, OURS)}
    record["reached_one_thread"] = reached(256)
    for compiled in modes:
        for threads in given.threads:
            torch.set_num_threads(threads)
            models = {name: build(name, given.against) for name in (PLAIN, OURS)}
            for size in given.sizes:
                if compiled:
                    for model in models.values():
                        compile_blocks(model)
                times = in_turns(models, picture(size), given.repeats)
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
            peak = peak_above_loaded(given.probe, given.sizes[0], given.compiled, given.against)
            sys.stdout.write(f"{peak}\n")
            return
        record = measure(given)
    given.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    given.out.with_suffix(".md").write_text(page(record))
    sys.stdout.write(page(record))


if __name__ == "__main__":
    main()
