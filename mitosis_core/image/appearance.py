"""How a field looks, in five numbers, and how unlike the fields that were reviewed that is.

Stain and how much tissue there is are what differs between laboratories, scanners and tumours at a glance, so a field
far from all reviewed ones is one whose like the readers have not judged. No network: the same for every version.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mitosis_core.types import Field

# Mean density of haematoxylin and eosin, their spreads, share of tissue; () on bare glass.
Appearance = tuple[float, ...]


def measure_appearance(field: Field) -> Appearance:
    """Densities over the tissue and a share of 0..1; () where there is no tissue."""
    from mitosis_core.image.stain import measure_stain  # brings OpenCV along, which the database does not need

    measured = measure_stain(field.pixels)
    profile = measured.profile
    return (*profile.mean[:2], *profile.spread[:2], measured.tissue_fraction) if profile else ()


def novelty(appearances: npt.ArrayLike, reviewed: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """How far each field lies from the nearest reviewed one.

    appearances: [N, F]; reviewed: Bool[N]. Returns Float[N]: 0 for the reviewed ones, inf without any. Each number is
    measured in its standard deviation over all N fields; the distance is the root mean square over those that vary.
    """
    from scipy.spatial import cKDTree

    values, done = np.asarray(appearances, np.float64), np.asarray(reviewed, bool)
    if not done.any():
        return np.full(len(values), np.inf)
    spread = values.std(axis=0)
    varies = spread > 1e-9
    if not varies.any():
        return np.zeros(len(values))
    standard = values[:, varies] / spread[varies]
    return np.asarray(cKDTree(standard[done]).query(standard)[0] / np.sqrt(np.count_nonzero(varies)))
