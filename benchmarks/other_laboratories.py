"""Shipped versions on laboratories that none of them has learned from, as a user would meet them.

    python -m benchmarks.other_laboratories --crops CSV --tissue CSV [--versions NAME...] [--quick]

--crops: images with one mitosis at the centre each; how many are found. --tissue: fields with hardly any mitosis, whose
detections all count as false. Each version answers with its own threshold; beside it the recall at equal numbers of
false detections. --quick: the same on every twentieth image.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record import Figures, cpu_name, write_result
from benchmarks.transfer import detections_per_mm2, recall
from mitosis_core.model import Model, list_versions, load_model
from mitosis_core.prediction import predict
from mitosis_core.scoring.evaluation import ScoredField
from mitosis_core.vocabulary import HIT_RADIUS_UM
from train.data.examples import Example, read_patches, read_tissue
from train.selection.evaluation import false_alarm_threshold

ALARMS_PER_MM2 = (2.0, 5.0, 10.0)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=Path, required=True)
    parser.add_argument("--tissue", type=Path, required=True)
    parser.add_argument("--versions", nargs="+", default=list_versions())
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    crops = read_patches(given.crops, given.crops.parent / "crops")
    tissue = read_tissue(given.tissue, given.tissue.parent / "tissue")
    if given.quick:
        crops, tissue = crops[::20], tissue[::20]
    figures = {
        "versions": {name: measure(load_model(name), crops, tissue) for name in given.versions},
        "crops": len(crops),
        "fields": len(tissue),
        "radius_um": HIT_RADIUS_UM,
        "machine": f"{cpu_name()}, {platform.system()}",
    }
    write_result("other_laboratories-quick" if given.quick else "other_laboratories", figures)


def measure(model: Model, crops: Sequence[Example], tissue: Sequence[Example]) -> Figures:
    """Recall of the crops and false detections per mm² of one version."""
    found, extra = (_scored(model, examples) for examples in (crops, tissue))
    return {
        "recall": recall(found, model.threshold),
        "false_per_mm2": detections_per_mm2(extra, model.threshold),
        "recall_at_false_per_mm2": {
            f"{most:g}": recall(found, false_alarm_threshold(extra, most)) for most in ALARMS_PER_MM2
        },
    }


def _scored(model: Model, examples: Sequence[Example]) -> list[ScoredField]:
    return [
        ScoredField(
            example.field.name,
            example.slide,
            predict(example.field, model).candidates,
            example.mitoses_xy_px,
            example.um_per_px,
            example.counted_mm2,
        )
        for example in examples
    ]


if __name__ == "__main__":
    main()
