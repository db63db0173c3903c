"""The doctor says what is here, what is missing, and what brings it; nothing that is broken breaks it."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import restorekit
from restorekit.hub import doctor
from restorekit.hub.doctor import Device, describe_device, diagnose, install_extra, screen
from restorekit.io.formats import READABLE, WRITABLE
from tests.unit.hub.conftest import bundle

CPU = Device(name="cpu", description="a processor", total_bytes=2**34, free_bytes=2**33, fast_bf16=True)
STATED = [
    "torch>=2.6",
    "pillow>=10.3",
    "nonesuch-base>=1",
    "pytest>=8.2; extra == 'dev'",
    'nonesuch-one; extra == "iqa"',
    "nonesuch-two>=3 ; python_version >= '3.8' and extra == 'iqa'",
    "restorekit[dev,iqa]; extra == 'all'",
]


@pytest.fixture
def stated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the installation state these requirements."""
    monkeypatch.setattr(metadata, "requires", lambda name: STATED)


def test_versions_are_those_of_what_runs() -> None:
    found = diagnose([CPU])
    assert found.versions["restorekit"] == restorekit.__version__
    assert found.versions["torch"].startswith(metadata.version("torch"))
    assert set(found.versions) >= {"python", "numpy", "pillow", "safetensors"}
    assert found.faults == ()


@pytest.mark.usefixtures("stated")
def test_extras_name_what_they_lack_and_the_command() -> None:
    extras = {extra.name: extra for extra in diagnose([CPU]).extras}
    assert extras["dev"].missing == ()
    assert extras["dev"].fix is None
    assert extras["iqa"].missing == ("nonesuch-one", "nonesuch-two")
    assert extras["iqa"].fix == install_extra("iqa")
    assert extras["all"].missing == ("nonesuch-one", "nonesuch-two")
    text = "\n".join(screen(diagnose([CPU])))
    assert "  dev: complete" in text
    assert f"  iqa: lacks nonesuch-one, nonesuch-two; run: {install_extra('iqa')}" in text


@pytest.mark.usefixtures("stated")
def test_a_missing_package_is_a_fault() -> None:
    found = diagnose([CPU])
    assert found.versions["nonesuch-base"] == "missing"
    assert len(found.faults) == 1
    assert found.faults[0].startswith("the package nonesuch-base is missing; run: ")
    assert found.faults[0].endswith("-m pip install nonesuch-base")
    assert screen(found)[-1] == f"Broken: {found.faults[0]}"


def test_an_extra_comes_from_where_the_installation_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert install_extra("iqa").endswith(f'-m pip install --editable "{Path(restorekit.__file__).parents[1]}[iqa]"')
    monkeypatch.setattr(doctor, "records", lambda kind: tmp_path / "site-packages" / "restorekit" / "_records" / kind)
    assert install_extra("iqa").endswith('-m pip install "restorekit[iqa]"')


def test_a_package_that_nobody_installed_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    found = diagnose([CPU])
    assert (found.faults, found.extras) == ((), ())


# --- formats ----------------------------------------------------------------------------------------------------------


def test_every_format_is_listed() -> None:
    codecs = {codec.name: codec for codec in diagnose([CPU]).codecs}
    assert list(codecs) == list(READABLE)
    for name in WRITABLE:
        assert codecs[name].reads
        assert codecs[name].writes
    assert not any(codec.writes for name, codec in codecs.items() if name not in WRITABLE)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "avif", "tiff", "heic", "raw"])
def test_a_missing_codec_names_the_command(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(doctor.features, "get_supported", list)
    monkeypatch.setattr(doctor, "_importable", lambda module: False)
    found = diagnose([CPU])
    codec = next(codec for codec in found.codecs if codec.name == name)
    assert (codec.reads, codec.writes) == (False, False)
    package = {"tiff": "tifffile", "heic": "pillow-heif", "raw": "rawpy"}.get(name, "--upgrade pillow")
    assert str(codec.fix).endswith(f"-m pip install {package}")
    assert f"  {name} is missing; run: {codec.fix}" in screen(found)


# --- devices ----------------------------------------------------------------------------------------------------------


def test_the_processor_is_described() -> None:
    device = describe_device("cpu", lambda: (2**33, True))
    assert (device.free_bytes, device.fast_bf16, device.fault) == (2**33, True, None)
    assert " cores, " in device.description
    assert device.total_bytes is None or device.total_bytes > 2**28


def test_a_device_that_does_not_answer_is_a_fault_and_stops_nothing() -> None:
    def broken() -> tuple[int, bool]:
        raise RuntimeError("CUDA error: unknown error\nCompile with ...")

    device = describe_device("cuda:0", broken)
    found = diagnose([device, CPU])
    assert found.faults == ("the device cuda:0 does not answer: CUDA error: unknown error",)
    assert "  cuda:0: does not answer" in screen(found)


def test_devices_stand_with_their_memory() -> None:
    lines = screen(diagnose([CPU]))
    assert "  cpu: a processor, 8.0 of 16.0 GiB free, bf16: fast" in lines
    assert "  cuda: not here" in lines
    assert "  mps: not here" in lines
    lines = screen(diagnose([replace(CPU, name="cuda:0", total_bytes=None, fast_bf16=False)]))
    assert "  cuda:0: a processor, 8.0 GiB free, bf16: no instructions" in lines
    assert "  cuda: not here" not in lines


# --- weights ----------------------------------------------------------------------------------------------------------


def test_weights_are_listed_with_size_and_state(network: nn.Module, zoo: Path) -> None:
    card = bundle(network, zoo, default=True)
    found = diagnose([CPU])
    assert [(w.tag, w.place, w.bytes, w.default, w.fault) for w in found.weights] == [
        (card.tag, "bundled", card.bytes, True, None)
    ]
    assert f"  resunet-test.one (default): bundled, {card.bytes / 1e6:.1f} MB, hash as on its card" in screen(found)


@pytest.mark.parametrize("what", ["file", "card"])
def test_damaged_weights_are_a_fault(network: nn.Module, zoo: Path, what: str) -> None:
    card = bundle(network, zoo)
    (zoo / "resunet" / card.tag / (card.file if what == "file" else "card.toml")).write_bytes(b"nonsense")
    found = diagnose([CPU])
    assert len(found.faults) == 1
    assert ("is damaged" if what == "file" else "cannot be read as a card") in found.faults[0]
    if what == "file":
        assert "  resunet-test.one: bundled, 0.0 MB, damaged" in screen(found)


def test_no_weights_are_no_fault() -> None:
    found = diagnose([CPU])
    assert (found.weights, found.faults) == ((), ())
    assert "  none are here" in screen(found)
    assert screen(found)[-1] == "Nothing is broken."


def test_the_record_is_plain_data(network: nn.Module, zoo: Path) -> None:
    bundle(network, zoo)
    record: dict[str, Any] = json.loads(json.dumps(diagnose([CPU]).record()))
    assert record["devices"][0]["name"] == "cpu"
    assert record["weights"][0]["tag"] == "resunet-test.one"
