"""What "Help" on each page says: what the page is for, and its keys. Markdown, by title."""

from __future__ import annotations

HELP = {
    "Cases": "**All cases and their fields.** Drop image files here: they are sorted into cases by name, stored on "
    "this computer and analysed one after the other, also while you are on another page. Open a case to read it.",
    "Review": "**Correct what was detected.** Every change is stored at once; nothing is overwritten.\n\n"
    "| key | |\n|---|---|\n| 1 2 3 | mitosis, look-alike, unsure |\n| X | reject |\n| N P | next, previous mark |\n"
    "| F | finish the field |\n| + − 0 | zoom, whole field |\n| Ctrl+Z | undo |\n\n"
    "All keys: **?** at the image.",
    "Results": "**The result of a case**: corrected count, area, density, and what was counted.",
    "Retrain": "**Train a new version on finished fields.** It is compared with the active version on cases it has not "
    "learnt from; you decide whether it is promoted.",
    "Models": "**Every version of the detector**: where it comes from, how good it is, which one is active. Promote, "
    "roll back, import and export.",
    "Compare": "**Versions side by side** on the same finished fields: scores, curves, and the cells on which they "
    "disagree.",
    "Quick look": "**Count mitoses without keeping anything.** Drop a field, or try the drawn sample. Fields are "
    "stored only when you press **Keep for review**.\n\n| key | |\n|---|---|\n| N P | next, previous mitosis |\n"
    "| + − 0 | zoom, whole field |\n| H | heat map |",
    "Data": "**Where everything is kept**: backups, the integrity check, the audit trail.",
}
