"""Where a network runs, in which precision, and how much memory is free there."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Literal

import torch

from restorekit.errors import UsageError

__all__ = [
    "PRECISIONS",
    "Precision",
    "available_devices",
    "choose_device",
    "choose_precision",
    "dtype_of",
    "free_memory",
]

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def dtype_of(precision: Precision) -> torch.dtype:
    """Return the dtype in which matrix products run."""
    return _DTYPES[precision]


def available_devices() -> list[str]:
    """Return the devices of this machine, best first, such as ``["cuda", "cuda:0", "cuda:1", "cpu"]``."""
    names = []
    if torch.cuda.is_available():
        names += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def choose_device(name: str) -> torch.device:
    """Return the device of a name.

    Args:
        name: ``auto`` (CUDA, else MPS, else the CPU), or a device such as ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Returns:
        The device.

    Raises:
        UsageError: This machine has no such device; the message names those that it has.
    """
    known = available_devices()
    if name == "auto":
        return torch.device(known[0])
    if name not in known:
        raise UsageError(f"there is no device {name!r} here; this machine has {', '.join(known)} (or say auto)")
    return torch.device(name)


def choose_precision(wish: str, device: torch.device, rule: Precision) -> tuple[Precision, str | None]:
    """Return the precision to run in, and one line where it is not the one that was asked for.

    ``auto`` takes the model's own rule where the device has instructions for it and ``fp32`` elsewhere. ``fp16`` does
    not exist on the CPU: there it stands for ``auto``.

    Args:
        wish: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device: The device.
        rule: The precision in which the model was found to give the same pictures as in ``fp32``.

    Returns:
        The precision, and a note or ``None``.

    Raises:
        UsageError: There is no such precision.
    """
    if wish not in ("auto", *PRECISIONS):
        raise UsageError(f"unknown precision {wish!r}; choose auto, {', '.join(PRECISIONS)}")
    auto: Precision = rule if rule == "fp32" or _runs_fast(rule, device) else "fp32"
    if wish == "auto":
        return auto, None
    if wish == "fp16" and device.type == "cpu":
        return auto, f"the CPU does not compute in fp16; running in {auto} instead"
    wanted: Precision = next(p for p in PRECISIONS if p == wish)
    if wanted != "fp32" and not _runs_fast(wanted, device):
        return wanted, f"this device ({device}) has no {wanted} instructions: expect {wanted} to be slower than fp32"
    return wanted, None


def _runs_fast(precision: Precision, device: torch.device) -> bool:
    """Tell whether a device has instructions for a 16-bit precision, as opposed to an emulation."""
    if device.type == "cuda":
        return precision == "fp16" or bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "mps":
        return precision == "fp16"
    return precision == "bf16" and any(
        getattr(torch.cpu, probe, bool)() for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def free_memory(device: torch.device) -> int:
    """Return how many bytes can be allocated on a device without pushing anything out.

    Args:
        device: The device.

    Returns:
        Free bytes. On the CPU the smaller of what the machine and what the container has left.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory()) - int(torch.mps.driver_allocated_memory())
    return max(min(_free_in_machine(), _free_in_container()), 0)


def _free_in_machine() -> int:
    table = Path("/proc/meminfo")
    if table.exists():
        lines = dict(line.split(":", 1) for line in table.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    if sys.platform == "win32":
        return _free_in_windows()
    # macOS tells the installed memory only; half of it is what a desktop leaves to one program
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _free_in_windows() -> int:
    class Status(ctypes.Structure):  # MEMORYSTATUSEX
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *(
                (name, ctypes.c_ulonglong)
                for name in ("total", "free", "page", "free_page", "virtual", "free_virtual", "ext")
            ),
        )

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined,unused-ignore]
    return int(status.free)


_GROUPS = (  # control groups, version 2 and 1: limit, use, and the name of the reclaimable file cache in memory.stat
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def _free_in_container() -> int:
    """Return what a Linux control group leaves, or a number beyond every machine where there is none."""
    for folder, limit_file, used_file, cache_name in _GROUPS:
        group = Path(folder)
        try:
            limit, used = (group / limit_file).read_text().strip(), int((group / used_file).read_text())
            cache = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except OSError:
            continue
        if limit != "max":
            return int(limit) - used + int(cache.get(cache_name, 0))
    return sys.maxsize
