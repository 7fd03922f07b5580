from __future__ import annotations

import json
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from mitosis_core.image.sample_field import the_sample
from pages.shared import session
from pages.shared.service import detecting
from tests.pages.fakes import SAMPLE_LOOKALIKES, SAMPLE_MITOSES, FakeDetector
from tests.pages.test_detecting import png


@pytest.fixture
def page(detector: FakeDetector) -> AppTest:
    return AppTest.from_file("../../pages/detect.py", default_timeout=30).run()


def viewer(page: AppTest) -> dict[str, Any]:
    """What the viewer was given."""
    (component,) = page.get("bidi_component")
    data: dict[str, Any] = json.loads(component.proto.json)
    return data


def table(page: AppTest) -> Any:
    return page.dataframe[0].value


def upload(page: AppTest, *files: tuple[str, bytes]) -> AppTest:
    for name, data in files:
        page.file_uploader[0].upload(name, data, "image/png")
    return page.run()


def test_the_empty_page_explains_itself_and_offers_the_sample(page: AppTest, detector: FakeDetector) -> None:
    assert not page.exception and not page.get("bidi_component")
    assert "high-power fields" in page.markdown[0].value
    assert [button.label for button in page.button] == ["Try a sample field"]
    assert detector.asked == []


def test_the_sample_is_not_offered_for_keeping(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    def keeps() -> list[str]:
        return [one.label for one in page.run().button if one.label.startswith("Keep ")]

    page.button[0].click().run()
    assert keeps() == []
    monkeypatch.setattr(detecting, "is_sample", lambda *field: False)
    assert keeps() == ["Keep 1 field and review"]


def test_the_sample_is_analysed_and_shown(page: AppTest) -> None:
    page.button[0].click().run()
    data = viewer(page)
    sample = the_sample()
    assert len(data["points"]) == SAMPLE_MITOSES + SAMPLE_LOOKALIKES
    assert (data["points"][0]["x"], data["points"][0]["y"]) == pytest.approx(sample.mitoses_xy_px[0], abs=0.01)
    assert data["score"] == {"value": 0.5, "default": 0.5} and data["editable"] is False
    assert data["image"]["radius"] == pytest.approx(8 / 0.25)
    area_mm2 = (1024 * 0.25 / 1000) ** 2
    assert data["count"]["per_mm2"] == pytest.approx(1 / area_mm2)
    assert data["count"]["per_10_hpf"] == pytest.approx(10 * 0.23758 / area_mm2, rel=1e-4)
    assert table(page)["mitoses"].tolist() == [SAMPLE_MITOSES]


def test_another_score_counts_again_without_the_network(page: AppTest, detector: FakeDetector) -> None:
    page.button[0].click().run()
    page.session_state[session.SCORE] = 0.41
    page.run()
    assert table(page)["mitoses"].tolist() == [SAMPLE_MITOSES + 1]
    assert viewer(page)["score"]["value"] == 0.41
    assert len(detector.asked) == 1


def test_a_rerun_sends_the_viewer_nothing_new(page: AppTest) -> None:
    page.button[0].click().run()
    before = viewer(page)
    assert viewer(page.run()) == before


def test_without_a_scale_the_page_asks_and_gives_no_number(page: AppTest, detector: FakeDetector) -> None:
    upload(page, ("a.png", png()))
    assert any("How large is a pixel?" in one.value for one in page.markdown)
    assert detector.asked == [] and not page.get("bidi_component")
    page.selectbox(session.SCANNER).select("Leica GT450, 40x (MIDOG)").run()
    assert viewer(page)["um_per_px"] == 0.26
    assert table(page)["um_per_px"].tolist() == [0.26]


def test_a_scale_that_is_not_plausible_is_refused_in_the_open(page: AppTest, detector: FakeDetector) -> None:
    upload(page, ("a.png", png()))
    page.selectbox(session.SCANNER).select(session.OTHER_SCANNER).run()
    page.number_input(session.SCALE).set_value(25.0).run()
    assert "not plausible" in page.error[0].value and detector.asked == []
    page.number_input(session.SCALE).set_value(0.3).run()
    assert not page.error and viewer(page)["um_per_px"] == 0.3


def test_a_wrong_scale_of_a_file_can_be_corrected_and_taken_back(page: AppTest) -> None:
    page.button[0].click().run()
    page.number_input(session.CORRECTED).set_value(0.5).run()
    assert table(page)["um_per_px"].tolist() == [0.5]
    assert viewer(page)["count"]["per_mm2"] == pytest.approx(1 / (1024 * 0.5 / 1000) ** 2)
    assert "0.5 µm/px (corrected)" in page.caption[-1].value
    page.number_input(session.CORRECTED).set_value(25.0).run()
    assert "not plausible" in page.error[0].value and table(page)["um_per_px"].tolist() == [0.25]
    page.number_input(session.CORRECTED).set_value(None).run()
    assert not page.error and table(page)["um_per_px"].tolist() == [0.25]


def test_a_bad_file_among_good_ones_is_one_sentence(page: AppTest, detector: FakeDetector) -> None:
    upload(page, ("a.png", png(1)), ("bad.png", b"nonsense"), ("c.png", png(2)))
    page.selectbox(session.SCANNER).select("Any other scanner, 40x").run()
    assert not page.exception and len(page.error) == 1 and "bad" in page.error[0].value
    assert detector.asked == ["a.png", "c.png"]
    assert table(page)["mitoses"].fillna(-1).tolist() == [1, -1, 1]
    assert any("2 mitoses" in one.value for one in page.markdown)


def test_an_unforeseen_fault_shows_no_traceback(page: AppTest, detector: FakeDetector) -> None:
    detector.breaks_on = "a.png"
    upload(page, ("a.png", png()))
    page.selectbox(session.SCANNER).select("Any other scanner, 40x").run()
    assert not page.exception and len(page.error) == 1
    assert "nobody foresaw" not in page.error[0].value


def test_a_file_name_is_shown_as_it_is_written(page: AppTest) -> None:
    upload(page, ("**b**![x](http://e).png", b"nonsense"))
    assert r"\*\*b\*\*\!\[x\]" in page.error[0].value


def test_the_about_page_says_what_it_is_not(detector: FakeDetector) -> None:
    about = AppTest.from_file("../../pages/about.py", default_timeout=30).run()
    assert not about.exception and "not a medical device" in about.markdown[0].value
