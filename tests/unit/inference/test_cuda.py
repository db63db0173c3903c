"""What only a CUDA card can show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from restorekit.hub import create_model
from restorekit.inference import Restorer
from restorekit.inference.device import free_memory
from restorekit.inference.measure import Job, peak_memory
from restorekit.models import MODELS
from tests.unit.inference.fakes import RULE, Invert

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card"),
]

SIZE = MODELS.get("resunet").size


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Let this process have 300 MiB of the card."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(300 * 2**20 / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_card_gives_what_the_cpu_gives() -> None:
    network, given = create_model("resunet", variant="resunet-test"), photo(200, 300)
    for tile in ("auto", 64):
        cpu = Restorer(network, size=SIZE, rule=RULE, device="cpu", tile=tile).restore(given)  # type: ignore[arg-type]
        cuda = Restorer(network, size=SIZE, rule=RULE, device="cuda", tile=tile).restore(given)  # type: ignore[arg-type]
        assert np.abs(cpu.astype(int) - cuda).max() <= 2


def test_a_tensor_on_the_card_stays_there() -> None:
    given = torch.rand(2, 3, 50, 70, device="cuda")
    for tile in ("auto", 64):
        restored = Restorer(Invert(), size=SIZE, rule=RULE, device="cuda", tile=tile).restore(given)  # type: ignore[arg-type]
        assert restored.device == given.device
        assert torch.allclose(restored, 1 - given, atol=1e-6)


@pytest.mark.usefixtures("little_memory")
def test_a_card_that_is_full_is_met_with_smaller_tiles() -> None:
    network, given = create_model("resunet"), photo(2000, 2000)
    restored = Restorer(network, size=SIZE, rule=RULE, device="cuda", tile=1536).run(given)
    assert any("tiles were halved" in note for note in restored.notes)
    small = Restorer(network, size=SIZE, rule=RULE, device="cuda", tile=256).restore(given)
    assert np.abs(restored.image.astype(int) - small).mean() < 1


def test_memory_of_the_card_is_known_and_kept() -> None:
    free = free_memory(torch.device("cuda"))
    assert 2**24 < free <= torch.cuda.get_device_properties(0).total_memory
    job = Job(model="resunet", variant="resunet-test", height=1500, width=1500, device="cuda", tile="auto")
    budget = 200 * 2**20
    assert peak_memory(Job(**{**job.__dict__, "bytes_per_pixel": 300.0, "max_memory": budget})) <= budget
