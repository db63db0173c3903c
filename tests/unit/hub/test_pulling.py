"""Weights are fetched, checked, converted and kept, by one process at a time (field report 11)."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from restorekit.errors import ModelError, UnknownNameError
from restorekit.hub import UNMEASURED, Card, cache_folder, download, load, pull, read_card, write_card
from restorekit.hub.pulling import Pulled
from restorekit.hub.store import downloads_folder, find_entry, remove, verify
from tests.helpers.web import Answer, Site, serve
from tests.unit.hub.conftest import VARIANT, bundle

TAG = "resunet-test.theirs"


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSE", 0.001)


def checkpoint(network: nn.Module, **more: object) -> bytes:
    """Return the file that the authors published."""
    stream = io.BytesIO()
    torch.save({"params": network.state_dict(), **more}, stream)
    return stream.getvalue()


@pytest.fixture
def site(network: nn.Module) -> Iterator[Site]:
    with serve(checkpoint(network)) as site:
        yield site


def listed(site: Site, zoo: Path, *, tag: str = TAG, sha256: str | None = None, size: int | None = None) -> Card:
    """Put a card whose file lies on the site into the zoo."""
    card = Card(
        tag=tag,
        family="resunet",
        variant=VARIANT,
        task="restore",
        summary="Theirs.",
        source="https://example.org",
        source_file="net_g.pth",
        source_sha256=sha256,
        source_bytes=size,
        source_container="params",
        url=f"{site.url}/net_g.pth",
        licence_code="MIT",
        licence_weights="CC-BY-4.0",
        data="theirs",
        inference=UNMEASURED,
    )
    (zoo / "resunet" / tag).mkdir(parents=True)
    write_card(card, zoo / "resunet" / tag / "card.toml")
    return card


def left_over() -> list[str]:
    """Return what lies among the downloads, but for locks, which stay."""
    folder = downloads_folder()
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"] if folder.exists() else []


def test_weights_are_fetched_and_kept_under_their_tag(site: Site, zoo: Path, network: nn.Module) -> None:
    digest = hashlib.sha256(site.body).hexdigest()
    card = listed(site, zoo, sha256=digest, size=len(site.body))
    seen: list[int] = []
    done = pull(TAG, progress=lambda done, total: seen.append(done))
    assert (done.fetched, done.notes, done.entry.place) == (True, (), "cached")
    assert seen[-1] == len(site.body)
    kept = read_card(cache_folder() / "resunet" / TAG / "card.toml")
    assert replace(kept, sha256=None, bytes=None) == card
    verify(find_entry(TAG))
    found = load(TAG)
    assert found.tag == TAG
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in found.model.state_dict().items())
    assert left_over() == []


def test_what_is_here_is_not_fetched_again(site: Site, zoo: Path) -> None:
    listed(site, zoo)
    first, second = pull(TAG), pull(TAG)
    assert (first.fetched, second.fetched) == (True, False)
    assert second.entry == first.entry
    assert len(site.asked) == 1


def test_bundled_weights_are_here(network: nn.Module, zoo: Path) -> None:
    card = bundle(network, zoo)
    assert not pull(card.tag).fetched
    (zoo / "resunet" / card.tag / card.file).write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"came with RestoreKit and are damaged; install RestoreKit again"):
        pull(card.tag)


def test_an_unknown_hash_is_pinned_by_the_first_pull(site: Site, zoo: Path, network: nn.Module) -> None:
    listed(site, zoo)
    digest = hashlib.sha256(site.body).hexdigest()
    done = pull(TAG)
    assert done.notes == (f"nobody published the SHA-256 of this file; from now on {TAG} stands for {digest}",)
    assert (done.entry.card.source_sha256, done.entry.card.pinned) == (digest, True)
    done.entry.path.write_bytes(b"damaged")
    site.body = checkpoint(network, epoch=2)
    with pytest.raises(
        ModelError,
        match=rf"instead of \w+; if its authors have renewed it, run: restorekit models rm {TAG}",
    ):
        pull(TAG)
    remove(TAG)
    assert pull(TAG).entry.card.source_sha256 == hashlib.sha256(site.body).hexdigest()


# --- field report 11 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.02, 0.98])
def test_an_incomplete_file_under_its_final_name_is_fetched_again(site: Site, zoo: Path, share: float) -> None:
    listed(site, zoo)
    path = pull(TAG).entry.path
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(
        ModelError, match=rf"{path} is damaged: .*; run: restorekit models pull {TAG}, which fetches it again"
    ):
        load(TAG)
    assert pull(TAG).fetched
    assert path.read_bytes() == data
    load(TAG)


def test_a_download_that_broke_goes_on_and_never_had_the_final_name(
    site: Site, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TRIES", 1)
    monkeypatch.setattr(download, "_MOST_TRIES", 1)
    listed(site, zoo)
    site.answers = [Answer(stop_after=200_000), Answer()]
    with pytest.raises(
        ModelError, match=rf"net_g.pth could not be fetched: .*; .* are kept, .* models import {TAG} FILE"
    ):
        pull(TAG)
    assert list(cache_folder().rglob("*.safetensors")) == []
    assert left_over() != []
    pull(TAG)
    assert site.ranges == [None, "bytes=200000-"]
    assert left_over() == []
    load(TAG)


def test_what_was_begun_can_be_removed(site: Site, zoo: Path) -> None:
    listed(site, zoo)

    def stop(done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(TAG, progress=stop)
    assert remove(TAG) > 0
    assert left_over() == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>Not Found</html>", "is a web page, not weights"),
        (b"", "is empty"),
        (b"PK\x03\x04" + bytes(5000), "is damaged or cut short"),
        (b"\x89PNG\r\n\x1a\n" + bytes(5000), "is no file of weights"),
    ],
)
def test_what_is_no_weights_is_not_kept(site: Site, zoo: Path, body: bytes, message: str) -> None:
    site.body = body
    listed(site, zoo)
    with pytest.raises(ModelError, match=rf"what {site.url}/net_g.pth gave is not the file of '{TAG}': {message}"):
        pull(TAG)
    assert left_over() == []
    assert find_entry(TAG).place == "absent"


def test_weights_of_another_network_are_not_kept(site: Site, zoo: Path) -> None:
    stream = io.BytesIO()
    torch.save({"conv.weight": torch.zeros(3, 3)}, stream)
    site.body = stream.getvalue()
    listed(site, zoo)
    with pytest.raises(ModelError, match=rf"gave is not the file of '{TAG}': not the weights of '{VARIANT}'"):
        pull(TAG)
    assert left_over() == []


def test_many_at_once_all_end_well_and_fetch_once(site: Site, zoo: Path) -> None:
    listed(site, zoo)
    site.answers = [Answer(piece=2**14, pause=0.005)]
    start = threading.Barrier(5)
    done: list[Pulled] = []
    waited: list[int] = []
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            start.wait()
            done.append(pull(TAG, waiting=lambda: waited.append(number)))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(result.fetched for result in done) == [False] * 4 + [True]
    assert len(waited) == 4
    assert len(site.asked) == 1
    load(TAG)


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_family_or_variant_does_where_there_is_no_choice(site: Site, zoo: Path) -> None:
    listed(site, zoo)
    assert pull("resunet").entry.card.tag == TAG
    remove(TAG)
    assert pull(VARIANT).entry.card.tag == TAG
    listed(site, zoo, tag="resunet-test.others")
    with pytest.raises(
        ModelError, match=rf"'resunet' has several sets of weights; name one of resunet-test.others, {TAG}"
    ):
        pull("resunet")


def test_an_unknown_tag_suggests(site: Site, zoo: Path) -> None:
    listed(site, zoo)
    with pytest.raises(UnknownNameError, match=rf"did you mean {TAG}"):
        pull("resunet-test.their")


def test_weights_without_an_address_say_how_they_come(site: Site, zoo: Path) -> None:
    card = listed(site, zoo)
    write_card(replace(card, url=None), zoo / "resunet" / TAG / "card.toml")
    with pytest.raises(
        ModelError,
        match=rf"'{TAG}' cannot be fetched; get net_g.pth from https://example.org and run: restorekit models import",
    ):
        pull(TAG)


def test_weights_that_are_not_here_say_the_command_that_brings_them(site: Site, zoo: Path) -> None:
    listed(site, zoo)
    with pytest.raises(ModelError, match=rf"the weights '{TAG}' are not here; run: restorekit models pull {TAG}"):
        load(TAG)


def test_a_cache_that_cannot_be_written_is_said(
    site: Site, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(site, zoo)
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        ModelError, match=r"cannot be written \(Not a directory\); name another folder in RESTOREKIT_CACHE"
    ):
        pull(TAG)
