"""``restorekit models`` from the words to weights that restore."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from restorekit.hub import create_model, load
from restorekit.inference import Restorer
from restorekit.io import read_image
from restorekit.models import MODELS
from tests.e2e.conftest import Cli, photo, put
from tests.helpers.fill import fill

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "data" / "hogformer"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give each test a cache of its own, and take it away: full-size weights are large."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("RESTOREKIT_CACHE", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return a file of weights of the smallest network."""
    path = tmp_path / "small.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save({"params": create_model("resunet", variant="resunet-test").state_dict()}, path)
    return path


# --- the authors' checkpoints, full size ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Published:
    """Weights as HOGformer's authors published them, and what their network makes of a picture.

    Attributes:
        tag: The card.
        keys: File of their keys and shapes.
        case: Golden case whose seed the weights have.
        container: What is in the file besides them.
    """

    tag: str
    keys: str
    case: str
    container: str


PUBLISHED = [
    Published("hogformer-all-weather.authors", "keys_setting_i", "net_full_setting_i_16x24", "params"),
    Published("hogformer-all-weather.authors", "keys_setting_i", "net_full_setting_i_16x24", "params, parallel"),
    Published(
        "hogformer-natural.five-task", "keys_setting_iii_iv_lightning", "net_full_setting_iii_iv_24x16", "lightning"
    ),
    Published(
        "hogformer-natural.three-task", "keys_setting_iii_iv_lightning", "net_full_setting_iii_iv_24x16", "lightning"
    ),
]


def checkpoint(published: Published, folder: Path) -> Path:
    """Write the file that the authors would have published, had their weights come from the golden rule."""
    shapes = json.loads((GOLDEN / f"{published.keys}.json").read_text(encoding="utf-8"))
    rule = json.loads((GOLDEN / f"{published.case}.json").read_text(encoding="utf-8"))["case"]["weights"]
    bare = {key.removeprefix("net."): torch.zeros(shape) for key, shape in shapes.items()}
    filled = fill(bare, rule, {})
    state = {key: filled[key.removeprefix("net.")] for key in shapes}
    if published.container == "params, parallel":
        state = {f"module.{key}": value for key, value in state.items()}
    contents: dict[str, dict[str, Any]] = {
        "params": {"params": state},
        "lightning": {
            "epoch": 149,
            "global_step": 1000,
            "pytorch-lightning_version": "2.1.4",
            "state_dict": state,
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"completed": 149}}}},
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.1), "best_model_path": "a.ckpt"}},
            "optimizer_states": [
                {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 2e-4, "betas": (0.9, 0.999)}]}
            ],
            "lr_schedulers": [{"base_lrs": [2e-4], "last_epoch": 149}],
        },
    }
    path = folder / ("net_g_latest.pth" if published.container.startswith("params") else "epoch=149.ckpt")
    torch.save(contents[published.container.partition(",")[0]], path)
    return path


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does: in a process of its own."""
    command = [sys.executable, "-W", "error", "-m", "restorekit", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda p: f"{p.tag}-{p.container}")
def test_the_authors_weights_are_imported_and_give_the_authors_numbers(
    published: Published, cli: Cli, tmp_path: Path
) -> None:
    file = checkpoint(published, tmp_path)
    ended = cli("models", "import", published.tag, file)
    file.unlink()
    assert ended.code == 0, ended.error
    assert "Note: its keys are those of the authors of hogformer; they were renamed." in ended.error
    assert f"Use it with: restorekit restore photo.jpg --model {published.tag}" in ended.text
    loaded = load(published.tag)
    assert loaded.variant == published.tag.partition(".")[0]
    case = json.loads((GOLDEN / f"{published.case}.json").read_text(encoding="utf-8"))["case"]
    with np.load(GOLDEN / f"{published.case}.npz") as arrays, torch.inference_mode():
        restored = loaded.model(torch.from_numpy(arrays["x"])).numpy()
        assert np.abs(restored - arrays["y"]).max() <= case["tolerance"]["atol"]


def test_imported_weights_restore_a_picture_from_fresh_processes(cache: Path, tmp_path: Path) -> None:
    published = PUBLISHED[2]
    file = checkpoint(published, tmp_path)
    imported = run("models", "import", "hogformer-natural", file, "--tag", "hogformer-natural.mine", "--json")
    file.unlink()
    assert imported.returncode == 0, imported.stderr
    record = json.loads(imported.stdout)
    assert (record["tag"], record["variant"], record["place"]) == (
        "hogformer-natural.mine",
        "hogformer-natural",
        "cached",
    )
    assert Path(record["path"]) == cache / "hogformer" / "hogformer-natural.mine" / "model.safetensors"
    assert record["bytes"] == Path(record["path"]).stat().st_size > 4 * 16_646_220
    given = put(tmp_path / "photo.png", photo(32, 48))
    restored = run(
        "restore", given, "--model", "hogformer-natural.mine", "--device", "cpu", "--out", tmp_path / "out.png"
    )
    assert restored.returncode == 0, restored.stderr
    assert "hogformer (hogformer-natural), weights hogformer-natural.mine, on cpu" in restored.stderr
    expected = Restorer.from_pretrained("hogformer-natural.mine", device="cpu").restore(photo(32, 48))
    assert np.array_equal(read_image(tmp_path / "out.png").pixels, expected)
    assert not np.array_equal(expected, photo(32, 48))


# --- the commands -----------------------------------------------------------------------------------------------------


def test_weights_that_are_not_here_are_listed_with_the_way_to_them(cli: Cli) -> None:
    ended = cli("models", "list")
    assert ended.code == 0
    rows = {line.split()[0]: line for line in ended.text.splitlines() if line and not line.startswith(" ")}
    for tag in {published.tag for published in PUBLISHED}:
        assert rows[tag].endswith("not here")
        assert f"https://github.com/Fire-friend/HOGformer and run: restorekit models import {tag} " in ended.text
    listed = {record["tag"]: record for record in cli("models", "list", "hogformer-*", "--json").json}
    assert listed["hogformer-natural.five-task"]["place"] == "absent"
    assert listed["hogformer-natural.five-task"]["licence_code"] == "MIT"
    assert "how_to_get" in listed["hogformer-natural.five-task"]


def test_weights_live_from_import_to_removal(cli: Cli, small: Path, cache: Path, tmp_path: Path) -> None:
    ended = cli("models", "import", "resunet", small, "--tag", "resunet.mine")
    assert (ended.code, ended.error) == (0, "")
    assert (
        ended.text.splitlines()[0] == "resunet.mine: resunet, variant resunet-test; licence of the weights: not stated"
    )

    listed = {record["tag"]: record for record in cli("models", "list", "--json").json}
    assert listed["resunet.mine"]["place"] == "cached"
    shown = cli("models", "show", "resunet.mine")
    assert shown.text.startswith("# resunet.mine\n")
    record = cli("models", "show", "resunet.mine", "--json").json
    assert (record["tag"], record["scores"], record["source_file"]) == ("resunet.mine", None, "small.pth")
    assert record["parameters"] == sum(p.numel() for p in create_model("resunet-test").parameters())

    assert cli("models", "verify", "resunet.mine").text == "resunet.mine: as on its card\n"
    given = put(tmp_path / "a.png")
    assert cli("restore", given, "--model", "resunet.mine", "--out", tmp_path / "b.png").code == 0
    assert (tmp_path / "b.png").is_file()

    path = cache / "resunet" / "resunet.mine" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    ended = cli("models", "verify", "--json")
    assert ended.code == 4
    faults = {row["tag"]: row["fault"] for row in ended.json}
    assert "run: restorekit models rm resunet.mine, and import it again" in faults["resunet.mine"]
    ended = cli("restore", given, "--model", "resunet.mine", "--out", tmp_path / "c.png")
    assert ended.code == 4
    assert f"Error: {path} is damaged" in ended.error
    assert not (tmp_path / "c.png").exists()

    ended = cli("models", "rm", "resunet.mine", "--json")
    assert (ended.code, ended.json["tag"]) == (0, "resunet.mine")
    assert not path.parent.exists()


def test_a_file_is_given_where_a_model_is_asked_for(cli: Cli, tmp_path: Path) -> None:
    spec = MODELS.get("hogformer")
    assert spec.revert is not None
    state = spec.revert(dict(spec.build("hogformer-test").state_dict()))
    torch.save({"state_dict": {f"net.{key}": value for key, value in state.items()}}, tmp_path / "theirs.ckpt")
    given = put(tmp_path / "a.png", photo(16, 32))
    ended = cli("restore", given, "--model", tmp_path / "theirs.ckpt", "--out", tmp_path / "b.png")
    assert ended.code == 0, ended.error
    assert "no card knows theirs.ckpt; by its keys it is hogformer 'hogformer-test'" in ended.error
    assert "its keys are those of the authors of hogformer; they were renamed" in ended.error


# --- what goes wrong --------------------------------------------------------------------------------------------------


class Harm:
    """Unpickling it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("words", [("models", "import", "resunet"), ("restore", "a.png", "--model")])
