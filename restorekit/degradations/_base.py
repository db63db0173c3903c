"""What every degradation is: a frozen set of bounded parameters that can be drawn, recorded and applied."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from restorekit.errors import UnknownNameError, UsageError
from restorekit.registry import Registry

__all__ = ["DEGRADATIONS", "Degradation", "from_record", "generator", "register_degradation", "seed", "uniform"]


@dataclass(frozen=True, kw_only=True)
class Degradation(ABC):
    """Parameters of one degradation, and the pure function that they define.

    A subclass is a frozen dataclass with units in its field names and ``bounds`` for its numbers. All randomness lies
    in the parameters or in a ``seed`` among them, so a record re-creates the same picture.

    Attributes:
        name: Registered name.
        bounds: Field -> (smallest, largest) allowed value, both included.
    """

    name: ClassVar[str]
    bounds: ClassVar[dict[str, tuple[float, float]]] = {}

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            UsageError: A parameter is outside its bounds or not a number.
        """
        for key, (low, high) in self.bounds.items():
            value = getattr(self, key)
            if not (isinstance(value, (int, float)) and low <= value <= high):
                raise UsageError(f"{self.name}: {key} is {value!r}; give a number from {low:g} to {high:g}")

    @classmethod
    @abstractmethod
    def sample(cls, generator: torch.Generator, level: float | None = None) -> Self:
        """Draw parameters.

        Args:
            generator: Source of all randomness.
            level: Severity in [0, 1], from barely visible to severe; drawn uniformly when ``None``.

        Returns:
            The parameters.
        """

    @abstractmethod
    def apply(self, image: Tensor) -> Tensor:
        """Degrade pictures.

        Args:
            image: ``(B, C, H, W)`` float, in [0, 1]; not changed.

        Returns:
            A new tensor of the same shape, in [0, 1].
        """

    def record(self) -> dict[str, Any]:
        """Return the parameters as plain JSON data, with the name."""
        return {"name": self.name, **asdict(self)}


D = TypeVar("D", bound=type[Degradation])

DEGRADATIONS: Registry[type[Degradation]] = Registry("degradation")


def register_degradation(name: str) -> Callable[[D], D]:
    """Register a class under a name, and give it that name."""

    def wrap(cls: D) -> D:
        cls.name = name
        DEGRADATIONS.register(name, cls)
        return cls

    return wrap


def from_record(record: dict[str, Any]) -> Degradation:
    """Re-create parameters from a record.

    Args:
        record: What ``Degradation.record`` returned.

    Returns:
        The same parameters.

    Raises:
        UnknownNameError: The name or one of the keys is not known.
        UsageError: The name or a parameter is missing, or a value is out of bounds.
    """
    values = dict(record)
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"a degradation record needs a 'name'; this one has {sorted(record)}")
    cls = DEGRADATIONS.get(name)
    known = [f.name for f in fields(cls)]
    for key in values:
        if key not in known:
            raise UnknownNameError(f"parameter of {name}", key, known)
    missing = [key for key in known if key not in values]
    if missing:
        raise UsageError(f"the record of {name} lacks {', '.join(missing)}; add it")
    return cls(**values)


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """Draw from [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def log_uniform(generator: torch.Generator, low: float, high: float) -> float:
    """Draw from [low, high) so that every factor is equally likely."""
    return math.exp(uniform(generator, math.log(low), math.log(high)))


def seed(generator: torch.Generator) -> int:
    """Draw a seed that a record can hold."""
    return int(torch.randint(0, 2**31 - 1, (), generator=generator))


def level_or_draw(generator: torch.Generator, level: float | None) -> float:
    """Return the given level, or draw one."""
    if level is None:
        return uniform(generator, 0, 1)
    if not 0 <= level <= 1:
        raise UsageError(f"level is {level}; give a number from 0 (barely visible) to 1 (severe)")
    return level


def generator(seed: int) -> torch.Generator:
    """Return a generator that starts from a seed."""
    return torch.Generator().manual_seed(seed)


def numpy_generator(seed: int) -> np.random.Generator:
    """Return a NumPy generator that starts from a seed."""
    return np.random.default_rng(seed)
