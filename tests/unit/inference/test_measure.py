from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from restorekit.errors import RestoreKitError
from restorekit.hub import create_model
from restorekit.inference import Restorer, measure
from restorekit.inference.measure import Job, measure_rule, peak_memory, seconds_per_megapixel, whole_vs_tiled_db
from tests.unit.inference.fakes import ANY_SIZE, RULE, Blur, Invert, ShiftsTone

MIB = 2**20
SMALL = Job(model="resunet", variant="resunet-test", height=2000, width=3000, tile="auto", bytes_per_pixel=250.0)


def test_a_restoration_on_the_cpu_keeps_its_budget() -> None:
    budget = 120 * MIB  # as a whole, the network would take 900 MiB
    peak = peak_memory(replace(SMALL, base_bytes=16 * MIB, max_memory=budget))
    assert 17 * MIB < peak < budget  # the finished picture alone takes 17


def test_a_failure_is_reported_with_its_reason() -> None:
    with pytest.raises(
        RestoreKitError, match=r"memory of resunet at 3000x2000 could not be measured: .*even in tiles of"
    ):
        peak_memory(replace(SMALL, max_memory=MIB))


def test_the_measured_rule_holds_for_other_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_TRIALS", 1)
    network = create_model("resunet", variant="resunet-test")
    picture = np.random.default_rng(0).integers(0, 256, (300, 320, 3), dtype=np.uint8)
    rule = measure_rule("resunet", network, RULE, pictures=[picture], variant="resunet-test")
    assert 50 < rule.bytes_per_pixel < 1000
    assert rule.seconds_per_megapixel is not None
    assert rule.seconds_per_megapixel > 0
    assert rule.whole_vs_tiled_db is not None
    assert rule.whole_vs_tiled_db > 45
    assert (rule.precision, rule.overlap, rule.channels_last) == (RULE.precision, RULE.overlap, RULE.channels_last)
    peak = peak_memory(replace(SMALL, height=400, width=700, tile="off"))
    assert peak < 2 * (rule.base_bytes + rule.bytes_per_pixel * 400 * 700)


def test_whole_against_tiled_tells_good_from_bad() -> None:
    picture = np.random.default_rng(0).integers(0, 200, (300, 320, 3), dtype=np.uint8)
    picture[:150] //= 4  # the tiles differ in tone
    assert whole_vs_tiled_db(Invert(), ANY_SIZE, RULE, picture) > 120
    assert whole_vs_tiled_db(Blur(), ANY_SIZE, RULE, picture) > 120  # all of it is hidden by the margin
    assert whole_vs_tiled_db(ShiftsTone(), ANY_SIZE, RULE, picture) < 40


def test_time_is_per_megapixel() -> None:
    model = Invert()
    assert seconds_per_megapixel(Restorer(model, size=ANY_SIZE, rule=RULE, device="cpu"), side=100) >= 0
    assert set(model.sizes) == {(1, 3, 100, 100)}
