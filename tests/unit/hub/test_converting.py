"""Weights go from the authors' container to ours and back, and nothing is lost."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from restorekit.errors import ModelError, UnknownNameError, UsageError
from restorekit.hub import load, write_card
from restorekit.hub.checkpoint import read_checkpoint
from restorekit.hub.converting import container_of, convert_file
from restorekit.models import MODELS
from tests.unit.hub.test_card import CARD


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.fixture
def theirs(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """Return a Lightning checkpoint of HOGformer, and the weights in it under our names."""
    spec = MODELS.get("hogformer")
    assert spec.revert is not None
    ours = {key: value.clone() for key, value in spec.build("hogformer-test").state_dict().items()}
    state = {f"net.{key}": value for key, value in spec.revert(dict(ours)).items()}
    path = tmp_path / "epoch=149.ckpt"
    torch.save({"state_dict": state, "epoch": 149, "hyper_parameters": argparse.Namespace(lr=1e-4)}, path)
    return path, ours


def test_to_ours_and_back(theirs: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    path, ours = theirs
    done = convert_file(path)
    assert done.path == tmp_path / "epoch=149.ours.safetensors"
    assert (done.family, done.variant, done.container) == ("hogformer", "hogformer-test", "plain")
    assert done.notes == ("its keys are those of the authors of hogformer; they were renamed",)
    assert (done.tensors, done.bytes) == (len(ours), done.path.stat().st_size)
    assert same(safetensors.torch.load_file(done.path), ours)
    with safetensors.safe_open(done.path, "pt") as file:
        assert file.metadata() == {"restorekit": "hogformer hogformer-test"}
    back = convert_file(done.path, to="authors", container="state_dict/net.")
    assert back.path == tmp_path / "epoch=149.ours.authors.ckpt"
    first, second = (torch.load(file, weights_only=True) for file in (convert_file(path, to="authors").path, back.path))
    assert set(first) == {"params"}  # what is written where no card says otherwise
    assert same({f"net.{key}": value for key, value in first["params"].items()}, second["state_dict"])
    assert {"epoch", "global_step", "pytorch-lightning_version"} < set(second)
    assert same(second["state_dict"], read_checkpoint(path).state)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("container", ["plain", "params_ema", "state_dict/module."])
def test_every_container_is_read_again(
    theirs: tuple[Path, dict[str, Tensor]], tmp_path: Path, container: str, suffix: str
) -> None:
    path, ours = theirs
    done = convert_file(path, to="authors", out=tmp_path / f"out{suffix}", container=container)
    assert done.container == container
    assert same(dict(load(done.path).model.state_dict()), ours)


def test_the_container_is_the_one_of_the_card(zoo: Path) -> None:
    assert container_of("resunet") == "params"
    write_into = zoo / "resunet" / "resunet.one-v1"
    write_into.mkdir(parents=True)
    card = {**CARD.__dict__, "sha256": None, "bytes": None, "source_container": "state_dict/net."}
    write_card(type(CARD)(**card), write_into / "card.toml")
    assert container_of("resunet") == "state_dict/net."


def test_a_file_that_is_there_stays(theirs: tuple[Path, dict[str, Tensor]]) -> None:
    path, _ = theirs
    first = convert_file(path)
    first.path.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"ours.safetensors exists already; give --overwrite to replace it"):
        convert_file(path)
    assert first.path.read_bytes() == b"mine"
    assert convert_file(path, overwrite=True).sha256 == first.sha256


def test_a_network_can_be_named(theirs: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    path, _ = theirs
    for name in ("hogformer", "hogformer-test"):
        assert convert_file(path, network=name, overwrite=True).variant == "hogformer-test"
    with pytest.raises(ModelError, match="not the weights of 'hogformer-natural'"):
        convert_file(path, network="hogformer-natural", overwrite=True)
    with pytest.raises(UnknownNameError, match="did you mean hogformer"):
        convert_file(path, network="hogfromer")


def test_what_cannot_be_written_is_said(
    network: nn.Module, theirs: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    path, _ = theirs
    torch.save(network.state_dict(), tmp_path / "own.pth")
    with pytest.raises(ModelError, match="resunet has no names but ours: it is a network of this project"):
        convert_file(tmp_path / "own.pth", to="authors")
    with pytest.raises(UsageError, match="unknown container 'parameters'; give plain, params_ema"):
        convert_file(path, to="authors", container="parameters")
    with pytest.raises(
        UsageError, match=r"cannot be written \(No such file or directory\); name another file with --out"
    ):
        convert_file(path, out=tmp_path / "nowhere" / "a.safetensors")
