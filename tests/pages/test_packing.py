"""Versions go out and come in as one file; what is not one is refused in a sentence and leaves nothing."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from db import versions
from db.engine import Store, open_store
from mitosis_core.errors import ConcentricError, UnusableModel
from mitosis_core.model import DEFAULT_VERSION, load_model
from pages.shared.service import training

_THREE = load_model("segmitos-lite-3")  # of three networks
WEIGHTS, CARD = _THREE.weights.read_bytes(), _THREE.card


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "data")


def packed(files: dict[str, bytes | str], kind: int = zipfile.ZIP_STORED) -> bytes:
    """A zip; the forty below are made before any test begins."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", kind) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def version(name: str = "theirs", **changed: Any) -> bytes:
    """A good version with something changed on its card."""
    values = {**json.loads(CARD.to_json()), **changed}
    return packed({f"{name}.safetensors": WEIGHTS, f"{name}.json": json.dumps(values)})


def test_what_goes_out_comes_in_the_same(store: Store, tmp_path: Path) -> None:
    assert training.import_version(store, version(), by="Bert") == "theirs"
    again = open_store(tmp_path / "other")
    data = training.export_version(store, "theirs")
    assert (
        training.import_version(again, data, by="Cleo") == "theirs" and training.export_version(again, "theirs") == data
    )
    here, there = (versions.load_version(one, "theirs") for one in (store, again))
    assert here.card == there.card == dataclasses.replace(CARD, version="theirs")
    assert there.weights.read_bytes() == WEIGHTS
    assert [(one.kind, one.version, one.by) for one in versions.decisions(again)] == [("upload", "theirs", "Cleo")]


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return Path("evil").touch, ()  # type: ignore[return-value]


def lying(data: bytes, size: int = 2_000_000_000) -> bytes:
    """The same zip, which says in its directory that its first file is of another size."""
    place = data.index(b"PK\x01\x02") + 24
    return data[:place] + size.to_bytes(4, "little") + data[place + 4 :]


def twice(data: bytes) -> bytes:
    """The same zip, whose second file has the name of the first."""
    return data.replace(b"y.safetensors", b"x.safetensors")


