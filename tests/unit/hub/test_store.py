"""Weights are found where they lie, checked against their cards, and removed only where that is right."""

from __future__ import annotations

import logging
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from restorekit.errors import ModelError, UnknownNameError
from restorekit.hub import Card, cache_folder, list_cards, read_card, write_card
from restorekit.hub._files import staged_folder
from restorekit.hub.store import entries, find_entry, natural_order, remove, summarise, verify, verify_all
from tests.unit.hub.conftest import bundle


def cached(card: Card, zoo: Path, tag: str) -> Path:
    """Copy bundled weights into the cache under another tag."""
    folder = cache_folder() / card.family / tag
    shutil.copytree(zoo / card.family / card.tag, folder)
    write_card(replace(card, tag=tag, default=False), folder / "card.toml")
    return folder


def absent(card: Card, zoo: Path, tag: str) -> Card:
    """Put a card without its file into the zoo."""
    other = replace(
        card, tag=tag, sha256=None, bytes=None, default=False, source="https://example.org", source_file="net.pth"
    )
    (zoo / card.family / tag).mkdir(parents=True)
    write_card(other, zoo / card.family / tag / "card.toml")
    return other


def test_every_place_is_listed(network: nn.Module, zoo: Path) -> None:
    card = bundle(network, zoo, "resunet-test.v10")
    bundle(network, zoo, "resunet-test.v9")
    cached(card, zoo, "resunet-test.mine")
    absent(card, zoo, "resunet-test.theirs")
    assert [(e.card.tag, e.place) for e in entries()] == [
        ("resunet-test.mine", "cached"),
        ("resunet-test.theirs", "absent"),
        ("resunet-test.v9", "bundled"),
        ("resunet-test.v10", "bundled"),
    ]
    assert [card.tag for card in list_cards()] == ["resunet-test.v9", "resunet-test.v10"]
    assert [card.tag for card in list_cards(place="cached")] == ["resunet-test.mine"]
    assert len(list_cards(place=None)) == 4
    assert [e.card.tag for e in entries(pattern="*.v?")] == ["resunet-test.v9"]
    assert len(entries(pattern="resunet")) == 4


def test_weights_that_are_here_come_before_a_card_without_them(network: nn.Module, zoo: Path) -> None:
    card = bundle(network, zoo)
    absent(card, zoo, "resunet-test.theirs")
    folder = cached(card, zoo, "resunet-test.theirs")
    entry = find_entry("resunet-test.theirs")
    assert (entry.place, entry.folder) == ("cached", folder)


def test_bundled_weights_come_before_cached_ones_of_the_same_tag(network: nn.Module, zoo: Path) -> None:
    card = bundle(network, zoo)
    cached(card, zoo, card.tag)
    assert find_entry(card.tag).place == "bundled"


def test_order_is_that_of_people() -> None:
    assert sorted(["a.v10", "a.v9", "a", "b.v1"], key=natural_order) == ["a", "a.v9", "a.v10", "b.v1"]


def test_an_unknown_tag_suggests(network: nn.Module, zoo: Path) -> None:
    bundle(network, zoo)
    with pytest.raises(UnknownNameError, match=r"unknown weights 'resunet-test.on'; did you mean resunet-test.one"):
        find_entry("resunet-test.on")


# --- broken cards -----------------------------------------------------------------------------------------------------


def test_a_broken_card_of_the_users_is_left_out_and_said(
    network: nn.Module, zoo: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("restorekit"), "propagate", True)
    card = bundle(network, zoo)
    folder = cached(card, zoo, "resunet-test.mine")
    (folder / "card.toml").write_text("nonsense", encoding="utf-8")
    assert [e.card.tag for e in entries()] == [card.tag]
    assert "card.toml cannot be read as a card" in caplog.text
    faults: list[str] = []
    entries(faults=faults)
    assert len(faults) == 1
    assert verify_all()[str(folder / "card.toml")] == faults[0]


def test_a_broken_card_of_the_package_is_an_error(network: nn.Module, zoo: Path) -> None:
    card = bundle(network, zoo)
    (zoo / card.family / card.tag / "card.toml").write_text("nonsense", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read as a card"):
        entries()


def test_a_card_in_the_wrong_folder_is_said(network: nn.Module, zoo: Path) -> None:
    card = bundle(network, zoo)
    (zoo / card.family / card.tag).rename(zoo / card.family / "resunet-test.two")
    with pytest.raises(
        ModelError, match=r"is the card of resunet/resunet-test.one; move it to the folder of that name"
    ):
        entries()


# --- damage (field report 11) -----------------------------------------------------------------------------------------


def test_weights_as_on_their_card_pass(network: nn.Module, zoo: Path) -> None:
    card = bundle(network, zoo)
    verify(find_entry(card.tag))
    assert verify_all() == {card.tag: None}


@pytest.mark.parametrize("place", ["bundled", "cached"])
def test_a_file_that_was_cut_short_is_named_with_the_cure(network: nn.Module, zoo: Path, place: str) -> None:
    card = bundle(network, zoo)
    tag = card.tag if place == "bundled" else "resunet-test.mine"
    folder = zoo / card.family / tag if place == "bundled" else cached(card, zoo, tag)
    path = folder / card.file
    path.write_bytes(path.read_bytes()[: int(0.98 * path.stat().st_size)])
    cure = "install RestoreKit again" if place == "bundled" else f"run: restorekit models rm {tag}, and import it again"
    with pytest.raises(ModelError, match=rf"{path} is damaged: it has \d+ bytes, its card says {card.bytes}; {cure}"):
        verify(find_entry(tag))
    assert "is damaged" in str(verify_all([tag])[tag])


def test_a_changed_byte_is_found(network: nn.Module, zoo: Path) -> None:
    card = bundle(network, zoo)
    path = zoo / card.family / card.tag / card.file
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="is damaged: its SHA-256 is not the one of its card"):
        verify(find_entry(card.tag))


