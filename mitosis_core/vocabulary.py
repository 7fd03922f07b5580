"""The words and the distances that several parts of the program share; the words are stored, and never change."""

from __future__ import annotations

from typing import Literal, get_args

Verdict = Literal["mitosis", "lookalike", "unsure"]  # of a reader on a cell
ReviewState = Literal["unseen", "in_review", "complete", "excluded"]  # of one reader's review of one field
ShownState = Literal[ReviewState, "complete_empty"]  # as a reader sees it; the last: complete, without a mitosis
RunState = Literal["queued", "running", "done", "cancelled", "failed", "lost"]  # lost: its process fell silent
Part = Literal["train", "held_out"]  # of the fields of a run

MITOSIS: Verdict = "mitosis"
LOOKALIKE: Verdict = "lookalike"
UNSURE: Verdict = "unsure"
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

HIT_RADIUS_UM = 5.0  # a detection this near to a mitosis has found it (MITOS12 protocol)
SAME_CELL_UM = 5.0  # marks, or detections of one version, this near to each other are of one cell
LENIENT_RADIUS_UM = 7.5  # a detection this near to a cell may mean it (MIDOG protocol): beyond it surely does not
UNSURE_RADIUS_UM = 7.0  # tissue this near to an unsure cell is ignored: the cell and a little round it
