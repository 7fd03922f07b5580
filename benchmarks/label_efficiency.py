"""Corrected fields become a better model: how much better, and is anything forgotten?

    python -m benchmarks.label_efficiency --annotations CSV --images DIR [--patches CSV] [--work DIR] [--quick] [--plot]

For each slide in turn a base version is trained with `train.fit` on the other slides, less two or three fields of each
(every third one), which neither the base nor the retraining sees: there it shows what is forgotten. Then 1, 2, 3, 4
fields of the new slide are corrected (the truth stands in for the reader), `train.retrain.retrain` makes a version of
them with its default settings, and both are scored on the other fields of that slide. Without --annotations the
program draws the fields itself. --plot only draws the figure of the last results.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.record import RESULTS, Figures, cpu_name, write_result
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.inference.runtime import torch_engine
from mitosis_core.model import Model, load_model
from mitosis_core.prediction import find_candidates, infer
from mitosis_core.scoring.evaluation import ScoredField, evaluate
from mitosis_core.vocabulary import HIT_RADIUS_UM
from train.config import TrainConfig
from train.data.examples import Example, read_examples, read_patches
from train.fit import fit
from train.optimise import training_device
from train.retrain.config import RetrainConfig
from train.retrain.retrain import retrain

PICTURE = Path(__file__).parent.parent / "docs" / "label-efficiency.svg"
QUICK = RetrainConfig(steps=10, batch=8, crops_per_field=16, validate_every=10)
PROTOCOL = (
    "Each slide in turn is new. Base version: train.fit with {members} member(s) on the other slides and patches, "
    "without every third field; step and threshold by its inner leave-one-slide-out. Corrected fields: the first k "
    "of a random order of the new slide's fields, {draws} order(s) per slide, seed {seed}; no look-alikes, the "
    "false detections of the base are the hard negatives. Score: F1 of the remaining fields together, one-to-one "
    "within {radius:g} µm, at each version's own threshold, chosen without the scored fields; gain: paired "
    "difference to the base on the same fields; mean over slides and orders. Forgetting: F1 of the base less that "
    "of the new version on the fields of the base's slides that neither has seen. Interval: 95 % bootstrap over "
    "orders and, in each, over scored fields, slide by slide: three slides are too few to draw, and orders share "
    "fields, so it is rather narrow. The recipe was chosen on the same slides in other orders."
)

Counts = npt.NDArray[np.int64]  # [fields, 3]: true positives, false positives, missed


@dataclass(frozen=True, eq=False)
class Round:
    """One retraining: counts per field before and after, on the rest of the slide and on the base's slides."""

    slide: str
    draw: int
    corrected: int
    before: Counts
    after: Counts
    known_before: Counts
    known_after: Counts
    seconds: float

    def __str__(self) -> str:
        new, known = (self.before, self.after), (self.known_before, self.known_after)
        scores = ["F1 {:.3f} -> {:.3f}".format(*map(f1, pair)) for pair in (new, known)]
        where = f"{self.slide}, order {self.draw}, {self.corrected} corrected"
        return f"{where}: {scores[0]}, known slides {scores[1]}, {self.seconds:.0f} s"

    @property
    def gain(self) -> float:
        """F1 of the new version less that of its base, on the same fields."""
        return f1(self.after) - f1(self.before)

    @property
    def forgotten(self) -> float:
        """By how much F1 fell on fields of slides known before."""
        return f1(self.known_before) - f1(self.known_after)


def f1(counts: Counts) -> float:
    """Of all fields together."""
    tp, fp, fn = counts.sum(0)
    return float(2 * tp / max(1, 2 * tp + fp + fn))


