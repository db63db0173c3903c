"""DWFormer: equal to a literal transcription, in pieces, with gradients, in training, compiled and under autocast."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from restorekit import hub
from restorekit.errors import ModelError, UnknownNameError, UsageError
from restorekit.inference import Restorer
from restorekit.models import MODELS, dwformer
from restorekit.models.dwformer import Block, ChannelGate, DWFormer, Stage
from restorekit.ops import bands
from tests.helpers.plain_dwformer import PlainBlock, PlainDWFormer, PlainGate

SMALL: dict[str, Any] = {"embed_dims": (4, 6, 8, 6, 4), "num_blocks": (2, 1, 2, 1, 1)}
POOLS: tuple[dwformer.GatePool, ...] = ("sum", "softmax")
AXES = {"sum": 1, "softmax": 2}

every_pool = pytest.mark.parametrize("pool", POOLS)


def _randomise(module: nn.Module, seed: int = 0) -> Any:
    """Give every parameter and statistic a value that matters, and gates that are neither open nor shut."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            if value.is_floating_point():
                fan_in = max(1, value[0].numel()) if value.ndim > 1 else 1
                value.copy_(torch.randn(value.shape, generator=generator) / fan_in**0.5)
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
            if name.endswith("squeeze.weight"):
                value.mul_(0.01)
    return module.eval()


def _picture(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _pair(pool: dwformer.GatePool = "sum", **changes: Any) -> tuple[DWFormer, PlainDWFormer]:
    """Return a network and its transcription with the same weights."""
    config = {**SMALL, **changes}
    ours = _randomise(DWFormer(**config, gate_pool=pool))
    names = {ours: authors for authors, ours in dwformer.CONFIG_MAP.items()}
    plain = PlainDWFormer(**{names[key]: value for key, value in config.items()}, softmax_axis=AXES[pool]).eval()
    plain.load_state_dict(dwformer.revert(ours.state_dict()))
    return ours, plain


def _stage(count: int = 2, pool: dwformer.GatePool = "sum") -> Stage:
    stage: Stage = _randomise(Stage(*(Block(6, mlp_ratio=3, gate_reduction=2, gate_pool=pool) for _ in range(count))))
    return stage


def _patch_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut everything into pieces of 8 lines."""
    monkeypatch.setattr(bands, "_BAND_BYTES", 1)


# --- equal to the transcription ---------------------------------------------------------------------------------------


@every_pool
@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({}, (1, 3, 12, 12)),  # the smallest: mirrored at a quarter of the size
        ({}, (3, 3, 16, 28)),
        ({"gate_reduction": 4}, (2, 3, 20, 12)),
        ({"in_channels": 1, "mlp_ratios": (1, 2, 3, 1, 2)}, (1, 1, 24, 16)),
        ({"num_blocks": (0, 1, 0, 0, 1)}, (1, 3, 12, 16)),
    ],
)
def test_network_equals_the_transcription(changes: dict[str, Any], shape: tuple[int, ...], pool: Any) -> None:
    ours, plain = _pair(pool, **changes)
    image = _picture(*shape)
    with torch.no_grad():
        want = plain(image)
        at_inference = ours(image)
    torch.testing.assert_close(at_inference, want, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(ours(image), want, atol=2e-4, rtol=1e-4)


@every_pool
def test_training_equals_the_transcription(pool: Any) -> None:
    """Result, gradients and running statistics of a step are the authors', as is an epoch with frozen norms."""
    ours = _randomise(Block(6, mlp_ratio=2, gate_reduction=2, gate_pool=pool)).double()
    plain = PlainBlock(dim=6, mlp_ratio=2, se_ratio=2, softmax_axis=AXES[pool]).double()
    plain.load_state_dict(dwformer.revert(ours.state_dict()))
    x = _picture(2, 6, 9, 11).double()
    for training in (True, False):
        results = []
        for module in (ours, plain):
            module.train(training).zero_grad()
            given = x.clone().requires_grad_()
            y = module(given)
            y.square().sum().backward()
            assert given.grad is not None
            results.append((y.detach(), given.grad))
        torch.testing.assert_close(results[0], results[1])
        gradients = {dwformer.authors_key(name): value.grad for name, value in ours.named_parameters()}
        torch.testing.assert_close(gradients, {name: value.grad for name, value in plain.named_parameters()})
        torch.testing.assert_close(dwformer.revert(ours.state_dict()), dict(plain.state_dict()))


@every_pool
@pytest.mark.parametrize("reduction", [1, 3])
def test_gate_equals_the_transcription(pool: Any, reduction: int) -> None:
    ours = _randomise(ChannelGate(7, reduction=reduction, pool=pool))
    plain = PlainGate(dim=7, ratio=reduction, softmax_axis=AXES[pool])
    plain.load_state_dict(dwformer.revert(ours.state_dict()))
    x = _picture(2, 7, 5, 3)
    torch.testing.assert_close(ours(x), plain(x))


# --- the same in pieces, whatever comes in ----------------------------------------------------------------------------


@every_pool
@pytest.mark.parametrize("shape", [(1, 6, 40, 24), (2, 6, 17, 5), (3, 6, 9, 3)])
def test_pieces_change_nothing(shape: tuple[int, ...], pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, x = _stage(pool=pool), _picture(*shape)
    want = stage(x)  # with gradients: block by block
    with torch.no_grad():
        torch.testing.assert_close(stage(x), want, atol=1e-4, rtol=1e-4)
        _patch_bands(monkeypatch)
        torch.testing.assert_close(stage(x), want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 3, 52, 12), (2, 3, 36, 20)])
