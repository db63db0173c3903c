"""Many pictures, safely: finding them, naming what they become, doing them past a bad one, going on after a stop."""

from __future__ import annotations

from restorekit.jobs.journal import Journal, journal_path, sweep
from restorekit.jobs.outputs import DEFAULT_SUFFIX, Job, plan_outputs, shard
from restorekit.jobs.progress import Meter, Progress, job_pixels
from restorekit.jobs.run import Failure, Report, Skip, Stages, run
from restorekit.jobs.walk import STANDARD_STREAM, Item, walk

__all__ = [
    "DEFAULT_SUFFIX",
    "STANDARD_STREAM",
    "Failure",
    "Item",
    "Job",
    "Journal",
    "Meter",
    "Progress",
    "Report",
    "Skip",
    "Stages",
    "job_pixels",
    "journal_path",
    "plan_outputs",
    "run",
    "shard",
    "sweep",
    "walk",
]
