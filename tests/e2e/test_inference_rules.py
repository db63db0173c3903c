"""Right weights in the right way (field report 12): a tag fixes the way, and a bare file says which one was assumed."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
import torch

from restorekit.hub import UNMEASURED, Card, load, write_card
from restorekit.hub.convert import count_parameters, tensor_shapes
from restorekit.hub.importing import import_weights
from restorekit.inference import Restorer
from restorekit.models import MODELS
from tests.e2e.conftest import Cli, photo, put
from tests.helpers.fill import fill_tensor

PAIRS = [
    (family, first, second)
    for family in MODELS
    if MODELS.get(family).task == "restore"
    for first, second in combinations(MODELS.get(family).variants, 2)
    if tensor_shapes(family, first) == tensor_shapes(family, second)
    and MODELS.get(family).variants[first] != MODELS.get(family).variants[second]
]
"""Variants whose weights have the same names and shapes, and which use them in different ways."""

LARGE = 20_000_000  # parameters, from which on files of weights take their time
every_pair = pytest.mark.parametrize(("family", "first", "second"), PAIRS, ids=[pair[2] for pair in PAIRS])
every_pair_in_time = pytest.mark.parametrize(
    ("family", "first", "second"),
    [
        pytest.param(*pair, id=pair[2], marks=[pytest.mark.slow] if count_parameters(*pair[:2]) > LARGE else [])
        for pair in PAIRS
    ],
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def file_of(family: str, variant: str, folder: Path) -> Path:
    """Write weights under the authors' names where they have some."""
    spec = MODELS.get(family)
    with torch.device("meta"):
        template = spec.build(variant).state_dict()
    state = {key: 0.7 * fill_tensor(key, torch.empty(value.shape), 1) for key, value in template.items()}
    path = folder / "bare.pth"
    torch.save({"params": state if spec.revert is None else spec.revert(state)}, path)
    return path


def test_there_are_such_pairs() -> None:
    assert PAIRS


@every_pair
def test_a_bare_file_says_which_way_was_assumed(
    family: str, first: str, second: str, cli: Cli, cache: Path, tmp_path: Path
) -> None:
    path = file_of(family, first, tmp_path)
    ended = cli("models", "show", path)
    assert ended.code == 0, ended.error
    assert "which was assumed" in ended.text
    for variant in (first, second):
        assert f"{family} {variant!r}" in ended.text
    assert "| inference rule | padded to multiples of " in ended.text
    (note,) = [line for line in load(path).notes if "which was assumed" in line]
    assert first in note
    assert second in note


@every_pair_in_time
def test_a_tag_fixes_the_way_and_the_rows_name_it(
    family: str, first: str, second: str, cli: Cli, cache: Path, tmp_path: Path
) -> None:
    """The same file under two tags: other ways, other outputs, other names."""
    path = file_of(family, first, tmp_path)
    # longer than any window that stands for the whole of a training picture
    pixels = photo(32, 640)
    given, answers = put(tmp_path / "a.png", pixels), {}
    for variant in (first, second):
        tag = f"{variant}.same"
        import_weights(variant, path, tag=tag)
        loaded = load(tag)
        assert (loaded.variant, loaded.notes) == (variant, [])
        ended = cli("restore", given, "--model", tag, "--device", "cpu", "--out", tmp_path / f"{variant}.png", "--json")
        assert ended.code == 0, ended.error
        assert f"{family} ({variant}), weights {tag}, on cpu in fp32: padded to multiples of" in ended.error
        model = ended.json["model"]
        assert (model["variant"], model["tag"]) == (variant, tag)
        image = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0) / 255
        with torch.inference_mode():
            answers[variant] = loaded.model(image)
    assert not torch.allclose(answers[first], answers[second], rtol=1e-3)


@every_pair_in_time
def test_a_published_file_is_used_as_its_card_says(
    family: str, first: str, second: str, cache: Path, tmp_path: Path
) -> None:
    """A file that a card knows by its hash takes the card's way, not the one that its keys would suggest first."""
    path = file_of(family, first, tmp_path)
    import_weights(second, path, tag=f"{second}.published")
    loaded = load(path)
    assert loaded.variant == second
    assert loaded.notes == [f"bare.pth is {second}.published, by its SHA-256"]


def test_the_rule_of_the_card_is_the_rule_that_is_used(cache: Path, tmp_path: Path) -> None:
    rule = UNMEASURED.__class__(precision="fp32", channels_last=True, overlap=48, bytes_per_pixel=900.0, base_bytes=5)
    card = Card(
        tag="resunet-test.theirs",
        family="resunet",
        variant="resunet-test",
        task="restore",
        summary="Theirs.",
        source="https://example.org",
        licence_code="MIT",
        licence_weights="MIT",
        data="theirs",
        inference=rule,
    )
    (cache / "resunet" / card.tag).mkdir(parents=True)
    write_card(card, cache / "resunet" / card.tag / "card.toml")
    import_weights(card.tag, file_of("resunet", "resunet-test", tmp_path))
    restorer = Restorer.from_pretrained(card.tag, device="cpu")
    assert restorer.rule == rule
    assert "overlap 48, channels_last" in restorer.summary.rule
