from __future__ import annotations

import struct
from io import BytesIO

import pytest
from PIL import Image

from restorekit.io import exif, iptc
from restorekit.io.faults import Refusal
from restorekit.io.ifd import Ifd, Layout, TaggedFile, Value, lay_out, long_value, rational_value, short_value
from tests.unit.io.samples import IPTC, exif_block


def by_pillow(block: bytes) -> Image.Exif:
    read = Image.Exif()
    read.load(b"Exif\x00\x00" + block)
    return read


def little(block: bytes) -> bytes:
    """Return a block of Pillow's, which is big-endian, laid out anew with the lowest byte first."""
    built = exif.build(exif.directory(block))
    assert built is not None
    return built


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_settled_blocks_are_true_of_upright_pixels_and_otherwise_the_same(orientation: int, order: str) -> None:
    block = exif_block(orientation)
    block = little(block) if order == "little" else block
    assert exif.orientation(block) == orientation
    settled = exif.settle(block, width=80, height=40)
    assert len(settled) == len(block)
    before, after = by_pillow(block), by_pillow(settled)
    assert after[274] == 1
    assert (after.get_ifd(34665)[40962], after.get_ifd(34665)[40963]) == (80, 40)
    assert {key: value for key, value in after.items() if key != 274} == {
        key: value for key, value in before.items() if key != 274
    }
    assert after.get_ifd(34853) == before.get_ifd(34853)
    assert after.get_ifd(34665)[37500] == before.get_ifd(34665)[37500]


def test_a_thumbnail_in_the_middle_is_blanked_and_at_the_end_cut_off() -> None:
    block = exif_block(1, thumbnail=b"\xff\xd8thumb")
    assert (
        exif.settle(block, width=9, height=7)
        == exif.settle(block[: block.index(b"\xff\xd8")], width=9, height=7)[: block.index(b"\xff\xd8")]
    )
    settled = exif.settle(block + b"more that follows", width=9, height=7)
    assert b"thumb" not in settled
    assert settled.endswith(bytes(7) + b"more that follows")
    assert not by_pillow(settled).get_ifd(1)


@pytest.mark.parametrize(
    "block", [b"", b"II*\x00", b"II*\x00\xff\xff\xff\x7f", b"MM\x00*\x00\x00\x00\x08\xff\xff", b"junk" * 9]
)
def test_a_damaged_block_is_left_as_it_is(block: bytes) -> None:
    assert exif.settle(block, width=1, height=1) == block
    assert exif.orientation(block) == 1
    assert exif.dpi(block) is None
    assert exif.directory(block) == Ifd()


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_orientation_that_there_is_not_counts_as_upright(value: int) -> None:
    block = exif.build(Ifd({274: short_value(value)}))
    assert exif.orientation(block) == 1


@pytest.mark.parametrize(("unit", "factor"), [(2, 1.0), (3, 2.54)])
def test_resolution(unit: int, factor: float) -> None:
    block = exif.build(Ifd({282: rational_value(300), 283: rational_value(150.5), 296: short_value(unit)}))
    assert exif.dpi(block) == pytest.approx((300 * factor, 150.5 * factor))


def test_no_resolution_without_unit_or_with_a_zero() -> None:
    assert exif.dpi(exif.build(Ifd({282: rational_value(72), 283: rational_value(72), 296: short_value(1)}))) is None
    assert exif.dpi(exif.build(Ifd({282: rational_value(72), 283: rational_value(0)}))) is None
    assert exif.dpi(None) is None


@pytest.mark.parametrize("order", ["big", "little"])
def test_a_resolution_is_added_without_moving_anything_else(order: str) -> None:
    block = exif_block(1)
    block = little(block) if order == "little" else block
    more = exif.with_dpi(block, (300.0, 150.0))
    assert exif.dpi(more) == (300, 150)
    assert more[8 : len(block)] == block[8:]
    before, after = by_pillow(block), by_pillow(more)
    assert dict(after.get_ifd(34665)) == dict(before.get_ifd(34665))
    assert {**before, 282: 300, 283: 150, 296: 2} == dict(after)
    assert exif.with_dpi(more, (300.0, 150.0)) == more
    assert exif.dpi(exif.with_dpi(more, (72.0, 72.0))) == (72, 72)


