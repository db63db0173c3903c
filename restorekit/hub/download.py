"""Fetch a large file over HTTP: goes on where it stopped, knows when it is whole, and tells when it is another one.

What has arrived lies in a file ``*.part``, with a note of what it is beside it; whoever wants the file takes it from
there once it is whole and checked. So nothing incomplete ever has a name under which something looks for weights.
"""

from __future__ import annotations

import http.client
import http.cookiejar
import json
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import restorekit
from restorekit.errors import ModelError
from restorekit.hub._drive import confirmed_address
from restorekit.hub._files import sha256_of, write_text
from restorekit.hub.card import is_safe_address
from restorekit.hub.checkpoint import MAX_BYTES

__all__ = ["Fetched", "Progress", "Wanted", "fetch", "forget"]

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes in all, which may not be known."""

_TIMEOUT = 30.0  # seconds without a byte
_TRIES = 5  # in a row that brought nothing
_MOST_TRIES = 200  # in all: a server may give a few bytes at a time, but not forever
_PAUSE = 1.0  # seconds before the second try; doubled each time
_LONGEST_PAUSE = 30.0
_CHUNK = 2**18
_PAGE = 2**20  # bytes of a web page that are looked at
_SPARE = 2**24  # bytes that are left free on the disk
_HASH = re.compile(r'"?([0-9a-f]{64})"?')


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file that lies somewhere else.

    Attributes:
        url: Its address: https, or http on this machine.
        name: What to call it in messages.
        otherwise: What to do where it cannot be had like this; the end of a sentence.
        sha256: Its hash; ``None`` where nobody knows it.
        bytes: Its size; ``None`` where nobody knows it.
        most: The size beyond which nothing is fetched.
    """

    url: str
    name: str
    otherwise: str
    sha256: str | None = None
    bytes: int | None = None
    most: int = MAX_BYTES


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A file that is here now, whole and checked.

    Attributes:
        path: Where it lies.
        sha256: Its hash.
        bytes: Its size.
    """

    path: Path
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class _Stamp:
    """What is known of the bytes of a ``.part`` file.

    Attributes:
        url: Where they came from.
        etag: The server's name for exactly these bytes.
        modified: When they were changed, as the server says.
        total: How many there are in all.
        linked: Hash that the server states for the whole (Hugging Face does).
    """

    url: str
    etag: str | None = None
    modified: str | None = None
    total: int | None = None
    linked: str | None = None

    @property
    def validator(self) -> str | None:
        """What the server compares before it goes on with the same bytes."""
        strong = self.etag is not None and not self.etag.startswith("W/")
        return self.etag if strong else self.modified


class _Again(Exception):  # noqa: N818 (it is no error yet)
    """This try failed and another one may not."""

    def __init__(self, reason: str, *, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows only where nobody on the way can change the answer, and keeps what the first server says of the file."""

    max_redirections = 10

    def __init__(self) -> None:
        self.linked: str | None = None

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not is_safe_address(newurl):
            raise ModelError(
                f"{req.full_url} leads to {newurl}, which is no https address and was not followed; get the file in "
                "another way"
            )
        named = _HASH.fullmatch(headers.get("X-Linked-ETag", ""))
        self.linked = named.group(1) if named else self.linked
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(wanted: Wanted, part: Path, *, progress: Progress = lambda done, total: None) -> Fetched:
    """Bring a file, going on with what an earlier call left.

    Only one call at a time may work on the same ``part``.

    Args:
        wanted: What, and from where.
        part: Where its bytes are collected; what is known of them lies beside it. After an error or an interruption
            what has arrived stays for the next call, unless it is of another file.
        progress: Is told how much is here.

    Returns:
        The whole file, of the size and hash that were asked for, under the name ``part``.

    Raises:
        ModelError: It cannot be had: nobody answers, the server has no such file or another one, or the disk is full.
    """
    if not is_safe_address(wanted.url):
        raise ModelError(f"{wanted.url} is no https address; {wanted.otherwise}")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        fetched = _Fetch(wanted, part, progress).run()
    except OSError as error:
        raise ModelError(
            f"{part} cannot be written ({error.strerror or error}); make room there and do it again, which goes on "
            "where it stopped, or name another folder in RESTOREKIT_CACHE"
        ) from error
    return fetched


def forget(part: Path) -> None:
    """Remove what was collected of a file, and what is known of it."""
    for path in (part, _note_of(part)):
        with suppress(FileNotFoundError):
            path.unlink()


def _note_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


