from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restorekit.errors import UsageError
from restorekit.io import ImageData, write_image
from restorekit.jobs import Item, plan_outputs, walk
from restorekit.jobs.pairing import find_pairs, pair_up
from restorekit.jobs.verify import Verdict, verify_files

PICTURE = ImageData(pixels=np.arange(192, dtype=np.uint8).reshape(8, 8, 3))


def items(folder: str, *names: str) -> list[Item]:
    return [Item(Path(folder, name), Path(name)) for name in names]


def paired(before: list[str], after: list[str], *endings: str) -> tuple[dict[str, str | None], list[str]]:
    """Return name -> name of the partner, and what was passed over, of names in two folders."""
    pairing = pair_up(items("in", *before), items("out", *after), endings=endings or ("", "_restored"))
    pairs = {name(pair.before): None if pair.after is None else name(pair.after) for pair in pairing.pairs}
    return pairs, [path.as_posix() for path in pairing.passed_over]


def name(path: Path) -> str:
    return Path(*path.parts[1:]).as_posix()


# --- by names alone ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (["a.jpg"], ["a.jpg"], {"a.jpg": "a.jpg"}),
        (["a.jpg"], ["a.png"], {"a.jpg": "a.png"}),
        (["a.jpg"], ["a_restored.jpg"], {"a.jpg": "a_restored.jpg"}),
        (["a.jpg"], ["a_restored.tif"], {"a.jpg": "a_restored.tif"}),
        (["A.JPG"], ["a.jpg"], {"A.JPG": "a.jpg"}),
        (["A.JPG", "a.jpg"], ["a.jpg", "A.JPG"], {"A.JPG": "A.JPG", "a.jpg": "a.jpg"}),
        (["a.heic"], ["a.png"], {"a.heic": "a.png"}),
        (["sub/a.jpg", "a.jpg"], ["a.jpg", "sub/a.jpg"], {"sub/a.jpg": "sub/a.jpg", "a.jpg": "a.jpg"}),
        (["sub/a.jpg"], ["a.jpg"], {"sub/a.jpg": None}),
        (["a.jpg", "b.jpg"], ["b.jpg"], {"a.jpg": None, "b.jpg": "b.jpg"}),
        (["a.jpg"], ["ab.jpg", "a-x.jpg"], {"a.jpg": None}),
        (["1.2.jpg"], ["1.png", "1.2.png"], {"1.2.jpg": "1.2.png"}),
        (["a_restored.jpg"], ["a_restored.jpg"], {"a_restored.jpg": "a_restored.jpg"}),
    ],
)
def test_partners(before: list[str], after: list[str], expected: dict[str, str | None]) -> None:
    assert paired(before, after)[0] == expected


def test_a_file_is_the_partner_of_one_picture_only() -> None:
    assert paired(["a.jpg", "a.png"], ["a.png"])[0] == {"a.jpg": None, "a.png": "a.png"}
    assert paired(["a.jpg", "a.bmp"], ["a.png"])[0] == {"a.jpg": "a.png", "a.bmp": None}
    assert paired(["a.jpg", "a_restored.jpg"], ["a_restored.jpg"])[0] == {
        "a.jpg": None,
        "a_restored.jpg": "a_restored.jpg",
    }


def test_of_several_the_strictest_rule_and_then_the_first_format_wins() -> None:
    pairs, left = paired(["a.jpg"], ["a_restored.jpg", "a.tif", "a.png", "a.jpg"])
    assert pairs == {"a.jpg": "a.jpg"}
    assert left == ["out/a_restored.jpg", "out/a.tif", "out/a.png"]
    assert paired(["a.jpg"], ["a_restored.jpg", "a.tif", "a.png"])[0] == {"a.jpg": "a.png"}


def test_an_ending_of_ones_own_is_the_only_one() -> None:
    assert paired(["a.jpg"], ["a-new.jpg", "a.jpg"], "-new")[0] == {"a.jpg": "a-new.jpg"}
    assert paired(["a.jpg"], ["a-NEW.png"], "-new")[0] == {"a.jpg": "a-NEW.png"}
    assert paired(["a.jpg"], ["a.jpg", "a_restored.jpg"], "-new")[0] == {"a.jpg": None}


def test_before_after_pictures_belong_to_nothing() -> None:
    after = ["a.jpg", "a_compare.jpg", "b_restored.png", "b_restored_compare.png", "stray.png"]
    pairs, left = paired(["a.jpg", "a_compare.jpg", "b.png", "lone_compare.jpg"], after)
    assert pairs == {"a.jpg": "a.jpg", "b.png": "b_restored.png", "lone_compare.jpg": None}
    assert left == ["in/a_compare.jpg", "out/a_compare.jpg", "out/b_restored_compare.png", "out/stray.png"]


def test_names_that_are_composed_otherwise_are_the_same() -> None:
    composed, apart = (unicodedata.normalize(form, "Köln.jpg") for form in ("NFC", "NFD"))
    assert composed != apart
    assert paired([composed], [apart])[0] == {composed: apart}


NAMES = st.lists(
    st.builds("{}{}{}".format, *map(st.sampled_from, (["a", "A", "s/b"], ["", "_restored"], [".jpg", ".png", ".tif"]))),
    unique=True,
)


@given(NAMES, NAMES)
def test_nothing_is_taken_twice_or_forgotten(before: list[str], after: list[str]) -> None:
    pairs, left = paired(before, after)
    partners = [partner for partner in pairs.values() if partner is not None]
    assert list(pairs) == before
    assert len(set(partners)) == len(partners)
    assert sorted([*partners, *(name(Path(path)) for path in left)]) == sorted(after)
    assert all(pairs[name] == name for name in before if name in after)


# --- on the disk ------------------------------------------------------------------------------------------------------


