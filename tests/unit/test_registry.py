from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restorekit.errors import UnknownNameError
from restorekit.registry import Registry


@pytest.fixture
def fruit() -> Registry[int]:
    registry: Registry[int] = Registry("fruit")
    registry.register("apple", 1, aliases=("malus", "pome"))
    registry.register("pear", 2)
    return registry


def test_register_returns_the_item_and_finds_it_by_name_and_alias(fruit: Registry[int]) -> None:
    assert fruit.register("plum", 3, aliases=("damson",)) == 3
    assert fruit.get("plum") == fruit.get("damson") == 3
    assert fruit.resolve("damson") == "plum"


def test_names_are_canonical_and_sorted(fruit: Registry[int]) -> None:
    fruit.register("apricot", 3)
    assert fruit.names() == list(fruit) == ["apple", "apricot", "pear"]
    assert fruit.aliases() == {"malus": "apple", "pome": "apple"}
    assert len(fruit) == 3


def test_contains_names_and_aliases(fruit: Registry[int]) -> None:
    assert "apple" in fruit
    assert "pome" in fruit
    assert "plum" not in fruit
    assert 1 not in fruit


@pytest.mark.parametrize(
    ("name", "aliases", "taken"),
    [
        ("apple", (), "'apple'"),
        ("malus", (), "'malus'"),
        ("plum", ("pear",), "'pear'"),
        ("plum", ("pome",), "'pome'"),
        ("plum", ("plum",), "'plum'"),
        ("plum", ("damson", "damson"), "'damson'"),
        ("pear", ("damson", "malus"), "'malus', 'pear'"),
    ],
)
def test_taken_names_are_refused_and_nothing_changes(
    fruit: Registry[int], name: str, aliases: tuple[str, ...], taken: str
) -> None:
    names, others = fruit.names(), fruit.aliases()
    with pytest.raises(ValueError, match=f"fruit {taken} is already registered; choose another name"):
        fruit.register(name, 9, aliases=aliases)
    assert (fruit.names(), fruit.aliases()) == (names, others)
    assert fruit.get("pear") == 2


def test_unknown_name_suggests_among_names_and_aliases(fruit: Registry[int]) -> None:
    with pytest.raises(UnknownNameError, match="unknown fruit 'aple'; did you mean apple"):
        fruit.get("aple")
    with pytest.raises(UnknownNameError, match="did you mean malus"):
        fruit.resolve("mallus")


def test_copy_is_independent(fruit: Registry[int]) -> None:
    copy = fruit.copy()
    copy.register("plum", 3, aliases=("damson",))
    assert "plum" not in fruit
    assert "damson" not in fruit
    fruit.register("quince", 4)
    assert "quince" not in copy
    assert copy.kind == fruit.kind == "fruit"


def test_aliases_that_are_handed_out_are_a_copy(fruit: Registry[int]) -> None:
    fruit.aliases().clear()
    assert fruit.get("pome") == 1


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.integers(), max_size=12))
def test_every_registered_name_gives_its_own_item(items: dict[str, int]) -> None:
    registry: Registry[int] = Registry("thing")
    for name, item in items.items():
        registry.register(name, item)
    assert {name: registry.get(name) for name in registry} == items
