"""Two servers at one PostgreSQL database and four readers before them, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.postgres_server import PostgresServer
from db.reviews import history, replayed, reviews_of
from tests.browser.conftest import Server
from tests.browser.review_bench import Bench, until
from tests.postgres import new_database, postgres

__all__ = ["postgres"]  # a fixture
pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def lab(browser: Any, postgres: PostgresServer, tmp_path: Path) -> Iterator[tuple[Bench, Server]]:
    """A desk's usual server, and a second one at the same database and folder."""
    url = new_database(postgres)
    bench = Bench(browser, tmp_path, url=url)
    second = Server("tests/browser/fake_app.py", tmp_path, CONCENTRIC_DATABASE=url)
    try:
        bench.server.start()
        second.start()
        yield bench, second
        assert not bench.violations
    finally:
        for context in bench.contexts:
            context.close()
        bench.server.kill()
        second.kill()
        bench.store.close()


def test_four_readers_at_two_servers_and_a_database_that_goes_and_comes_back(
    lab: tuple[Bench, Server], postgres: PostgresServer
) -> None:
    bench, second = lab
    # Anna has two windows, one at each server; Bert and Cleo sit at one server each.
    anna, again = bench.desk("Anna"), bench.desk("Anna", server=second)
    bert, cleo = bench.desk("Bert"), bench.desk("Cleo", server=second)
    for desk, keys in ((anna, "n12"), (bert, "n11"), (cleo, "n22")):
        desk.keys(*keys)
    again.click(500, 600)
    for desk in (anna, again, bert, cleo):
        desk.saved()
    assert bench.verdicts("Anna") == ["lookalike", "mitosis", "mitosis"]
    assert (bench.verdicts("Bert"), bench.verdicts("Cleo")) == (["mitosis"] * 2, ["lookalike"] * 2)

    # What one server has signed, and what was written through it, holds at the other one.
    picture = anna.page.locator("img.field").get_attribute("src")
    assert anna.page.request.get(f"{second.address}/{picture.removeprefix(bench.server.address).lstrip('/')}").ok
    again.open(0)
    assert again.page.locator(".mark").count() == 3

    # The database is away: what is clicked waits in the browsers, and is stored when it is back.
    postgres.stop()
    try:
        for desk, place in ((anna, (300, 600)), (cleo, (700, 600))):
            desk.click(*place)
            desk.page.locator(".viewer:not([data-outbox='0'])").wait_for()
            desk.page.get_by_text("The database server cannot be reached now.").first.wait_for()
    finally:
        postgres.start()
    anna.saved()
    cleo.saved()
    until(anna.page, lambda: bench.verdicts("Anna") == ["lookalike", "mitosis", "mitosis", "mitosis"])
    assert bench.verdicts("Cleo") == ["lookalike", "lookalike", "mitosis"]
    field = bench.fields[0].id
    assert replayed(bench.store, field) == (reviews_of(bench.store, field), True)
    stored = [event.op_id for event in history(bench.store, field)]
    assert len(stored) == len(set(stored))

    # A field that is finished at one server is finished at the other.
    bert.keys("f").ready(1).saved()
    other = bench.desk("Bert", server=second)
    other.click(600, 700)
    other.page.wait_for_timeout(300)
    assert bench.verdicts("Bert") == ["mitosis"] * 2
