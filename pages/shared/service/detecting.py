"""What the pages do, without Streamlit: open files, give a scale, analyse a batch, export the detections."""

from __future__ import annotations

import dataclasses
import io
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from db.versions import champion, list_stored, load_version
from mitosis_core.errors import ConcentricError
from mitosis_core.image.reading import read_field
from mitosis_core.image.sample_field import is_sample, the_sample
from mitosis_core.image.whole_slide import whole_slide_advice
from mitosis_core.interchange.safe_csv import SafeTable
from mitosis_core.logs import alias
from mitosis_core.model import DEFAULT_VERSION, Model
from mitosis_core.model import list_versions as list_shipped
from mitosis_core.plurals import count_noun
from mitosis_core.scale import check_um_per_px
from mitosis_core.scoring.counting import Count
from mitosis_core.types import Detections, Field, Prediction
from mitosis_core.vocabulary import MITOSIS
from pages.shared.operation.metrics import DETECTION_SECONDS
from pages.shared.store import the_store

log = logging.getLogger("concentric")

UNEXPECTED = "An unexpected error occurred with this file; details are in the log."
# (number of the field from 0, number of fields, name of the field, share of the field done 0..1)
BatchProgress = Callable[[int, int, str, float], None]


@dataclass(frozen=True, eq=False)
class Analysis:
    """What became of one file: a field or a problem, and once it was analysed a prediction.

    name: unique in its batch. problem: one sentence for the user.
    """

    name: str
    field: Field | None = None
    prediction: Prediction | None = None
    problem: str | None = None

    @property
    def waits_for_scale(self) -> bool:
        """Whether the user must give µm/px before it can be analysed."""
        return self.field is not None and self.field.um_per_px is None

    @property
    def is_sample(self) -> bool:
        """Whether it is the field that the program draws, which the store does not take."""
        return self.field is not None and is_sample(self.field.digest, self.field.width_px, self.field.height_px)

    @property
    def notes(self) -> tuple[str, ...]:
        """Everything there is to say about this file, for the user."""
        said = (self.problem,) if self.problem else ()
        return said + (self.field.notes if self.field else ()) + (self.prediction.notes if self.prediction else ())

    def found(self, score: float | None = None) -> Detections:
        """Candidates at or above a score; None stands for the threshold of the version."""
        if self.prediction is None:
            return Detections()
        return self.prediction.detections if score is None else self.prediction.candidates.above(score)


@dataclass(frozen=True)
class Tally:
    """A count and the tissue it was made in, as pathologists report it; no density where there is too little."""

    count: Count
    field_diameter_mm: float

    @property
    def per_mm2(self) -> float | None:
        """Mitoses per mm² of tissue."""
        return self.count.per_mm2

    @property
    def per_10_hpf(self) -> float | None:
        """Mitoses in ten fields of the user's microscope."""
        return self.count.per_10_hpf(self.field_diameter_mm)

    @property
    def words(self) -> str:
        """The count in a sentence."""
        said = f"{count_noun(self.count.mitoses, 'mitosis')} in {self.count.area_mm2:.2f} mm² of tissue"
        if self.per_mm2 is None or self.per_10_hpf is None:
            return said
        return f"{said}, {self.per_mm2:.1f} per mm², {self.per_10_hpf:.1f} per 10 HPF"


class PredictionCache:
    """The last predictions, by field, scale, version and device; safe for several browser sessions at once."""

    def __init__(self, size: int = 256) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[object, ...], Prediction] = OrderedDict()
        self._lock = Lock()

    def get(self, field: Field, model: Model, device: str) -> Prediction | None:
        """The prediction of this field by this version, if it is still kept."""
        with self._lock:
            key = self._key(field, model, device)
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, field: Field, model: Model, device: str, prediction: Prediction) -> None:
        """Keep a prediction; the oldest goes when there are too many."""
        with self._lock:
            self._kept[self._key(field, model, device)] = prediction
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    @staticmethod
    def _key(field: Field, model: Model, device: str) -> tuple[object, ...]:
        return field.digest, field.um_per_px, model.version, device


