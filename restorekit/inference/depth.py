"""Restoring depth maps with the help of a picture: coarse or blurred depth becomes as fine as the picture.

Holes (pixels where nothing was measured) are filled before anything is interpolated, so that they bleed into nothing,
and are holes again in the end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from restorekit.data.depth import resize, resize_whole, stretch
from restorekit.errors import ModelError, UsageError
from restorekit.hub import UNMEASURED, InferenceRule, load
from restorekit.hub._files import sha256_of
from restorekit.hub.card import DepthRule
from restorekit.hub.load import looks_like_file, resolve
from restorekit.hub.store import entries
from restorekit.inference.device import choose_device, free_memory
from restorekit.inference.plan import TileOption
from restorekit.inference.restorer import Summary
from restorekit.io import DEFAULT_LIMITS, ImageData, Limits, read_image
from restorekit.io.depth_map import DepthMap, DepthUnit, parse_unit, read_depth
from restorekit.ops.tiles import plan_spans, span_weights

__all__ = ["DEFAULT_GUIDED", "DepthRestorer", "RestoredDepth", "needs_guide", "restore_depth"]

DEFAULT_GUIDED = "dornet-t"
"""What restores depth maps when no model is named."""

ASSUMED = DepthRule(guide="plain")
"""How weights count depth of which no card says it."""

_SHARE = 0.8  # of free memory
_TILES = (1024, 768, 512, 384, 256)
_TASK = "guided"

D = TypeVar("D")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RestoredDepth(Generic[D]):
    """A restored depth map.

    Attributes:
        depth: The map, of the type that was given.
        enlarged: What went into the network: the map filled and enlarged, ``(H, W)`` in the unit of ``depth``.
        factor: How many times finer the picture is than the given map, along its height.
        seconds: Time of the network.
        notes: What was assumed or done otherwise than asked, one sentence each.
    """

    depth: D
    enlarged: NDArray[np.float32]
    factor: float
    seconds: float
    notes: tuple[str, ...]


class DepthRestorer:
    """A guided network that is ready to restore depth maps.

    Depth maps are paths (PNG, TIFF, NPY), ``DepthMap``, arrays ``(H, W)``, or tensors ``(H, W)``, ``(1, H, W)`` or
    ``(B, 1, H, W)``; pictures are paths, ``ImageData``, arrays ``(H, W, 3)`` or ``(H, W)``, or tensors ``(3, H, W)`` or
    ``(B, 3, H, W)``, with 8 or 16 bits or floats in [0, 1].

    Args:
        model: The network: depth ``(B, 1, H, W)`` and picture ``(B, 3, H, W)`` in, depth out.
        depth: How its weights count depth.
        rule: What it costs.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``. It always computes in fp32.
        tile: ``auto`` (whole if it fits, else tiles), ``off`` (whole), or the side of a tile in pixels.
        max_memory: Bytes that a restoration may take on the device; a share of what is free if ``None``.
        name: Family, variant and tag, for ``summary``.
        notes: What was assumed on the way here.

    Raises:
        UsageError: An option has no such value, or the device is not there.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        depth: DepthRule = ASSUMED,
        rule: InferenceRule = UNMEASURED,
        device: str = "auto",
        tile: TileOption = "auto",
        max_memory: int | None = None,
        name: tuple[str, str, str | None] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        if tile not in ("auto", "off") and not (isinstance(tile, int) and tile >= _TILES[-1]):
            raise UsageError(f"a tile of a depth map is auto, off, or a side from {_TILES[-1]} pixels on, got {tile!r}")
        self.device = choose_device(device)
        self.model = model.eval().to(self.device)
        self.depth, self.rule, self.tile, self.max_memory, self.notes = depth, rule, tile, max_memory, notes
        self._name = name or (type(model).__name__, type(model).__name__, None)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = DEFAULT_GUIDED,
        *,
        scale: int | None = None,
        device: str = "auto",
        tile: TileOption = "auto",
        max_memory: int | None = None,
    ) -> DepthRestorer:
        """Load a guided network with its weights.

        Args:
            name: Family, variant, tag, or a file of weights.
            scale: How many times finer pictures are than depth maps: of several weights those that are made for it.
            device: See the class.
            tile: See the class.
            max_memory: See the class.

        Raises:
            UsageError: No model has that name, or it needs no guide.
            ModelError: The weights cannot be used, or are not here.
        """
        loaded = load(_fitting(name, scale))
        if loaded.spec.task != _TASK:
            raise UsageError(
                f"{loaded.spec.name} restores pictures and takes no guide; leave --guide out, or choose a model for "
                f"depth such as {DEFAULT_GUIDED}"
            )
        rule = None if loaded.card is None else loaded.card.depth
        notes = [*loaded.notes]
        if rule is None:
            notes.append(
                "no card says how these weights count depth; every map is stretched from its least to its greatest "
                "depth, as for NYU-v2"
            )
        return cls(
            loaded.model,
            depth=rule or ASSUMED,
            rule=UNMEASURED if loaded.card is None else loaded.card.inference,
            device=device,
            tile=tile,
            max_memory=max_memory,
            name=(loaded.spec.name, loaded.variant, loaded.tag),
            notes=tuple(notes),
        )

    @property
    def summary(self) -> Summary:
        """What runs here."""
        count = self.depth.full_scale_m
        counts = "depth stretched from least to greatest" if count is None else f"depth counted in {count:g} m"
        finer = [] if self.depth.scale is None else [f"for {self.depth.scale} times finer pictures"]
        model, variant, tag = self._name
        return Summary(
            model=model,
            variant=variant,
            tag=tag,
            device=str(self.device),
            precision="fp32",
            rule=", ".join([*finer, counts, f"picture {self.depth.guide}"]),
        )

    @overload
    def restore(
        self, depth: str | Path, guide: object, *, scale: int | None = None, unit: str | None = None
    ) -> DepthMap: ...

    @overload
    def restore(self, depth: D, guide: object, *, scale: int | None = None, unit: str | None = None) -> D: ...

    def restore(self, depth: Any, guide: object, *, scale: int | None = None, unit: str | None = None) -> Any:
        """Restore a depth map; whatever is to be said about it goes to the log. For the rest see ``run``."""
        done = self.run(depth, guide, scale=scale, unit=unit)
        for note in done.notes:
            _log.warning("%s", note)
        return done.depth

    def run(
        self,
        depth: Any,
        guide: object,
        *,
        scale: int | None = None,
        unit: str | None = None,
        depth_range: tuple[float, float] | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> RestoredDepth[Any]:
        """Restore a depth map and return it with notes.

        Args:
            depth: The depth map, see the class. Zero, negative and no number: nothing was measured there.
            guide: The picture of the same view, see the class.
            scale: How many times finer the picture is; the sizes are held to it. A map of the picture's size has been
                enlarged already and is taken as it is.
            unit: What a step of the map measures: ``mm``, ``cm``, ``m``, the metres of a step, or ``raw``. If ``None``,
                a millimetre for whole numbers and a metre for others.
            depth_range: Least and greatest depth, in metres, between which weights that stretch maps stretch them;
                those of the map if ``None``.
            limits: What is too large to be read.

        Returns:
            The map of the picture's size, of the type that was given; ``DepthMap`` for a path.

        Raises:
            UsageError: The sizes do not go together, or an option has no such value.
            PictureError: A file cannot be read, or is none of a depth map.
            ModelError: The network's answer is not finite.
        """
        if isinstance(depth, Tensor) and depth.ndim == 4 and depth.shape[0] != 1:
            return self._run_batch(depth, guide, scale=scale, unit=unit, depth_range=depth_range)
        chosen = None if unit is None else parse_unit(unit)
        opened = _open_depth(depth, chosen, limits)
        if opened.unit.metres is None and self.depth.full_scale_m is not None:
            raise UsageError(
                f"these weights count depth in {self.depth.full_scale_m:g} m, so they have to know what a step of the "
                "map measures; give another --unit than raw"
            )
        picture = _open_guide(guide, limits)
        factor, notes = _factor(opened.values.shape, picture.shape[:2], scale, self.depth.scale)
        start = time.perf_counter()
        enlarged, restored, more = self._restore(opened, picture, depth_range)
        seconds = time.perf_counter() - start
        holes = _enlarge_mask(np.isnan(opened.values), picture.shape[:2])
        restored[holes] = np.nan
        done = opened.with_metres(restored)
        return RestoredDepth(
            depth=_like(depth, done),
            enlarged=opened.with_metres(enlarged).values,
            factor=factor,
            seconds=seconds,
            notes=(*self.notes, *notes, *more),
        )

    def _run_batch(self, depth: Tensor, guide: object, **options: Any) -> RestoredDepth[Tensor]:
        if not isinstance(guide, Tensor) or guide.ndim != 4 or len(guide) != len(depth):
            raise UsageError(f"a batch of {len(depth)} depth maps needs a batch of as many pictures, (B, 3, H, W)")
        each = [self.run(one, its, **options) for one, its in zip(depth, guide, strict=True)]
        return RestoredDepth(
            depth=torch.stack([one.depth for one in each]),
            enlarged=np.stack([one.enlarged for one in each]),
            factor=each[0].factor,
            seconds=sum(one.seconds for one in each),
            notes=tuple(dict.fromkeys(note for one in each for note in one.notes)),
        )

    def _restore(
        self, opened: DepthMap, picture: NDArray[Any], given: tuple[float, float] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], list[str]]:
        """Return the map before and after the network, in metres, and notes."""
        enlarged = _enlarge(opened, picture.shape[:2])
        low, span = self._range(opened, given)
        colours = _colours(picture, self.depth.guide)
        counted = torch.from_numpy((enlarged - low) / (span or np.float32(1)))[None, None]
        seen = torch.from_numpy(colours).permute(2, 0, 1)[None]
        with torch.no_grad():
            answer, notes = self._infer(counted.to(self.device), seen.to(self.device))
        if not bool(torch.isfinite(answer).all()):
            raise ModelError("the network's answer is not finite; these weights do not suit this depth map")
        return enlarged, answer[0, 0].cpu().numpy() * span + low, notes

    def _range(self, opened: DepthMap, given: tuple[float, float] | None) -> tuple[np.float32, np.float32]:
        """Return which depth counts as 0, and how much more as 1."""
        if self.depth.full_scale_m is not None:
            return np.float32(0), np.float32(self.depth.full_scale_m)
        low, high = (np.nanmin(opened.metres), np.nanmax(opened.metres)) if given is None else map(np.float32, given)
        return np.float32(low), np.float32(high) - np.float32(low)

    def _infer(self, depth: Tensor, guide: Tensor) -> tuple[Tensor, list[str]]:
        """Run the network on the whole, or in tiles where the memory is not enough."""
        height, width = depth.shape[2:]
        budget = int(_SHARE * free_memory(self.device)) if self.max_memory is None else self.max_memory
        tile = self._tile(height, width, budget)
        if tile is None:
            return self.model(depth, guide), []
        out = torch.zeros_like(depth, device="cpu")
        for top, bottom, left, right, weights, inner in _tiles(height, width, tile, self.rule.overlap):
            part = (..., slice(top, bottom), slice(left, right))
            answer = self.model(depth[part], guide[part]).cpu()[inner]
            rows, columns = inner[-2], inner[-1]
            out[..., top + rows.start : top + rows.stop, left + columns.start : left + columns.stop] += answer * weights
        note = (
            f"{width}x{height} in tiles of {tile}: the network describes each tile by itself, so the result differs a "
            "little from that of the whole"
        )
        return out, [note]

    def _tile(self, height: int, width: int, budget: int) -> int | None:
        """Return the side of tiles, or ``None`` for the whole."""
        if isinstance(self.tile, int):
            return self.tile if max(height, width) > self.tile else None

        def needed(pixels: int) -> int:
            return int(self.rule.base_bytes + self.rule.bytes_per_pixel * pixels)

        if self.tile == "off" or needed(height * width) <= budget:
            return None
        side = next((tile for tile in _TILES if needed(tile * tile) <= budget), None)
        if side is None:
            raise UsageError(
                f"{budget / 2**20:.0f} MiB of memory are not enough for a tile of {_TILES[-1]}x{_TILES[-1]} pixels, "
                f"which takes {needed(_TILES[-1] ** 2) / 2**20:.0f} MiB; allow more"
            )
        return side


