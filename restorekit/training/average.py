"""The mean of several runs' weights.

Runs that go on from one another lie in one valley of the loss; the mean of their weights often keeps what each of them
learned better than any of them.

Reference:
    Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
    inference time", ICML 2022.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from restorekit.errors import UsageError
from restorekit.training.run import load_average, read_record

__all__ = ["average_runs"]


def average_runs(runs: Sequence[Path], out: Path) -> None:
    """Write a run whose averaged weights are the mean of those of other runs.

    Args:
        runs: Folders of two or more runs of one variant.
        out: Folder of the new run; it can be released, and another run can start from it.

    Raises:
        UsageError: There are fewer than two runs, they are of different variants, or ``out`` holds a run.
        ModelError: A folder holds no record or no weights.
    """
    if len(runs) < 2:
        raise UsageError("a mean is taken of two or more runs; name more folders")
    if (out / "run.json").exists():
        raise UsageError(f"{out} holds a run; name another folder")
    records = [read_record(run) for run in runs]
    variants = sorted({record["variant"] for record in records})
    if len(variants) > 1:
        raise UsageError(f"a mean is taken of runs of one variant, and these are of {', '.join(variants)}")
    states = [load_average(run) for run in runs]
    mean = {key: sum(state[key].float() for state in states) / len(states) for key in states[0]}
    out.mkdir(parents=True, exist_ok=True)
    torch.save({"average": mean}, out / "last.pt")
    record = {
        **{key: records[-1][key] for key in ("family", "variant")},
        "clean": sorted({name for record in records for name in record["clean"]}),
        "parents": [str(run) for run in runs],
        "starts": [{"command": shlex.join(["restorekit", *sys.argv[1:]]), "torch": torch.__version__}],
    }
    (out / "run.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
