"""From a state dict of anybody's to ours: by the family's key map, strictly, and by the keys alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.overrides import TorchFunctionMode

from restorekit.errors import ModelError
from restorekit.hub.checkpoint import strip_prefixes
from restorekit.models import MODELS, ModelSpec

__all__ = ["Match", "NoFitError", "WithoutDraws", "convert", "count_parameters", "recognise", "tensor_shapes"]

_SHOWN = 5  # keys of a kind that a message lists
_DRAWS = (
    "normal_",
    "uniform_",
    "trunc_normal_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "xavier_normal_",
    "xavier_uniform_",
)


@dataclass(frozen=True, kw_only=True)
class Match:
    """What a state dict was found to be.

    Attributes:
        spec: Family.
        variant: Variant.
        state: The weights under our keys, float32, finite.
        notes: What was assumed, one sentence each.
    """

    spec: ModelSpec
    variant: str
    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()


class NoFitError(ModelError):
    """A state dict fits no registered network.

    Attributes:
        likeness: Share of the closest network's entries that it has, in [0, 1].
    """

    def __init__(self, message: str, likeness: float) -> None:
        super().__init__(message)
        self.likeness = likeness


class WithoutDraws(TorchFunctionMode):
    """Leaves random initial values out, where there is no memory for them or others take their place anyway."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in _DRAWS:
            tensor: Tensor = args[0] if args else (kwargs or {})["tensor"]
            if not tensor.is_meta:
                tensor.detach().zero_()  # what is drawn again until it fits ends with zeros
            return tensor
        return func(*args, **(kwargs or {}))


@cache
def _outline(family: str, variant: str) -> nn.Module:
    """Return a network without memory for its weights."""
    with torch.device("meta"), WithoutDraws():
        return MODELS.get(family).build(variant)


@cache
def tensor_shapes(family: str, variant: str) -> Mapping[str, Size]:
    """Return the keys of a variant's state dict and their shapes."""
    return {key: value.shape for key, value in _outline(family, variant).state_dict().items()}


def count_parameters(family: str, variant: str) -> int:
    """Return the number of a variant's parameters."""
    return sum(parameter.numel() for parameter in _outline(family, variant).parameters())


def convert(family: str, authors_state_dict: Mapping[str, Tensor], *, variant: str | None = None) -> dict[str, Tensor]:
    """Rename the weights of a network's authors to ours.

    Prefixes of wrappers (``module.``, ``net.``) are taken off before. Weights that have our names already stay.

    Args:
        family: Family of the network, or an alias.
        authors_state_dict: The authors' key -> tensor.
        variant: Variant that it must be; any variant of the family if ``None``.

    Returns:
        Our key -> tensor, float32.

    Raises:
        UnknownNameError: No family has that name.
        ModelError: Keys are unknown or missing, or shapes differ; the message lists them.
    """
    spec = MODELS.get(family)
    variants = list(spec.variants) if variant is None else [variant]
    return dict(_match(authors_state_dict, [(spec, v) for v in variants], f"these weights of {spec.name}").state)


def recognise(
    state: Mapping[str, Tensor], *, name: str, family: str | None = None, variant: str | None = None
) -> Match:
    """Find out by keys and shapes which network a state dict belongs to.

    Args:
        state: Key -> tensor; ours or the authors' names, with or without the prefixes of wrappers.
        name: What to call the weights in messages.
        family: Family that it must be; any if ``None``.
        variant: Variant that it must be; any if ``None``.

    Raises:
        ModelError: It fits no registered network; the message says what is wrong with the closest one.
    """
    specs = [MODELS.get(n) for n in (MODELS.names() if family is None else [family])]
    candidates = [(spec, v) for spec in specs for v in _preferred(spec) if variant in (None, v)]
    if not candidates:
        raise ModelError(
            f"{name}: {family or 'no family'} has no variant {variant!r}; correct its card or import it again"
        )
    return _match(state, candidates, name)


def _preferred(spec: ModelSpec) -> list[str]:
    """Return a family's variants, the default one first."""
    return sorted(spec.variants, key=lambda variant: variant != spec.default_variant)


