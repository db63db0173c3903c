"""One generic registry, used for models, degradations, metrics, tasks and suites."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from restorekit.errors import UnknownNameError

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Names mapped to items; an alias is a second name for an item.

    A registry is a value: ``copy`` it to try an addition without touching the original. A registration that fails
    changes nothing.

    Args:
        kind: What the items are, for error messages (``"model"``).
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}
        self._aliases: dict[str, str] = {}

    def register(self, name: str, item: T, *, aliases: Iterable[str] = ()) -> T:
        """Add an item.

        Args:
            name: Its canonical name.
            item: The item.
            aliases: Further names for it.

        Returns:
            The item, unchanged.

        Raises:
            ValueError: A name or alias is already taken, or given twice.
        """
        aliases = tuple(aliases)
        wanted = (name, *aliases)
        taken = sorted({n for n in wanted if n in self or wanted.count(n) > 1})
        if taken:
            raise ValueError(f"{self.kind} {', '.join(map(repr, taken))} is already registered; choose another name")
        self._items[name] = item
        self._aliases.update(dict.fromkeys(aliases, name))
        return item

    def resolve(self, name: str) -> str:
        """Return the canonical name of a name or alias.

        Raises:
            UnknownNameError: Nothing has that name; the message suggests close ones.
        """
        if name in self._items:
            return name
        if name in self._aliases:
            return self._aliases[name]
        raise UnknownNameError(self.kind, name, [*self._items, *self._aliases])

    def get(self, name: str) -> T:
        """Return the item of a name or alias.

        Raises:
            UnknownNameError: Nothing has that name; the message suggests close ones.
        """
        return self._items[self.resolve(name)]

    def names(self) -> list[str]:
        """Return the canonical names, sorted."""
        return sorted(self._items)

    def aliases(self) -> dict[str, str]:
        """Return alias -> canonical name."""
        return dict(self._aliases)

    def copy(self) -> Registry[T]:
        """Return an independent registry with the same content."""
        other: Registry[T] = Registry(self.kind)
        other._items = dict(self._items)
        other._aliases = dict(self._aliases)
        return other

    def __contains__(self, name: object) -> bool:
        return name in self._items or name in self._aliases

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self._items)