def restore_depth(
    depth: Any,
    guide: object,
    *,
    model: str | Path = DEFAULT_GUIDED,
    scale: int | None = None,
    unit: str | None = None,
    device: str = "auto",
) -> Any:
    """Restore one depth map. For several, make a ``DepthRestorer`` once: this loads the weights each time.

    Args:
        depth: The depth map, see ``DepthRestorer``.
        guide: The picture of the same view, see ``DepthRestorer``.
        model: Family, variant, tag, or a file of weights.
        scale: How many times finer the picture is, see ``DepthRestorer.run``.
        unit: What a step of the map measures, see ``DepthRestorer.run``.
        device: See ``DepthRestorer``.

    Returns:
        The map of the picture's size, of the type that was given; ``DepthMap`` for a path.

    Raises:
        RestoreKitError: As ``DepthRestorer.from_pretrained`` and ``DepthRestorer.run``.
    """
    return DepthRestorer.from_pretrained(model, scale=scale, device=device).restore(
        depth, guide, scale=scale, unit=unit
    )


def needs_guide(name: str) -> bool:
    """Tell whether a model restores depth maps, by its name or, of a file, by its card; it is not loaded."""
    try:
        return resolve(name).spec.task == _TASK
    except UsageError:
        path = Path(name)
    guided = [entry.card for entry in entries() if entry.card.task == _TASK]
    sizes = {card.source_bytes for card in guided} | {card.bytes for card in guided}
    if not path.is_file() or path.stat().st_size not in sizes:  # no hash of a large file for nothing
        return False
    digest = sha256_of(path)
    return any(digest in (card.sha256, card.source_sha256) for card in guided)


