"""Networks of anybody's: spandrel finds out what a state dict belongs to, and builds it.

The file was read before, safely (``hub.checkpoint``); spandrel sees names and tensors only. It is an extra
(``community``) and imported where it is used.
"""

from __future__ import annotations

import re
import warnings
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from restorekit.errors import MissingExtraError, ModelError
from restorekit.hub.card import UNMEASURED, InferenceRule
from restorekit.hub.checkpoint import strip_prefixes
from restorekit.models import SizeRule

__all__ = ["Community", "CommunityNetwork", "recognise_community"]

_MOST_LAYERS = 10_000  # a number in a name that is larger than this is no layer but a trap: it would be built
_LICENCE_KEYS = ("modelspec.license", "license", "licence")
_SIDE = 48  # of the picture whose memory is measured, in pixels
_SAFETY = 1.7  # on what tensors take: convolutions take some for themselves (measured: up to a half)
_LEAST_BYTES = 4096.0  # a pixel, whatever was measured
_OVERLAP = {"SUPPORTED": 64, "DISCOURAGED": 128, "INTERNAL": 128}  # of tiles, by what spandrel says of tiling


@dataclass(frozen=True, kw_only=True)
class Community:
    """A network that is not ours.

    Attributes:
        model: The network with its weights: ``(B, 3, H, W)`` to ``(B, 3, scale H, scale W)``, both in [0, 1].
        name: Its architecture.
        variant: What distinguishes it within the architecture.
        scale: How many times larger its answer is.
        size: Sizes that it takes.
        rule: How it is used.
        notes: What is to be said about it, one sentence each.
    """

    model: CommunityNetwork
    name: str
    variant: str
    scale: int
    size: SizeRule
    rule: InferenceRule
    notes: tuple[str, ...]


class CommunityNetwork(nn.Module):
    """A network as spandrel describes it, behind the call of a restorer.

    One that knows a single channel gets the three colours one by one.

    Args:
        descriptor: spandrel's description, with the network in it.
    """

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.network: nn.Module = descriptor.model
        self._descriptor = descriptor
        self._channels: int = descriptor.input_channels

    def forward(self, image: Tensor) -> Tensor:
        """Restore ``(B, 3, H, W)`` in [0, 1]; the result is ``(B, 3, scale H, scale W)`` in [0, 1]."""
        pictures = image if self._channels == 3 else image.flatten(0, 1).unsqueeze(1)
        with torch.autocast(image.device.type, enabled=self._computes_low(image.device.type)):
            answers = torch.cat([self._descriptor(picture) for picture in torch.split(pictures, 1)])
        return answers.view(*image.shape[:2], *answers.shape[2:])

    def _computes_low(self, device: str) -> bool:
        """Tell whether autocast is on, with a type that the network can compute in."""
        able = {torch.float16: self._descriptor.supports_half, torch.bfloat16: self._descriptor.supports_bfloat16}
        return torch.is_autocast_enabled(device) and bool(able.get(torch.get_autocast_dtype(device), False))

    def __reduce__(self) -> tuple[Any, ...]:
        """Descriptions hold functions that cannot be pickled: a copy is recognised anew from its weights."""
        return _rebuilt, (dict(self.network.state_dict()),)


def _rebuilt(state: dict[str, Tensor]) -> CommunityNetwork:
    return CommunityNetwork(_describe(state, "the pickled network")).eval()


def recognise_community(state: Mapping[str, Tensor], *, name: str, metadata: Mapping[str, str]) -> Community:
    """Find out which network of the community a state dict belongs to, and build it.

    Args:
        state: Key -> tensor, as they stand in the file.
        name: What to call the file in messages.
        metadata: What the head of the file says of it.

    Raises:
        MissingExtraError: spandrel is not installed.
        ModelError: It knows no such network either, or one that does not take a picture and return one.
    """
    _check_numbers(state, name)
    descriptor = _describe(state, name)
    _check_call(descriptor, name)
    scale = int(descriptor.scale)
    needs = descriptor.size_requirements
    size = SizeRule(minimum=max(1, int(needs.minimum)), multiple_of=int(needs.multiple_of))
    model = CommunityNetwork(descriptor).eval()
    tiling: str = descriptor.tiling.name
    rule = replace(UNMEASURED, overlap=_OVERLAP[tiling], bytes_per_pixel=_bytes_per_pixel(model, size))
    enlarged = f", {scale} times as large" if scale > 1 else ""
    architecture = descriptor.architecture.name
    notes = [
        f"no card knows {name}; by its keys it is {architecture}{enlarged} (recognised by spandrel), "
        "whose inference rule was not measured",
        _licence_note(metadata),
    ]
    if tiling != "SUPPORTED":
        notes.append(
            f"{architecture} sees far: tiles may differ from the whole; give --tile off where the memory allows"
        )
    unable = [
        precision
        for precision, able in (("fp16", descriptor.supports_half), ("bf16", descriptor.supports_bfloat16))
        if not able
    ]
    if unable:
        notes.append(
            f"{architecture} cannot compute in {' or '.join(unable)}: it stays in fp32 where that is asked for"
        )
    return Community(
        model=model,
        name=architecture,
        variant=" ".join([f"x{scale}", *map(str, descriptor.tags)]),
        scale=scale,
        size=size,
        rule=rule,
        notes=tuple(notes),
    )


