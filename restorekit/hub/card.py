"""The card of a set of weights: what they are, where they come from, and how they are used.

A card is the file ``card.toml`` in the folder of a tag, ``<family>/<tag>/``, beside the weights. It is the one record
of them: everything that is shown or assumed about weights is read from here.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from restorekit.errors import ModelError
from restorekit.hub._files import write_text
from restorekit.models._spec import Task

__all__ = [
    "CARD_FILE",
    "UNMEASURED",
    "Card",
    "DepthRule",
    "InferenceRule",
    "check_tag",
    "is_safe_address",
    "read_card",
    "write_card",
]

CARD_FILE = "card.toml"
WEIGHTS_FILE = "model.safetensors"
_TAG = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
_HASH = re.compile(r"[0-9a-f]{64}")
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_CONTAINER = re.compile(r"[a-z_]+(/[A-Za-z0-9_.]+\.)?")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class InferenceRule:
    """How weights are used, as it was measured.

    Attributes:
        precision: The fastest precision that was measured to be safe.
        channels_last: Whether keeping the colours of a pixel together in memory was measured to help.
        overlap: Least overlap of neighbouring tiles, in pixels.
        bytes_per_pixel: Memory above the loaded model that a pixel costs.
        base_bytes: Memory above the loaded model that any picture costs.
        seconds_per_megapixel: Time on the CPU, one thread; ``None`` where it was not measured.
        whole_vs_tiled_db: PSNR of a tiled picture against the whole one; ``None`` where it was not measured.
    """

    precision: Literal["fp32", "bf16"]
    channels_last: bool
    overlap: int
    bytes_per_pixel: float
    base_bytes: int
    seconds_per_megapixel: float | None = None
    whole_vs_tiled_db: float | None = None


UNMEASURED = InferenceRule(precision="fp32", channels_last=False, overlap=64, bytes_per_pixel=16384.0, base_bytes=2**28)
"""How weights that nobody measured are used: as demanding ones, so rather in tiles than out of memory."""


@dataclass(frozen=True, kw_only=True)
class DepthRule:
    """How weights of a guided network count depth and colours; their keys cannot tell.

    Attributes:
        full_scale_m: Metres that count as 1; ``None``: every map is stretched between its own least and greatest depth.
        guide: ``plain``: the picture in [0, 1]; ``stretched``: between its own least and greatest value.
        scale: How many times finer than the depth map the picture is that the weights were trained with; ``None`` for
            real sensors, of which only pairs were there.
    """

    full_scale_m: float | None = None
    guide: Literal["plain", "stretched"]
    scale: int | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of one set of weights.

    Attributes:
        tag: Its name, which stands for exact bytes.
        family: Family of the network.
        variant: Variant of the family.
        task: What the network does, as in its ``ModelSpec``.
        summary: One sentence: what the weights are for.
        file: Name of the weights file beside the card (which may not be here, as those of other authors).
        sha256: Hash of that file; ``None`` where the file was never made.
        bytes: Size of that file.
        source: Where the weights come from: an address, or how they were made.
        source_file: Name of the authors' file, where the weights are not ours.
        source_sha256: Hash of the authors' file, by which it is recognised.
        source_bytes: Size of the authors' file; ``None`` where it is not known.
        source_container: How the weights lie in the authors' file: ``plain``, or the entry that holds them, such as
            ``params_ema``; behind a slash the prefix of all keys, as in ``state_dict/net.``.
        url: Address of the authors' file itself, for ``models pull``; ``None`` where people have to get it by hand.
        pinned: Whether ``source_sha256`` is not what the authors published but what the first file had that was seen.
        licence_code: SPDX identifier of the licence of the network's original code.
        licence_weights: SPDX identifier of the licence of the weights, or ``not stated``.
        data: What they were trained on, with its licence.
        default: Whether the family's name stands for these weights.
        inference: How they are used.
        depth: How a guided network counts depth; ``None`` for the others.
    """

    tag: str
    family: str
    variant: str
    task: Task
    summary: str
    file: str = WEIGHTS_FILE
    sha256: str | None = None
    bytes: int | None = None
    source: str
    source_file: str | None = None
    source_sha256: str | None = None
    source_bytes: int | None = None
    source_container: str | None = None
    url: str | None = None
    pinned: bool = False
    licence_code: str
    licence_weights: str
    data: str
    default: bool = False
    inference: InferenceRule
    depth: DepthRule | None = None


_TABLES: dict[str, type[InferenceRule] | type[DepthRule]] = {"inference": InferenceRule, "depth": DepthRule}


