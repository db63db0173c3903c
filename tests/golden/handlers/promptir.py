"""PromptIR of MaskDCPT, with and without hidden patches, of DCPT, and its prompts (its block is Restormer's)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from restorekit.models import promptir
from restorekit.models._masking import Visibility
from restorekit.models._promptir import Prompt
from restorekit.models._transformer_unet import LAYOUTS, authors_key, our_key
from restorekit.models.promptir import PromptIR
from tests.helpers import networks
from tests.helpers.golden import Converter, Results, Run, handles, handles_keys

_PROMPT = {"prompt_dim": "channels", "prompt_len": "count", "prompt_size": "size", "lin_dim": "features"}


def _path(path: str) -> str:
    return our_key(path + ".").removesuffix(".")


def _network(run: Run, *, bias: bool, release: str = "maskdcpt") -> Any:
    config = {"bias": bias, **networks.ours(run.config, promptir.CONFIG_MAP)}
    revert = partial(promptir.revert, release=release)
    return networks.load_network(lambda: PromptIR(**config), run, convert=promptir.convert, revert=revert)


@handles("promptir.network")
def network(run: Run) -> Results:
    return networks.call(_network(run, bias=True), run, _path)


@handles("dcpt_promptir.network")
def dcpt_network(run: Run) -> Results:
    return networks.call(_network(run, bias=False, release="original"), run, _path)


@handles("mask_promptir.network")
def masked_network(run: Run) -> Results:
    return networks.call_masked(_network(run, bias=False), run, _path, last="refinement")


@handles("promptir.prompt", "mask_promptir.prompt", "mirl.prompt")
def prompt(run: Run) -> Results:
    """Call it twice: the second time with the maps of the first."""
    module = networks.load(
        Prompt(**networks.ours(run.config, _PROMPT)),
        run,
        at="prompt1.",
        authors_key=lambda key: authors_key(key, LAYOUTS["maskdcpt"]),
    )
    seen: dict[str, Tensor] = {}
    module.weigh.register_forward_hook(
        lambda _module, _inputs, output: seen.update({"prompt weights": output.softmax(1)})
    )
    hidden = (Visibility(run.inputs["mask"].bool()),) if "mask" in run.inputs else ()
    with torch.no_grad():
        module(run.inputs["x"], *hidden)
        return {"y": module(run.inputs["x"], *hidden), **seen}


@handles_keys("maskdcpt/keys_promptir")
def keys() -> Converter:
    return Converter(network=PromptIR(), unwrap=dict, convert=promptir.convert, revert=promptir.revert)


@handles_keys("maskdcpt/keys_mask_promptir")
def masked_keys() -> Converter:
    return Converter(network=PromptIR(bias=False), unwrap=dict, convert=promptir.convert, revert=promptir.revert)


@handles_keys("maskdcpt/keys_dcpt_promptir")
def dcpt_keys() -> Converter:
    revert = partial(promptir.revert, release="original")
    return Converter(network=PromptIR(bias=False), unwrap=dict, convert=promptir.convert, revert=revert)
