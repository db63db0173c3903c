"""DORNet: the fast way against the plain one, gradients, the parts that train it, and the authors' files."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit.errors import UsageError
from restorekit.hub import convert, load
from restorekit.models import dornet
from restorekit.models._dornet_training import (
    ContrastiveLoss,
    DegradationRegulariser,
    DORNetTraining,
    KernelRouter,
    convert_training,
    revert_training,
)
from restorekit.models.dornet import DORNet
from tests.helpers.shared import shared_folder

SMALL = {"width": 8, "reduction": 4}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


def trained(network: nn.Module) -> nn.Module:
    """Give a network places to look at and statistics, as training would."""
    for module in network.modules():
        if isinstance(module, dornet.DeformableConv):
            nn.init.normal_(module.shift.weight, std=0.1)
            nn.init.normal_(module.shift.bias, std=2)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, std=0.2)
    return network.eval()


def pair(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    return torch.rand(batch, 1, height, width), torch.rand(batch, 3, height, width)


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SMALL, {"width": 24, "reduction": 4}], ids=["small", "tiny"])
@pytest.mark.parametrize(
    ("height", "width", "batch"), [(1, 1, 1), (1, 9, 2), (7, 1, 1), (3, 50, 1), (33, 47, 1), (40, 24, 3)]
)
def test_the_fast_way_gives_what_the_plain_one_gives(
    config: dict[str, int], height: int, width: int, batch: int
) -> None:
    network = trained(DORNet(**config))
    depth, guide = pair(height, width, batch)
    plain = network(depth, guide).detach()
    with torch.no_grad():
        fast = network(depth, guide)
    assert fast.shape == depth.shape
    assert (fast - plain).abs().max() <= 2e-6 * max(1.0, plain.abs().max().item())


def test_many_bands_and_channels_last_inputs_change_nothing() -> None:
    network = trained(DORNet(**SMALL)).double()
    depth, guide = (value.double() for value in pair(30, 500))
    plain = network(depth, guide).detach()
    with torch.inference_mode():
        fast = network(*(value.contiguous(memory_format=torch.channels_last) for value in (depth, guide)))
    assert torch.allclose(fast, plain, atol=1e-12)


def test_without_gradients_columns_of_a_large_picture_come_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    deform = trained(nn.Sequential(dornet.DeformableConv(8)))[0]
    x, places, vector = torch.randn(2, 8, 20, 30), torch.randn(2, 8, 20, 30), torch.randn(2, 32, 1, 1)
    whole = deform(x, places, vector).detach()
    monkeypatch.setattr(dornet, "_COLUMN_VALUES", 9 * 2 * 8 * 30 * 3)
    with torch.no_grad():
        assert torch.allclose(deform(x, places, vector), whole, atol=1e-5)


def test_samples_of_a_batch_are_restored_by_themselves() -> None:
    network = trained(DORNet(**SMALL))
    depth, guide = pair(20, 28, 3)
    depth = depth * torch.tensor([0.1, 1, 5]).view(3, 1, 1, 1)
    with torch.no_grad():
        together = network(depth, guide)
        alone = torch.cat([network(d[None], g[None]) for d, g in zip(depth, guide, strict=True)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_autocast_takes_the_plain_way_and_stays_near() -> None:
    network = trained(DORNet(**SMALL))
    depth, guide = pair(24, 32)
    with torch.no_grad():
        exact = network(depth, guide)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network(depth, guide)
    assert (half.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_gradients_reach_both_inputs_and_every_parameter() -> None:
    network = trained(DORNet(width=16, reduction=1)).train()  # with few hidden channels all of them may be off
    depth, guide = (value.requires_grad_() for value in pair(16, 16, 2))
    network(depth, guide).square().mean().backward()
    for value in (depth, guide, *network.parameters()):
        assert value.grad is not None
        assert value.grad.abs().max() > 0


def test_a_fresh_network_looks_at_the_usual_places() -> None:
    for transfer in DORNet(**SMALL).transfers:
        assert (transfer.deform.shift.weight == 0).all()
        assert (transfer.deform.shift.bias == 0).all()
        assert transfer.deform.weight.abs().max() <= 1 / (9 * 8) ** 0.5


@pytest.mark.parametrize(
    "config", [{"width": 6}, {"width": 0}, {"width": 8, "reduction": 9}, {"reduction": 0}], ids=str
)
def test_a_configuration_that_cannot_be_built_is_refused(config: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="dornet: width is a multiple of 4 and reduction between 1 and width, got"):
        DORNet(**config)


# --- the authors' files -----------------------------------------------------------------------------------------------


def test_what_they_use_in_training_only_is_dropped() -> None:
    whole = revert_training(DORNetTraining(**SMALL).state_dict())
    wanted = {key: value for key, value in whole.items() if not key.startswith("Dab.")}
    ours = dornet.convert({**whole, "CLLoss.vgg.0.weight": torch.zeros(1)})
    DORNet(**SMALL).load_state_dict(ours, strict=True)
    assert dornet.revert(ours).keys() == wanted.keys()
    distributed = {f"srn.{key}" if key in wanted else key: value for key, value in whole.items()}
    assert dornet.convert(distributed).keys() == ours.keys()


def test_keys_that_are_not_known_keep_their_names() -> None:
    assert dornet.convert({"R.dgm9.fb.conv1.weight": torch.zeros(1)}).keys() == {"R.dgm9.fb.conv1.weight"}


@pytest.mark.shared
@pytest.mark.parametrize("file", ["NYU_T_X4", "RGBDD_T", "TOFDSR_Noisy_T"])
def test_the_authors_files_are_recognised_by_their_hash_and_converted(file: str) -> None:
    path = shared_folder() / "weights" / "dornet" / f"{file}.pth"
    loaded = load(path)
    assert (loaded.spec.name, loaded.variant) == ("dornet", "dornet-t")
    assert loaded.card is not None
    assert loaded.card.source_file == path.name
    state = torch.load(path, map_location="cpu", weights_only=True)
    assert convert("dornet", state).keys() == loaded.model.state_dict().keys()


# --- training only ----------------------------------------------------------------------------------------------------


def noise(batch: int) -> Tensor:
    return torch.randn(batch, 4)


def test_as_released_nothing_of_the_regulariser_reaches_the_network() -> None:
    whole = trained(DORNetTraining(**SMALL)).train()
    depth, guide = pair(32, 40, 2)
    _, degraded, routing = whole(depth, guide, noise=noise(2))
    (F.l1_loss(degraded, depth) + routing).backward()
    assert all(parameter.grad is None for parameter in whole.network.parameters())
    assert all(parameter.grad is None for parameter in whole.regulariser.router.generators.parameters())
    assert whole.regulariser.merge.weight.grad is not None


def test_as_described_it_reaches_the_encoder_and_the_generators() -> None:
    whole = trained(DORNetTraining(**SMALL, detach=False)).train()
    nn.init.normal_(whole.regulariser.router.gate)  # else all samples choose the same
    depth, guide = pair(32, 40, 3)
    _, degraded, _ = whole(depth, guide, noise=noise(3))
    F.l1_loss(degraded, depth).backward()
    assert whole.network.encoder.conv2.weight.grad.abs().max() > 0
    assert whole.network.tail.weight.grad.abs().max() > 0
    assert all(g[0].weight.grad is not None for g in whole.regulariser.router.generators)


def test_both_agree_on_one_sample() -> None:
    released = trained(DegradationRegulariser(width=8))
    described = trained(DegradationRegulariser(width=8, detach=False))
    described.load_state_dict(released.state_dict())
    depth, restored, vector = torch.rand(1, 1, 24, 32), torch.rand(1, 1, 24, 32), torch.randn(1, 32)
    for ours, theirs in zip(described(depth, restored, vector), released(depth, restored, vector), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_each_sample_has_its_own_kernels_where_they_are_not_mixed() -> None:
    module = trained(DegradationRegulariser(width=8, detach=False))
    nn.init.normal_(module.router.gate, std=5)
    depth = torch.rand(4, 1, 24, 24) * torch.tensor([0.1, 1, 4, 9]).view(4, 1, 1, 1)
    restored, vector = torch.rand(4, 1, 24, 24), torch.randn(4, 32)
    together, _ = module(depth, restored, vector)
    alone = torch.cat([module(depth[i : i + 1], restored[i : i + 1], vector[i : i + 1])[0] for i in range(4)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_gates_that_vanish_do_no_harm() -> None:
    module = trained(DegradationRegulariser(width=8))
    with torch.no_grad():
        module.router.gate.copy_(1e4 * torch.randn_like(module.router.gate))
    degraded, _ = module(torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16), torch.randn(2, 32))
    assert torch.isfinite(degraded).all()


def test_the_router_chooses_three_and_shares_add_up_to_one() -> None:
    router = KernelRouter(8).eval()
    nn.init.normal_(router.gate)
    routing = router(torch.randn(5, 32))
    assert ((routing.gates > 0).sum(1) == 3).all()
    assert torch.allclose(routing.gates.sum(1), torch.ones(5))
    assert routing.load.sum() == 15
    assert (routing.gates.gather(1, routing.order).diff(dim=1) <= 0).all()


def test_training_without_noise_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the router needs noise: standard normal numbers \(2, 4\)"):
        KernelRouter(8).train()(torch.randn(2, 32))


def test_a_patch_without_an_eighth_is_refused() -> None:
    module = DegradationRegulariser(width=8).eval()
    with pytest.raises(UsageError, match="30x7 pixels have none; give patches of at least 8x8"):
        module(torch.rand(1, 1, 7, 30), torch.rand(1, 1, 7, 30), torch.randn(1, 32))


def test_training_keys_come_back() -> None:
    state = DORNetTraining(**SMALL).state_dict()
    back = convert_training(revert_training(state))
    assert back.keys() == state.keys()


def test_the_contrastive_loss_is_small_near_the_positive() -> None:
    loss = ContrastiveLoss(layers=(1, 6), weights=(0.5, 1.0))
    near, far = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)
    assert loss(near, near, far).item() == 0
    assert loss(near + 0.01, near, far) < loss(far + 0.01, near, far)
    without = ContrastiveLoss(layers=(1, 6), weights=(0.5, 1.0), divide=False)
    without.load_state_dict(loss.state_dict())
    distances, _ = loss.distances(far, near, far)
    assert without(far, near, far).item() == pytest.approx((distances * torch.tensor([0.5, 1])).sum().item())


def test_layers_and_weights_of_the_contrastive_loss_belong_together() -> None:
    with pytest.raises(UsageError, match="got 2 layers and 1 weights"):
        ContrastiveLoss(layers=(1, 6), weights=(1.0,))
