"""What the handlers of golden cases of restoration networks share: weights, and looking inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from restorekit.models._masking import MaskableEncoder
from tests.helpers.golden import Results, Run

__all__ = ["call", "call_masked", "load", "load_network", "ours", "picture", "randomise"]

StateDict = dict[str, Tensor]


def ours(config: Mapping[str, Any], names: Mapping[str, str | None]) -> dict[str, Any]:
    """Translate the authors' arguments; an argument that is not known is a fault of its handler."""
    kinds = {"WithBias": "with_bias", "BiasFree": "bias_free"}
    return {
        name: kinds.get(value, value) if name == "norm" else value
        for argument, value in config.items()
        if (name := names[argument]) is not None
    }


def load_network(
    build: Callable[[], nn.Module],
    run: Run,
    *,
    convert: Callable[[StateDict], StateDict],
    revert: Callable[[StateDict], StateDict],
) -> Any:
    """Build a network, fill it as the case says, and set its mode and type."""
    with torch.device("meta"):  # no time for weights that are replaced
        model = build()
    filled = run.filled(revert(model.state_dict()))
    model.load_state_dict(convert(filled), strict=True, assign=True)
    return model.train(run.call.get("mode") == "train").to(run.dtype)


def load(module: nn.Module, run: Run, *, at: str, authors_key: Callable[[str], str]) -> Any:
    """Fill a part of a network, and set its mode and type.

    Args:
        module: The part.
        run: The case.
        at: Where it stands in a network of ours, with a dot at the end.
        authors_key: Our key in a network -> the authors'.
    """
    state, prefix = module.state_dict(), authors_key(at)
    keys = {key: authors_key(at + key).removeprefix(prefix) for key in state}
    filled = run.filled({keys[key]: value for key, value in state.items()})
    module.load_state_dict({key: filled[keys[key]] for key in state}, strict=True, assign=True)
    return module.train(run.call.get("mode") == "train").to(run.dtype)


def _watch(model: Any, paths: Mapping[str, str]) -> dict[str, Tensor]:
    """Return a dictionary that holds what parts of a network made, by the name of each path, once it was called."""
    seen: dict[str, Tensor] = {}
    for name, path in paths.items():
        model.get_submodule(path).register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.update({name: output})
        )
    return seen


def call(model: nn.Module, run: Run, our_path: Callable[[str], str]) -> Results:
    """Call a network, and return the values inside that the case holds."""
    wanted = run.call.get("intermediates_of", run.name) == run.name
    seen = _watch(model, {path: our_path(path) for path in run.intermediates} if wanted else {})
    with torch.no_grad():
        return {"y": model(run.inputs["x"]), **seen}


def call_masked(model: Any, run: Run, our_path: Callable[[str], str], *, last: str) -> Results:
    """Call a network that sees only patches, and return the values inside that the case holds.

    Args:
        model: The network.
        run: The case.
        our_path: The authors' path of a module -> ours.
        last: Our path of the module before the last convolution.
    """
    assert isinstance(model, MaskableEncoder)
    seen = _watch(model, {**{path: our_path(path) for path in run.intermediates}, "last": last})
    mask = run.inputs["mask"].bool()
    with torch.no_grad():
        out = model.forward_masked(run.inputs["x"], mask)
    features = seen.pop("last")
    side = features.shape[2] // mask.shape[2]
    visible = mask.repeat_interleave(side, 2).repeat_interleave(side, 3).expand_as(features)
    channels = tuple(feature.shape[1] for feature in out.features)
    assert channels == model.feature_channels
    return {"recon": out.reconstruction, "visible_flat": features[visible], **seen}


def randomise(module: nn.Module, *, seed: int = 0) -> None:
    """Give every parameter a value that matters; at their start some are 0, and the same everywhere."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)


def picture(*shape: int, seed: int = 1) -> Tensor:
    """Return random numbers, normally distributed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
