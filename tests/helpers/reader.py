"""A process that reads pictures under limits on time and memory, for files that might break it.

Started as ``python -m tests.helpers.reader``. It takes requests on standard input (four bytes of length, then the
format to write and the file, apart by a zero) and answers each with a line of JSON. A file that takes too long ends it.
"""

from __future__ import annotations

import json
import logging
import resource
import struct
import subprocess
import sys
import tempfile
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from restorekit.io import FileError, Limits, encode_image, read_image, read_pages, read_size

__all__ = ["SECONDS", "Answer", "Reader"]

SECONDS = 20
"""Of the processor's time that one file may take."""

LIMITS = Limits(pixels=4_000_000, metadata_bytes=2**23)
_ADDRESS_SPACE = 2**30  # bytes that the process may take above what it has when it starts
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Answer:
    """What came of a file.

    Attributes:
        reason: Why it was refused; empty where it was read and written again.
        size_reason: Why not even its size was read.
        fault: The traceback of anything else; or that the process died.
        peak: Bytes that Python and NumPy held at most.
        growth: Bytes by which the process grew beyond what it had ever had.
    """

    reason: str = ""
    size_reason: str = ""
    fault: str = ""
    peak: int = 0
    growth: int = 0


class Reader:
    """The other process; started anew where it died. A context manager."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def read(self, file: bytes, *, format: str) -> Answer:
        """Return what comes of reading a file and writing what was read in a format."""
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "tests.helpers.reader"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # what C libraries say of broken files
                cwd=_ROOT,
            )
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        request = format.encode() + b"\x00" + file
        try:
            child.stdin.write(struct.pack(">I", len(request)) + request)
            child.stdin.flush()
            line = child.stdout.readline()
        except BrokenPipeError:
            line = b""
        if line:
            return Answer(**json.loads(line))
        self.close()
        return Answer(fault=f"the process died with {child.returncode} (-24: more than {SECONDS} s)")

    def close(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


# --- the other process ------------------------------------------------------------------------------------------------


def _serve() -> None:
    import cv2  # noqa: F401 (loaded now, so that a file is not charged for it)
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401

    logging.disable(logging.CRITICAL)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        most = pages * resource.getpagesize() + _ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    with tempfile.NamedTemporaryFile(suffix=".bin") as place:
        while head := sys.stdin.buffer.read(4):
            request = sys.stdin.buffer.read(struct.unpack(">I", head)[0])
            format, _, file = request.partition(b"\x00")
            sys.stdout.write(json.dumps(_answer(file, format.decode(), Path(place.name))) + "\n")
            sys.stdout.flush()


def _answer(file: bytes, format: str, place: Path) -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + SECONDS, hard))
    place.write_bytes(file)
    answer: dict[str, Any] = {}
    tracemalloc.start()
    try:
        answer["size_reason"] = _reason(lambda: read_size(place))
        answer["reason"] = _reason(lambda: encode_image(read_image(file, limits=LIMITS), format=format))
        _reason(lambda: read_pages(place, limits=LIMITS))
    except Exception:
        import traceback

        answer["fault"] = traceback.format_exc()
    answer["peak"] = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    answer["growth"] = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used.ru_maxrss)
    return answer


def _reason(call: Any) -> str:
    try:
        call()
    except FileError as error:
        return error.reason
    return ""


if __name__ == "__main__":
    _serve()
