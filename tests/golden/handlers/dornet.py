"""DORNet: the network, its training-only parts, and the data protocols and scores of depth."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from restorekit.data.depth import add_noise, blur, low_resolution, resize_whole, stretch
from restorekit.hub.checkpoint import read_checkpoint
from restorekit.metrics import depth_rmse
from restorekit.models import dornet
from restorekit.models._dornet_training import (
    ContrastiveLoss,
    DegradationRegulariser,
    DORNetTraining,
    Routing,
    convert_training,
    revert_training,
)
from restorekit.models.dornet import DORNet
from tests.helpers.golden import Converter, Results, Run, handles, handles_keys
from tests.helpers.shared import shared_folder

_STAGES = range(1, 6)
_STEPS = {"mm": 1000, "cm": 100, "m": 1}  # of a metre


def _ours(config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the authors' arguments; one that is not known is a fault of this file."""
    names = {argument: dornet.CONFIG_MAP[argument] for argument in config}
    return {name: config[argument] for argument, name in names.items() if name is not None}


def _authors(run: Run, template: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the case's weights under the authors' keys."""
    assert run.weights is not None
    if run.weights["rule"] == "official":
        return read_checkpoint(run.source()).state
    return run.filled(template)


def _network(run: Run) -> DORNet:
    network = DORNet(**_ours(run.config))
    network.load_state_dict(dornet.convert(_authors(run, dornet.revert(network.state_dict()))), strict=True)
    return network.train(run.call.get("mode") == "train").to(run.dtype)


# --- the network ------------------------------------------------------------------------------------------------------

# where a value of the authors comes out in our network: module, and whether it is its first argument
_PLACES: dict[str, tuple[str, bool]] = {
    **{f"Enc.E_pre.{n}": (f"encoder.block{n + 1}", False) for n in range(3)},
    "Enc.E_pre": ("encoder.block3", False),
    "R.head": ("depth_stem", False),
    "R.head_rgb": ("guide_stem", False),
    **{f"R.c_r{n}": (f"guides.{n - 1}", False) for n in range(1, 5)},
    **{f"R.c_d{n}": (f"groups.{n - 1}", False) for n in _STAGES},
    **{
        f"R.dgm{n}{theirs}": (f"transfers.{n - 1}{ours}", first)
        for n in _STAGES
        for theirs, ours, first in (
            ("", "", False),
            (".fb", ".merge", False),
            (".DA_rgb", ".smooth", False),
            (".DA_rgb.rcab1", ".enhance", False),
            (".DA_rgb.dcnrgb", ".deform", False),
            (".DA_rgb.dcnrgb before c2", ".deform.mix", True),
            (".DA_rgb.dcnrgb.c1", ".deform.modulate", False),
        )
    },
}


@contextmanager
def _watched(network: DORNet, seen: dict[str, Any]) -> Iterator[None]:
    """Record what passes by in the plain form (with gradients: nothing is folded into anything)."""

    def record(name: str, first: bool) -> Any:
        return lambda _module, inputs, output: seen.update({name: (inputs[0] if first else output).detach().clone()})

    with ExitStack() as stack:
        for name, (path, first) in _PLACES.items():
            stack.callback(network.get_submodule(path).register_forward_hook(record(name, first)).remove)
        stack.callback(
            network.encoder.register_forward_hook(
                lambda _m, _i, output: seen.update({"Enc.E": output[1].detach()})
            ).remove
        )
        for n, transfer in zip(_STAGES, network.transfers, strict=True):
            _watch_transfer(f"R.dgm{n}.DA_rgb", transfer, seen, stack)
        yield


def _watch_transfer(name: str, transfer: nn.Module, seen: dict[str, Any], stack: ExitStack) -> None:
    deform, attention = transfer.deform, transfer.enhance.attention
    find = deform._shift

    def shift(places: Tensor) -> Tensor:
        seen[f"{name}.dcnrgb.conv_offset_mask"] = found = find(places)
        return found

    deform._shift = shift
    stack.callback(delattr, deform, "_shift")
    weigh = attention.register_forward_hook(
        lambda _module, inputs, weights: seen.update({f"{name}.rcab1.body.3": (inputs[0] * weights).detach()})
    )
    stack.callback(weigh.remove)


@handles("dornet.network", "dornet_t.network")
def network(run: Run) -> Results:
    model = _network(run)
    seen: dict[str, Any] = {}
    depth, guide = run.inputs["depth"], run.inputs["rgb"]
    with _watched(model, seen):
        plain = model(depth, guide)
    if model.training:
        return {**seen, "restored": plain}
    with torch.no_grad():
        return {**seen, "restored": model(depth, guide)}


def _keys(variant: str, *, training: bool) -> Converter:
    config = {"dornet": {}, "dornet-t": {"width": 24, "reduction": 4}}[variant]

    def unwrap(state: dict[str, Tensor]) -> dict[str, Tensor]:
        # lists of keys say nothing of types, and counters are whole numbers
        return {key: v.long() if key.endswith("num_batches_tracked") else v for key, v in state.items()}

    if training:
        return Converter(
            network=DORNetTraining(**config), unwrap=unwrap, convert=convert_training, revert=revert_training
        )
    return Converter(network=DORNet(**config), unwrap=unwrap, convert=dornet.convert, revert=dornet.revert)


for _variant, _list in (("dornet", "keys_dornet"), ("dornet-t", "keys_dornet_t")):
    handles_keys(f"dornet/{_list}")(lambda variant=_variant: _keys(variant, training=True))
    handles_keys(f"dornet/{_list}_tofdsr")(lambda variant=_variant: _keys(variant, training=False))


# --- training ---------------------------------------------------------------------------------------------------------


@contextmanager
def _watched_regulariser(module: DegradationRegulariser, seen: dict[str, Any]) -> Iterator[None]:
    looks, kernels = module.looks, module.kernels

    def record_looks(depth: Tensor) -> Tensor:
        seen["x_ds"] = found = looks(depth)
        return found

    def record_kernels(routing: Routing, vector: Tensor) -> list[Tensor]:
        seen.update(gates=routing.gates, load=routing.load, topk_sample0=routing.order[0], d_vec=vector)
        made = kernels(routing, vector)
        seen.update({f"dab{k}_kernel": kernel for k, kernel in enumerate(made)})
        chosen = sorted(routing.order[0].tolist())
        seen.update({f"kernels_expert{e}": kernel for e, kernel in zip(chosen, made, strict=True)})
        return made

    module.looks, module.kernels = record_looks, record_kernels
    handles_of_hooks = [
        branch.register_forward_hook(lambda _m, _i, output, k=k: seen.update({f"dab{k}_out": output}))
        for k, branch in enumerate(module.branches)
    ]
    yield
    del module.looks, module.kernels
    for hook in handles_of_hooks:
        hook.remove()


@handles("dornet.regulariser")
def regulariser(run: Run) -> Results:
    whole = DORNetTraining(**_ours(run.config), detach=run.call.get("detach_degradation", True))
    template = {key: value for key, value in revert_training(whole.state_dict()).items() if key.startswith("Dab.")}
    weights = convert_training(_authors(run, template))
    module = whole.regulariser
    module.load_state_dict({key.removeprefix("regulariser."): value for key, value in weights.items()}, strict=True)
    module.train(run.call.get("mode") == "train").to(run.dtype)
    seen: dict[str, Any] = {}
    inputs, noise = run.inputs, run.inputs.get(run.call.get("router_noise", "gate_noise"))
    with torch.no_grad(), _watched_regulariser(module, seen):
        degraded, loss = module(inputs["depth"], inputs["restored"], inputs["d_vec"], noise=noise)
    return {**seen, "d_lr": degraded, "aux_loss": loss.reshape(run.arrays[run.outputs["aux_loss"]].shape)}


@handles("dornet.training_step")
def training_step(run: Run) -> Results:
    whole = DORNetTraining(**_ours(run.config), detach=run.call["detach_degradation"])
    whole.load_state_dict(convert_training(_authors(run, revert_training(whole.state_dict()))), strict=True)
    whole.train(run.call["mode"] == "train").to(run.dtype)
    inputs, weights, seen = run.inputs, run.call["loss_weights"], {}
    with _watched_regulariser(whole.regulariser, seen):
        restored, degraded, routing = whole(inputs["depth"], inputs["rgb"], noise=inputs[run.call["router_noise"]])
    reconstruction, degradation = F.l1_loss(restored, inputs["gt"]), F.l1_loss(degraded, inputs["depth"])
    parts = {"reconstruction": reconstruction, "degradation": degradation, "routing": routing}
    total = sum(weights[name] * part for name, part in parts.items())
    total.backward()
    losses = {"aux_loss": routing, "loss_rec": reconstruction, "loss_deg": degradation, run.call["gradient_of"]: total}
    gradients = revert_training({key: value.grad for key, value in whole.named_parameters()})
    without = [key for key, value in gradients.items() if value is None]
    return {
        **seen,
        "restored": restored,
        "d_lr": degraded,
        **{name: _shaped(run, name, value) for name, value in losses.items()},
        **{f"grad:{key}": value for key, value in gradients.items() if value is not None},
        **{f"after:{key}": value for key, value in revert_training(whole.state_dict()).items()},
        "parameters_without_gradient": _as_patterns(without, run.values.get("parameters_without_gradient", [])),
    }


def _shaped(run: Run, name: str, value: Tensor) -> Tensor:
    """Return a single number in the shape in which the case stores it."""
    value = value.detach()
    return value.reshape(run.arrays[run.outputs[name]].shape) if name in run.outputs else value


def _as_patterns(names: list[str], patterns: list[str]) -> list[str]:
    """Return the patterns if they match exactly these names, else the names."""
    covered = all(any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns) for name in names)
    used = all(fnmatch.filter(names, pattern) for pattern in patterns)
    return patterns if covered and used else names


@handles("dornet.contrastive_loss")
def contrastive_loss(run: Run) -> Results:
    config = run.config
    loss = ContrastiveLoss(layers=tuple(config["layers"]), weights=tuple(config["weights"]), eps=config["eps"])
    loss.features.load_state_dict(_authors(run, loss.features.state_dict()), strict=True)
    loss.to(run.dtype)
    given = {name: run.inputs[name].clone() for name in ("anchor", "positive", "negative")}
    given[run.call["gradient_of"]].requires_grad_()
    value = loss(**given)
    value.backward()
    near, far = loss.distances(**given)
    sizes = [stage.abs().mean() for stage in loss.stages(given["anchor"])]
    return {
        "loss": _shaped(run, "loss", value),
        **{f"grad:{name}": depth.grad for name, depth in given.items() if depth.grad is not None},
        "d_ap": near,
        "d_an": far,
        **{f"mean |features {k}| of anchor": size.reshape(1) for k, size in enumerate(sizes)},
    }


# --- data and scores --------------------------------------------------------------------------------------------------


@handles("dornet.low_resolution")
def make_low_resolution(run: Run) -> Results:
    return {"depth": low_resolution(run.inputs["depth"].numpy(), run.call["scale"])}


@handles("dornet.enlarge_mm")
def enlarge_mm(run: Run) -> Results:
    height, width = run.call["size_hw"]
    return {"depth": resize_whole(run.inputs["depth"].numpy(), (height, width))}


@handles("dornet.normalise_mm")
def normalise_mm(run: Run) -> Results:
    return {"depth": run.inputs["depth"]}  # divided as the call says when it was read


@handles("dornet.noisy_depth")
def noisy_depth(run: Run) -> Results:
    call, depth = run.call, run.inputs["depth"].numpy()
    noisy = add_noise(depth, blur_sigma=call["blur_sigma"], noise_sigma=call["noise_std"], seed=call["numpy_seed"])
    return {"blurred": blur(depth, call["blur_sigma"]), "depth": noisy}


@handles("dornet.normalise_rgb")
def normalise_rgb(run: Run) -> Results:
    return {"image": run.stored_layout(torch.from_numpy(stretch(run.inputs["image"].numpy())))}


@handles("metric.depth_rmse")
def score(run: Run) -> Results:
    call = run.call
    restored, reference = (run.image(name).to(torch.float32) for name in ("restored", "reference"))
    if "restored_times" in call:
        restored = restored * call["restored_times"]
    if "max_m" in call:
        scale = {"data_range": 1.0, "full_scale_m": call["max_m"] - call["min_m"]}
    else:
        scale = {"data_range": float(_STEPS[call.get("reference_unit", "m")])}
    low, high = call.get("valid_mm", (None, None))
    valid = None if low is None else (reference >= low) & (reference <= high)
    value = depth_rmse(restored, reference, crop_border=call["border"], valid=valid, **scale)
    value = value * (_STEPS[call.get("unit", "cm")] / _STEPS["cm"])
    return {"rmse": value.reshape(run.arrays[run.outputs["rmse"]].shape)}


@handles("dornet_t.pipeline", "dornet.pipeline")
def pipeline(run: Run) -> Results:
    """Make a depth map coarse, restore it, and score both: the protocol of NYU-v2."""
    folder, call = shared_folder(), run.call
    metres = _pixels(folder / call["depth"]).astype(np.float32) / np.float32(_STEPS[call["depth_unit"]])
    guide = _pixels(folder / call["image"]).astype(np.float32) / np.float32(call["rgb_divide_by"])
    truth = stretch(metres)
    coarse = low_resolution(truth, call["scale"])
    model = _network(run)
    with torch.no_grad():
        restored = model(torch.from_numpy(coarse)[None, None], torch.from_numpy(guide).permute(2, 0, 1)[None])
    scale = {"data_range": 1.0, "full_scale_m": float(metres.max() - metres.min()), "crop_border": call["border"]}
    reference = torch.from_numpy(truth)[None, None]
    return {
        "network": depth_rmse(restored, reference, **scale),
        "bicubic": depth_rmse(torch.from_numpy(coarse)[None, None], reference, **scale),
    }


def _pixels(path: Any) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)
