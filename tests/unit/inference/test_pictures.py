from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from restorekit.errors import PictureError, UsageError
from restorekit.inference import Restorer
from restorekit.inference.pictures import open_picture
from restorekit.io import ImageData, Metadata, read_image, write_image
from restorekit.io.color_profile import to_working
from restorekit.io.formats import WRITABLE
from restorekit.io.verify import verify
from tests.helpers.profiles import GAMMA, PARAMETRIC, TABLE, dot_gain, profile, table_profile
from tests.helpers.shared import shared_folder
from tests.unit.inference.fakes import ANY_SIZE, RULE, Blur, Describes, Identity, Invert

FULL = {"uint8": 255, "uint16": 65535}


def pixels(dtype: str, *shape: int) -> NDArray[Any]:
    values = 0.01 + 0.99 * np.random.default_rng(0).random(shape)
    return (values * FULL[dtype]).round().astype(dtype) if dtype in FULL else values.astype(dtype)


def restorer(model: torch.nn.Module | None = None, *, tile: int | Literal["auto"] = "auto") -> Restorer:
    return Restorer(model or Invert(), size=ANY_SIZE, rule=RULE, device="cpu", tile=tile)


def inverted(values: NDArray[Any]) -> NDArray[Any]:
    full = FULL.get(values.dtype.name, 1)
    return (full - values.astype(np.float64)).astype(values.dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_arrays_keep_dtype_shape_and_alpha(dtype: str, channels: int | None) -> None:
    given = pixels(dtype, 40, 31, *([channels] if channels else []))
    before = given.copy()
    restored = restorer().restore(given)
    assert restored.dtype == given.dtype
    assert restored.shape == given.shape
    assert np.array_equal(given, before)
    colours = {None: None, 1: 1, 2: 1, 3: 3, 4: 3}[channels]
    wanted = given.copy()
    wanted[..., :colours] = inverted(given[..., :colours])
    assert np.allclose(restored.astype(np.float64), wanted, atol=1e-3 if dtype == "float16" else 1e-6)
    if channels in (2, 4):
        assert np.array_equal(restored[..., -1], given[..., -1])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_level_survives_a_network_that_changes_nothing(dtype: str) -> None:
    levels = np.arange(FULL[dtype] + 1, dtype=dtype).reshape(1 if dtype == "uint8" else 256, -1)
    assert np.array_equal(restorer(Identity()).restore(levels), levels)


@pytest.mark.parametrize("kind", ["big endian", "negative strides", "read-only", "every other column"])
def test_arrays_of_any_layout(kind: str) -> None:
    plain = pixels("uint16", 20, 30, 3)
    given = {
        "big endian": plain.astype(">u2"),
        "negative strides": plain[::-1, ::-1],
        "read-only": plain,
        "every other column": plain[:, ::2],
    }[kind]
    if kind == "read-only":
        given.setflags(write=False)
    restored = restorer().restore(given)
    assert restored.dtype == given.dtype
    assert np.array_equal(restored, inverted(given))


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
@pytest.mark.parametrize("shape", [(3, 40, 31), (1, 40, 31), (4, 40, 31), (2, 3, 40, 31), (3, 1, 40, 31)])
def test_tensors_keep_dtype_and_shape(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    values = 0.01 + 0.99 * torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    full = {torch.uint8: 255, torch.uint16: 65535}.get(dtype, 1)
    given = (values * full).to(dtype)
    restored = restorer().restore(given)
    assert restored.dtype == dtype
    assert restored.shape == given.shape
    colours = 3 if shape[-3] == 4 else shape[-3]
    wanted = full - given.double()[..., :colours, :, :]
    error = (restored.double()[..., :colours, :, :] - wanted).abs().max()
    assert error <= {torch.float16: 1e-3, torch.bfloat16: 1e-2}.get(dtype, 1e-6)
    if shape[-3] == 4:
        assert torch.equal(restored[3], given[3])


def test_a_tensor_that_needs_a_gradient_gives_one_that_training_can_use() -> None:
    restored = restorer().restore(torch.rand(3, 8, 8, requires_grad=True))
    assert not restored.requires_grad
    weight = torch.ones((), requires_grad=True)
    (restored * weight).sum().backward()  # an inference tensor could not be saved for this
    assert weight.grad is not None


@pytest.mark.parametrize(
    ("mode", "result"),
    [
        ("L", "L"),
        ("RGB", "RGB"),
        ("RGBA", "RGBA"),
        ("LA", "LA"),
        ("I;16", "I;16"),
        ("I", "I"),
        ("F", "F"),
        ("P", "RGB"),
        ("1", "L"),
        ("CMYK", "RGB"),
    ],
)
def test_pil_images(mode: str, result: str) -> None:
    if mode in ("I;16", "I"):
        given = Image.fromarray(pixels("uint16", 20, 30))
        given = given if mode == "I;16" else Image.fromarray(np.asarray(given).astype(np.int32))
    elif mode == "F":
        given = Image.fromarray(pixels("float32", 20, 30))
    else:
        given = Image.fromarray(pixels("uint8", 20, 30, 3)).convert(mode)
    given.info["dpi"] = (300, 300)
    assert given.mode == mode
    restored = restorer().restore(given)
    assert (restored.mode, restored.size) == (result, given.size)
    assert restored.info["dpi"] == (300, 300)
    before = np.asarray(given if mode in ("L", "RGB", "RGBA", "LA", "I;16", "I", "F") else given.convert(result))
    colours = {"RGBA": 3, "LA": 1}.get(result)
    full = {"F": 1, "I;16": 65535, "I": 65535}.get(mode, 255)
    wanted = before.astype(np.float64)
    wanted[..., :colours] = full - wanted[..., :colours]
    assert np.allclose(np.asarray(restored), wanted, atol=1e-6)


def test_a_transparent_colour_of_a_pil_image_becomes_alpha() -> None:
    given = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    given.info["transparency"] = 0
    restored = restorer().restore(given)
    assert restored.mode == "RGBA"
    assert np.asarray(restored)[..., 3].tolist() == np.asarray(given.convert("RGBA"))[..., 3].tolist()
    assert "transparency" not in restored.info


def test_image_data_and_paths(tmp_path: Path) -> None:
    given = pixels("uint8", 20, 30, 3)
    path = tmp_path / "a.png"
    Image.fromarray(given).save(path)
    data = read_image(path)
    for image in (data, path, str(path)):
        restored = restorer().restore(image)
        assert isinstance(restored, ImageData)
        assert np.array_equal(restored.pixels, inverted(given))
        assert restored.metadata == data.metadata
    assert np.array_equal(data.pixels, given)
    write_image(restorer().restore(path), tmp_path / "b.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), inverted(given))


def test_alpha_of_image_data_is_kept_and_cropped(tmp_path: Path) -> None:
    given = pixels("uint8", 20, 30, 4)
    path = tmp_path / "a.png"
    Image.fromarray(given).save(path)
    restored = restorer().restore(path)
    assert np.array_equal(restored.pixels, inverted(given[..., :3]))
    assert restored.alpha is not None
    assert np.array_equal(restored.alpha, given[..., 3])
    part = restorer().restore(path, crop=(5, 2, 8, 9))
    assert part.alpha is not None
    assert np.array_equal(part.alpha, given[2:11, 5:13, 3])
    assert np.array_equal(part.pixels, inverted(given[2:11, 5:13, :3]))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.int32), "cannot restore an array of int32"),
        (np.zeros((4, 4), bool), "cannot restore an array of bool"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"an array is \(H, W\) or \(H, W, C\).*got \(2, 4, 4, 3\)"),
        (np.zeros((3, 40, 40), np.uint8), r"got \(3, 40, 40\)"),
        (np.zeros((0, 4, 3), np.uint8), r"got \(0, 4, 3\)"),
        (torch.zeros(40, 40, 3), r"a tensor is \(C, H, W\).*got \(40, 40, 3\)"),
        (torch.zeros(0, 3, 4, 4), r"got \(0, 3, 4, 4\)"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "cannot restore a tensor of torch.int64"),
        ([np.zeros((4, 4), np.uint8)], "cannot restore a list;.*restore_many or a Pipeline"),
        (None, "cannot restore a NoneType"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_is_one(image: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        restorer().run(image)


@pytest.mark.parametrize("where", ["array", "tensor"])
@pytest.mark.parametrize(
    ("bad", "message"), [(np.nan, "no finite numbers"), (np.inf, "no finite"), (255, "from 0 to 255")]
)
def test_floats_that_are_no_colours_are_refused(where: str, bad: float, message: str) -> None:
    values = np.zeros((4, 5, 3), np.float32)
    values[2, 3, 1] = bad
    image = values if where == "array" else torch.from_numpy(values).permute(2, 0, 1)
    with pytest.raises(PictureError, match=f"the {where} holds values.*{message}"):
        restorer().run(image)


def test_floats_are_clamped() -> None:
    restored = restorer(Identity()).restore(np.array([[-0.2, 0.5, 1.2]], np.float32))
    assert restored.tolist() == [[0, 0.5, 1]]


def test_thumbnail_is_the_mean_of_blocks() -> None:
    small = pixels("uint8", 100, 512, 3)
    canvas = open_picture(small).canvases[0]
    assert torch.equal(canvas.thumbnail()[0], torch.from_numpy(small).permute(2, 0, 1) / 255)
    large = pixels("uint16", 1031, 97)
    reduced = open_picture(large).canvases[0].thumbnail()
    assert reduced.shape == (1, 3, 344, 33)  # threefold
    assert reduced[0, 1, 5, 7] == pytest.approx(large[15:18, 21:24].mean() / 65535, abs=1e-6)
    assert reduced[0, 2, 343, 32] == pytest.approx(large[1029:, 96:].mean() / 65535, abs=1e-6)


def test_thumbnail_of_a_large_picture_is_made_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    large = pixels("uint8", 1100, 70, 3)
    at_once = open_picture(large).canvases[0].thumbnail()
    monkeypatch.setattr("restorekit.inference.pictures._CHUNK", 1000)
    assert torch.equal(open_picture(large).canvases[0].thumbnail(), at_once)


# --- colours ----------------------------------------------------------------------------------------------------------


class Sees(torch.nn.Module):
    """Remembers the pictures that it saw and makes them a little darker, or leaves them."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor
        self.seen: list[torch.Tensor] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(image)
        return image * self.factor


PROFILES = {
    "P3": profile("P3", PARAMETRIC),
    "Adobe RGB": profile("Adobe", GAMMA),
    "ProPhoto": profile("ProPhoto", TABLE),
    "tables": table_profile("P3"),
}
GREY_PROFILES = {
    "grey gamma 2.2": profile("", GAMMA, model=b"GRAY"),
    "dot gain 20 %": profile("", dot_gain(), model=b"GRAY"),
}


def profiled(name: str, dtype: str, *, alpha: bool = False) -> ImageData:
    icc = (PROFILES | GREY_PROFILES)[name]
    values = pixels(dtype, 60, 70) if name in GREY_PROFILES else pixels(dtype, 60, 70, 3)
    return ImageData(
        pixels=values,
        alpha=pixels(dtype, 70, 60).T.copy() if alpha else None,
        format="tiff",
        metadata=Metadata(icc=icc),
    )


def planes(image: ImageData) -> torch.Tensor:
    """Return the picture in sRGB as a network sees it."""
    srgb = torch.from_numpy(to_working(image))
    return srgb.expand(3, -1, -1) if image.grey else srgb.permute(2, 0, 1)


@pytest.mark.parametrize(
    ("name", "dtype"),
    # tables are applied to 8 bits only
    [(name, dtype) for name in (*PROFILES, *GREY_PROFILES) for dtype in FULL if (name, dtype) != ("tables", "uint16")],
)
def test_a_network_sees_srgb_and_a_file_keeps_its_colours(name: str, dtype: str, tmp_path: Path) -> None:
    given, path = profiled(name, dtype), tmp_path / "a.tif"
    write_image(given, path)
    network = Sees()
    restored = restorer(network).restore(path)
    assert torch.equal(network.seen[0][0], planes(given))
    assert (planes(given) - planes(replace(given, metadata=Metadata()))).abs().max() > 0.02, "which differs"
    assert restored.metadata.icc == given.metadata.icc
    np.testing.assert_array_equal(restored.pixels, given.pixels)
    in_tiles = restorer(Identity(), tile=32).restore(path)
    np.testing.assert_array_equal(in_tiles.pixels, given.pixels)


@pytest.mark.parametrize("name", ["P3", "dot gain 20 %"])
def test_what_the_network_changes_is_changed_in_srgb(name: str) -> None:
    given = profiled(name, "uint16")
    before = planes(given)
    after = planes(restorer(Sees(0.8)).restore(given))
    inside = ((before > 0) & (before < 1)).all(0)
    assert inside.float().mean() > 0.4
    torch.testing.assert_close(after[:, inside], before[:, inside] * 0.8, atol=2e-4, rtol=0)


def test_colours_that_srgb_lacks_stay_more_colourful_than_it() -> None:
    red = ImageData(pixels=np.full((20, 20, 3), [250, 20, 10], np.uint8), metadata=Metadata(icc=PROFILES["P3"]))
    as_srgb = restorer(Sees(0.9)).restore(red)
    assert as_srgb.pixels[5, 5, 0] < 235
    assert (to_working(as_srgb)[5, 5, 1:] == 0).all(), "still beyond sRGB"


def test_what_is_spared_keeps_every_bit() -> None:
    given = profiled("Adobe RGB", "uint16")
    mask = np.zeros((60, 70), np.uint8)
    mask[:, 35:] = 255
    restored = restorer(Invert()).restore(given, mask=mask)
    np.testing.assert_array_equal(restored.pixels[:, :35], given.pixels[:, :35])
    assert (restored.pixels[:, 35:] != given.pixels[:, 35:]).mean() > 0.9
    np.testing.assert_array_equal(restorer(Invert()).restore(given, strength=0).pixels, given.pixels)
    part = restorer(Invert()).restore(given, crop=(40, 10, 9, 8))
    np.testing.assert_array_equal(part.pixels, restorer(Invert()).restore(given).pixels[10:18, 40:49])


def test_strength_mixes_the_colours_of_the_file() -> None:
    given = profiled("P3", "uint16")
    full = restorer(Invert()).restore(given).pixels.astype(float)
    half = restorer(Invert()).restore(given, strength=0.5).pixels
    np.testing.assert_allclose(half, (full + given.pixels) / 2, atol=1.01)


def test_a_network_describes_a_picture_from_srgb() -> None:
    given = profiled("ProPhoto", "uint8")
    means: list[torch.Tensor] = []

    class Describer(Describes):
        def describe(self, image: torch.Tensor) -> torch.Tensor:
            means.append(image.mean((2, 3)))
            return super().describe(image)

    restorer(Describer()).restore(given)
    torch.testing.assert_close(means[0][0], planes(given).mean((1, 2)))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_pil_image_has_a_profile_too(mode: str) -> None:
    name = "dot gain 20 %" if mode == "L" else "Adobe RGB"
    data = profiled(name, "uint8", alpha=mode == "RGBA")
    given = data.to_pil()
    assert given.mode == mode
    network = Sees()
    restored = restorer(network).restore(given)
    assert restored.info["icc_profile"] == data.metadata.icc
    assert restored.tobytes() == given.tobytes()
    if mode != "RGBA":
        assert torch.equal(network.seen[0][0], planes(data))


def test_a_profile_of_other_colours_does_not_stay_at_converted_ones(caplog: pytest.LogCaptureFixture) -> None:
    given = Image.fromarray(pixels("uint8", 20, 30, 3)).convert("CMYK")
    given.info["icc_profile"] = profile("P3", GAMMA).replace(b"RGB ", b"CMYK", 1)
    restored = restorer(Identity()).restore(given)
    assert restored.mode == "RGB"
    assert "icc_profile" not in restored.info
    assert "CMYK was converted to sRGB" in caplog.text


@pytest.mark.shared
@pytest.mark.parametrize("name", ["wide-gamut-only.png", "prophoto.png", "cmm-exception-adobe-rgb.jpg"])
def test_real_wide_gamut_files(name: str) -> None:
    path = shared_folder() / "data" / "files" / "good" / name
    given = read_image(path)
    network = Sees()
    restored = restorer(network).restore(path)
    np.testing.assert_array_equal(restored.pixels, given.pixels)
    assert restored.metadata.icc == given.metadata.icc
    assert (network.seen[0][0] - planes(replace(given, metadata=Metadata()))).abs().max() > 0.02


@pytest.mark.parametrize("kind", ["heic", "avif", "png", "jpeg"])
def test_a_wide_gamut_file_through_the_bundled_network_loses_nothing(kind: str, tmp_path: Path) -> None:
    if kind not in WRITABLE:
        pytest.skip(f"needs the codec of {kind.upper()}")
    y, x = np.mgrid[:64, :72] / 72
    colours = np.rint(np.stack([60 + 190 * x, 200 - 150 * y, 30 + 90 * x * y], -1)).astype(np.uint8)
    alpha = None if kind == "jpeg" else np.where(np.hypot(y - 0.4, x - 0.5) < 0.3, 255, 0).astype(np.uint8)
    source, target = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"
    write_image(ImageData(pixels=colours, alpha=alpha, metadata=Metadata(icc=PROFILES["P3"])), source)
    restored = Restorer.from_pretrained(device="cpu").restore(source)
    write_image(restored, target)
    assert [str(finding) for finding in verify(source, target) if not finding.kept] == []
    seen = slice(None) if alpha is None else alpha > 0
    before, after = (read_image(path).pixels[seen].astype(int) for path in (source, target))
    assert np.abs(after - before).mean() < 12, "a clean picture stays about as it is"


# --- transparency -----------------------------------------------------------------------------------------------------


def disc(dtype: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a bright disc with soft edges on transparent black: colours and alpha."""
    full = FULL.get(dtype, 1)
    y, x = np.mgrid[:75, :90]
    alpha = np.clip(26 - np.hypot(y - 37, x - 45), 0, 1)
    colours = np.where(alpha[:, :, None] > 0, np.array([0.9, 0.8, 0.7]), 0)
    scaled = [np.rint(part * full) if full > 1 else part for part in (colours, alpha)]
    return scaled[0].astype(dtype), scaled[1].astype(dtype)


class BlurInside(Blur):
    """The mean of 9x9 pixels, borders repeated."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(torch.nn.functional.pad(image, (4, 4, 4, 4), "replicate"), 9, stride=1)


@pytest.mark.parametrize("tile", ["auto", 32])
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("pil", "uint8"),  # PIL has no RGBA of more
        *((kind, dtype) for kind in ("file", "data", "profile", "array", "tensor") for dtype in (*FULL, "float32")),
    ],
)
def test_no_dark_fringes(kind: str, dtype: str, tile: int | Literal["auto"], tmp_path: Path) -> None:
    colours, alpha = disc(dtype)
    given: Any
    if kind in ("file", "data", "profile"):
        given = ImageData(
            pixels=colours,
            alpha=alpha,
            format="tiff",
            metadata=Metadata(icc=PROFILES["Adobe RGB"] if kind == "profile" else None),
        )
        if kind == "file":
            write_image(given, tmp_path / "a.tif")
            given = tmp_path / "a.tif"
    else:
        given = np.dstack([colours, alpha])
    if kind == "tensor":
        given = torch.from_numpy(given).permute(2, 0, 1)
    elif kind == "pil":
        given = Image.fromarray(given)
    restored = restorer(BlurInside(), tile=tile).restore(given)
    if isinstance(restored, ImageData):
        after, after_alpha = restored.pixels, restored.alpha
    else:
        layers = restored.permute(1, 2, 0).numpy() if isinstance(restored, torch.Tensor) else np.asarray(restored)
        after, after_alpha = layers[:, :, :3], layers[:, :, 3]
    np.testing.assert_array_equal(after_alpha, alpha)
    np.testing.assert_array_equal(after[alpha == 0], colours[alpha == 0])
    seen = alpha > 0
    error = np.abs(after[seen].astype(float) - colours[seen]).max() / FULL.get(dtype, 1)
    assert error < 1 / 250, "as bright at the edge as inside"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.uint16])
def test_tensors_of_every_dtype_have_no_dark_fringes(dtype: torch.dtype) -> None:
    colours, alpha = disc("uint16")
    layers = torch.from_numpy(np.dstack([colours, alpha]).astype(np.float64)).permute(2, 0, 1)
    given = (layers if dtype == torch.uint16 else layers / 65535).to(dtype)
    restored = restorer(BlurInside()).restore(given)
    seen = given[3].double() > 0
    change = (restored[:3].double() - given[:3].double())[:, seen].abs().max()
    assert change / (65535 if dtype == torch.uint16 else 1) < 0.01
    assert torch.equal(restored[3], given[3])
    assert torch.equal(restored[:3, ~seen], given[:3, ~seen])


def test_grey_with_alpha_has_no_dark_fringes_either() -> None:
    colours, alpha = disc("uint8")
    restored = restorer(BlurInside()).restore(np.dstack([colours[:, :, 0], alpha]))
    seen = alpha > 0
    assert np.abs(restored[seen][:, 0].astype(int) - colours[seen][:, 0]).max() <= 1


def test_hidden_colours_stay_even_with_a_mask_and_where_nothing_is_seen() -> None:
    given = pixels("uint8", 40, 50, 4)
    given[:20, :, 3] = 0
    mask = np.zeros((40, 50), bool)
    mask[10:30, 10:30] = True
    restored = restorer(Invert()).restore(given, mask=mask)
    changed = (restored != given).any(2)
    assert changed[20:30, 10:30].mean() > 0.9
    changed[20:30, 10:30] = False
    assert not changed.any()
    given[..., 3] = 0
    np.testing.assert_array_equal(restorer(Invert()).restore(given), given)


def test_a_network_describes_a_picture_without_its_hidden_black() -> None:
    colours, alpha = disc("uint8")
    canvas = open_picture(np.dstack([colours, alpha])).canvases[0]
    thumbnail = canvas.thumbnail()
    np.testing.assert_allclose(thumbnail[0].mean((1, 2)), [0.9, 0.8, 0.7], atol=3e-3)
