"""Every error that a user can cause.

One tree under one base. A message is one sentence that says what is wrong, where, and what to do; the command line
prints it and ends with the class's ``exit_code``. Anything that is not a ``RestoreKitError`` is a fault of ours.

- ``RestoreKitError``
    - ``UsageError``: a wrong option or argument (exit 2)
        - ``UnknownNameError``: a name that no registry holds; suggests close matches
        - ``MissingExtraError``: an optional package is absent; names the install command
    - ``PictureError``: a file that cannot be read, restored or written (exit 3)
    - ``ModelError``: weights or a model that cannot be used (exit 4)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "MissingExtraError",
    "ModelError",
    "PictureError",
    "RestoreKitError",
    "UnknownNameError",
    "UsageError",
]


class RestoreKitError(Exception):
    """Base of all errors that a user can cause."""

    exit_code = 1


class UsageError(RestoreKitError):
    """A wrong option, argument or configuration."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not registered.

    Args:
        kind: What the name should denote, such as ``"model"``.
        name: The name as given.
        known: All names that would have been right.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names) or 'none'}."
        super().__init__(f"unknown {kind} {name!r}; {hint}")


class MissingExtraError(UsageError):
    """An optional package is needed and absent.

    Args:
        what: The feature that needs it, as the subject of the sentence.
        extra: The extra of this package that brings it.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional package; install it with: pip install 'restorekit[{extra}]'")


class PictureError(RestoreKitError):
    """A picture file that cannot be read, restored or written."""

    exit_code = 3


class ModelError(RestoreKitError):
    """Weights or a model that cannot be used."""

    exit_code = 4