def test_xmp_orientation_is_reset_in_both_spellings() -> None:
    for packet in (
        b'<r tiff:Orientation="6"/>',
        b"<r tiff:Orientation = '8'/>",
        b"<tiff:Orientation>3</tiff:Orientation>",
    ):
        upright = exif.upright_xmp(packet)
        assert len(upright) == len(packet)
        assert not any(digit in upright for digit in b"638")
    assert exif.upright_xmp(b"<r other='6'/>") == b"<r other='6'/>"


@pytest.mark.parametrize("big", [False, True])
def test_a_directory_laid_out_is_read_back(big: bool) -> None:
    main = Ifd(
        {
            1: Value(2, 12, b"a long text\x00"),
            2: short_value(1, 2, 3, 4, 5),
            3: long_value(7, big=big),
            4: rational_value(0.5, 10**9, 3),
            5: Value(7, 3, b"abc"),
        },
        {
            34665: Ifd({9: short_value(4)}, {40965: Ifd({1: Value(2, 4, b"R98\x00")})}),
            34853: Ifd({0: Value(1, 4, bytes(4))}),
        },
    )
    layout = Layout(big=big)
    head = layout.header(16)
    file = TaggedFile(head.ljust(16, b"\x00") + lay_out(main, 16, layout=layout))
    assert file.offsets(9) == [16]
    assert file.read(16, exif.POINTERS) == main


def test_numbers_of_values() -> None:
    assert rational_value(0.25, 72).numbers() == (0.25, 72)
    assert Value(10, 1, struct.pack("<ii", -1, 4)).numbers() == (-0.25,)
    assert Value(5, 1, bytes(8)).numbers() == (0.0,)
    assert Value(2, 3, b"ab\x00").numbers() == ()
    assert rational_value(2.0**40).integers() == (2**32 - 1,)


def test_entries_that_lie_outside_are_left_out_and_hostile_counts_are_refused() -> None:
    entry = struct.pack("<HHII", 270, 2, 2**31, 8)
    file = TaggedFile(b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 1) + entry + bytes(4))
    assert file.entries(8) == {}
    with pytest.raises(Refusal, match="directory of the file is damaged"):
        TaggedFile(b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 60000) + bytes(9)).entries(8)


def test_a_child_that_points_at_its_parent_ends() -> None:
    entries = struct.pack("<HHII", 34665, 4, 1, 8)
    data = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 1) + entries + bytes(4)
    assert TaggedFile(data).read(8, exif.POINTERS) == Ifd()


def test_iptc_in_resources_and_as_text() -> None:
    resources = iptc.from_iim(IPTC)
    thumbnail = b"8BIM\x04\x0c\x00\x00" + struct.pack(">I", 3) + b"abc\x00"
    named = b"8BIM\x0f\xa0\x05named" + struct.pack(">I", 2) + b"xy"
    assert iptc.iim(resources) == IPTC
    assert iptc.without_thumbnail(thumbnail + named + resources) == named + resources
    assert iptc.without_thumbnail(thumbnail) is None
    assert iptc.from_raw_profile(iptc.to_raw_profile(resources)) == resources
    assert iptc.from_raw_profile(b"\niptc\n 4\n1c02zz\n") is None
    assert iptc.from_raw_profile(b"\nIPTC profile\n 9\n" + IPTC.hex().encode() + b"\n") == resources
    assert iptc.from_raw_profile(b"\niptc\n 2\n0000\n") is None
    assert iptc.iim(resources[:20]) is None
    assert iptc.iim(None) is None


def test_text_of_imagemagick_reaches_a_jpeg() -> None:
    from restorekit.io import encode_image, read_image
    from tests.unit.io.samples import grey_png

    text = b"Raw profile type iptc\x00\x00"
    import zlib

    file = grey_png((b"zTXt", text + zlib.compress(iptc.to_raw_profile(iptc.from_iim(IPTC)))))
    coded = encode_image(read_image(file), format="jpeg")
    with Image.open(BytesIO(coded)) as opened:
        assert opened.info["photoshop"][0x0404] == IPTC
