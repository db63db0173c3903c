"""Checkpoints of the community, recognised by spandrel, run where a model is asked for."""

from __future__ import annotations

import json
import os
import pickle
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from restorekit.errors import MissingExtraError, ModelError
from restorekit.hub import create_model, load
from restorekit.hub.community import _check_call
from restorekit.inference import Restorer
from restorekit.io import read_image
from restorekit.models import MODELS
from tests.e2e.conftest import Cli, photo, put
from tests.helpers.community import ARCHITECTURES, build

spandrel = pytest.importorskip("spandrel", reason="the extra community is not installed")
every_architecture = pytest.mark.parametrize("name", list(ARCHITECTURES))


def lively(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights whose answers are neither black nor white: the last bias of three colours is in the middle."""
    biases = [key for key, value in state.items() if key.endswith("bias") and value.shape[:1] in ((3,), (12,), (48,))]
    return {**state, biases[-1]: state[biases[-1]] + 0.5} if biases else state


def saved(name: str, folder: Path, *, suffix: str = ".pth", wrapper: str | None = None) -> Path:
    """Write a checkpoint as the community does."""
    state = lively(dict(build(name).state_dict()))
    path = folder / f"net{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save({wrapper: state} if wrapper else state, path)
    return path


def expected(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Return what spandrel makes of a picture by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        described = spandrel.ModelLoader().load_from_file(path).eval()
        image = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0) / 255
        if described.input_channels == 1:
            answer = torch.cat([described(colour) for colour in image.split(1, dim=1)], 1)
        else:
            answer = described(image)
    return (255 * answer[0].permute(1, 2, 0)).round().to(torch.uint8).numpy()


@every_architecture
def test_a_checkpoint_restores_a_picture_as_spandrel_does(name: str, cli: Cli, tmp_path: Path) -> None:
    path, pixels = saved(name, tmp_path, wrapper="params_ema"), photo(48, 56)
    given, scale = put(tmp_path / "a.png", pixels), ARCHITECTURES[name][1]
    ended = cli("restore", given, "--model", path, "--device", "cpu", "--out", tmp_path / "b.png")
    assert ended.code == 0, ended.error
    restored = read_image(tmp_path / "b.png").pixels
    assert restored.shape == (48 * scale, 56 * scale, 3)
    wanted = expected(path, pixels)
    assert wanted.std() > 1
    assert np.abs(restored.astype(int) - wanted.astype(int)).max() <= 1
    times = f", {scale} times as large" if scale > 1 else ""
    assert f"by its keys it is {name}{times} (recognised by spandrel)" in ended.error
    assert "the file does not state the licence of its weights" in ended.error
    assert f"{name} (x{scale}" in ended.error


@pytest.mark.parametrize("name", ["RealESRGAN Compact", "ESRGAN"])
def test_tiles_give_what_the_whole_gives(name: str, tmp_path: Path) -> None:
    path, pixels = saved(name, tmp_path, suffix=".safetensors"), photo(150, 210)
    whole = Restorer.from_pretrained(path, device="cpu", tile="off").restore(pixels)
    tiled = Restorer.from_pretrained(path, device="cpu", tile=128).restore(pixels)
    assert whole.shape == (150 * ARCHITECTURES[name][1], 210 * ARCHITECTURES[name][1], 3)
    assert np.abs(whole.astype(int) - tiled.astype(int)).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (7, 90), (41, 33)])
@pytest.mark.parametrize("name", ["SwinIR", "DAT", "SCUNet"])
def test_any_size_runs(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    restorer = Restorer.from_pretrained(saved(name, tmp_path), device="cpu")
    scale = ARCHITECTURES[name][1]
    assert restorer.scale == scale
    restored = restorer.restore(np.zeros((*size, 3), np.uint16))
    assert (restored.shape, restored.dtype) == ((size[0] * scale, size[1] * scale, 3), np.uint16)


def test_the_forecast_and_the_comparison_know_the_scale(cli: Cli, tmp_path: Path) -> None:
    path, given = saved("RealESRGAN Compact", tmp_path), put(tmp_path / "a.png", photo(40, 56))
    words = ("restore", given, "--model", path, "--device", "cpu", "--out", tmp_path / "b.png", "--compare")
    planned = json.loads(cli(*words, "--dry-run", "--json").output)
    assert [(p["width"], p["height"]) for p in planned["pictures"]] == [(112, 80)]
    assert "enlarges 2 times" in planned["model"]["rule"]
    done = cli(*words, "--json")
    assert done.code == 0, done.error
    assert [(p["width"], p["height"]) for p in done.json["pictures"]] == [(112, 80)]
    assert read_image(done.json["pictures"][0]["comparison"]).width == 2 * 112 + 2


def test_a_stated_licence_is_said(cli: Cli, tmp_path: Path) -> None:
    state = {key: value.contiguous() for key, value in build("SPAN").state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "net.safetensors", {"modelspec.license": "CC-BY-NC-4.0\n\x1b[31m"})
    ended = cli("models", "show", tmp_path / "net.safetensors")
    assert ended.code == 0, ended.error
    assert "- licence of the weights, as the file states it: CC-BY-NC-4.0 [31m\n" in ended.text
    assert "| network | SPAN, variant `x4 8nf` (restore) |" in ended.text
    assert "| enlarges | 4 times |" in ended.text
    record = cli("models", "show", tmp_path / "net.safetensors", "--json").json
    assert (record["family"], record["scale"], record["tag"]) == ("SPAN", 4, None)


def test_ours_come_first(tmp_path: Path) -> None:
    spec = MODELS.get("hogformer")
    assert spec.revert is not None
    torch.save({"params": spec.revert(dict(spec.build("hogformer-test").state_dict()))}, tmp_path / "net.pth")
    loaded = load(tmp_path / "net.pth")
    assert (loaded.spec.name, loaded.scale) == ("hogformer", 1)


def test_a_restorer_of_them_can_be_pickled(tmp_path: Path) -> None:
    for name in ("ESRGAN", "SPAN"):
        restorer = Restorer.from_pretrained(saved(name, tmp_path), device="cpu")
        copy = pickle.loads(pickle.dumps(restorer))  # noqa: S301 (it was pickled here)
        assert np.array_equal(copy.restore(photo(20, 24)), restorer.restore(photo(20, 24)))


def test_a_precision_that_a_network_cannot_compute_in_is_not_taken(tmp_path: Path) -> None:
    restorer = Restorer.from_pretrained(saved("SwinIR", tmp_path), device="cpu", precision="bf16")
    assert any("SwinIR cannot compute in fp16: it stays in fp32" in note for note in restorer.notes)
    low, full = restorer.restore(photo(24, 24)), load(tmp_path / "net.pth")
    descriptor = full.model._descriptor  # type: ignore[attr-defined]
    descriptor.supports_bfloat16 = False
    image = torch.rand(1, 3, 24, 24)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        answer = full.model(image)
    with torch.no_grad():
        assert torch.equal(answer, full.model(image))
    assert low.shape == (48, 48, 3)


def test_recognising_draws_no_random_numbers(tmp_path: Path) -> None:
    path = saved("SwinIR", tmp_path)
    before = torch.random.get_rng_state()
    load(path)
    assert torch.equal(torch.random.get_rng_state(), before)


# --- what cannot be run -----------------------------------------------------------------------------------------------


class Harm:
    """Unpickling it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return os.mkdir, (str(self.target),)


def test_a_hostile_checkpoint_of_theirs_is_refused_before_it_is_recognised(cli: Cli, tmp_path: Path) -> None:
    state = dict(build("ESRGAN").state_dict())
    torch.save({"params": state, "info": Harm(tmp_path / "harm")}, tmp_path / "net.pth")
    ended = cli("restore", put(tmp_path / "a.png"), "--model", tmp_path / "net.pth")
    assert ended.code == 4
    assert "holds more than weights" in ended.error
    assert not (tmp_path / "harm").exists()


def test_without_the_extra_one_sentence_names_it(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved("ESRGAN", tmp_path)
    monkeypatch.setitem(sys.modules, "spandrel", None)
    ended = cli("restore", put(tmp_path / "a.png"), "--model", path)
    assert ended.code == MissingExtraError.exit_code
    assert ended.error == (
        f"Error: {path} is no network of RestoreKit's own, and to run others it needs an optional package; "
        "install it with: pip install 'restorekit[community]'\n"
    )


def test_a_damaged_checkpoint_of_ours_is_not_taken_for_one_of_theirs(tmp_path: Path) -> None:
    state = create_model("resunet-test").state_dict()
    del state[next(iter(state))]
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(
        ModelError, match=r"fits no network that is known; the closest is 'resunet-test': 1 missing keys"
    ):
        load(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a.weight": torch.zeros(3, 3)}, r"fits no network that is known, neither of RestoreKit nor of spandrel \d"),
        ({"body.99999999.weight": torch.zeros(3, 3)}, "names a layer with the number 99999999; no honest network"),
        ({f"body.{10**30}.weight": torch.zeros(3, 3)}, "no honest network has so many"),
    ],
)
def test_what_nobody_knows_is_said(state: dict[str, Tensor], message: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ModelError, match=message):
        load(tmp_path / "net.pth")


def test_a_network_that_is_not_quite_the_one_of_the_file_is_said(tmp_path: Path) -> None:
    state = dict(build("RealESRGAN Compact").state_dict())
    state["body.2.weight"] = torch.zeros(5, 5)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(
        ModelError, match=r"looks like a network that spandrel knows but cannot be loaded \(Error\(s\) in"
    ):
        load(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("purpose", "channels", "message"),
    [
        ("Inpainting", (3, 3), "which fills holes and needs a mask of them"),
        ("FaceSR", (3, 3), "which takes faces that were cut out and aligned"),
        ("SR", (4, 3), "with 4 channels in and 3 out; only RGB and grey ones can be run"),
        ("Restoration", (3, 1), "with 3 channels in and 1 out"),
    ],
)
def test_networks_of_another_kind_are_refused(purpose: str, channels: tuple[int, int], message: str) -> None:
    descriptor = SimpleNamespace(
        architecture=SimpleNamespace(name="Filler"),
        purpose=purpose,
        input_channels=channels[0],
        output_channels=channels[1],
    )
    with pytest.raises(ModelError, match=f"net.pth is Filler,? {message}"):
        _check_call(descriptor, "net.pth")
