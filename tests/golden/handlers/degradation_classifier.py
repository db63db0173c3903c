"""The degradation classifier: its head, with the picture too, on every encoder, its parts, and the focal loss."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from restorekit.models import MODELS, degradation_classifier
from restorekit.models._norm import Norm
from restorekit.models.degradation_classifier import Bottleneck, DegradationHead
from restorekit.training.losses.classification import focal_loss
from tests.helpers import networks
from tests.helpers.golden import HANDLERS, Converter, Results, Run, handles, handles_keys

_ON_KEYS = ("multiply", "set", "roll")  # steps that change what a pattern names


def _head(config: Any, run: Run, **more: Any) -> Any:
    arguments = networks.ours(config, degradation_classifier.CONFIG_MAP)
    return networks.load_network(
        lambda: DegradationHead(**arguments, **more),
        run,
        convert=degradation_classifier.convert,
        revert=degradation_classifier.revert,
    )


def _to_map(feature: Tensor) -> Tensor:
    """Turn tokens ``(B, N, C)`` of a square picture into a map ``(B, C, side, side)``; a map stays."""
    if feature.ndim == 4:
        return feature
    side = math.isqrt(feature.shape[1])
    return feature.transpose(1, 2).unflatten(2, (side, side))


@handles("degradation_classifier")
def head(run: Run) -> Results:
    with torch.no_grad():
        return {"logits": _head(run.config, run)([_to_map(feature) for feature in run.inputs["features"]])}


@handles("degradation_classifier.with_image")
def with_image(run: Run) -> Results:
    model = _head(run.config, run, with_image=True)
    with torch.no_grad():
        return {"logits": model([_to_map(feature) for feature in run.inputs["features"]], run.inputs["image"])}


@handles("degradation_classifier.on_encoder")
def on_encoder(run: Run) -> Results:
    """Let the encoder's own handler name the maps, and classify by them."""
    names = {name: name for name in run.call["features"]}
    encoder = HANDLERS[run.call["encoder"]](replace(_part(run, "encoder"), intermediates=names))
    model = _head(run.config["classifier"], _part(run, "classifier"))
    with torch.no_grad():
        logits = model([_to_map(encoder[name]) for name in names])
    return {**{f"encoder.{name}": value for name, value in encoder.items()}, **encoder, "logits": logits}


def _part(run: Run, part: str) -> Run:
    """Return a run of a part alone, with its configuration and its weights."""
    assert run.weights is not None
    steps = [step.split(" ") for step in run.weights["after"]]
    own = [words for words in steps if words[0] not in _ON_KEYS or words[1].startswith(f"{part}.")]
    after = [" ".join(word.removeprefix(f"{part}.") if i == 1 else word for i, word in enumerate(w)) for w in own]
    weights = {**run.weights, "seed": run.weights["seed"][part], "after": after}
    return replace(run, config=run.config[part], weights=weights)


@handles("degradation_classifier.bottleneck")
def bottleneck(run: Run) -> Results:
    assert run.config["out_channels"] == run.config["in_channels"], "the head has no other blocks"
    module = Bottleneck(run.config["in_channels"], run.config["bottleneck_channels"])
    networks.load(module, run, at="stages.0.0.", authors_key=degradation_classifier.authors_key)
    return _call(module, run)


@handles("degradation_classifier.layer_norm")
def layer_norm(run: Run) -> Results:
    module = Norm(run.config["channels"], eps=run.config["eps"])
    return _call(networks.load(module, run, at="", authors_key=lambda key: key), run)


def _call(module: nn.Module, run: Run) -> Results:
    with torch.no_grad():
        return {"y": module(run.inputs["x"])}


@handles("degradation_classifier.focal_loss")
def loss(run: Run) -> Results:
    config, alpha = run.config, run.config.get("alpha")
    weights = None if alpha is None else torch.tensor(alpha)
    reduction = config.get("reduction", "mean")
    value = focal_loss(
        run.inputs["logits"],
        run.inputs["labels"],
        gamma=config.get("gamma", 0.0),
        class_weights=weights,
        reduction=reduction,
    )
    return {"loss": value}


@handles_keys("maskdcpt/keys_dc_nafnet_5")
def keys() -> Converter:
    return Converter(
        network=MODELS.get("degradation-classifier").build("degradation-classifier-head"),
        unwrap=dict,
        convert=degradation_classifier.convert,
        revert=degradation_classifier.revert,
    )
