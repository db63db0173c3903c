"""What DORNet uses in training only: the degradation regulariser and the contrastive loss.

The paper means it so: the network restores a depth map, the regulariser degrades it again with kernels made from the
vector of degradations, and what comes out should be the input; so the vector learns what was wrong with the input.

In the authors' code no gradient flows through the kernels and the restored depth, and the features of the two depth
maps that the contrastive loss compares with are constants; so nothing of this reaches the network, which is trained by
its reconstruction alone. That is the default here, too (``detach=True``): the released weights came from it.
``detach=False`` is the method as the paper describes it; then each sample of a batch gets kernels of its own, as well
(theirs mixes them up where the samples of a batch choose different ones).

Paper, authors' code and licence: see ``restorekit.models.dornet``. VGG-19: Simonyan, Zisserman, ICLR 2015 (arXiv
1409.1556).

Shapes: B depth maps, C = ``width``, E = 4 kernel generators, of which K = 3 are chosen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit.errors import UsageError
from restorekit.models._spec import StateDict
from restorekit.models.dornet import MODULE_MAP, DORNet, EncoderBlock, rename

__all__ = [
    "ContrastiveLoss",
    "DORNetTraining",
    "DegradationRegulariser",
    "Routing",
    "VGG19Features",
    "convert_training",
    "revert_training",
]

KERNEL_SIDES = (3, 5, 7, 9)
_CHOSEN = 3
_BALANCE = 0.02  # weight of the routing loss


@dataclass(frozen=True, kw_only=True)
class Routing:
    """Which kernels the samples of a batch get.

    Attributes:
        gates: Share of each generator, ``(B, E)``; zero for the one that is not chosen.
        order: The chosen generators of each sample, best first, ``(B, K)``.
        load: Samples that each generator gets, ``(E,)``: whole numbers in evaluation, expected ones in training.
        loss: How unevenly the generators are used, scaled as it enters the total loss.
    """

    gates: Tensor
    order: Tensor
    load: Tensor
    loss: Tensor


class KernelRouter(nn.Module):
    """Choose three of four kernel generators for each sample, with noise in training (Shazeer et al., ICLR 2017)."""

    mean: Tensor
    std: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(4 * width, len(KERNEL_SIDES)))
        self.noise = nn.Parameter(torch.zeros(4 * width, len(KERNEL_SIDES)))
        self.generators = nn.ModuleList(
            nn.Sequential(nn.Linear(4 * width, width), nn.LeakyReLU(0.1), nn.Linear(width, side * side))
            for side in KERNEL_SIDES
        )
        # parameters of a normal distribution, never anything else; they stand in the authors' files
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("std", torch.ones(1))

    def forward(self, looks: Tensor, noise: Tensor | None = None) -> Routing:
        """Choose.

        Args:
            looks: ``(B, 4 C)``.
            noise: Standard normal, ``(B, E)``; needed in training, without effect in evaluation.

        Raises:
            UsageError: It is training, and there is no noise.
        """
        clean = looks @ self.gate
        if not self.training:
            gates, order = self._choose(clean)
            load = (gates > 0).sum(0)
            return Routing(gates=gates, order=order, load=load, loss=self._loss(gates, load.to(gates.dtype)))
        if noise is None:
            raise UsageError(f"in training the router needs noise: standard normal numbers {tuple(clean.shape)}")
        deviation = F.softplus(looks @ self.noise) + 0.01
        logits = clean + deviation * noise
        gates, order = self._choose(logits)
        best = logits.topk(_CHOSEN + 1).values
        inside = logits > best[:, _CHOSEN:]
        # how likely each would be chosen if its own noise were drawn again
        threshold = torch.where(inside, best[:, _CHOSEN:], best[:, _CHOSEN - 1 : _CHOSEN])
        load = self._likely((clean - threshold) / deviation).sum(0)
        return Routing(gates=gates, order=order, load=load, loss=self._loss(gates, load))

    def _choose(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        best, order = logits.topk(_CHOSEN)
        return torch.zeros_like(logits).scatter(1, order, best.softmax(1)), order

    def _likely(self, z: Tensor) -> Tensor:
        return 0.5 * (1 + torch.erf((z - self.mean) / (self.std * math.sqrt(2))))

    @staticmethod
    def _loss(gates: Tensor, load: Tensor) -> Tensor:
        return _BALANCE * sum(
            (v.var() / (v.mean() ** 2 + 1e-10) for v in (gates.sum(0), load)), start=gates.new_zeros(())
        )


class DegradationRegulariser(nn.Module):
    """Degrade a restored depth map again, as the vector of degradations says (the authors' ``Dab``).

    Args:
        width: C of the network.
        detach: No gradient through kernels and restored depth, and the authors' mixing of kernels, as released.
    """

    def __init__(self, *, width: int, detach: bool = True) -> None:
        super().__init__()
        self.detach = detach
        self.look = EncoderBlock(1, width)
        self.describe = nn.Linear(width, 4 * width)
        self.router = KernelRouter(width)
        self.branches = nn.ModuleList(nn.Conv2d(1, 1, 1) for _ in range(_CHOSEN))
        self.merge = nn.Conv2d(1, 1, 1)

    def forward(
        self, depth: Tensor, restored: Tensor, vector: Tensor, *, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Degrade again.

        Args:
            depth: The degraded depth, enlarged, ``(B, 1, H, W)``; H and W at least 8.
            restored: The restored depth, ``(B, 1, H, W)``.
            vector: Its degradations, ``(B, 4 C)``.
            noise: See ``KernelRouter``.

        Returns:
            The restored depth degraded, ``(B, 1, H, W)``, and the routing loss.

        Raises:
            UsageError: A depth map is smaller than 8x8, or it is training and there is no noise.
        """
        routing = self.router(self.looks(depth), noise)
        filtered = [self.filter(restored, kernels) for kernels in self.kernels(routing, vector)]
        branches = (branch(F.leaky_relu(x, 0.1)) for branch, x in zip(self.branches, filtered, strict=True))
        return self.merge(torch.stack(list(branches)).sum(0)), routing.loss

    def looks(self, depth: Tensor) -> Tensor:
        """Return what the router looks at, ``(B, 4 C)``."""
        if min(depth.shape[2:]) < 8:
            raise UsageError(
                f"the regulariser looks at an eighth of a depth map, and {depth.shape[3]}x{depth.shape[2]} pixels have "
                "none; give patches of at least 8x8"
            )
        small = F.interpolate(depth, scale_factor=0.125, mode="bicubic", align_corners=True)
        seen = self.look(small)
        return self.describe(seen.amax((2, 3)) + seen.mean((2, 3)))

    def kernels(self, routing: Routing, vector: Tensor) -> list[Tensor]:
        """Return the kernels of each branch, smallest first.

        Args:
            routing: What was chosen.
            vector: ``(B, 4 C)``.

        Returns:
            K times ``(B, side^2)``. As released, a branch has one side for all samples; without ``detach`` every sample
            has what it chose, all in the middle of the largest square.
        """
        if not self.detach:
            return self._own_kernels(routing, vector)
        with torch.no_grad():
            chosen = routing.order.new_zeros(routing.gates.shape).scatter(1, routing.order, 1)
            # pairs of generator and sample, by generator; handed out in equal shares to those that sample 0 chose
            shares = chosen.t().nonzero()[:, 1].chunk(_CHOSEN)
            generators = routing.order[0].sort().values.tolist()
            return [self.router.generators[g](vector[own]) for g, own in zip(generators, shares, strict=True)]

    def _own_kernels(self, routing: Routing, vector: Tensor) -> list[Tensor]:
        """Return the kernels that each sample chose for itself."""
        largest = KERNEL_SIDES[-1]
        every = []
        for generator, side in zip(self.router.generators, KERNEL_SIDES, strict=True):
            rim = (largest - side) // 2
            every.append(F.pad(generator(vector).view(-1, side, side), (rim, rim, rim, rim)).flatten(1))
        stacked = torch.stack(every, 1)  # (B, E, 81)
        order = routing.order.sort(1).values
        return [stacked[torch.arange(len(order)), order[:, k]] for k in range(_CHOSEN)]

    def filter(self, restored: Tensor, kernels: Tensor) -> Tensor:
        """Correlate each sample of ``(B, 1, H, W)`` with its kernel of ``(B, side^2)``."""
        side = math.isqrt(kernels.shape[1])
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detach):
            weight = kernels.view(-1, 1, side, side)
            return F.conv2d(restored.transpose(0, 1), weight, padding=side // 2, groups=len(kernels)).transpose(0, 1)


class DORNetTraining(nn.Module):
    """The network with its regulariser, as it is trained.

    Args:
        width: C.
        reduction: See ``DORNet``.
        detach: See ``DegradationRegulariser``.
    """

    def __init__(self, *, width: int = 64, reduction: int = 16, detach: bool = True) -> None:
        super().__init__()
        self.network = DORNet(width=width, reduction=reduction)
        self.regulariser = DegradationRegulariser(width=width, detach=detach)

    def forward(self, depth: Tensor, guide: Tensor, *, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Restore and degrade again.

        Args:
            depth: ``(B, 1, H, W)``; H and W at least 8.
            guide: ``(B, 3, H, W)``.
            noise: See ``KernelRouter``.

        Returns:
            The restored depth, what it is degraded again (both ``(B, 1, H, W)``), and the routing loss.
        """
        restored, vector = self.network.restore(depth, guide)
        degraded, loss = self.regulariser(depth, restored, vector, noise=noise)
        return restored, degraded, loss


# --- contrastive loss -------------------------------------------------------------------------------------------------

_VGG_STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels and convolutions


class VGG19Features(nn.Sequential):
    """The convolutions of VGG-19, numbered as torchvision numbers ``vgg19().features``.

    Args:
        depth: How many layers (convolutions, activations, poolings) are built.
    """

    def __init__(self, depth: int = 37) -> None:
        layers: list[nn.Module] = []
        before = 3
        for channels, count in _VGG_STAGES:
            for _ in range(count):
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
                before = channels
            layers.append(nn.MaxPool2d(2))
        super().__init__(*layers[:depth])

    def stages(self, image: Tensor, taken: tuple[int, ...]) -> list[Tensor]:
        """Return what comes out of some layers, in ascending order, for ``(B, 3, H, W)``."""
        found = []
        for number, layer in enumerate(self):
            image = layer(image)
            if number in taken:
                found.append(image)
        return found


class ContrastiveLoss(nn.Module):
    """Draw an anchor towards a positive and away from a negative, in the features of VGG-19.

    The sum over layers of ``weight * |anchor - positive| / (|anchor - negative| + eps)``, means of absolute
    differences. Depth is repeated to three channels and not normalised, as released.

    Args:
        layers: Layers of VGG-19 that are compared, ascending.
        weights: One for each.
        eps: Added to the denominator.
        divide: Whether there is a denominator.
    """

    def __init__(
        self,
        *,
        layers: tuple[int, ...] = (1, 6, 11, 20, 29),
        weights: tuple[float, ...] = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0),
        eps: float = 1e-7,
        divide: bool = True,
    ) -> None:
        super().__init__()
        if len(layers) != len(weights):
            raise UsageError(f"one weight for each layer: got {len(layers)} layers and {len(weights)} weights")
        self.layers, self.weights, self.eps, self.divide = layers, weights, eps, divide
        self.features = VGG19Features(max(layers) + 1).requires_grad_(False)

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Return the loss of three ``(B, 1, H, W)``; only the anchor receives a gradient."""
        near, far = self.distances(anchor, positive, negative)
        ratios = near / (far + self.eps) if self.divide else near
        return (ratios * ratios.new_tensor(self.weights)).sum()

    def distances(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distances of anchor and positive and of anchor and negative, ``(layers,)`` each."""
        seen = self.stages(anchor)
        with torch.no_grad():
            others = [self.stages(depth) for depth in (positive, negative)]
        near, far = (torch.stack([(a - b).abs().mean() for a, b in zip(seen, other, strict=True)]) for other in others)
        return near, far

    def stages(self, depth: Tensor) -> list[Tensor]:
        """Return the features of ``(B, 1, H, W)`` at each layer."""
        return self.features.stages(depth.expand(-1, 3, -1, -1), self.layers)


# --- the authors' names -----------------------------------------------------------------------------------------------

_BLOCK = {
    theirs.removeprefix("Enc.E_pre.0."): ours.removeprefix("encoder.block1.")
    for theirs, ours in MODULE_MAP.items()
    if theirs.startswith("Enc.E_pre.0.")
}
REGULARISER_MAP: dict[str, str] = {
    **{f"Dab.c1.{theirs}": f"regulariser.look.{ours}" for theirs, ours in _BLOCK.items()},
    "Dab.fc1": "regulariser.describe",
    **{f"Dab.dab_list.{k}.conv": f"regulariser.branches.{k}" for k in range(_CHOSEN)},
    "Dab.conv": "regulariser.merge",
    **{
        f"Dab.DecoderMoE.experts.{e}.mlp.{layer}": f"regulariser.router.generators.{e}.{layer}"
        for e in range(len(KERNEL_SIDES))
        for layer in (0, 2)
    },
}
"""Authors' module of the regulariser -> ours."""

_ROUTER = {
    "Dab.DecoderMoE.w_gate": "regulariser.router.gate",
    "Dab.DecoderMoE.w_noise": "regulariser.router.noise",
    "Dab.DecoderMoE.mean": "regulariser.router.mean",
    "Dab.DecoderMoE.std": "regulariser.router.std",
}


def _modules() -> Mapping[str, str]:
    return {**{theirs: f"network.{ours}" for theirs, ours in MODULE_MAP.items()}, **REGULARISER_MAP}


def convert_training(authors: StateDict) -> StateDict:
    """Rename the authors' state dict of network and regulariser to that of ``DORNetTraining``."""
    named = {_ROUTER.get(key, key): value for key, value in authors.items()}
    return rename(named, _modules())


def revert_training(ours: StateDict) -> StateDict:
    """Rename the state dict of ``DORNetTraining`` to the authors'; the inverse of ``convert_training``."""
    back = rename(ours, {mine: theirs for theirs, mine in _modules().items()})
    router = {mine: theirs for theirs, mine in _ROUTER.items()}
    return {router.get(key, key): value for key, value in back.items()}
