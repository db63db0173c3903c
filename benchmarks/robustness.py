"""Odd, broken and hostile files through the real command line: what is refused, what is restored, what goes wrong.

Run from the repository's root:

    python -m benchmarks.robustness [FOLDER] --seed 0 --mutations 500

FOLDER holds odd and broken picture files (the shared material's ``data/files`` if none is named). Every file of it and
as many mutations of them as asked for (see ``tests/helpers/mutations.py``; a seed makes the same ones again) go through
``restorekit restore FILES --out FOLDER --strength 0``, and some small pictures through the default network.

What is counted, one verdict a file:

- restored: an output was written, and an independent reader (tifffile, Pillow) finds a whole picture in it;
- refused: one line at the end that names the file and says why;
- traceback: a traceback, an end by a signal, another exit code than 0 and 3, or no word about a file;
- hang: more than ``--seconds`` of the processor's time for one file, above that of the start, or no end at all;
- over memory: a peak of ``--memory`` MiB above that of a run on one small picture (resident, as the system counts it);
- promise broken: a temporary or any other file left behind, an input changed, an unreadable output, no sentence.

Starting takes seconds, so that files go through in batches of ``--batch``. A batch that ends in a traceback, a hang or
over memory is halved, and each half run again, until the files stand alone: a verdict is always that of a run on one
file. A batch whose halves both do well is counted once, under its own name, since then the files do it together.

Writes ``benchmarks/results/robustness.{json,md}``; exits with 1 unless the last four counts are 0.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

from tests.helpers.mutations import mutate
from tests.helpers.shared import find_shared_folder

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
GOOD, BAD = ("restored", "refused"), ("traceback", "hang", "over memory", "promise broken")
EXIT_CODES = (0, 3)
FOREVER = 900  # seconds on the clock
MIB = 2**20
SMALL = 192 * 192  # pixels of a picture that the network restores here
LARGEST = 400_000  # bytes of a file that is mutated
PACKAGES = ("torch", "numpy", "pillow", "opencv-python-headless", "tifffile", "pillow-heif", "rawpy")


@dataclass(frozen=True)
class Given:
    """A file that goes in.

    Attributes:
        path: Where it lies.
        name: What it is called in the record.
        done: What was done to it.
    """

    path: Path
    name: str
    done: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What came of a file."""

    name: str
    verdict: str
    reason: str = ""
    done: tuple[str, ...] = ()
    pixels: int = 0


@dataclass
class Part:
    """The files that went through in the same way."""

    name: str
    verdicts: list[Verdict] = field(default_factory=list)
    peak_mib: float = 0.0
    seconds: float = 0.0

    def count(self, verdict: str) -> int:
        """Return how many files ended so."""
        return sum(one.verdict == verdict for one in self.verdicts)


@dataclass(frozen=True)
class Bounds:
    """What a run may take: the time and memory of a start, and what a file may add to them."""

    start_seconds: float
    start_bytes: int
    seconds: float
    bytes: int

    def broken(self, process: int, peak: int, count: int, since: float) -> str:
        """Return how a process that restores so many files breaks them, or nothing."""
        if peak > self.start_bytes + self.bytes:
            return "over memory"
        # the processor's time, since a machine that is busy with something else is no hang
        busy = _processor_seconds(process) > 2 * self.start_seconds + self.seconds + count / 2
        return "hang" if busy or time.monotonic() - since > FOREVER else ""


# --- one run of the command line --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a run ended; ``trouble`` is one of the bad verdicts, or empty."""

    trouble: str
    error: str
    peak: int
    seconds: float


