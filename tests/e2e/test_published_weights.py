"""Every full-size checkpoint that authors could have published is imported, and goes back to what it was.

The lists of keys are those of the golden cases; a new list of a registered network is a new test.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tests.golden.handlers  # noqa: F401 (registers how keys are converted)
from restorekit.hub import load
from restorekit.hub.convert import WithoutDraws, tensor_shapes
from restorekit.hub.importing import import_weights
from restorekit.models import MODELS
from tests.helpers import golden
from tests.helpers.fill import apply_step

StateDict = dict[str, Tensor]


def lightning(state: StateDict, prefix: str) -> dict[str, Any]:
    return {
        "state_dict": {key if key.startswith(prefix) else prefix + key: value for key, value in state.items()},
        "epoch": 119,
        "hyper_parameters": {"opt": argparse.Namespace(epochs=120, mode=["denoise_15"])},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 2e-4}]}],
    }


CONTAINERS: dict[str, Callable[[str, StateDict], dict[str, Any]]] = {
    "hogformer": lambda name, state: lightning(state, "net.") if "lightning" in name else {"params": state},
    "dwformer": lambda name, state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
    "dornet": lambda name, state: dict(state),
    "maskdcpt": lambda name, state: {"params": state} if "swinir" in name else {"params_ema": state, "params": state},
    "mirl": lambda name, state: lightning(state, "net."),
}
"""How the authors of each release put weights into a file."""

LISTS = {
    name: path
    for name, path in golden.find_key_lists(golden.case_folders()).items()
    if name in golden.KEY_HANDLERS and path.parent.name in CONTAINERS and "keys_case_" not in name
}


def authors(path: Path) -> StateDict:
    """Return a full-size state dict, each entry with a value of its own; it takes next to no room on the disk."""
    shapes = json.loads(path.read_text(encoding="utf-8"))
    state = {
        key: torch.tensor(n + 1 if key.endswith("num_batches_tracked") else (n + 1) / 1024).expand(shape)
        for n, (key, shape) in enumerate(shapes.items())
    }
    apply_step(state, "sobel buffers set to true kernels", {})
    return state


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give each test a cache of its own, and take it away: full-size weights are large."""
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    shutil.rmtree(tmp_path, ignore_errors=True)


def same(found: StateDict, expected: StateDict) -> bool:
    return found.keys() == expected.keys() and all(
        found[key].shape == expected[key].shape and torch.equal(found[key].float(), expected[key].float())
        for key in expected
    )


@pytest.mark.shared
@pytest.mark.skipif(len({path.parent.name for path in LISTS.values()}) < 2, reason="the shared material is absent")
def test_every_family_that_converts_has_a_list() -> None:
    """No network is forgotten: each that has names of its authors is imported below."""
    tried = {family for family, _ in map(network_of, LISTS)}
    assert tried == {family for family in MODELS if MODELS.get(family).convert is not None}


@cache
def converter_of(name: str) -> golden.Converter:
    """Return how the keys of a list are converted; its network has no memory for weights."""
    with torch.device("meta"), WithoutDraws():
        return golden.KEY_HANDLERS[name]()


@cache
def network_of(name: str) -> tuple[str, str]:
    """Return family and variant of a list: those of its converter where their shapes fit."""
    converter = converter_of(name)
    bare = converter.unwrap(authors(LISTS[name]))
    fitting = [
        (family, variant)
        for family in MODELS
        for variant in MODELS.get(family).variants
        if {key: value.shape for key, value in ours(family, bare).items()} == tensor_shapes(family, variant)
    ]
    assert fitting, f"no variant has the keys of {name}"
    own = [(family, v) for family, v in fitting if MODELS.get(family).network is type(converter.network)]
    return (own or fitting)[0]


def ours(family: str, bare: StateDict) -> StateDict:
    """Return bare authors' keys as a family renames them."""
    rename = MODELS.get(family).convert
    return dict(bare) if rename is None else rename(dict(bare))


def cases() -> Iterator[Any]:
    """Yield all lists; the first of each release and network by default, the others with the slow tests."""
    seen = set()
    for name in sorted(LISTS, key=len):
        kind = name.rpartition("_")[2] if name.startswith("maskdcpt") else name.partition("/")[0]
        yield pytest.param(name, marks=[pytest.mark.slow] if kind in seen else [])
        seen.add(kind)


@pytest.mark.parametrize("name", list(cases()))
def test_a_published_checkpoint_is_imported_and_goes_back(name: str, tmp_path: Path) -> None:
    (family, variant), converter = network_of(name), converter_of(name)
    state = authors(LISTS[name])
    content = CONTAINERS[name.partition("/")[0]](name, state)
    file = tmp_path / ("model.ckpt" if "hyper_parameters" in content else "model.pth")
    torch.save(content, file)
    done = import_weights(variant, file, tag=f"{variant}.theirs")
    assert (done.entry.card.family, done.entry.card.variant) == (family, variant)
    found = dict(load(f"{variant}.theirs").model.state_dict())
    bare = converter.unwrap(state)
    assert same(found, ours(family, bare))
    revert = MODELS.get(family).revert
    assert revert is not None
    back = revert(found)
    assert same(ours(family, back), found)
    if back.keys() <= bare.keys():  # else the release has older names, and the network writes the newer ones
        assert same(back, {key: bare[key] for key in back})
