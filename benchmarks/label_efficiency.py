"""Corrected fields become a better model: how much better, by what, and is anything forgotten?

    python -m benchmarks.label_efficiency --fields DIR=SCANNER... --painted DIR --patches CSV... [--crops CSV]
        [--tissue CSV] [--work DIR] [--method METHOD] [--sizes N...] [--draws N] [--quick] [--plot]

The data are those of benchmarks/transfer.py. For each slide in turn the base is what transfer.py measures: networks
trained without it on any scanner, step, calibration and threshold from the other slides. Then N fields of the slide on
one scanner are corrected (the truth stands in for the reader), `train.retrain.retrain` makes a version of them with its
default settings, and both are scored on its other fields on that scanner; and on what might be forgotten. A round is
kept in --work when it is done, and a second call goes on after the last. --plot only draws the figure of the results.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy import QUICK as QUICK_BASE
from benchmarks.held_out import Detector, Measured, add_data_options, detectors, read_data, train_folds
from benchmarks.record import RESULTS, Figures, cpu_name, write_result
from mitosis_core.atomic_write import atomic_write
from mitosis_core.inference.calibration import centre_on_threshold
from mitosis_core.methods.ensemble import make_ensemble
from mitosis_core.model import Model, save_model
from mitosis_core.prediction import predict
from mitosis_core.scoring.evaluation import ScoredField, evaluate
from mitosis_core.vocabulary import HIT_RADIUS_UM
from train.config import TrainConfig
from train.data.examples import Example
from train.fit import Provenance, make_card
from train.methods import RECIPES, default_config
from train.retrain.checkpoint import Checkpoint
from train.retrain.config import RetrainConfig, way_of
from train.retrain.corrected import split_in_halves
from train.retrain.retrain import retrain
from train.retrain.session import RetrainSession
from train.retrain.threshold import choose_threshold
from train.selection.evaluation import drop_ignored, fully_annotated, load_snapshot

PICTURE = Path(__file__).parent.parent / "docs" / "label-efficiency.svg"
QUICK = RetrainConfig(steps=10, batch=8, crops_per_field=16, validate_every=10)
QUICK_SIDES = 2  # one slide on both scanners
BOTH, WEIGHTS, THRESHOLD = "both", "weights only", "threshold only"  # what of the new version is taken
ELSEWHERE = "other laboratories"
CROPS_APART = 4  # every fourth of the crops of other laboratories is scored: each costs a prediction in every round
PROTOCOL = (
    "Each slide in turn is new. Base: the networks trained without it that transfer.py measures ({members}, seeds from "
    "{seed}), step, calibration and threshold from the other slides. Corrected fields: the first k of a random order "
    "of the slide's fields on one scanner, {draws} order(s) for each slide and scanner; no look-alikes, the false "
    "detections of the base are the hard negatives. Score: F1 of the remaining fields of that slide and scanner "
    "together, one-to-one within {radius:g} µm, at each version's own threshold, chosen without the scored fields; "
    "gain: paired difference to the base on the same fields; mean over slides and scanners. Weights only: the new "
    "weights, at the threshold where they find as many figures as the base did; threshold only: the base at the new "
    "threshold. Forgetting: F1 of the base less that of the new version, on every second field of the other slides by "
    "scanner (the base has learned from these, the retraining has not, so this rather overstates it), and on "
    "{elsewhere}: every fourth crop of cases and laboratories that neither has seen, and detections on tissue, "
    "together. Interval: 95 % bootstrap over orders and, in each, over scored fields: three slides are too few to "
    "draw, and orders share fields, so it is rather narrow."
)

Counts = npt.NDArray[np.int64]  # [fields, 3]: true positives, false positives, missed


@dataclass(frozen=True, eq=False)
class Round:
    """One retraining: counts per field of the base, and of each way to take the new version.

    group: slide and scanner. known: what might be forgotten, by its name: counts of the base, and of each way.
    thresholds: raw, of the base and each way.
    """

    group: str
    draw: int
    corrected: int
    before: Counts
    after: dict[str, Counts]
    known: dict[str, Counts]
    known_after: dict[str, dict[str, Counts]]
    thresholds: dict[str, float]
    seconds: float

    def gain(self, way: str = BOTH) -> float:
        """F1 of the new version less that of its base, on the same fields."""
        return f1(self.after[way]) - f1(self.before)

    def forgotten(self, name: str, way: str = BOTH) -> float:
        """By how much F1 fell on what was known before."""
        return f1(self.known[name]) - f1(self.known_after[way][name])

    def to_dict(self) -> Figures:
        """JSON-able."""
        return dataclasses.asdict(
            self,
            dict_factory=lambda pairs: {k: v.tolist() if isinstance(v, np.ndarray) else _lists(v) for k, v in pairs},
        )

    @classmethod
    def from_dict(cls, values: Figures) -> Round:
        """What `to_dict` gave."""
        counts = {name: _arrays(values[name]) for name in ("before", "after", "known", "known_after")}
        return cls(**{**values, **counts})


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(one) for key, one in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _arrays(one) for key, one in value.items()}
    return np.array(value, np.int64).reshape(-1, 3)


def f1(counts: Counts) -> float:
    """Of all fields together."""
    tp, fp, fn = counts.sum(0)
    return float(2 * tp / max(1, 2 * tp + fp + fn))


def main() -> None:
    """Measure, write the results and draw the curve."""
    given = _parser().parse_args()
    name = "label_efficiency" if given.method == "segmitos" else f"label_efficiency_{given.method}"
    name = f"{name}-quick" if given.quick else name
    if given.plot:
        results = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        PICTURE.write_text(picture(results), encoding="utf-8")
        return
    given.work = given.work or Path(tempfile.mkdtemp())
    fields, patches, measured = read_data(given)
    sizes, draws = ((1,), 1) if given.quick else (tuple(given.sizes), given.draws)
    options: dict[str, Any] = {**QUICK_BASE, "steps": 12, "averaged": 1} if given.quick else {"members": given.members}
    config = default_config(given.method, **options, seed=given.seed)
    recipe = QUICK if given.quick else RetrainConfig()
    sides = islice(_sides(fields, patches, measured, config, given), QUICK_SIDES if given.quick else None)
    rounds = list(_rounds(list(sides), sizes, draws, recipe, given))
    protocol = PROTOCOL.format(
        members=config.members, seed=given.seed, draws=draws, radius=HIT_RADIUS_UM, elsewhere=ELSEWHERE
    )
    write_result(
        name,
        {
            **figures(rounds, sizes),
            "data": {
                "fields": len(fields),
                "mitoses": sum(len(e.mitoses_xy_px) for e in fields),
                "patches": len(patches),
            },
            "members": config.members,
            "protocol": protocol,
            "recipe": dataclasses.asdict(recipe),
            "machine": cpu_name(),
        },
    )


class Side:
    """A slide on one scanner: the base that has not seen it, its fields, and what that base should not forget."""

    def __init__(self, base: Model, new: list[Example], known: dict[str, list[Example]]) -> None:
        self.base, self.new, self.known = base, new, known
        self.group = new[0].group


def _sides(
    fields: Sequence[Example],
    patches: Sequence[Example],
    measured: Measured,
    config: TrainConfig,
    given: argparse.Namespace,
) -> Iterator[Side]:
    folds = train_folds(fields, patches, config, given.work, given.jobs)
    elsewhere = [e for some in measured.crops.values() for e in some[::CROPS_APART]] + measured.tissue
    for detector in detectors(folds, config, given.work):
        held = detector.held
        base = _base(detector, fields, patches, given.work)
        others = [e for e in fields if e.slide != held[0].slide and fully_annotated(e)]
        known = {scanner: [e for e in others if e.scanner == scanner][::2] for scanner in _scanners(others)}
        for scanner in _scanners(held):
            new = [e for e in held if e.scanner == scanner and fully_annotated(e)]
            yield Side(base, new, {**known, ELSEWHERE: elsewhere})


def _scanners(examples: Sequence[Example]) -> list[str]:
    return sorted({e.scanner for e in examples})


def _base(detector: Detector, fields: Sequence[Example], patches: Sequence[Example], work: Path) -> Model:
    """The networks of a fold as a version, with what the other folds choose for it."""
    slide, config, choice, second = detector.held[0].slide, detector.config, detector.choice, detector.second
    net = make_ensemble([load_snapshot(steps[choice.step], config) for steps in detector.members])
    learned = [e for e in fields if e.slide != slide]
    card = make_card(f"without-{slide}", net.stride, learned, patches, config, choice, second, Provenance())
    out = work / f"without-{slide}-{config.method}-{config.seed}.safetensors"
    return save_model(net, card, out, second.net if second else None)


def _rounds(
    sides: Sequence[Side], sizes: Sequence[int], draws: int, recipe: RetrainConfig, given: argparse.Namespace
) -> Iterator[Round]:
    """Every retraining, those of one order of all slides before the next, so that a cut run says something."""
    for draw in range(draws):
        for size in sorted(sizes, key=lambda size: size != 3):
            for side in sides:
                if len(side.new) > size:
                    done = _round(side, draw, size, dataclasses.replace(recipe, seed=draw), given)
                    fell = {name: round(done.forgotten(name), 3) for name in done.known}
                    gains = {way: round(done.gain(way), 3) for way in done.after}
                    print(
                        f"{done.group}, order {draw}, {size} corrected: F1 {f1(done.before):.3f}, {gains}, forgotten "
                        f"{fell}, {done.seconds:.0f} s, thresholds {done.thresholds}",
                        flush=True,
                    )
                    yield done


def _round(side: Side, draw: int, size: int, config: RetrainConfig, given: argparse.Namespace) -> Round:
    """One retraining, or what `work` keeps of it."""
    kept = _kept(side, draw, size, config, given)
    if kept.exists():
        return Round.from_dict(json.loads(kept.read_text(encoding="utf-8")))
    kept.parent.mkdir(exist_ok=True)
    done = _measure_round(side, draw, size, config, given)
    with atomic_write(kept) as part:
        part.write_text(json.dumps(done.to_dict()), encoding="utf-8")
    return done


def _kept(side: Side, draw: int, size: int, config: RetrainConfig, given: argparse.Namespace) -> Path:
    identity = [
        side.base.card.weights_sha256,
        side.base.card.raw_threshold,
        side.group,
        draw,
        size,
        given.seed,
        dataclasses.asdict(config),
        {name: len(some) for name, some in side.known.items()},
    ]
    return Path(given.work) / "rounds" / f"{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]}.json"


def _measure_round(side: Side, draw: int, size: int, config: RetrainConfig, given: argparse.Namespace) -> Round:
    order = np.random.default_rng((given.seed, draw)).permutation(len(side.new))
    learned, rest = [corrected(side.new[i]) for i in order[:size]], [side.new[i] for i in order[size:]]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, started = Path(folder) / "checkpoint.pt", time.perf_counter()
        version = retrain(side.base, learned, config, Path(folder) / "challenger.safetensors", checkpoint=checkpoint)
        seconds = time.perf_counter() - started
        raw = thresholds(side.base, version, learned, config, checkpoint)
        old, new = Scorer(side.base), Scorer(version)
        scorers = {way: old if way == THRESHOLD else new for way in raw if way != "base"}
        return Round(
            side.group,
            draw,
            size,
            old.counts(rest, raw["base"]),
            {way: one.counts(rest, raw[way]) for way, one in scorers.items()},
            {name: old.counts(some, raw["base"]) for name, some in side.known.items()},
            {
                way: {name: one.counts(some, raw[way]) for name, some in side.known.items()}
                for way, one in scorers.items()
            },
            raw,
            seconds,
        )


def thresholds(
    base: Model, version: Model, learned: Sequence[Example], config: RetrainConfig, checkpoint: Path
) -> dict[str, float]:
    """The raw thresholds of the base and of each way to take the new version, from the maps the retraining kept.
    Fine-tuning keeps none, so there is one way."""
    if way_of(base.card) != "heads":
        return {"base": base.card.raw_threshold, BOTH: version.card.raw_threshold}
    fields = list(learned) if len(learned) > 1 else split_in_halves(learned[0])
    session = RetrainSession(base, fields, config, lambda: False)
    done = Checkpoint(checkpoint, session.identity()).done
    threshold_only = choose_threshold(session, [{**one, "maps": one["old maps"]} for one in done]).raw
    session.config = dataclasses.replace(config, trust=RetrainConfig.__dataclass_fields__["trust"].metadata["high"])
    return {
        "base": base.card.raw_threshold,
        BOTH: version.card.raw_threshold,
        WEIGHTS: choose_threshold(session, done).raw,
        THRESHOLD: threshold_only,
    }


class Scorer:
    """What a version finds, each field once, counted at any raw threshold."""

    _of_bases: ClassVar[dict[tuple[str, str], ScoredField]] = {}  # a base is scored for many rounds

    def __init__(self, model: Model) -> None:
        self._model, self._found = model, Scorer._of_bases if model.card.parent is None else {}

    def counts(self, fields: Sequence[Example], raw_threshold: float) -> Counts:
        """Int[fields, 3]."""
        if not fields:
            return np.zeros((0, 3), np.int64)
        own = np.full(1, raw_threshold, np.float32)
        at = float(centre_on_threshold(own, self._model.card.raw_threshold)[0])
        rows = evaluate([self._scored(e) for e in fields], HIT_RADIUS_UM, threshold=at, samples=10).fields
        return np.array([[row.scores.tp, row.scores.fp, row.scores.fn] for row in rows])

    def _scored(self, e: Example) -> ScoredField:
        key = (self._model.card.weights_sha256, e.field.digest)
        if key not in self._found:
            found = drop_ignored(predict(e.field, self._model, device="cpu").candidates, e)
            self._found[key] = ScoredField(e.field.name, e.group, found, e.mitoses_xy_px, e.um_per_px)
        return self._found[key]


def corrected(example: Example) -> Example:
    """What a reader leaves behind who marks every mitosis and names no look-alike."""
    return dataclasses.replace(example, lookalikes_xy_px=np.zeros((0, 2), np.float32), mask=None)


def figures(rounds: Sequence[Round], sizes: Sequence[int]) -> Figures:
    """The results: gains, forgetting, times and the curve; at 3 corrected fields, or the most there are."""
    at = {size: [r for r in rounds if r.corrected == size] for size in sizes}
    main_size = 3 if 3 in sizes else sizes[-1]
    gain = {size: _gain(at[size], BOTH) for size in sizes}
    return {
        "gain_at_3": gain[main_size]["mean"],
        "gain_at_3_low": gain[main_size]["low"],
        "gain_at_3_high": gain[main_size]["high"],
        "forgetting": _forgetting(at[main_size], BOTH),
        "seconds_per_round": float(np.median([r.seconds for r in at[main_size]])),
        "curve": _curve(at, sizes),
        "gain": gain,
        "by_group": {
            g: {
                s: float(np.mean([r.gain() for r in at[s] if r.group == g]))
                for s in sizes
                if any(r.group == g for r in at[s])
            }
            for g in sorted({r.group for r in rounds})
        },
        "ablations": {
            way: {s: {**_gain(at[s], way), "forgetting": _forgetting(at[s], way)} for s in sizes}
            for way in rounds[0].after
        },
        "forgetting_at": {s: _forgetting(at[s], BOTH) for s in sizes},
        "seconds_at": {s: float(np.median([r.seconds for r in at[s]])) for s in sizes},
        "rounds": [
            {
                "group": r.group,
                "order": r.draw,
                "corrected": r.corrected,
                "before": f1(r.before),
                "after": {way: f1(counts) for way, counts in r.after.items()},
                "thresholds": r.thresholds,
                "forgotten": {name: r.forgotten(name) for name in r.known},
                "seconds": r.seconds,
            }
            for r in rounds
        ],
    }


def _gain(rounds: Sequence[Round], way: str) -> Figures:
    low, high = bootstrap(rounds, lambda r, chosen: f1(r.after[way][chosen]) - f1(r.before[chosen]))
    return {"mean": by_group(rounds, lambda r: r.gain(way)), "low": low, "high": high}


def _forgetting(rounds: Sequence[Round], way: str) -> dict[str, float]:
    names = sorted({name for r in rounds for name in r.known})
    return {name: by_group(rounds, lambda r, n=name: r.forgotten(n, way)) for name in names}  # type: ignore[misc]


def _curve(at: Mapping[int, Sequence[Round]], sizes: Sequence[int]) -> Figures:
    """F1 over corrected fields, 0 first; base: that of the base on the same fields."""
    first = at[sizes[0]]
    low, high = bootstrap(first, lambda r, chosen: f1(r.before[chosen]))
    base = by_group(first, lambda r: f1(r.before))
    curve: dict[Any, Any] = {0: {"f1": base, "low": low, "high": high, "base": base}}
    for size in sizes:
        low, high = bootstrap(at[size], lambda r, chosen: f1(r.after[BOTH][chosen]))
        reached, base = by_group(at[size], lambda r: f1(r.after[BOTH])), by_group(at[size], lambda r: f1(r.before))
        curve[size] = {"f1": reached, "low": low, "high": high, "base": base}
    return curve


def by_group(rounds: Sequence[Round], value: Callable[[Round], float]) -> float:
    """Mean over slides and scanners of the mean over orders."""
    groups = sorted({r.group for r in rounds})
    return float(np.mean([np.mean([value(r) for r in rounds if r.group == group]) for group in groups]))


def bootstrap(
    rounds: Sequence[Round], value: Callable[[Round, npt.NDArray[np.int64]], float], samples: int = 2000
) -> tuple[float, float]:
    """95 % interval of `by_group`: orders drawn again within a group, scored fields within an order.

    value: of a round and the scored fields drawn.
    """
    rng = np.random.default_rng(0)
    groups = [[r for r in rounds if r.group == group] for group in sorted({r.group for r in rounds})]
    means = np.zeros(samples)
    for sample in range(samples):
        for own in groups:
            for order in rng.integers(len(own), size=len(own)):
                fields = rng.integers(len(own[order].before), size=len(own[order].before))
                means[sample] += value(own[order], fields) / len(own) / len(groups)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def picture(results: Figures) -> str:
    """The curve as SVG: mean F1 on the remaining fields against corrected fields, its interval, and the base's F1."""
    curve = {int(size): row for size, row in results["curve"].items()}
    low = 0.1 * np.floor(10 * min(row["low"] for row in curve.values()))
    high = 0.1 * np.ceil(10 * max(row["high"] for row in curve.values()))

    def at(size: int, value: float) -> tuple[float, float]:
        return 70 + 500 * size / max(curve), 30 + 260 * (high - value) / (high - low)

    def points(which: str, sizes: Sequence[int]) -> str:
        return " ".join("{:.1f},{:.1f}".format(*at(size, curve[size][which])) for size in sizes)

    parts = ['<rect width="620" height="350" fill="#ffffff"/>']
    for value in np.arange(low, high + 0.01, 0.1):
        y = at(0, value)[1]
        parts.append(f'<line x1="70" x2="570" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e3e8"/>')
        parts.append(_text(60, y + 4, f"{value:.1f}", "end"))
    sizes = sorted(curve)
    parts.append(
        f'<polygon points="{points("low", sizes)} {points("high", sizes[::-1])}" fill="#5b4b9a" opacity="0.16"/>'
    )
    parts.append(f'<polyline points="{points("f1", sizes)}" fill="none" stroke="#5b4b9a" stroke-width="2.5"/>')
    parts.append(f'<polyline points="{points("base", sizes)}" fill="none" stroke="#888" stroke-dasharray="5 4"/>')
    parts.append(_text(560, at(sizes[-1], curve[sizes[-1]]["base"])[1] + 18, "the base on the same fields", "end"))
    for size in sizes:
        x, y = at(size, curve[size]["f1"])
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#5b4b9a"/>')
        parts += [_text(x, y - 10, f"{curve[size]['f1']:.2f}"), _text(x, 310, str(size))]
    parts.append(_text(320, 336, "corrected fields of the new slide"))
    parts.append(_text(70, 18, "F1 on the other fields of that slide (mean of slides, 95 % interval)", "start"))
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 620 350" font-family="sans-serif" font-size="13">'
    return "\n".join([head, *parts, "</svg>", ""])


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#444">{words}</text>'


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_options(parser)
    parser.add_argument("--method", choices=RECIPES, default="segmitos", help="of the base versions")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 3, 4], help="numbers of corrected fields")
    parser.add_argument("--draws", type=int, default=3, help="random orders of each slide's fields")
    parser.add_argument("--members", type=int, default=2, help="networks in a base version")
    parser.add_argument("--seed", type=int, default=0, help="of the bases' first network and of the orders")
    parser.add_argument("--quick", action="store_true", help="the same path on a few fields, networks and steps")
    parser.add_argument("--plot", action="store_true", help=f"draw {PICTURE.name} of the last results and stop")
    return parser


if __name__ == "__main__":
    main()
