"""Start or go on with a training run, and keep the record of it."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from restorekit.errors import ModelError, UsageError
from restorekit.models import MODELS, ModelSpec
from restorekit.registry import Registry
from restorekit.training.loop import Task, TrainConfig, train
from restorekit.training.recipes.seven_task import careful, seven_task, tone

__all__ = ["RECIPES", "find_variant", "load_average", "read_record", "start_run"]

_log = logging.getLogger(__name__)

RECIPES: Registry[Callable[..., Task]] = Registry("recipe")
RECIPES.register("seven-task", seven_task)
RECIPES.register("careful", careful)
RECIPES.register("tone", tone)


def start_run(
    recipe: str,
    *,
    variant: str,
    clean: Sequence[Path],
    out: Path,
    config: TrainConfig,
    device: str = "cpu",
    watch: Callable[[nn.Module], Mapping[str, float]] | None = None,
) -> nn.Module:
    """Train a variant by a recipe; if ``out`` holds a run, go on with it.

    Args:
        recipe: Name of the recipe.
        variant: Variant of a registered network.
        clean: Folders of clean pictures.
        out: Folder of the run; ``run.json`` there is the record.
        config: How to train. ``start_from`` names another run, whose averaged weights are taken over where name and
            shape agree.
        device: Where to train.
        watch: Scores the averaged weights now and then, see ``train``.

    Returns:
        The averaged weights, in evaluation mode.

    Raises:
        UnknownNameError: There is no such recipe or variant.
        UsageError: ``out`` holds a run of another variant.
        ModelError: ``start_from`` has no weights, or training failed.
    """
    spec, variant = find_variant(variant)
    torch.manual_seed(config.seed)
    model = spec.build(variant)
    if config.start_from is not None:
        _take_over(model, load_average(Path(config.start_from)))
    _write_record(
        out, {"recipe": recipe, "family": spec.name, "variant": variant, "clean": [p.name for p in clean]}, config
    )
    task = RECIPES.get(recipe)(clean, warm=config.start_from is not None)
    return train(model, task, config, out, device=device, watch=watch)


def find_variant(name: str) -> tuple[ModelSpec, str]:
    """Return the family and the variant of a name, which may be either's.

    Raises:
        UnknownNameError: No network has that name.
    """
    for spec in map(MODELS.get, MODELS.names()):
        if name in spec.variants:
            return spec, name
    spec = MODELS.get(name)
    return spec, spec.default_variant


def read_record(run: Path) -> dict[str, Any]:
    """Return the record of a run: what it trained, on what, and the commands that started it.

    Raises:
        ModelError: The folder holds none.
    """
    try:
        record: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{run} holds no record of a run ({error}); name a folder that `restorekit train run` made"
        ) from error
    return record


def load_average(run: Path) -> dict[str, torch.Tensor]:
    """Return the averaged weights of a run.

    Raises:
        ModelError: The folder holds no readable checkpoint.
    """
    path = run / "last.pt"
    try:
        average: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)["average"]
    except Exception as error:  # a damaged archive raises many kinds
        raise ModelError(f"{path} is no checkpoint of a run ({error}); name the folder of a run") from error
    return average


def _take_over(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    own = model.state_dict()
    fitting = {key: value for key, value in weights.items() if key in own and own[key].shape == value.shape}
    _log.info("%d of %d tensors taken over", len(fitting), len(own))
    model.load_state_dict({**own, **fitting})


def _write_record(out: Path, record: Mapping[str, Any], config: TrainConfig) -> None:
    """Append to the record of a run how it was started this time."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "run.json"
    past = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {**record, "starts": []}
    if past["variant"] != record["variant"]:
        raise UsageError(f"{out} holds a run of {past['variant']}; name another folder for {record['variant']}")
    command = shlex.join(["restorekit", *sys.argv[1:]])
    versions = {"torch": torch.__version__, "restorekit": version("restorekit")}
    past["starts"].append({"command": command, **versions, "config": asdict(config)})
    path.write_text(json.dumps(past, indent=1) + "\n", encoding="utf-8")
