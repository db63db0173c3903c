"""timm-unet: backbones of every kind as encoder, with hidden patches too, and refusals in plain words."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from restorekit import hub
from restorekit.errors import MissingExtraError, UsageError
from restorekit.hub.convert import WithoutDraws, recognise
from restorekit.inference import Restorer
from restorekit.models import MODELS
from restorekit.models._masking import MaskableEncoder, sample_mask
from restorekit.models.timm_unet import TimmUNet

pytest.importorskip("timm", reason="the extra 'timm' is not installed")

SMALL = {"width": 4, "widest": 8, "num_blocks": 1}
TINY = "mobilenetv3_small_050"


def _build(backbone: str, **changes: int) -> TimmUNet:
    """Build a small network; weights that are not drawn are zeros, as good as any others here."""
    torch.manual_seed(0)
    return TimmUNet(backbone=backbone, **{**SMALL, **changes}).eval()


def _picture(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("backbone", "reductions"),
    [
        ("test_resnet", (2, 4, 8, 16, 32)),
        ("test_convnext", (4, 8, 16, 32)),  # nothing at half the resolution
        ("test_vit", (16,)),  # a transformer with one resolution, which takes any size
        ("swin_tiny_patch4_window7_224", (4, 8, 16, 32)),  # channels last, windows
        ("vgg11", (1, 2, 4, 8, 16, 32)),  # a map at full resolution
    ],
)
def test_backbones_of_every_kind_are_encoders(backbone: str, reductions: tuple[int, ...]) -> None:
    with WithoutDraws():
        model = TimmUNet(backbone=backbone, **SMALL).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.nan_to_num_(0, 0, 0).clamp_(-1, 1)
    assert isinstance(model, MaskableEncoder)
    assert model.reductions == reductions
    with torch.no_grad():
        features = model.forward_features(_picture(1, 3, 64, 96))
    assert [tuple(x.shape[1:]) for x in features] == [
        (channels, 64 >> i, 96 >> i) for i, channels in enumerate(model.feature_channels)
    ]
    assert 2 ** len(features) == max(reductions)


def test_maps_deeper_than_asked_are_left_out() -> None:
    with torch.device("meta"):
        assert TimmUNet(backbone="levit_128s", **SMALL).reductions == (16, 32)  # and 64
        assert TimmUNet(backbone="test_resnet", deepest=8, **SMALL).reductions == (2, 4, 8)


def test_a_picture_comes_back_almost_as_it_was_before_training() -> None:
    image = _picture(2, 3, 32, 64)
    with torch.no_grad():
        restored = _build(TINY)(image)
    assert 0 < (restored - image).abs().mean() < 0.1


def test_hidden_pixels_do_not_matter_and_hidden_places_are_zero() -> None:
    model, image = _build(TINY, deepest=16), _picture(1, 3, 64, 64)
    mask = sample_mask(1, (4, 4), generator=torch.Generator().manual_seed(2))
    shown = mask.repeat_interleave(16, 2).repeat_interleave(16, 3)
    with torch.no_grad():
        seen = model.forward_masked(image, mask)
        other = model.forward_masked(torch.where(shown, image, 3.0), mask)
    assert torch.equal(seen.reconstruction, other.reconstruction)
    assert seen.reconstruction.shape == image.shape
    assert [x.shape[1] for x in seen.features] == list(model.feature_channels)
    for feature in seen.features:
        side = feature.shape[2] // 4
        here = mask.repeat_interleave(side, 2).repeat_interleave(side, 3)
        assert not (feature * ~here).any()
        assert (feature * here).any()


def test_everything_learns() -> None:
    model = _build(TINY).train()
    (model(_picture(2, 3, 64, 32)) - 0.5).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("size", [(1, 1), (33, 50)])
def test_any_size_through_the_restorer(size: tuple[int, int]) -> None:
    restorer = Restorer(
        _build(TINY), size=MODELS.get("timm-unet").size, rule=hub.UNMEASURED, device="cpu", precision="fp32"
    )
    picture = (255 * _picture(*size, 3)).round().byte().numpy()
    assert restorer.restore(picture).shape == picture.shape


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("resnet181", "timm has no backbone 'resnet181'; timm.list_models"),
        ("vit_small_patch14_dinov2", r"has maps reduced by \[14\], but the decoder halves"),
        ("volo_d1_224", r"timm's 'volo_d1_224' does not take pictures of 64x64 pixels \("),
        ("mixer_s16_224", r"timm's 'mixer_s16_224' (cannot be an encoder|does not take pictures of 64x64 pixels) \("),
    ],
)
def test_backbones_that_do_not_suit_are_named(backbone: str, message: str) -> None:
    with pytest.raises(UsageError, match=message), WithoutDraws(), torch.no_grad():
        TimmUNet(backbone=backbone, **SMALL).eval()(_picture(1, 3, 64, 64))


def test_sizes_that_do_not_halve_are_refused() -> None:
    with pytest.raises(UsageError, match=r"a picture of 48x64 pixels does not suit timm-unet with .*multiples of 32"):
        _build(TINY)(_picture(1, 3, 48, 64))


def test_patches_smaller_than_the_deepest_pixel_are_refused() -> None:
    mask = sample_mask(1, (4, 4), generator=torch.Generator().manual_seed(2))
    with pytest.raises(UsageError, match=r"patches of 16x16 pixels cannot be hidden from a network that reduces .* 32"):
        _build(TINY).forward_masked(_picture(1, 3, 64, 64), mask)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"timm-unet needs an optional package; .*'restorekit\[timm\]'"):
        TimmUNet()


def test_weights_of_others_are_recognised_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    state = MODELS.get("resunet").build("resunet-test").state_dict()
    assert recognise(state, name="file.pth").variant == "resunet-test"


def test_the_extra_brings_timm_and_all_brings_the_extra(repository: Path) -> None:
    extras = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    assert any(line.startswith("timm>=") for line in extras["timm"])
    assert any("timm" in line for line in extras["all"])
