"""NAFNet of MaskDCPT, with and without hidden patches, of DCPT, its parts, and the sampling of masks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from restorekit.models import nafnet
from restorekit.models._masking import Visibility, sample_mask
from restorekit.models._norm import Norm
from restorekit.models.nafnet import NAFNet
from tests.helpers import networks
from tests.helpers.golden import Converter, Results, Run, handles, handles_keys


def _path(path: str) -> str:
    return nafnet.our_key(path + ".").removesuffix(".")


def _network(run: Run, *, norm_eps: float = 1e-5) -> Any:
    config = networks.ours(run.config, nafnet.CONFIG_MAP)
    return networks.load_network(
        lambda: NAFNet(norm_eps=norm_eps, **config), run, convert=nafnet.convert, revert=nafnet.revert
    )


@handles("nafnet.network")
def network(run: Run) -> Results:
    return networks.call(_network(run), run, _path)


@handles("dcpt_nafnet.network")
def dcpt_network(run: Run) -> Results:
    return networks.call(_network(run, norm_eps=1e-6), run, _path)


@handles("mask_nafnet.network")
def masked_network(run: Run) -> Results:
    model = _network(run)
    return networks.call_masked(model, run, _path, last=f"decoders.{len(model.decoders) - 1}")


@handles("nafnet.layer_norm")
def layer_norm(run: Run) -> Results:
    with torch.no_grad():
        return {"y": _norm(run)(run.inputs["x"])}


@handles("mask_nafnet.layer_norm")
def masked_layer_norm(run: Run) -> Results:
    with torch.no_grad():
        return {"y": Visibility(run.inputs["mask"].bool()).hide(_norm(run)(run.inputs["x"]))}


def _norm(run: Run) -> Any:
    return networks.load(Norm(run.config["channels"], eps=run.config["eps"]), run, at="", authors_key=lambda key: key)


@handles("nafnet.block")
def block(run: Run) -> Results:
    """Call it twice: in bands, and with gradients as the paper writes it, so that values inside pass by."""
    module, seen = _block(run), {}
    with torch.no_grad():
        in_bands = module(run.inputs["x"])
    for name, part in (("norm1", module.norm1), ("sca", module.attend)):
        part.register_forward_hook(lambda _module, _inputs, output, name=name: seen.update({name: output}))
    torch.testing.assert_close(module(run.inputs["x"]), in_bands, atol=1e-4, rtol=0)
    return {"y": in_bands, **seen}


@handles("mask_nafnet.block")
def masked_block(run: Run) -> Results:
    with torch.no_grad():
        return {"y": _block(run)(run.inputs["x"], Visibility(run.inputs["mask"].bool()))}


def _block(run: Run) -> Any:
    module = nafnet.Block(run.config["c"], norm_eps=1e-5)
    return networks.load(module, run, at="middle.0.", authors_key=nafnet.authors_key)


@handles("nafnet.local_pool")
def local_pool(run: Run) -> Results:
    first, train, base = run.call["prime_shape"][2:], run.config["train_size"][2:], run.config["base_size"]
    window = tuple(f * b // t for f, b, t in zip(first, base, train, strict=True))
    steps = tuple(max(1, 5 * f // t) for f, t in zip(first, train, strict=True)) if run.config["fast_imp"] else None
    x = run.inputs["x"]
    return {"y": nafnet.extend(nafnet.window_means(x, window, longest_steps=steps), x.shape[2:])}


@handles("maskdcpt.mask_sampling")
def mask_sampling(run: Run) -> Results:
    generator = torch.Generator().manual_seed(run.call["torch_seed"])
    ratio, grid = run.config["mask_ratio"], run.call["grid_hw"]
    mask = sample_mask(run.call["batch"], (grid[0], grid[1]), ratio=ratio, generator=generator)
    counts = mask.sum((1, 2, 3))
    assert (counts == counts[0]).all()
    return {"mask": mask, "visible": counts[0]}


@handles_keys("maskdcpt/keys_nafnet", "maskdcpt/keys_mask_nafnet")
def keys() -> Converter:
    return Converter(network=NAFNet(), unwrap=dict, convert=nafnet.convert, revert=nafnet.revert)


@handles_keys("maskdcpt/keys_dcpt_nafnet")
def dcpt_keys() -> Converter:
    revert = partial(nafnet.revert, release="dcpt")
    return Converter(network=NAFNet(norm_eps=1e-6), unwrap=dict, convert=nafnet.convert, revert=revert)
