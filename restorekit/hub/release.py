"""Put trained weights into the zoo: file, card, scores and page, all at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from restorekit.errors import ModelError
from restorekit.hub._files import sha256_of, staged_folder, write_text
from restorekit.hub.card import CARD_FILE, WEIGHTS_FILE, Card, InferenceRule, read_card, write_card
from restorekit.hub.card_page import PAGE_FILE, render_folder
from restorekit.hub.convert import recognise
from restorekit.hub.scores import SCORES_FILE, Scores, write_scores
from restorekit.hub.store import check_new_tag
from restorekit.io.atomic import atomic_file
from restorekit.models import MODELS

__all__ = ["release", "write_weights"]


def release(
    model: nn.Module,
    *,
    tag: str,
    family: str,
    variant: str,
    summary: str,
    source: str,
    data: str,
    inference: InferenceRule,
    scores: Scores | None,
    folder: Path,
    licence_weights: str = "Apache-2.0",
    default: bool = False,
    overwrite: bool = False,
) -> Card:
    """Write the weights of a network in half precision, with card, scores and page, to ``folder/<family>/<tag>/``.

    Args:
        model: The network.
        tag: Name of the weights, such as ``resunet.seven-task-v1``.
        family: Its family.
        variant: Its variant; its weights must fit it exactly.
        summary: One sentence: what the weights are for.
        source: How they were made.
        data: What they were trained on, with its licence.
        inference: How they are used, as measured.
        scores: What they reach; ``None`` if nothing was measured.
        folder: The zoo.
        licence_weights: SPDX identifier.
        default: Whether the family's name stands for them from now on; other weights lose that.
        overwrite: Whether a tag that is there may be replaced; other files in its folder stay.

    Returns:
        The card.

    Raises:
        ModelError: The tag cannot be one or is taken, the weights do not fit, are not finite, or overflow in half
            precision.
    """
    spec = MODELS.get(family)
    check_new_tag(tag)
    target = folder / spec.name / tag
    if target.exists() and not overwrite:
        raise ModelError(f"{target} exists; choose another tag, or say that it may be overwritten")
    state = recognise(model.state_dict(), name=tag, family=spec.name, variant=variant).state
    with staged_folder(target, last=CARD_FILE) as staged:
        digest, size = write_weights(_halved(state), staged / WEIGHTS_FILE)
        card = Card(
            tag=tag,
            family=spec.name,
            variant=variant,
            task=spec.task,
            summary=summary,
            sha256=digest,
            bytes=size,
            source=source,
            licence_code=spec.licence,
            licence_weights=licence_weights,
            data=data,
            default=default,
            inference=inference,
        )
        write_card(card, staged / CARD_FILE)
        if scores is not None:
            write_scores(scores, staged / SCORES_FILE)
        write_text(staged / PAGE_FILE, render_folder(staged))
    if default:
        _take_default_from_others(card, folder)
    return card


def write_weights(state: dict[str, Tensor], path: Path) -> tuple[str, int]:
    """Write a state dict as safetensors and return its SHA-256 and size in bytes."""
    with atomic_file(path) as file:
        file.write(safetensors.torch.save(state, {"format": "pt"}))
    return sha256_of(path), path.stat().st_size


def _halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    halved = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    for key, value in halved.items():
        if not bool(torch.isfinite(value).all()):
            raise ModelError(
                f"{key} holds values beyond the range of half precision; these weights went astray in training"
            )
    return halved


def _take_default_from_others(card: Card, zoo: Path) -> None:
    for path in sorted((zoo / card.family).glob(f"[!.]*/{CARD_FILE}")):
        other = read_card(path)
        if other.default and other.tag != card.tag:
            write_card(replace(other, default=False), path)
