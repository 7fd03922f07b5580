"""No text from outside (names of readers, files, cases and versions, notes) is read as Markdown or as a formula."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from google.protobuf.message import Message
from streamlit.testing.v1 import AppTest

from db import runs, versions
from db.engine import Store
from db.fields import delete_field, list_fields, rename, set_case
from db.reviews import apply_ops, parse_op
from mitosis_core.interchange.safe_csv import plain_cell, safe_cell
from mitosis_core.model import DEFAULT_VERSION, load_model
from pages.shared import session, store
from pages.shared.service import detecting
from pages.shared.shell import plain
from tests.pages.fakes import FakeDetector
from tests.pages.test_detecting import png
from tests.train.finished import ended_run, finished_fields

BAIT = "=1+![p](http://host/r.png) **b** <i>i</i> :red[x] `c`"
# Shown as they are, whatever they hold.
PLAIN = {
    "Selectbox.options",
    "Selectbox.raw_value",
    "MultiSelect.options",
    "MultiSelect.raw_values",
    "TextInput.default",
    "TextInput.value",
    "Json.body",
    "Code.code_text",
    "BidiComponent.json",
    "BidiComponent.form_id",
    "ButtonGroup.form_id",
    "PlotlyChart.spec",
    "Html.body",
    "Arrow.columns",
    "Dataframe.columns",
    "PageLink.page",
}

HTML = {"Html.body"}  # Markdown in it is shown as it is


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    finished_fields(tmp_path / "data")
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(detecting, "predict", FakeDetector().predict)
    st.cache_resource.clear()
    one = store.the_store()
    ended_run(one)
    failed = runs.queue_run(
        one,
        by=BAIT,
        base_version=DEFAULT_VERSION,
        source="",
        last_event=0,
        settings={},
        split={"train": [], "held_out": []},
        code="abc",
    )
    runs.start(one, failed.id)
    runs.end(one, failed.id, "failed", message=BAIT)
    for number, field in enumerate(list_fields(one)):
        rename(one, field.id, f"{BAIT} {number}")
        set_case(one, field.id, f"{BAIT} {field.case}")
        _review(one, field.id)
    versions.record_decision(one, "promote", f"{DEFAULT_VERSION}-r1", by=BAIT, note=BAIT)
    yield one
    st.cache_resource.clear()


def _review(kept: Store, field: int) -> None:
    for number, own in enumerate(
        [{"kind": "add", "id": "m", "x": 30.0, "y": 30.0, "cls": "unsure"}, {"kind": "state", "state": "complete"}]
    ):
        common = {"op_id": uuid.uuid4().hex, "client": "c", "seq": number + 1, "t": 0, "field": str(field), "base": 0}
        assert apply_ops(kept, field, BAIT, [parse_op(common | own)]).done


def texts(node: Any) -> Iterator[tuple[str, str]]:
    """Every text that a page sends to the browser, with the kind of message it is in."""
    proto = getattr(node, "proto", None)
    if isinstance(proto, Message):
        yield from _strings(proto)
    for child in getattr(node, "children", {}).values():
        yield from texts(child)


def _strings(message: Message) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        for one in value if not isinstance(value, str | bytes | Message) and hasattr(value, "__iter__") else [value]:
            if isinstance(one, Message):
                yield from _strings(one)
            elif isinstance(one, str):
                yield f"{message.DESCRIPTOR.name}.{field.name}", one


def check(page: AppTest) -> None:
    assert not page.exception
    shown = [(kind, text) for root in page._tree.children.values() for kind, text in texts(root)]
    read = [(kind, text) for kind, text in shown if kind not in PLAIN and not kind.endswith((".id", ".key"))]
    raw = {kind: text for kind, text in read if "<i>" in text}
    raw |= {kind: text for kind, text in read if kind not in HTML and ("![p]" in text or ":red[" in text)}
    assert not raw
    assert not [text for kind, text in shown if kind in ("PlotlyChart.spec", "Html.body") and "<i>" in text]
    tables = [table.value for table in page.dataframe]
    cells = [cell for table in tables for cell in [*table.columns, *table.to_numpy().ravel()] if isinstance(cell, str)]
    assert [cell for cell in cells if cell != safe_cell(plain_cell(cell))] == []  # Streamlit gives them as CSV
    assert any(plain(BAIT) in text for _, text in shown) or any(BAIT in cell for cell in cells)  # it is there, as it is


def open_page(name: str, **state: Any) -> AppTest:
    page = AppTest.from_file(f"../../pages/{name}.py", default_timeout=60)
    page.session_state[session.READER] = BAIT
    for key, value in state.items():
        page.session_state[key] = value
    return page.run()


@pytest.mark.parametrize("mode", ["Review", "History", "Agreement"])
def test_the_review_page(kept: Store, mode: str) -> None:
    check(open_page("review", **{session.MODE: mode, session.OTHERS: True}))


def test_the_data_page(kept: Store) -> None:
    delete_field(kept, list_fields(kept)[0].id, by=BAIT)
    check(open_page("data"))


@pytest.mark.parametrize("name", ["models", "results", "retrain"])
def test_the_pages_of_versions_and_results(kept: Store, name: str) -> None:
    check(open_page(name))


def test_the_compare_page(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = load_model()
    monkeypatch.setattr(detecting, "list_versions", lambda: [BAIT, DEFAULT_VERSION])
    monkeypatch.setattr(detecting, "load_model", lambda name: shipped if name == DEFAULT_VERSION else _refuse())
    check(open_page("compare"))


def _refuse() -> Any:
    from mitosis_core.errors import UnusableModel

    raise UnusableModel(f"The version {BAIT} is damaged.")


def test_the_detect_page(kept: Store, detector: FakeDetector) -> None:
    page = open_page("detect")
    for number in (1, 2):
        page.file_uploader[0].upload(f"{number} {BAIT}.png", png(number), "image/png")
    page.run()
    page.session_state[session.SCANNER] = session.OTHER_SCANNER
    page.session_state[session.SCALE] = 0.25
    check(page.run())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a.b", "a\\.b"),
        ("x\n\n# y", "x \\# y"),
        ("http://h", "http\\:\u2060//h"),
        ("www.h.de", "www\u2060\\.h\\.de"),
        ("a@b.de", "a\u2060\\@b\\.de"),
        (":smile:", "\\:\u2060smile\\:"),
        ("a: b", "a\\: b"),
    ],
)
def test_what_markdown_would_read_is_escaped(text: str, shown: str) -> None:
    assert plain(text) == shown
