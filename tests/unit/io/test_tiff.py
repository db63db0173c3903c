from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from restorekit.errors import PictureError, UsageError
from restorekit.io import ImageData, Limits, Metadata, encode_image, read_image, read_pages, write_pages
from tests.unit.io.samples import exif_block, picture, smooth, values


def tiff(*pages: np.ndarray[Any, Any], **options: Any) -> bytes:
    """Return a TIFF by tifffile."""
    out = BytesIO()
    with tifffile.TiffWriter(out, bigtiff=options.pop("bigtiff", False)) as writer:
        for page in pages:
            writer.write(page, metadata=None, **options)
    return out.getvalue()


def test_sixteen_bit_grey_keeps_every_level() -> None:
    """Field report 1."""
    ramp = np.tile(np.arange(256, dtype=np.uint16) * 257, (64, 1))
    again = tifffile.imread(BytesIO(encode_image(read_image(tiff(ramp)))))
    assert again.dtype == np.uint16
    np.testing.assert_array_equal(again, ramp)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_white_is_zero(dtype: str) -> None:
    layer = values((5, 7), dtype)
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    np.testing.assert_array_equal(read_image(tiff(layer, photometric="miniswhite")).pixels, top - layer)


def by_hand(width: int, height: int, data: bytes, **tags: list[int]) -> bytes:
    """Return a TIFF of one strip; tags are given as ``t262=[3]``."""
    fields = {256: [width], 257: [height], 259: [1], 273: [8], 277: [1], 278: [height], 279: [len(data)]}
    fields |= {int(name[1:]): value for name, value in tags.items()}
    at = 8 + len(data) + len(data) % 2
    place = at + 2 + 12 * len(fields) + 4
    rows, tail = b"", b""
    for tag in sorted(fields):
        value = struct.pack(f"<{len(fields[tag])}H", *fields[tag])
        inline = value.ljust(4, b"\x00") if len(value) <= 4 else struct.pack("<I", place + len(tail))
        tail += value if len(value) > 4 else b""
        rows += struct.pack("<HHI", tag, 3, len(fields[tag])) + inline
    head = struct.pack("<2sHI", b"II", 42, at) + data.ljust(at - 8, b"\x00")
    return head + struct.pack("<H", len(fields)) + rows + bytes(4) + tail


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("scale", [257, 256, 1])
def test_a_palette_becomes_rgb(bits: int, scale: int) -> None:
    count = 2**bits
    table = [0] * (count - 1) + [255 * scale] + [0] * (count - 1) + [128 * scale] + [0] * count
    rows = [[0, count - 1, 0, count - 1, 0], [count - 1, 0, 0, 0, count - 1]]
    packed = [int("".join(f"{v:0{bits}b}" for v in row).ljust(40, "0"), 2).to_bytes(5, "big") for row in rows]
    data = b"".join(row[: (5 * bits + 7) // 8] for row in packed)
    image = read_image(by_hand(5, 2, data, t258=[bits], t262=[3], t320=table))
    expected = np.array([[0, 0, 0], [255, 128, 0]])[np.array(rows) // (count - 1)]
    np.testing.assert_array_equal(image.pixels, expected)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_scaled_to_the_whole_range(bits: int) -> None:
    row = [v % 2**bits for v in range(8)]
    data = int("".join(f"{v:0{bits}b}" for v in row), 2).to_bytes(bits, "big")
    image = read_image(by_hand(8, 1, data, t258=[bits], t262=[1]))
    assert image.pixels.tolist() == [[v * 255 // (2**bits - 1) for v in row]]


def test_a_predictor_is_for_codecs_that_know_it() -> None:
    layer = values((3, 8), "uint8")
    np.testing.assert_array_equal(
        read_image(by_hand(8, 3, layer.tobytes(), t258=[8], t262=[1], t317=[2])).pixels, layer
    )
    packed = zlib.compress(bytes(4))
    with pytest.raises(PictureError, match="predictor 2 on 4 bits, which is not supported"):
        read_image(by_hand(8, 1, packed, t258=[4], t259=[8], t262=[1], t317=[2]))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_associated_alpha_is_divided_out_and_written_as_unassociated(dtype: str) -> None:
    top = 1.0 if dtype == "float32" else float(np.iinfo(dtype).max)
    alpha = np.tile(np.linspace(0.2, 1, 9), (7, 1))
    colours = np.random.default_rng(0).uniform(0, 1, (7, 9, 3))
    stored = np.dstack([colours * alpha[:, :, None], alpha]) * top
    stored = stored.astype(dtype) if dtype == "float32" else np.rint(stored).astype(dtype)
    image = read_image(tiff(stored, photometric="rgb", extrasamples=["assocalpha"]))
    assert image.alpha is not None
    np.testing.assert_array_equal(image.alpha, stored[:, :, 3])
    np.testing.assert_allclose(image.pixels / top, colours, atol=0.02 if dtype == "uint8" else 1e-4)
    with tifffile.TiffFile(BytesIO(encode_image(image))) as opened:
        page = opened.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        assert [int(extra) for extra in page.extrasamples] == [2]


def test_channels_beside_colour_and_alpha_are_left_out_with_a_word() -> None:
    image = read_image(tiff(values((5, 6, 5), "uint8"), photometric="rgb", extrasamples=["unassalpha", "unspecified"]))
    assert image.alpha is not None
    assert image.notes == ("1 further channels beside colour and alpha were left out",)


def test_cmyk_is_converted_and_said() -> None:
    ink = np.zeros((4, 4, 4), np.uint8)
    ink[:, :, 3] = 255
    image = read_image(tiff(ink, photometric="separated"))
    assert image.pixels.max() < 40
    assert "CMYK was converted to sRGB" in image.notes[0]


@pytest.mark.parametrize("compression", ["group3", "group4", "jpeg"])
def test_codecs_that_make_pixels(compression: str) -> None:
    layer = smooth() if compression == "jpeg" else np.where(values((30, 40), "uint8") > 128, 255, 0).astype(np.uint8)
    source = Image.fromarray(layer) if compression == "jpeg" else Image.fromarray(layer).convert("1")
    out = BytesIO()
    source.save(out, "TIFF", compression=compression, **({"quality": 95} if compression == "jpeg" else {}))
    image = read_image(out.getvalue())
    assert np.abs(image.pixels.astype(int) - layer).max() <= (12 if compression == "jpeg" else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_once(orientation: int) -> None:
    layer = values((4, 6), "uint8")
    out = BytesIO()
    source = Image.fromarray(layer)
    source.save(out, "TIFF", tiffinfo={274: orientation})
    with Image.open(BytesIO(out.getvalue())) as opened:
        shown = np.asarray(opened)  # Pillow turns a TIFF when it loads it
    image = read_image(out.getvalue())
    np.testing.assert_array_equal(image.pixels, shown)
    with Image.open(BytesIO(encode_image(image))) as opened:
        np.testing.assert_array_equal(np.asarray(opened), shown)
        assert opened.getexif().get(274, 1) == 1


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "raw", "jpeg", "group4"])
def test_large_files_are_unpacked_in_bands(compression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorekit.io.tiff_segments._BAND", 700)
    layer = smooth(96, 128)
    source = Image.fromarray(layer).convert("1") if compression == "group4" else Image.fromarray(layer)
    out = BytesIO()
    options = {"quality": 95} if compression == "jpeg" else {}
    source.save(out, "TIFF", compression=compression, strip_size=1000, **options)
    expected = np.asarray(source.convert("L")) if compression == "group4" else layer
    difference = np.abs(read_image(out.getvalue()).pixels.astype(int) - expected)
    assert difference.max() <= (12 if compression == "jpeg" else 0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_large_tiled_files_are_unpacked_in_bands(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorekit.io.tiff_segments._BAND", 700)
    layer = values((75, 90, 3), dtype)
    file = tiff(layer, photometric="rgb", tile=(16, 32), compression="zlib")
    np.testing.assert_array_equal(read_image(file).pixels, layer)


def test_a_codec_gets_no_segment_that_is_too_large_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    out = BytesIO()
    Image.fromarray(smooth()).save(out, "TIFF", compression="tiff_lzw", strip_size=2**20)
    monkeypatch.setattr("restorekit.io.tiff_segments._MOST", 1000)
    with pytest.raises(PictureError, match="packed in one piece, which is too large"):
        read_image(out.getvalue())


@pytest.mark.parametrize("deflated", [False, True])
def test_a_fill_order_from_the_lowest_bit(deflated: bool) -> None:
    layer = values((6, 8), "uint8")
    data = zlib.compress(layer.tobytes()) if deflated else layer.tobytes()
    turned = bytes(int(f"{value:08b}"[::-1], 2) for value in data)
    file = by_hand(8, 6, turned, t258=[8], t262=[1], t266=[2], t259=[8 if deflated else 1])
    np.testing.assert_array_equal(read_image(file).pixels, layer)


def test_pages() -> None:
    first, second = picture(dtype="uint16"), picture(channels=1, height=3, alpha=True)
    out = BytesIO()
    write_pages([first, second], out)
    with pytest.raises(PictureError, match="holds 2 pages and one picture is needed"):
        read_image(out.getvalue())
    pages = read_pages(out.getvalue())
    np.testing.assert_array_equal(pages[0].pixels, first.pixels)
    np.testing.assert_array_equal(pages[1].alpha, second.alpha)
    with tifffile.TiffFile(BytesIO(out.getvalue())) as opened:
        assert [page.shape for page in opened.pages] == [(13, 11, 3), (3, 11, 2)]
    with pytest.raises(PictureError, match="more than 1 pages"):
        read_pages(out.getvalue(), limits=Limits(pages=1))
    with pytest.raises(UsageError, match="at least one page"):
        write_pages([], out)


def test_reduced_copies_are_no_pages() -> None:
    out = BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(values((8, 8), "uint8"), metadata=None)
        writer.write(values((4, 4), "uint8"), metadata=None, subfiletype=1)
    image = read_image(out.getvalue())
    assert image.pixels.shape == (8, 8)
    assert image.notes == ("1 reduced copies or masks beside the picture were left out",)


def test_descriptions_survive_a_change_of_format_and_back() -> None:
    image = ImageData(pixels=smooth(), metadata=Metadata(exif=exif_block(1)))
    there = read_image(encode_image(image, format="tiff"))
    assert there.metadata.exif is not None
    back = read_image(encode_image(there, format="png"))
    with Image.open(BytesIO(encode_image(back, format="png"))) as opened:
        tags = opened.getexif()
        assert tags[271] == "Maker"
        assert tags.get_ifd(34665)[36867] == "2024:05:06 07:08:09"
        assert tags.get_ifd(34853)[2] == (50, 44, 2.5)


def test_a_file_above_4_gb_is_a_bigtiff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorekit.io.tiff_write._CLASSIC", 100)
    image = picture(alpha=True, dtype="uint16")
    file = encode_image(image, format="tiff")
    assert file[:4] == b"II+\x00"
    np.testing.assert_array_equal(tifffile.imread(BytesIO(file))[:, :, :3], image.pixels)
    np.testing.assert_array_equal(read_image(file).pixels, image.pixels)


def patched(file: bytes, tag: int, value: int) -> bytes:
    """Return a TIFF (little-endian, classic) with another value of a tag."""
    (at,) = struct.unpack_from("<I", file, 4)
    (count,) = struct.unpack_from("<H", file, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        if struct.unpack_from("<H", file, entry)[0] == tag:
            return file[: entry + 8] + struct.pack("<I", value) + file[entry + 12 :]
    raise KeyError(tag)


PLAIN = tiff(values((6, 8), "uint8"))


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (PLAIN[:4] + b"\xff" + PLAIN[5:], "cut off or damaged"),
        (PLAIN[:6], "TIFF header is damaged"),
        (PLAIN[:-10], "ends before its pixels do"),
        (patched(PLAIN, 262, 8), r"L\*a\*b\*"),
        (patched(PLAIN, 262, 32803), "camera raw"),
        (patched(PLAIN, 262, 99), "photometric interpretation 99"),
        (patched(PLAIN, 259, 34712), "not supported .number 34712."),
        (patched(PLAIN, 256, 10**6), "end too early"),
        (patched(tiff(values((6, 8), "uint8"), compression="zlib"), 256, 9), "end too early"),
        (tiff(values((6, 8), "uint8"), compression="zlib").replace(b"\x78", b"\x00", 1), "compressed .* damaged"),
        (tiff(values((6, 8), "uint8"), rowsperstrip=1).replace(struct.pack("<HHI", 273, 4, 6), bytes(8)), "where all"),
        (patched(PLAIN, 256, 2**31), "megapixels"),
        (patched(PLAIN, 256, 0), "0 x 6 pixels"),
        (tiff(values((4, 4), "uint8").astype(np.int16)), "signed 16-bit"),
        (tiff(values((4, 4), "uint8").astype(np.uint32)), "32-bit values"),
        (tiff(values((4, 4), "float32").astype(np.complex64)), "complex"),
    ],
)
def test_broken_and_odd_files_are_refused_by_what_is_wrong(file: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        read_image(file)


def test_directories_in_a_circle_end() -> None:
    (at,) = struct.unpack_from("<I", PLAIN, 4)
    (count,) = struct.unpack_from("<H", PLAIN, at)
    link = at + 2 + 12 * count
    looped = PLAIN[:link] + struct.pack("<I", at) + PLAIN[link + 4 :]
    np.testing.assert_array_equal(read_image(looped).pixels, values((6, 8), "uint8"))
