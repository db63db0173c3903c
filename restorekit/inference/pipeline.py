"""Pipelines: several steps as one callable, for one picture, a list, a stream, or a DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from restorekit.errors import UsageError
from restorekit.inference.restorer import Restorer
from restorekit.io import ImageData

__all__ = ["Pipeline"]

_PICTURES = (Tensor, np.ndarray, Image.Image, ImageData, str, Path)


class Pipeline:
    """Steps that are applied one after the other.

    A step is a ``Restorer`` or anything that takes a picture and returns one. Calling the pipeline with one picture
    (any kind that a ``Restorer`` takes) returns one; with a list or tuple, a list; with any other iterable (a
    generator, an iterator, a DataLoader), an iterator that takes from it only what it is asked for, ``batch_size`` at
    a time. A ``Restorer`` gets the pictures of a list or stream together and shares passes where they are small and of
    equal size; any other step gets them one by one.

    A pipeline can be pickled if its steps can, so it works as a ``transform`` inside a dataset, and its ``collate`` as
    a DataLoader's ``collate_fn``, with any number of workers.

    Args:
        steps: At least one step.
        batch_size: How many pictures of a list or stream are held at a time.

    Raises:
        UsageError: There is no step, one cannot be called, or ``batch_size`` is not positive.
    """

    def __init__(self, steps: Sequence[Callable[[Any], Any]], *, batch_size: int = 8) -> None:
        if not steps:
            raise UsageError("a pipeline needs at least one step")
        for index, step in enumerate(steps):
            if not callable(step):
                raise UsageError(
                    f"step {index} of the pipeline, a {type(step).__name__}, cannot be called; "
                    "give a Restorer or a function"
                )
        if batch_size < 1:
            raise UsageError(f"batch_size is at least 1, got {batch_size}")
        self.steps = tuple(steps)
        self.batch_size = batch_size

    def __call__(self, pictures: object) -> Any:
        """Apply all steps.

        Args:
            pictures: One picture, a list or tuple of them, or any other iterable.

        Returns:
            A picture, a list, or an iterator.

        Raises:
            UsageError: ``pictures`` is none of these.
            RestoreKitError: What a step raises.
        """
        if isinstance(pictures, _PICTURES):
            return self._apply([pictures])[0]
        if not isinstance(pictures, Iterable):
            raise UsageError(
                f"a pipeline takes a picture, a list or an iterator of pictures, not a {type(pictures).__name__}"
            )
        stream = self._stream(iter(pictures))
        return list(stream) if isinstance(pictures, list | tuple) else stream

    def collate(self, samples: Sequence[Any]) -> Any:
        """Apply all steps to the samples of a DataLoader's batch and put them together (a ``collate_fn``).

        Args:
            samples: Pictures, or tuples whose first entry is a picture and whose others pass through.

        Returns:
            A tensor ``(B, C, H, W)`` of tensors, or ``(B, H, W[, C])`` of arrays, if their sizes are equal, else the
            list of pictures. For tuples, a list of that and of what PyTorch's own collate function makes of the rest.
        """
        if not isinstance(samples[0], tuple):
            return _together(self._apply(samples))
        pictures = self._apply([sample[0] for sample in samples])
        return [_together(pictures), *default_collate([sample[1:] for sample in samples])]

    def _stream(self, pictures: Iterator[Any]) -> Iterator[Any]:
        while chunk := list(islice(pictures, self.batch_size)):
            yield from self._apply(chunk)

    def _apply(self, pictures: Sequence[Any]) -> list[Any]:
        pictures = list(pictures)
        for step in self.steps:
            pictures = step.restore_many(pictures) if isinstance(step, Restorer) else [step(one) for one in pictures]
        return pictures


def _together(pictures: list[Any]) -> Any:
    """Stack pictures that can be stacked."""
    stackable = all(isinstance(one, Tensor | np.ndarray) for one in pictures)
    return default_collate(pictures) if stackable and len({one.shape for one in pictures}) == 1 else pictures
