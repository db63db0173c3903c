"""Scores of restored pictures: one file per metric, one import line here per file."""

from __future__ import annotations

from restorekit.metrics._prepare import Luma, to_luma, to_steps
from restorekit.metrics._spec import METRICS, MetricSpec, register_metric
from restorekit.metrics.nrmse import nrmse
from restorekit.metrics.psnr import psnr
from restorekit.metrics.ssim import ssim

__all__ = ["METRICS", "Luma", "MetricSpec", "nrmse", "psnr", "register_metric", "ssim", "to_luma", "to_steps"]
