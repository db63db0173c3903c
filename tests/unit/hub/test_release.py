"""What is released is what was trained, and its page says what its card and its scores say."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from restorekit.errors import ModelError
from restorekit.hub import UNMEASURED, Card, Scores, SetScore, create_model, load, read_card, release
from restorekit.hub.card_page import render, render_folder, show_weights
from restorekit.hub.scores import read_scores, write_scores
from tests.unit.hub.conftest import VARIANT, bundle

SCORES = Scores(
    protocol="rgb8",
    rows=(
        SetScore(set="Kodak24 clean", pictures=8, psnr_input=None, psnr_output=41.237),
        SetScore(set="CBSD68 sigma 25", pictures=68, psnr_input=20.54, psnr_output=29.31, worst_gain=6.125),
        SetScore(set="GoPro", pictures=2, psnr_input=21.93, psnr_output=21.90, worst_gain=-0.041),
    ),
    commands=("restorekit train run seven-task", "restorekit train release runs/a --tag resunet-test.one"),
    commit="abc1234",
    device="a processor, 1 thread",
    torch="2.6.0",
)
RULE = replace(
    UNMEASURED, bytes_per_pixel=1000.0, base_bytes=2**20, seconds_per_megapixel=4.0, whole_vs_tiled_db=61.25, overlap=48
)


def put(network: nn.Module, zoo: Path, tag: str = "resunet-test.one", **changes: object) -> Card:
    given = {
        "family": "resunet",
        "variant": VARIANT,
        "summary": "For tests.",
        "source": "trained here",
        "data": "Kodak24 (free)",
        "inference": RULE,
        "scores": SCORES,
        "folder": zoo,
        **changes,
    }
    return release(network, tag=tag, **given)  # type: ignore[arg-type]  # the tests change one at a time


def test_a_release_has_four_files_and_loads(network: nn.Module, zoo: Path) -> None:
    card = put(network, zoo)
    folder = zoo / "resunet" / "resunet-test.one"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "card.toml",
        "model.safetensors",
        "scores.json",
    ]
    assert read_card(folder / "card.toml") == card
    assert read_scores(folder / "scores.json") == SCORES
    assert (folder / "README.md").read_text(encoding="utf-8") == render(card, SCORES) == render_folder(folder)
    found = load(card.tag).model.state_dict()
    assert all(torch.equal(found[key], value.half().float()) for key, value in network.state_dict().items())
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert card.bytes is not None
    assert 2 * parameters < card.bytes < 2.1 * parameters
    assert (card.licence_code, card.licence_weights, card.task) == ("Apache-2.0", "Apache-2.0", "restore")


def test_the_same_weights_give_the_same_bytes(network: nn.Module, zoo: Path) -> None:
    first, second = put(network, zoo), put(network, zoo, "resunet-test.two")
    assert first.sha256 == second.sha256


def test_a_release_without_scores_has_none(network: nn.Module, zoo: Path) -> None:
    put(network, zoo, scores=None)
    assert not (zoo / "resunet" / "resunet-test.one" / "scores.json").exists()
    assert "PSNR" not in (zoo / "resunet" / "resunet-test.one" / "README.md").read_text(encoding="utf-8")


def test_a_tag_that_is_there_is_not_replaced_unasked(network: nn.Module, zoo: Path) -> None:
    first = put(network, zoo)
    folder = zoo / "resunet" / first.tag
    (folder / "train.jsonl").write_text("kept", encoding="utf-8")
    other = create_model("resunet", variant=VARIANT)
    with pytest.raises(
        ModelError, match=r"resunet-test.one exists; choose another tag, or say that it may be overwritten"
    ):
        put(other, zoo)
    assert read_card(folder / "card.toml") == first
    second = put(other, zoo, overwrite=True)
    assert read_card(folder / "card.toml") == second != first
    assert (folder / "train.jsonl").read_text(encoding="utf-8") == "kept"


def test_one_set_of_weights_is_the_default(network: nn.Module, zoo: Path) -> None:
    put(network, zoo, "resunet-test.v1", default=True)
    put(network, zoo, "resunet-test.v2", default=True)
    cards = {path.parent.name: read_card(path).default for path in zoo.rglob("card.toml")}
    assert cards == {"resunet-test.v1": False, "resunet-test.v2": True}
    assert load("resunet").tag == "resunet-test.v2"


def test_weights_that_do_not_fit_or_are_broken_are_not_released(network: nn.Module, zoo: Path) -> None:
    with pytest.raises(ModelError, match="not the weights of 'resunet': "):
        put(network, zoo, variant="resunet")
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = math.nan
    with pytest.raises(ModelError, match="not finite"):
        put(network, zoo)
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = 1e6
    with pytest.raises(ModelError, match="beyond the range of half precision"):
        put(network, zoo)
    with pytest.raises(ModelError, match="is the name of a network"):
        put(network, zoo, "resunet")
    assert list(zoo.rglob("*.*")) == []


def test_an_infinite_score_is_no_number_in_json(tmp_path: Path) -> None:
    rows = (SetScore(set="clean", pictures=1, psnr_input=math.inf, psnr_output=40.0),)
    write_scores(replace(SCORES, rows=rows), tmp_path / "scores.json")
    record = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert record["rows"][0]["psnr_input"] is None
    assert read_scores(tmp_path / "scores.json").rows[0].psnr_input is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"protocol"', '"protokol"'),
        ('"psnr_output"', '"psnr"'),
        ('"rows"', '"lines"'),
        ("{", ""),
        ('"pictures"', '"number"'),
    ],
)
def test_scores_with_another_key_are_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "scores.json"
    write_scores(SCORES, path)
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ModelError, match=r"scores.json cannot be read as scores \(.*\); score the weights again"):
        read_scores(path)


@pytest.mark.parametrize(
    "line",
    [
        "# resunet-test.one",
        "| network | resunet, variant `resunet-test` (restore) |",
        "| licence of the weights | Apache-2.0 |",
        "| trained on | Kodak24 (free) |",
        "- Precision that was found to be safe: fp32",
        "- Memory for 512x512, above the loaded model: 251 MiB (1000 bytes per pixel)",
        "- Time for 512x512, CPU: 1.05 s",
        "- Tiles overlap by 48 pixels; tiled against whole: 61.2 dB",
        "| Kodak24 clean | 8 | clean | 41.24 | | |",
        "| CBSD68 sigma 25 | 68 | 20.54 | 29.31 | +8.77 | +6.12 |",
        "| GoPro | 2 | 21.93 | 21.90 | -0.03 | -0.04 |",
        "Commit `abc1234`, PyTorch 2.6.0, a processor, 1 thread:",
        "restorekit train release runs/a --tag resunet-test.one",
        "restorekit restore photo.jpg --model resunet-test.one",
    ],
)
def test_the_page_says(network: nn.Module, zoo: Path, line: str) -> None:
    card = put(network, zoo)
    assert line in render(card, SCORES).splitlines()


def test_parameters_and_size_are_counted(network: nn.Module, zoo: Path) -> None:
    card = put(network, zoo)
    page = render(card, SCORES)
    assert f"| parameters | {sum(p.numel() for p in network.parameters()):,} |" in page
    assert f"| file | `model.safetensors`, {card.bytes:,} bytes |" in page
    assert f"| SHA-256 | `{card.sha256}` |" in page


def test_what_is_shown_is_the_page_and_the_record(network: nn.Module, zoo: Path) -> None:
    card = put(network, zoo)
    shown = show_weights("resunet")
    assert shown.page == render(card, SCORES)
    assert shown.record["tag"] == card.tag
    assert shown.record["place"] == "bundled"
    assert shown.record["scores"]["rows"][1]["psnr_output"] == 29.31
    json.dumps(shown.record)
    bundle(network, zoo, "resunet-test.plain")
    assert show_weights("resunet-test.plain").record["scores"] is None
    with pytest.raises(ModelError, match="no weights of 'hogformer' are here"):
        show_weights("hogformer")
