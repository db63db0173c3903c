"""What this installation has and lacks, on one screen."""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from PIL import features

import restorekit
from restorekit.errors import ModelError
from restorekit.hub.store import Entry, cache_folder, entries, verify
from restorekit.io.formats import READABLE, WRITABLE
from restorekit.resources import records

__all__ = ["Codec", "Device", "Diagnosis", "Extra", "Weights", "describe_device", "diagnose", "install_extra", "screen"]

_PACKAGE = "restorekit"
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?([^;]*)(?:;(.*))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where networks can run.

    Attributes:
        name: ``cpu``, ``cuda:0``, ``mps``.
        description: What it is.
        total_bytes: Memory that there is; ``None`` where the system does not tell.
        free_bytes: Memory that is free there; ``None`` if the device does not answer.
        fast_bf16: Whether it has instructions for bf16.
        fault: What is wrong with it; ``None`` if it answers.
    """

    name: str
    description: str
    total_bytes: int | None
    free_bytes: int | None
    fast_bf16: bool
    fault: str | None = None


@dataclass(frozen=True, kw_only=True)
class Codec:
    """A picture format.

    Attributes:
        name: The format.
        reads: Whether its files can be read here.
        writes: Whether they can be written here.
        fix: The command that brings what is missing; ``None`` if nothing is.
    """

    name: str
    reads: bool
    writes: bool
    fix: str | None


@dataclass(frozen=True, kw_only=True)
class Extra:
    """An optional part of the package.

    Attributes:
        name: Its name.
        missing: The packages that are not installed.
        fix: The command that brings them; ``None`` if nothing is missing.
    """

    name: str
    missing: tuple[str, ...]
    fix: str | None


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights that are here.

    Attributes:
        tag: Their name.
        place: ``bundled`` or ``cached``.
        bytes: Size of the file.
        default: Whether the family's name stands for them.
        fault: What is wrong with them; ``None`` if the file is the one of the card.
    """

    tag: str
    place: str
    bytes: int
    default: bool
    fault: str | None


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What an installation has and lacks.

    Attributes:
        versions: Name -> version: RestoreKit, Python, and the packages that it cannot do without.
        system: Operating system.
        devices: Where networks can run, best first.
        codecs: Picture formats.
        extras: Optional parts.
        weights: Weights that are here.
        absent: Tags of weights that can be brought.
        cache: Folder of the weights that the user brought.
        faults: What is broken, one sentence each; RestoreKit works if there is none.
    """

    versions: dict[str, str]
    system: str
    devices: tuple[Device, ...]
    codecs: tuple[Codec, ...]
    extras: tuple[Extra, ...]
    weights: tuple[Weights, ...]
    absent: tuple[str, ...]
    cache: str
    faults: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def describe_device(name: str, probe: Callable[[], tuple[int, bool]]) -> Device:
    """Return what is known of a device.

    Args:
        name: The device.
        probe: Returns its free bytes and whether it has instructions for bf16; may fail as a broken driver does.
    """
    try:
        free, fast = probe()
        description, total = _describe(name)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        return Device(
            name=name, description="does not answer", total_bytes=None, free_bytes=None, fast_bf16=False, fault=reason
        )
    return Device(name=name, description=description, total_bytes=total, free_bytes=free, fast_bf16=fast)


def _describe(name: str) -> tuple[str, int | None]:
    """Return what a device is, and its memory in bytes."""
    if name.startswith("cuda"):
        card = torch.cuda.get_device_properties(name)
        return card.name, card.total_memory
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    if name == "mps":
        return platform.machine(), total
    table = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*:\s*(.+)", table.read_text()) if table.is_file() else None
    model = named.group(1) if named else platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads", total


def diagnose(devices: Sequence[Device]) -> Diagnosis:
    """Look at this installation.

    Args:
        devices: Where networks can run.

    Returns:
        What was found. Nothing is an error here: what is broken stands in ``faults``.
    """
    faults: list[str] = []
    required, extras = _requirements()
    versions = {_PACKAGE: restorekit.__version__, "python": platform.python_version(), "torch": torch.__version__}
    for name in required:
        version = _version(name)
        if version is None:
            faults.append(f"the package {name} is missing; run: {_install(name)}")
        versions.setdefault(name, version or "missing")
    card_faults: list[str] = []
    known = entries(faults=card_faults)
    weights = tuple(_weights(entry) for entry in known if entry.place != "absent")
    faults += [*card_faults, *(w.fault for w in weights if w.fault is not None)]
    faults += [f"the device {d.name} does not answer: {d.fault}" for d in devices if d.fault is not None]
    return Diagnosis(
        versions=versions,
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        devices=tuple(devices),
        codecs=tuple(_codec(name) for name in READABLE),
        extras=tuple(_extra(name, extras) for name in sorted(extras)),
        weights=weights,
        absent=tuple(entry.card.tag for entry in known if entry.place == "absent"),
        cache=str(cache_folder()),
        faults=tuple(faults),
    )


# --- packages ---------------------------------------------------------------------------------------------------------


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Return the packages that are needed, and those of each extra, as the installation states them."""
    try:
        lines = metadata.requires(_PACKAGE) or []
    except metadata.PackageNotFoundError:  # the folder is on the path and nothing was installed
        lines = []
    required: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in lines:
        match = _REQUIREMENT.match(line)
        assert match is not None
        name, inner, _, marker = match.groups()
        extra = _EXTRA.search(marker or "")
        if extra is None:
            required.append(name)
        else:
            names = [f"{_PACKAGE}[{part.strip()}]" for part in inner.split(",")] if name == _PACKAGE else [name]
            extras.setdefault(extra.group(1), []).extend(names)
    return required, extras


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _extra(name: str, extras: dict[str, list[str]]) -> Extra:
    missing = tuple(sorted({package for package in _packages(name, extras) if _version(package) is None}))
    return Extra(name=name, missing=missing, fix=install_extra(name) if missing else None)


