"""Weights are read from every container that people use, and nothing that a file holds is run."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from restorekit.errors import ModelError
from restorekit.hub import checkpoint, read_checkpoint
from restorekit.hub.checkpoint import strip_prefixes

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([0.5, -0.5])}


class Harm:
    """What a hostile file holds: unpickling it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return os.mkdir, (str(self.target),)


def saved(path: Path, content: Any, *, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


# --- containers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        STATE,
        OrderedDict(STATE),
        {"params": STATE},
        {"params_ema": STATE, "params": {"a.weight": torch.zeros(2, 3)}},
        {"state_dict": STATE, "epoch": 3, "optimizer_states": [{"state": {0: torch.zeros(3)}}], "callbacks": {}},
        {"model": STATE, "step": 100, "optimiser": {"state": {}}},
        {"average": STATE, "model": {"a.weight": torch.zeros(2, 3)}},
        {"model": {"params": STATE}},
    ],
    ids=["plain", "ordered", "params", "params_ema", "lightning", "model", "average", "nested"],
)
def test_wrappers_are_taken_off(tmp_path: Path, content: Any, zipped: bool) -> None:
    found = read_checkpoint(saved(tmp_path / "file.pth", content, zipped=zipped))
    assert same(found.state, STATE)


def test_the_choice_between_two_sets_of_weights_is_said(tmp_path: Path) -> None:
    found = read_checkpoint(saved(tmp_path / "file.pth", {"params": STATE, "params_ema": STATE}))
    assert found.notes == ("took the weights under 'params_ema', not those under 'params'",)
    assert read_checkpoint(saved(tmp_path / "file.pth", {"params": STATE})).notes == ()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ""])
def test_the_content_decides_and_not_the_suffix(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"file{suffix}"
    safetensors.torch.save_file(STATE, path)
    assert same(read_checkpoint(path).state, STATE)
    saved(path, STATE)
    assert same(read_checkpoint(path).state, STATE)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["module.a", "module.b"], ["a", "b"]),
        (["net.a", "net.b", "cri_HOGloss.angles"], ["a", "b", "cri_HOGloss.angles"]),
        (["module.net.a", "module.net.b"], ["a", "b"]),
        (["_orig_mod.module.a"], ["a"]),
        (["a", "b", "net.c"], ["a", "b", "net.c"]),
    ],
)
def test_prefixes_of_wrappers_come_off_where_most_keys_have_them(keys: list[str], expected: list[str]) -> None:
    assert list(strip_prefixes({key: torch.zeros(1) for key in keys})) == expected


# --- hostile files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["itself", "wrapped", "beside"])
def test_a_hostile_pickle_is_refused_and_nothing_in_it_runs(tmp_path: Path, place: str, zipped: bool) -> None:
    target = tmp_path / "harm"
    harm = Harm(target)
    content = {"itself": harm, "wrapped": {"params": {"a": harm}}, "beside": {"params": STATE, "hparams": harm}}[place]
    path = saved(tmp_path / "file.pth", content, zipped=zipped)
    with pytest.raises(
        ModelError,
        match=r"file.pth holds more than weights \(\w+\.mkdir\), which could run code; nothing in it was run",
    ):
        read_checkpoint(path)
    assert not target.exists()
    torch.load(path, weights_only=False)  # it would have done harm
    assert target.exists()


def test_a_bare_pickle_is_refused_and_nothing_in_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps({"a": Harm(tmp_path / "harm")}))
    with pytest.raises(ModelError, match=r"file.pkl (holds more than weights|is damaged)"):
        read_checkpoint(path)
    assert not (tmp_path / "harm").exists()


def text(value: str) -> bytes:
    """Return the pickle of a string."""
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def called(name: str, *arguments: bytes) -> bytes:
    """Return a pickle that calls something."""
    module, _, attribute = name.rpartition(".")
    return b"\x80\x02c%b\n%b\n(%btR." % (module.encode(), attribute.encode(), b"".join(arguments))