def _fitting(name: str | Path, scale: int | None) -> str | Path:
    """Return a tag instead of a family or variant of which several weights are known, by what they are made for."""
    if isinstance(name, Path) or looks_like_file(name):
        return name
    found = resolve(name)
    if scale is None or found.spec.task != _TASK or (found.entry is not None and found.entry.card.tag == name):
        return name
    of_family = [entry for entry in entries() if entry.card.family == found.spec.name]
    wanted = [entry for entry in of_family if entry.card.depth is not None and entry.card.depth.scale == scale]
    of_variant = [entry for entry in wanted if entry.card.variant == found.variant]
    wanted = of_variant if name != found.spec.name else [*of_variant, *wanted]  # one name may be both
    here = [entry for entry in wanted if entry.place != "absent"]
    if here or (wanted and found.entry is None):
        return (here or wanted)[0].card.tag
    return name


# --- what is given ----------------------------------------------------------------------------------------------------


def _open_depth(depth: object, unit: DepthUnit | None, limits: Limits) -> DepthMap:
    if isinstance(depth, str | Path):
        return read_depth(depth, unit=unit, limits=limits)
    if isinstance(depth, DepthMap):
        return depth if unit is None else replace(depth, unit=unit)
    if isinstance(depth, Tensor):
        depth = depth.detach().cpu().numpy()
    if not isinstance(depth, np.ndarray) or depth.dtype.kind not in "iuf":
        raise UsageError(
            f"a depth map is a path, a DepthMap, an array or a tensor of numbers, not {type(depth).__name__}"
        )
    values = depth[(0,) * (depth.ndim - 2)] if depth.ndim > 2 and set(depth.shape[:-2]) == {1} else depth
    if values.ndim != 2 or values.size == 0:
        raise UsageError(f"a depth map has one number for each pixel, (H, W), not {' x '.join(map(str, depth.shape))}")
    whole = depth.dtype.kind in "iu"
    numbers = values.astype(np.float32)
    holes = ~(np.isfinite(numbers) & (numbers > 0))
    if holes.all():
        raise UsageError("nothing was measured anywhere in this depth map: all its pixels are 0 or no number")
    nan = not whole and bool(np.isnan(numbers).any())
    numbers[holes] = np.nan
    return DepthMap(
        values=numbers,
        unit=unit or parse_unit("mm" if whole else "m"),
        dtype=depth.dtype,
        format="npy",
        hole=np.nan if nan else 0.0,
    )


