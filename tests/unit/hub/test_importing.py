"""Weights of others become weights with a card of ours: strictly, as a whole, and under a name that is free."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from restorekit.errors import ModelError, UnknownNameError
from restorekit.hub import (
    UNMEASURED,
    Card,
    cache_folder,
    create_model,
    import_weights,
    importing,
    load,
    read_card,
    write_card,
)
from restorekit.hub._files import sha256_of
from restorekit.hub.store import verify
from restorekit.models import MODELS
from tests.unit.hub.conftest import VARIANT, bundle

RULE = replace(UNMEASURED, overlap=48, bytes_per_pixel=900.0)
SUM = "0" * 64


@pytest.fixture
def file(network: nn.Module, tmp_path: Path) -> Path:
    torch.save({"params": network.state_dict()}, tmp_path / "net_g.pth")
    return tmp_path / "net_g.pth"


def published(zoo: Path, tag: str = "resunet-test.theirs", source_sha256: str | None = None) -> Card:
    """Put a card without its file into the zoo."""
    card = Card(
        tag=tag,
        family="resunet",
        variant=VARIANT,
        task="restore",
        summary="Theirs.",
        source="https://example.org",
        source_sha256=source_sha256,
        licence_code="MIT",
        licence_weights="CC-BY-4.0",
        data="theirs",
        inference=RULE,
    )
    (zoo / "resunet" / tag).mkdir(parents=True)
    write_card(card, zoo / "resunet" / tag / "card.toml")
    return card


def test_a_tag_brings_its_card_with_it(network: nn.Module, zoo: Path, file: Path) -> None:
    theirs = published(zoo)
    done = import_weights("resunet-test.theirs", file)
    folder = cache_folder() / "resunet" / "resunet-test.theirs"
    assert sorted(path.name for path in folder.iterdir()) == ["card.toml", "model.safetensors"]
    weights = folder / "model.safetensors"
    expected = replace(
        theirs,
        sha256=sha256_of(weights),
        bytes=weights.stat().st_size,
        source_file="net_g.pth",
        source_sha256=sha256_of(file),
        source_bytes=file.stat().st_size,
        pinned=True,
    )
    assert read_card(folder / "card.toml") == expected == done.entry.card
    verify(done.entry)
    loaded = load("resunet-test.theirs")
    assert loaded.card == expected
    assert all(
        torch.equal(a, b)
        for a, b in zip(loaded.model.state_dict().values(), network.state_dict().values(), strict=True)
    )


def test_a_hash_that_nobody_published_is_pinned_by_the_first_file(
    network: nn.Module, zoo: Path, file: Path, tmp_path: Path
) -> None:
    published(zoo)
    done = import_weights("resunet-test.theirs", file)
    assert done.notes == (
        f"nobody published the SHA-256 of this file; from now on resunet-test.theirs stands for {sha256_of(file)}",
    )
    assert import_weights("resunet-test.theirs", file).notes == ()
    other = tmp_path / "renewed.pth"
    torch.save({"params": network.state_dict(), "epoch": 2}, other)
    with pytest.raises(
        ModelError,
        match=r"renewed.pth is not the file that 'resunet-test.theirs' stands for \(its SHA-256 is not that of the "
        r"file that was seen here first\); import it under a name of yours with --tag, or if its authors have",
    ):
        import_weights("resunet-test.theirs", other)
    card = import_weights("resunet-test.theirs", other, overwrite=True).entry.card
    assert (card.pinned, card.source_sha256) == (True, sha256_of(other))


def test_a_hash_that_was_published_is_no_pin(zoo: Path, file: Path) -> None:
    published(zoo, source_sha256=sha256_of(file))
    done = import_weights("resunet-test.theirs", file)
    assert (done.entry.card.pinned, done.notes) == (False, ())


@pytest.mark.parametrize(("name", "tag"), [(VARIANT, None), ("resunet", None), ("resunet", "resunet-test.mine")])
def test_a_variant_or_family_gets_a_tag_of_its_own(zoo: Path, file: Path, name: str, tag: str | None) -> None:
    done = import_weights(name, file, tag=tag)
    card = done.entry.card
    assert card.tag == (tag or f"{VARIANT}.imported")
    assert (card.variant, card.licence_weights, card.data, card.inference) == (
        VARIANT,
        "not stated",
        "not stated",
        UNMEASURED,
    )
    assert load(card.tag).card == card
    assert load(VARIANT).tag == card.tag


def test_what_is_known_of_the_variant_is_taken_over(zoo: Path, file: Path) -> None:
    published(zoo)
    card = import_weights(VARIANT, file).entry.card
    assert card.inference == RULE
    assert card.licence_weights == "not stated"


def test_a_published_file_is_recognised_under_any_name(zoo: Path, file: Path) -> None:
    published(zoo, source_sha256=sha256_of(file))
    done = import_weights("resunet", file, tag="resunet-test.mine")
    assert (done.entry.card.licence_weights, done.entry.card.inference) == ("CC-BY-4.0", RULE)
    assert done.notes == ("net_g.pth is resunet-test.theirs, by its SHA-256; its card was taken over",)


def test_another_file_than_the_published_one_is_refused(zoo: Path, file: Path) -> None:
    published(zoo, source_sha256=SUM)
    with pytest.raises(ModelError, match=r"net_g.pth is not the file that 'resunet-test.theirs' stands for"):
        import_weights("resunet-test.theirs", file)
    with pytest.raises(ModelError, match=r"is not the file that 'resunet-test.theirs' stands for"):
        import_weights("resunet-test.theirs", file, overwrite=True)
    done = import_weights("resunet-test.theirs", file, tag="resunet-test.mine")
    assert (done.entry.card.tag, done.entry.card.licence_weights) == ("resunet-test.mine", "CC-BY-4.0")


def test_importing_again_heals(zoo: Path, file: Path) -> None:
    published(zoo)
    first = import_weights("resunet-test.theirs", file).entry
    first.path.write_bytes(b"damaged")
    second = import_weights("resunet-test.theirs", file).entry
    assert second == first
    verify(second)


def test_other_weights_need_a_word(zoo: Path, file: Path, tmp_path: Path) -> None:
    import_weights("resunet", file, tag="resunet-test.mine")
    other = tmp_path / "other.pth"
    torch.save(create_model("resunet", variant=VARIANT).state_dict(), other)
    with pytest.raises(
        ModelError, match=r"the tag 'resunet-test.mine' has other weights; choose another one with --tag, or"
    ):
        import_weights("resunet", other, tag="resunet-test.mine")
    with pytest.raises(ModelError, match=r"is not the file that 'resunet-test.mine' stands for"):
        import_weights("resunet-test.mine", other)
    done = import_weights("resunet-test.mine", other, overwrite=True)
    assert done.entry.card.source_sha256 == sha256_of(other)


def test_bundled_weights_are_not_replaced(network: nn.Module, zoo: Path, file: Path) -> None:
    card = bundle(network, zoo)
    with pytest.raises(
        ModelError, match=r"the weights 'resunet-test.one' came with RestoreKit; import net_g.pth under"
    ):
        import_weights(card.tag, file, overwrite=True)
    with pytest.raises(ModelError, match=r"the tag 'resunet-test.one' came with RestoreKit; choose another one"):
        import_weights("resunet", file, tag=card.tag, overwrite=True)


@pytest.mark.parametrize("tag", ["resunet", VARIANT, "hogformer-natural", "auto"])
def test_a_tag_is_no_name_of_a_network(zoo: Path, file: Path, tag: str) -> None:
    with pytest.raises(ModelError, match=f"the tag '{tag}' is the name of a network"):
        import_weights("resunet", file, tag=tag)


@pytest.mark.parametrize("tag", ["../mine", "a/b", "Mine", ".mine", "mine.", "a b", "", "x" * 101])
def test_a_tag_is_the_name_of_a_folder_everywhere(zoo: Path, file: Path, tag: str) -> None:
    with pytest.raises(ModelError, match="cannot be a tag"):
        import_weights("resunet", file, tag=tag)
    assert not list(cache_folder().rglob("*.safetensors"))


def test_an_unknown_name_suggests(zoo: Path, file: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean resunet"):
        import_weights("resnet", file)


def test_weights_of_another_network_are_refused(zoo: Path, file: Path) -> None:
    with pytest.raises(
        ModelError, match=r"net_g.pth: not the weights of 'hogformer-natural': .* unknown keys .* missing keys"
    ):
        import_weights("hogformer-natural", file)
    assert not cache_folder().exists()


@pytest.mark.parametrize("prefix", ["", "module.", "net."])
def test_half_precision_authors_keys_and_prefixes_become_our_fp32(zoo: Path, tmp_path: Path, prefix: str) -> None:
    spec = MODELS.get("hogformer")
    assert spec.revert is not None
    model = spec.build("hogformer-test")
    state = {prefix + key: value.half() for key, value in spec.revert(dict(model.state_dict())).items()}
    torch.save(
        {"state_dict": {**state, "cri_HOGloss.hog_layer.angles": torch.zeros(1, 9, 1, 1)}, "epoch": 149},
        tmp_path / "a.ckpt",
    )
    done = import_weights("hogformer-test", tmp_path / "a.ckpt")
    assert done.notes == ("its keys are those of the authors of hogformer; they were renamed",)
    found = load("hogformer-test.imported").model.state_dict()
    assert all(torch.equal(found[key], value.half().float()) for key, value in model.state_dict().items())


def test_a_full_disk_leaves_nothing_behind(zoo: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> tuple[str, int]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(importing, "write_weights", full)
    with pytest.raises(
        ModelError,
        match=r"cannot be written \(No space left on device\); make room, or name another folder in RESTOREKIT_CACHE",
    ):
        import_weights("resunet", file)
    assert [path for path in cache_folder().rglob("*") if path.is_file()] == []
    assert not list((cache_folder() / "resunet").iterdir())
