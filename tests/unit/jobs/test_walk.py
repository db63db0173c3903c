from __future__ import annotations

from pathlib import Path

import pytest

from restorekit.errors import UsageError
from restorekit.jobs import STANDARD_STREAM, walk


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with pictures, junk, and folders in it."""
    names = [
        *("10.png", "2.JPG", "B.tiff", "a.webp"),
        *(".hidden.png", "._2.JPG", "Thumbs.db", "notes.txt", "desktop.ini", "no_suffix"),
        *("sub/3.png", "sub/deep/4.bmp", ".cache/5.png", "empty/readme.md"),
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def relatives(inputs: list[str | Path], *, recursive: bool = False) -> list[str]:
    return [item.relative.as_posix() for item in walk(inputs, recursive=recursive)]


def test_a_folder_gives_its_pictures_in_natural_order_without_junk(tree: Path) -> None:
    assert relatives([tree]) == ["2.JPG", "10.png", "a.webp", "B.tiff"]


def test_folders_of_folders_only_when_asked(tree: Path) -> None:
    assert relatives([tree], recursive=True) == ["2.JPG", "10.png", "a.webp", "B.tiff", "sub/3.png", "sub/deep/4.bmp"]


@pytest.mark.parametrize("name", [".hidden.png", "notes.txt", "no_suffix", "._2.JPG"])
def test_a_named_file_is_never_ignored(tree: Path, name: str) -> None:
    (item,) = walk([tree / name], recursive=False)
    assert item.named
    assert item.relative == Path(name)


def test_patterns_ignore_junk_and_keep_what_lies_below_their_fixed_part(tree: Path) -> None:
    assert relatives([f"{tree}/*"]) == ["2.JPG", "10.png", "a.webp", "B.tiff", "sub/3.png"]
    assert relatives([f"{tree}/**/*.png"]) == ["10.png", "sub/3.png"]
    assert relatives([f"{tree}/s*/?.png"]) == ["sub/3.png"]


def test_a_relative_pattern_gives_relative_paths(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert [item.path for item in walk(["*.png"], recursive=False)] == [Path("10.png")]


def test_a_name_with_brackets_is_a_file_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "a[1].png").write_bytes(b"x")
    assert relatives([tmp_path / "a[1].png"]) == ["a[1].png"]


def test_a_file_reached_twice_is_listed_once(tree: Path) -> None:
    assert relatives([tree / "10.png", tree, f"{tree}/*.png"]) == ["10.png", "2.JPG", "a.webp", "B.tiff"]


def test_a_link_to_a_folder_does_not_lead_in_circles(tree: Path) -> None:
    (tree / "sub" / "up").symlink_to(tree)
    assert relatives([tree], recursive=True) == ["2.JPG", "10.png", "a.webp", "B.tiff", "sub/3.png", "sub/deep/4.bmp"]


def test_standard_input(tree: Path) -> None:
    assert [item.path for item in walk(["-"], recursive=False)] == [STANDARD_STREAM]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.png", "no file or folder '.*absent.png'"),
        ("*.gif", "nothing matches the pattern '.*gif'"),
        ("empty", "no picture file in .*empty .*--recursive"),
    ],
)
def test_what_is_not_there_is_named(tree: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        walk([f"{tree}/{name}"], recursive=False)


def test_no_input_at_all() -> None:
    with pytest.raises(UsageError, match="no input was given"):
        walk([], recursive=False)
