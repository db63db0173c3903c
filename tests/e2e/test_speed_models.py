"""The benchmark of networks runs, and its record says what docs/models.md reads from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.speed._measure import in_turns
from restorekit.hub import create_model


def other() -> nn.Module:
    """Return another implementation, as ``--against`` names one."""
    return create_model("resunet-test")


def test_all_forms_are_measured_in_one_run(repository: Path, tmp_path: Path) -> None:
    words = ["--models", "resunet-test", "--sizes", "32", "--repeats", "2", "--eager-only", "--out", tmp_path / "out"]
    command = [sys.executable, "-m", "benchmarks.speed.models", *map(str, words)]
    done = subprocess.run(
        [*command, "--against", "tests.e2e.test_speed_models:other"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    network = record["networks"]["resunet-test"]
    assert network["parameters"] == sum(p.numel() for p in other().parameters())
    assert network["giga_macs"]["convolutions"] > 0
    (row,) = record["rows"]
    assert (row["family"], row["variant"], row["size"], row["compiled"]) == ("resunet", "resunet-test", 32, False)
    assert set(row["times"]) == set(row["peak_bytes"]) == {"plain", "ours", "other"}
    assert all(times["repeats"] == 2 and times["seconds"] > 0 for times in row["times"].values())
    assert row["differs_from_plain"]["ours"] <= 1e-4 * max(1.0, row["largest_answer"])
    page = (tmp_path / "out.md").read_text(encoding="utf-8")
    assert "| resunet-test | 0.0" in page
    assert "tests.e2e.test_speed_models:other, s | against it |" in page


def test_turns_end_when_their_time_is_over() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in ("a", "b")}
    times = in_turns(calls, 3)
    assert order == ["a", "b"] * 4
    assert times["a"]["repeats"] == 3
    order.clear()
    assert in_turns(calls, 3, seconds=0.0, warm=False)["b"]["repeats"] == 1
    assert order == ["a", "b"]


def test_an_unknown_network_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.speed import models
    from restorekit.errors import UnknownNameError

    assert models.variants(["resunet"]) == [("resunet", "resunet")]
    assert ("hogformer", "hogformer-natural") in models.variants([])
    assert not [variant for _, variant in models.variants([]) if variant.endswith("-test")]
    with pytest.raises(UnknownNameError, match="did you mean resunet"):
        models.variants(["resnet"])


def test_networks_that_look_at_values_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.speed import models

    exact = models.giga_macs("resunet", "resunet-test")
    build = models.MODELS.get("resunet").build

    def refuse(variant: str) -> nn.Module:
        if torch.empty(0).is_meta:
            raise RuntimeError("no values")
        return build(variant)

    monkeypatch.setattr(type(models.MODELS.get("resunet")), "build", lambda self, variant: refuse(variant))
    assert models.giga_macs("resunet", "resunet-test")["convolutions"] == pytest.approx(exact["convolutions"])