def main() -> None:
    """Measure, write the results and draw the curve."""
    given = _parser().parse_args()
    name = "label_efficiency-quick" if given.quick else "label_efficiency"
    if given.plot:
        PICTURE.write_text(
            picture(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))), encoding="utf-8"
        )
        return
    torch.set_num_threads(given.threads)
    fields = read_examples(given.annotations, given.images) if given.annotations else drawn_fields()
    patches = read_patches(given.patches, given.patches.parent / "images") if given.patches else []
    work = given.work or Path(tempfile.mkdtemp())
    sizes, draws = ((1, 3), 1) if given.quick else ((1, 2, 3, 4), given.draws)
    fields = small(fields) if given.quick else fields
    rounds = []
    for slide in sorted({e.slide for e in fields}):
        known = held_out(fields, slide)
        learned = [e for e in fields if e.slide != slide and e not in known]
        base = load_model() if given.quick else _base(slide, learned, patches, given, work)
        rounds += _rounds(base, [e for e in fields if e.slide == slide], known, sizes, draws, given, work)
    protocol = PROTOCOL.format(members=given.members, draws=draws, seed=given.seed, radius=HIT_RADIUS_UM)
    if given.quick:
        protocol = "Quick: small fields, a few steps, the shipped version as the base. " + protocol
    data = {
        "fields": len(fields),
        "mitoses": sum(len(e.mitoses_xy_px) for e in fields),
        "patches": len(patches),
        "drawn by the program": given.annotations is None,
    }
    machine = f"{cpu_name()}; {given.threads} thread(s)"
    recipe = dataclasses.asdict(QUICK if given.quick else RetrainConfig())
    write_result(
        name, {**figures(rounds, sizes), "data": data, "protocol": protocol, "recipe": recipe, "machine": machine}
    )


def held_out(fields: Sequence[Example], new: str) -> list[Example]:
    """Every third field of each slide but `new`."""
    others = sorted({e.slide for e in fields} - {new})
    return [e for slide in others for e in [e for e in fields if e.slide == slide][2::3]]


def _base(
    slide: str, learned: Sequence[Example], patches: Sequence[Example], given: argparse.Namespace, work: Path
) -> Model:
    """A version that has seen nothing of `slide`; trainings found in `work` are not repeated."""
    config = dataclasses.replace(TrainConfig(), members=given.members, encoder=given.encoder, lr=given.lr)
    return fit(learned, patches, config, work / f"base-{slide}.safetensors", work=work)


def _rounds(
    base: Model,
    new: list[Example],
    known: list[Example],
    sizes: Sequence[int],
    draws: int,
    given: argparse.Namespace,
    work: Path,
) -> list[Round]:
    """Every retraining of one slide."""
    before, known_before = counts(base, new), counts(base, known)
    rounds = []
    for draw in range(draws):
        order = np.random.default_rng((given.seed, draw)).permutation(len(new))
        for size in sizes:
            chosen, rest = order[:size], order[size:]
            config = QUICK if given.quick else RetrainConfig(seed=draw)
            started = time.perf_counter()
            version = retrain(base, [corrected(new[i]) for i in chosen], config, work / "challenger.safetensors")
            seconds = time.perf_counter() - started
            rounds.append(Round(new[0].slide, draw, size, before[rest], counts(version, [new[i] for i in rest]),
                                known_before, counts(version, known), seconds))  # fmt: skip
            print(rounds[-1], f"threshold {base.card.raw_threshold} -> {version.card.raw_threshold}", flush=True)
    return rounds


def corrected(example: Example) -> Example:
    """What a reader leaves behind who marks every mitosis and names no look-alike."""
    return dataclasses.replace(example, lookalikes_xy_px=np.zeros((0, 2), np.float32), mask=None)


def counts(model: Model, fields: Sequence[Example]) -> Counts:
    """Of each field, at the version's own threshold: `predict`, but on PyTorch, to spare each version a conversion."""
    run = torch_engine(model.net(), training_device())
    card, scored = model.card, []
    for e in fields:
        seen = infer(e.field, run, card.um_per_px, card.stride, card.stain)
        found, _ = find_candidates(seen, e.field, card.blobs, card.calibration)
        scored.append(ScoredField(e.field.name, e.slide, found, e.mitoses_xy_px, e.um_per_px))
    rows = evaluate(scored, HIT_RADIUS_UM, threshold=card.raw_threshold, samples=10).fields
    return np.array([[row.scores.tp, row.scores.fp, row.scores.fn] for row in rows])


