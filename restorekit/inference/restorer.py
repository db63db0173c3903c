"""The Restorer: any picture, any size, any device, through one network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from restorekit.errors import UsageError
from restorekit.hub import InferenceRule, load
from restorekit.inference.device import choose_device, choose_precision, free_memory
from restorekit.inference.engine import Engine, Tally
from restorekit.inference.enlarge import open_enlarged
from restorekit.inference.mask import Mask, open_mask
from restorekit.inference.pictures import Canvas, Opened
from restorekit.inference.plan import Budget, Plan, TileOption, plan_picture
from restorekit.inference.tiling import Tiling
from restorekit.io import ImageData
from restorekit.models import SizeRule
from restorekit.ops.tiles import Box

__all__ = ["Progress", "Restored", "Restorer", "Summary"]

T = TypeVar("T")
P = TypeVar("P", Tensor, NDArray[Any], Image.Image, ImageData)
Progress = Callable[[int, int], None]

_SHARE = {"cpu": 0.7, "cuda": 0.85, "mps": 0.7}  # of the free memory that one restoration takes of its own accord
_TOGETHER = {"cpu": 2**16, "cuda": 2**20, "mps": 2**20}  # pixels of small pictures that share a pass (measured: a CPU
# gains from sharing up to here and loses beyond, when the features leave its cache)
_STRIP = 2**18  # pixels that are written at a time
_SMALLEST_OPTION = 16  # side of a tile, in pixels, below which the wish is taken for a slip

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a Restorer runs, for people and records.

    Attributes:
        model: Family of the network.
        variant: Its variant.
        tag: Name of the weights; ``None`` where they have none.
        device: Where it runs.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        rule: How it is used: padding, tiles, orientations.
    """

    model: str
    variant: str
    tag: str | None
    device: str
    precision: str
    rule: str


@dataclass(frozen=True)
class Restored(Generic[T]):
    """A restored picture and what is to be said about it.

    Attributes:
        image: The picture, of the type that was given (``ImageData`` for a path).
        plan: How it was cut; ``None`` where the network did not run (strength 0).
        notes: One line each for whatever was done otherwise than asked.
    """

    image: T
    plan: Plan | None
    notes: tuple[str, ...]


