"""Which licences allow commercial use, as far as a name tells that."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from restorekit.hub.card import Card

__all__ = ["fits_licence", "permits_commercial_use"]

_PERMISSIVE = frozenset(
    {
        "0bsd",
        "agpl-3.0",
        "apache-2.0",
        "artistic-2.0",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsl-1.0",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc0-1.0",
        "epl-2.0",
        "gpl-2.0",
        "gpl-3.0",
        "isc",
        "lgpl-2.1",
        "lgpl-3.0",
        "mit",
        "mit-0",
        "mpl-2.0",
        "unlicense",
        "wtfpl",
        "zlib",
    }
)
"""SPDX identifiers, in small letters, without ``-only`` and ``-or-later``. What they ask for in return differs."""

_VERSIONS = re.compile(r"(-only|-or-later|\+)$")


def permits_commercial_use(licence: str) -> bool:
    """Tell whether a licence is known to allow commercial use.

    Args:
        licence: SPDX identifier or expression (``MIT``, ``MIT AND CC-BY-4.0``, ``(MIT OR Apache-2.0)``), or words.

    Returns:
        ``False`` for whatever is not known to allow it, such as ``not stated``.
    """
    either = re.split(r"\s+OR\s+", licence.strip().strip("()"))
    return any(all(_is_permissive(part) for part in re.split(r"\s+AND\s+", choice)) for choice in either)


def _is_permissive(name: str) -> bool:
    bare = re.split(r"\s+WITH\s+", name.strip().strip("()"))[0]
    return _VERSIONS.sub("", bare.lower()) in _PERMISSIVE


def fits_licence(card: Card, wanted: str) -> bool:
    """Tell whether weights are under a licence that is asked for.

    Args:
        card: Their card.
        wanted: ``commercial``: the licences of the weights and of the network's original code both allow commercial
            use (what the data that they were trained on allows is said on the card and not judged here); else a name,
            in which ``*`` stands for anything, that the licence of the weights must have.
    """
    if wanted.lower() == "commercial":
        return permits_commercial_use(card.licence_code) and permits_commercial_use(card.licence_weights)
    return fnmatchcase(card.licence_weights.lower(), wanted.lower())
