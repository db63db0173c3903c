"""Golden cases: find them, prepare their calls, compare what comes out.

A case is ``<family>/<case>.json`` with an object ``case``, and ``<case>.npz`` beside it. A case is one call or several
runs; each becomes a ``Run``. A handler is a function that makes one call and returns what came out by name::

    @handles("metric.psnr_ssim")
    def psnr_ssim(run: Run) -> Results:
        value = psnr(run.image("restored"), run.image("reference"), data_range=run.call["image_range"])
        return {"psnr": value, ...}

Handlers stand in ``tests/golden/handlers/<family>.py``. They return everything that they can under the names of the
case's ``outputs``, ``values`` and, where the implementation exposes them, ``intermediates``; more names do no harm, a
missing output fails. Tensors, arrays and plain numbers are all right, with or without a leading axis of one where a
single number is expected. ``call.select`` is applied here.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.helpers.fill import fill
from tests.helpers.shared import find_shared_folder, shared_folder

__all__ = [
    "HANDLERS",
    "KEY_HANDLERS",
    "Converter",
    "Order",
    "Results",
    "Run",
    "case_folders",
    "compare",
    "find_cases",
    "find_key_lists",
    "handles",
    "handles_keys",
    "read_runs",
    "seed_generators",
]

Results = Mapping[str, Any]
Handler = Callable[["Run"], Results]
HANDLERS: dict[str, Handler] = {}
KEY_HANDLERS: dict[str, Callable[[], Converter]] = {}
_OWN = Path(__file__).resolve().parents[1] / "golden" / "data"


def handles(*entries: str) -> Callable[[Handler], Handler]:
    """Register a function as the handler of entries such as ``"hogformer.network"``."""

    def register(handler: Handler) -> Handler:
        for entry in entries:
            if entry in HANDLERS:
                raise ValueError(f"two handlers for {entry!r}")
            HANDLERS[entry] = handler
        return handler

    return register


@dataclass(frozen=True, kw_only=True)
class Converter:
    """How the authors' state dict of a list of keys becomes ours.

    Attributes:
        network: A network of ours in the configuration of the list.
        unwrap: The authors' file -> bare keys.
        convert: Bare authors' keys -> ours.
        revert: Ours -> bare authors' keys.
        dropped: How bare keys begin that have no place in a network.
    """

    network: torch.nn.Module
    unwrap: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    revert: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    dropped: tuple[str, ...] = ()


def handles_keys(*lists: str) -> Callable[[Callable[[], Converter]], Callable[[], Converter]]:
    """Register how the keys of lists such as ``"hogformer/keys_setting_i"`` are converted."""

    def register(make: Callable[[], Converter]) -> Callable[[], Converter]:
        KEY_HANDLERS.update(dict.fromkeys(lists, make))
        return make

    return register


@dataclass(frozen=True, kw_only=True)
class Order:
    """A permutation in which some places may come in any order.

    Attributes:
        order: ``(..., N)``.
        free: ``(..., N)``, indexed by what ``order`` holds: True where any order is right.
    """

    order: Tensor
    free: Tensor


@dataclass(frozen=True, kw_only=True)
class Run:
    """One call of a case, as its handler sees it.

    Attributes:
        case: ``<family>/<case>``.
        name: Name of the run; empty where the case is one call.
        entry: Name of the thing under test.
        config: The authors' constructor arguments.
        weights: The rule for weights, or ``None``.
        call: Further arguments.
        inputs: Argument -> tensor, or a list of them: divided as the call says, in the call's ``dtype``, and channels
            first even where the call's ``layout`` is ``hwc``.
        outputs: Result -> name of the expected array; ``intermediates`` likewise.
        values: Result -> expected value.
        tolerance: ``atol``, ``rtol`` and ``arrays``.
        exact_whole: Whether whole numbers are equal exactly where ``tolerance`` says nothing of the array.
        arrays: All arrays of the case.
    """

    case: str
    name: str
    entry: str
    config: Mapping[str, Any]
    weights: Mapping[str, Any] | None
    call: Mapping[str, Any]
    inputs: Mapping[str, Any]
    outputs: Mapping[str, str]
    intermediates: Mapping[str, str]
    values: Mapping[str, Any]
    tolerance: Mapping[str, Any]
    exact_whole: bool
    arrays: Mapping[str, np.ndarray]

    @property
    def dtype(self) -> torch.dtype:
        """The type to compute in."""
        return _dtype(self.call)

    @property
    def forced(self) -> dict[str, dict[str, Tensor]]:
        """Module path -> kind -> the recorded array that replaces what the module would compute."""
        forced = self.call.get("forced", {})
        return {
            path: {kind: _tensor(self.arrays[name]) for kind, name in kinds.items()} for path, kinds in forced.items()
        }

    def image(self, argument: str) -> Tensor:
        """Return an input ``(C, H, W)`` or ``(H, W)`` as a batch ``(1, C, H, W)``."""
        value = self.inputs[argument]
        return value.reshape((1,) * (4 - value.ndim) + tuple(value.shape))

    def stored_layout(self, value: Tensor) -> Tensor:
        """Turn a result ``(..., C, H, W)`` into the layout in which the case stores its arrays."""
        return value.movedim(-3, -1) if self.call.get("layout") == "hwc" and value.ndim >= 3 else value

    def filled(self, template: Mapping[str, Tensor], *, part: str | None = None) -> dict[str, Tensor]:
        """Return the case's weights for the keys and shapes of an authors' state dict."""
        assert self.weights is not None
        return fill(template, self.weights, self.arrays, part=part)

    def source(self) -> Path:
        """Return the file of official weights that the case names, or skip where the shared material is absent."""
        assert self.weights is not None
        return shared_folder() / self.weights["source"]

    def draw(self, name: str, **letters: int) -> Tensor:
        """Return a random array of ``call.draws``; letters replace words inside its seed."""
        rule = self.call["draws"][name]
        generator = np.random.default_rng([letters[s] if isinstance(s, str) else s for s in rule["seed"]])
        drawn, _, cast = rule["dtype"].partition(" cast to ")
        value = getattr(generator, rule["draw"])(tuple(rule["shape"]), dtype=np.dtype(drawn).type)
        return torch.from_numpy(value.astype(cast or drawn))


# --- finding and reading ----------------------------------------------------------------------------------------------


def case_folders() -> list[Path]:
    """Return the folders of cases: the one that RESTOREKIT_GOLDEN names, else ours and the shared one."""
    named = os.environ.get("RESTOREKIT_GOLDEN")
    if named:
        folder = Path(named)
        if not folder.is_dir():
            raise FileNotFoundError(f"RESTOREKIT_GOLDEN names {folder}, which is no folder")
        return [folder]
    shared = find_shared_folder()
    return [_OWN, *([shared / "golden"] if shared else [])]


def find_cases(folders: Iterable[Path]) -> dict[str, Path]:
    """Map ``<family>/<case>`` to its description; the first folder that has a case wins."""
    return _find(folders, keys=False)


def find_key_lists(folders: Iterable[Path]) -> dict[str, Path]:
    """Map ``<family>/keys_<name>`` to its list of keys and shapes."""
    return _find(folders, keys=True)


def _find(folders: Iterable[Path], *, keys: bool) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.json")):
            if path.name != "index.json" and path.name.startswith("keys_") == keys:
                found.setdefault(f"{path.parent.name}/{path.stem}", path)
    return found


def read_runs(path: Path) -> list[Run]:
    """Read a case; one run for a case that is one call."""
    case = json.loads(path.read_text(encoding="utf-8"))["case"]
    arrays: dict[str, np.ndarray] = {}
    if path.with_suffix(".npz").exists():
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
            arrays = dict(stored)
    base = {name: value for name, value in case["call"].items() if name != "runs"}
    name = f"{path.parent.name}/{path.stem}"
    if "runs" not in case["call"]:
        return [_run(name, {"name": "", **case, "call": base}, arrays, exact_whole=True)]
    runs = ({**case, "values": {}, **run, "call": {**base, **run.get("call", {})}} for run in case["call"]["runs"])
    own = ("tolerance" in run for run in case["call"]["runs"])
    return [_run(name, run, arrays, exact_whole=not has) for run, has in zip(runs, own, strict=True)]


def _run(case: str, merged: Mapping[str, Any], arrays: Mapping[str, np.ndarray], *, exact_whole: bool) -> Run:
    call = merged["call"]
    inputs = {
        argument: [_prepare(arrays[n], call) for n in name] if isinstance(name, list) else _prepare(arrays[name], call)
        for argument, name in merged["inputs"].items()
    }
    fields = ("name", "entry", "config", "weights", "outputs", "intermediates", "values", "tolerance")
    return Run(
        case=case, call=call, inputs=inputs, arrays=arrays, exact_whole=exact_whole, **{f: merged[f] for f in fields}
    )


def _dtype(call: Mapping[str, Any]) -> torch.dtype:
    """Return the type that a call names; what else stands there is for its handler to read."""
    dtype = getattr(torch, str(call.get("dtype")), None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)  # few operations know these types
    return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))


def _prepare(array: np.ndarray, call: Mapping[str, Any]) -> Tensor:
    """Divide, cast and turn an input as the call says; whole numbers that are not divided keep their type."""
    value = _tensor(array)
    divisor = call.get("divide_by") or (call.get("divide_uint8_by") if array.dtype == np.uint8 else None)
    if isinstance(divisor, int | float):
        value = value.to(torch.float32) / divisor
    if torch.is_floating_point(value) and isinstance(getattr(torch, str(call.get("dtype")), None), torch.dtype):
        value = value.to(_dtype(call))
    return value.movedim(-1, -3) if call.get("layout") == "hwc" and value.ndim >= 3 else value


# --- calling and comparing --------------------------------------------------------------------------------------------


def seed_generators(call: Mapping[str, Any]) -> None:
    """Seed the global generators that a call names."""
    if "python_seed" in call:
        random.seed(call["python_seed"])
    if "numpy_seed" in call:
        np.random.seed(call["numpy_seed"])
    if "torch_seed" in call:
        torch.manual_seed(call["torch_seed"])


def compare(run: Run, results: Results) -> list[str]:
    """Return one sentence for each result that is absent or differs from what the case expects."""
    faults = [f"nothing came out as {name!r}" for name in (*run.outputs, *run.values) if name not in results]
    for name, array in (*run.outputs.items(), *run.intermediates.items()):
        if name in results:
            fault = _differs(run, array, results[name])
            faults += [f"{name} (array {array}): {fault}"] if fault else []
    for name, want in run.values.items():
        if name in results:
            fault = _differs_from_value(results[name], want, run)
            faults += [f"{name}: {fault}"] if fault else []
    return [f"run {run.name}: {fault}" if run.name else fault for fault in faults]


def _differs(run: Run, array: str, got: Any) -> str | None:
    want = run.arrays[array]
    if isinstance(got, Order):
        return _differs_in_order(got, want)
    have = _select(
        np.asarray(got.detach().cpu() if isinstance(got, Tensor) else got), run.call.get("select", {}).get(array)
    )
    if want.ndim == 0 and have.size == 1:
        have = have.reshape(())
    if have.shape != want.shape:
        return f"shape {have.shape}, expected {want.shape}"
    special = run.tolerance.get("arrays", {}).get(array)
    exact = want.dtype.kind in "iub" and run.exact_whole
    limit = special or ({"atol": 0.0, "rtol": 0.0} if exact else run.tolerance)
    return _beyond(have, want, limit)


def _beyond(have: np.ndarray, want: np.ndarray, limit: Mapping[str, float]) -> str | None:
    """Say how far two arrays of one shape are apart, if one of the differences is beyond the limit."""
    difference = np.abs(have.astype(np.float64) - want.astype(np.float64))
    allowed = limit["atol"] + limit["rtol"] * np.abs(want.astype(np.float64))
    wrong = ~(difference <= allowed)  # not-a-number is wrong
    if not wrong.any():
        return None
    allowed_text = f"atol {limit['atol']}, rtol {limit['rtol']}"
    return f"{wrong.sum()} of {wrong.size} values differ, by up to {difference.max():.3g} ({allowed_text})"


def _differs_in_order(got: Order, want: np.ndarray) -> str | None:
    order, expected = got.order, _tensor(want).to(torch.int64)
    if order.shape != expected.shape:
        return f"shape {tuple(order.shape)}, expected {tuple(expected.shape)}"
    if not torch.equal(order.sort(-1).values, torch.arange(order.shape[-1]).expand_as(order)):
        return "it is no permutation"
    both_free = got.free.gather(-1, order) & got.free.gather(-1, expected)
    wrong = (order != expected) & ~both_free
    return f"{int(wrong.sum())} of {wrong.numel()} places differ" if wrong.any() else None


def _differs_from_value(got: Any, want: Any, run: Run) -> str | None:
    if isinstance(want, str | bool | None):
        return None if got == want else f"{got!r}, expected {want!r}"
    if isinstance(want, list) and any(isinstance(w, str | list | dict) for w in want):
        return None if list(got) == want else f"{got!r}, expected {want!r}"
    if isinstance(want, Mapping):
        faults = (_differs_from_value(got.get(key), value, run) for key, value in want.items())
        return next((f"{key}: {fault}" for key, fault in zip(want, faults, strict=True) if fault), None)
    expected = np.asarray(want)
    have = np.asarray(got.detach().cpu() if isinstance(got, Tensor) else got)
    if expected.ndim == 0 and have.size == 1:
        have = have.reshape(())
    if have.shape != expected.shape:
        return f"shape {have.shape}, expected {expected.shape}"
    exact = expected.dtype.kind in "iub" and run.exact_whole
    return _beyond(have, expected, {"atol": 0.0, "rtol": 0.0} if exact else run.tolerance)


def _select(value: np.ndarray, rule: str | None) -> np.ndarray:
    """Take the part of a value that a case stores; a rule in prose is the handler's to follow."""
    if rule is None:
        return value
    if re.fullmatch(r"mean\([\d, ]+\)", rule):
        return value.mean(axis=tuple(int(axis) for axis in re.findall(r"\d+", rule)))
    if re.fullmatch(r"\[[\d:, -]+\]", rule):
        return value[tuple(_slice(part.strip()) for part in rule[1:-1].split(","))]
    return value


def _slice(text: str) -> slice | int:
    if ":" not in text:
        return int(text)
    return slice(*(int(part) if part.strip() else None for part in text.split(":")))