def _like(given: object, done: DepthMap) -> Any:
    """Return a map as the type that was given."""
    if isinstance(given, str | Path | DepthMap):
        return done
    holes = np.isnan(done.values)
    if done.whole:
        most = np.iinfo(done.dtype).max
        numbers = np.where(holes, 0, np.rint(done.values.astype(np.float64)).clip(1, most)).astype(done.dtype)
    else:
        numbers = np.where(holes, np.float32(done.hole), done.values).astype(done.dtype)
    if isinstance(given, np.ndarray):
        return numbers.reshape(*given.shape[:-2], *numbers.shape)
    assert isinstance(given, Tensor)
    return torch.from_numpy(numbers).reshape(*given.shape[:-2], *numbers.shape).to(given.device)


def _open_guide(guide: object, limits: Limits) -> NDArray[Any]:
    """Return a picture as an array ``(H, W, 3)`` of 8 or 16 bits or float32."""
    if isinstance(guide, str | Path):
        guide = read_image(guide, limits=limits)
    if isinstance(guide, ImageData):
        guide = guide.pixels
    if isinstance(guide, Tensor):
        guide = guide.detach().cpu().numpy()
        guide = guide[0] if guide.ndim == 4 and len(guide) == 1 else guide
        guide = np.moveaxis(guide, 0, 2) if guide.ndim == 3 else guide
    if not isinstance(guide, np.ndarray):
        raise UsageError(f"a guide is a path, ImageData, an array or a tensor, not {type(guide).__name__}")
    if guide.ndim == 2 or (guide.ndim == 3 and guide.shape[2] == 1):
        guide = np.repeat(guide.reshape(*guide.shape[:2], 1), 3, 2)
    if guide.ndim != 3 or guide.shape[2] != 3:
        raise UsageError(f"a guide is a picture of three colours, (H, W, 3), not {' x '.join(map(str, guide.shape))}")
    if guide.dtype in (np.uint8, np.uint16):
        return guide
    if guide.dtype.kind != "f" or not np.isfinite(guide).all():
        raise UsageError(f"a guide has 8 or 16 bits, or finite numbers in [0, 1], not {guide.dtype} of other kinds")
    return guide.astype(np.float32)