class _Fetch:
    """One file on its way."""

    def __init__(self, wanted: Wanted, part: Path, progress: Progress) -> None:
        self.wanted, self.part, self.progress = wanted, part, progress
        self.redirects = _Redirects()
        self.opener = urllib.request.build_opener(
            self.redirects, urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )
        self.url = wanted.url  # differs from the wanted one once a page was passed
        self.stamp = self._read_stamp()
        self.joined = False  # whether the bytes came in more than one piece

    def run(self) -> Fetched:
        """Bring the file, and once more from its start if what was put together is not it."""
        self._bring()
        fault = self._fault()
        if fault is not None and self.joined:
            self._start_over()
            self._bring()
            fault = self._fault()
        if fault is not None:
            forget(self.part)
            raise ModelError(f"what {self.wanted.url} gave is not {self.wanted.name}: {fault}; {self.wanted.otherwise}")
        return Fetched(path=self.part, sha256=self._sum, bytes=self.part.stat().st_size)

    # --- tries --------------------------------------------------------------------------------------------------------

    def _bring(self) -> None:
        """Try until the file is whole, or until trying is no use any more."""
        missed = 0
        for _ in range(_MOST_TRIES):
            before = self._size()
            try:
                self._try()
            except _Again as again:
                missed = 0 if self._size() > before else missed + 1
                reason = str(again)
                if missed >= _TRIES:
                    break
                time.sleep(
                    min(again.pause if again.pause is not None else _PAUSE * 2.0 ** max(missed - 1, 0), _LONGEST_PAUSE)
                )
            else:
                return
        raise ModelError(f"{self.wanted.name} could not be fetched: {reason}; {self._advice()}")

    def _advice(self) -> str:
        size = self._size()
        kept = f"{size / 1e6:.1f} MB are kept, try again later to go on from there, or " if size else ""
        return f"{kept}{self.wanted.otherwise}"

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _try(self) -> None:
        have = self._size() if self.stamp is not None else 0
        try:
            with self._open(have) as answer:
                self._take(answer, have)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error, have)
        except urllib.error.URLError as error:
            raise self._unreachable(error.reason) from error
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            raise _Again(_words(error)) from error

    def _open(self, have: int) -> Any:
        headers = {"User-Agent": f"restorekit/{restorekit.__version__}", "Accept-Encoding": "identity"}
        if have and self.stamp is not None:
            headers["Range"] = f"bytes={have}-"
            if self.stamp.validator is not None:
                headers["If-Range"] = self.stamp.validator
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310 (is_safe_address has seen it)
        return self.opener.open(request, timeout=_TIMEOUT)

    def _refused(self, error: urllib.error.HTTPError, have: int) -> None:
        """Deal with an answer that is an error."""
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
                return  # everything was here already
            self._start_over()
            raise _Again("the file at the source has changed")
        if error.code in (408, 425, 429) or error.code >= 500:
            wait = error.headers.get("Retry-After", "")
            raise _Again(_answer(error), pause=float(wait) if wait.isdecimal() else None)
        raise ModelError(
            f"{self.wanted.name} cannot be had from {self.wanted.url}: {_answer(error)}; {self.wanted.otherwise}"
        )

    def _unreachable(self, reason: object) -> Exception:
        """Return what to raise where no answer came."""
        if isinstance(reason, ssl.SSLCertVerificationError):
            return ModelError(
                f"{self._host()} does not prove that it is itself ({reason.verify_message}); {self.wanted.otherwise}"
            )
        if isinstance(reason, socket.gaierror) or (isinstance(reason, OSError) and _words(reason) in _NO_NETWORK):
            return ModelError(
                f"{self._host()} cannot be reached ({_words(reason)}); connect this machine to the network, or "
                f"{self.wanted.otherwise}"
            )
        return _Again(f"{self._host()} cannot be reached ({_words(reason)})")

    def _host(self) -> str:
        return urlsplit(self.url).hostname or self.url

    # --- the answer ---------------------------------------------------------------------------------------------------

    def _take(self, answer: Any, have: int) -> None:
        """Write what a server gives behind what is here already."""
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise ModelError(
                f"{self._host()} gives {self.wanted.name} in an encoding that was not asked for; "
                f"{self.wanted.otherwise}"
            )
        if answer.headers.get_content_type() == "text/html":
            self._pass_page(answer)
        have = self._agree_on_start(answer, have)
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        self._check_total(total)
        self._remember(answer, total)
        self._check_room(0 if total is None else total - have)
        with self.part.open("r+b" if self.part.exists() else "wb") as file:
            file.truncate(have)
            file.seek(have)
            self._copy(answer, file, have, total)

    def _pass_page(self, answer: Any) -> None:
        """Go on behind a page that only asks whether one is sure; other pages are no weights."""
        page = answer.read(_PAGE)
        behind = confirmed_address(page, answer.geturl())
        if behind is None or behind == self.url:
            raise ModelError(
                f"{self.wanted.url} gives a web page instead of {self.wanted.name} (a login, or a limit of downloads, "
                f"may stand before it); {self.wanted.otherwise}"
            )
        self.url = behind
        raise _Again("a page asks whether the file is to be downloaded", pause=0.0)

    def _agree_on_start(self, answer: Any, have: int) -> int:
        """Return where the answer begins; a server may not know how to go on, or have other bytes by now."""
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            return 0
        given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        known = None if self.stamp is None else self.stamp.total
        if given is None or int(given[1]) != have or (known is not None and given[2] not in (str(known), "*")):
            self._start_over()
            raise _Again("the server answers another part of the file than the one it was asked for")
        self.joined = True
        return have

    def _check_total(self, total: int | None) -> None:
        expected = self.wanted.bytes
        if total is not None and expected not in (None, total):
            forget(self.part)
            raise ModelError(
                f"what {self.wanted.url} offers is not {self.wanted.name}: it has {total} bytes instead of {expected}; "
                f"{self.wanted.otherwise}"
            )
        if total is not None and total > self.wanted.most:
            raise ModelError(self._too_large())

    def _too_large(self) -> str:
        most = f"{self.wanted.most / 2**30:.0f} GiB"
        return f"{self.wanted.url} gives more than the {most} that are read; {self.wanted.otherwise}"

    def _check_room(self, needed: int) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if needed + _SPARE > free:
            raise ModelError(
                f"{self.wanted.name} needs {needed / 1e6:.0f} MB more in {self.part.parent}, where {free / 1e6:.0f} MB "
                "are free; make room, or name another folder in RESTOREKIT_CACHE"
            )

    def _copy(self, answer: Any, file: IO[bytes], have: int, total: int | None) -> None:
        most = self.wanted.bytes if self.wanted.bytes is not None else self.wanted.most
        self.progress(have, total)
        while chunk := _receive(answer):
            if have + len(chunk) > most:
                file.close()
                forget(self.part)
                if self.wanted.bytes is None:
                    raise ModelError(self._too_large())
                raise ModelError(
                    f"what {self.wanted.url} gives is not {self.wanted.name}: it has more than {most} bytes; "
                    f"{self.wanted.otherwise}"
                )
            file.write(chunk)
            have += len(chunk)
            self.progress(have, total)
        if total is not None and have < total:
            raise _Again(f"the connection ended after {have} of {total} bytes")

    # --- what is known of the part ------------------------------------------------------------------------------------

    def _read_stamp(self) -> _Stamp | None:
        """Return what is known of the bytes that are here; without it they cannot be gone on with."""
        try:
            stamp = _Stamp(**json.loads(_note_of(self.part).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        usable = stamp.url == self.wanted.url and (stamp.validator is not None or self.wanted.sha256 is not None)
        return stamp if usable and self.part.is_file() else None

    def _remember(self, answer: Any, total: int | None) -> None:
        stamp = _Stamp(
            url=self.wanted.url,
            etag=answer.headers.get("ETag"),
            modified=answer.headers.get("Last-Modified"),
            total=total,
            linked=self.redirects.linked,
        )
        if self.stamp is None or replace(self.stamp, linked=stamp.linked) != stamp:
            write_text(_note_of(self.part), json.dumps(asdict(stamp)))
        self.stamp = stamp

    def _start_over(self) -> None:
        forget(self.part)
        self.stamp = None

    def _fault(self) -> str | None:
        """Return what is wrong with the whole file."""
        size = self._size()
        if self.wanted.bytes not in (None, size):
            return f"it has {size} bytes instead of {self.wanted.bytes}"
        self._sum = sha256_of(self.part)
        linked = None if self.stamp is None else self.stamp.linked
        expected = self.wanted.sha256 or linked
        if expected not in (None, self._sum):
            return f"its SHA-256 is {self._sum} instead of {expected}"
        return None


def _receive(answer: Any) -> bytes:
    """Return some of what comes; what fails here is the network, not the disk."""
    try:
        chunk: bytes = answer.read1(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Again(f"the connection broke ({_words(error)})") from error
    return chunk


_NO_NETWORK = ("Network is unreachable", "No route to host", "Network is down")


def _words(error: object) -> str:
    """Return what an error says, without its number."""
    if isinstance(error, TimeoutError):
        return f"nothing came for {_TIMEOUT:.0f} seconds"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _answer(error: urllib.error.HTTPError) -> str:
    return f"the server answers {error.code} ({error.reason})"
