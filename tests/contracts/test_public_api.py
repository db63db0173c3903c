"""The public names are a list that somebody has to change on purpose."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

import restorekit

PUBLIC = [
    "ImageData",
    "MissingExtraError",
    "ModelError",
    "PictureError",
    "Pipeline",
    "RestoreKitError",
    "Restorer",
    "UnknownNameError",
    "UsageError",
    "__version__",
    "create_model",
    "list_models",
    "read_image",
    "restore",
    "write_image",
]


def test_the_public_names_are_these() -> None:
    assert restorekit.__all__ == PUBLIC


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_name_is_what_its_home_says(name: str) -> None:
    home = import_module(restorekit._HOMES[name])
    assert getattr(restorekit, name) is getattr(home, name)
    assert name in home.__all__
    assert getattr(restorekit, name).__doc__


def test_type_checkers_see_the_same_names_in_the_same_places() -> None:
    assert restorekit.__file__ is not None
    tree = ast.parse(Path(restorekit.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If)
        for node in ast.walk(branch)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == restorekit._HOMES
    assert sorted([*seen, "__version__"]) == restorekit.__all__


def test_all_names_are_listed_by_dir() -> None:
    assert set(PUBLIC) <= set(dir(restorekit))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'restorekit' has no attribute 'restor'"):
        restorekit.restor  # noqa: B018 (the access is what is tested)


def test_version_is_a_release_number() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", restorekit.__version__)


def test_subpackages_list_their_names_sorted_and_true() -> None:
    for home in sorted(set(restorekit._HOMES.values())):
        module = import_module(home)
        assert sorted(set(module.__all__)) == sorted(module.__all__), f"{home}.__all__ names something twice"
        missing = [name for name in module.__all__ if not hasattr(module, name)]
        assert not missing, f"{home}.__all__ names what is not there: {missing}"
