"""Scores of restored pictures: one file per metric, one import line here per file."""

from __future__ import annotations

from restorekit.metrics._prepare import Luma, to_luma, to_steps
from restorekit.metrics._spec import METRICS, MetricSpec, register_metric
from restorekit.metrics.depth_rmse import DepthProtocol, DepthScore, depth_rmse, depth_rmse_pooled, score_depth
from restorekit.metrics.nrmse import nrmse
from restorekit.metrics.psnr import psnr
from restorekit.metrics.ssim import ssim

__all__ = [
    "METRICS",
    "DepthProtocol",
    "DepthScore",
    "Luma",
    "MetricSpec",
    "depth_rmse",
    "depth_rmse_pooled",
    "nrmse",
    "psnr",
    "register_metric",
    "score_depth",
    "ssim",
    "to_luma",
    "to_steps",
]