def list_versions() -> list[str]:
    """Names of all versions, the champion first, then the newest."""
    try:
        store = the_store()
        active = champion(store, DEFAULT_VERSION)
        names = [*(one.name for one in list_stored(store)), *list_shipped()]
    except ConcentricError:  # a page that needs the store says what is wrong with it
        return list_shipped()
    return sorted(names, key=lambda name: name != active)


def load_model(version: str) -> Model:
    """Raises ConcentricError when it cannot be used."""
    return load_version(the_store(), version)


def predict(field: Field, model: Model, *, device: str, progress: Callable[[float], None]) -> Prediction:
    """`mitosis_core.predict`, with the share done so far told to `progress`."""
    # Imported here: the first import of the network's libraries takes seconds, and an empty page needs none of it.
    from mitosis_core.prediction import predict as run

    return run(field, model, device=device, progress=progress)


def describe_device(device: str = "auto") -> str:
    """What detecting runs on, in words."""
    from mitosis_core.prediction import describe_device as describe

    return describe(device)


def open_file(name: str, data: bytes) -> Analysis:
    """Read one file; whatever is wrong with it becomes a sentence."""
    if advice := whole_slide_advice(name):
        return Analysis(name, problem=advice)
    try:
        return Analysis(name, read_field(data, name=name))
    except ConcentricError as error:
        return Analysis(name, problem=str(error))
    except Exception:
        log.exception("reading the file %s failed", alias(name))
        return Analysis(name, problem=UNEXPECTED)


def open_sample() -> Analysis:
    """The field that the program draws itself."""
    field = the_sample().field
    return Analysis(field.name, field)


def number_duplicate_names(analyses: Iterable[Analysis]) -> list[Analysis]:
    """Number the second and later files of the same name, so that a name says which file is meant."""
    seen: set[str] = set()
    apart = []
    for one in analyses:
        name, number = one.name, 1
        while name in seen:
            number += 1
            name = f"{Path(one.name).stem} ({number}){Path(one.name).suffix}"
        seen.add(name)
        apart.append(dataclasses.replace(one, name=name))
    return apart


def give_scale(analyses: Iterable[Analysis], um_per_px: float) -> list[Analysis]:
    """Give µm/px to those fields whose file does not say. Raises MissingScale when it is not plausible."""
    scale = check_um_per_px(um_per_px)
    return [_scaled(one, scale, "given") if one.waits_for_scale else one for one in analyses]


def correct_scale(analyses: Iterable[Analysis], um_per_px: float) -> list[Analysis]:
    """Put µm/px in the place of what the files say. Raises MissingScale when it is not plausible."""
    scale = check_um_per_px(um_per_px)
    return [one if one.waits_for_scale else _scaled(one, scale, "corrected") for one in analyses]


def _scaled(one: Analysis, um_per_px: float, source: str) -> Analysis:
    if one.field is None:
        return one
    return dataclasses.replace(one, field=dataclasses.replace(one.field, um_per_px=um_per_px, scale_source=source))


def analyse(
    analyses: Sequence[Analysis],
    model: Model,
    known: PredictionCache,
    *,
    device: str = "auto",
    progress: BatchProgress = lambda number, total, name, share: None,
) -> list[Analysis]:
    """Predict every field that has a scale; a field that fails gets a problem and the others still run."""
    total, done = sum(_is_new(one, model, known, device) for one in analyses), 0
    answers = []
    for one in analyses:
        new = _is_new(one, model, known, device)
        answers.append(_answer(one, model, known, device, _of_field(progress, done, total, one.name)))
        done += new
    return answers


def answer_next(
    analyses: Sequence[Analysis],
    model: Model,
    known: PredictionCache,
    *,
    device: str = "auto",
    progress: Callable[[float], None] = lambda share: None,
) -> Analysis | None:
    """Predict the first field that is still to be; what became of it, None when there is none left."""
    one = next((one for one in analyses if not one.problem and _is_new(one, model, known, device)), None)
    return None if one is None else _answer(one, model, known, device, progress)


