"""What the toolkit knows of a family of networks, and the registry of families."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from restorekit.errors import UnknownNameError
from restorekit.registry import Registry

__all__ = ["MODELS", "DescribesPicture", "ModelSpec", "SizeRule", "StateDict", "Task", "register_model"]

Task = Literal["restore", "guided", "simulate", "encode", "classify"]
StateDict = dict[str, Tensor]


@runtime_checkable
class DescribesPicture(Protocol):
    """A restorer that looks at the whole picture once and at its parts later.

    ``forward(image)`` equals ``restore(image, describe(image))``. Tiles of one picture share one description, so that
    a tile does not take its own brightness for the picture's.
    """

    def describe(self, image: Tensor) -> Tensor:
        """Return a description ``(B, K)`` of a whole picture ``(B, 3, H, W)``; a reduced copy describes as well."""
        ...

    def restore(self, image: Tensor, description: Tensor) -> Tensor:
        """Restore ``(B, 3, H, W)``, the whole picture or a part of it, given the description of the whole."""
        ...


@dataclass(frozen=True, kw_only=True)
class SizeRule:
    """Sizes that a network's ``forward`` takes; the Restorer pads everything else.

    Attributes:
        minimum: Smallest height and width, in pixels.
        multiple_of: Height and width must be multiples of this.
    """

    minimum: int = 1
    multiple_of: int = 1


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One family of networks.

    Attributes:
        name: Family name, as users write it.
        task: Fixes the call, see docs/architecture.md ("Models").
        network: The ``nn.Module`` class; its keyword arguments are its configuration.
        variants: Variant name -> keyword arguments, plain data.
        networks: Variant name -> class, for variants that are built by another class of the family than ``network``.
        default_variant: The variant that is built when no weights and no variant are named.
        size: Sizes that ``forward`` takes.
        paper: Title, authors' short form, venue, identifier.
        licence: Licence of the authors' code, as an SPDX identifier where there is one.
        aliases: Further names of the family.
        config_map: Authors' argument -> ours. ``None`` as value: known and without effect here.
        convert: Authors' state dict (already unwrapped) -> ours, pure; a key that it does not know keeps its name.
        revert: Ours -> authors', the inverse of ``convert``.
        marker: A key that all its state dicts have; where it is missing, weights are not compared with the family's,
            which saves building it. For families that are slow to build or need an optional package.
    """

    name: str
    task: Task
    network: Callable[..., nn.Module]
    variants: Mapping[str, Mapping[str, Any]]
    networks: Mapping[str, Callable[..., nn.Module]] = field(default_factory=dict)
    default_variant: str
    size: SizeRule = SizeRule()
    paper: str
    licence: str
    aliases: tuple[str, ...] = ()
    config_map: Mapping[str, str | None] = field(default_factory=dict)
    convert: Callable[[StateDict], StateDict] | None = None
    revert: Callable[[StateDict], StateDict] | None = None
    marker: str | None = None

    def build(self, variant: str, **changes: Any) -> nn.Module:
        """Build a variant with fresh weights.

        Args:
            variant: Its name.
            **changes: Keyword arguments of the network that replace the variant's.

        Raises:
            UnknownNameError: There is no such variant, or the network has no such argument.
        """
        if variant not in self.variants:
            raise UnknownNameError(f"variant of {self.name}", variant, self.variants)
        network = self.networks.get(variant, self.network)
        known = signature(network).parameters
        for key in changes:
            if key not in known:
                raise UnknownNameError(f"argument of {variant}", key, known)
        return network(**{**self.variants[variant], **changes})


MODELS: Registry[ModelSpec] = Registry("model")


def register_model(spec: ModelSpec) -> ModelSpec:
    """Register a family of networks.

    Raises:
        ValueError: The name or an alias is taken, or the default variant is not among the variants.
    """
    if spec.default_variant not in spec.variants:
        raise ValueError(
            f"model {spec.name!r}: default variant {spec.default_variant!r} is not among {sorted(spec.variants)}"
        )
    return MODELS.register(spec.name, spec, aliases=spec.aliases)
