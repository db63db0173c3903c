"""Importing defines things and does nothing else."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HEAVY = ("torch", "numpy", "PIL", "cv2", "safetensors", "pydantic", "rich", "typer")
OPTIONAL = (
    "accelerate",
    "albumentations",
    "diffusers",
    "huggingface_hub",
    "kornia",
    "pillow_heif",
    "pydantic",
    "pyiqa",
    "rawpy",
    "ray",
    "skimage",
    "spandrel",
    "timm",
    "transformers",
    "webdataset",
)
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "PIL": "pillow", "pillow_heif": "pillow-heif", "yaml": "pyyaml"}

QUIET = """
import sys

def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "urllib.Request"):
        raise OSError(f"network use at import: {event} {args}")

sys.addaudithook(refuse)
"""
BLOCK = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in %r:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
"""
IMPORT_ALL = """
import importlib, pkgutil

def import_all(package):
    module = importlib.import_module(package)
    for found in pkgutil.walk_packages(module.__path__, package + "."):
        if found.name.endswith("__main__"):
            continue  # importing it runs it
        importlib.import_module(found.name)
"""


def run(code: str, *options: str) -> str:
    """Run code in a fresh interpreter and return what it printed; fail with its error."""
    result = subprocess.run(  # sockets and imports of this process would not show what a fresh one does
        [sys.executable, *options, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert not result.stderr, result.stderr
    return result.stdout


def test_import_is_light_silent_and_offline() -> None:
    loaded = run(QUIET + "import restorekit, sys; print(*sys.modules)", "-W", "error").split()
    assert not set(HEAVY) & set(loaded)
    assert [name for name in loaded if name.startswith("restorekit")] == ["restorekit"]


def test_errors_are_light_too() -> None:
    loaded = run("import restorekit, sys; restorekit.PictureError; restorekit.UsageError; print(*sys.modules)").split()
    assert not set(HEAVY) & set(loaded)


def test_help_of_every_command_is_light() -> None:
    code = """
import contextlib, io, sys
from restorekit.cli.app import main

def show(*words):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as text:
        main([*words, "--help"])
    return text.getvalue()

assert "restore" in show()
for command in ("restore", "doctor", "demo", "models"):
    assert command in show(command), command
print(*sys.modules)
"""
    loaded = run(code).split()
    assert not {"torch", "numpy", "PIL", "cv2", "safetensors"} & set(loaded)


def test_every_module_imports_without_a_warning_the_network_or_a_device() -> None:
    code = QUIET + IMPORT_ALL + "import_all('restorekit'); import torch; print(torch.cuda.is_initialized())"
    assert run(code, "-W", "error").strip() == "False"


def test_models_metrics_and_training_need_no_extra() -> None:
    packages = ("restorekit.models", "restorekit.metrics", "restorekit.training")
    run((BLOCK % (OPTIONAL,)) + IMPORT_ALL + f"for package in {packages}: import_all(package)")


def _imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names |= {str(word.value) for word in node.args if isinstance(word, ast.Constant)}
    return {name.partition(".")[0] for name in names}


def test_dependencies_are_what_the_code_imports(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = set()
    for path in sorted((repository / "restorekit").rglob("*.py")):
        names |= _imported(ast.parse(path.read_text(encoding="utf-8")))
    used = {DISTRIBUTIONS.get(name, name) for name in names - set(sys.stdlib_module_names) - {"restorekit"}}
    required = {_name(line) for line in project["dependencies"]}
    optional = {
        _name(line) for extra, lines in project["optional-dependencies"].items() if extra != "dev" for line in lines
    }
    assert required <= used, f"take {sorted(required - used)} out of the dependencies: nothing imports them"
    missing = used - required - optional
    assert not missing, f"add {sorted(missing)} to the dependencies in pyproject.toml"
    assert optional - {"restorekit"} <= used, f"extras bring {sorted(optional - used)}, which nothing imports"


def test_extras_that_messages_name_exist(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {
        ast.literal_eval(node.args[1])
        for path in sorted((repository / "restorekit").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("MissingExtraError")
    }
    assert named
    assert named <= set(project["optional-dependencies"])


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None, requirement
    return match.group().lower()


@pytest.mark.parametrize("layer", ["errors", "registry", "resources"])
def test_the_ground_floor_needs_nothing_but_python(layer: str) -> None:
    loaded = run(f"import sys; import restorekit.{layer}; print(*sys.modules)").split()
    assert not set(HEAVY) & set(loaded)
