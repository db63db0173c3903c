"""Everything stands where it belongs: one file and one registration per addition, files of readable size."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REGISTRIES = ("models", "metrics", "degradations")
MAX_FILE = 600
MAX_FUNCTION = 80
CODE = sorted(
    path for folder in ("restorekit", "tests", "docs", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
WATCH_REGISTRATIONS = """
import sys
from restorekit.registry import Registry

modules = set()
register = Registry.register

def watched(self, *args, **kwargs):
    frame = sys._getframe(1)
    while frame.f_globals["__name__"].rpartition(".")[2].startswith("_"):
        frame = frame.f_back
    modules.add(frame.f_globals["__name__"])
    return register(self, *args, **kwargs)

Registry.register = watched
"""


@pytest.mark.parametrize("package", REGISTRIES)
def test_every_file_is_imported_and_registers_something(package: str) -> None:
    code = f"{WATCH_REGISTRATIONS}\nimport restorekit.{package}\nprint(*modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    registered = {
        name.rpartition(".")[2] for name in result.stdout.split() if name.startswith(f"restorekit.{package}.")
    }
    files = {path.stem for path in (ROOT / "restorekit" / package).glob("*.py") if not path.stem.startswith("_")}
    missing = sorted(files - registered)
    assert not missing, "\n".join(
        f"restorekit/{package}/{name}.py registers nothing; add 'from restorekit.{package} import {name}' to "
        f"restorekit/{package}/__init__.py and a registration to the file (or start its name with '_')"
        for name in missing
    )


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_file_and_functions_are_of_readable_size(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_FILE, f"more than {MAX_FILE} lines: two things live in one room; part them"
    long = [
        f"{node.name} (line {node.lineno}, {node.end_lineno - node.lineno + 1} lines)"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION
    ]
    assert not long, f"longer than {MAX_FUNCTION} lines: {', '.join(long)}"


def _tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so what is tracked is not known")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name]


FORBIDDEN = {
    "a path of somebody's machine": re.compile(r"(?<![\w.~*-])/(?:work|tmp|farm|root|home/\w+|Users/\w+)/"),
    "the host of a package registry": re.compile(
        r"python" + r"hosted\.|py" + r"pi\.org|registry\.np" + r"mjs|deb\.deb" + r"ian"
    ),
}


def test_tracked_text_names_no_machine_and_no_registry_host() -> None:
    found = []
    for path in _tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # pictures and weights; or removed and not yet committed
        for what, pattern in FORBIDDEN.items():
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{path.relative_to(ROOT)}:{line}: {what}: {match.group()}")
    assert not found, "\n".join(found)


def test_tracked_files_stay_small() -> None:
    sizes = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in _tracked() if path.is_file()}
    assert sum(sizes.values()) < 60e6, sorted(sizes.items(), key=lambda item: -item[1])[:10]


def test_data_folders_are_not_packages() -> None:
    for name in ("model_zoo", "datasets", "benchmarks"):
        assert not list((ROOT / name).rglob("__init__.py")), f"{name}/ holds records, and would hide a library"


def test_architecture_page_draws_the_layers_that_are_enforced() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    layers = next(rule["layers"] for rule in tools["importlinter"]["contracts"] if rule["type"] == "layers")
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert "\n".join(layers) in page, "docs/architecture.md shows other layers than pyproject.toml"
