"""Pictures of a page as it stands, at three widths, in light and in dark."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WIDTHS = {1440: 900, 1024: 768, 768: 1024}
SCHEMES = ("light", "dark")
STILL = """() => document.querySelector("[data-test-script-state='notRunning']")
  && !document.querySelector("[data-stale='true'], [data-testid='stSkeleton']")"""
_SETTLE_MS = 350  # for pictures in the page, and for what moves


def wait_until_still(page: Any) -> None:
    """Until the script of the page has ended and nothing of an earlier run is left."""
    page.wait_for_function(STILL)


@dataclass
class Camera:
    """Writes NUMBER-NAME-WIDTH-SCHEME.png into a folder; without one it takes no pictures."""

    folder: Path | None
    taken: list[str] = field(default_factory=list)

    def shoot(self, page: Any, name: str, *, still: bool = True) -> None:
        """The page at every width and in both schemes; it is left as it was. still: wait until it stands still."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.taken.append(name)
        before = page.viewport_size
        for width, height in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": height})
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                if still:
                    wait_until_still(page)
                page.wait_for_timeout(_SETTLE_MS)
                page.screenshot(path=self.folder / f"{len(self.taken):02d}-{name}-{width}-{scheme}.png")
        page.emulate_media(color_scheme=SCHEMES[0])
        page.set_viewport_size(before)
        page.wait_for_timeout(_SETTLE_MS)
