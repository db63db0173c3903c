"""Which file was made of which: the pictures of one folder beside those of another.

The rules, in the order in which they are tried (each for all pictures before the next, and every file is taken once):

1. the same name in the same place: ``sub/a.jpg`` and ``sub/a.jpg``
2. the same name but for its suffix and capitals: ``a.jpg`` and ``a.png``
3. the same again with the ending that ``restore`` gives: ``a.jpg`` and ``a_restored.jpg``, then ``a_restored.png``

With an ending of the user's own only that one counts. Of several suffixes the first is taken in the order in which
formats are listed (PNG, JPEG, WebP, TIFF, BMP). Where outputs lie beside their inputs in one folder, a file is an
output if it bears the ending and its input lies there. Before/after pictures belong to no pair.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from restorekit.errors import UsageError
from restorekit.io.formats import WRITABLE, format_of_suffix
from restorekit.jobs.outputs import DEFAULT_SUFFIX
from restorekit.jobs.walk import Item, list_folder, walk

__all__ = ["Pair", "Pairing", "find_pairs", "pair_up"]

_COMPARISON = "_compare"  # what the name of a before/after picture ends with


@dataclass(frozen=True)
class Pair:
    """A picture and what was made of it.

    Attributes:
        before: The picture as it was.
        after: What was made of it; None where there is no such file.
    """

    before: Path
    after: Path | None


@dataclass(frozen=True)
class Pairing:
    """What belongs together.

    Attributes:
        pairs: One for each picture, in the order of the pictures.
        passed_over: Pictures that belong to nothing, such as before/after pictures.
    """

    pairs: tuple[Pair, ...]
    passed_over: tuple[Path, ...] = ()


def find_pairs(before: Path, after: Path, *, recursive: bool = False, suffix: str | None = None) -> Pairing:
    """Pair the pictures of two folders, or two files.

    Args:
        before: A file, or a folder of pictures.
        after: What was made of it: a file, or a folder; it may be the same folder, or lie inside the other one.
        recursive: Whether to go into the folders of folders.
        suffix: What the names of outputs end with, before the dot; if None, nothing or ``_restored``.

    Raises:
        UsageError: One does not exist, one is a file and the other a folder, or there is no picture.
    """
    for path in (before, after):
        if not path.exists():
            raise UsageError(f"there is no file or folder {str(path)!r}")
    if before.is_dir() != after.is_dir():
        kinds = ["a folder" if path.is_dir() else "a file" for path in (before, after)]
        raise UsageError(f"{before} is {kinds[0]} and {after} {kinds[1]}; give two files or two folders")
    if not before.is_dir():
        return Pairing((Pair(before, after),))
    endings = ("", DEFAULT_SUFFIX) if suffix is None else (suffix,)
    items = walk([before], recursive=recursive)
    if before.resolve() == after.resolve():
        return _pair_within(items, [ending for ending in endings if ending])
    made = list(list_folder(after, recursive=recursive))
    if before.resolve() in after.resolve().parents:
        items = _without(items, made)
    if not items:
        raise UsageError(f"every picture in {before} lies in {after}, so there is nothing to compare them with")
    return pair_up(items, _without(made, items), endings=endings)


def _without(items: Sequence[Item], others: Sequence[Item]) -> list[Item]:
    there = {os.path.realpath(item.path) for item in others}
    return [item for item in items if os.path.realpath(item.path) not in there]


def _pair_within(items: Sequence[Item], endings: Sequence[str]) -> Pairing:
    """Pair the pictures of one folder with those that bear an ending."""
    if not endings:
        raise UsageError(
            "outputs in the folder of their inputs are told by the end of their names; give it as --suffix"
        )
    stems = {_stem(item) for item in items}
    shown = [item for item in items if _origin(item, _COMPARISON) in stems]
    made = [item for item in items if any(_origin(item, ending) in stems for ending in endings)]
    pairing = pair_up(_without(items, [*made, *shown]), _without(made, shown), endings=endings)
    return Pairing(pairing.pairs, (*(item.path for item in shown), *pairing.passed_over))


def pair_up(before: Sequence[Item], after: Sequence[Item], *, endings: Sequence[str]) -> Pairing:
    """Pair pictures by their names alone; nothing is read.

    Args:
        before: The pictures as they were.
        after: Those that may have been made of them.
        endings: What the names of outputs may end with, before the dot, in the order in which they are tried.

    Returns:
        A pair for each picture of ``before`` that is no before/after picture of another one.
    """
    stems = {_stem(item) for item in before}
    shown = [item for item in before if _origin(item, _COMPARISON) in stems]
    pictures = [item for item in before if item not in shown]
    free = sorted(after, key=_rank)
    partners: dict[Item, Item] = {}
    for key_before, key_after in _rules(endings):
        there: dict[str, list[Item]] = {}
        for item in free:
            there.setdefault(key_after(item), []).append(item)
        for item in pictures:
            fitting = there.get(key_before(item), [])
            if item not in partners and fitting:
                partners[item] = fitting.pop(0)
        taken = set(partners.values())
        free = [item for item in free if item not in taken]
    pairs = [Pair(item.path, partners[item].path if item in partners else None) for item in pictures]
    left = [item for item in after if item in set(free)]
    return Pairing(tuple(pairs), tuple(item.path for item in (*shown, *left)))


def _rules(endings: Sequence[str]) -> Iterator[tuple[Callable[[Item], str], Callable[[Item], str]]]:
    """Yield what has to be equal of a picture and its output, the strictest rule first."""
    for ending in endings:
        yield partial(_name, ending=ending), _name
        yield partial(_stem, ending=ending), _stem


def _name(item: Item, ending: str = "") -> str:
    """Return the relative path with an ending before the dot; letters composed, as file systems differ in that."""
    path = item.relative
    return unicodedata.normalize("NFC", str(path.with_name(f"{path.stem}{ending}{path.suffix}")))


def _stem(item: Item, ending: str = "") -> str:
    """Return the relative path with an ending in place of the suffix, without regard to capitals."""
    path = item.relative
    return unicodedata.normalize("NFC", str(path.with_name(f"{path.stem}{ending}"))).casefold()


def _origin(item: Item, ending: str) -> str | None:
    """Return the stem of the picture that one with an ending was made of, or None where it does not bear it."""
    stem = _stem(item)
    short = stem.removesuffix(ending.casefold())
    return short if short != stem and PurePath(stem).name != ending.casefold() else None


def _rank(item: Item) -> int:
    """Return where the format of an output stands in the list of formats."""
    said = format_of_suffix(item.path)
    return WRITABLE.index(said) if said in WRITABLE else len(WRITABLE)