def _match(state: Mapping[str, Tensor], candidates: list[tuple[ModelSpec, str]], name: str) -> Match:
    """Return the first candidate that a state dict fits, or raise what is wrong with the closest one."""
    refusals: list[str] = []
    tried: list[tuple[float, str]] = []
    fitting: dict[tuple[str, str], tuple[ModelSpec, Mapping[str, Tensor], str | None]] = {}
    several = len({spec.name for spec, _ in candidates}) > 1
    for spec, ours, note in _renamings(state, candidates, refusals):
        if several and spec.marker is not None and spec.marker not in ours:
            continue
        for variant in [v for s, v in candidates if s is spec]:
            if _fits(ours, spec, variant):
                fitting.setdefault((spec.name, variant), (spec, ours, note))
            elif not fitting:
                tried.append((_likeness(ours, spec, variant), f"{variant!r}: {_difference(ours, spec, variant)}"))
    if fitting:
        (_, variant), (spec, ours, note) = next(iter(fitting.items()))
        others = ", ".join(f"{family} {other!r}" for family, other in list(fitting)[1:])
        choice = f"its keys fit {others} as well as {spec.name} {variant!r}, which was assumed" if others else None
        notes = tuple(said for said in (note, choice) if said is not None)
        return Match(spec=spec, variant=variant, state=_plain(ours, name), notes=notes)
    likeness, difference = max(tried, key=lambda attempt: attempt[0])
    if not several:
        refused = (
            refusals and likeness < 0.5
        )  # else the keys are ours, and what the authors call theirs does not matter
        raise NoFitError(f"{name}: {refusals[0] if refused else f'not the weights of {difference}'}", likeness)
    if likeness == 0:
        raise NoFitError(f"{name} fits no network that is known; known are {', '.join(MODELS.names())}", likeness)
    raise NoFitError(f"{name} fits no network that is known; the closest is {difference}", likeness)


def _renamings(
    state: Mapping[str, Tensor], candidates: list[tuple[ModelSpec, str]], refusals: list[str]
) -> Iterator[tuple[ModelSpec, Mapping[str, Tensor], str | None]]:
    """Yield a state dict under all names that it may have meant, those nearest to the file first.

    What a family's ``convert`` has against it is added to ``refusals``.
    """
    stripped = strip_prefixes(state)
    specs = list({spec.name: spec for spec, _ in candidates}.values())
    for spec in specs:
        yield spec, state, None
        yield spec, stripped, None
    for spec in specs:
        if spec.convert is None:
            continue
        try:
            ours = spec.convert(dict(stripped))
        except (KeyError, ValueError, RuntimeError) as error:
            refusals.append(str(error.args[0]))
        else:
            yield spec, ours, f"its keys are those of the authors of {spec.name}; they were renamed"


def _fits(state: Mapping[str, Tensor], spec: ModelSpec, variant: str) -> bool:
    return {key: value.shape for key, value in state.items()} == tensor_shapes(spec.name, variant)


def _likeness(state: Mapping[str, Tensor], spec: ModelSpec, variant: str) -> float:
    """Return the share of entries that fit, in [0, 1]."""
    wanted = tensor_shapes(spec.name, variant)
    common = [key for key in wanted if key in state]
    right = sum(state[key].shape == wanted[key] for key in common)
    return (len(common) + right) / 2 / max(1, len(wanted.keys() | state.keys()))


def _difference(state: Mapping[str, Tensor], spec: ModelSpec, variant: str) -> str:
    """Return which entries are too many, too few, or of another shape."""
    wanted = tensor_shapes(spec.name, variant)
    shapes = [
        f"{key} is {tuple(state[key].shape)} instead of {tuple(shape)}"
        for key, shape in wanted.items()
        if key in state and state[key].shape != shape
    ]
    parts = [
        _list("unknown keys", [key for key in state if key not in wanted]),
        _list("missing keys", [key for key in wanted if key not in state]),
        _list("wrong shapes", shapes),
    ]
    return "; ".join(part for part in parts if part)


def _list(what: str, items: list[str]) -> str:
    if not items:
        return ""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{len(items)} {what} ({', '.join(items[:_SHOWN])}{more})"


def _plain(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return float32 copies that share no memory.

    Raises:
        ModelError: A value is not finite.
    """
    plain = {}
    for key, value in state.items():
        copy = value.to(torch.float32, copy=True) if value.is_floating_point() else value.clone()
        if not bool(torch.isfinite(copy).all()):
            raise ModelError(
                f"{name}: {key} holds values that are not finite (NaN or infinite); these weights are broken"
            )
        plain[key] = copy.contiguous()
    return plain