def _packages(extra: str, extras: dict[str, list[str]]) -> Iterator[str]:
    """Yield the packages of an extra, and of the extras that it stands for (``all``)."""
    for name in extras.get(extra, []):
        inner = name.removeprefix(f"{_PACKAGE}[")
        if inner == name:
            yield name
        else:
            yield from _packages(inner.removesuffix("]"), extras)


def _install(*packages: str) -> str:
    return f"{_python()} -m pip install {' '.join(packages)}"


def install_extra(name: str) -> str:
    """Return the command that brings an extra, for this interpreter and from where this installation came."""
    root = records("model_zoo").parent
    if (root / "pyproject.toml").is_file():  # a checkout
        return f'{_python()} -m pip install --editable "{root}[{name}]"'
    return f'{_python()} -m pip install "{_PACKAGE}[{name}]"'


def _python() -> str:
    return f'"{sys.executable}"' if " " in sys.executable else sys.executable


# --- picture formats --------------------------------------------------------------------------------------------------


def _importable(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _pillow(feature: str) -> Callable[[], bool]:
    return lambda: feature in features.get_supported()


_PROBES: dict[str, tuple[Callable[[], bool], tuple[str, ...]]] = {
    "jpeg": (_pillow("jpg"), ("--upgrade", "pillow")),
    "png": (_pillow("zlib"), ("--upgrade", "pillow")),
    "webp": (_pillow("webp"), ("--upgrade", "pillow")),
    "avif": (_pillow("avif"), ("--upgrade", "pillow")),
    "tiff": (lambda: _importable("tifffile"), ("tifffile",)),
    "heic": (lambda: _importable("pillow_heif"), ("pillow-heif",)),
    "raw": (lambda: _importable("rawpy"), ("rawpy",)),
}
"""Format -> whether its codec is here, and what to install for it; formats that are not named need none."""


def _codec(name: str) -> Codec:
    works, packages = _PROBES.get(name, (lambda: True, ()))
    here = works()
    return Codec(name=name, reads=here, writes=here and name in WRITABLE, fix=None if here else _install(*packages))


# --- weights ----------------------------------------------------------------------------------------------------------


def _weights(entry: Entry) -> Weights:
    fault = None
    try:
        verify(entry)
    except ModelError as error:
        fault = str(error)
    size = entry.path.stat().st_size
    return Weights(tag=entry.card.tag, place=entry.place, bytes=size, default=entry.card.default, fault=fault)


# --- for people -------------------------------------------------------------------------------------------------------


def screen(found: Diagnosis) -> list[str]:
    """Return a diagnosis as lines of text."""
    versions = [f"{name} {version}" for name, version in found.versions.items()]
    lines = [", ".join(versions[:3]) + f" on {found.system}"]
    lines += ["  " + ", ".join(versions[3:])] if versions[3:] else []
    lines += ["", "Devices", *(f"  {_device_line(device)}" for device in found.devices)]
    here = {device.name.partition(":")[0] for device in found.devices}
    lines += [f"  {name}: not here" for name in ("cuda", "mps") if name not in here]
    lines += ["", "Formats"]
    lines.append(f"  read: {', '.join(c.name for c in found.codecs if c.reads)}")
    lines.append(f"  write: {', '.join(c.name for c in found.codecs if c.writes)}")
    lines += [f"  {codec.name} is missing; run: {codec.fix}" for codec in found.codecs if codec.fix]
    lines += ["", "Extras", *(f"  {_extra_line(extra)}" for extra in found.extras)]
    lines += [
        "",
        f"Weights (yours lie in {found.cache})",
        *(f"  {_weights_line(weights)}" for weights in found.weights),
    ]
    lines += [] if found.weights else ["  none are here"]
    if found.absent:
        lines.append(f"  {len(found.absent)} more can be imported; see how with: restorekit models list")
    lines += ["", *(f"Broken: {fault}" for fault in found.faults)] if found.faults else ["", "Nothing is broken."]
    return lines


def _device_line(device: Device) -> str:
    if device.free_bytes is None:
        return f"{device.name}: {device.description}"
    of = "" if device.total_bytes is None else f" of {device.total_bytes / 2**30:.1f}"
    bf16 = "fast" if device.fast_bf16 else "no instructions"
    return f"{device.name}: {device.description}, {device.free_bytes / 2**30:.1f}{of} GiB free, bf16: {bf16}"


def _extra_line(extra: Extra) -> str:
    return f"{extra.name}: " + (f"lacks {', '.join(extra.missing)}; run: {extra.fix}" if extra.fix else "complete")


def _weights_line(weights: Weights) -> str:
    state = "damaged" if weights.fault else "hash as on its card"
    mark = " (default)" if weights.default else ""
    return f"{weights.tag}{mark}: {weights.place}, {weights.bytes / 1e6:.1f} MB, {state}"
