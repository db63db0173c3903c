from __future__ import annotations

import errno
import itertools
import logging
import os
import stat
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from restorekit.errors import PictureError, UnknownNameError, UsageError
from restorekit.io import FileError, ImageData, Limits, Metadata, encode_image, read_image, read_size, write_image
from restorekit.io.atomic import atomic_file, origin_of_temporary, temporary_for
from tests.unit.io.samples import full_metadata, jpeg, picture, smooth, values


def test_every_source_gives_the_same_picture(tmp_path: Path) -> None:
    image = picture()
    path = tmp_path / "a.png"
    image.save(path)
    data = path.read_bytes()
    with path.open("rb") as file:
        for source in (path, str(path), data, BytesIO(data), file):
            np.testing.assert_array_equal(read_image(source).pixels, image.pixels)


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(jpeg(smooth()))
    image = read_image(tmp_path / "a.png")
    assert image.format == "jpeg"
    image.save(tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    image.save(tmp_path / "no_suffix")
    assert (tmp_path / "no_suffix").read_bytes().startswith(b"\xff\xd8")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"Dear Sir or Madam,\n", "the file is text, not a picture"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (bytes(range(100)), "the content is not JPEG nor any other known"),
        (b"GIF89a" + bytes(50), "GIF files are not supported"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(FileError, match=rf"^{path}: .*{reason}") as caught:
        read_image(path)
    assert caught.value.name == str(path)
    assert str(path) not in caught.value.reason


def test_what_is_not_there_and_what_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"absent.png: there is no such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(PictureError, match="this is a folder, not a picture"):
        read_image(tmp_path)
    with pytest.raises(PictureError, match=r"^the picture: the file is empty"):
        read_image(b"")


def test_limits_on_bytes_and_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture(height=50, width=50).save(path)
    with pytest.raises(PictureError, match="larger than the limit"):
        read_image(path, limits=Limits(file_bytes=100))
    with pytest.raises(PictureError, match=r"50 x 50 pixels .*; raise the limit"):
        read_image(path, limits=Limits(pixels=2499))


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    picture().save(path)
    times = itertools.count()
    monkeypatch.setattr(
        "restorekit.io.read.os.fstat",
        lambda _: SimpleNamespace(st_mode=stat.S_IFREG, st_size=100, st_mtime_ns=next(times)),
    )
    with pytest.raises(PictureError, match="changed while it was read"):
        read_image(path)


def test_a_write_appears_whole_with_usual_rights_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture().save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def _fail(code: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize(
    ("function", "code", "reason"),
    [
        ("restorekit.io.atomic.os.fsync", errno.ENOSPC, "there is no space left on the disk"),
        ("restorekit.io.atomic.os.open", errno.EROFS, "read-only file system"),
        ("restorekit.io.atomic.os.open", errno.EACCES, "permission denied"),
        ("restorekit.io.atomic.os.fsync", errno.EFBIG, "larger than the file system, or a limit"),
        ("pathlib.Path.replace", errno.EDQUOT, "quota is used up"),
    ],
)
def test_trouble_with_the_disk_is_a_sentence_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int, reason: str
) -> None:
    path = tmp_path / "a.png"
    picture().save(path)
    before = path.read_bytes()
    monkeypatch.setattr(function, _fail(code))
    with pytest.raises(FileError, match=rf"^{path}: .*{reason}"):
        picture(seed=5).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("wb", buffering=0) as file, pytest.raises(PictureError, match="no space left"):
        write_image(picture(), file, format="png")


def test_an_interruption_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with atomic_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt("now")

    with pytest.raises(KeyboardInterrupt, match="now"):
        interrupted()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_without_overwriting_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture().save(path, overwrite=False)
    before = path.read_bytes()
    with pytest.raises(PictureError, match="exists already; give --overwrite"):
        picture(seed=3).save(path, overwrite=False)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_without_hard_links_it_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlib.Path.hardlink_to", _fail(errno.EPERM))
    path = tmp_path / "a.png"
    picture().save(path, overwrite=False)
    with pytest.raises(PictureError, match="exists already"):
        picture().save(path, overwrite=False)


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to("real.png")
    picture().save(tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").read_bytes().startswith(b"\x89PNG")


def test_names_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    for name in ("x" * 251, "图" * 83):
        path = tmp_path / f"{name}.png"
        picture().save(path)
        assert path.exists()


def test_temporary_files_are_told_from_others() -> None:
    target = Path("folder/picture.png")
    temporary = temporary_for(target)
    assert temporary.parent == target.parent
    assert ".tmp" in temporary.name
    assert origin_of_temporary(temporary) == target.name
    assert origin_of_temporary(temporary_for(Path("x" * 250))) == "x" * 200
    for name in (".picture.png", "picture.png.tmp", ".picture.png.12.tmp", ".~lock.tmp"):
        assert origin_of_temporary(Path(name)) is None


@pytest.mark.parametrize(("bits", "format"), [(16, "jpeg"), (16, "webp"), (16, "bmp"), (32, "png"), (32, "jpeg")])
def test_a_reduced_depth_is_said(bits: int, format: str, caplog: pytest.LogCaptureFixture) -> None:
    image = picture(dtype="float32" if bits == 32 else "uint16")
    again = read_image(encode_image(image, format=format))
    assert again.bits == (16 if format == "png" else 8)
    assert f"{bits}-bit values were reduced to {again.bits} bits" in caplog.text


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_depth_that_is_asked_for_is_no_loss(bits: int, caplog: pytest.LogCaptureFixture) -> None:
    out = BytesIO()
    write_image(picture(dtype="uint16"), out, format="tiff", bit_depth=bits)
    assert read_image(out.getvalue()).bits == bits
    assert not caplog.records


def test_what_a_format_cannot_hold_is_said(caplog: pytest.LogCaptureFixture) -> None:
    image = ImageData(pixels=smooth(), metadata=full_metadata())
    encode_image(image, format="bmp")
    assert "BMP files hold no EXIF, XMP, IPTC, so it was left out" in caplog.text


def test_metadata_can_be_left_out_but_the_profile_stays() -> None:
    out = BytesIO()
    write_image(ImageData(pixels=smooth(), metadata=full_metadata()), out, format="png", strip_metadata=True)
    assert read_image(out.getvalue()).metadata == Metadata(icc=full_metadata().icc)


def test_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean jpeg"):
        encode_image(picture(), format="jpegg")
    with pytest.raises(UsageError, match="bit depth is 8, 16 or 32"):
        write_image(picture(), BytesIO(), bit_depth=12)
    with pytest.raises(UsageError, match="a JPEG holds 8 bits, not 16"):
        write_image(picture(), BytesIO(), format="jpeg", bit_depth=16)
    with pytest.raises(UnknownNameError, match="unknown picture format 'gif'"):
        picture().save(tmp_path / "a.gif")


class _Pipe(BytesIO):
    """A stream that cannot go back."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise OSError(errno.ESPIPE, "no seek")


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "bmp"])
def test_a_pipe_will_do(format: str) -> None:
    pipe = _Pipe()
    write_image(picture(), pipe, format=format)
    assert read_image(pipe.getvalue()).format == format


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "bmp"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_size_comes_from_the_head(format: str, order: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    image = ImageData(pixels=values((300, 401, 3), "uint8"), metadata=full_metadata())
    if format == "tiff" and order == ">":
        import tifffile

        tifffile.imwrite(path, image.pixels, byteorder=">", bigtiff=True)
    else:
        image.save(path, format=format)
    assert read_size(path) == (401, 300)


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n", b"II*\x00", b"II*\x00\xff\xff\x00\x00", b"\xff\xd8\xff\xd9"]
)
def test_no_size_in_the_head(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(PictureError, match=r"a.png: "):
        read_size(tmp_path / "a.png")


def test_image_data_holds_together() -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(UsageError, match=r"\(H, W\) or \(H, W, 3\), got \(4, 5, 4\)"):
        ImageData(pixels=np.zeros((4, 5, 4), np.uint8))
    with pytest.raises(UsageError, match="got int64"):
        ImageData(pixels=np.zeros((4, 5), np.int64))
    with pytest.raises(UsageError, match="replace both together"):
        ImageData(pixels=pixels, alpha=np.zeros((4, 4), np.uint8))
    image = ImageData(pixels=pixels, alpha=np.zeros((4, 5), np.uint8))
    assert (image.height, image.width, image.bits, image.grey) == (4, 5, 8, False)
    other = image.replace(pixels=np.ones((2, 2), np.uint16), alpha=np.ones((2, 2), np.uint16))
    assert (other.height, other.bits, other.grey) == (2, 16, True)
    with pytest.raises(UsageError, match="replace both together"):
        image.replace(pixels=np.ones((2, 2), np.uint16))


@pytest.mark.parametrize(
    ("channels", "dtype", "alpha", "mode"),
    [
        (1, "uint8", False, "L"),
        (1, "uint8", True, "LA"),
        (3, "uint8", False, "RGB"),
        (3, "uint16", True, "RGBA"),
        (1, "uint16", False, "I;16"),
        (3, "float32", False, "RGB"),
    ],
)
def test_to_pil(channels: int, dtype: str, alpha: bool, mode: str) -> None:
    image = ImageData(
        pixels=picture(channels=channels, dtype=dtype).pixels,
        alpha=picture(dtype=dtype, alpha=True).alpha if alpha else None,
        metadata=full_metadata(),
    )
    opened = image.to_pil()
    assert opened.mode == mode
    assert opened.size == (image.width, image.height)
    assert opened.info["icc_profile"] == full_metadata().icc
    if mode == "I;16":
        np.testing.assert_array_equal(np.asarray(opened), image.pixels)


def test_notes_reach_the_log(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(smooth()) + bytes(5000))
    with caplog.at_level(logging.WARNING):
        image = read_image(path)
    assert f"{path}: {image.notes[0]}" in caplog.text
