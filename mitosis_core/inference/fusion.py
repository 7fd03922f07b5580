"""Several detectors on one field: each figure once, with what they say of it together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from mitosis_core.types import Detections


def fuse(sides: Sequence[Detections], distance_px: float) -> Detections:
    """One list of detections out of several of the same field.

    Detections of different sides within distance_px of a surer one are the same figure. Its place and area are those of
    the surest, its score the mean of what each side gives it: 0 from a side that does not see it.
    """
    side = np.repeat(np.arange(len(sides)), [len(found) for found in sides])
    if not len(side):
        return Detections()
    xy = np.concatenate([found.xy_px for found in sides])
    score = np.concatenate([found.score for found in sides])
    area = np.concatenate([found.area_um2 for found in sides])
    near = cKDTree(xy).query_ball_point(xy, distance_px)
    free, kept, together = np.ones(len(xy), bool), [], []
    for best in np.argsort(-score, kind="stable"):
        if not free[best]:
            continue
        said = np.zeros(len(sides))
        for other in near[best]:
            if free[other]:
                said[side[other]] = max(said[side[other]], score[other])
                free[other] = False
        kept.append(best)
        together.append(said.mean())
    return Detections(xy[kept], np.array(together, np.float32), area[kept])
