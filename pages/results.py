"""Results: what a case amounts to."""

from __future__ import annotations

from pages.shared.shell import empty_page, open_page

open_page("Results")
empty_page("The result of a case is its corrected count. Read a case first.", "Open a case", "cases")
