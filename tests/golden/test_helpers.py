"""The machinery of the golden cases: what it finds, how it prepares calls, and that it notices what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.golden import test_golden
from tests.helpers import golden
from tests.helpers.fill import fill, fill_tensor
from tests.helpers.golden import Order, Run

CASE: dict[str, Any] = {
    "family": "invented",
    "kind": "module",
    "entry": "invented.thing",
    "config": {},
    "weights": None,
    "call": {},
    "inputs": {"x": "x"},
    "outputs": {"y": "y"},
    "intermediates": {},
    "values": {},
    "tolerance": {"atol": 0.1, "rtol": 0.0},
    "part": "house",
}


def _write(folder: Path, name: str = "case", *, arrays: dict[str, Any] | None = None, **changes: Any) -> Path:
    path = folder / "invented" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"case": {**CASE, **changes}}), encoding="utf-8")
    if arrays is None:
        arrays = {"x": np.zeros(3, np.float32), "y": np.ones(3, np.float32)}
    np.savez_compressed(path.with_suffix(".npz"), **arrays)
    return path


def _run(folder: Path, **changes: Any) -> Run:
    (run,) = golden.read_runs(_write(folder, **changes))
    return run


# --- finding ----------------------------------------------------------------------------------------------------------


def test_cases_are_found_by_reading_folders(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        _write(folder)
    _write(second, "other")
    (second / "index.json").write_text("[]")
    (second / "invented" / "keys_net.json").write_text("{}")
    cases = golden.find_cases([first, second])
    assert set(cases) == {"invented/case", "invented/other"}
    assert cases["invented/case"].is_relative_to(first)
    assert set(golden.find_key_lists([first, second])) == {"invented/keys_net"}


def test_a_named_folder_replaces_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTOREKIT_GOLDEN", str(tmp_path))
    assert golden.case_folders() == [tmp_path]
    monkeypatch.setenv("RESTOREKIT_GOLDEN", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="RESTOREKIT_GOLDEN names"):
        golden.case_folders()


def test_without_a_handler_a_case_fails_unless_its_part_is_not_done(tmp_path: Path) -> None:
    done, later = _write(tmp_path), _write(tmp_path, "later", part="engine")
    assert test_golden._mark(done) == []
    with pytest.raises(LookupError, match=r"no handler for invented\.thing"):
        test_golden.test_case(done)
    (mark,) = test_golden._mark(later)
    assert mark.name == "xfail"
    assert mark.kwargs["strict"]
    assert "part 'engine'" in mark.kwargs["reason"]


# --- preparing --------------------------------------------------------------------------------------------------------


def test_runs_are_merged_over_the_case(tmp_path: Path) -> None:
    runs = [
        {"name": "a", "inputs": {"x": "x"}, "outputs": {"y": "y"}},
        {"name": "b", "inputs": {}, "outputs": {}, "values": {"n": 1}, "call": {"k": 2}, "entry": "invented.other"},
    ]
    path = _write(tmp_path, call={"k": 1, "mode": "eval", "runs": runs}, values={"n": 5})
    a, b = golden.read_runs(path)
    assert (a.call, a.entry, dict(a.values)) == ({"k": 1, "mode": "eval"}, "invented.thing", {})
    assert (b.call, b.entry, dict(b.values)) == ({"k": 2, "mode": "eval"}, "invented.other", {"n": 1})


def test_inputs_are_divided_cast_and_turned(tmp_path: Path) -> None:
    arrays = {"x": np.full((2, 3, 4), 51, np.uint8), "f": np.ones((2, 3, 4), np.float32), "y": np.zeros(1)}
    call = {"divide_uint8_by": 255, "layout": "hwc", "dtype": "float64"}
    run = _run(tmp_path, arrays=arrays, inputs={"x": "x", "f": ["f", "f"]}, call=call)
    assert run.inputs["x"].shape == (4, 2, 3)
    assert run.inputs["x"].dtype == torch.float64
    assert torch.allclose(run.inputs["x"], torch.tensor(0.2, dtype=torch.float64))
    assert [f.dtype for f in run.inputs["f"]] == [torch.float64] * 2
    assert run.image("x").shape == (1, 4, 2, 3)
    assert run.stored_layout(run.image("x")[0]).shape == (2, 3, 4)


def test_draws_are_those_of_numpy(tmp_path: Path) -> None:
    draws = {
        "z": {"seed": [5, "i"], "draw": "standard_normal", "shape": [2, 3], "dtype": "float64 cast to float32"},
        "u": {"seed": [5, 1], "draw": "random", "shape": [4], "dtype": "float32"},
    }
    run = _run(tmp_path, call={"draws": draws})
    want = np.random.default_rng([5, 7]).standard_normal((2, 3)).astype(np.float32)
    assert np.array_equal(run.draw("z", i=7), want)
    assert np.array_equal(run.draw("u"), np.random.default_rng([5, 1]).random(4, dtype=np.float32))


def test_filled_weights_follow_the_steps() -> None:
    template = {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2), "a.sobel_x": torch.zeros(2, 1, 3, 3)}
    steps = ["multiply a.b* by -0.5", "set a.weight from array w", "sobel buffers set to true kernels"]
    filled = fill(template, {"rule": "fill", "seed": 3, "after": steps}, {"w": np.arange(6.0).reshape(2, 3)})
    assert torch.equal(filled["a.bias"], -0.5 * fill_tensor("a.bias", template["a.bias"], 3))
    assert torch.equal(filled["a.weight"], torch.arange(6.0).view(2, 3))
    assert filled["a.sobel_x"][1, 0].tolist() == [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    parts = {"rule": "fill", "seed": {"p": 3, "q": 4}, "after": ["set p.a.bias to 2e-3", "roll q.a.weight by 1"]}
    assert fill(template, parts, {}, part="p")["a.bias"].tolist() == pytest.approx([2e-3, 2e-3])
    rolled, plain = fill(template, parts, {}, part="q")["a.weight"], fill_tensor("a.weight", template["a.weight"], 4)
    assert torch.equal(rolled, plain.roll(1))
    for step in ("wipe a", "multiply b* by 2"):
        with pytest.raises(ValueError, match="step"):
            fill(template, {"rule": "fill", "seed": 3, "after": [step]}, {})


# --- comparing --------------------------------------------------------------------------------------------------------


def test_differences_are_noticed(tmp_path: Path) -> None:
    run = _run(tmp_path)
    assert golden.compare(run, {"y": torch.full((3,), 1.09)}) == []
    assert golden.compare(run, {}) == ["nothing came out as 'y'"]
    for wrong in (torch.full((3,), 1.2), torch.tensor([1.0, 1.0, float("nan")])):
        (fault,) = golden.compare(run, {"y": wrong})
        assert "values differ" in fault
    (fault,) = golden.compare(run, {"y": torch.ones(1, 3)})
    assert "shape" in fault


def test_whole_numbers_are_equal_exactly_unless_the_case_says_otherwise(tmp_path: Path) -> None:
    arrays = {"x": np.zeros(1), "y": np.array([1000, 2000])}
    loose = {"atol": 5.0, "rtol": 0.0}
    result = {"y": torch.tensor([1001, 2000])}
    assert golden.compare(_run(tmp_path, arrays=arrays, tolerance=loose), result)
    assert not golden.compare(_run(tmp_path, arrays=arrays, tolerance={**loose, "arrays": {"y": loose}}), result)
    run = {"name": "r", "inputs": {}, "outputs": {"y": "y"}, "tolerance": loose}
    assert not golden.compare(_run(tmp_path, arrays=arrays, call={"runs": [run]}), result)


def test_selected_parts_are_compared(tmp_path: Path) -> None:
    value = torch.arange(24.0).view(2, 3, 4)
    for rule, want in (("[:, ::2, -1]", value[:, ::2, -1]), ("mean(1, 2)", value.mean((1, 2)))):
        run = _run(tmp_path, arrays={"x": np.zeros(1), "y": want.numpy()}, call={"select": {"y": rule}})
        assert golden.compare(run, {"y": value}) == []
        assert golden.compare(run, {"y": value + 1})


def test_values_are_compared(tmp_path: Path) -> None:
    run = _run(tmp_path, outputs={}, values={"score": 1.5, "count": 3, "text": "rain", "shape": [2, 3], "keys": ["a"]})
    right = {"score": torch.tensor([1.55]), "count": 3, "text": "rain", "shape": (2, 3), "keys": ["a"]}
    assert golden.compare(run, right) == []
    for name, wrong in (("score", 1.7), ("count", 4), ("text", "snow"), ("shape", (2, 4)), ("keys", [])):
        (fault,) = golden.compare(run, {**right, name: wrong})
        assert fault.startswith(name)


def test_only_free_places_of_an_order_may_differ(tmp_path: Path) -> None:
    run = _run(tmp_path, arrays={"x": np.zeros(1), "y": np.array([[2, 0, 1, 3]], np.uint8)})
    free = torch.tensor([[True, False, True, False]])  # positions 0 and 2

    def faults(*order: int) -> list[str]:
        return golden.compare(run, {"y": Order(order=torch.tensor([order]), free=free)})

    assert faults(2, 0, 1, 3) == faults(0, 2, 1, 3) == []
    assert "2 of 4 places differ" in faults(2, 0, 3, 1)[0]
    assert "no permutation" in faults(0, 0, 1, 3)[0]
