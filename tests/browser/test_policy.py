"""What a browser is told to keep to, and that every page works within it."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser

PAGES = ("detect", "cases", "review", "results", "retrain", "models", "compare", "data", "about")


def test_every_page_works_within_the_policy_and_asks_nobody_else(browser: Any, server: str) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(90_000)
    page, said, asked = context.new_page(), [], set()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.add(request.url))
    page.on("websocket", lambda socket: asked.add(socket.url))
    page.goto(f"{server}/{PAGES[0]}")
    page.get_by_role("button", name="Try a sample field").click()
    page.wait_for_selector("[data-ready]")
    page.get_by_role("button", name="Detections (CSV)").wait_for()
    for name in PAGES[1:]:
        page.goto(f"{server}/{name}")
        page.wait_for_selector("[data-testid='stMainBlockContainer'] :is(h1, h2, p, .board)")
        page.wait_for_selector("[data-test-script-state='notRunning']")
    context.close()
    assert not [text for text in said if "Content Security Policy" in text or "Refused to" in text]
    own = ("data:", "blob:", server, server.replace("http", "ws", 1))
    assert not [url for url in asked if not url.startswith(own)]


def test_another_page_cannot_frame_it(browser: Any, server: str) -> None:
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.set_content(f'<iframe src="{server}"></iframe>')
    page.wait_for_function("() => document.querySelector('iframe').contentDocument === null")
    page.wait_for_timeout(500)
    page.close()
    assert any("frame-ancestors" in text for text in said)
