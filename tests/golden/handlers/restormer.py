"""Restormer of MaskDCPT, with and without hidden patches, of DCPT, and its parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from restorekit.models import restormer
from restorekit.models._masking import Visibility
from restorekit.models._restormer import Attention, Block, FeedForward
from restorekit.models._transformer_unet import LAYOUTS, authors_key, our_key
from restorekit.models.restormer import Restormer
from tests.helpers import networks
from tests.helpers.golden import Converter, Results, Run, handles, handles_keys

_PART = {
    "dim": "channels",
    "num_heads": "heads",
    "bias": "bias",
    "ffn_expansion_factor": "expansion",
    "LayerNorm_type": None,
}
_DCPT: dict[str, Any] = {"norm": "bias_free", "norm_eps": 1e-6, "scoring": "relu"}


def _path(path: str) -> str:
    return our_key(path + ".").removesuffix(".")


def _key(key: str) -> str:
    return authors_key(key, LAYOUTS["maskdcpt"])


@handles("restormer.network")
def network(run: Run) -> Results:
    return networks.call(_network(run), run, _path)


@handles("mask_restormer.network")
def masked_network(run: Run) -> Results:
    return networks.call_masked(_network(run), run, _path, last="refinement")


def _network(run: Run) -> Any:
    config = networks.ours(run.config, restormer.CONFIG_MAP)
    return networks.load_network(lambda: Restormer(**config), run, convert=restormer.convert, revert=restormer.revert)


@handles("dcpt_restormer.network")
def dcpt_network(run: Run) -> Results:
    config = {**_DCPT, **networks.ours(run.config, {**restormer.CONFIG_MAP, "LayerNorm_type": "norm"})}
    model = networks.load_network(lambda: Restormer(**config), run, convert=restormer.convert, revert=restormer.revert)
    return networks.call(model, run, _path)


@handles("restormer.attention")
def attention(run: Run) -> Results:
    module = Attention(**networks.ours(run.config, _PART))
    return _call(networks.load(module, run, at="latent.0.attention.", authors_key=_key), run)


@handles("restormer.feed_forward")
def feed_forward(run: Run) -> Results:
    module = FeedForward(**networks.ours(run.config, _PART))
    return _call(networks.load(module, run, at="latent.0.feed_forward.", authors_key=_key), run)


@handles("restormer.block", "promptir.block")
def block(run: Run) -> Results:
    return _call(_block(run), run)


@handles("mask_restormer.block")
def masked_block(run: Run) -> Results:
    module = _block(run)
    seen: dict[str, Tensor] = {}
    module.attention.register_forward_hook(lambda _module, _inputs, output: seen.update(attn=output))
    return {**_call(module, run, Visibility(run.inputs["mask"].bool())), **seen}


def _block(run: Run) -> Any:
    module = Block(**networks.ours(run.config, _PART))
    return networks.load(module, run, at="latent.0.", authors_key=_key)


def _call(module: Any, run: Run, *more: Visibility) -> Results:
    with torch.no_grad():
        return {"y": module(run.inputs["x"], *more)}


@handles_keys("maskdcpt/keys_restormer", "maskdcpt/keys_mask_restormer")
def keys() -> Converter:
    return Converter(network=Restormer(), unwrap=dict, convert=restormer.convert, revert=restormer.revert)


@handles_keys("maskdcpt/keys_dcpt_restormer")
def dcpt_keys() -> Converter:
    return Converter(network=Restormer(**_DCPT), unwrap=dict, convert=restormer.convert, revert=restormer.revert)
