"""Restoration networks: one file per architecture, one import line here per file."""

from __future__ import annotations

from restorekit.models import (
    degradation_classifier,
    dornet,
    dwformer,
    hogformer,
    mirl,
    nafnet,
    promptir,
    restormer,
    resunet,
    swinir,
    timm_unet,
)
from restorekit.models._spec import MODELS, DescribesPicture, ModelSpec, SizeRule, register_model

__all__ = [
    "MODELS",
    "DescribesPicture",
    "ModelSpec",
    "SizeRule",
    "degradation_classifier",
    "dornet",
    "dwformer",
    "hogformer",
    "mirl",
    "nafnet",
    "promptir",
    "register_model",
    "restormer",
    "resunet",
    "swinir",
    "timm_unet",
]