def put(folder: Path, *names: str) -> Path:
    for one in names:
        (folder / one).parent.mkdir(parents=True, exist_ok=True)
        write_image(PICTURE, folder / one)
    return folder


def found(before: Path, after: Path, *, recursive: bool = True, suffix: str | None = None) -> list[tuple[str, str]]:
    pairs = find_pairs(before, after, recursive=recursive, suffix=suffix).pairs
    return [
        (pair.before.relative_to(before).as_posix(), "" if pair.after is None else str(pair.after.relative_to(after)))
        for pair in pairs
    ]


@pytest.mark.parametrize(
    ("out", "options", "suffix"),
    [
        ("out", {}, None),
        ("out", {"format": "png"}, None),
        ("out", {"suffix": "-x", "format": "tiff"}, "-x"),
        ("in/out", {}, None),
        (None, {}, None),
        (None, {"format": "webp"}, None),
        (None, {"suffix": "-x"}, "-x"),
    ],
)
def test_what_is_planned_is_what_is_paired(
    tmp_path: Path, out: str | None, options: dict[str, str], suffix: str | None
) -> None:
    """Whatever places and names the outputs of a run get, they are found; and again after a second run."""
    before = put(tmp_path / "in", "1.jpg", "2.PNG", "sub/1.jpg", "sub/x_compare.tif")
    target = before if out is None else tmp_path / out
    jobs = plan_outputs(walk([before], recursive=True), out=None if out is None else target, **options)
    assert len(jobs) == 4
    for job in jobs:
        put(job.target.parent, job.target.name)
    strays = [jobs[0].target.with_name(f"{jobs[0].target.stem}_compare.png")]
    if out is not None:
        strays.append(target / "stray.bmp")
    put(target, *(stray.name for stray in strays))
    (target / "notes.txt").write_text("no picture")
    pairing = find_pairs(before, target, recursive=True, suffix=suffix)
    assert {(pair.before, pair.after) for pair in pairing.pairs} == {(job.source, job.target) for job in jobs}
    assert set(pairing.passed_over) == set(strays)


def test_folders_of_folders_only_when_asked(tmp_path: Path) -> None:
    for folder in ("in", "out"):
        put(tmp_path / folder, "a.png", "sub/b.png")
    assert found(tmp_path / "in", tmp_path / "out", recursive=False) == [("a.png", "a.png")]
    assert found(tmp_path / "in", tmp_path / "out") == [("a.png", "a.png"), ("sub/b.png", "sub/b.png")]


def test_a_folder_that_lies_in_the_other_one(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "out/a.png")
    assert found(tmp_path, tmp_path / "out") == [("a.png", "a.png")]
    assert found(tmp_path / "out", tmp_path) == [("a.png", "a.png")]


def test_an_empty_folder_leaves_every_picture_alone(tmp_path: Path) -> None:
    put(tmp_path / "in", "a.png")
    (tmp_path / "out").mkdir()
    assert found(tmp_path / "in", tmp_path / "out") == [("a.png", "")]


def test_what_cannot_be_paired_is_said(tmp_path: Path) -> None:
    put(tmp_path / "in", "a.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"there is no file or folder '.*nowhere'"):
        find_pairs(tmp_path / "in", tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"in is a folder and .*a.png a file; give two files or two folders"):
        find_pairs(tmp_path / "in", tmp_path / "in" / "a.png")
    with pytest.raises(UsageError, match=r"there is no picture file in .*empty"):
        find_pairs(tmp_path / "empty", tmp_path / "in")
    with pytest.raises(UsageError, match="told by the end of their names; give it as --suffix"):
        find_pairs(tmp_path / "in", tmp_path / "in", suffix="")
    with pytest.raises(UsageError, match=r"every picture in .* lies in .*, so there is nothing to compare"):
        find_pairs(tmp_path, tmp_path / "in", recursive=True)


# --- and verified -----------------------------------------------------------------------------------------------------


def test_one_bad_file_ends_nothing(tmp_path: Path) -> None:
    before, after = put(tmp_path / "in", "1.png", "2.png", "3.png", "4.png", "5.png"), tmp_path / "out"
    put(after, "1.png", "2.png", "3.png", "5.png")
    (before / "2.png").write_bytes(b"")
    (after / "3.png").write_bytes((after / "3.png").read_bytes()[:50])
    write_image(ImageData(pixels=PICTURE.pixels[:, :, 0]), after / "5.png")
    told: list[Verdict] = []
    report = verify_files(before, after, tell=told.append)
    assert [verdict.status for verdict in report.pairs] == ["kept", "failed", "failed", "missing", "lost"]
    assert list(report.pairs) == told
    assert str(report.pairs[1].reason).startswith(f"{before / '2.png'}: the file is empty")
    assert str(report.pairs[2].reason).startswith(f"{after / '3.png'}: ")
    assert [finding.aspect for finding in report.pairs[4].findings if not finding.kept] == ["colour"]
    assert report.exit_code == 1


def test_exit_codes(tmp_path: Path) -> None:
    before, after = put(tmp_path / "in", "1.png", "2.png"), put(tmp_path / "out", "1.png", "2.png")
    assert verify_files(before, after).exit_code == 0
    (after / "2.png").write_bytes(b"")
    assert verify_files(before, after).exit_code == 3
    (after / "1.png").unlink()
    assert verify_files(before, after).exit_code == 1


def test_a_picture_that_cannot_be_read_was_not_lost_by_being_left_out(tmp_path: Path) -> None:
    before, after = put(tmp_path / "in", "1.png", "2.png"), put(tmp_path / "out", "1.png")
    (before / "2.png").write_text("this is no picture")
    report = verify_files(before, after)
    assert [verdict.status for verdict in report.pairs] == ["kept", "failed"]
    assert report.exit_code == 3