JSON = CARD.to_json()
SECOND = {"encoder": "efficientnet_lite0", "weight": 0.8, "lower": 0.1}
REFUSED = {
    "a pickle": pickle.dumps(Evil()),
    "a pickle under our names": packed({"x.safetensors": pickle.dumps(Evil()), "x.json": JSON}),
    "a zip with a pickle": packed({"x/data.pkl": pickle.dumps(Evil()), "x/version": "3"}),
    "a pickle beside a version": packed({"x.safetensors": WEIGHTS, "x.json": JSON, "x.pt": pickle.dumps(Evil())}),
    "a way out of the folder": packed({"../x.safetensors": WEIGHTS, "../x.json": JSON}),
    "a way out for Windows": packed({"..\\x.safetensors": WEIGHTS, "..\\x.json": JSON}),
    "an absolute path": packed({"/tmp/x.safetensors": WEIGHTS, "/tmp/x.json": JSON}),
    "a folder": packed({"x/x.safetensors": WEIGHTS, "x/x.json": JSON}),
    "a hidden file": packed({".x.safetensors": WEIGHTS, ".x.json": JSON}),
    "two names": packed({"x.safetensors": WEIGHTS, "y.json": JSON}),
    "no card": packed({"x.safetensors": WEIGHTS}),
    "an empty zip": packed({}),
    "a bomb": lying(packed({"x.safetensors": b"0" * 1000, "x.json": JSON}, zipfile.ZIP_DEFLATED)),
    "weights of more than the directory says": lying(
        packed({"x.safetensors": WEIGHTS, "x.json": JSON}, zipfile.ZIP_DEFLATED), 99
    ),
    "one name twice": twice(packed({"x.safetensors": WEIGHTS, "y.safetensors": WEIGHTS, "x.json": JSON})),
    "names without end": packed({f"{i}.json": "" for i in range(5000)}),
    "an unusual packing": packed({"x.safetensors": WEIGHTS[:1000], "x.json": JSON}, zipfile.ZIP_LZMA),
    "a bomb of a card": packed(
        {"x.safetensors": WEIGHTS, "x.json": b" " * 6_000_000 + JSON.encode()}, zipfile.ZIP_DEFLATED
    ),
    "another sha256": version(weights_sha256="0" * 64),
    "another method": version(method="no such method"),
    "another encoder": version(encoder="thin_resnet50"),
    "an encoder that is none": version(encoder=["x"]),
    "more members": version(members=CARD.members + 1),
    "fewer members": version(members=1),
    "members without end": version(members=10**9),
    "members that are words": version(members="three"),
    "another stride": version(stride=8),
    "a variant nobody knows": version(variant="yolo"),
    "a second stage without its weights": version(verifier=SECOND),
    "a second stage half told": version(verifier={"encoder": SECOND["encoder"]}),
    "no scale": version(um_per_px=0),
    "a threshold beyond 1": version(raw_threshold=7),
    "a field nobody knows": version(surprise=1),
    "data that are a list": version(data=[]),
    "a parent that is no name": version(parent={}),
    "numbers that are none": version(scores={"f1": float("nan")}),
    "more fields than a table can hold": version(data={"fields": 10**300}),
    "text that is not Unicode": version(licence="\ud800"),
    "no sha256": version(weights_sha256=""),
    "a part of the sha256": version(weights_sha256=CARD.weights_sha256[:8]),
    "a card that is a list": packed({"x.safetensors": WEIGHTS, "x.json": "[]"}),
    "a card without end": packed({"x.safetensors": WEIGHTS, "x.json": "[" * 100_000}),
    "half a version": version()[: len(WEIGHTS) // 2],
    "a version with a bit flipped": version()[:5000] + b"\xff\xfe\xfd" + version()[5003:],
    "garbage": b"\x00\x01garbage" * 100,
    "nothing": b"",
    "the shipped version": version(DEFAULT_VERSION),
}


def test_damaged_weights_are_to_be_downloaded_again_not_deleted(store: Store) -> None:
    with pytest.raises(UnusableModel, match="nothing was imported; please download the version again"):
        training.import_version(store, REFUSED["another sha256"], by="Bert")


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_a_version_is_refused_and_leaves_nothing(store: Store, tmp_path: Path, what: str) -> None:
    before = {path for path in tmp_path.rglob("*") if path.suffix not in (".sqlite-wal", ".sqlite-shm")}
    with pytest.raises(ConcentricError) as said:
        training.import_version(store, REFUSED[what], by="Bert")
    assert str(said.value).endswith(".") and "Traceback" not in str(said.value)
    assert versions.list_stored(store, deleted=True) == [] and versions.decisions(store) == []
    after = {path for path in tmp_path.rglob("*") if path.suffix not in (".sqlite-wal", ".sqlite-shm")}
    assert after == before and not Path("evil").exists()


@pytest.mark.parametrize("said", [30_000_000, 1_000])
def test_a_bomb_is_counted_while_it_is_unpacked_whatever_its_directory_says(
    store: Store, said: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = lying(packed({"x.safetensors": bytes(30_000_000), "x.json": JSON}), said)
    monkeypatch.setattr(training, "_MOST_BYTES", 4_000_000)
    tracemalloc.start()
    with pytest.raises(UnusableModel):
        training.import_version(store, data, by="Bert")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_name_is_given_once(store: Store) -> None:
    training.import_version(store, version(), by="Bert")
    first = versions.weights_path(store, "theirs").read_bytes()
    versions.record_decision(store, "reject", "theirs", by="Bert")
    with pytest.raises(UnusableModel, match="theirs already"):
        training.import_version(store, version(licence="another"), by="Cleo")
    assert versions.weights_path(store, "theirs").read_bytes() == first
    assert versions.load_version(store, "theirs").card.licence == CARD.licence
    versions.delete_version(store, "theirs", by="Bert")
    with pytest.raises(UnusableModel, match="theirs already"):  # its history would be that of another one
        training.import_version(store, version(), by="Cleo")
    assert not versions.weights_path(store, "theirs").exists()


def test_two_who_take_in_the_same_name_at_once(store: Store) -> None:
    def take_in(by: str) -> str:
        try:
            return training.import_version(store, version(licence=by), by=by)
        except UnusableModel as error:
            return str(error)

    with ThreadPoolExecutor(2) as people:
        said = sorted(people.map(take_in, ["Bert", "Cleo"]))
    assert said == ["There is a version theirs already.", "theirs"]
    stored = versions.get_version(store, "theirs")
    assert versions.load_version(store, "theirs").card.licence == stored.by
