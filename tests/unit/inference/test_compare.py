from __future__ import annotations

import numpy as np
import pytest

from restorekit.errors import UsageError
from restorekit.inference.compare import compare
from restorekit.io import ImageData, Metadata


def picture(height: int, width: int, dtype: str, value: float, *, grey: bool = False, alpha: bool = False) -> ImageData:
    """Return a picture of one value, given as a share of white."""
    most = 1.0 if dtype == "float32" else float(np.iinfo(dtype).max)
    pixels = np.full((height, width) if grey else (height, width, 3), value * most, dtype)
    return ImageData(pixels=pixels, alpha=np.zeros((height, width), dtype) if alpha else None)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("alpha", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (7, 95), (300, 200), (40, 3000)])
def test_both_pictures_stand_below_their_labels(dtype: str, grey: bool, alpha: bool, size: tuple[int, int]) -> None:
    height, width = size
    before = picture(*size, dtype, 0.25, grey=grey, alpha=alpha)
    after = picture(*size, dtype, 0.75, grey=grey, alpha=alpha)
    both = compare(before, after)
    assert both.pixels.dtype == np.dtype(dtype)
    assert both.grey == grey
    assert both.width == 2 * width + 2
    bar = both.height - height
    assert (bar > 0) == (width >= 96)
    assert np.array_equal(both.pixels[bar:, :width], before.pixels)
    assert np.array_equal(both.pixels[bar:, -width:], after.pixels)
    white = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    assert (both.pixels[bar:, width : width + 2] == white).all()
    if bar:
        left, right = both.pixels[:bar, :width], both.pixels[:bar, -width:]
        assert left.max() > 0.8 * white
        assert right.max() > 0.8 * white
        assert not np.array_equal(left, right)
        assert (np.median(left), np.median(right)) == (left.min(), right.min())
    if alpha:
        assert both.alpha is not None
        assert (both.alpha[:bar] == white).all()
        assert not both.alpha[bar:, :width].any()
    else:
        assert both.alpha is None


def test_the_profile_stays_and_other_metadata_does_not() -> None:
    data = Metadata(icc=b"profile", exif=b"exif", comment=b"words")
    one = ImageData(pixels=np.zeros((4, 4, 3), np.uint8), format="jpeg", metadata=data)
    both = compare(one, one)
    assert both.metadata == Metadata(icc=b"profile")
    assert both.format == "jpeg"


@pytest.mark.parametrize(
    "other", [picture(4, 5, "uint8", 1), picture(4, 4, "uint16", 1), picture(4, 4, "uint8", 1, grey=True)]
)
def test_unequal_pictures_are_refused(other: ImageData) -> None:
    with pytest.raises(UsageError, match="only pictures of one size and depth can be shown side by side"):
        compare(picture(4, 4, "uint8", 1), other)
