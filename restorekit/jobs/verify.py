"""What of many pictures was kept in what was made of them: found by their names, compared past a bad file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from restorekit.errors import PictureError
from restorekit.io.faults import about
from restorekit.io.finding import Finding
from restorekit.io.limits import DEFAULT_LIMITS, Limits
from restorekit.io.read import read_pages
from restorekit.io.verify import verify
from restorekit.jobs.pairing import Pair, find_pairs

__all__ = ["Verdict", "VerifyReport", "verify_files"]

_LOSS = 1  # exit code


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one picture.

    Attributes:
        before: The picture as it was.
        after: What was made of it; None where there is no such file.
        status: ``kept`` or ``lost``; ``missing`` where nothing was made of it; ``failed`` where a file cannot be read.
        reason: Why it is ``missing`` or ``failed``; names the file that cannot be read.
        findings: What was looked at.
    """

    before: str
    after: str | None
    status: Literal["kept", "lost", "missing", "failed"]
    reason: str | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What became of all pictures.

    Attributes:
        pairs: One verdict for each picture, in order.
        passed_over: Pictures that belong to nothing, such as before/after pictures.
    """

    pairs: tuple[Verdict, ...]
    passed_over: tuple[str, ...]

    def of(self, status: str) -> list[Verdict]:
        """Return the verdicts of one status."""
        return [verdict for verdict in self.pairs if verdict.status == status]

    @property
    def exit_code(self) -> int:
        """1 if anything was lost, else 3 if a file could not be read, else 0."""
        if self.of("lost") or self.of("missing"):
            return _LOSS
        return PictureError.exit_code if self.of("failed") else 0

    def record(self) -> dict[str, Any]:
        """Return everything as plain JSON data."""
        return {**asdict(self), "exit_code": self.exit_code}


def verify_files(
    before: Path | str,
    after: Path | str,
    *,
    recursive: bool = False,
    suffix: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    tell: Callable[[Verdict], None] | None = None,
) -> VerifyReport:
    """Say what of pictures was kept in what was made of them.

    Args:
        before: A file, or a folder of pictures.
        after: What was made of it: a file, or a folder (see ``pairing`` for how names fit).
        recursive: Whether to go into the folders of folders.
        suffix: What the names of outputs end with, before the dot; if None, nothing or ``_restored``.
        limits: What is too large to be read.
        tell: Called with each verdict when it is there.

    Raises:
        UsageError: One does not exist, one is a file and the other a folder, or there is no picture.
    """
    pairing = find_pairs(Path(before), Path(after), recursive=recursive, suffix=suffix)
    verdicts: list[Verdict] = []
    for pair in pairing.pairs:
        verdicts.append(_judge(pair, limits))
        if tell is not None:
            tell(verdicts[-1])
    return VerifyReport(pairs=tuple(verdicts), passed_over=tuple(map(str, pairing.passed_over)))


def _judge(pair: Pair, limits: Limits) -> Verdict:
    blank = Verdict(before=str(pair.before), after=None if pair.after is None else str(pair.after), status="kept")
    try:
        if pair.after is None:
            read_pages(pair.before, limits=limits)  # what cannot be read cannot be restored either
            return replace(blank, status="missing", reason="nothing that was made of it is there")
        with about(str(pair.after), "comparing it"):
            findings = verify(pair.before, pair.after, limits=limits)
    except PictureError as error:
        return replace(blank, status="failed", reason=str(error))
    kept = all(finding.kept for finding in findings)
    return replace(blank, status="kept" if kept else "lost", findings=tuple(findings))