def run(files: Sequence[Given], out: Path, options: Sequence[str], bounds: Bounds | None) -> Ended:
    """Restore files in a process of their own, which is ended where it takes too long or too much memory."""
    command = [sys.executable, "-m", "restorekit", "restore", *(str(given.path) for given in files)]
    command += ["--out", str(out), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start = time.monotonic()
    with tempfile.TemporaryFile() as error:
        child = subprocess.Popen(command, stderr=error, env=environment, start_new_session=True, cwd=ROOT)
        trouble, peak, seconds = _watch(child, start, len(files), bounds)
        error.seek(0)
        text = error.read().decode("utf-8", "replace")
    if not trouble and ("Traceback (most recent call last)" in text or child.returncode not in EXIT_CODES):
        trouble = "traceback"
    return Ended(trouble, text, peak, seconds)


def _watch(child: subprocess.Popen[bytes], start: float, count: int, bounds: Bounds | None) -> tuple[str, int, float]:
    """Wait for the end of a process, or bring it about; return what it broke, its peak in bytes, and its seconds."""
    peak, seconds, trouble = 0, 0.0, ""
    while child.poll() is None:
        peak, seconds = max(peak, _resident(child.pid)), max(seconds, _processor_seconds(child.pid))
        trouble = trouble or ("" if bounds is None else bounds.broken(child.pid, peak, count, start))
        if trouble:
            os.killpg(child.pid, signal.SIGKILL)
        time.sleep(0.02)
    return trouble, peak, seconds


def _processor_seconds(process: int) -> float:
    """Return how long a process has kept the processor busy."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended, or this is another system
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _resident(process: int) -> int:
    """Return the largest number of bytes that a process has had in memory."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:  # it has just ended, or this is another system
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found.group(1)) * 1024 if found else 0


# --- verdicts ---------------------------------------------------------------------------------------------------------


def judge(files: Sequence[Given], folder: Path, options: Sequence[str], bounds: Bounds, part: Part) -> list[Verdict]:
    """Return a verdict for each file; halve the batch where there is trouble."""
    out = Path(tempfile.mkdtemp(dir=folder))
    before = [_digest(given.path) for given in files]
    ended = run(files, out, options, bounds)
    part.peak_mib = max(part.peak_mib, ended.peak / MIB)
    if not ended.trouble:
        verdicts = list(_verdicts(files, before, out, ended))
    elif len(files) == 1:
        verdicts = [Verdict(files[0].name, ended.trouble, _last_line(ended.error), files[0].done)]
    else:
        middle = len(files) // 2
        halves = (files[:middle], files[middle:])
        verdicts = [verdict for half in halves for verdict in judge(half, folder, options, bounds, part)]
        if not any(verdict.verdict in BAD for verdict in verdicts):
            names = f"{files[0].name} to {files[-1].name}, together"
            verdicts.append(Verdict(names, ended.trouble, _last_line(ended.error)))
    shutil.rmtree(out)
    return verdicts


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1][:300]


def _verdicts(files: Sequence[Given], before: Sequence[str], out: Path, ended: Ended) -> Iterator[Verdict]:
    """Yield what came of each file of a batch that ended well."""
    lines = ended.error.splitlines()
    written = {source: Path(target) for line in lines for source, target in _WRITTEN.findall(line)}
    at_end = next((index for index, line in enumerate(lines) if _SUMMARY.match(line)), len(lines))
    left = [path for path in out.rglob("*") if path.is_file() and path not in written.values()]
    left += [path for path in files[0].path.parent.iterdir() if path.suffix == ".tmp"]
    for given, digest in zip(files, before, strict=True):
        reasons = [
            line.removeprefix(f"{given.path}: ") for line in lines[at_end:] if line.startswith(f"{given.path}: ")
        ]
        target = written.get(str(given.path))
        if target is None and not reasons:
            yield Verdict(given.name, "traceback", "nothing was said about it", given.done)
            continue
        broken, pixels = "", 0
        if target is not None:
            broken, pixels = _inspect(target)
        elif len(reasons) != 1 or not reasons[0].isprintable() or not 10 <= len(reasons[0]) <= 300:
            broken = f"this is not one sentence: {reasons}"
        if left:
            broken = f"left behind: {', '.join(path.name for path in left)}"
        if _digest(given.path) != digest:
            broken = "the input was changed"
        verdict = "promise broken" if broken else "refused" if target is None else "restored"
        yield Verdict(given.name, verdict, broken or "".join(reasons), given.done, pixels)


_WRITTEN = re.compile(r"^(?:\[\d+/\d+\] )?(.+) -> (.+) \([^()]*\)$")
_SUMMARY = re.compile(r"^\d+ written.* in [\d.]+ ")