def test_a_hostile_file_is_refused_and_nothing_in_it_runs(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "a.png")
    weights = create_model("resunet-test").state_dict()
    torch.save({"params": weights, "settings": Harm(tmp_path / "harm")}, tmp_path / "bad.pth")
    ended = cli(*words, "bad.pth")
    assert ended.code == 4
    assert ended.error.startswith("Error: bad.pth holds more than weights")
    assert "nothing in it was run" in ended.error
    assert ended.output == b""
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["a.png", "bad.pth"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("show", "resnet"), 2, "unknown model 'resnet'; did you mean resunet"),
        (("show", "hogformer-natural"), 4, "no weights of 'hogformer-natural' are here; get the file from"),
        (("rm", "resunet.nothing"), 2, "unknown weights 'resunet.nothing'"),
        (("rm", "hogformer-natural.five-task"), 4, "they are not here; only imported weights can be"),
        (("verify", "nothing"), 2, "unknown weights 'nothing'"),
        (("import", "resnet", "small.pth"), 2, "did you mean resunet"),
        (("import", "resunet", "nothing.pth"), 4, "nothing.pth is not there; check the name"),
        (("import", "hogformer-natural", "small.pth"), 4, "small.pth: not the weights of 'hogformer-natural'"),
        (("import", "resunet", "small.pth", "--tag", "../x"), 4, "'../x' cannot be a tag"),
        (("import", "resunet"), 2, "Missing argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_mistakes_end_with_a_sentence_and_a_code(
    cli: Cli, small: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, message: str
) -> None:
    monkeypatch.chdir(small.parent)
    ended = cli("models", *words)
    assert ended.code == code
    assert message in ended.error
    assert ended.output == b""


def test_a_card_that_cannot_be_read_is_named_and_stops_nothing(cli: Cli, small: Path, cache: Path) -> None:
    cli("models", "import", "resunet", small, "--tag", "resunet.mine")
    card = cache / "resunet" / "resunet.mine" / "card.toml"
    card.write_text("nonsense", encoding="utf-8")
    ended = cli("models", "list")
    assert ended.code == 0
    assert f"{card} cannot be read as a card" in ended.error
    assert "resunet.mine" not in ended.text
    ended = cli("models", "verify")
    assert ended.code == 4
    assert f"{card}: {card} cannot be read as a card" in ended.text
    assert cli("models", "rm", "resunet.mine").code == 0
