from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from restorekit.errors import UsageError
from restorekit.inference import device as module
from restorekit.inference.device import available_devices, choose_device, choose_precision, free_memory

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.fixture
def fast_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)


@pytest.fixture
def slow_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, probe, lambda: False, raising=False)


def test_auto_takes_the_best_device_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("auto") == torch.device(available_devices()[0])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == CUDA
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UsageError, match=r"no device 'cuda:2' here; this machine has cuda, cuda:0, cuda:1,.*cpu"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "", "CPU"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(UsageError, match=f"no device {name!r} here; this machine has .*cpu"):
        choose_device(name)


@pytest.mark.usefixtures("fast_bf16")
def test_auto_follows_the_rule_on_a_processor_that_is_fast_in_it() -> None:
    assert choose_precision("auto", CPU, "bf16") == ("bf16", None)
    assert choose_precision("auto", CPU, "fp32") == ("fp32", None)
    assert choose_precision("bf16", CPU, "fp32") == ("bf16", None)
    assert choose_precision("fp32", CPU, "bf16") == ("fp32", None)


@pytest.mark.usefixtures("slow_bf16")
def test_a_processor_without_bf16_runs_fp32_unless_told_and_says_so() -> None:
    assert choose_precision("auto", CPU, "bf16") == ("fp32", None)
    precision, note = choose_precision("bf16", CPU, "fp32")
    assert precision == "bf16"
    assert note is not None
    assert "no bf16 instructions" in note


@pytest.mark.usefixtures("fast_bf16")
@pytest.mark.parametrize("rule", ["fp32", "bf16"])
def test_fp16_on_the_cpu_runs_in_another_precision_and_says_so(rule: module.Precision) -> None:
    assert choose_precision("fp16", CPU, rule) == (rule, f"the CPU does not compute in fp16; running in {rule} instead")


def test_cards_run_fp16_and_bf16_only_where_they_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert choose_precision("auto", CUDA, "bf16") == ("fp32", None)
    assert choose_precision("fp16", CUDA, "fp32") == ("fp16", None)
    assert choose_precision("fp16", MPS, "fp32") == ("fp16", None)
    assert choose_precision("auto", MPS, "bf16") == ("fp32", None)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown precision 'half'; choose auto, fp32, bf16, fp16"):
        choose_precision("half", CPU, "fp32")


def test_free_memory_is_between_nothing_and_what_is_installed() -> None:
    installed = 2**50
    assert 2**24 < free_memory(CPU) < installed


def test_a_container_with_less_than_the_machine_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_free_in_container", lambda: 12345)
    assert free_memory(CPU) == 12345


@pytest.mark.parametrize(("limit", "free"), [("1000000", 1000000 - 600000 + 50000), ("max", None)])
def test_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, free: int | None) -> None:
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text("600000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 50000\n")
    monkeypatch.setattr(module, "_GROUPS", ((str(tmp_path), "memory.max", "memory.current", "inactive_file"),))
    assert module._free_in_container() == (sys.maxsize if free is None else free)