def is_safe_address(url: str) -> bool:
    """Tell whether nobody on the way can change what an address gives: https, or http on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and host in _THIS_MACHINE))


def check_tag(tag: str) -> str:
    """Return a tag if it may be the name of a folder on every system.

    Raises:
        ModelError: It has other characters than small letters, digits, ``-``, ``_`` and single dots between them.
    """
    if len(tag) > 100 or not _TAG.fullmatch(tag):
        raise ModelError(
            f"{tag!r} cannot be a tag; use small letters, digits, '-', '_' and dots, such as 'resunet.mine-v1'"
        )
    return tag


def read_card(path: Path) -> Card:
    """Read a card.

    Raises:
        ModelError: The file is missing or no TOML, or a key is unknown, missing, or has a value that it cannot have.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"{path} cannot be read as a card ({error}); restore it or remove its folder") from error
    for table, kind in _TABLES.items():
        if isinstance(content.get(table), dict):
            content[table] = _build(kind, content[table], f"{path}, [{table}]")
    card = _build(Card, content, str(path))
    _check(card, path)
    return card


def write_card(card: Card, path: Path) -> None:
    """Write a card; ``read_card`` returns an equal one. A file that is there is replaced, as a whole or not at all."""
    values = asdict(card)
    tables = {table: values.pop(table) for table in _TABLES}
    lines = _lines(values)
    for table, content in tables.items():
        lines += ["", f"[{table}]", *_lines(content)] if content is not None else []
    write_text(path, "\n".join(lines) + "\n")


def _lines(values: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in values.items() if value is not None]


def _toml(value: str | bool | float) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
    return repr(value)


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    """Return the types of a dataclass's fields; to find them out takes longer than to read a card."""
    return get_type_hints(kind)


def _build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build a dataclass from parsed TOML, strictly."""
    hints = _hints(kind)  # type: ignore[arg-type]  # a class can be hashed
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # both kinds are dataclasses
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}."
            raise ModelError(f"{where}: unknown key {key!r}; {hint}")
    missing = [key for key, field in known.items() if field.default is MISSING and key not in values]
    if missing:
        raise ModelError(f"{where} lacks {', '.join(missing)}; add what is missing")
    return kind(**{key: _checked(value, hints[key], f"{where}: {key}") for key, value in values.items()})


def _checked(value: object, hint: Any, where: str) -> object:
    """Return a value that has the type of its field (a whole number may stand for a float)."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not types.NoneType)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ModelError(f"{where} is {value!r}; it must be one of {', '.join(map(str, get_args(hint)))}")
    elif hint is float and type(value) is int:
        return float(value)
    elif type(value) is not hint:
        raise ModelError(f"{where} is {value!r}; it must be of type {hint.__name__}")
    return value


def _check(card: Card, path: Path) -> None:
    """Refuse values that no card can have."""
    check_tag(card.tag)
    if not _FILE.fullmatch(card.file):
        raise ModelError(f"{path}: file is {card.file!r}; it must be the name of a .safetensors file beside the card")
    for key in ("sha256", "source_sha256"):
        value = getattr(card, key)
        if value is not None and not _HASH.fullmatch(value):
            raise ModelError(f"{path}: {key} is {value!r}; it must be 64 hexadecimal digits in small letters")
    if card.source_container is not None and not _CONTAINER.fullmatch(card.source_container):
        raise ModelError(
            f"{path}: source_container is {card.source_container!r}; it must be the name of an entry, or 'plain', with "
            "the prefix of the keys behind a slash if they have one, such as 'state_dict/net.'"
        )
    if card.url is not None and not is_safe_address(card.url):
        raise ModelError(f"{path}: url is {card.url!r}; it must be an https address")
    if card.pinned and card.source_sha256 is None:
        raise ModelError(f"{path}: pinned needs the source_sha256 that it is about; give both or none")
    if (card.sha256 is None) != (card.bytes is None):
        raise ModelError(f"{path}: sha256 and bytes belong together; give both or none")
    _check_depth(card, path)
    rule = card.inference
    if min(rule.overlap, rule.base_bytes) < 0 or rule.bytes_per_pixel <= 0:
        raise ModelError(
            f"{path}, [inference]: overlap and base_bytes cannot be negative, bytes_per_pixel must be more than 0"
        )


def _check_depth(card: Card, path: Path) -> None:
    rule = card.depth
    if rule is None:
        return
    if card.task != "guided":
        raise ModelError(f"{path}: [depth] is for guided networks, and the task is {card.task!r}; take it out")
    if (rule.full_scale_m is not None and not 0 < rule.full_scale_m < 1e6) or (
        rule.scale is not None and rule.scale < 2
    ):
        raise ModelError(
            f"{path}, [depth]: full_scale_m is a positive number of metres, scale a whole number from 2 on"
        )
