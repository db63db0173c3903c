"""One network on one device: padding, precision, orientation, and what to do when it overflows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from restorekit.errors import ModelError
from restorekit.inference.device import Precision, dtype_of
from restorekit.models import DescribesPicture, SizeRule
from restorekit.ops.pad import crop_to, pad_to

__all__ = ["Engine", "Tally"]

_COMPILER = ("torch._dynamo", "torch._inductor")  # where the errors of torch.compile itself are defined


@dataclass
class Tally:
    """What happened while one call was served.

    Attributes:
        passes: Forward passes of the network.
        overflows: Passes that were repeated in fp32 because 16 bits were not enough.
        halvings: How often the tile was halved because the memory was not enough.
        uncompiled: Why the compiled network could not be used.
    """

    passes: int = 0
    overflows: int = 0
    halvings: int = 0
    uncompiled: str | None = None


class Engine:
    """A network, ready to take any size.

    Args:
        model: Restores ``(B, 3, H, W)``, possibly enlarged; moved to the device and put into evaluation mode.
        size: Sizes that it takes.
        scale: How many times larger than the picture its answer is.
        device: Where it runs.
        precision: In which precision.
        channels_last: Keep colours together in memory.
        ensemble: Average over the eight orientations of a picture.
        compile: Use ``torch.compile``.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        size: SizeRule,
        scale: int = 1,
        device: torch.device,
        precision: Precision,
        channels_last: bool,
        ensemble: bool,
        compile: bool,
    ) -> None:
        self.model = model.eval().to(device)
        self.size = size
        self.scale = scale
        self.device = device
        self.precision = precision
        self.ensemble = ensemble
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        if channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.compiles = compile
        self._any_size = True
        self._compiled: Callable[..., Tensor] | None = None

    def __getstate__(self) -> dict[str, object]:
        """Leave out the compiled network, which cannot be pickled; it is compiled again when needed."""
        return {**self.__dict__, "_compiled": None}

    def describe(self, pictures: Iterable[Callable[[], Tensor]]) -> Tensor | None:
        """Describe whole pictures, one by one: what a picture is told does not depend on its neighbours in a batch.

        Args:
            pictures: Each returns a picture ``(1, 3, H, W)`` in [0, 1], possibly a reduced copy.

        Returns:
            ``(B, K)``, or ``None`` where the network does without (no picture is asked for then).
        """
        if not isinstance(self.model, DescribesPicture):
            return None
        return torch.cat([self.model.describe(picture().to(self.device)) for picture in pictures])

    def restore(self, image: Tensor, description: Tensor | None, tally: Tally) -> Tensor:
        """Restore a picture or a tile.

        Args:
            image: ``(B, 3, H, W)`` in [0, 1], any H and W.
            description: ``(B, K)`` of the whole pictures, or ``None``.
            tally: Is told what happened.

        Returns:
            ``(B, 3, scale H, scale W)`` float32 on the device, not clamped.

        Raises:
            ModelError: The network's answer is not finite, even in fp32, or of another size than it should be.
        """
        padded, (height, width) = pad_to(image.to(self.device), self.size.multiple_of, self.size.minimum)
        size = self.scale * height, self.scale * width
        if not self.ensemble:
            return crop_to(self._finite(padded, description, tally), size)
        total = torch.zeros(1, device=self.device)
        for turns in range(4):
            for mirrored in (False, True):
                turned = torch.rot90(padded.flip(-1) if mirrored else padded, turns, (-2, -1))
                answer = torch.rot90(self._finite(turned, description, tally), -turns, (-2, -1))
                total = total + (answer.flip(-1) if mirrored else answer)
        return crop_to(total / 8, size)

    def _finite(self, image: Tensor, description: Tensor | None, tally: Tally) -> Tensor:
        answer = self._pass(image, description, self.precision, tally)
        if answer.shape != (*image.shape[:2], self.scale * image.shape[2], self.scale * image.shape[3]):
            raise ModelError(
                f"the network answers a picture {tuple(image.shape)} with {tuple(answer.shape)}, which is not "
                f"{self.scale} times its size; its weights do not belong to it, or it needs other sizes"
            )
        if torch.isfinite(answer).all():
            return answer
        if self.precision != "fp32":
            tally.overflows += 1
            answer = self._pass(image, description, "fp32", tally)
            if torch.isfinite(answer).all():
                return answer
        raise ModelError(
            "the network's answer is not finite, even in fp32; its weights are damaged or do not belong to it"
        )

    def _pass(self, image: Tensor, description: Tensor | None, precision: Precision, tally: Tally) -> Tensor:
        tally.passes += 1
        image = image.contiguous(memory_format=self._layout)
        given = (image,) if description is None else (image, description)
        with torch.autocast(self.device.type, dtype_of(precision), enabled=precision != "fp32"):
            return self._call(given, tally).float()

    def _call(self, given: tuple[Tensor, ...], tally: Tally) -> Tensor:
        network: Callable[..., Tensor] = self.model.restore if isinstance(self.model, DescribesPicture) else self.model
        if self.compiles:
            try:
                if self._compiled is None:
                    self._compiled = torch.compile(network, dynamic=self._any_size)
                return self._compiled(*given)
            except Exception as error:
                if not type(error).__module__.startswith(_COMPILER):
                    raise
                self._compiled = None
                if self._any_size:  # what cannot be compiled for all sizes often can for each
                    self._any_size = False
                    return self._call(given, tally)
                self.compiles = False
                tally.uncompiled = " ".join(str(error).strip().split("\n")[:2])
        return network(*given)
