"""What the classes of marked cells are called: here, and in the files of other programs and data sets."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mitosis_core.vocabulary import VERDICTS

LABELS: tuple[str, ...] = VERDICTS  # the words of this program, as plain text like all that files say
MITOSIS, LOOKALIKE, UNSURE = LABELS
SKIP = "skip"  # instead of a label: marks of this class are left out

# What other programs and data sets call them, in lower case and with one space between words.
_KNOWN = {
    **dict.fromkeys(("mitosis", "mitoses", "mitotic figure", "mitotic figures", "mitotic cell"), MITOSIS),
    **dict.fromkeys(("lookalike", "look alike", "hard negative", "imposter", "impostor"), LOOKALIKE),
    **dict.fromkeys(("not mitotic figure", "non mitotic figure", "nonmitotic figure", "non mitotic cell"), LOOKALIKE),
    **dict.fromkeys(("not mitosis", "non mitosis", "nonmitosis"), LOOKALIKE),
    **dict.fromkeys(("unsure", "uncertain", "no agreement"), UNSURE),
    "mined lookalike": SKIP,  # dark nuclei that a program found and no person has seen
}


def label_of(name: str, classes: Mapping[str, str]) -> str | None:
    """What a class of a file is here: one of LABELS, SKIP, or None where nobody can tell.

    classes: what the user says, by the file's name of the class; it comes before what is known of other programs.
    """
    if name in classes:
        return classes[name]
    return _KNOWN.get(re.sub(r"[\s_-]+", " ", name.strip().lower()))
