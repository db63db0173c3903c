"""Limits that guard against files which ask for more than the machine has."""

from __future__ import annotations

from dataclasses import dataclass

from restorekit.io.faults import Refusal

__all__ = ["DEFAULT_LIMITS", "Limits", "check_size"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a reader takes on before it refuses.

    Attributes:
        pixels: Most pixels (width x height) of one picture.
        file_bytes: Most bytes of one file.
        metadata_bytes: Most bytes of a profile, text or other block, and of all together after they were inflated.
        pages: Most pages of one file.
    """

    pixels: int = 500_000_000
    file_bytes: int = 4 * 2**30
    metadata_bytes: int = 64 * 2**20
    pages: int = 1000


DEFAULT_LIMITS = Limits()


def check_size(width: int, height: int, limits: Limits) -> None:
    """Refuse a picture that is empty or larger than the limits allow, by what its header says.

    Args:
        width: Columns.
        height: Rows.
        limits: The limits in force.

    Raises:
        Refusal: A side is not positive, or there are too many pixels.
    """
    if width < 1 or height < 1:
        raise Refusal(f"the header says {width} x {height} pixels, so there is no picture in it")
    if width * height > limits.pixels:
        raise Refusal(
            f"the header says {width} x {height} pixels ({width * height / 1e6:.0f} megapixels) and the limit is "
            f"{limits.pixels / 1e6:.0f} megapixels; raise the limit if the file can be trusted"
        )
