"""What the toolkit knows of a metric, and the registry of metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from restorekit.registry import Registry

__all__ = ["METRICS", "MetricSpec", "register_metric"]

F = TypeVar("F", bound=Callable[..., Tensor])


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """One metric.

    Attributes:
        name: Registered name.
        function: Called as ``function(restored, reference, *, data_range=...)`` with pictures ``(B, C, H, W)`` (without
            ``reference`` if none is needed); returns one value per picture, ``(B,)`` float64.
        higher_is_better: Direction.
        range: Lowest and highest value that can come out, both included.
        unit: Unit of the value; empty for a plain number.
        needs_reference: Whether the clean picture is an argument.
    """

    name: str
    function: Callable[..., Tensor]
    higher_is_better: bool
    range: tuple[float, float]
    unit: str = ""
    needs_reference: bool = True


METRICS: Registry[MetricSpec] = Registry("metric")


def register_metric(
    name: str,
    *,
    higher_is_better: bool,
    range: tuple[float, float],
    unit: str = "",
    needs_reference: bool = True,
) -> Callable[[F], F]:
    """Register a function as a metric; arguments as in ``MetricSpec``.

    Raises:
        ValueError: The name is taken.
    """

    def wrap(function: F) -> F:
        METRICS.register(
            name,
            MetricSpec(
                name=name,
                function=function,
                higher_is_better=higher_is_better,
                range=range,
                unit=unit,
                needs_reference=needs_reference,
            ),
        )
        return function

    return wrap
