"""Read weight files of any origin without running anything that they hold."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from restorekit.errors import ModelError

__all__ = ["MAX_BYTES", "Checkpoint", "parse_checkpoint", "read_checkpoint", "strip_prefixes"]

MAX_BYTES = 8 * 2**30
"""Largest weights that are read, in bytes, on the disk and in memory."""

WRAPPERS = (
    "params_ema",
    "params-ema",
    "params",
    "state_dict",
    "model_state_dict",
    "average",
    "model_ema",
    "model",
    "net",
    "weights",
)
"""Names under which training programs store the state dict, best first (a moving average before the raw weights)."""

_PREFIXES = ("module.", "_orig_mod.", "net.", "model.", "generator.")
_HARMLESS: list[Any] = [
    argparse.Namespace
]  # what training programs put beside the weights, and what cannot do anything
_SCRIPT = ("constants.pkl", "code/")  # what an archive of TorchScript has and one of weights has not
_DEEPEST = 3  # wrappers in each other
_SENTENCE = "nothing in it was run; ask its author for a .safetensors file, or for a file with the weights only"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The weights of a file.

    Attributes:
        state: Key -> tensor, on the CPU, as it stands in the file.
        sha256: Hash of the file.
        notes: What was assumed, one sentence each.
        metadata: What the head of the file says of it (safetensors can say something); not to be trusted.
    """

    state: dict[str, Tensor]
    sha256: str
    notes: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of weights: safetensors, or what ``torch.save`` wrote (``.pth``, ``.pt``, ``.ckpt``).

    The content decides, not the suffix. Pickles are read by the restricted unpickler of PyTorch, which builds tensors
    and plain containers and refuses the rest.

    Raises:
        ModelError: The file is missing, too large, damaged, something else, or wants to run code.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(
                f"{path} has {size / 2**30:.1f} GiB, more than the {MAX_BYTES / 2**30:.0f} GiB that are read"
            )
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"{path} is not there; check the name") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); check its name and rights") from error
    return parse_checkpoint(data, str(path))


def parse_checkpoint(data: bytes, name: str) -> Checkpoint:
    """Read the bytes of a file of weights, see ``read_checkpoint``.

    Args:
        data: The whole file.
        name: What to call it in messages.

    Raises:
        ModelError: They are damaged, something else, or want to run code.
    """
    kind = _kind(data, name)
    content = _safetensors(data, name) if kind == "safetensors" else _pickled(data, name, kind)
    state, notes = _unwrap(content, name)
    _check_size(state, name)
    metadata = _metadata(data) if kind == "safetensors" else {}
    return Checkpoint(state=state, sha256=hashlib.sha256(data).hexdigest(), notes=tuple(notes), metadata=metadata)


def _kind(data: bytes, name: str) -> str:
    """Return ``safetensors``, ``zip`` or ``pickle`` by the first bytes."""
    start = data[:1024].lstrip()
    if not data:
        raise ModelError(f"{name} is empty; get it again")
    if start[:1] == b"<":
        raise ModelError(
            f"{name} is a web page, not weights; download the file itself (a login or a limit may stand before it)"
        )
    if start.startswith(b"version https://git-lfs"):
        raise ModelError(f"{name} is a Git LFS pointer, not weights; fetch the file with: git lfs pull")
    if data[:4] == b"PK\x03\x04":
        return "zip"
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") < 2**27:
        return "safetensors"
    if data[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return "pickle"
    raise ModelError(f"{name} is no file of weights; give a .safetensors, .pth, .pt or .ckpt file")


def _safetensors(data: bytes, name: str) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except SafetensorError as error:
        raise _damaged(name, error) from error


def _metadata(data: bytes) -> dict[str, str]:
    """Return the texts in the head of safetensors, which were read without an error before."""
    head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return {str(key): str(value) for key, value in (head.get("__metadata__") or {}).items()}


def _pickled(data: bytes, name: str, kind: str) -> Any:
    if kind == "zip":
        _check_zip(data, name)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore")  # about old forms of files, of which the user can change nothing
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted is None and kind == "zip":
            raise _damaged(name, error) from error
        what = f" ({wanted.group(1)})" if wanted else ""
        raise ModelError(f"{name} holds more than weights{what}, which could run code; {_SENTENCE}") from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, MemoryError) as error:
        raise _damaged(name, error) from error


def _check_zip(data: bytes, name: str) -> None:
    """Refuse archives that are cut short, or that grow beyond all bounds when they are unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(item.file_size for item in archive.infolist())
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError) as error:
        raise _damaged(name, error) from error
    if not any(name.endswith("data.pkl") for name in names):
        inside = f"it holds {names[0]}" if names else "it is empty"
        raise ModelError(
            f"{name} is an archive without weights of its own ({inside}); unpack it and give the file in it"
        )
    if len(set(names)) < len(names):
        raise ModelError(f"{name} holds two entries of one name, as no honest program writes them; {_SENTENCE}")
    if any(part.partition("/")[2].startswith(_SCRIPT) for part in names):
        raise ModelError(f"{name} holds a program (TorchScript) and not weights alone; {_SENTENCE}")
    if size > MAX_BYTES:
        raise ModelError(
            f"{name} unpacks to {size / 2**30:.1f} GiB, more than the {MAX_BYTES / 2**30:.0f} GiB that are read"
        )


def _damaged(name: str, error: Exception) -> ModelError:
    words = str(error).strip().splitlines()
    reason = f" ({words[0][:160]})" if words else ""
    return ModelError(f"{name} is damaged or cut short{reason}; get it again")


def _unwrap(content: Any, name: str) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state dict in the containers that training programs put around it."""
    notes = []
    for _ in range(_DEEPEST):
        if not isinstance(content, Mapping):
            break
        wrapper = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if wrapper is None:
            break
        others = [key for key in WRAPPERS if key != wrapper and isinstance(content.get(key), Mapping)]
        if others:
            notes.append(f"took the weights under {wrapper!r}, not those under {' or '.join(map(repr, others))}")
        content = content[wrapper]
    if not isinstance(content, Mapping):
        raise ModelError(f"{name} holds a {type(content).__name__}, no weights by name; give a file with a state dict")
    state = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not state:
        raise ModelError(f"{name} holds no tensors by name; give a file with a state dict")
    odd = [key for key, value in state.items() if value.layout != torch.strided or value.is_quantized or value.is_meta]
    if odd:
        raise ModelError(f"{name}: {odd[0]} is no plain tensor; give weights that are neither sparse nor quantised")
    return state, notes


def _check_size(state: Mapping[str, Tensor], name: str) -> None:
    """Refuse tensors that are small on the disk and huge in memory."""
    size = sum(4 * value.numel() for value in state.values())
    if size > MAX_BYTES:
        raise ModelError(
            f"{name} holds {size / 2**30:.1f} GiB of weights, more than the {MAX_BYTES / 2**30:.0f} GiB that are read"
        )


def strip_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict without the prefixes that wrappers of a network put before its keys.

    A prefix is taken off where most keys have it; keys without it (of losses, of metrics) stay as they are.
    """
    stripped = dict(state)
    for _ in range(_DEEPEST):
        prefix = next((p for p in _PREFIXES if 2 * sum(key.startswith(p) for key in stripped) > len(stripped)), None)
        if prefix is None:
            break
        stripped = {key.removeprefix(prefix): value for key, value in stripped.items()}
    return stripped
