"""Files come whole or not at all, whatever the server, the network and the disk do (field report 11)."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import socket
import threading
import urllib.error
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from restorekit.errors import ModelError
from restorekit.hub import download
from restorekit.hub._drive import confirmed_address
from restorekit.hub.download import Wanted, fetch, forget
from tests.helpers.web import Answer, Site, serve

BODY = bytes(range(256)) * 4096  # a mebibyte
SUM = hashlib.sha256(BODY).hexdigest()
PAGE = (("Content-Type", "text/html; charset=utf-8"),)


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSE", 0.001)
    monkeypatch.setattr(download, "_TIMEOUT", 5.0)


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(BODY) as site:
        yield site


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "net.part"


def wanted(site: Site, **known: Any) -> Wanted:
    return Wanted(url=f"{site.url}/net.pth", name="net.pth", otherwise="import it", **known)


def check(part: Path) -> None:
    assert part.read_bytes() == BODY


# --- servers that behave ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [{}, {"sha256": SUM}, {"bytes": len(BODY)}, {"sha256": SUM, "bytes": len(BODY)}])
@pytest.mark.parametrize("answer", [Answer(), Answer(chunked=True), Answer(claim=None), Answer(etag="")])
def test_a_file_comes_with_its_hash_and_size(site: Site, part: Path, known: dict[str, Any], answer: Answer) -> None:
    site.answers = [answer]
    fetched = fetch(wanted(site, **known), part)
    assert (fetched.path, fetched.sha256, fetched.bytes) == (part, SUM, len(BODY))
    check(part)
    assert site.ranges == [None]


def test_progress_runs_from_nothing_to_all(site: Site, part: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    fetch(wanted(site), part, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_a_redirect_is_followed(site: Site, part: Path) -> None:
    site.answers = [Answer(status=302, headers=(("Location", "/elsewhere"),)), Answer()]
    fetch(wanted(site), part)
    check(part)
    assert [path for path, _ in site.asked] == ["/net.pth", "/elsewhere"]


# --- connections that break -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [Answer(stop_after=400_000), Answer(stop_after=400_000, chunked=True)])
def test_a_connection_that_breaks_is_taken_up_where_it_broke(site: Site, part: Path, answer: Answer) -> None:
    site.answers = [answer, answer, Answer()]
    fetch(wanted(site), part)
    check(part)
    first, *rest = site.ranges
    assert first is None
    assert len(rest) == 2
    assert all(given is not None and given.startswith("bytes=") for given in rest)
    assert rest[0] != rest[1]


def test_what_an_earlier_call_left_is_gone_on_with(site: Site, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_TRIES", 1)
    monkeypatch.setattr(download, "_MOST_TRIES", 1)
    site.answers = [Answer(stop_after=700_000), Answer()]
    with pytest.raises(
        ModelError,
        match=r"net.pth could not be fetched: the connection ended after 700000 of 1048576 bytes; 0.7 MB are kept, try "
        "again later to go on from there, or import it",
    ):
        fetch(wanted(site), part)
    assert part.stat().st_size == 700_000
    fetch(wanted(site), part)
    check(part)
    assert site.ranges == [None, "bytes=700000-"]


def test_the_caller_may_stop_and_go_on(site: Site, part: Path) -> None:
    def stop(done: int, total: int | None) -> None:
        if done > 500_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(wanted(site), part, progress=stop)
    size = part.stat().st_size
    assert 500_000 < size < len(BODY)
    fetch(wanted(site), part)
    check(part)
    assert site.ranges == [None, f"bytes={size}-"]


def test_a_file_that_was_whole_already_is_not_fetched_again(site: Site, part: Path) -> None:
    fetch(wanted(site), part)
    fetch(wanted(site), part)
    check(part)
    assert site.ranges == [None, f"bytes={len(BODY)}-"]


@pytest.mark.parametrize("kept", ["nothing", "no note", "a note of another address", "nonsense for a note"])
def test_bytes_of_which_nothing_is_known_are_not_gone_on_with(site: Site, part: Path, kept: str) -> None:
    part.parent.mkdir()
    note = part.with_name(f"{part.name}.json")
    if kept != "nothing":
        part.write_bytes(b"x" * 5000)
    if kept == "a note of another address":
        note.write_text(json.dumps({"url": "https://example.org/net.pth", "etag": '"a"'}), encoding="utf-8")
    elif kept == "nonsense for a note":
        note.write_text("{", encoding="utf-8")
    fetch(wanted(site), part)
    check(part)
    assert site.ranges == [None]


def test_a_server_that_ignores_ranges_starts_over(site: Site, part: Path) -> None:
    site.answers = [Answer(stop_after=600_000), Answer(ranges=False)]
    fetch(wanted(site), part)
    check(part)
    assert site.ranges == [None, "bytes=600000-"]


def test_a_file_that_changed_meanwhile_is_fetched_as_a_whole(site: Site, part: Path) -> None:
    old = bytes(len(BODY))
    site.answers = [Answer(body=old, stop_after=600_000), Answer()]
    fetch(wanted(site), part)
    check(part)


def test_pieces_of_two_files_are_found_out(site: Site, part: Path) -> None:
    """A server that names its bytes wrongly, so that going on joins two files; only the hash tells."""
    old = bytes(len(BODY))
    site.answers = [Answer(body=old, stop_after=600_000, etag='"same"'), Answer(etag='"same"'), Answer(etag='"same"')]
    fetch(wanted(site, sha256=SUM), part)
    check(part)
    assert site.ranges == [None, "bytes=600000-", None]


def test_a_part_from_another_place_is_not_taken(site: Site, part: Path) -> None:
    site.answers = [Answer(stop_after=600_000), Answer(skip=1000), Answer()]
    fetch(wanted(site), part)
    check(part)
    assert site.ranges == [None, "bytes=600000-", None]


def test_errors_that_pass_are_waited_for(site: Site, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    busy = Answer(status=503, headers=(("Retry-After", "7"),))
    site.answers = [Answer(status=500), Answer(status=502), busy, Answer()]
    fetch(wanted(site), part)
    check(part)
    assert pauses == [0.001, 0.002, 7.0]


def test_a_server_that_gives_nothing_is_given_up(site: Site, part: Path) -> None:
    site.answers = [Answer(stop_after=0)]
    with pytest.raises(
        ModelError, match=r"could not be fetched: the connection ended after 0 of 1048576 bytes; import it"
    ):
        fetch(wanted(site), part)
    assert len(site.asked) == download._TRIES


def test_a_server_that_gives_a_byte_at_a_time_is_given_up(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_MOST_TRIES", 20)
    site.answers = [Answer(stop_after=1)]
    with pytest.raises(ModelError, match=r"could not be fetched: the connection ended after 20 of 1048576 bytes"):
        fetch(wanted(site), part)


def test_a_server_that_falls_silent_is_left(site: Site, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.2)
    site.answers = [Answer(piece=2**18, pause=3.0), Answer()]
    fetch(wanted(site), part)
    check(part)
    assert site.ranges[1] is not None


# --- servers that lie -------------------------------------------------------------------------------------------------


def test_a_length_that_is_too_large_is_found_out(site: Site, part: Path) -> None:
    site.answers = [Answer(claim=5000)]
    fetch(wanted(site, sha256=SUM), part)  # asked to go on, the server says that this was all
    check(part)


def test_a_length_that_is_too_small_is_found_out(site: Site, part: Path) -> None:
    site.answers = [Answer(claim=-5000)]
    with pytest.raises(ModelError, match=rf"is not net.pth: its SHA-256 is \w+ instead of {SUM}; import it"):
        fetch(wanted(site, sha256=SUM), part)
    assert not part.exists()


@pytest.mark.parametrize("claim", [5000, -5000])
def test_another_length_than_the_known_one_is_refused_before_anything_comes(site: Site, part: Path, claim: int) -> None:
    site.answers = [Answer(claim=claim)]
    with pytest.raises(
        ModelError, match=rf"offers is not net.pth: it has {len(BODY) + claim} bytes instead of {len(BODY)}; import it"
    ):
        fetch(wanted(site, bytes=len(BODY)), part)
    assert not part.exists()


def test_more_than_is_known_is_not_read(site: Site, part: Path) -> None:
    site.answers = [Answer(chunked=True)]
    with pytest.raises(ModelError, match=r"gives is not net.pth: it has more than 1000 bytes; import it"):
        fetch(wanted(site, bytes=1000), part)
    assert not part.exists()


@pytest.mark.parametrize("answer", [Answer(), Answer(chunked=True)])
def test_more_than_can_be_read_is_not_fetched(site: Site, part: Path, answer: Answer) -> None:
    site.answers = [answer]
    with pytest.raises(ModelError, match="gives more than the 0 GiB that are read; import it"):
        fetch(replace(wanted(site), most=10_000), part)
    assert not part.exists()


def test_another_file_is_refused_and_not_kept(site: Site, part: Path) -> None:
    other = "0" * 64
    with pytest.raises(ModelError, match=rf"gave is not net.pth: its SHA-256 is {SUM} instead of {other}; import it"):
        fetch(wanted(site, sha256=other), part)
    assert list(part.parent.iterdir()) == []
    assert len(site.asked) == 1


@pytest.mark.parametrize("right", [True, False])
def test_a_hash_that_the_server_states_is_held_to(site: Site, part: Path, right: bool) -> None:
    stated = SUM if right else "0" * 64
    site.answers = [Answer(status=302, headers=(("Location", "/blob"), ("X-Linked-ETag", f'"{stated}"'))), Answer()]
    if right:
        assert fetch(wanted(site), part).sha256 == SUM
    else:
        with pytest.raises(ModelError, match=rf"its SHA-256 is {SUM} instead of {stated}"):
            fetch(wanted(site), part)


def test_an_encoding_that_was_not_asked_for_is_refused(site: Site, part: Path) -> None:
    site.answers = [Answer(headers=(("Content-Encoding", "gzip"),))]
    with pytest.raises(ModelError, match=r"127.0.0.1 gives net.pth in an encoding that was not asked for; import it"):
        fetch(wanted(site), part)


@pytest.mark.parametrize("target", ["http://example.org/net.pth", "ftp://example.org/net.pth", "file:///etc/hosts"])
def test_a_redirect_to_where_anybody_may_change_it_is_not_followed(site: Site, part: Path, target: str) -> None:
    site.answers = [Answer(status=302, headers=(("Location", target),))]
    with pytest.raises(
        ModelError, match=rf"{target}('|, which) is (not allowed|no https address and was not followed)"
    ):
        fetch(wanted(site), part)
    assert not part.exists()


def test_a_redirect_in_a_circle_ends(site: Site, part: Path) -> None:
    site.answers = [Answer(status=302, headers=(("Location", "/net.pth"),))]
    with pytest.raises(ModelError, match=r"cannot be had from .*: the server answers 302"):
        fetch(wanted(site), part)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_said_at_once(site: Site, part: Path, status: int) -> None:
    site.answers = [Answer(status=status)]
    with pytest.raises(
        ModelError, match=rf"net.pth cannot be had from {site.url}/net.pth: the server answers {status}"
    ):
        fetch(wanted(site), part)
    assert len(site.asked) == 1


# --- pages in front of files ------------------------------------------------------------------------------------------

ASKS = b"""<!DOCTYPE html><html><body><p>Google Drive cannot scan this file for viruses.</p>
<form id="other" action="/trap"><input type="hidden" name="a" value="b"></form>
<form id="download-form" action="/download?x=1" method="get"><input type="submit" value="Download anyway"/>
<input type="hidden" name="id" value="1QgmT"><input type="hidden" name="confirm" value="t&amp;u"></form></html>"""


def test_a_page_that_asks_whether_one_is_sure_is_passed(site: Site, part: Path) -> None:
    site.answers = [Answer(body=ASKS, headers=(*PAGE, ("Set-Cookie", "seen=1"))), Answer(stop_after=600_000), Answer()]
    fetch(wanted(site), part)
    check(part)
    assert [path for path, _ in site.asked] == ["/net.pth", *["/download?x=1&id=1QgmT&confirm=t%26u"] * 2]


@pytest.mark.parametrize(
    "page", [b"<html>Sign in</html>", b"<html>Too many users have downloaded this file</html>", b""]
)
def test_another_page_is_no_file(site: Site, part: Path, page: bytes) -> None:
    site.answers = [Answer(body=page, headers=PAGE)]
    with pytest.raises(
        ModelError, match=r"/net.pth gives a web page instead of net.pth \(a login, or a limit of downloads, may stand"
    ):
        fetch(wanted(site), part)
    assert not part.exists()


def test_a_page_that_only_asks_again_is_left(site: Site, part: Path) -> None:
    site.answers = [Answer(body=ASKS, headers=PAGE)]
    with pytest.raises(ModelError, match=r"gives a web page instead of net.pth"):
        fetch(wanted(site), part)
    assert len(site.asked) == 2


@pytest.mark.parametrize(
    ("url", "action", "allowed"),
    [
        ("https://drive.google.com/uc?id=1", "https://drive.usercontent.google.com/download", True),
        ("https://drive.google.com/uc?id=1", "/download", True),
        ("https://drive.google.com/uc?id=1", "https://evil.example/download", False),
        ("https://drive.google.com/uc?id=1", "https://evilgoogle.com/download", False),
        ("https://drive.google.com/uc?id=1", "http://drive.google.com/download", False),
        ("https://example.org/a", "https://drive.google.com/download", False),
        ("https://example.org/a", "file:///etc/passwd", False),
    ],
)
def test_a_form_leads_to_its_own_host_only(url: str, action: str, allowed: bool) -> None:
    page = f'<form id="download-form" action="{action}"><input name="confirm" value="t"></form>'.encode()
    found = confirmed_address(page, url)
    assert (found is not None) == allowed
    assert found is None or found.endswith("download?confirm=t")


# --- no network, no room ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (socket.gaierror(-3, "Temporary failure in name resolution"), "Temporary failure in name resolution"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable"),
    ],
)
def test_without_a_network_the_other_way_is_named(
    part: Path, monkeypatch: pytest.MonkeyPatch, reason: OSError, words: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError(reason)

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", fail)
    file = Wanted(url="https://example.org/net.pth", name="net.pth", otherwise="import it")
    with pytest.raises(
        ModelError,
        match=rf"example.org cannot be reached \({words}\); connect this machine to the network, or import it",
    ):
        fetch(file, part)


def test_a_port_that_nobody_listens_at_is_given_up(part: Path) -> None:
    with serve(b"") as gone:
        pass
    with pytest.raises(ModelError, match=r"could not be fetched: 127.0.0.1 cannot be reached \(Connection refused\)"):
        fetch(wanted(gone), part)


@pytest.mark.parametrize("url", ["http://example.org/a", "ftp://example.org/a", "file:///etc/passwd", "net.pth", ""])
def test_an_address_that_anybody_may_change_on_the_way_is_refused(part: Path, url: str) -> None:
    with pytest.raises(ModelError, match=r"is no https address; import it"):
        fetch(Wanted(url=url, name="net.pth", otherwise="import it"), part)


def test_a_disk_without_room_is_said_before(site: Site, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    with pytest.raises(
        ModelError,
        match=rf"net.pth needs 1 MB more in {part.parent}, where 1 MB are free; make room, or name another folder",
    ):
        fetch(wanted(site), part)


def test_a_disk_that_fills_up_is_said(site: Site, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = download._Fetch._copy

    def full(self: Any, answer: Any, file: Any, have: int, total: int | None) -> None:
        class Full:
            def write(self, data: bytes) -> None:
                if file.tell() > 500_000:
                    raise OSError(errno.ENOSPC, "No space left on device")
                file.write(data)

        taken(self, answer, Full(), have, total)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(download._Fetch, "_copy", full)
        with pytest.raises(
            ModelError, match=r"net.part cannot be written \(No space left on device\); make room there and do it again"
        ):
            fetch(wanted(site), part)
    size = part.stat().st_size
    fetch(wanted(site), part)
    check(part)
    assert site.ranges[1] == f"bytes={size}-"


def test_a_folder_that_cannot_be_made_is_said(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ModelError, match=r"net.part cannot be written \(Not a directory"):
        fetch(wanted(site), tmp_path / "file" / "downloads" / "net.part")


def test_forgetting_leaves_nothing(site: Site, part: Path) -> None:
    fetch(wanted(site), part)
    forget(part)
    forget(part)
    assert list(part.parent.iterdir()) == []


def test_several_files_at_once(site: Site, tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            fetch(wanted(site, sha256=SUM), tmp_path / f"{number}.part")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for number in range(6):
        check(tmp_path / f"{number}.part")
