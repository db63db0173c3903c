"""HOGformer: equal to a literal transcription, in pieces, in bands, with gradients and under autocast."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restorekit import hub
from restorekit.errors import ModelError, UsageError
from restorekit.models import MODELS, hogformer
from restorekit.models.hogformer import Attention, Block, FeedForward, HOGformer, Norm
from restorekit.ops import bands
from tests.helpers.plain_hogformer import PlainAttention, PlainFeedForward, PlainHOGformer

SMALL: dict[str, Any] = {"embed_dim": 8, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1, "expansion": 2.5}


def _randomise(module: nn.Module, seed: int = 0) -> None:
    """Give every parameter a value that matters; at their start some are almost zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 1
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)


def _picture(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _small(seed: int = 0, **changes: Any) -> HOGformer:
    model = HOGformer(**{**SMALL, **changes})
    _randomise(model, seed)
    return model.eval()


def _load_plain(plain: nn.Module, ours: nn.Module) -> None:
    """Hand weights of ours to the transcription; its Sobel buffers stay."""
    state = {hogformer.authors_key(key): value for key, value in ours.state_dict().items()}
    missing, unexpected = plain.load_state_dict(state, strict=False)
    assert not unexpected
    assert all("sobel" in key for key in missing)


def _patch_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut everything into bands of 8 rows."""
    monkeypatch.setattr(bands, "_BAND_BYTES", 1)


# --- equal to the transcription ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "heads", "bias", "shape", "size"),
    [
        (8, 1, False, (1, 16, 16), (8, 9)),
        (8, 2, True, (2, 13, 21), (8, 9)),
        (12, 4, False, (1, 9, 7), (8, 9)),  # 63 pixels, not divisible by 4
        (6, 3, True, (3, 1, 5), (8, 9)),  # a thin strip, smaller than a patch
        (5, 1, False, (1, 11, 8), (8, 9)),  # an odd number of channels
        (8, 2, False, (1, 12, 12), (4, 6)),  # other patches and bins
        (32, 2, False, (2, 4, 6), (8, 9)),  # more channels than pixels of a group
    ],
)
def test_attention_equals_the_transcription(
    channels: int, heads: int, bias: bool, shape: tuple[int, int, int], size: tuple[int, int]
) -> None:
    ours = Attention(channels, heads, bias=bias, patch=size[0], bins=size[1])
    _randomise(ours)
    plain = PlainAttention(dim=channels, num_heads=heads, bias=bias, patch_size=size[0], n_bins=size[1])
    _load_plain(plain, ours)
    x = _picture(shape[0], channels, *shape[1:])
    with torch.no_grad():
        torch.testing.assert_close(ours(x), plain(x), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 9, 14), (2, 1, 1), (1, 3, 1)])
def test_feed_forward_equals_the_transcription(bias: bool, shape: tuple[int, int, int]) -> None:
    ours = FeedForward(12, expansion=2.667, bias=bias)
    _randomise(ours)
    plain = PlainFeedForward(dim=12, ffn_expansion_factor=2.667, bias=bias)
    _load_plain(plain, ours)
    x = _picture(shape[0], 12, *shape[1:])
    with torch.no_grad():
        torch.testing.assert_close(ours(x), plain(x), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("norm", "theirs"), [("with_bias", "WithBias"), ("bias_free", "BiasFree")])
@pytest.mark.parametrize("bias", [False, True])
def test_network_equals_the_transcription(norm: Any, theirs: str, bias: bool) -> None:
    ours = _small(norm=norm, bias=bias)
    plain = PlainHOGformer(
        dim=8,
        num_blocks=(1, 1, 1, 1),
        num_refinement_blocks=1,
        ffn_expansion_factor=2.5,
        LayerNorm_type=theirs,
        bias=bias,
    ).eval()
    _load_plain(plain, ours)
    image = torch.rand(1, 3, 24, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(ours(image), plain(image), atol=1e-3, rtol=0)


# --- the same in bands, with gradients, dense, compiled ---------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("shape", [(1, 40, 24), (2, 37, 9)])
def test_bands_change_nothing(heads: int, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    block = Block(8, heads, expansion=2.667 * 1.5, bias=True, norm="with_bias")
    _randomise(block)
    x = _picture(shape[0], 8, *shape[1:]).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        whole = block(x)
        _patch_bands(monkeypatch)
        torch.testing.assert_close(block(x), whole, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("heads", [1, 2])
def test_recording_gradients_changes_nothing(heads: int) -> None:
    block = Block(8, heads, expansion=4, bias=False, norm="with_bias")
    _randomise(block)
    x = _picture(2, 8, 17, 16)
    with torch.no_grad():
        without = block(x)
    torch.testing.assert_close(block(x), without, atol=2e-5, rtol=1e-4)


def test_dense_convolutions_give_the_same() -> None:
    x = _picture(2, 8, 11, 9)
    change, attention = FeedForward(8, expansion=4, bias=False), Attention(8, 2, bias=False)
    _randomise(change)
    _randomise(attention)
    gated, gate = change._enter(x)
    gated_densely, gate_densely = change._enter_densely(x)
    torch.testing.assert_close(gated.reshape(gate.shape), gated_densely, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(gate, gate_densely, atol=1e-5, rtol=1e-4)
    apart = attention.qkv_dwconv(attention.qkv(x))
    dense = torch.nn.functional.conv2d(x, attention.qkv_dwconv.weight * attention.qkv.weight, padding=1)
    torch.testing.assert_close(dense, apart, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("joinable", [False, True])
def test_autocast_to_bfloat16(joinable: bool) -> None:
    """The result is finite and near, and the orders are decided in float32."""
    block = Block(16, 2, expansion=2, bias=False, norm="with_bias")
    _randomise(block)
    block.attention.joinable = block.feed_forward.joinable = joinable
    seen: list[torch.dtype] = []
    original = block.attention.order_patches, block.attention.order_pixels
    block.attention.order_patches = lambda x: (seen.append(x.dtype), original[0](x))[1]
    block.attention.order_pixels = lambda x: (seen.append(x.dtype), original[1](x))[1]
    x = _picture(2, 16, 16, 16).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = block(x)
    y.float().square().mean().backward()
    assert seen == [torch.float32, torch.float32]
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    with torch.no_grad():
        fed = block.feed_forward(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            in_bfloat16 = block.feed_forward(x)
    assert (in_bfloat16 - fed).norm() < 0.02 * fed.norm()


@pytest.mark.parametrize("heads", [1, 2])
def test_a_compiled_block_is_one_graph_and_gives_the_same(heads: int) -> None:
    block = Block(8, heads, expansion=2.5, bias=False, norm="with_bias")
    _randomise(block)
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True, dynamic=False)
    x = _picture(1, 8, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), block(x), atol=2e-5, rtol=1e-4)


def test_a_compiled_block_works_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled or not, a large picture is worked on in bands, and the loop over them is not unrolled."""
    _patch_bands(monkeypatch)
    block = Block(8, 2, expansion=2.5, bias=False, norm="with_bias")
    _randomise(block)
    compiled = torch.compile(block, backend="aot_eager", dynamic=False)
    x = _picture(1, 8, 40, 16)
    seen: list[int] = []
    block.norm.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape[2]))
    with torch.no_grad():
        result = compiled(x)
        assert seen == [40, 9, 10, 10, 10, 9]  # attention's, then five bands of the feed-forward with their halo
        torch.testing.assert_close(result, block(x), atol=2e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_block_in_compiled_code_gives_the_same() -> None:
    block = Block(8, 2, expansion=4, bias=False, norm="with_bias")
    _randomise(block)
    compiled = torch.compile(block, dynamic=False)
    x = _picture(1, 8, 16, 24)
    try:
        with torch.no_grad():
            result = compiled(x)
    except RuntimeError as error:
        if "compiler" in str(error).lower():
            pytest.skip("torch.compile needs a C++ compiler")
        raise
    with torch.no_grad():
        torch.testing.assert_close(result, block(x), atol=2e-5, rtol=1e-4)


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bias": True, "norm": "bias_free"},
        {"num_heads": (2, 2, 4, 4), "expansion": 2.0},
        {"num_blocks": (1, 2, 1, 1), "num_refinement_blocks": 2, "out_channels": 1},
    ],
)
def test_any_configuration_builds_and_learns(changes: dict[str, Any]) -> None:
    model = _small(**changes).train()
    image = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(3))
    out = model(image)
    assert out.shape == image.shape
    out.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("module", [Attention(4, 1, bias=True), Attention(4, 2, bias=False)])
