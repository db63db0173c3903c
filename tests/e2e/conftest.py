"""What the tests of the command line share: a way to call it, a small network, pictures."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from restorekit.cli.app import main
from restorekit.hub import create_model
from restorekit.io import ImageData, write_image


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small pictures gain nothing from threads, and lose much where something else is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    output: bytes
    error: str

    @property
    def text(self) -> str:
        return self.output.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.output)


Cli = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Take back what a command does to the logging of this process."""
    logger = logging.getLogger("restorekit")
    before = logger.level, list(logger.handlers)
    yield
    logger.level, logger.handlers = before[0], before[1]


@pytest.fixture
def cli(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Return a function that runs the command line in this process, with the words given."""

    def run(*words: str | Path, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsysbinary.readouterr()
        with pytest.raises(SystemExit, match=r"^\d+$") as ended:
            main([str(word) for word in words])
        captured = capsysbinary.readouterr()
        return Ended(int(str(ended.value)), captured.out, captured.err.decode())

    return run


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of weights: the smallest network, which changes pictures a little."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = create_model("resunet", variant="resunet-test")
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    safetensors.torch.save_file({key: 0.3 * value for key, value in network.state_dict().items()}, path)
    return path


def photo(height: int = 40, width: int = 56) -> np.ndarray:
    """Return a picture ``(H, W, 3)`` uint8 with areas, edges and noise."""
    y, x = np.mgrid[:height, :width]
    areas = np.stack([x * 3 % 256, y * 4 % 256, (x + y) * 2 % 256], axis=2)
    return (areas + np.random.default_rng(0).integers(0, 20, areas.shape)).clip(0, 255).astype(np.uint8)


def put(path: Path, pixels: np.ndarray | None = None, *, format: str | None = None) -> Path:
    """Write a picture and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(ImageData(pixels=photo() if pixels is None else pixels, format=format or "png"), path, format=format)
    return path