class Restorer:
    """Restores pictures with one network.

    A picture is a tensor ``(B, C, H, W)`` or ``(C, H, W)``, an array ``(H, W)`` or ``(H, W, C)``, a PIL image,
    ``ImageData``, or the path of a file; uint8, uint16, or float in [0, 1]. One channel is grey, three are RGB, a
    second or fourth one is alpha, which is kept as it is. The result has the same type, dtype and size; floats are
    clamped to [0, 1]. Grey is restored as three equal channels and averaged. A batch is restored picture by picture.
    Of a network that enlarges, the result is ``scale`` times as high and wide; alpha, what a mask spares, and the share
    that ``strength`` leaves are the picture enlarged plainly.

    The network sees the picture as a whole where the memory allows it, else tile by tile. A network that describes a
    picture first (``DescribesPicture``) gets the whole one for that, reduced to at most 512 pixels on its longer side
    by averaging, also where only a part is restored.

    The same call gives the same bytes on the same device and versions, if it is cut in the same way: where a picture
    does not fit the memory, give ``tile`` or ``max_memory`` so that the plan does not depend on what is free just now.

    Args:
        model: Restores ``(B, 3, H, W)`` in [0, 1]; put into evaluation mode and moved to the device.
        size: Sizes that it takes; everything else is padded.
        scale: How many times larger than the picture its answer is.
        rule: What was measured of it: memory, precision, overlap of tiles.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``auto`` (what the rule says, where the device is fast in it), ``fp32``, ``bf16``, ``fp16``.
        tile: ``auto`` (whole if it fits), ``off`` (whole), or the side of a tile in pixels.
        max_memory: Bytes that a restoration may take on the device, above the model and the given picture; a share of
            what is free if ``None``.
        ensemble: Average over the eight orientations (eight times the time).
        compile: Use ``torch.compile`` (the first picture takes a minute longer).
        name: Family, variant and tag, for ``summary``.
        notes: What was assumed on the way here.

    Raises:
        UsageError: An option has no such value, or the device is not there.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        size: SizeRule,
        rule: InferenceRule,
        scale: int = 1,
        device: str = "auto",
        precision: str = "auto",
        tile: TileOption = "auto",
        max_memory: int | None = None,
        ensemble: bool = False,
        compile: bool = False,
        name: tuple[str, str, str | None] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        _check_options(tile, max_memory)
        place = choose_device(device)
        chosen, note = choose_precision(precision, place, rule.precision)
        self.engine = Engine(
            model,
            size=size,
            scale=scale,
            device=place,
            precision=chosen,
            channels_last=rule.channels_last,
            ensemble=ensemble,
            compile=compile,
        )
        self.rule = rule
        self.tile = tile
        self.max_memory = max_memory
        self.notes = (*notes, *([note] if note else []))
        self._name = name or (type(model).__name__, type(model).__name__, None)
        self._said: set[str] = set()

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "resunet",
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: TileOption = "auto",
        max_memory: int | None = None,
        ensemble: bool = False,
        compile: bool = False,
    ) -> Restorer:
        """Load a network with its weights.

        Args:
            name: Family, variant, tag, a file of weights, or ``auto`` for the default.
            device: See the class.
            precision: See the class.
            tile: See the class.
            max_memory: See the class.
            ensemble: See the class.
            compile: See the class.

        Returns:
            A Restorer.

        Raises:
            UsageError: No model has that name, it is none that restores pictures, or an option has no such value.
            ModelError: The weights cannot be used.
        """
        loaded = load(name)
        if loaded.spec.task != "restore":
            raise UsageError(f"model {loaded.spec.name!r} does not restore pictures (its task is {loaded.spec.task!r})")
        return cls(
            loaded.model,
            size=loaded.spec.size,
            rule=loaded.rule,
            scale=loaded.scale,
            device=device,
            precision=precision,
            tile=tile,
            max_memory=max_memory,
            ensemble=ensemble,
            compile=compile,
            name=(loaded.spec.name, loaded.variant, loaded.tag),
            notes=loaded.notes,
        )

    @property
    def scale(self) -> int:
        """How many times larger than the picture the result is."""
        return self.engine.scale

    @property
    def summary(self) -> Summary:
        """What runs here."""
        size, engine = self.engine.size, self.engine
        parts = [
            f"padded to multiples of {size.multiple_of}, at least {size.minimum}",
            {"auto": "whole picture where it fits, else tiles", "off": "whole picture"}.get(
                str(self.tile), f"tiles of {self.tile}"
            ),
            f"overlap {self.rule.overlap}",
            *([f"enlarges {engine.scale} times"] if engine.scale > 1 else []),
            *(["channels_last"] if self.rule.channels_last else []),
            *(["eight orientations"] if engine.ensemble else []),
            *(["compiled"] if engine.compiles else []),
        ]
        model, variant, tag = self._name
        return Summary(
            model=model,
            variant=variant,
            tag=tag,
            device=str(engine.device),
            precision=engine.precision,
            rule=", ".join(parts),
        )

    def describe_plan(self, height: int, width: int) -> Plan:
        """Say how an 8-bit RGB picture would be cut, how much memory and time it would take.

        Args:
            height: Rows.
            width: Columns.

        Returns:
            The plan; ``str`` of it is one line.

        Raises:
            UsageError: ``max_memory`` is not enough.
        """
        return self._plan(height, width, self._budget(), pixel_bytes=3)

    def _plan(self, height: int, width: int, budget: Budget, *, pixel_bytes: int) -> Plan:
        return plan_picture(
            height,
            width,
            size=self.engine.size,
            rule=self.rule,
            tile=self.tile,
            budget=budget,
            ensemble=self.engine.ensemble,
            pixel_bytes=pixel_bytes,
            scale=self.scale,
        )

    def __call__(self, image: P) -> P:
        """Restore a picture with everything at its default; see ``restore``."""
        return self.restore(image)

    @overload
    def restore(
        self,
        image: str | Path,
        *,
        strength: float = 1.0,
        mask: object = None,
        crop: tuple[int, int, int, int] | None = None,
        progress: Progress | None = None,
    ) -> ImageData: ...

    @overload
    def restore(
        self,
        image: P,
        *,
        strength: float = 1.0,
        mask: object = None,
        crop: tuple[int, int, int, int] | None = None,
        progress: Progress | None = None,
    ) -> P: ...

    def restore(
        self,
        image: Any,
        *,
        strength: float = 1.0,
        mask: object = None,
        crop: tuple[int, int, int, int] | None = None,
        progress: Progress | None = None,
    ) -> Any:
        """Restore a picture; whatever is to be said about it goes to the log, once.

        Args:
            image: The picture, see the class.
            strength: Share of the restored picture in the result, in [0, 1]; 0 returns the pixels bit-exactly without
                running the network, whatever their values (or enlarged plainly, where the network enlarges).
            mask: Restore where it is full, leave (bit-exactly) where it is 0: ``(H, W)`` bool, uint8 (0 to 255), uint16
                (0 to 65535) or float (0 to 1), a PIL image, or a path. A batch shares it.
            crop: x, y, width, height in pixels: restore and return this part only. The network looks a little beyond
                it and, where it describes pictures, at the whole.
            progress: Called with (pixels done, pixels in all), first with 0; may raise to stop.

        Returns:
            The restored picture, of the type that was given; ``ImageData`` for a path.

        Raises:
            UsageError: The picture's type, ``strength``, ``mask`` or ``crop`` is none that can be used, or the memory
                is not enough.
            PictureError: A file cannot be read, or floats are not finite or not in [0, 1].
            ModelError: The network's answer is not finite.
        """
        restored = self.run(image, strength=strength, mask=mask, crop=crop, progress=progress)
        self._say(restored.notes)
        return restored.image

    def run(
        self,
        image: object,
        *,
        strength: float = 1.0,
        mask: object = None,
        crop: tuple[int, int, int, int] | None = None,
        progress: Progress | None = None,
    ) -> Restored[Any]:
        """Restore a picture and return it with its plan and notes; arguments and errors are those of ``restore``."""
        opened = open_enlarged(image, crop=crop, scale=self.scale)
        canvas = opened.canvases[0]
        opened_mask = None if mask is None else open_mask(mask, canvas.height, canvas.width)
        plan, notes = self._work([opened], strength, opened_mask, progress)
        return Restored(opened.close(), plan, (*self.notes, *notes))

    def restore_many(
        self, images: Sequence[object], *, strength: float = 1.0, progress: Progress | None = None
    ) -> list[Any]:
        """Restore several pictures; neighbours of equal size share a pass where they are small.

        Args:
            images: Pictures of any kind and size, see the class.
            strength: See ``restore``.
            progress: See ``restore``; counts the pixels of all.

        Returns:
            The restored pictures, in the order and of the types that were given.

        Raises:
            RestoreKitError: As ``restore``, for the first picture that fails.
        """
        opened = [open_enlarged(image, crop=None, scale=self.scale) for image in images]
        _, notes = self._work(opened, strength, None, progress)
        self._say((*self.notes, *notes))
        return [one.close() for one in opened]

    def _work(
        self, opened: Sequence[Opened], strength: float, mask: Mask | None, progress: Progress | None
    ) -> tuple[Plan | None, list[str]]:
        """Restore all canvases; return the plan of the first and the notes."""
        if not 0 <= strength <= 1:
            raise UsageError(f"strength is between 0 and 1, got {strength}")
        canvases = [canvas for one in opened for canvas in one.canvases]
        meter = _Meter(progress, sum(canvas.part.height * canvas.part.width for canvas in canvases))
        if strength == 0:
            meter.finish()
            return None, []
        for one in opened:
            one.check()
        tally, first = Tally(), None
        with torch.no_grad():
            for group, plan in self._groups(canvases):
                first = first or plan
                self._restore(group, plan, strength, mask, tally, meter)
        meter.finish()
        return first, self._notes_of(tally)

    def _groups(self, canvases: Sequence[Canvas]) -> Iterator[tuple[list[Canvas], Plan]]:
        """Yield canvases that are restored in one pass, in order."""
        budget = self._budget()
        for (area, _), same in groupby(canvases, key=lambda canvas: (self._area(canvas), canvas.store)):
            rest = list(same)
            plan = self._plan(area.height, area.width, budget, pixel_bytes=rest[0].pixel_bytes)
            most = _TOGETHER[self.engine.device.type]
            fitting = min(budget.bytes // max(plan.bytes, 1), most // (area.height * area.width))
            count = 1 if plan.tile else max(fitting, 1)
            for start in range(0, len(rest), count):
                yield rest[start : start + count], plan

    def _area(self, canvas: Canvas) -> Box:
        """Return what the network sees of a picture: the wanted part with some context, on the network's grid."""
        part, around, multiple = canvas.part, self.rule.overlap, self.engine.size.multiple_of
        top, left = (max(0, start - around) // multiple * multiple for start in (part.top, part.left))
        bottom, right = min(canvas.height, part.bottom + around), min(canvas.width, part.right + around)
        return Box(top, left, bottom - top, right - left)

    def _restore(
        self, canvases: list[Canvas], plan: Plan, strength: float, mask: Mask | None, tally: Tally, meter: _Meter
    ) -> None:
        area, scale = self._area(canvases[0]), self.scale
        own = sum(canvas.part.height * canvas.part.width for canvas in canvases)
        tiling = Tiling(
            engine=self.engine,
            batch=len(canvases),
            read=lambda box: torch.stack([canvas.read(box) for canvas in canvases]),
            store=canvases[0].store,
            description=self.engine.describe(canvas.thumbnail for canvas in canvases),
            overlap=self.rule.overlap,
            tally=tally,
            may_halve=self.tile != "off",
            wanted=(lambda box: True) if mask is None else mask.any,
            seen=meter.stage(own, area.height * area.width),
        )
        for band in tiling.bands(area, plan.tile):
            # rounding and mixing take some copies of what they work on
            for strip in band.strips(_STRIP, multiple=scale):
                box = Box(area.top + strip.top // scale, area.left, strip.rows.shape[2] // scale, area.width)
                share = strength if mask is None else strength * mask.share(box, scale=scale)
                for canvas, rows in zip(canvases, strip.rows, strict=True):
                    canvas.write(box.scaled(scale), rows, share)

    def _budget(self) -> Budget:
        kind = self.engine.device.type
        free = int(_SHARE[kind] * free_memory(self.engine.device)) if self.max_memory is None else self.max_memory
        return Budget(bytes=free, given=self.max_memory is not None, on_cpu=kind == "cpu")

    def _notes_of(self, tally: Tally) -> list[str]:
        engine, notes = self.engine, []
        if tally.uncompiled:
            notes.append(f"torch.compile cannot be used here, ran without it: {tally.uncompiled}")
        if tally.overflows:
            notes.append(
                f"{tally.overflows} of {tally.passes - tally.overflows} passes overflowed in {engine.precision} and "
                "were repeated in fp32"
            )
        if tally.halvings:
            notes.append(
                f"the memory of {engine.device} was not enough as planned: tiles were halved {tally.halvings} times"
            )
        return notes

    def _say(self, notes: Sequence[str]) -> None:
        for note in notes:
            if note not in self._said:
                self._said.add(note)
                _log.warning("%s", note)


class _Meter:
    """Turns tiles that are done into calls of a progress function whose last one says that all is done."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._before = 0  # pixels of the stages that are over
        self._last = -1
        self._tell(0)

    def stage(self, own: int, seen: int) -> Callable[[int], None]:
        """Return a function that is told of the ``seen`` pixels of the next ``own`` pixels of the total."""
        done, start = 0, self._before
        self._before += own

        def advance(pixels: int) -> None:
            nonlocal done
            done += pixels
            self._tell(start + own * done // seen)

        return advance

    def finish(self) -> None:
        """Say that all is done, unless that was said."""
        self._tell(self._total)

    def _tell(self, done: int) -> None:
        if self._progress is not None and done != self._last:
            self._last = done
            self._progress(done, self._total)


def _check_options(tile: object, max_memory: int | None) -> None:
    size = isinstance(tile, int) and not isinstance(tile, bool) and tile >= _SMALLEST_OPTION
    if tile not in ("auto", "off") and not size:
        raise UsageError(f"tile is auto, off, or a side of at least {_SMALLEST_OPTION} pixels, got {tile!r}")
    if max_memory is not None and max_memory <= 0:
        raise UsageError(f"max_memory is a positive number of bytes, got {max_memory}")