def answers_so_far(
    analyses: Iterable[Analysis], model: Model, known: PredictionCache, *, device: str = "auto"
) -> list[Analysis]:
    """With the predictions that are known; no field is analysed for it."""
    return [
        dataclasses.replace(one, prediction=known.get(one.field, model, device))
        if one.field and not one.waits_for_scale
        else one
        for one in analyses
    ]


def _is_new(one: Analysis, model: Model, known: PredictionCache, device: str) -> bool:
    return one.field is not None and not one.waits_for_scale and known.get(one.field, model, device) is None


def _of_field(progress: BatchProgress, number: int, total: int, name: str) -> Callable[[float], None]:
    return lambda share: progress(number, total, name, share)


def _answer(
    one: Analysis, model: Model, known: PredictionCache, device: str, progress: Callable[[float], None]
) -> Analysis:
    if one.field is None or one.waits_for_scale:
        return one
    prediction = known.get(one.field, model, device)
    try:
        if prediction is None:
            prediction = predict(one.field, model, device=device, progress=progress)
            known.put(one.field, model, device, prediction)
            DETECTION_SECONDS.observe(prediction.seconds)
            log.info("the file %s was analysed in %.2f s", alias(one.name), prediction.seconds)
    except ConcentricError as error:
        return dataclasses.replace(one, problem=str(error))
    except Exception:
        log.exception("analysing the file %s failed", alias(one.name))
        return dataclasses.replace(one, problem=UNEXPECTED)
    return dataclasses.replace(one, prediction=prediction)


def tally(analyses: Iterable[Analysis], field_diameter_mm: float, score: float | None = None) -> Tally | None:
    """One count over all analysed fields; None when there is none."""
    counts = [Count(len(one.found(score)), one.prediction.area_mm2) for one in analyses if one.prediction is not None]
    return Tally(sum(counts, Count(0, 0.0)), field_diameter_mm) if counts else None


def table(
    analyses: Iterable[Analysis], field_diameter_mm: float, score: float | None = None
) -> list[dict[str, str | float | int | None]]:
    """One row per file for the overview; the values are None where a file was not analysed."""
    rows: list[dict[str, str | float | int | None]] = []
    for one in analyses:
        counted = tally([one], field_diameter_mm, score)
        rows.append(
            {
                "file": one.name,
                "um_per_px": one.field.um_per_px if one.field else None,
                "mitoses": counted.count.mitoses if counted else None,
                "tissue_mm2": counted.count.area_mm2 if counted else None,
                "per_mm2": counted.per_mm2 if counted else None,
                "per_10_hpf": counted.per_10_hpf if counted else None,
                "seconds": one.prediction.seconds if one.prediction else None,
                "notes": " ".join(one.notes),
            }
        )
    return rows


DETECTION_COLUMNS = (
    "image",
    "digest",
    "um_per_px",
    "um_per_px_source",
    "x_px",
    "y_px",
    "x_um",
    "y_um",
    "label",
    "score",
    "threshold",
    "model",
)


def detections_csv(analyses: Iterable[Analysis], score: float | None = None) -> bytes:
    """All detections of analysed fields, which nobody has reviewed, UTF-8; the plain CSV reads it.

    threshold: the lowest score that counts. Places are those of pixel centres, the top-left one at (0, 0).
    """
    out = io.StringIO(newline="")
    csv = SafeTable(out)
    csv.write_row(DETECTION_COLUMNS)
    for one in analyses:
        if one.field is None or one.prediction is None:
            continue
        scale, found = one.field.um_per_px or 0.0, one.found(score)
        known = (one.name, one.field.digest, scale, one.field.scale_source)
        threshold = one.prediction.threshold if score is None else score
        for (x, y), value in zip(found.xy_px.tolist(), found.score.tolist(), strict=True):
            places = (round(at, 3) for at in (x, y, x * scale, y * scale))
            csv.write_row((*known, *places, MITOSIS, round(value, 4), round(threshold, 4), one.prediction.version))
    return out.getvalue().encode()
