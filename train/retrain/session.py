"""One retraining: its base version, its fields at the network's scale, and its folds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

from mitosis_core.errors import ConcentricError
from mitosis_core.inference.blobs import find_blobs
from mitosis_core.inference.calibration import calibrate
from mitosis_core.model import Model
from mitosis_core.prediction import exclude_border
from mitosis_core.scale import to_resampled_px
from mitosis_core.scoring.evaluation import ScoredField
from mitosis_core.types import Detections, Float32, ProbabilityMap
from train.data.examples import Example, digest, not_ignored
from train.data.patches import pixel_px
from train.retrain.config import RetrainConfig, way_of
from train.retrain.corrected import reviewed_tissues
from train.retrain.phases import PhaseReport, report_nothing


class Cancelled(ConcentricError):
    """The user stopped the run."""


class RetrainSession:
    """The fields that train; `splits`: those that train and those that are held out, of each fold.

    way: how the version learns, see train.retrain.config. report_phase: told how far each phase is.
    """

    def __init__(
        self,
        base: Model,
        fields: Sequence[Example],
        config: RetrainConfig,
        cancelled: Callable[[], bool],
        report_phase: PhaseReport = report_nothing,
    ) -> None:
        self.base, self.fields, self.config = base, list(fields), config
        self.way = way_of(base.card)
        self._cancelled, self.report_phase = cancelled, report_phase
        self.tissues = reviewed_tissues(self.fields, base.card.um_per_px, base.card.stain)
        self.splits = self._splits()

    @property
    def crops_per_field(self) -> int:
        """Crops drawn from each field, where heads are trained."""
        return max(1, min(self.config.crops_per_field, self.config.most_crops // len(self.fields)))

    def _splits(self) -> list[tuple[list[int], list[int]]]:
        """(training fields, held-out fields) of every fold."""
        everything = list(range(len(self.fields)))
        slides = sorted({e.slide for e in self.fields})
        units = [e.slide for e in self.fields] if len(slides) >= self.config.folds else everything
        count = min(self.config.folds, len(set(units)))
        part = {unit: i % count for i, unit in enumerate(dict.fromkeys(units))}
        held = [[i for i in everything if part[units[i]] == fold] for fold in range(count)]
        return [([i for i in everything if i not in out], out) for out in held]

    def stop_if_cancelled(self) -> None:
        """Called often: whoever cancels waits for no more than one of these. Raises Cancelled."""
        if self._cancelled():
            raise Cancelled("The run was cancelled; the active version is as it was.")

    def identity(self) -> str:
        """What a checkpoint must have been made from to be taken up."""
        parts = [self.base.card.weights_sha256, digest(self.fields), self.config.acting(self.way)]
        ignored = [None if t.ignored is None else hashlib.sha256(t.ignored.tobytes()).hexdigest() for t in self.tissues]
        return hashlib.sha256(json.dumps([*parts, ignored]).encode()).hexdigest()

    def probability_map(self, i: int, values: Float32) -> ProbabilityMap:
        """Probabilities Float32[h, w] as the map of field i."""
        (width, height), stride = pixel_px(self.fields[i], self.tissues[i]), self.base.card.stride
        example = self.fields[i]
        return ProbabilityMap(values, (stride * width, stride * height), example.um_per_px, example.tissue_share)

    def scored_fields(self, maps: Mapping[int, ProbabilityMap]) -> list[ScoredField]:
        """Detections beside the truth, both only where somebody has looked and was sure."""
        rows = []
        for i, found_map in sorted(maps.items()):
            self.stop_if_cancelled()
            calibrated = calibrate(found_map, self.base.card.calibration)
            blobs, field = self.base.card.blobs, self.fields[i].field
            rows.append(self.scored_field(i, exclude_border(find_blobs(calibrated, blobs), field, blobs.border_um)))
        return rows

    def scored_field(self, i: int, found: Detections) -> ScoredField:
        """Detections in field i beside the truth."""
        example, tissue = self.fields[i], self.tissues[i]
        pixel = pixel_px(example, tissue)
        keep = not_ignored(to_resampled_px(found.xy_px, pixel), tissue.ignored)
        kept = found.select(keep)
        true = example.mitoses_xy_px.reshape(-1, 2)
        true = true[not_ignored(to_resampled_px(true, pixel), tissue.ignored)]
        return ScoredField(example.field.name, example.slide, kept, true, example.um_per_px, example.counted_mm2)