def figures(rounds: Sequence[Round], sizes: Sequence[int]) -> Figures:
    """The results: gains, forgetting, times and the curve."""
    at = {size: [r for r in rounds if r.corrected == size] for size in sizes}
    gains = {size: bootstrap(at[size], lambda before, after: f1(after) - f1(before)) for size in sizes}
    reached = {size: bootstrap(at[size], lambda before, after: f1(after)) for size in sizes}
    start = bootstrap(at[sizes[0]], lambda before, after: f1(before))
    base = {size: by_slide(at[size], lambda r: f1(r.before)) for size in sizes}  # on the same fields as the new version
    curve = {0: {"f1": base[sizes[0]], "low": start[0], "high": start[1], "base": base[sizes[0]]}}
    for size in sizes:
        low, high = reached[size]
        curve[size] = {"f1": by_slide(at[size], lambda r: f1(r.after)), "low": low, "high": high, "base": base[size]}
    return {
        "gain_at_3": by_slide(at[3], lambda r: r.gain),
        "gain_at_3_low": gains[3][0],
        "gain_at_3_high": gains[3][1],
        "forgetting": by_slide(at[3], lambda r: r.forgotten),
        "seconds_per_round": float(np.mean([r.seconds for r in at[3]])),
        "curve": curve,
        "gain": {s: {"mean": by_slide(at[s], lambda r: r.gain), "low": low, "high": high}
                 for s, (low, high) in gains.items()},
        "forgetting_at": {s: by_slide(at[s], lambda r: r.forgotten) for s in sizes},
        "seconds_at": {s: float(np.mean([r.seconds for r in at[s]])) for s in sizes},
        "rounds": [{"slide": r.slide, "order": r.draw, "corrected": r.corrected, "before": f1(r.before),
                    "after": f1(r.after), "known before": f1(r.known_before), "known after": f1(r.known_after),
                    "seconds": r.seconds} for r in rounds],
    }  # fmt: skip


def by_slide(rounds: Sequence[Round], value: Any) -> float:
    """Mean over slides of the mean over orders."""
    slides = sorted({r.slide for r in rounds})
    return float(np.mean([np.mean([value(r) for r in rounds if r.slide == slide]) for slide in slides]))


def bootstrap(rounds: Sequence[Round], value: Any, samples: int = 2000) -> tuple[float, float]:
    """95 % interval of the mean over slides: orders drawn again within a slide, scored fields within an order."""
    rng = np.random.default_rng(0)
    slides = [[r for r in rounds if r.slide == slide] for slide in sorted({r.slide for r in rounds})]
    means = np.zeros(samples)
    for sample in range(samples):
        for own in slides:
            for order in rng.integers(len(own), size=len(own)):
                fields = rng.integers(len(own[order].before), size=len(own[order].before))
                gained = value(own[order].before[fields], own[order].after[fields])
                means[sample] += gained / len(own) / len(slides)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def drawn_fields() -> list[Example]:
    """Three slides of seven drawn fields each."""
    drawn = [draw_sample_field(seed=seed, size_px=768, mitoses=6, lookalikes=8) for seed in range(21)]
    return [Example(d.field, f"drawn {i // 7 + 1}", d.mitoses_xy_px, d.lookalikes_xy_px) for i, d in enumerate(drawn)]


def small(fields: Sequence[Example], side_px: int = 768) -> list[Example]:
    """Of each slide four fields, each cut to a square round one of its mitoses."""
    cut = []
    for slide in sorted({e.slide for e in fields}):
        for e in [e for e in fields if e.slide == slide and len(e.mitoses_xy_px)][:4]:
            most = [max(0, e.field.width_px - side_px), max(0, e.field.height_px - side_px)]
            left, top = np.clip(np.rint(e.mitoses_xy_px[0]) - side_px // 2, 0, most).astype(int)
            pixels = np.ascontiguousarray(e.field.pixels[top : top + side_px, left : left + side_px])
            points = e.mitoses_xy_px - np.array([left, top], np.float32)
            kept = points[((points >= 0) & (points < pixels.shape[1::-1])).all(1)]
            cut.append(
                corrected(dataclasses.replace(e, field=dataclasses.replace(e.field, pixels=pixels), mitoses_xy_px=kept))
            )
    return cut


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
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--patches", type=Path)
    parser.add_argument("--work", type=Path, help="folder of the bases' trainings (default: a new temporary one)")
    parser.add_argument("--draws", type=int, default=3, help="random orders of each slide's fields")
    parser.add_argument("--members", type=int, default=1, help="networks in a base version")
    parser.add_argument("--encoder", default=TrainConfig().encoder, help="encoder of the bases")
    parser.add_argument("--lr", type=float, default=TrainConfig().lr, help="learning rate of the bases' encoders")
    parser.add_argument(
        "--threads", type=int, default=1, help="of PyTorch; two that wait for busy cores are far slower"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="the same path on small fields, in under a minute")
    parser.add_argument("--plot", action="store_true", help=f"draw {PICTURE.name} of the last results and stop")
    return parser


if __name__ == "__main__":
    main()