def test_gradients_of_attention_are_right(module: Attention) -> None:
    _randomise(module)
    module.double()
    x = _picture(1, 4, 9, 8).double().requires_grad_()
    assert torch.autograd.gradcheck(module, (x,), eps=1e-7, atol=1e-5, nondet_tol=0.0)


def test_gradients_of_the_feed_forward_are_right() -> None:
    module = FeedForward(4, expansion=2, bias=True).double()
    _randomise(module)
    x = _picture(1, 4, 3, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(module, (x,))


# --- odd cases --------------------------------------------------------------------------------------------------------


def test_ties_keep_the_order_of_the_pixels() -> None:
    flat = torch.zeros(1, 4, 24, 24)
    order, histogram = hogformer.order_patches(flat)
    assert torch.equal(order, torch.arange(64).expand(1, 9, 64))
    assert torch.allclose(histogram[:, :, 4], torch.ones(1, 9), atol=1e-4)  # no gradient counts as one to the right
    assert torch.equal(hogformer.order_pixels(flat), torch.arange(24 * 24)[None])


def test_padding_comes_first_in_a_patch() -> None:
    order, _ = hogformer.order_patches(_picture(1, 4, 8, 5))
    outside = torch.arange(64).view(8, 8)[:, 5:].flatten()
    assert torch.equal(order[0, 0, : len(outside)], outside)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_flat_picture_is_restored_the_same_way_twice(value: float) -> None:
    model, image = _small(), torch.full((1, 3, 16, 16), value)
    with torch.no_grad():
        first, second = model(image), model(image)
    assert torch.isfinite(first).all()
    assert torch.equal(first, second)


def test_one_head_needs_no_order_of_pixels() -> None:
    def refuse(_: Tensor) -> Tensor:
        raise AssertionError("the order of pixels was asked for")

    one, two = Attention(4, 1, bias=False), Attention(4, 2, bias=False)
    one.order_pixels = two.order_pixels = refuse
    one(_picture(1, 4, 8, 8))
    with pytest.raises(AssertionError, match="was asked for"):
        two(_picture(1, 4, 8, 8))


def test_orders_can_be_imposed() -> None:
    """With orders imposed the network is continuous: a change too small to see stays too small to see."""
    attention = Attention(8, 2, bias=False)
    _randomise(attention)
    x = _picture(1, 8, 16, 16)
    patches, pixels = hogformer.order_patches(x[:, :4]), torch.arange(256)[None]
    attention.order_patches, attention.order_pixels = lambda _: patches, lambda _: pixels
    with torch.no_grad():
        torch.testing.assert_close(attention(x + 1e-6), attention(x), atol=1e-4, rtol=0)


def test_norms_do_not_need_a_spread() -> None:
    assert torch.equal(Norm("with_bias")(torch.ones(1, 4, 2, 2)), torch.zeros(1, 4, 2, 2))
    assert torch.isfinite(Norm("bias_free")(torch.ones(1, 4, 2, 2))).all()


def test_hidden_channels_must_be_a_multiple_of_four() -> None:
    with pytest.raises(UsageError, match=r"8 channels and expansion 2\.66 give 21 hidden channels; choose"):
        HOGformer(embed_dim=8, expansion=2.66)


def test_a_network_can_be_copied_and_be_double() -> None:
    model, image = _small(), torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        want = model(image)
        assert torch.equal(copy.deepcopy(model)(image), want)
        double = copy.deepcopy(model).double()(image.double())
    assert double.dtype == torch.float64


# --- variants and the authors' names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["hogformer-all-weather", "hogformer-natural"])
def test_released_variants_have_the_released_size(variant: str) -> None:
    with torch.device("meta"):
        model = MODELS.get("hogformer").build(variant)
    assert sum(p.numel() for p in model.parameters()) == 16_646_220
    block = hogformer.Block(288, 8, expansion=2.667, bias=False, norm="with_bias")
    assert sum(p.numel() for p in block.attention.parameters()) == 511_928
    assert sum(p.numel() for p in block.feed_forward.parameters()) == 670_465


@pytest.mark.parametrize("bias", [False, True])
def test_names_go_there_and_back(bias: bool) -> None:
    state = _small(bias=bias).state_dict()
    authors = hogformer.revert(state)
    assert sum("sobel" in key for key in authors) == 2 * 8  # two kernels in each of eight blocks
    back = hogformer.convert(authors)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_what_the_network_does_not_need_is_dropped() -> None:
    state = _small().state_dict()
    extra = {"cri_HOGloss.hog_layer.angles": torch.zeros(1, 9, 1, 1), "skip_conv.weight": torch.zeros(16, 8, 1, 1)}
    assert hogformer.convert({**hogformer.revert(state), **extra}).keys() == state.keys()


def test_a_kernel_that_is_not_sobel_s_is_refused() -> None:
    authors = hogformer.revert(_small().state_dict())
    authors["latent.0.attn_g_spatial.sobel_x"] *= 2
    with pytest.raises(ValueError, match=r"latent\.0\.attn_g_spatial\.sobel_x is not Sobel's kernel"):
        hogformer.convert(authors)


@pytest.fixture(scope="module")
def authors() -> dict[str, Tensor]:
    return hogformer.revert(MODELS.get("hogformer").build("hogformer-test").state_dict())


def test_unknown_and_missing_keys_are_listed(authors: dict[str, Tensor]) -> None:
    given = {**authors, "novel.weight": torch.zeros(1)}
    del given["output.weight"]
    with pytest.raises(ModelError, match=r"unknown keys \(novel\.weight\).*missing keys \(output\.weight\)"):
        hub.convert("hogformer", given, variant="hogformer-test")


def test_wrapped_weights_are_converted(authors: dict[str, Tensor]) -> None:
    wrapped = {f"net.{key}": value for key, value in authors.items()}
    ours = hub.convert("hogformer", wrapped, variant="hogformer-test")
    assert ours.keys() == MODELS.get("hogformer").build("hogformer-test").state_dict().keys()