def gadgets(target: Path) -> dict[str, tuple[bytes, bool]]:
    """Return pickles that make a file if they are read carelessly, and whether Python's own reader is careless so."""
    touch, code = text(f"touch {target}"), text(f"open({str(target)!r}, 'w').close()")
    inner = io.BytesIO()
    torch.save({"a": Harm(target)}, inner, _use_new_zipfile_serialization=False)
    nested = b"B" + len(inner.getvalue()).to_bytes(4, "little") + inner.getvalue()
    mkdir = text(str(target))
    return {
        "os.system": (called("os.system", touch), True),
        "posix.system": (called("posix.system", touch), True),
        "builtins.exec": (called("builtins.exec", code), True),
        "builtins.eval": (called("builtins.eval", code), True),
        "__builtin__ of Python 2": (b"\x80\x02c__builtin__\neval\n(" + code + b"tR.", True),
        "subprocess": (called("subprocess.getoutput", touch), True),
        "an import": (called("builtins.__import__", text("antigravity")), False),
        "a shell as a debugger": (called("pdb.run", code), False),
        "runpy": (called("runpy.run_path", text(str(target))), False),
        "torch's own exec": (called("torch.jit.unsupported_tensor_ops.execWrapper", code, b"}}"), False),
        "a nested file": (called("torch.storage._load_from_bytes", nested), True),
        "a nested load": (called("torch.serialization.load", mkdir), False),
        "the hub": (called("torch.hub.load", text("a/b"), text("c")), False),
        "getattr": (called("builtins.getattr", b"cos\nsystem\n", text("__call__")), False),
        "an old instance": (b"(" + touch + b"ios\nsystem\n.", True),
        "an old object": (b"\x80\x02(cos\nsystem\n" + touch + b"o.", True),
        "a new object": (b"\x80\x02cpathlib\nPath\n(" + mkdir + b"t\x81}b.", False),
        "a name on the stack": (b"\x80\x04" + text("posix") + text("mkdir") + b"\x93(" + mkdir + b"tR.", True),
        "an extension": (b"\x80\x02\x82\x01.", False),
        "a persistent name": (b"\x80\x02(" + text("storage") + b"cos\nsystem\n" + touch * 3 + b"tQ.", False),
        "a state": (b"\x80\x02ccollections\nOrderedDict\n)R}" + text("__class__") + b"cos\nsystem\nsb.", False),
        "a rebuilt tensor": (called("torch._utils._rebuild_tensor_v2", b"cos\nsystem\n", touch), False),
        "a namespace": (
            b"\x80\x02cargparse\nNamespace\n)\x81}" + text("a") + called("os.system", touch)[2:-1] + b"sb.",
            True,
        ),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("gadget", list(gadgets(Path("harm"))))
def test_no_trick_of_pickles_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gadget: str, zipped: bool) -> None:
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "harm"
    content, careless = gadgets(target)[gadget]
    path = tmp_path / "file.pth"
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", b"3\n")
            archive.writestr("archive/data/0", bytes(64))
    else:
        path.write_bytes(content)
    with pytest.raises(
        ModelError, match=r"file.pth (holds more than weights|is damaged|is no file of weights|holds a)"
    ):
        read_checkpoint(path)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["file.pth", "zoo"]
    if careless:
        pickle.loads(content)  # noqa: S301 (it would have done harm)
        assert target.exists()


def test_an_archive_in_an_archive_is_not_opened(tmp_path: Path) -> None:
    target = tmp_path / "harm"
    inner = saved(tmp_path / "inner.pth", {"a": Harm(target)})
    with zipfile.ZipFile(tmp_path / "outer.pth", "w") as archive:
        archive.write(inner, "inner.pth")
    with pytest.raises(ModelError, match=r"outer.pth is an archive without weights of its own \(it holds inner.pth\)"):
        read_checkpoint(tmp_path / "outer.pth")
    storage = torch.frombuffer(bytearray(inner.read_bytes()), dtype=torch.uint8)  # harm as the values of a tensor
    assert same(read_checkpoint(saved(tmp_path / "outer.pth", {"a": storage})).state, {"a": storage})
    assert not target.exists()