def _colours(picture: NDArray[Any], count: str) -> NDArray[np.float32]:
    if count == "stretched":
        return stretch(picture)
    most = np.iinfo(picture.dtype).max if picture.dtype.kind == "u" else 1
    return picture.astype(np.float32) / np.float32(most)


def _factor(
    depth: tuple[int, ...], picture: tuple[int, ...], scale: int | None, made_for: int | None
) -> tuple[float, list[str]]:
    """Hold the sizes to each other; return how many times finer the picture is, and notes."""
    (height, width), (tall, wide) = depth, picture
    sizes = f"the depth map has {width}x{height} pixels and the picture {wide}x{tall}"
    if scale is not None and scale < 1:
        raise UsageError(f"scale is a whole number from 1 on, got {scale}")
    if (height, width) == (tall, wide):
        notes = ["the depth map has the size of the picture; it was taken as enlarged already"]
        return float(scale or 1), notes
    if height > tall or width > wide:
        raise UsageError(f"{sizes}: the picture has to be the finer one; give a larger picture of the same view")
    if scale is not None and (abs(tall - height * scale) >= scale or abs(wide - width * scale) >= scale):
        raise UsageError(
            f"{sizes}, which is not {scale} times finer; give the right --scale or none, or cut both to one view"
        )
    if abs(wide * height - tall * width) > max(tall, wide):
        raise UsageError(f"{sizes}, which have other proportions, so they cannot show the same view; cut both to one")
    factor = tall / height
    if made_for is not None and not 0.75 < factor / made_for < 1.34:
        return factor, [
            f"these weights are made for pictures {made_for} times finer, and this one is {factor:.3g} times"
        ]
    return factor, []


# --- holes and sizes --------------------------------------------------------------------------------------------------


def _fill(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a map whose holes have the depth of the nearest measured pixel."""
    holes = np.isnan(values)
    if not holes.any():
        return values
    _, labels = cv2.distanceTransformWithLabels(
        holes.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE, labelType=cv2.DIST_LABEL_PIXEL
    )
    measured = np.zeros(labels.max() + 1, np.float32)
    measured[labels[~holes]] = values[~holes]
    filled: NDArray[np.float32] = measured[labels]
    return filled


def _enlarge(opened: DepthMap, size: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a map in metres, filled and of the picture's size, as published code enlarges its kind."""
    filled = replace(opened, values=_fill(opened.values))
    height, width = size
    if filled.values.shape == (height, width):
        return filled.metres.copy()
    if opened.whole and opened.unit.name == "mm":
        return replace(filled, values=resize_whole(filled.values, (height, width))).metres
    return resize(filled.metres, (height, width))


def _enlarge_mask(mask: NDArray[np.bool_], size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask of another size: a pixel takes what lies at its centre."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(size, mask.shape, strict=True)
    )
    enlarged: NDArray[np.bool_] = mask[rows[:, None], columns]
    return enlarged


def _tiles(
    height: int, width: int, tile: int, overlap: int
) -> Iterator[tuple[int, int, int, int, Tensor, tuple[Any, ...]]]:
    """Yield tiles: where they lie, the weights of their inner part, and where that lies in them."""
    spans = [plan_spans(length, tile=tile, overlap=overlap) for length in (height, width)]
    for down in spans[0]:
        for across in spans[1]:
            weights = span_weights(down)[:, None] * span_weights(across)
            inner = (..., *(slice(s.first - s.start, s.last - s.start) for s in (down, across)))
            yield down.start, down.stop, across.start, across.stop, weights, inner