def _inspect(path: Path) -> tuple[str, int]:
    """Return what another program finds wrong with an output, or nothing, and its pixels."""
    import tifffile
    from PIL import Image
    from pillow_heif import register_heif_opener

    register_heif_opener()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if path.suffix in (".tif", ".tiff"):
                height, width = tifffile.imread(path).shape[:2]
            else:
                with Image.open(path) as image:
                    image.load()
                    width, height = image.size
    except Exception as error:
        return f"the output cannot be read: {error!r}", 0
    return "", width * height


# --- what goes in -----------------------------------------------------------------------------------------------------


def corpus(folder: Path) -> list[Path]:
    """Return the picture files below a folder, the broken ones too."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".md", ".jsonl", ".txt"))


def originals(paths: Sequence[Path], root: Path, work: Path) -> list[Given]:
    """Copy the files of the corpus."""
    given = []
    for index, path in enumerate(paths):
        copy = work / f"{index:03d}-{path.name}"
        shutil.copyfile(path, copy)
        given.append(Given(copy, path.relative_to(root).as_posix()))
    return given


def mutations(paths: Sequence[Path], root: Path, work: Path, seed: int, count: int) -> list[Given]:
    """Write mutations of the files of the corpus."""
    sources = [path for path in paths if 0 < path.stat().st_size <= LARGEST]
    given = []
    for index in range(count):
        random = Random(f"{seed}:{index}")
        source = random.choice(sources)
        data, done = mutate(source.read_bytes(), random)
        path = work / f"{seed}-{index:04d}-{source.name}"
        path.write_bytes(data)
        given.append(Given(path, f"{source.relative_to(root).as_posix()} (seed {seed}, {index})", tuple(done)))
    return given


# --- the whole --------------------------------------------------------------------------------------------------------


def go_through(
    name: str, files: Sequence[Given], work: Path, options: Sequence[str], bounds: Bounds, batch: int
) -> Part:
    """Judge all files, batch by batch."""
    part, start = Part(name), time.monotonic()
    for first in range(0, len(files), batch):
        part.verdicts += judge(files[first : first + batch], work, options, bounds, part)
        print(f"{name}: {min(first + batch, len(files))} of {len(files)}", file=sys.stderr, flush=True)
    part.seconds = time.monotonic() - start
    return part


def measure_start(work: Path, seconds: float, mebibytes: float) -> Bounds:
    """Measure what a run takes on one small picture."""
    from PIL import Image

    path = work / "start.png"
    Image.new("RGB", (32, 32), (200, 100, 50)).save(path)
    ended = run([Given(path, "start")], work / "start", (), None)
    if ended.trouble:
        raise SystemExit(f"restorekit does not run here:\n{ended.error}")
    own = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return Bounds(ended.seconds, max(ended.peak, own), seconds, round(mebibytes * MIB))


def table(parts: Sequence[Part]) -> str:
    """Return the counts as a Markdown table."""
    columns = (*GOOD, *BAD)
    rows = [["files", "number", *columns], ["---", *["---:"] * (1 + len(columns))]]
    rows += [[part.name, str(len(part.verdicts)), *(str(part.count(column)) for column in columns)] for part in parts]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def reasons(parts: Sequence[Part]) -> list[tuple[str, int]]:
    """Return why files were refused, numbers and names left open, the most frequent first."""
    said = Counter(
        re.sub(r"\d+(\.\d+)?", "N", one.reason) for part in parts for one in part.verdicts if one.verdict == "refused"
    )
    return said.most_common()


def commit() -> str:
    """Return the commit of the checkout, marked where the package was changed since."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "restorekit")
    return git("rev-parse", "--short=12", "HEAD") + (" (changed since)" if changed else "")


