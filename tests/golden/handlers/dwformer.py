"""DWFormer: the network, its block and its gate, and what belongs to its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from restorekit.data.augment import flip_and_turn
from restorekit.metrics import psnr
from restorekit.models import dwformer
from restorekit.models.dwformer import Block, ChannelGate, DWFormer, Stage
from restorekit.training.schedules import CosineByEpoch, freezes_norms
from tests.helpers.golden import Converter, Results, Run, handles, handles_keys

_BLOCK = {"dim": "channels", "mlp_ratio": "mlp_ratio", "se_ratio": "gate_reduction"}
_GATE = {"dim": "channels", "ratio": "reduction"}
_SMALL = {"embed_dims": (8, 16, 24, 16, 8), "num_blocks": (2, 1, 2, 1, 1), "gate_reduction": 2}


def _ours(config: Mapping[str, Any], names: Mapping[str, str | None]) -> dict[str, Any]:
    """Translate the authors' arguments; an argument that is not known is a fault of this file."""
    return {name: value for argument, value in config.items() if (name := names[argument]) is not None}


def _load(module: nn.Module, run: Run) -> Any:
    """Fill a network or a part of one as the case says, and set its mode and type."""
    module.load_state_dict(dwformer.convert(run.filled(dwformer.revert(module.state_dict()))), strict=True)
    return module.train(run.call.get("mode") == "train").to(run.dtype)


def _our_path(path: str) -> str:
    """Return where a module of the authors stands in ours; what they call ``block1`` holds nothing but ``blocks``."""
    ours = dwformer.our_key(f"{path}.")
    return (dwformer.our_key(f"{path}.blocks.") if ours == f"{path}." else ours).removesuffix(".")


def _call(module: nn.Module, run: Run) -> dict[str, Any]:
    """Call a module; where the case goes backward, return gradients and what became of the parameters as well."""
    x = run.inputs["x"]
    if "backward" not in run.call:
        with torch.no_grad():
            return {"y": module(x)}
    x = x.clone().requires_grad_()
    y = module(x)
    (run.inputs["grad_weighting"] * y).sum().backward()
    name = dwformer.authors_key
    gradients = {f"grad:{name(key)}": parameter.grad for key, parameter in module.named_parameters()}
    after = {f"after:{name(key)}": value for key, value in module.state_dict().items()}
    return {"y": y, "grad:x": x.grad, **gradients, **after}


@handles("dwformer.network")
def network(run: Run) -> Results:
    config = _ours(run.config, dwformer.CONFIG_MAP)
    model = _load(DWFormer(**config, gate_pool=run.call.get("gate_pool", "sum")), run)
    seen: dict[str, Tensor] = {}
    for path in run.intermediates:
        stage = model.get_submodule(_our_path(path))
        stage.register_forward_hook(lambda _module, _inputs, output, path=path: seen.update({path: output}))
    return {**_call(model, run), **seen}


@handles("dwformer.block")
def block(run: Run) -> Results:
    module = Block(**_ours(run.config, _BLOCK), gate_pool=run.call.get("gate_pool", "sum"))
    _load(module, run)
    if module.training:
        return _call(module, run)
    with torch.no_grad():
        seen = {"after first branch": module.look_around(run.inputs["x"])}
    return {**seen, **_call(Stage(module).eval() if "backward" not in run.call else module, run)}


@handles("dwformer.channel_gate")
def channel_gate(run: Run) -> Results:
    module = ChannelGate(**_ours(run.config, _GATE), pool=run.call.get("gate_pool", "sum"))
    _load(module, run)
    with torch.no_grad():
        return {"gate": module.gate(run.inputs["x"]), **_call(module, run)}


@handles("dwformer.augment")
def augment(run: Run) -> Results:
    names = ("vertical_flip", "horizontal_flip", "quarter_turn_ccw", "quarter_turn_cw")
    done = flip_and_turn(run.inputs["image"], **{name: run.call[name] for name in names})
    return {"image": run.stored_layout(done)}


@handles("dwformer.schedule")
def schedule(run: Run) -> Results:
    config = run.config
    rates = CosineByEpoch(epochs=config["epochs"], learning_rate=config["lr"], final_rate=config["min_lr"])
    first, last = run.call["epochs"]
    epochs = range(first, last + 1)
    frozen = [freezes_norms(epoch, epochs=config["epochs"], running=config["frozen_bn"]) for epoch in epochs]
    return {"lr": torch.tensor([rates(epoch) for epoch in epochs]), "eval_mode": torch.tensor(frozen).long()}


@handles("dwformer.validation_meter")
def validation_meter(run: Run) -> Results:
    """Return what the authors' validation prints: it adds up means of batches and divides by the number of pictures."""
    each = psnr(run.inputs["restored"], run.inputs["reference"], data_range=1.0)
    means = torch.stack([batch.mean() for batch in each.split(run.call["batches"])])
    return {"value": means.sum(0, keepdim=True) / len(each)}


def _unwrap(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take the authors' wrapper off; a list of keys does not say that counters are whole numbers."""
    return {
        key.removeprefix("module."): value.long() if key.endswith("num_batches_tracked") else value
        for key, value in state.items()
    }


def _converter(module: nn.Module) -> Converter:
    return Converter(network=module, unwrap=_unwrap, convert=dwformer.convert, revert=dwformer.revert)


@handles_keys("dwformer/keys_dwformer")
def keys() -> Converter:
    return _converter(DWFormer())


@handles_keys(*(f"dwformer/keys_case_small_{name}" for name in ("32x32", "soft_32x32", "soft_batch2_20x28")))
def small_keys() -> Converter:
    return _converter(DWFormer(**_SMALL))


@handles_keys("dwformer/keys_case_mod_block")
def block_keys() -> Converter:
    return _converter(Block(8, mlp_ratio=4, gate_reduction=2))


@handles_keys("dwformer/keys_case_mod_channel_gate_a")
def gate_keys() -> Converter:
    return _converter(ChannelGate(8))


@handles_keys("dwformer/keys_case_mod_channel_gate_b")
def reduced_gate_keys() -> Converter:
    return _converter(ChannelGate(12, reduction=4))