def test_weights_that_are_not_here_say_how_they_come(network: nn.Module, zoo: Path) -> None:
    absent(bundle(network, zoo), zoo, "resunet-test.theirs")
    how = r"get net.pth from https://example.org and run: restorekit models import resunet-test.theirs net.pth"
    with pytest.raises(ModelError, match=rf"the weights 'resunet-test.theirs' are not here \(.*\); {how}"):
        verify(find_entry("resunet-test.theirs"))
    assert any(how in line for line in summarise(entries()))


# --- removal ----------------------------------------------------------------------------------------------------------


def test_imported_weights_can_be_removed(network: nn.Module, zoo: Path) -> None:
    card = bundle(network, zoo)
    folder = cached(card, zoo, "resunet-test.mine")
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert remove("resunet-test.mine") == size
    assert not folder.exists()
    assert [e.card.tag for e in entries()] == [card.tag]


def test_a_broken_card_does_not_stop_its_removal(network: nn.Module, zoo: Path) -> None:
    folder = cached(bundle(network, zoo), zoo, "resunet-test.mine")
    (folder / "card.toml").write_text("nonsense", encoding="utf-8")
    remove("resunet-test.mine")
    assert not folder.exists()


def test_other_weights_cannot_be_removed(network: nn.Module, zoo: Path) -> None:
    card = bundle(network, zoo)
    absent(card, zoo, "resunet-test.theirs")
    with pytest.raises(ModelError, match=r"'resunet-test.one' cannot be removed: they came with RestoreKit"):
        remove("resunet-test.one")
    with pytest.raises(ModelError, match=r"'resunet-test.theirs' cannot be removed: they are not here"):
        remove("resunet-test.theirs")
    with pytest.raises(UnknownNameError, match="unknown weights 'nothing'"):
        remove("nothing")
    assert (zoo / card.family / card.tag / card.file).is_file()


# --- the cache folder -------------------------------------------------------------------------------------------------


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESTOREKIT_CACHE", "~/weights")
    assert cache_folder() == Path.home() / "weights"
    monkeypatch.delenv("RESTOREKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_folder() == tmp_path / "restorekit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "restorekit"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "restorekit"


# --- folders as a whole -----------------------------------------------------------------------------------------------


def test_a_folder_is_replaced_as_a_whole_and_keeps_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "tag"
    folder.mkdir()
    (folder / "log.txt").write_text("kept", encoding="utf-8")
    (folder / "card.toml").write_text("old", encoding="utf-8")
    with staged_folder(folder, last="b") as staged:
        (staged / "card.toml").write_text("new", encoding="utf-8")
        assert (folder / "card.toml").read_text(encoding="utf-8") == "old"
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == {
        "log.txt": "kept",
        "card.toml": "new",
    }
    assert list(tmp_path.glob(".*")) == []


def test_after_an_error_the_folder_is_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "tag"

    def fail() -> None:
        with staged_folder(folder, last="b") as staged:
            (staged / "card.toml").write_text("new", encoding="utf-8")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert not folder.exists()
    assert list(tmp_path.glob(".*")) == []


def test_many_writers_at_once_all_end_well(tmp_path: Path) -> None:
    folder = tmp_path / "tag"
    start = threading.Barrier(8)
    failures: list[Exception] = []

    def write(number: int) -> None:
        try:
            start.wait()
            for _ in range(10):
                with staged_folder(folder, last="b") as staged:
                    for name in ("a", "b"):
                        (staged / name).write_text(str(number), encoding="utf-8")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert (folder / "a").read_text(encoding="utf-8") == (folder / "b").read_text(encoding="utf-8")
    assert list(tmp_path.glob(".*")) == []


def test_an_unfinished_folder_of_a_dead_process_is_not_seen(network: nn.Module, zoo: Path) -> None:
    card = bundle(network, zoo)
    folder = cached(card, zoo, "resunet-test.mine")
    folder.rename(folder.with_name(".resunet-test.mine.1234-abcd.tmp"))
    assert [e.card.tag for e in entries()] == [card.tag]
    assert read_card(zoo / card.family / card.tag / "card.toml") == card
