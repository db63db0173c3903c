"""How trouble with a file becomes one sentence that names the file."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from restorekit.errors import PictureError, RestoreKitError

__all__ = ["FileError", "Refusal", "about", "sentence"]


class Refusal(Exception):  # noqa: N818 (not an error of ours: a reader says why it does not go on)
    """Raised inside readers and writers that do not know the file's name; its text is the reason."""


class FileError(PictureError):
    """A file that cannot be read or written; the message is ``name: reason``.

    Args:
        name: The file as the user named it.
        reason: What is wrong and what to do, without the name.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


_REASONS = {
    errno.ENOENT: "there is no such file",
    errno.EACCES: "permission denied; check the rights of the file and its folder",
    errno.EPERM: "permission denied; check the rights of the file and its folder",
    errno.EROFS: "the folder cannot be written to (read-only file system); choose another one with --out",
    errno.ENOSPC: "there is no space left on the disk; make room and run it again",
    errno.EDQUOT: "the disk quota is used up; make room and run it again",
    errno.EFBIG: "the file is larger than the file system, or a limit on this account, allows",
    errno.EISDIR: "this is a folder, not a picture",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.ENAMETOOLONG: "the file name is too long",
    errno.EMFILE: "too many files are open",
    errno.EIO: "the disk reports a read or write error",
    errno.ELOOP: "the path is a symbolic link that points at itself",
}


def sentence(error: BaseException) -> str:
    """Return the reason that an exception gives, in one line without the name of a file."""
    if isinstance(error, FileError):
        return error.reason
    if isinstance(error, MemoryError):
        return "there is not enough memory for this picture"
    if isinstance(error, OSError) and error.errno is not None:
        return _REASONS.get(error.errno) or (error.strerror or type(error).__name__)
    text = " ".join(str(error).split())
    return text or type(error).__name__


@contextmanager
def about(name: str, doing: str, *, hint: str = "") -> Iterator[None]:
    """Turn whatever a codec raises into a ``FileError`` about one file.

    Codecs raise almost anything on a hostile file (``SyntaxError``, ``struct.error``, ``cv2.error``, ...), so
    everything is caught here; errors of ours that already are a sentence pass.

    Args:
        name: The file as the user named it.
        doing: What was being done, as in "reading the PNG".
        hint: What an exception that says nothing to the user probably means.

    Raises:
        FileError: In place of any other exception.
    """
    try:
        yield
    except Refusal as refusal:
        raise FileError(name, str(refusal)) from refusal
    except RestoreKitError:
        raise
    except MemoryError as error:
        raise FileError(name, sentence(error)) from error
    except OSError as error:
        if error.errno is not None:
            raise FileError(name, sentence(error)) from error
        raise FileError(name, _failed(doing, error, hint)) from error
    except Exception as error:
        raise FileError(name, _failed(doing, error, hint)) from error


def _failed(doing: str, error: Exception, hint: str) -> str:
    return f"{doing} failed ({sentence(error)})" + (f"; {hint}" if hint else "")
