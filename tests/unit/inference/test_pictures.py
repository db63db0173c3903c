from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from restorekit.errors import PictureError, UsageError
from restorekit.inference import Restorer
from restorekit.inference.pictures import open_picture
from restorekit.io import ImageData, read_image, write_image
from tests.unit.inference.fakes import ANY_SIZE, RULE, Identity, Invert

FULL = {"uint8": 255, "uint16": 65535}


def pixels(dtype: str, *shape: int) -> NDArray[Any]:
    values = np.random.default_rng(0).random(shape)
    return (values * FULL[dtype]).round().astype(dtype) if dtype in FULL else values.astype(dtype)


def restorer(model: torch.nn.Module | None = None) -> Restorer:
    return Restorer(model or Invert(), size=ANY_SIZE, rule=RULE, device="cpu")


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
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
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
