from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from restorekit.errors import UnknownNameError, UsageError
from restorekit.io import ImageData, write_image
from restorekit.jobs import STANDARD_STREAM, Item, Job, plan_outputs, shard, walk


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def targets(jobs: list[Job], below: Path) -> list[str]:
    return [job.target.relative_to(below).as_posix() for job in jobs]


def test_beside_the_input_by_default(tmp_path: Path) -> None:
    put(tmp_path, "a.PNG", "b.tif")
    assert targets(plan_outputs(walk([tmp_path], recursive=False)), tmp_path) == ["a_restored.PNG", "b_restored.tif"]


def test_one_input_and_a_picture_suffix_make_out_a_file(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    items = walk([tmp_path / "a.png"], recursive=False)
    assert targets(plan_outputs(items, out=tmp_path / "b.JPG"), tmp_path) == ["b.JPG"]
    assert targets(plan_outputs(items, out=tmp_path / "b"), tmp_path) == ["b/a.png"]
    (tmp_path / "c.png").mkdir()
    assert targets(plan_outputs(items, out=tmp_path / "c.png"), tmp_path) == ["c.png/a.png"]


def test_several_inputs_make_out_a_folder_with_the_names_as_they_were(tmp_path: Path) -> None:
    put(tmp_path, "in/a.png", "in/b.jpeg", "in/sub/c.webp")
    items = walk([tmp_path / "in"], recursive=True)
    out = tmp_path / "out"
    assert targets(plan_outputs(items, out=out), out) == ["a.png", "b.jpeg", "sub/c.webp"]
    assert targets(plan_outputs(items, out=out, suffix="-x"), out) == ["a-x.png", "b-x.jpeg", "sub/c-x.webp"]
    assert not out.exists()


def test_a_format_changes_the_suffix_only_where_it_has_to(tmp_path: Path) -> None:
    put(tmp_path, "in/a.png", "in/b.jpeg", "in/c.JPG")
    jobs = plan_outputs(walk([tmp_path / "in"], recursive=False), out=tmp_path / "out", format="jpg")
    assert targets(jobs, tmp_path / "out") == ["a.jpg", "b.jpeg", "c.JPG"]
    assert {job.format for job in jobs} == {"jpeg"}


def test_a_format_that_cannot_be_written_becomes_png(tmp_path: Path) -> None:
    put(tmp_path, "a.dng")
    (job,) = plan_outputs(walk([tmp_path], recursive=False))
    assert (job.target.name, job.format) == ("a_restored.png", "png")


def test_a_wrong_name_does_not_cost_a_picture_its_format(tmp_path: Path) -> None:
    for name, format in (("a.jpg", "png"), ("b.png", "jpeg"), ("c.png", "png"), ("d.webp", "tiff")):
        write_image(ImageData(pixels=np.zeros((4, 4), np.uint8)), tmp_path / name, format=format)
    (tmp_path / "e.jpg").write_text("no picture")
    items = walk([tmp_path], recursive=False)
    made = [job.target.name for job in plan_outputs(items, out=tmp_path / "out")]
    assert made == ["a.png", "b.jpg", "c.png", "d.tif", "e.jpg"]
    asked = [job.target.name for job in plan_outputs(items, out=tmp_path / "out", format="webp")]
    assert asked == ["a.webp", "b.webp", "c.webp", "d.webp", "e.webp"]
    os.mkfifo(tmp_path / "f.png")
    pipe = Item(tmp_path / "f.png", Path("f.png"), named=True)
    assert plan_outputs([pipe, items[0]], out=tmp_path / "out")[0].target.name == "f.png"


@pytest.mark.parametrize(
    ("names", "format", "clash"),
    [
        (("a.jpg", "a.png"), "png", "a.jpg and .*a.png -> .*a.png"),
        (("a.png", "A.PNG"), None, "a.png and .*A.PNG|A.PNG and .*a.png"),
        (("ä.png", "a\u0308.png"), None, "several inputs would become one file"),
    ],
)
def test_two_inputs_that_become_one_file_are_refused_by_name(
    tmp_path: Path, names: tuple[str, str], format: str | None, clash: str
) -> None:
    put(tmp_path, *names)
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system takes the two names for one")
    with pytest.raises(UsageError, match=clash):
        plan_outputs(walk([tmp_path], recursive=False), out=tmp_path / "out", format=format)


def test_same_names_in_two_folders_clash_without_a_mirrored_tree(tmp_path: Path) -> None:
    put(tmp_path, "x/a.png", "y/a.png", "x/sub/a.png")
    with pytest.raises(UsageError, match=r"x/a.png and .*y/a.png"):
        plan_outputs(walk([tmp_path / "x", tmp_path / "y"], recursive=False), out=tmp_path / "out")
    jobs = plan_outputs(walk([tmp_path / "x"], recursive=True), out=tmp_path / "out")
    assert targets(jobs, tmp_path / "out") == ["a.png", "sub/a.png"]


def test_plain_names_wherever_there_is_no_clash(tmp_path: Path) -> None:
    put(tmp_path, "in/a.jpg", "in/a.png")
    jobs = plan_outputs(walk([tmp_path / "in"], recursive=False), out=tmp_path / "out")
    assert targets(jobs, tmp_path / "out") == ["a.jpg", "a.png"]


@pytest.mark.parametrize("out", ["in", "in/../in", "link"])
def test_an_input_is_never_overwritten(tmp_path: Path, out: str) -> None:
    put(tmp_path, "in/a.png", "in/b.png")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(UsageError, match="an input is never overwritten"):
        plan_outputs(walk([tmp_path / "in"], recursive=False), out=tmp_path / out, overwrite=True)


def test_an_empty_suffix_beside_the_input_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    with pytest.raises(UsageError, match="an input is never overwritten"):
        plan_outputs(walk([tmp_path], recursive=False), suffix="", overwrite=True)


def test_existing_outputs_need_a_word(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png", "out/a.png")
    items = walk([tmp_path], recursive=False)
    with pytest.raises(UsageError, match=r"out/a.png exists already; give --overwrite or --skip-existing"):
        plan_outputs(items, out=tmp_path / "out")
    assert [job.skip for job in plan_outputs(items, out=tmp_path / "out", overwrite=True)] == [None, None]
    skipped = plan_outputs(items, out=tmp_path / "out", skip_existing=True)
    assert [job.skip for job in skipped] == ["the output exists", None]
    with pytest.raises(UsageError, match="exclude each other"):
        plan_outputs(items, out=tmp_path / "out", skip_existing=True, overwrite=True)


def test_a_folder_in_the_place_of_an_output(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "out/a.png/x")
    with pytest.raises(UsageError, match="there is a folder of this name"):
        plan_outputs(walk([tmp_path], recursive=False), out=tmp_path / "out", overwrite=True)


def test_many_clashes_are_cut_short(tmp_path: Path) -> None:
    put(tmp_path, *(f"{i}.png" for i in range(8)), *(f"out/{i}.png" for i in range(8)))
    with pytest.raises(UsageError, match=r"4.png \(and 3 more\) exist already"):
        plan_outputs(walk([tmp_path], recursive=False), out=tmp_path / "out")


def test_what_an_earlier_run_made_is_no_input(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "a_restored.png", "b_restored.png", "out/a.png")
    jobs = plan_outputs(walk([tmp_path], recursive=False), overwrite=True)
    assert [job.source.name for job in jobs] == ["a.png", "b_restored.png"]
    jobs = plan_outputs(walk([tmp_path], recursive=True), out=tmp_path / "out", overwrite=True)
    assert [job.item.relative.as_posix() for job in jobs] == ["a.png", "a_restored.png", "b_restored.png"]
    named = plan_outputs(walk([tmp_path / "a_restored.png"], recursive=False))
    assert [job.target.name for job in named] == ["a_restored_restored.png"]


def test_a_folder_that_is_its_own_output_parent_is_still_read(tmp_path: Path) -> None:
    put(tmp_path, "in/a.png")
    jobs = plan_outputs(walk([tmp_path / "in"], recursive=True), out=tmp_path)
    assert targets(jobs, tmp_path) == ["a.png"]


def test_streams(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    stdin = walk(["-"], recursive=False)
    assert plan_outputs(stdin)[0].target == STANDARD_STREAM
    assert plan_outputs(stdin, out=tmp_path / "c.png")[0].target == tmp_path / "c.png"
    assert plan_outputs(walk([tmp_path / "a.png"], recursive=False), out="-")[0].target == STANDARD_STREAM
    with pytest.raises(UsageError, match="takes one picture, and there are 2"):
        plan_outputs(walk([tmp_path], recursive=False), out="-")
    with pytest.raises(UsageError, match="has no name"):
        plan_outputs(stdin, out=tmp_path / "folder")


def test_options_that_contradict_each_other(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    items = walk([tmp_path], recursive=False)
    with pytest.raises(UsageError, match=r"b.png and --format jpeg contradict"):
        plan_outputs(items, out=tmp_path / "b.png", format="jpg")
    with pytest.raises(UsageError, match="GIF files cannot be written"):
        plan_outputs(items, out=tmp_path / "b.gif")
    with pytest.raises(UsageError, match="a suffix is a part of a name"):
        plan_outputs(items, suffix="/x")
    with pytest.raises(UnknownNameError, match="did you mean png"):
        plan_outputs(items, format="pngg")


def test_shards_are_disjoint_and_complete_whatever_else_is_listed() -> None:
    items = [Item(Path(f"in/{i}.png"), Path(f"{i}.png")) for i in range(40)]
    jobs = plan_outputs(items, out=Path("nowhere/out"))
    shares = [shard(jobs, index, 3) for index in (1, 2, 3)]
    assert sorted(job.source for share in shares for job in share) == sorted(job.source for job in jobs)
    assert all(shares)
    assert shard(jobs[::2], 2, 3) == [job for job in jobs[::2] if job in shares[1]]
    with pytest.raises(UsageError, match="got 4/3"):
        shard(jobs, 4, 3)