def test_a_second_pickle_of_the_same_name_is_not_run(tmp_path: Path) -> None:
    path, target = saved(tmp_path / "file.pth", STATE), tmp_path / "harm"
    harm = pickle.dumps(Harm(target), protocol=2)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("file/data.pkl", harm)
    with pytest.raises(ModelError, match=r"file.pth holds two entries of one name, as no honest program writes them"):
        read_checkpoint(path)
    assert not target.exists()


def test_a_program_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "file.pt")
    with pytest.raises(
        ModelError, match=r"file.pt holds a program \(TorchScript\) and not weights alone; nothing in it"
    ):
        read_checkpoint(tmp_path / "file.pt")


def test_options_beside_the_weights_do_no_harm(tmp_path: Path) -> None:
    options = argparse.Namespace(epochs=120, mode=["denoise"], lr=2e-4, nested=argparse.Namespace(a=1))
    content = {"state_dict": STATE, "hyper_parameters": options, "opt": {"a": options}}
    assert same(read_checkpoint(saved(tmp_path / "file.ckpt", content)).state, STATE)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**20))
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 2**19)
    with pytest.raises(ModelError, match=r"bomb.pth unpacks to 0.0 GiB, more than"):
        read_checkpoint(path)


def test_a_tensor_that_is_small_on_the_disk_and_huge_in_memory_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "file.pth", {"a": torch.zeros(1).expand(2**33)})
    assert path.stat().st_size < 10_000
    with pytest.raises(ModelError, match=r"file.pth holds 32.0 GiB of weights, more than the 8 GiB"):
        read_checkpoint(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    with path.open("wb") as file:
        file.truncate(9 * 2**30)  # takes no room on the disk
    with pytest.raises(ModelError, match=r"file.pth has 9.0 GiB, more than the 8 GiB that are read"):
        read_checkpoint(path)


# --- files that are none ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; get it again"),
        (b"\n<!DOCTYPE html><html>quota exceeded</html>", "is a web page, not weights; download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "is a Git LFS pointer.*git lfs pull"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is no file of weights; give a .safetensors"),
        (b"hello", "is no file of weights"),
        (b"PK\x03\x04" + bytes(100), "is damaged or cut short"),
        (b"\x80\x02}q\x00", "is damaged or cut short"),
        ((2**20).to_bytes(8, "little") + b'{"a":', "is damaged or cut short"),
    ],
    ids=["empty", "page", "pointer", "picture", "text", "zip", "pickle", "safetensors"],
)
def test_what_is_no_weights_is_called_by_its_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"file\.pth {message}"):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.98])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "file.pth"
    state = {str(n): torch.randn(50, 50, generator=torch.Generator().manual_seed(n)) for n in range(4)}
    if kind == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        saved(path, state, zipped=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match=r"file\.pth is (damaged or cut short|no file of weights)"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "holds a Tensor, no weights by name"),
        ([torch.zeros(3)], "holds a list, no weights by name"),
        ({"epoch": 3}, "holds no tensors by name"),
        ({}, "holds no tensors by name"),
        ({"a": torch.zeros(3, 3).to_sparse()}, "a is no plain tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*[Ss]parse.*")
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_checkpoint(saved(tmp_path / "file.pth", content))


def test_a_missing_file_and_a_folder_are_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing.pth is not there; check the name"):
        read_checkpoint(tmp_path / "nothing.pth")
    with pytest.raises(ModelError, match="cannot be read"):
        read_checkpoint(tmp_path)


def test_buffers_that_are_no_weights_do_not_disturb(tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save({"state_dict": {**STATE, "note": "text", "steps": 3}}, stream)
    (tmp_path / "file.pth").write_bytes(stream.getvalue())
    assert same(read_checkpoint(tmp_path / "file.pth").state, STATE)
