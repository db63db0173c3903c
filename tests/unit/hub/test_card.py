"""Cards say what they said when they are read again, and nothing wrong in one goes unseen."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restorekit.errors import ModelError
from restorekit.hub import UNMEASURED, Card, InferenceRule, read_card, write_card

CARD = Card(
    tag="resunet.one-v1",
    family="resunet",
    variant="resunet",
    task="restore",
    summary="For tests.",
    sha256="0" * 64,
    bytes=12,
    source="made here",
    licence_code="Apache-2.0",
    licence_weights="Apache-2.0",
    data="nothing",
    inference=UNMEASURED,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_card(CARD, tmp_path / "card.toml")
    return tmp_path / "card.toml"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_card_that_was_written_is_read_as_it_was(path: Path) -> None:
    assert read_card(path) == CARD
    assert [file.name for file in path.parent.iterdir() if file.is_file()] == ["card.toml"]


@settings(max_examples=60)
@given(
    summary=TEXT,
    default=st.booleans(),
    seconds=st.none() | st.floats(0, allow_nan=False),
    decibels=st.none() | st.floats(allow_nan=False),
    overlap=st.integers(0, 10**6),
)
def test_any_text_and_number_survives(
    tmp_path_factory: pytest.TempPathFactory,
    summary: str,
    default: bool,
    seconds: float | None,
    decibels: float | None,
    overlap: int,
) -> None:
    rule = replace(UNMEASURED, seconds_per_megapixel=seconds, whole_vs_tiled_db=decibels, overlap=overlap)
    card = replace(CARD, summary=summary, source_file=summary or None, default=default, inference=rule)
    path = tmp_path_factory.getbasetemp() / "any.toml"
    write_card(card, path)
    assert read_card(path) == card


def test_a_whole_number_may_stand_for_a_float(path: Path) -> None:
    change(path, "bytes_per_pixel = 16384.0", "bytes_per_pixel = 16384")
    value = read_card(path).inference.bytes_per_pixel
    assert type(value) is float
    assert value == 16384


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("licence_code", "license_code", r"card.toml: unknown key 'license_code'; did you mean 'licence_code'\?"),
        ("overlap", "overlab", r"card.toml, \[inference\]: unknown key 'overlab'; did you mean 'overlap'\?"),
        ('data = "nothing"\n', "", "card.toml lacks data; add what is missing"),
        ("overlap = 64\n", "", r"card.toml, \[inference\] lacks overlap"),
        ('"nothing"', "3", "card.toml: data is 3; it must be of type str"),
        ("default = false", "default = 0", "default is 0; it must be of type bool"),
        ("bytes = 12", "bytes = true", "bytes is True; it must be of type int"),
        ("bytes = 12", "bytes = 1.5", "bytes is 1.5; it must be of type int"),
        ('"fp32"', '"fp8"', "precision is 'fp8'; it must be one of fp32, bf16"),
        ('"restore"', '"restoring"', "task is 'restoring'; it must be one of restore, guided"),
        ("overlap = 64", "overlap = -1", "overlap and base_bytes cannot be negative"),
        ("16384.0", "0.0", "bytes_per_pixel must be more than 0"),
        ("0" * 64, "0" * 63 + "G", "sha256 is '0+G'; it must be 64 hexadecimal digits"),
        ("bytes = 12\n", "", "sha256 and bytes belong together"),
        ("model.safetensors", "../model.safetensors", "the name of a .safetensors file beside the card"),
        ("model.safetensors", "model.pth", "the name of a .safetensors file beside the card"),
        ("resunet.one-v1", "../../one", "cannot be a tag"),
        ("resunet.one-v1", "one..two", "cannot be a tag"),
        ("default = false", 'url = "http://example.org/a"', "it must be an https address"),
        ("default = false", 'url = "file:///etc/passwd"', "it must be an https address"),
        ("default = false", 'url = "https://"', "it must be an https address"),
        ("default = false", 'source_container = "state dict"', "it must be the name of an entry, or 'plain'"),
        ("pinned = false", "pinned = true", "pinned needs the source_sha256 that it is about"),
        ("[inference]", "[inference", r"cannot be read as a card \(.*\); restore it or remove its folder"),
        ("[inference]", "[other]", "unknown key 'other'"),
    ],
)
def test_what_is_wrong_in_a_card_is_said(path: Path, old: str, new: str, message: str) -> None:
    change(path, old, new)
    with pytest.raises(ModelError, match=message):
        read_card(path)


@pytest.mark.parametrize("container", ["plain", "params_ema", "state_dict/net.", "state_dict/module.net."])
def test_where_a_file_lies_and_what_is_in_it_is_kept(tmp_path: Path, container: str) -> None:
    card = replace(
        CARD,
        source_file="net.ckpt",
        source_sha256="1" * 64,
        source_bytes=5,
        source_container=container,
        url="https://example.org/net.ckpt?download=true",
        pinned=True,
    )
    write_card(card, tmp_path / "card.toml")
    assert read_card(tmp_path / "card.toml") == card


def test_a_missing_card_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"card.toml cannot be read as a card"):
        read_card(tmp_path / "card.toml")


def test_a_rule_that_is_no_table_is_refused(path: Path) -> None:
    text = path.read_text(encoding="utf-8").split("[inference]")[0]
    path.write_text(text + 'inference = "fast"\n', encoding="utf-8")
    with pytest.raises(ModelError, match=r"inference is 'fast'; it must be of type InferenceRule"):
        read_card(path)


def test_infinity_is_a_number(tmp_path: Path) -> None:
    rule: InferenceRule = replace(UNMEASURED, whole_vs_tiled_db=math.inf)
    write_card(replace(CARD, inference=rule), tmp_path / "card.toml")
    assert read_card(tmp_path / "card.toml").inference.whole_vs_tiled_db == math.inf
