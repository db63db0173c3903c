"""What the benchmarks of networks share: clocks that take turns, peaks of memory, counts of multiplications."""

from __future__ import annotations

import importlib
import inspect
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = [
    "Call",
    "clock",
    "compile_blocks",
    "compiler_is_there",
    "environment",
    "import_callable",
    "in_turns",
    "multiply_accumulates",
    "peak_above_loaded",
    "resident",
]

Call = Callable[[], Any]


def clock(call: Call, device: torch.device | None = None) -> tuple[float, float]:
    """Return wall-clock and processor seconds of a call; what a card still does when it returns is waited for."""
    _wait(device)
    wall, processor = time.perf_counter(), time.process_time()
    call()
    _wait(device)
    return time.perf_counter() - wall, time.process_time() - processor


def _wait(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turns(
    calls: Mapping[str, Call],
    repeats: int,
    *,
    device: torch.device | None = None,
    seconds: float = float("inf"),
    warm: bool = True,
) -> dict[str, dict[str, float]]:
    """Time calls in turns, so that a machine that is busy for a while slows all of them.

    Args:
        calls: Name -> call.
        repeats: How often each is called.
        device: Where they run.
        seconds: After so many no further turn begins; one is done in any case.
        warm: Call each once before.

    Returns:
        Name -> median and spread (half of the distance between the quartiles) in seconds, of the clock and of the
        processor, and number of repeats.
    """
    if warm:
        for call in calls.values():
            clock(call, device)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    start = time.perf_counter()
    for turn in range(repeats):
        if turn and time.perf_counter() - start > seconds:
            break
        for name, call in calls.items():
            taken[name].append(clock(call, device))
    return {name: _summary(pairs) for name, pairs in taken.items()}


def _summary(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    wall, processor = ([pair[i] for pair in pairs] for i in (0, 1))
    return {
        "seconds": statistics.median(wall),
        "spread": _spread(wall),
        "processor_seconds": statistics.median(processor),
        "processor_spread": _spread(processor),
        "repeats": len(pairs),
    }


def _spread(values: Sequence[float]) -> float:
    """Return half of the distance between the quartiles."""
    if len(values) < 2:
        return 0.0
    quartiles = statistics.quantiles(values, n=4)
    return (quartiles[2] - quartiles[0]) / 2


def resident(field: str) -> int:
    """Return ``VmRSS`` or ``VmHWM`` of this process, in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def peak_above_loaded(call: Call, warm_up: Call, device: torch.device | None = None) -> int:
    """Return the peak of memory during a call, above what the loaded network takes, in bytes.

    On a processor that is the resident memory of the process, which should be a fresh one.

    Args:
        call: What is measured.
        warm_up: Is called before: what is made once does not count.
        device: Where they run.
    """
    warm_up()
    if device is not None and device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        clock(call, device)
        return torch.cuda.max_memory_allocated(device) - before
    loaded = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    call()
    return max(resident("VmHWM") - loaded, 0)


def multiply_accumulates(call: Call) -> dict[str, float]:
    """Count the multiply-accumulates of a call in units of 10^9: of convolutions and of other matrix products."""
    with FlopCounterMode(display=False) as counter:
        call()
    counts = {str(operation): flops / 2e9 for operation, flops in counter.get_flop_counts()["Global"].items()}
    convolutions = sum(count for operation, count in counts.items() if "convolution" in operation)
    return {"convolutions": convolutions, "matrix_products": sum(counts.values()) - convolutions}


def compile_blocks(model: nn.Module) -> None:
    """Compile every block of a network, or the whole where none is found."""
    blocks = [module for module in model.modules() if type(module).__name__.endswith("Block")]
    torch._dynamo.reset()
    for module in blocks or [model]:
        module.compile(dynamic=False)


def compiler_is_there() -> bool:
    """Tell whether ``torch.compile`` finds the C++ compiler that it needs."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        return bool(get_cpp_compiler())
    except RuntimeError:
        return False


def import_callable(path: str, *given: str) -> Callable[..., Tensor]:
    """Return what ``module:callable`` makes: another implementation of a network, in evaluation mode.

    Args:
        path: Where it is. The callable takes nothing, or as many of the following as it has places.
        given: Family and variant.
    """
    module, _, name = path.partition(":")
    make = getattr(importlib.import_module(module), name)
    places = [
        p for p in inspect.signature(make).parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    made = make(*given[: len([p for p in places if p.default is p.empty])])
    return made.eval() if isinstance(made, nn.Module) else made  # type: ignore[no-any-return]


def environment(module: str) -> dict[str, Any]:
    """Return what the numbers hang on.

    Args:
        module: The benchmark, as ``python -m`` names it.
    """
    cpu = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    return {
        "processor": names[0] if names else platform.processor(),
        "logical_cores": len(names),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit.strip(),
        "command": f"python -m {module} {' '.join(sys.argv[1:])}".strip(),
        "load_at_start": Path("/proc/loadavg").read_text().split()[0],
    }