def test_a_network_in_pieces_gives_the_same(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    ours, plain = _pair()
    image = _picture(*shape)
    _patch_bands(monkeypatch)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), plain(image), atol=2e-4, rtol=1e-4)


def test_small_pictures_share_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    x = _picture(5, 6, 8, 8)
    monkeypatch.setattr(bands, "_BAND_BYTES", 2 * 8 * 8 * 18 * 4)
    with torch.no_grad():
        pieces = dwformer._cut(x, 18)
    assert [p.pictures for p in pieces] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    stage = _stage()
    want = stage(x)
    with torch.no_grad():
        torch.testing.assert_close(stage(x), want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_any_layout_goes_in_and_stays_as_it_was(layout: torch.memory_format) -> None:
    stage, x = _stage(), _picture(2, 6, 9, 7).contiguous(memory_format=layout)
    given, want = x.clone(), stage(x)
    with torch.no_grad():
        torch.testing.assert_close(stage(x), want, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(stage(x[:, :, 1:-1, 2:]), stage(x[:, :, 1:-1, 2:].clone()))
    assert torch.equal(x, given)


def test_new_weights_count_at_once() -> None:
    """Nothing of an earlier call is kept, however the weights were changed."""
    stage, x = _stage(), _picture(1, 6, 8, 8)
    with torch.no_grad():
        stage(x)
        for parameter in stage.parameters():
            parameter.data.mul_(0.7)
        for module in stage.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
        torch.testing.assert_close(stage(x), nn.Sequential(*stage)(x), atol=1e-4, rtol=1e-4)


def test_training_mode_without_gradients_uses_the_statistics_of_the_batch() -> None:
    stage, x = _stage(1).train(), _picture(2, 6, 8, 8)
    before = copy.deepcopy(stage.state_dict())
    with torch.no_grad():
        y = stage(x)
    assert not torch.equal(stage.state_dict()["0.norm1.running_mean"], before["0.norm1.running_mean"])
    stage.load_state_dict(before)
    torch.testing.assert_close(stage(x), y)


def test_a_network_can_be_copied_and_be_double() -> None:
    ours, _ = _pair()
    image = _picture(1, 3, 12, 16)
    with torch.no_grad():
        want = ours(image)
        assert torch.equal(copy.deepcopy(ours)(image), want)
        double = copy.deepcopy(ours).double()(image.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), want, atol=2e-4, rtol=1e-4)


def test_a_compiled_stage_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces stay pieces: the compiler does not unroll them."""
    _patch_bands(monkeypatch)
    stage, x = _stage(), _picture(1, 6, 40, 16)
    compiled = torch.compile(stage, backend="aot_eager", dynamic=False)
    seen: list[int] = []
    original = dwformer._filter
    monkeypatch.setattr(dwformer, "_filter", lambda *given: (seen.append(given[1].shape[1]), original(*given))[1])
    with torch.no_grad():
        result = compiled(x)
        assert seen == [12] * 5 * 2  # five pieces of eight lines with their halo, in two blocks
        torch.testing.assert_close(result, stage(x))


# --- 16 bits ----------------------------------------------------------------------------------------------------------


@every_pool
def test_autocast_to_bfloat16(pool: Any) -> None:
    ours, plain = _pair(pool)
    image = _picture(2, 3, 16, 20)
    with torch.no_grad():
        want = ours(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            in_bfloat16, theirs = ours(image).float(), plain(image).float()
    assert (in_bfloat16 - want).norm() < 1.5 * (theirs - want).norm() + 1e-3 * want.norm()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours(image).float().square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in ours.parameters())


def test_sums_beyond_sixteen_bits_are_right() -> None:
    """What float16 cannot hold (65504) is summed in float32."""
    gate = _randomise(ChannelGate(2))
    bright = torch.full((1, 1000, 2), 100.0)
    pooled, _ = gate.pool_piece(bright.half())
    assert torch.equal(pooled, torch.full((1, 2), 100_000.0))
    picture = bright.transpose(1, 2).reshape(1, 2, 40, 25)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(gate.gate(picture.bfloat16()), gate.join([gate.pool_piece(bright)], 1))


# --- what the gate sees -----------------------------------------------------------------------------------------------


def test_a_sum_grows_with_the_picture_and_a_softmax_does_not() -> None:
    x = _picture(1, 5, 4, 6)
    twice = torch.cat([x, x], 3)
    for pool, same in (("sum", False), ("softmax", True)):
        gate = _randomise(ChannelGate(5, pool=pool))  # type: ignore[arg-type]
        assert torch.allclose(gate.gate(x), gate.gate(twice), rtol=1e-5) is same


def test_the_projection_of_a_sum_does_nothing_and_learns_nothing() -> None:
    ours, _ = _pair()
    image = _picture(1, 3, 12, 12)
    before = ours(image)
    before.square().sum().backward()
    idle = {name: p for name, p in ours.named_parameters() if ".gate.spatial." in name}
    assert len(idle) == 2 * sum(SMALL["num_blocks"])
    assert all(p.grad is not None and not p.grad.any() for p in idle.values())
    with torch.no_grad():
        for parameter in idle.values():
            parameter.add_(1)
    torch.testing.assert_close(ours(image), before)


# --- sizes, variants, start values, names -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 16), (12, 14), (13, 12)])
def test_sizes_that_do_not_fit_are_refused(size: tuple[int, int]) -> None:
    ours, _ = _pair()
    with torch.no_grad(), pytest.raises(UsageError, match=r"multiples of 4 and at least 12, got .*; a Restorer pads"):
        ours(_picture(1, 3, *size))


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (13, 5), (21, 18)])
@every_pool
def test_a_restorer_takes_every_size(size: tuple[int, int], pool: Any) -> None:
    model = MODELS.get("dwformer").build("dwformer-test", gate_pool=pool)
    restorer = Restorer(model, size=MODELS.get("dwformer").size, rule=hub.UNMEASURED, device="cpu")
    restored = restorer.restore(np.full((*size, 3), 0.5, np.float32))
    assert restored.shape == (*size, 3)
    assert np.isfinite(restored).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_blocks": (1, 1, 1, 1)}, r"five stages, but num_blocks has 4 numbers; give five"),
        ({"embed_dims": (4, 6, 8, 8, 4)}, r"the last two of embed_dims \(4, 6, 8, 8, 4\) must be the second and"),
        ({"gate_reduction": 5}, r"gate_reduction 5 leaves no hidden channel of 4; lower it"),
    ],
)
def test_configurations_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DWFormer(**{**SMALL, **changes})


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown gate_pool 'softmaxx'; did you mean softmax\?"):
        DWFormer(**SMALL, gate_pool="softmaxx")  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", ["dwformer", "dwformer-softmax"])
def test_variants_have_the_released_size(variant: str) -> None:
    with torch.device("meta"):
        model = MODELS.get("dwformer").build(variant)
    assert sum(p.numel() for p in model.parameters()) == 1_447_047
    assert len(model.state_dict()) == 880


def test_start_values_have_the_released_spread() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = Block(96, mlp_ratio=4)
    spreads = {"project_in": 0.0247, "filter": 0.0070, "gate.squeeze": 0.0246, "widen": 0.0157, "narrow": 0.0157}
    for name, spread in spreads.items():
        layer = block.get_submodule(name)
        assert layer.weight.std().item() == pytest.approx(spread, rel=0.05)
        assert getattr(layer, "bias", None) is None or not layer.bias.any()


def test_an_authors_checkpoint_converts_both_ways() -> None:
    state = MODELS.get("dwformer").build("dwformer-test").state_dict()
    authors = {f"module.{key}": value for key, value in dwformer.revert(state).items()}
    assert {"module.block1.blocks.1.inter.4.mlp.0.weight", "module.fuse1.0.bias", "module.out.bias"} <= authors.keys()
    back = hub.convert("dwformer", authors, variant="dwformer-test")
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], value) for key, value in state.items())
    del authors["module.out.bias"]
    with pytest.raises(ModelError, match=r"output\.bias"):
        hub.convert("dwformer", authors, variant="dwformer-test")
