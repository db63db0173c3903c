from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restorekit.errors import UsageError
from restorekit.inference.plan import SMALLEST_TILE, TILES, Budget, Plan, TileOption, plan_picture
from restorekit.models import SizeRule
from tests.unit.inference.fakes import RULE

MIB = 2**20


def plan(
    height: int,
    width: int,
    *,
    tile: TileOption = "auto",
    budget: int = 2**40,
    given_budget: bool = True,
    on_cpu: bool = True,
    multiple: int = 8,
    ensemble: bool = False,
    seconds: float | None = None,
) -> Plan:
    return plan_picture(
        height,
        width,
        size=SizeRule(minimum=8, multiple_of=multiple),
        rule=replace(RULE, seconds_per_megapixel=seconds),
        tile=tile,
        budget=Budget(bytes=budget, given=given_budget, on_cpu=on_cpu),
        ensemble=ensemble,
    )


def test_a_picture_that_fits_is_restored_as_a_whole() -> None:
    whole = plan(1000, 1500)
    assert whole.tile is None
    assert whole.tiles == 1
    assert whole.bytes == MIB + 200 * 1000 * 1504  # padded to multiples of 8
    assert str(whole) == "1500x1000: whole picture, about 288 MiB"


def test_a_picture_that_does_not_fit_is_cut_into_the_largest_tiles_that_do() -> None:
    cut = plan(4000, 6000, budget=700 * MIB)
    assert cut.tile is not None
    assert cut.bytes <= 700 * MIB
    larger = TILES[TILES.index(cut.tile) - 1]
    assert plan(4000, 6000, tile=larger).bytes > 700 * MIB
    assert cut.tiles > 1
    assert f"{cut.tiles} tiles of {cut.tile}x{cut.tile} with 32 pixels overlap" in str(cut)


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(2, 4000), st.sampled_from([1, 8, 24]), st.booleans())
def test_the_plan_keeps_the_budget_or_refuses(height: int, width: int, mib: int, multiple: int, ensemble: bool) -> None:
    try:
        made = plan(height, width, budget=mib * MIB, multiple=multiple, ensemble=ensemble)
    except UsageError:
        with pytest.raises(UsageError, match="even in tiles of"):  # the smallest tile would not keep it
            plan(height, width, budget=mib * MIB, multiple=multiple, ensemble=ensemble)
        assert plan(height, width, tile=SMALLEST_TILE, multiple=multiple, ensemble=ensemble).bytes > mib * MIB
    else:
        assert made.bytes <= mib * MIB
        assert made.tile is None or made.tile % multiple == 0


def test_a_budget_that_is_too_small_is_refused_with_what_is_needed() -> None:
    with pytest.raises(UsageError, match=r"3000x2000 needs about \d+ MiB even in tiles of 64x64, more than the 10 MiB"):
        plan(2000, 3000, budget=10 * MIB)
    with pytest.raises(UsageError, match=r"3000x2000 needs about 1145 MiB as a whole, more than the 100 MiB"):
        plan(2000, 3000, tile="off", budget=100 * MIB)
    with pytest.raises(
        UsageError, match=r"needs about \d+ MiB in tiles of 1024x1024, more than the 100 MiB.*use tile auto"
    ):
        plan(2000, 3000, tile=1024, budget=100 * MIB)


def test_free_memory_of_a_card_is_a_guess_and_never_refused() -> None:
    assert plan(2000, 3000, budget=1, given_budget=False, on_cpu=False).tile == SMALLEST_TILE
    assert plan(2000, 3000, tile="off", budget=1, given_budget=False, on_cpu=False).tile is None


def test_a_wished_tile_is_used_where_the_picture_is_larger() -> None:
    assert plan(200, 64, tile=64).tile == 64
    assert plan(64, 64, tile=64).tile is None
    assert plan(200, 64, tile=61).tile == 64  # up to the grid of the network
    assert plan(200, 300, tile=20, multiple=24).tile == 48  # two cells of the grid, so that there is an overlap
    assert plan(200, 300, tile=32).overlap == 16


def test_eight_orientations_take_two_buffers_and_eight_times_the_time() -> None:
    one, eight = plan(1000, 1000, seconds=2.0), plan(1000, 1000, seconds=2.0, ensemble=True)
    assert one.seconds == pytest.approx(2.0)
    assert eight.seconds == pytest.approx(16.0)
    assert eight.bytes - one.bytes == 24 * 1000 * 1000
    assert str(one).endswith(", about 2.0 s")


def test_overlap_costs_time_and_cards_have_other_times() -> None:
    whole, cut = plan(1000, 1000, seconds=2.0), plan(1000, 1000, tile=128, seconds=2.0)
    assert whole.seconds is not None
    assert cut.seconds is not None
    assert cut.seconds > 1.3 * whole.seconds
    assert plan(1000, 1000, seconds=2.0, on_cpu=False).seconds is None
