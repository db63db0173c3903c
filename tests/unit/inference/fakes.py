"""Networks of a few lines, each with one habit that the Restorer must cope with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from restorekit.hub import InferenceRule
from restorekit.models import SizeRule

ANY_SIZE = SizeRule()
RULE = InferenceRule(precision="fp32", channels_last=False, overlap=32, bytes_per_pixel=200.0, base_bytes=2**20)


class Identity(nn.Module):
    """Returns its input; remembers the sizes that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.append(tuple(image.shape))
        return image.clone()


class Invert(Identity):
    """1 - x: no pixel keeps its value but the one in the middle."""

    def forward(self, image: Tensor) -> Tensor:
        return 1 - super().forward(image)


class Blur(nn.Module):
    """Mean of 9x9 pixels, zero outside: wrong within 4 pixels of a border, as every convolution is."""

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(image, 9, stride=1, padding=4)


class ShiftsTone(nn.Module):
    """Adds what its own field of view lacks to a mean of 0.5: the worst that tiles can meet."""

    def forward(self, image: Tensor) -> Tensor:
        return image + (0.5 - image.mean((1, 2, 3), keepdim=True))


class Describes(nn.Module):
    """The same, but from a description of the whole picture."""

    def __init__(self) -> None:
        super().__init__()
        self.described: list[tuple[int, ...]] = []

    def describe(self, image: Tensor) -> Tensor:
        self.described.append(tuple(image.shape))
        return image.mean((2, 3))

    def restore(self, image: Tensor, description: Tensor) -> Tensor:
        return image + (0.5 - description[:, :, None, None])

    def forward(self, image: Tensor) -> Tensor:
        return self.restore(image, self.describe(image))


class NeedsMemory(nn.Module):
    """Fails beyond a number of pixels as a full card does."""

    def __init__(self, pixels: int, message: str | None = None) -> None:
        super().__init__()
        self.pixels = pixels
        self.message = message
        self.passes: list[tuple[int, ...]] = []
        self.failures = 0

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[-1] * image.shape[-2] > self.pixels:
            self.failures += 1
            if self.message is not None:
                raise RuntimeError(self.message)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        self.passes.append(tuple(image.shape))
        return 1 - image


class Overflows(nn.Module):
    """Inverts; bright pixels are too much for it in 16 bits (or always)."""

    def __init__(self, *, everywhere: bool = False) -> None:
        super().__init__()
        self.everywhere = everywhere

    def forward(self, image: Tensor) -> Tensor:
        short = self.everywhere or torch.is_autocast_enabled(image.device.type)
        return torch.where((image > 0.5) & short, float("inf"), 1 - image)
