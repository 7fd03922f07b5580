"""The Data page as a person has it before them."""

from streamlit.testing.v1 import AppTest


def open_page() -> AppTest:
    page = AppTest.from_file("../../pages/data.py", default_timeout=60).run()
    assert not page.exception
    return page


def press(page: AppTest, label: str) -> AppTest:
    next(one for one in page.button if one.label == label).click().run()
    assert not page.exception
    return page


def said(page: AppTest) -> str:
    shown = [*page.warning, *page.success, *page.error, *page.info, *page.caption, *page.markdown]
    return " ".join(one.value.replace("\\", "") for one in shown)