def write(parts: Sequence[Part], bounds: Bounds, given: argparse.Namespace, files: Sequence[Path]) -> None:
    """Write the record, and the page that shows it."""
    record = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": "python -m benchmarks.robustness " + " ".join(given.words),
        "commit": commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "packages": {name: version(name) for name in PACKAGES},
        "corpus": {
            "files": len(files),
            "sha256": hashlib.sha256("".join(map(_digest, files)).encode()).hexdigest(),
        },
        "batch": given.batch,
        "start": {"processor_seconds": round(bounds.start_seconds, 2), "mib": round(bounds.start_bytes / MIB)},
        "limits_above_start": {"processor_seconds_per_file": bounds.seconds, "mib": round(bounds.bytes / MIB)},
        "parts": [
            {
                "name": part.name,
                "files": len(part.verdicts),
                **{verdict: part.count(verdict) for verdict in (*GOOD, *BAD)},
                "peak_mib": round(part.peak_mib),
                "seconds": round(part.seconds, 1),
            }
            for part in parts
        ],
        "bad": [asdict(one) for part in parts for one in part.verdicts if one.verdict in BAD],
        "reasons": dict(reasons(parts)),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "robustness.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    (RESULTS / "robustness.md").write_text(_page(record, parts), "utf-8")


def _page(record: dict[str, Any], parts: Sequence[Part]) -> str:
    why = "\n".join(
        f"| {count} | {reason.replace('|', ' ')} |" for reason, count in list(record["reasons"].items())[:40]
    )
    peak, bounds = max(part.peak_mib for part in parts), record["limits_above_start"]
    versions = ", ".join(f"{name} {number}" for name, number in record["packages"].items())
    return f"""# Hostile input: every file of the odd ones, and mutations of them, through the command line

Written by `{record["command"]}`
on {record["date"]} at commit {record["commit"]}; Python {record["python"]}, {record["platform"]};
{versions}.
`robustness.json` is the record; how files are judged is said at the head of `benchmarks/robustness.py`.

{table(parts)}

The corpus has {record["corpus"]["files"]} files. A run on one small picture takes {record["start"]["mib"]} MiB;
the largest peak of all runs was {peak:.0f} MiB (batches of up to {record["batch"]} files).
The limits above that: {bounds["mib"]} MiB, and {bounds["processor_seconds_per_file"]:.0f} processor seconds for a file.

## Why files were refused

The most frequent sentences, with numbers left open:

| files | reason |
| ---: | --- |
{why}
"""


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="odd and broken files; the shared ones if not given")
    parser.add_argument("--seed", type=int, action="append", help="of the mutations; may be repeated; 0 if not given")
    parser.add_argument("--mutations", type=int, default=500, help="for each seed")
    parser.add_argument("--network", type=int, default=60, help="small pictures that the network restores")
    parser.add_argument("--batch", type=int, default=50, help="files a run")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the processor's time that one file may take")
    parser.add_argument("--memory", type=float, default=512.0, help="MiB that a run may take above the start")
    given = parser.parse_args(words)
    given.words, given.seed = list(words), given.seed or [0]
    return given


def main() -> None:
    """Run everything, write the record, print the table."""
    given = parse(sys.argv[1:])
    shared = find_shared_folder()
    folder = given.folder or (shared / "data" / "files" if shared is not None else None)
    if folder is None or not (files := corpus(folder)):
        raise SystemExit("there are no odd files; name a folder that holds some")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        bounds = measure_start(work, given.seconds, given.memory)
        inputs = work / "in"
        inputs.mkdir()
        plain = ("--strength", "0")
        batches = [("as they are", originals(files, folder, inputs))]
        batches += [
            (f"mutations, seed {seed}", mutations(files, folder, inputs, seed, given.mutations)) for seed in given.seed
        ]
        parts = [go_through(title, some, work, plain, bounds, given.batch) for title, some in batches]
        all_of_them = [one for part in parts for one in part.verdicts]
        small = {one.name for one in all_of_them if one.verdict == "restored" and one.pixels <= SMALL}
        chosen = [one for _, some in batches for one in some if one.name in small]
        spread = [chosen[index * len(chosen) // given.network] for index in range(min(given.network, len(chosen)))]
        parts.append(go_through("through the network", spread, work, (), bounds, given.batch))
    write(parts, bounds, given, files)
    print(table(parts))
    bad = [one for part in parts for one in part.verdicts if one.verdict in BAD]
    for one in bad:
        print(f"{one.verdict}: {one.name} [{', '.join(one.done)}]: {one.reason}")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
