"""PSNR, SSIM and NRMSE under the protocol that a case states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from restorekit.metrics import nrmse, psnr, ssim, to_luma, to_steps
from tests.helpers.golden import Results, Run, handles


@handles("metric.psnr_ssim")
def psnr_ssim(run: Run) -> Results:
    call = run.call
    as_torch = call.get("variant") == "torch"  # the authors' second implementation: on [0, 1] whatever the range
    data_range = 1.0 if as_torch else float(call["image_range"])
    restored, reference = (run.image(name).float() for name in ("restored", "reference"))
    if data_range != 1:
        restored, reference = (to_steps(x, data_range=data_range) for x in (restored, reference))
    results: dict[str, Any] = {}
    if call.get("test_y_channel", False):
        restored, reference = (
            _luma(x, run, data_range, torch.float32 if as_torch else torch.float64) for x in (restored, reference)
        )
        results = {"luma_restored": restored[0, 0], "luma_reference": reference[0, 0]}
    border = call.get("crop_border", 0)
    window = {name: call[name] for name in ("window", "window_size", "window_sigma", "covariance") if name in call}
    return {
        **results,
        "psnr": psnr(
            restored, reference, data_range=data_range, crop_border=border, epsilon=1e-12 if as_torch else 0.0
        ),
        "ssim": ssim(restored, reference, data_range=float(call["image_range"]), crop_border=border, **window),
        "nrmse": nrmse(
            restored,
            reference,
            data_range=data_range,
            crop_border=border,
            range_of=call.get("nrmse_range_of", "restored"),
        ),
    }


def _luma(image: Tensor, run: Run, data_range: float, dtype: torch.dtype) -> Tensor:
    """Return the luma, rounded to float32 where the authors round it: it moves high PSNRs by more than 1e-6 dB."""
    weights = {"weights": run.call["luma_weights_of_r_g_b"]} if "luma_weights_of_r_g_b" in run.call else {}
    return to_luma((image / data_range).to(dtype), data_range=1.0, **weights).float() * data_range
