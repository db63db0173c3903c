"""What every registered network costs: parameters, multiply-accumulates, time and memory, in one run.

Run from the repository's root, on a machine that does nothing else:

    python -m benchmarks.speed.models
    python -m benchmarks.speed.models --models nafnet swinir --sizes 256 --eager-only
    python -m benchmarks.speed.models --models nafnet --against theirs:make_nafnet

Each network runs as the Restorer runs it (``ours``) and in the plain form that training uses (``plain``: the same
weights with gradients enabled, though none is asked for), and, if ``--against module:callable`` names one, as another
implementation (``other``). The callable takes nothing, or the family, or family and variant, and returns what takes
the same tensors as ours: a picture ``(1, 3, H, W)``, or a depth map ``(1, 1, H, W)`` and a picture. They take turns,
call by call. Memory is measured in a process of its own for each: the peak above what is there when the network is
loaded. ``compiled`` means that every block is compiled by ``torch.compile``, which needs a C++ compiler. Weights are
random, the same in ours and plain. Writes ``benchmarks/speed/models.{md,json}``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed._measure import (
    compile_blocks,
    compiler_is_there,
    environment,
    import_callable,
    in_turns,
    multiply_accumulates,
    peak_above_loaded,
)
from restorekit.hub.convert import count_parameters
from restorekit.hub.store import entries
from restorekit.models import MODELS

HERE = Path(__file__).parent
OURS, PLAIN, OTHER = "ours", "plain", "other"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
COUNTED = 256  # side of the picture whose multiply-accumulates are given
TRIED = 64  # side of the picture that they are counted on where the network cannot run without values


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a network is run.

    Attributes:
        family: Its family.
        variant: Its variant.
        device: Where.
        dtype: ``fp32``, or the type that autocast computes in.
        compiled: Whether its blocks are compiled.
        against: The other implementation, as ``module:callable``.
    """

    family: str
    variant: str
    device: torch.device
    dtype: str
    compiled: bool = False
    against: str | None = None

    @property
    def forms(self) -> list[str]:
        """The forms that are measured."""
        return [PLAIN, OURS, *([OTHER] if self.against else [])]


# --- networks ---------------------------------------------------------------------------------------------------------


def variants(names: list[str]) -> list[tuple[str, str]]:
    """Return family and variant of what was asked for: families, variants; all that are no test ones if nothing was."""
    known = [(family, variant) for family in MODELS for variant in MODELS.get(family).variants]
    if not names:
        found = [pair for pair in known if not pair[1].endswith("-test")]
        return [pair for pair in found if MODELS.get(pair[0]).task in ("restore", "guided")]
    chosen = []
    for name in names:
        fitting = [pair for pair in known if pair[1] == name]
        fitting = fitting or [pair for pair in known if name == pair[0] and not pair[1].endswith("-test")]
        if not fitting:
            MODELS.resolve(name)  # says what there is
        chosen += fitting
    return chosen


def inputs(family: str, size: int, device: torch.device | str) -> tuple[Tensor, ...]:
    """Return noise as what a network is called with; only its size matters to the time."""
    if str(device) == "meta":
        image, depth = torch.empty(1, 3, size, size, device="meta"), torch.empty(1, 1, size, size, device="meta")
    else:
        generator = torch.Generator().manual_seed(size)
        image = torch.rand(1, 3, size, size, generator=generator).to(device)
        depth = torch.rand(1, 1, size, size, generator=generator).to(device)
    return (depth, image) if MODELS.get(family).task == "guided" else (image,)


def build(setting: Setting, form: str) -> Callable[..., Tensor]:
    """Build one form of a network; ours and the plain one have the same weights."""
    torch.manual_seed(0)
    if form == OTHER:
        assert setting.against is not None
        made: Any = import_callable(setting.against, setting.family, setting.variant)
        model = made.to(setting.device) if isinstance(made, nn.Module) else made
    else:
        model = MODELS.get(setting.family).build(setting.variant).eval().to(setting.device)
        if form == OURS and together(setting.variant):
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if isinstance(model, nn.Module):
        model.requires_grad_(False)
        if setting.compiled:
            compile_blocks(model)
    return model  # type: ignore[no-any-return]


def together(variant: str) -> bool:
    """Tell whether the Restorer keeps the colours of a pixel together for a variant, as a card says."""
    return any(entry.card.inference.channels_last for entry in entries() if entry.card.variant == variant)


def call(model: Callable[..., Tensor], given: tuple[Tensor, ...], setting: Setting, form: str) -> Tensor:
    """Run a form of a network as it is run in earnest."""
    gradients: AbstractContextManager[Any] = torch.enable_grad() if form == PLAIN else torch.no_grad()
    low = setting.dtype != "fp32"
    cast: AbstractContextManager[Any] = (
        torch.autocast(setting.device.type, DTYPES[setting.dtype]) if low else nullcontext()
    )
    with gradients, cast:
        return model(*given)