def _check_numbers(state: Mapping[str, Tensor], name: str) -> None:
    """Refuse names whose numbers would make spandrel build a network without end."""
    largest = max((int(number) for key in state for number in re.findall(r"\d{1,18}", key)), default=0)
    if largest > _MOST_LAYERS or any(re.search(r"\d{19}", key) for key in state):
        raise ModelError(f"{name} names a layer with the number {largest}; no honest network has so many")


def _describe(state: Mapping[str, Tensor], name: str) -> Any:
    """Let spandrel build the network of a state dict."""
    try:
        import spandrel  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise MissingExtraError(
            f"{name} is no network of RestoreKit's own, and to run others it", "community"
        ) from error
    given = {key: value.to(torch.float32) if value.is_floating_point() else value for key, value in state.items()}
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            loaded = _load(spandrel.ModelLoader(), given, spandrel.UnsupportedModelError)
    except spandrel.UnsupportedModelError as error:
        raise ModelError(
            f"{name} fits no network that is known, neither of RestoreKit nor of spandrel {spandrel_version()}; "
            "name a file with the weights of a restoration network"
        ) from error
    except Exception as error:  # what a build of a network that is not quite the one of the file may raise is anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise ModelError(f"{name} looks like a network that spandrel knows but cannot be loaded ({reason})") from error
    return loaded.float().eval()


def _load(loader: Any, state: dict[str, Tensor], unknown: type[Exception]) -> Any:
    try:
        return loader.load_from_state_dict(state)
    except unknown:
        stripped = strip_prefixes(state)
        if stripped.keys() == state.keys():
            raise
        return loader.load_from_state_dict(stripped)


def spandrel_version() -> str:
    """Return the version of spandrel that is installed."""
    from importlib.metadata import version

    return version("spandrel")


def _check_call(descriptor: Any, name: str) -> None:
    """Refuse networks that do not take a picture and return one."""
    what = descriptor.architecture.name
    if descriptor.purpose == "Inpainting":
        raise ModelError(f"{name} is {what}, which fills holes and needs a mask of them; that is not offered here")
    if descriptor.purpose == "FaceSR":
        raise ModelError(f"{name} is {what}, which takes faces that were cut out and aligned; that is not offered here")
    channels = (descriptor.input_channels, descriptor.output_channels)
    if channels not in ((3, 3), (1, 1)):
        raise ModelError(
            f"{name} is {what} with {channels[0]} channels in and {channels[1]} out; only RGB and grey ones can be run"
        )


def _licence_note(metadata: Mapping[str, str]) -> str:
    stated = next((metadata[key] for key in _LICENCE_KEYS if metadata.get(key)), None)
    if stated is None:
        return "the file does not state the licence of its weights; ask where it comes from before you rely on it"
    words = "".join(c if c.isprintable() else " " for c in stated).split()
    return f"licence of the weights, as the file states it: {' '.join(words)[:200]}"


# --- memory -----------------------------------------------------------------------------------------------------------


class _Peak(TorchDispatchMode):  # type: ignore[no-untyped-call,unused-ignore]
    """Counts the bytes of all tensors that are alive, and keeps the most there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self.top = self._now = 0
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        results = func(*args, **(kwargs or {}))
        for result in tree_leaves(results):
            if isinstance(result, Tensor):
                self._count(result.untyped_storage())
        return results

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._alive:
            return
        self._alive[key] = storage.nbytes()
        self._now += self._alive[key]
        self.top = max(self.top, self._now)
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self._now -= self._alive.pop(key, 0)


def _bytes_per_pixel(model: nn.Module, size: SizeRule) -> float:
    """Return what a pixel of the input takes, from one small picture."""
    side = -(-max(_SIDE, size.minimum) // size.multiple_of) * size.multiple_of
    peak = _Peak()
    with torch.no_grad(), warnings.catch_warnings(), peak:
        warnings.simplefilter("ignore")
        model(torch.full((1, 3, side, side), 0.5))
    return round(max(_SAFETY * peak.top / side**2, _LEAST_BYTES), 1)
