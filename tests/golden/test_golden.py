"""Every golden case: `pytest "tests/golden/test_golden.py::test_case[hogformer/net_small_32x32]"`.

Cases lie in tests/golden/data and in the golden folder of the shared material; RESTOREKIT_GOLDEN names one folder that
replaces both. Nothing here knows a case by name, so a folder of new cases runs as it is.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tests.golden.handlers  # noqa: F401 (registers the handlers)
from tests.helpers import golden
from tests.helpers.fill import apply_step, fill_tensor

DONE_PARTS = frozenset({"house", "registry"})
"""Pieces of work that are done: for a case of theirs, a missing handler is a fault and not a wish."""


def _parts(path: Path) -> tuple[str, set[str]]:
    """Return the part of a case and the entries that it calls."""
    case = json.loads(path.read_text(encoding="utf-8"))["case"]
    return case["part"], {run.get("entry", case["entry"]) for run in case["call"].get("runs", [{}])}


def _mark(path: Path) -> list[pytest.MarkDecorator]:
    part, entries = _parts(path)
    unhandled = sorted(entries - set(golden.HANDLERS))
    if not unhandled or part in DONE_PARTS:
        return []
    reason = f"part {part!r} is not done: no handler for {', '.join(unhandled)}"
    return [pytest.mark.xfail(raises=LookupError, strict=True, reason=reason)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folders = golden.case_folders()
    if "case" in metafunc.fixturenames:
        cases = golden.find_cases(folders)
        metafunc.parametrize("case", [pytest.param(path, id=name, marks=_mark(path)) for name, path in cases.items()])
    if "key_list" in metafunc.fixturenames:
        lists = {name: path for name, path in golden.find_key_lists(folders).items() if name in golden.KEY_HANDLERS}
        metafunc.parametrize("key_list", [pytest.param(path, id=name) for name, path in lists.items()])


def test_case(case: Path) -> None:
    runs = golden.read_runs(case)
    missing = sorted({run.entry for run in runs} - set(golden.HANDLERS))
    if missing:
        raise LookupError(f"no handler for {', '.join(missing)}; write one in tests/golden/handlers")
    faults = []
    for run in runs:
        golden.seed_generators(run.call)
        faults += golden.compare(run, golden.HANDLERS[run.entry](run))
    assert not faults, "\n".join(faults)


def test_some_cases_are_found() -> None:
    assert golden.find_cases(golden.case_folders())


def test_keys_convert_both_ways(key_list: Path) -> None:
    """The authors' state dict loads strictly into ours, and comes back with every key, shape and value."""
    shapes = json.loads(key_list.read_text(encoding="utf-8"))
    authors = {key: fill_tensor(key, torch.empty(shape), 1) for key, shape in shapes.items()}
    apply_step(authors, "sobel buffers set to true kernels", {})
    converter = golden.KEY_HANDLERS[f"{key_list.parent.name}/{key_list.stem}"]()
    bare = converter.unwrap(authors)
    ours = converter.convert(bare)
    converter.network.load_state_dict(ours, strict=True)
    back = converter.revert(converter.network.state_dict())
    kept = {key: value for key, value in bare.items() if not key.startswith(converter.dropped)}
    assert set(back) == set(kept)
    assert all(torch.equal(back[key], kept[key]) for key in kept)
