"""HOGformer: the network, its blocks and its small modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from restorekit.models import hogformer
from restorekit.models.hogformer import HOGformer
from restorekit.ops.hog import describe_patches, pixel_keys
from tests.helpers.golden import Converter, Order, Results, Run, handles, handles_keys

_NORMS = {"WithBias": "with_bias", "BiasFree": "bias_free"}
_NETWORK: dict[str, str | None] = hogformer.CONFIG_MAP
_ATTENTION = {"dim": "channels", "num_heads": "heads", "bias": "bias", "patch_size": "patch", "n_bins": "bins"}
_FEED_FORWARD = {"dim": "channels", "ffn_expansion_factor": "expansion", "bias": "bias"}
_BLOCK = {"dim": "channels", "num_heads": "heads", **_FEED_FORWARD, "LayerNorm_type": "norm"}


def _ours(config: Mapping[str, Any], names: Mapping[str, str | None]) -> dict[str, Any]:
    """Translate the authors' arguments; an argument that is not known is a fault of this file."""
    return {
        name: _NORMS.get(value, value) if name == "norm" else value
        for argument, value in config.items()
        if (name := names[argument]) is not None
    }


def _load(module: nn.Module, run: Run, *, ours: str = "", authors: str = "") -> Any:
    """Fill a module whose keys stand behind a prefix in the network, as the case says, and set its mode and type."""
    state = module.state_dict()
    if state:
        keys = {key: hogformer.authors_key(ours + key).removeprefix(authors) for key in state}
        filled = run.filled({keys[key]: value for key, value in state.items()})
        module.load_state_dict({key: filled[keys[key]] for key in state}, strict=True, assign=True)
    return module.train(run.call.get("mode") == "train").to(run.dtype)


def _call(module: nn.Module, run: Run) -> Results:
    with torch.no_grad():
        return {"y": module(run.inputs["x"])}


@handles("hogformer.network")
def network(run: Run) -> Results:
    with torch.device("meta"):  # no time for weights that are replaced
        model = HOGformer(**_ours(run.config, _NETWORK))
    filled = run.filled(hogformer.revert(model.state_dict()))
    model.load_state_dict(hogformer.convert(filled), strict=True, assign=True)
    model.train(run.call.get("mode") == "train").to(run.dtype)
    for path, recorded in run.forced.items():
        attention = model.get_submodule(hogformer.our_key(path + ".").removesuffix("."))
        attention.order_patches = _always((recorded["patch_order"].long(), recorded["hog"].to(run.dtype)))
        attention.order_pixels = _always(recorded["pixel_order"].long())
    return _call(model, run)


def _always(value: Any) -> Callable[[Tensor], Any]:
    return lambda _: value


@handles("hogformer.attention")
def attention(run: Run) -> Results:
    module = _load(hogformer.Attention(**_ours(run.config, _ATTENTION)), run)
    result = _call(module, run)
    seen: dict[str, Any] = {}
    by_patch, by_pixel = module.order_patches, module.order_pixels

    def order_patches(x: Tensor) -> tuple[Tensor, Tensor]:
        order, seen["hog"] = by_patch(x)
        seen["patch_key"], _ = describe_patches(x, patch=module.patch, bins=module.bins)
        seen["patch_order"] = Order(order=order, free=seen["patch_key"] == 0)
        return order, seen["hog"]

    def order_pixels(v: Tensor) -> Tensor:
        seen["pixel_key"], seen["pixel_order"] = pixel_keys(v), by_pixel(v)
        return seen["pixel_order"]

    module.order_patches, module.order_pixels = order_patches, order_pixels
    module.bin_proj.register_forward_hook(lambda _module, _inputs, output: seen.update(hog_map_low=output))
    module.qkv.register_forward_pre_hook(lambda _module, inputs: seen.update(ldr_input=inputs[0]))
    module.qkv_dwconv.register_forward_hook(lambda _module, _inputs, output: seen.update(qkv=output))
    module.project_out.register_forward_hook(
        lambda _module, inputs, output: seen.update(product=inputs[0], projected=output)
    )
    module(run.inputs["x"])  # with gradients: in one piece, so that whole values pass by
    return {**seen, **result}


@handles("hogformer.block")
def block(run: Run) -> Results:
    module = _load(hogformer.Block(**_ours(run.config, _BLOCK)), run)
    x = run.inputs["x"]
    with torch.no_grad():
        attended = module.attention(module.norm(x))
        fed = module.feed_forward(module.norm(x + attended))
    return {**_call(module, run), "attention branch": attended, "feed-forward branch": fed}


@handles("hogformer.feed_forward")
def feed_forward(run: Run) -> Results:
    return _call(_load(hogformer.FeedForward(**_ours(run.config, _FEED_FORWARD)), run), run)


@handles("hogformer.layer_norm")
def layer_norm(run: Run) -> Results:
    return _call(hogformer.Norm(_NORMS[run.config["LayerNorm_type"]]), run)


@handles("hogformer.patch_embed")
def patch_embed(run: Run) -> Results:
    with torch.device("meta"):
        model = HOGformer(embed_dim=run.config["embed_dim"], expansion=4)
    return _call(_load(model.patch_embed, run, ours="patch_embed.", authors="patch_embed."), run)


@handles("hogformer.skip_patch_embed")
def skip_patch_embed(run: Run) -> Results:
    module = hogformer.SkipEmbed(run.config["in_c"], bias=run.config["bias"])
    return _call(_load(module, run, ours="skip1.", authors="skip_patch_embed1."), run)


@handles("hogformer.downsample")
def downsample(run: Run) -> Results:
    module = hogformer.down(run.config["n_feat"])
    return _call(_load(module, run, ours="down1.", authors="down1_2."), run)


@handles("hogformer.upsample")
def upsample(run: Run) -> Results:
    module = hogformer.up(run.config["n_feat"])
    return _call(_load(module, run, ours="up1.", authors="up2_1."), run)


@handles_keys("hogformer/keys_setting_i", "hogformer/keys_setting_iii_iv", "hogformer/keys_setting_iii_iv_lightning")
def keys() -> Converter:
    return Converter(
        network=HOGformer(),
        unwrap=lambda state: {key.removeprefix("net."): value for key, value in state.items()},
        convert=hogformer.convert,
        revert=hogformer.revert,
        dropped=("cri_HOGloss.",),
    )
