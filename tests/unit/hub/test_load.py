"""A name or a file becomes the network that it stands for, with these very weights, or a sentence that says why not."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from restorekit.errors import ModelError, UnknownNameError
from restorekit.hub import DEFAULT_MODEL, UNMEASURED, cache_folder, create_model, list_models, load, resolve, write_card
from restorekit.models import MODELS
from tests.unit.hub.conftest import VARIANT, bundle

PICTURE = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def halved(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.half().float() for key, value in network.state_dict().items()}


def has_weights(model: nn.Module, expected: dict[str, Tensor]) -> bool:
    found = model.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


def scaled(network: nn.Module, factor: float) -> nn.Module:
    """Return other weights of the same network."""
    other = create_model("resunet", variant=VARIANT)
    other.load_state_dict({key: factor * value for key, value in network.state_dict().items()})
    return other


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resunet", "auto", VARIANT, "resunet-test.one"])
def test_family_variant_tag_and_auto_stand_for_the_weights(network: nn.Module, zoo: Path, name: str) -> None:
    card = bundle(network, zoo, default=True)
    loaded = load(name)
    assert has_weights(loaded.model, halved(network))
    assert (loaded.spec.name, loaded.variant, loaded.tag, loaded.notes) == ("resunet", VARIANT, card.tag, [])
    assert loaded.card == card
    assert not loaded.model.training
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    with torch.inference_mode():
        assert loaded.model(PICTURE).shape == PICTURE.shape


def test_auto_is_a_family_that_restores() -> None:
    assert MODELS.get(DEFAULT_MODEL).task == "restore"


def test_the_default_comes_before_newer_weights(network: nn.Module, zoo: Path) -> None:
    bundle(network, zoo, "resunet-test.v1", default=True)
    bundle(scaled(network, 0.5), zoo, "resunet-test.v2")
    assert load("resunet").tag == "resunet-test.v1"
    assert load("resunet").notes == []


def test_of_weights_without_a_default_the_last_is_taken_and_said(network: nn.Module, zoo: Path) -> None:
    bundle(network, zoo, "resunet-test.v9")
    bundle(scaled(network, 0.5), zoo, "resunet-test.v10")
    loaded = load(VARIANT)
    assert loaded.tag == "resunet-test.v10"
    assert loaded.notes == [
        f"{VARIANT!r} stands for several weights; resunet-test.v10 was taken, there are also resunet-test.v9"
    ]


def test_imported_weights_are_taken_in_the_order_of_their_import(network: nn.Module, zoo: Path) -> None:
    card = bundle(network, zoo)
    for tag, age in (("resunet-test.new", 10), ("resunet-test.old", 20)):
        folder = cache_folder() / "resunet" / tag
        shutil.copytree(zoo / "resunet" / card.tag, folder)
        write_card(replace(card, tag=tag), folder / "card.toml")
        os.utime(folder / card.file, (2e9 - age, 2e9 - age))
    assert load("resunet").tag == "resunet-test.new"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet", r"unknown model 'resnet'; did you mean resunet"),
        ("resunet-test.on", "unknown model 'resunet-test.on'; did you mean resunet-test.one"),
        ("hogformer-tyni", "did you mean hogformer-tiny"),
    ],
)
def test_unknown_names_suggest(network: nn.Module, zoo: Path, name: str, message: str) -> None:
    bundle(network, zoo)
    with pytest.raises(UnknownNameError, match=message):
        load(name)


def test_a_family_without_weights_says_how_they_come(network: nn.Module, zoo: Path) -> None:
    with pytest.raises(
        ModelError, match=r"no weights of 'resunet' are here; import .*: restorekit models import resunet FILE"
    ):
        load("resunet")
    card = bundle(network, zoo)
    absent = replace(card, tag="resunet-test.theirs", sha256=None, bytes=None, source="https://example.org")
    (zoo / "resunet" / card.tag).rename(zoo / "resunet" / absent.tag)
    write_card(absent, zoo / "resunet" / absent.tag / "card.toml")
    how = r"get the file from https://example.org and run: restorekit models import resunet-test.theirs FILE"
    with pytest.raises(ModelError, match=rf"no weights of '{VARIANT}' are here; {how}"):
        load(VARIANT)
    with pytest.raises(ModelError, match=rf"the weights 'resunet-test.theirs' are not here; {how}"):
        load("resunet-test.theirs")


def test_what_a_name_stands_for_is_known_without_reading_weights(network: nn.Module, zoo: Path) -> None:
    card = bundle(network, zoo)
    (zoo / "resunet" / card.tag / card.file).write_bytes(b"damaged")
    found = resolve("resunet")
    assert (found.variant, found.entry and found.entry.card.tag) == (VARIANT, card.tag)
    assert resolve("hogformer").entry is None
    assert resolve("hogformer").variant == MODELS.get("hogformer").default_variant


# --- damage (field report 11) -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["short", "flipped", "swapped"])
def test_damaged_weights_are_not_used(network: nn.Module, zoo: Path, damage: str) -> None:
    card = bundle(network, zoo)
    path = zoo / "resunet" / card.tag / card.file
    data = path.read_bytes()
    other = bundle(scaled(network, 0.5), zoo, "resunet-test.two")
    changed = {
        "short": data[: int(0.98 * len(data))],
        "flipped": data[:-1] + bytes([data[-1] ^ 1]),
        "swapped": (zoo / "resunet" / other.tag / other.file).read_bytes(),
    }
    path.write_bytes(changed[damage])
    with pytest.raises(ModelError, match=rf"{path} is damaged: .*; install RestoreKit again"):
        load(card.tag)


def test_a_card_of_another_variant_than_its_weights_is_found_out(network: nn.Module, zoo: Path) -> None:
    card = bundle(network, zoo)
    write_card(replace(card, variant="resunet"), zoo / "resunet" / card.tag / "card.toml")
    with pytest.raises(ModelError, match=r"not the weights of 'resunet': .*wrong shapes"):
        load(card.tag)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_text", [True, False])
def test_a_file_is_recognised_by_its_keys(network: nn.Module, tmp_path: Path, as_text: bool) -> None:
    path = tmp_path / "mine.pth"
    torch.save({"params": network.state_dict()}, path)
    loaded = load(str(path) if as_text else path)
    assert has_weights(loaded.model, dict(network.state_dict()))
    assert (loaded.tag, loaded.card, loaded.variant) == (None, None, VARIANT)
    assert loaded.notes == [
        f"no card knows mine.pth; by its keys it is resunet {VARIANT!r}, whose inference rule was not measured: fp32, "
        "tiles overlap by 64 pixels"
    ]
    assert (loaded.rule, loaded.scale) == (UNMEASURED, 1)


def test_a_file_is_recognised_by_its_hash(network: nn.Module, zoo: Path, tmp_path: Path) -> None:
    card = bundle(network, zoo)
    path = tmp_path / "copy.bin"
    shutil.copy(zoo / "resunet" / card.tag / card.file, path)
    loaded = load(path)
    assert (loaded.tag, loaded.card) == (card.tag, card)
    assert loaded.notes == [f"copy.bin is {card.tag}, by its SHA-256"]


def test_an_authors_file_takes_the_settings_of_its_card(network: nn.Module, zoo: Path, tmp_path: Path) -> None:
    card = bundle(network, zoo)
    path = tmp_path / "published.pth"
    torch.save({"params": network.state_dict()}, path)
    from restorekit.hub._files import sha256_of

    theirs = replace(card, tag="resunet-test.theirs", sha256=None, bytes=None, source_sha256=sha256_of(path))
    (zoo / "resunet" / theirs.tag).mkdir()
    write_card(theirs, zoo / "resunet" / theirs.tag / "card.toml")
    loaded = load(path)
    assert loaded.card == theirs
    assert loaded.notes == ["published.pth is resunet-test.theirs, by its SHA-256"]
    assert has_weights(loaded.model, dict(network.state_dict()))


def test_a_name_comes_before_a_file_and_a_path_is_a_file(
    network: nn.Module, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = bundle(network, zoo)
    monkeypatch.chdir(tmp_path)
    torch.save(scaled(network, 0.5).state_dict(), tmp_path / "resunet")
    assert load("resunet").tag == card.tag
    assert load(Path("resunet")).tag is None
    assert load("./resunet").tag is None


def test_a_file_without_suffix_is_found(network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(network.state_dict(), tmp_path / "mine")
    assert load("mine").variant == VARIANT


def test_a_missing_file_and_a_folder_are_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing.pth is not there; check the name"):
        load(str(tmp_path / "nothing.pth"))
    with pytest.raises(ModelError, match=r"nothing.ckpt is not there"):
        load("nothing.ckpt")
    with pytest.raises(ModelError, match="is a folder; name the file of weights in it"):
        load(tmp_path)


# --- building ---------------------------------------------------------------------------------------------------------


def test_a_network_without_weights_is_the_variant_of_the_default_weights(network: nn.Module, zoo: Path) -> None:
    assert len(create_model("resunet").state_dict()) > len(network.state_dict())
    bundle(network, zoo, default=True)
    assert create_model("resunet").state_dict().keys() == network.state_dict().keys()
    assert create_model("resunet").training
    whole = create_model("resunet", variant="resunet").state_dict()
    assert len(whole) > len(network.state_dict())
    assert create_model("resunet", variant="resunet", width=8).state_dict().keys() == whole.keys()


@pytest.mark.parametrize("name", ["resunet", VARIANT, "resunet-test.one"])
def test_pretrained_brings_the_weights(network: nn.Module, zoo: Path, name: str) -> None:
    bundle(network, zoo, default=True)
    assert has_weights(create_model(name, pretrained=True), halved(network))
    assert not has_weights(create_model(name), halved(network))
    assert has_weights(create_model("resunet", variant=VARIANT, pretrained=True), halved(network))


def test_pretrained_may_be_a_tag_or_a_file(network: nn.Module, zoo: Path, tmp_path: Path) -> None:
    bundle(scaled(network, 0.5), zoo, "resunet-test.two")
    bundle(network, zoo, default=True)
    assert has_weights(create_model("resunet", pretrained="resunet-test.two"), halved(scaled(network, 0.5)))
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    assert has_weights(create_model("resunet", pretrained=tmp_path / "mine.pth"), dict(network.state_dict()))


def test_weights_that_do_not_fit_are_refused(network: nn.Module, zoo: Path) -> None:
    bundle(network, zoo, default=True)
    with pytest.raises(ModelError, match=r"the weights resunet-test.one do not fit 'resunet-test' as asked for"):
        create_model("resunet", pretrained=True, width=16)
    with pytest.raises(ModelError, match="do not fit 'hogformer-test' as asked for"):
        create_model("hogformer", variant="hogformer-test", pretrained="resunet-test.one")


def test_unknown_variants_and_arguments_suggest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown variant of resunet 'resunet-tset'; did you mean resunet-test"):
        create_model("resunet", variant="resunet-tset")
    with pytest.raises(UnknownNameError, match=r"'widths'; did you mean width"):
        create_model("resunet", widths=3)


def test_networks_and_weights_are_listed(network: nn.Module, zoo: Path) -> None:
    names = list_models()
    assert names == sorted(names)
    assert {"resunet", "hogformer-tiny", "hogformer-natural"} <= set(names)
    assert not [name for name in names if name.endswith("-test")]
    assert list_models("hogformer-t*") == ["hogformer-tiny"]
    bundle(network, zoo)
    assert list_models(pretrained=True) == ["resunet-test.one"]
