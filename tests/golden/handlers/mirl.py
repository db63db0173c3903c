"""MIR-L: the network and its parts (its prompt block is PromptIR's)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from restorekit.models import mirl
from restorekit.models._norm import Norm
from restorekit.models._restormer import Attention, Block, FeedForward
from restorekit.models._transformer_unet import LAYOUTS, authors_key, our_key
from restorekit.models.mirl import MIRL
from tests.helpers import networks
from tests.helpers.golden import Converter, Results, Run, handles, handles_keys

_ATTENTION = {"dim": "channels", "num_heads": "heads", "bias": "bias"}
_FEED_FORWARD = {"dim": "channels", "ffn_expansion_factor": "expansion", "bias": "bias"}
_BLOCK = {**_ATTENTION, **_FEED_FORWARD, "LayerNorm_type": "norm"}


@handles("mirl.network")
def network(run: Run) -> Results:
    config = networks.ours(run.config, mirl.CONFIG_MAP)
    model = networks.load_network(lambda: MIRL(**config), run, convert=mirl.convert, revert=mirl.revert)
    return networks.call(model, run, lambda path: our_key(path + ".").removesuffix("."))


def _call(module: nn.Module, run: Run, at: str) -> Results:
    loaded: Any = networks.load(module, run, at=at, authors_key=lambda key: authors_key(key, LAYOUTS["original"]))
    with torch.no_grad():
        return {"y": loaded(run.inputs["x"])}


@handles("mirl.block")
def block(run: Run) -> Results:
    return _call(Block(**networks.ours(run.config, _BLOCK)), run, "latent.0.")


@handles("mirl.attention")
def attention(run: Run) -> Results:
    return _call(Attention(**networks.ours(run.config, _ATTENTION)), run, "latent.0.attention.")


@handles("mirl.feed_forward")
def feed_forward(run: Run) -> Results:
    return _call(FeedForward(**networks.ours(run.config, _FEED_FORWARD)), run, "latent.0.feed_forward.")


@handles("mirl.layer_norm")
def layer_norm(run: Run) -> Results:
    config = networks.ours(run.config, {"dim": "channels", "LayerNorm_type": "norm"})
    norm = Norm(config["channels"], kind=config["norm"])
    norm = networks.load(norm, run, at="", authors_key=lambda key: f"body.{key}" if key else "")
    with torch.no_grad():
        return {"y": norm(run.inputs["x"])}


@handles_keys("mirl/keys_mirl_release")
def keys() -> Converter:
    return Converter(network=MIRL(), unwrap=_unwrap, convert=mirl.convert, revert=mirl.revert)


@handles_keys("mirl/keys_case_mirl_small_32")
def small_keys() -> Converter:
    small = MIRL(num_blocks=(1, 1, 1, 2), num_refinement_blocks=1)
    return Converter(network=small, unwrap=_unwrap, convert=mirl.convert, revert=mirl.revert)


def _unwrap(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix("net."): value for key, value in state.items()}
