"""A zoo and a cache of the test's own, and a network that is built in a moment."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from restorekit.hub import UNMEASURED, Card, create_model, release, store

VARIANT = "resunet-test"


@pytest.fixture(autouse=True)
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an empty folder in the place of the bundled weights, and another one in the place of the user's."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    monkeypatch.setattr(store, "records", lambda kind: folder)
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def network() -> nn.Module:
    """Return a small network with weights that are the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return create_model("resunet", variant=VARIANT)


def bundle(network: nn.Module, zoo: Path, tag: str = "resunet-test.one", *, default: bool = False) -> Card:
    """Put weights into the zoo."""
    return release(
        network,
        tag=tag,
        family="resunet",
        variant=VARIANT,
        summary="For tests.",
        source="made in a test",
        data="nothing",
        inference=UNMEASURED,
        scores=None,
        folder=zoo,
        default=default,
    )
