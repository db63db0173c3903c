from __future__ import annotations

import pytest

from restorekit import errors
from restorekit.errors import (
    MissingExtraError,
    ModelError,
    PictureError,
    RestoreKitError,
    UnknownNameError,
    UsageError,
)


def test_every_public_error_belongs_to_the_one_tree() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), RestoreKitError)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RestoreKitError, 1),
        (UsageError, 2),
        (UnknownNameError, 2),
        (MissingExtraError, 2),
        (PictureError, 3),
        (ModelError, 4),
    ],
)
def test_exit_code_tells_the_kind(error: type[RestoreKitError], code: int) -> None:
    assert error.exit_code == code


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("hogfromer", "unknown model 'hogfromer'; did you mean hogformer or restormer?"),
        ("resnet", "unknown model 'resnet'; did you mean resunet or restormer?"),
        ("zzz", "unknown model 'zzz'; known: hogformer, restormer, resunet."),
        ("", "unknown model ''; known: hogformer, restormer, resunet."),
    ],
)
def test_unknown_name_suggests_or_lists(given: str, sentence: str) -> None:
    assert str(UnknownNameError("model", given, ["resunet", "hogformer", "restormer"])) == sentence


def test_unknown_name_where_nothing_is_known() -> None:
    assert str(UnknownNameError("suite", "a", [])) == "unknown suite 'a'; known: none."


def test_missing_extra_names_the_command_that_brings_it() -> None:
    sentence = str(MissingExtraError("the loader of foreign networks", "community"))
    assert sentence == (
        "the loader of foreign networks needs an optional package; install it with: pip install 'restorekit[community]'"
    )
