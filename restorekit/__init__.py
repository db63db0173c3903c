"""RestoreKit restores photographs: noise, rain, haze, low light, blur, JPEG and snow.

The names below are loaded on first use, so that ``import restorekit`` is quick and pulls in nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restorekit.errors import (
        MissingExtraError,
        ModelError,
        PictureError,
        RestoreKitError,
        UnknownNameError,
        UsageError,
    )
    from restorekit.hub import create_model, list_models
    from restorekit.inference import Pipeline, Restorer, restore
    from restorekit.io import ImageData, read_image, write_image

__version__ = "0.1.0"

_HOMES = {
    "ImageData": "restorekit.io",
    "MissingExtraError": "restorekit.errors",
    "ModelError": "restorekit.errors",
    "PictureError": "restorekit.errors",
    "Pipeline": "restorekit.inference",
    "RestoreKitError": "restorekit.errors",
    "Restorer": "restorekit.inference",
    "UnknownNameError": "restorekit.errors",
    "UsageError": "restorekit.errors",
    "create_model": "restorekit.hub",
    "list_models": "restorekit.hub",
    "read_image": "restorekit.io",
    "restore": "restorekit.inference",
    "write_image": "restorekit.io",
}

__all__ = [
    "ImageData",
    "MissingExtraError",
    "ModelError",
    "PictureError",
    "Pipeline",
    "RestoreKitError",
    "Restorer",
    "UnknownNameError",
    "UsageError",
    "__version__",
    "create_model",
    "list_models",
    "read_image",
    "restore",
    "write_image",
]


def __getattr__(name: str) -> Any:
    """Load a public name on its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'restorekit' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted({*globals(), *__all__})