def giga_macs(family: str, variant: str) -> dict[str, float]:
    """Count the multiply-accumulates of the plain form on a picture of ``COUNTED`` pixels a side, in units of 10^9."""
    spec = MODELS.get(family)
    try:
        with torch.device("meta"):
            model = spec.build(variant).eval().requires_grad_(False)
        with torch.enable_grad():
            return multiply_accumulates(lambda: model(*inputs(family, COUNTED, "meta")))
    except (RuntimeError, NotImplementedError):  # it looks at values
        model = spec.build(variant).eval().requires_grad_(False)
        with torch.enable_grad():
            counted = multiply_accumulates(lambda: model(*inputs(family, TRIED, "cpu")))
        return {name: count * (COUNTED / TRIED) ** 2 for name, count in counted.items()}


# --- measuring --------------------------------------------------------------------------------------------------------


def measure(setting: Setting, sizes: list[int], given: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all forms of a network at all sizes."""
    models = {form: build(setting, form) for form in setting.forms}
    rows = []
    for size in sizes:
        arguments = inputs(setting.family, size, setting.device)
        if setting.compiled:  # shapes are compiled in
            models = {form: build(setting, form) for form in setting.forms}
        answers = {form: call(models[form], arguments, setting, form) for form in models}  # warms up, too
        reached = {form: (answers[form] - answers[PLAIN]).abs().max().item() for form in answers if form != PLAIN}
        calls = {form: partial(call, models[form], arguments, setting, form) for form in models}
        times = in_turns(calls, given.repeats, device=setting.device, seconds=given.seconds, warm=False)
        peaks = {form: peak_in_a_process(setting, form, size, given.threads) for form in models}
        rows.append(
            {
                "family": setting.family,
                "variant": setting.variant,
                "size": size,
                "compiled": setting.compiled,
                "channels_last": together(setting.variant),
                "times": times,
                "peak_bytes": peaks,
                "differs_from_plain": reached,
                "largest_answer": answers[PLAIN].abs().max().item(),
            }
        )
        sys.stdout.write(f"{summary(rows[-1])}\n")
        sys.stdout.flush()
    return rows


def summary(row: dict[str, Any]) -> str:
    """Say a row in one line."""
    parts = []
    for form, times in row["times"].items():
        taken = f"{times['seconds']:.3f} s ({times['processor_seconds']:.3f} of the processor)"
        parts.append(f"{form} {taken}, {row['peak_bytes'][form] / 1e6:.0f} MB")
    how = "compiled" if row["compiled"] else "eager"
    return f"{row['variant']} {row['size']}x{row['size']} {how}: {'; '.join(parts)}"


def peak_in_a_process(setting: Setting, form: str, size: int, threads: int) -> int:
    """Measure ``probe`` in a process of its own."""
    words = ["--probe", form, "--models", setting.variant, "--sizes", str(size), "--threads", str(threads)]
    words += ["--device", str(setting.device), "--dtype", setting.dtype]
    words += ["--against", setting.against] if setting.against else []
    words += ["--compiled"] if setting.compiled else []
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.speed.models", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{setting.variant}, {form}: {done.stderr.strip().splitlines()[-1]}")
    return int(done.stdout.split()[-1])


def probe(setting: Setting, form: str, size: int) -> int:
    """Return the peak of memory during a call, above that of the loaded network, in bytes."""
    model, least = build(setting, form), MODELS.get(setting.family).size
    small = size if setting.compiled else min(size, max(least.minimum, least.multiple_of, 32))
    runs = [partial(call, model, inputs(setting.family, side, setting.device), setting, form) for side in (small, size)]
    return peak_above_loaded(runs[1], runs[0], setting.device)


# --- reporting --------------------------------------------------------------------------------------------------------

HEAD = (
    "| network | parameters, M | GMACs at 256x256 | picture | | plain, s | ours, s | times faster | {0}"
    "memory of plain, ours, MB |"
)


def page(record: dict[str, Any]) -> str:
    """Return the page for people."""
    other = record["against"]
    columns = f"{other}, s | against it | " if other else ""
    head = HEAD.format(columns)
    lines = [
        "# Networks: time and memory",
        "",
        f"One picture, random weights, {record['device']}, {record['dtype']}, {record['threads']} thread(s): "
        f"`{record['command']}` at commit {record['commit']}.",
        f"{record['processor']}, torch {record['torch']}, load {record['load_at_start']} when it began.",
        "",
        "`ours` is what the Restorer runs, `plain` the form that training uses; they took turns. Seconds are medians",
        "of the processor's time (of the clock on a card), +- half of the distance between the quartiles where there",
        "were several turns. Memory is the peak above the loaded network.",
        "",
        head,
        "|" + "---|" * (head.count("|") - 1),
        *(_line(row, record) for row in record["rows"]),
    ]
    if not record["compiler"]:
        lines += ["", "Nothing was compiled: torch.compile needs a C++ compiler, and there is none."]
    return "\n".join([*lines, ""])


def _line(row: dict[str, Any], record: dict[str, Any]) -> str:
    network = record["networks"][row["variant"]]
    on_card = record["device"] != "cpu"
    taken, spread = ("seconds", "spread") if on_card else ("processor_seconds", "processor_spread")
    seconds = {form: times[taken] for form, times in row["times"].items()}
    spreads = {form: f" +- {t[spread]:.2g}" if t["repeats"] > 1 else "" for form, t in row["times"].items()}
    cells = [f"{seconds[form]:.3g}{spreads[form]}" for form in (PLAIN, OURS)]
    against = f"{seconds[OTHER]:.3g} | {seconds[OTHER] / seconds[OURS]:.2f} | " if OTHER in seconds else ""
    memory = ", ".join(f"{row['peak_bytes'][form] / 1e6:.0f}" for form in (PLAIN, OURS))
    return (
        f"| {row['variant']} | {network['parameters'] / 1e6:.2f} | {sum(network['giga_macs'].values()):.1f} | "
        f"{row['size']}x{row['size']} | {'compiled' if row['compiled'] else 'eager'} | {cells[0]} | {cells[1]} | "
        f"{seconds[PLAIN] / seconds[OURS]:.2f} | {against}{memory} |"
    )


def earlier_rows(out: Path, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a record that was written before, and take its networks over."""
    path = out.with_suffix(".json")
    if not path.is_file():
        return []
    before = json.loads(path.read_text())
    same = [key for key in ("processor", "device", "dtype", "threads", "against") if before[key] != record[key]]
    if same:
        raise SystemExit(f"{path} was measured with another {same[0]}; name another file with --out")
    record["networks"] = {**before["networks"], **record["networks"]}
    return [{"command": before["command"], "commit": before["commit"], **row} for row in before["rows"]]


def merged(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows, newer ones in the place of older ones, in the order of networks, sizes and modes."""

    def key(row: dict[str, Any]) -> tuple[str, str, int, bool]:
        return row["family"], row["variant"], row["size"], row["compiled"]

    rows = {key(row): row for row in [*before, *after]}
    return [rows[name] for name in sorted(rows)]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=[], help="families and variants; all if not given")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--dtype", choices=list(DTYPES), default="fp32")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0, help="after so many no further turn begins")
    parser.add_argument("--eager-only", action="store_true")
    parser.add_argument("--against", help="module:callable that returns another implementation")
    parser.add_argument("--add", action="store_true", help="keep the rows of an earlier record that are not measured")
    parser.add_argument("--out", type=Path, default=HERE / "models", help="where to write, without suffix")
    parser.add_argument("--probe", choices=[OURS, PLAIN, OTHER], help=argparse.SUPPRESS)  # one measurement of memory
    parser.add_argument("--compiled", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure, write, print."""
    given = parse()
    device = torch.device(given.device)
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")  # of the compiler, of which nothing can be changed here
    chosen = variants(given.models)
    settings = [
        Setting(
            family=family, variant=variant, device=device, dtype=given.dtype, compiled=compiled, against=given.against
        )
        for family, variant in chosen
        for compiled in (
            [given.compiled] if given.probe or given.eager_only or not compiler_is_there() else [False, True]
        )
    ]
    if given.probe:
        sys.stdout.write(f"{probe(settings[0], given.probe, given.sizes[0])}\n")
        return
    record: dict[str, Any] = {
        **environment("benchmarks.speed.models"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else given.device,
        "dtype": given.dtype,
        "threads": given.threads,
        "against": given.against,
        "compiler": compiler_is_there(),
        "networks": {
            variant: {
                "family": family,
                "parameters": count_parameters(family, variant),
                "giga_macs": giga_macs(family, variant),
            }
            for family, variant in chosen
        },
        "rows": [],
    }
    earlier = earlier_rows(given.out, record) if given.add else []
    for setting in settings:
        record["rows"] += measure(setting, given.sizes, given)
        record["rows"] = merged(earlier, record["rows"])
        given.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")  # what is done is kept
        given.out.with_suffix(".md").write_text(page(record))
    sys.stdout.write(page(record))


if __name__ == "__main__":
    main()
