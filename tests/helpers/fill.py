"""Weights that are the same on every machine: a value depends on seed, key and shape alone.

The golden cases name a seed where real weights would be large; this module makes those weights.
"""

from __future__ import annotations

import fnmatch
import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["apply_step", "fill", "fill_tensor"]

_SOBEL_X = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
_STEP = re.compile(r"(?P<verb>multiply|set|roll) (?P<pattern>\S+) (?P<by>by|to|from array) (?P<operand>\S+)")


def fill_tensor(key: str, like: Tensor, seed: int) -> Tensor:
    """Return the value of one entry of a state dict.

    Two or more dimensions: normal values over the root of the fan-in. Fewer: 1 + 0.1 normal for scales and running
    variances (the latter without sign), 0.1 normal for the rest. Entries that are no floating numbers stay.
    """
    if not torch.is_floating_point(like):
        return like.clone()
    draw = np.random.default_rng([seed, zlib.crc32(key.encode())]).standard_normal(tuple(like.shape), dtype=np.float32)
    if like.ndim >= 2:
        draw = draw / np.float32(np.sqrt(np.prod(like.shape[1:])))
    else:
        scale = key.endswith(("weight", "gamma", "running_var"))
        draw = np.float32(scale) + np.float32(0.1) * draw
        draw = np.abs(draw) if key.endswith("running_var") else draw
    return torch.from_numpy(np.asarray(draw, dtype=np.float32).reshape(tuple(like.shape)))


def fill(
    template: Mapping[str, Tensor],
    weights: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    *,
    part: str | None = None,
) -> dict[str, Tensor]:
    """Fill a state dict under the authors' keys by a golden case's ``weights`` rule ``fill`` or ``arrays``.

    Args:
        template: Authors' key -> a tensor of the right shape and type.
        weights: ``rule``, ``seed`` and ``after``.
        arrays: The arrays of the case, by name.
        part: Which part is filled, where ``seed`` has one per part; steps then name their part in front of the key.
    """
    if weights["rule"] == "arrays":
        return {key: torch.from_numpy(arrays[key].copy()) for key in template}
    if weights["rule"] != "fill":
        raise ValueError(f"weights rule {weights['rule']!r} does not make weights; load its source")
    seed = weights["seed"] if part is None else weights["seed"][part]
    filled = {key: fill_tensor(key, value, seed) for key, value in template.items()}
    for step in weights["after"]:
        apply_step(filled, step, arrays, prefix="" if part is None else f"{part}.")
    return filled


def apply_step(filled: dict[str, Tensor], step: str, arrays: Mapping[str, np.ndarray], *, prefix: str = "") -> None:
    """Change filled weights as a step of ``after`` says; with a prefix, only steps whose pattern begins with it."""
    if step == "sobel buffers set to true kernels":
        _set_sobel(filled)
    elif step == "prompt_param scaled by sqrt(prod(shape[1:]))":
        for key in [k for k in filled if k.endswith("prompt_param")]:
            filled[key] = filled[key] * float(np.sqrt(np.prod(filled[key].shape[1:])))
    else:
        match = _STEP.fullmatch(step)
        if match is None:
            raise ValueError(f"unknown step after filling: {step!r}")
        pattern, word, operand = match["pattern"], f"{match['verb']} {match['by']}", match["operand"]
        if pattern.startswith(prefix):
            keys = fnmatch.filter(filled, pattern.removeprefix(prefix))
            if not keys:
                raise ValueError(f"step {step!r} matches no key")
            filled.update({key: _changed(filled[key], word, operand, arrays) for key in keys})


def _changed(value: Tensor, word: str, operand: str, arrays: Mapping[str, np.ndarray]) -> Tensor:
    """Return a value after ``multiply ... by``, ``set ... to``, ``set ... from array`` or ``roll ... by``."""
    if word == "multiply by":
        return value * float(operand)
    if word == "set to":
        return torch.full_like(value, float(operand))
    if word == "set from array":
        return torch.from_numpy(arrays[operand].copy()).to(value.dtype).reshape(value.shape)
    if word == "roll by":
        return value.roll(int(operand))
    raise ValueError(f"unknown step after filling: {word!r}")


def _set_sobel(filled: dict[str, Tensor]) -> None:
    kernel = torch.tensor(_SOBEL_X)
    for key, value in filled.items():
        name = key.rsplit(".", 1)[-1]
        if name in ("sobel_x", "sobel_y"):
            filled[key] = (kernel if name == "sobel_x" else kernel.t()).expand_as(value).clone()
