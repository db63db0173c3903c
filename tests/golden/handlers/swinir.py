"""SwinIR of MaskDCPT, with and without hidden patches, of DCPT, and its parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from restorekit.models import swinir
from restorekit.models._masking import MaskableEncoder, Visibility
from restorekit.models.swinir import Attention, Block, Group, Layout, SwinIR
from tests.helpers import networks
from tests.helpers.golden import Converter, Results, Run, handles, handles_keys

_RELEASED = {"patch_size": 1, "upscale": 1, "img_range": 1.0, "resi_connection": "1conv"}
_PART = {
    "dim": "channels",
    "num_heads": "heads",
    "depth": "num_blocks",
    "window_size": "window",
    "shift_size": "shift",
    "mlp_ratio": "expansion",
    "qkv_bias": "qkv_bias",
}


def _network(run: Run) -> Any:
    other = {name for name, value in _RELEASED.items() if run.config.get(name, value) != value}
    assert not other, f"no release has another {', '.join(sorted(other))}"
    config = networks.ours(run.config, swinir.CONFIG_MAP)
    return networks.load_network(lambda: SwinIR(**config), run, convert=swinir.convert, revert=swinir.revert)


def _watch(model: nn.Module, run: Run) -> dict[str, Tensor]:
    """Return a dictionary that holds the tokens ``(B, H W, C)`` that groups made, once the network was called."""
    seen: dict[str, Tensor] = {}

    def record(path: str) -> None:
        group = model.get_submodule(swinir.our_key(path + ".").removesuffix("."))
        # a copy: the next group works where this one's tokens lie
        group.register_forward_hook(lambda _module, _inputs, output: seen.update({path: output.flatten(1, 2).clone()}))

    for path in run.intermediates:
        record(path)
    return seen


@handles("swinir.network", "dcpt_swinir.network")
def network(run: Run) -> Results:
    model = _network(run)
    seen = _watch(model, run)
    with torch.no_grad():
        return {"y": model(run.inputs["x"]), **seen}


@handles("mask_swinir.network")
def masked_network(run: Run) -> Results:
    model = _network(run)
    assert isinstance(model, MaskableEncoder)
    seen = _watch(model, run)
    with torch.no_grad():
        out = model.forward_masked(run.inputs["x"], run.inputs["mask"].bool())
    assert tuple(feature.shape[1] for feature in out.features) == model.feature_channels
    return {"recon": out.reconstruction, **seen}


@handles("swinir.window_attention")
def window_attention(run: Run) -> Results:
    config = run.config
    module = Attention(config["dim"], config["num_heads"], bias=config.get("qkv_bias", True))
    _load(module, run, at="groups.0.blocks.0.attention.")
    with torch.no_grad():
        return {"y": module(run.inputs["x"])}


@handles("swinir.block", "mask_swinir.block")
def block(run: Run) -> Results:
    config = {"shift": 0, **networks.ours(run.config, _PART)}
    return _call(_load(Block(**config), run, at="groups.0.blocks.0."), run, config["window"])


@handles("swinir.group")
def group(run: Run) -> Results:
    config = networks.ours(run.config, _PART)
    config.setdefault("shift", config["window"] // 2)
    return _call(_load(Group(**config), run, at="groups.0."), run, config["window"])


def _load(module: nn.Module, run: Run, *, at: str) -> Any:
    return networks.load(module, run, at=at, authors_key=swinir.authors_key)


def _call(module: nn.Module, run: Run, window: int) -> Results:
    """Call a part on tokens ``(B, H W, C)``, with gradients recorded and without: two ways, one result."""
    tokens = run.inputs["x"].unflatten(1, tuple(run.call["x_size"]))
    visible = Visibility(run.inputs["mask"].bool()) if "mask" in run.inputs else None
    layout = Layout(tokens, window, visible)
    recorded = module(tokens, layout).detach()
    with torch.no_grad():
        done = module(tokens, layout)
    torch.testing.assert_close(done, recorded, atol=1e-5, rtol=1e-5)
    return {"y": done.flatten(1, 2)}


@handles_keys("maskdcpt/keys_swinir", "maskdcpt/keys_mask_swinir", "maskdcpt/keys_dcpt_swinir")
def keys() -> Converter:
    return Converter(network=SwinIR(), unwrap=dict, convert=swinir.convert, revert=swinir.revert)
