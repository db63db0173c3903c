"""``restorekit models`` from the words to weights that restore."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from restorekit.hub import UNMEASURED, Card, create_model, load, write_card
from restorekit.inference import Restorer
from restorekit.io import read_image
from restorekit.models import MODELS
from tests.e2e.conftest import Cli, photo, put
from tests.helpers.fill import fill
from tests.helpers.web import Answer, Site, serve

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
        assert rows[tag].endswith("to import" if "all-weather" in tag else "to pull")
    lines = ended.text.splitlines()
    assert "To pull: restorekit models pull TAG" in lines
    assert any(
        line.startswith("  hogformer-all-weather.authors: get net_g_latest.pth from https://github.com/Fire-friend")
        and line.endswith("run: restorekit models import hogformer-all-weather.authors net_g_latest.pth")
        for line in lines
    )
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


def test_weights_are_picked_by_their_licence(cli: Cli) -> None:
    ended = cli("models", "list", "--license", "commercial", "--json")
    found = {record["tag"]: record["licence_weights"] for record in ended.json}
    assert "resunet.seven-task-v1" in found
    assert "hogformer-natural.five-task" not in found
    assert "not stated" not in found.values()
    assert ended.error == ""
    assert {r["licence_weights"] for r in cli("models", "list", "--licence", "apache*", "--json").json} == {
        "Apache-2.0"
    }
    assert cli("models", "list", "--license", "commercial").error.startswith(
        "What the data that weights were trained on"
    )


def test_a_bare_file_says_what_it_is_taken_for(cli: Cli, small: Path) -> None:
    ended = cli("models", "show", small)
    assert ended.code == 0
    assert ended.text.startswith("# small.pth\n")
    assert "| network | resunet, variant `resunet-test` (restore) |" in ended.text
    assert "| inference rule | padded to multiples of 8, at least 8; fp32; tiles overlap by 64 pixels |" in ended.text
    assert "- no card knows small.pth; by its keys it is resunet 'resunet-test'" in ended.text
    record = cli("models", "show", small, "--json").json
    assert (record["family"], record["tag"], record["scale"], record["card"]) == ("resunet", None, 1, None)


def test_weights_are_converted_to_and_fro(cli: Cli, tmp_path: Path) -> None:
    spec = MODELS.get("hogformer")
    assert spec.revert is not None
    state = spec.revert(dict(spec.build("hogformer-test").state_dict()))
    torch.save({"params": state}, tmp_path / "theirs.pth")
    ended = cli("models", "convert", tmp_path / "theirs.pth", "--out", tmp_path / "ours.safetensors")
    assert ended.code == 0, ended.error
    assert ended.text.startswith(f"{tmp_path / 'ours.safetensors'}: hogformer, variant hogformer-test, ")
    assert "Note: its keys are those of the authors of hogformer; they were renamed." in ended.error
    record = cli(
        "models", "convert", tmp_path / "ours.safetensors", "--to", "authors", "--container", "params", "--json"
    ).json
    back = torch.load(record["path"], weights_only=True)["params"]
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], value) for key, value in state.items())


# --- downloads (field report 11) --------------------------------------------------------------------------------------

TAG = "resunet-test.theirs"


def listed(cache: Path, site: Site) -> None:
    """Put a card whose file lies on the site into the cache, as a user may do."""
    card = Card(
        tag=TAG,
        family="resunet",
        variant="resunet-test",
        task="restore",
        summary="Theirs.",
        source="https://example.org",
        source_file="net_g.pth",
        source_sha256=hashlib.sha256(site.body).hexdigest(),
        source_bytes=len(site.body),
        url=f"{site.url}/net_g.pth",
        licence_code="MIT",
        licence_weights="MIT",
        data="theirs",
        inference=UNMEASURED,
    )
    (cache / "resunet" / TAG).mkdir(parents=True)
    write_card(card, cache / "resunet" / TAG / "card.toml")


@pytest.fixture
def site(small: Path) -> Iterator[Site]:
    with serve(small.read_bytes()) as site:
        yield site


def start(*words: str | Path) -> subprocess.Popen[str]:
    """Start the command line in a process of its own."""
    command = [sys.executable, "-W", "error", "-m", "restorekit", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def test_weights_are_pulled_and_restore(cli: Cli, cache: Path, site: Site, tmp_path: Path) -> None:
    listed(cache, site)
    given = put(tmp_path / "a.png")
    ended = cli("restore", given, "--model", TAG, "--out", tmp_path / "b.png")
    assert ended.code == 4
    assert f"the weights '{TAG}' are not here; run: restorekit models pull {TAG}" in ended.error
    ended = cli("models", "pull", TAG)
    assert ended.code == 0, ended.error
    assert f"{TAG}: 0.3 of 0.3 MB" in ended.error
    assert ended.text.startswith(f"{TAG}: fetched; licence of the weights: MIT\n")
    record = cli("models", "pull", TAG, "--json").json
    assert [(r["tag"], r["place"], r["fetched"]) for r in record] == [(TAG, "cached", False)]
    assert len(site.asked) == 1
    assert cli("restore", given, "--model", TAG, "--out", tmp_path / "b.png").code == 0


def test_a_download_that_was_killed_goes_on_and_leaves_nothing_under_the_final_name(cache: Path, site: Site) -> None:
    listed(cache, site)
    site.answers = [Answer(piece=2**14, pause=0.1), Answer()]
    process = start("models", "pull", TAG)
    part = cache / ".downloads" / f"{TAG}.part"
    for _ in range(600):
        if part.exists() and part.stat().st_size >= 2**16:
            break
        time.sleep(0.05)
    process.kill()
    process.communicate()
    size = part.stat().st_size
    assert 2**16 <= size < len(site.body)
    assert list(cache.rglob("*.safetensors")) == []
    done = run("models", "pull", TAG, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["fetched"]
    assert site.ranges == [None, f"bytes={size}-"]
    assert not part.exists()
    assert run("models", "verify", TAG).returncode == 0


def test_two_processes_at_once_both_end_well(cache: Path, site: Site) -> None:
    listed(cache, site)
    site.answers = [Answer(piece=2**14, pause=0.15)]
    processes = [start("models", "pull", TAG, "--json") for _ in range(2)]
    results = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert sorted(json.loads(output)[0]["fetched"] for output, _ in results) == [False, True]
    assert len(site.asked) == 1
    assert run("models", "verify", TAG).returncode == 0


def test_a_file_that_lies_incomplete_in_the_cache_is_named_and_fetched_again(
    cli: Cli, cache: Path, site: Site, tmp_path: Path
) -> None:
    listed(cache, site)
    path = Path(cli("models", "pull", TAG, "--json").json[0]["path"])
    data = path.read_bytes()
    path.write_bytes(data[: int(0.98 * len(data))])
    ended = cli("restore", put(tmp_path / "a.png"), "--model", TAG, "--out", tmp_path / "b.png")
    assert ended.code == 4
    assert f"Error: {path} is damaged" in ended.error
    assert f"run: restorekit models pull {TAG}, which fetches it again" in ended.error
    assert f"{TAG}: fetched" in cli("models", "pull", TAG).text
    assert path.read_bytes() == data


def test_another_file_at_the_address_is_refused(cli: Cli, cache: Path, site: Site) -> None:
    listed(cache, site)
    site.body = site.body[:-1] + b"!"
    ended = cli("models", "pull", TAG)
    assert ended.code == 4
    assert "is not net_g.pth: its SHA-256 is" in ended.error
    assert list(cache.rglob("*.safetensors")) == []


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
        (("show", "hogformer-natural"), 4, "no weights of 'hogformer-natural' are here; run: restorekit models pull"),
        (("show", "nothing.pth"), 4, "nothing.pth is not there; check the name"),
        (
            ("pull", "hogformer-all-weather.authors"),
            4,
            "cannot be fetched; get net_g_latest.pth from https://github.com",
        ),
        (("pull", "hogformer-natural"), 4, "has several sets of weights; name one of hogformer-natural.five-task"),
        (("pull", "nothing"), 2, "unknown weights 'nothing'"),
        (("pull",), 2, "Missing argument"),
        (("convert", "nothing.pth"), 4, "nothing.pth is not there; check the name"),
        (("convert", "small.pth", "--to", "authors"), 4, "resunet has no names but ours"),
        (("convert", "small.pth", "--to", "theirs"), 2, "Invalid value for '--to'"),
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
