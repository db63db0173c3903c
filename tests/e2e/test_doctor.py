"""``restorekit doctor`` on this machine, and on broken ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from restorekit.hub import create_model
from restorekit.inference.device import available_devices
from restorekit.resources import records
from tests.e2e.conftest import Cli

BLOCK = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
from restorekit.cli.app import main
main(["doctor"])
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a cache of its own."""
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def without(*names: str) -> subprocess.CompletedProcess[str]:
    """Run the doctor where these packages cannot be imported."""
    command = [sys.executable, "-W", "error", "-c", BLOCK.format(names=names)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)


def test_one_screen(cli: Cli, cache: Path) -> None:
    ended = cli("doctor")
    assert (ended.code, ended.error) == (0, "")
    lines = ended.text.splitlines()
    assert len(lines) < 50
    for heading in ("Devices", "Formats", "Extras", f"Weights (yours lie in {cache})"):
        assert heading in lines
    assert any(line.startswith("  cpu: ") and "GiB free" in line for line in lines)
    assert lines[-1] == "Nothing is broken."


def test_the_record_agrees_with_the_machine(cli: Cli) -> None:
    found = cli("doctor", "--json").json
    assert [device["name"] for device in found["devices"]] == [name for name in available_devices() if name != "cuda"]
    cpu = found["devices"][-1]
    assert 0 < cpu["free_bytes"] <= cpu["total_bytes"]
    bundled = {path.parent.name for path in records("model_zoo").glob("*/*/*.safetensors")}
    assert {weights["tag"] for weights in found["weights"]} == bundled
    assert found["faults"] == []


def test_imported_weights_are_listed_and_damage_is_found(cli: Cli, cache: Path, tmp_path: Path) -> None:
    torch.save(create_model("resunet-test").state_dict(), tmp_path / "mine.pth")
    assert cli("models", "import", "resunet", tmp_path / "mine.pth", "--tag", "resunet.mine").code == 0
    ended = cli("doctor")
    assert ended.code == 0
    path = cache / "resunet" / "resunet.mine" / "model.safetensors"
    size = path.stat().st_size / 1e6
    assert f"  resunet.mine: cached, {size:.1f} MB, hash as on its card" in ended.text.splitlines()
    path.write_bytes(b"")
    ended = cli("doctor")
    assert ended.code == 1
    assert "restorekit models rm resunet.mine" in ended.text.splitlines()[-1]


def test_optional_packages_may_be_absent() -> None:
    ended = without("pillow_heif", "rawpy", "kornia", "diffusers", "albumentations", "spandrel", "pyiqa")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "heic is missing; run: " in ended.stdout
    assert ended.stdout.endswith("Nothing is broken.\n")


@pytest.mark.parametrize("package", ["torch", "numpy", "safetensors"])
def test_a_broken_installation_ends_with_a_sentence(package: str) -> None:
    ended = without(package)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"Error: this installation is broken (No module named '{package}")
    assert "-m pip install --upgrade restorekit" in ended.stderr
    assert "Traceback" not in ended.stderr
