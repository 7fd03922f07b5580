"""A version learns from corrected fields, in minutes on two cores, without forgetting.

The encoders stay as they are, so every crop goes through them once. Only the heads learn; on background they are held
to the old answer (distillation), and the result lies between the old weights and the learned ones (as in WiSE-FT).
One head is taught for each part of the fields held out in turn: there it says when to stop and where the threshold
lies. What is kept is the mean of their weights, which is better than each.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from mitosis_core.blobs import find_blobs
from mitosis_core.calibration import calibrate, logit, probability
from mitosis_core.errors import ConcentricError, UnusableData, UnusableModel
from mitosis_core.evaluation import ScoredField, threshold_curve
from mitosis_core.matching import match
from mitosis_core.methods.segmitos import LiteFCN
from mitosis_core.model import Model, ModelCard, save_model
from mitosis_core.prediction import inside
from mitosis_core.runtime import pad, without_margin
from mitosis_core.scale import to_resampled_px
from mitosis_core.types import Detections, Float32, ProbabilityMap
from train.evaluation import RADIUS_UM, steady_threshold
from train.examples import Example, digest
from train.labels import IGNORED, VARIANTS, concentric_labels
from train.losses import concentric_loss
from train.patches import Crops, Tissue, prepare
from train.retrain_config import RetrainConfig

_UNSURE_UM = 7.0  # radius round an unsure figure that says nothing: a cell and a little round it
_MINED_SCORE = 0.2  # raw score above which a false detection is worth learning from
_MATCH_UM = 7.5
_AT_ONCE = 32  # crops that go through an encoder together
_WARMUP = 20
_DRAW_SECONDS = 0.008  # to cut out and augment a crop

Features = list[torch.Tensor]  # one map per stride: BFloat16[N, C, h, w]
Ints = npt.NDArray[np.int64]


class Cancelled(ConcentricError):
    """The user stopped the run."""


@dataclass(frozen=True, eq=False)
class CorrectedField(Example):
    """A field with a reader's marks; its look-alikes are those the reader has named.

    unsure_xy_px: Float32[N, 2]; what lies there is neither a mitosis nor background. area_px: (x0, y0, x1, y1),
    the part that was reviewed; None is all of it. Every mitosis inside it is marked.
    """

    unsure_xy_px: Float32 = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    area_px: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Progress:
    """What a retraining reports after every step, of all `steps` over all networks of the version.

    epoch: times a network has seen as many crops as there are. f1: on held-out fields, after a validation.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    f1: float | None
    seconds_left: float


def retrain(
    base: Model,
    examples: Sequence[Example],
    config: RetrainConfig,
    out: Path,
    *,
    validation: Sequence[Example] = (),
    progress: Callable[[Progress], None] = lambda state: None,
    checkpoint: Path | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Model:
    """Teach `base` the corrected fields and write the new version to `out` (.safetensors).

    validation: fields that choose step and threshold; without them the examples are held out in turn (a single one in
    halves). checkpoint: file written at every validation and after every network, taken
    up when it exists and belongs to the same run. The same call gives the same weights.
    Raises Cancelled, UnusableData (nothing to learn from), UnusableModel, ConcentricError (the loss is no number).
    """
    check(examples)
    learned = list(examples) if validation or len(examples) > 1 else halves(examples[0])
    run = _Run(base, [*learned, *validation], len(learned), config, progress, checkpoint, cancelled)
    net = base.net()
    done = run.taken_up()
    with _one_thread():
        for index, member in enumerate(cast(Sequence[LiteFCN], net.members)):
            if index == len(done):
                done.append(run.teach(index, member))
                run.save(done)
            member.load_state_dict(done[index]["head"], strict=False)
    threshold, scores = _threshold(run, done)
    return save_model(net, _card(run, examples, out.stem, threshold, scores, done), out)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The same sums on every machine; and threads that wait for a core another program holds are many times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check(examples: Sequence[Example]) -> None:
    """Raises UnusableData, in a sentence, when the fields cannot teach anything."""
    if not examples:
        raise UnusableData("There is no corrected field to learn from.")
    if not any(len(e.mitoses_xy_px) for e in examples):
        raise UnusableData(
            "There is no mitosis in the corrected fields, so there is nothing to learn what one looks like."
        )


@dataclass(frozen=True)
class Pace:
    """Seconds this machine needs: for the encoder to see one crop, and for the head to learn from one."""

    see: float
    learn: float


def pace(base: Model, config: RetrainConfig) -> Pace:
    """Measured on a few crops, in a second or two."""
    member = cast(Sequence[LiteFCN], base.net().members)[0].to(memory_format=torch.channels_last).eval()
    head, images = _head(member), torch.zeros((16, 3, config.crop_px, config.crop_px), dtype=torch.uint8)
    seconds: list[tuple[float, float]] = []
    with _one_thread():
        for _ in range(3):  # the first time is always slow
            started = time.perf_counter()
            features = _see(member, images)
            seen = time.perf_counter()
            _answer(head, features).sum().backward()  # type: ignore[no-untyped-call]
            seconds.append((seen - started, time.perf_counter() - seen))
    see, learn = np.min(seconds, axis=0) / len(images)
    return Pace(float(see), float(learn))


def estimate_seconds(
    base: Model, fields: int, config: RetrainConfig, *, area_mm2: float = 0.26, measured: Pace | None = None
) -> float:
    """How long a retraining without validation fields would take on this machine.

    area_mm2: of one field; a whole high-power field has 0.2 to 0.3. measured: `pace`, where it is known already.
    """
    measured = measured or pace(base, config)
    fields = max(2, fields)  # a single one is learned from in halves
    crops = fields * max(1, min(config.crops_per_field, config.most_crops // fields))
    whole = fields * area_mm2 * 1e6 / (config.crop_px * base.card.um_per_px) ** 2  # all fields, in crops
    look = crops * (measured.see + _DRAW_SECONDS) + whole * measured.see
    steps = min(config.folds, fields) * config.steps * config.batch * measured.learn
    judge = math.ceil(config.steps / config.validate_every) * whole * measured.learn / 2  # no way back to go
    return base.card.members * (look + steps + judge)


# What the fields say


def reviewed_tissues(examples: Sequence[Example], um_per_px: float) -> list[Tissue]:
    """The examples at the network's scale, with what nobody vouches for marked as ignored."""
    tissues = prepare(examples, um_per_px)
    for example, tissue in zip(examples, tissues, strict=True):
        if isinstance(example, CorrectedField):
            _ignore(example, tissue, um_per_px)
    return tissues


def _ignore(example: CorrectedField, tissue: Tissue, um_per_px: float) -> None:
    """Mark unsure figures and all outside the reviewed area; the disc of a mitosis beside an unsure figure stays."""
    shape, pixel_px = tissue.pixels.shape[:2], _pixel_px(example, tissue)
    area = np.ones(shape, np.uint8)
    if example.area_px is not None:
        corners = to_resampled_px(np.array(example.area_px, np.float32).reshape(2, 2), pixel_px)
        (left, top), (right, bottom) = np.clip(np.rint(corners), 0, shape[::-1]).astype(int)
        area[:] = 0
        area[top:bottom, left:right] = 1
    unsure = to_resampled_px(example.unsure_xy_px.reshape(-1, 2), pixel_px)
    disc = VARIANTS["random"].inner_um[1] / um_per_px
    radii = [(disc, disc)] * len(tissue.mitoses_xy_px) + [(-1.0, _UNSURE_UM / um_per_px)] * len(unsure)  # -1: no disc
    points = np.vstack([tissue.mitoses_xy_px, unsure]).astype(np.float32)
    tissue.ignored = (concentric_labels((shape[0], shape[1]), points, radii, reviewed=area) == IGNORED).astype(np.uint8)
    tissue.mitoses_xy_px = _vouched(tissue.mitoses_xy_px, tissue)
    tissue.lookalikes_xy_px = _vouched(tissue.lookalikes_xy_px, tissue)


def _vouched(xy_px: Float32, tissue: Tissue) -> Float32:
    """The points that do not lie where the tissue is to be ignored."""
    return xy_px[_vouched_for(xy_px, tissue)]


def _vouched_for(xy_px: Float32, tissue: Tissue) -> npt.NDArray[np.bool_]:
    if tissue.ignored is None:
        return np.ones(len(xy_px), bool)
    x, y = np.clip(np.rint(xy_px), 0, np.array(tissue.ignored.shape[::-1]) - 1).astype(int).T
    return np.asarray(tissue.ignored[y, x] == 0)


def halves(example: Example) -> list[CorrectedField]:
    """One field as two, of each of which one half was reviewed, so that each can judge what the other taught."""
    area = example.area_px if isinstance(example, CorrectedField) else None
    left, top, right, bottom = area or (0.0, 0.0, float(example.field.width_px), float(example.field.height_px))
    across, down = (left + right) / 2, (top + bottom) / 2
    wide = right - left >= bottom - top
    areas = [(left, top, across if wide else right, bottom if wide else down),
             (across if wide else left, top if wide else down, right, bottom)]  # fmt: skip
    given = {f.name: getattr(example, f.name) for f in dataclasses.fields(example)}
    return [CorrectedField(**{**given, "area_px": area}) for area in areas]


# Encoders and heads


def _head(member: LiteFCN) -> LiteFCN:
    """The network behind its encoder: it takes the encoder's maps."""
    if not isinstance(member, LiteFCN):
        raise UnusableModel("Only versions with a small encoder can be retrained from corrected fields.")
    head = copy.copy(member)
    head._modules = {**member._modules, "encoder": nn.Identity()}
    return copy.deepcopy(head).requires_grad_(True)


def _see(member: LiteFCN, images: torch.Tensor) -> Features:
    """UInt8[N, 3, H, W] -> what the encoder makes of it."""
    with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16):
        maps = member.encoder(images.float().contiguous(memory_format=torch.channels_last))
    return [m.to(torch.bfloat16).contiguous(memory_format=torch.channels_last) for m in maps]


def _answer(head: nn.Module, features: Features) -> torch.Tensor:
    """Logits Float32[N, 2, h, w]."""
    with torch.autocast(features[0].device.type, torch.bfloat16):
        return cast(torch.Tensor, head(features)).float()


@torch.no_grad()
def _whole(head: nn.Module, features: Features, tissue: Tissue, stride: int) -> Float32:
    """The probabilities on a whole field, from its features."""
    logits = _answer(head, features)[0]
    height, width = tissue.pixels.shape[:2]
    return without_margin(torch.sigmoid(logits[1] - logits[0]).numpy(), stride, (height, width))


def _pixel_px(example: Example, tissue: Tissue) -> tuple[float, float]:
    """(width, height) of a pixel at the network's scale, in pixels of the original image."""
    height, width = tissue.pixels.shape[:2]
    return example.field.width_px / width, example.field.height_px / height


@dataclass(eq=False)
class _Track:
    """One head in training: the crops it learns from, and the fields that judge it."""

    crops: Ints
    judges: list[int]
    head: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer


@dataclass(eq=False)
class _Member:
    """What one network makes of all fields: crops of those it learns from, and the whole of those that judge.

    answers: Float32[N, 2, h, w], log-probabilities of the old version. even: Float32[N, 1, 1], the logit at which the
    loss sees even odds.
    """

    head: LiteFCN
    features: Features
    labels: torch.Tensor
    answers: torch.Tensor
    even: torch.Tensor
    whole: dict[int, Features]
    old: dict[int, Float32]


class _Run:
    """One retraining: what it learns from, how far it is."""

    def __init__(
        self, base: Model, fields: Sequence[Example], learning: int, config: RetrainConfig,
        progress: Callable[[Progress], None], checkpoint: Path | None, cancelled: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.base, self.fields, self.learning, self.config = base, list(fields), learning, config
        self.progress, self.checkpoint, self.cancelled = progress, checkpoint, cancelled
        self.tissues = reviewed_tissues(self.fields, base.card.um_per_px)
        self.splits = self._splits()
        self.per_field = max(1, min(config.crops_per_field, config.most_crops // learning))
        self.started, self.first = time.perf_counter(), 0

    def _splits(self) -> list[tuple[list[int], list[int]]]:
        """(fields to learn from, fields to judge by) of every head; their mean is kept."""
        everything, extra = list(range(self.learning)), list(range(self.learning, len(self.fields)))
        if extra:
            return [(everything, extra)]
        slides = sorted({e.slide for e in self.fields})
        units = [e.slide for e in self.fields] if len(slides) >= self.config.folds else everything
        count = min(self.config.folds, len(set(units)))
        part = {unit: i % count for i, unit in enumerate(dict.fromkeys(units))}
        held = [[i for i in everything if part[units[i]] == fold] for fold in range(count)]
        return [([i for i in everything if i not in out], out) for out in held]

    def stop_if_cancelled(self) -> None:
        if self.cancelled():
            raise Cancelled("The run was cancelled; the active version is as it was.")

    # One network

    def teach(self, index: int, member: LiteFCN) -> dict[str, Any]:
        """Train the head of one network; returns its weights, the step kept, and its maps of the judging fields."""
        data = self._look(index, member)
        tracks = [self._track(data, *split) for split in self.splits]
        start, best = self._resume(index, tracks)
        for step in range(start + 1, self.config.steps + 1):
            self.stop_if_cancelled()
            losses = [self._step(data, track, index, step) for track in tracks]
            if not all(math.isfinite(loss) for loss in losses):
                raise ConcentricError(
                    f"The loss stopped being a number at step {step}; please lower the learning rate."
                )
            last, f1 = step == self.config.steps, None
            if last or step % self.config.validate_every == 0:
                best, f1 = self._judge(data, tracks, step, best)
                self._keep(index, step, tracks, best)
            self._tell(index, step, float(np.mean(losses)), f1)
            if best is not None and step - best["step"] >= self.config.patience * self.config.validate_every:
                break
        assert best is not None, "the last step is judged"
        return best

    def _look(self, index: int, member: LiteFCN) -> _Member:
        """Everything the frozen encoder is needed for."""
        member = member.to(memory_format=torch.channels_last).eval()
        head = _head(member)
        judging = {i for _, judges in self.splits for i in judges}
        whole, old, crops = {}, {}, []
        for i, tissue in enumerate(self.tissues):
            self.stop_if_cancelled()
            features = _see(member, torch.from_numpy(pad(tissue.pixels)).permute(2, 0, 1)[None])
            old[i] = _whole(head, features, tissue, member.stride)
            if i < self.learning:
                self._mine(old[i], tissue)
                crops.append(self._crops(member, tissue, index * len(self.tissues) + i))
            if i in judging:
                whole[i] = features
        seen = zip(*(features for features, _ in crops), strict=True)
        features = [torch.cat(maps).contiguous(memory_format=torch.channels_last) for maps in seen]
        with torch.no_grad():
            answers = F.log_softmax(torch.cat([_answer(head, part) for part in _parts(features)]), 1)
        labels = torch.cat([labels for _, labels in crops])
        return _Member(head, features, labels, answers, self._even(old), whole, old)

    def _even(self, old: dict[int, Float32]) -> torch.Tensor:
        """Where the loss has its boundary in the crops of each field.

        The old threshold lies at a high logit; learned from an even one, all scores would sink, and with them the
        slides that are not here. So the boundary is taken part of the way to the threshold.
        """
        threshold = float(logit(np.full(1, self.base.card.raw_threshold, np.float32))[0])
        even = []
        for i in range(self.learning):
            values = old[i]
            there = ProbabilityMap(values, self.cell_px(i), self.fields[i].um_per_px)
            shift = np.median(logit(calibrate(there, self.base.card.calibration).values) - logit(values))
            even += [self.config.boundary * (threshold - float(shift))] * self.per_field
        return torch.tensor(even).view(-1, 1, 1)

    def _mine(self, values: Float32, tissue: Tissue) -> None:
        """The false detections of the old version become hard negatives."""
        blobs = dataclasses.replace(self.base.card.blobs, min_area_um2=0.0, min_score=_MINED_SCORE)
        um_per_px = self.base.card.um_per_px
        stride = float(self.base.card.stride)
        found = find_blobs(ProbabilityMap(values, (stride, stride), um_per_px), blobs)
        extra = match(found.xy_px, tissue.mitoses_xy_px, _MATCH_UM / um_per_px, found.score).extra
        inside_px = np.clip(found.xy_px[extra], 0, np.array(tissue.pixels.shape[1::-1]) - 1).astype(np.float32)
        tissue.hard_xy_px = _vouched(inside_px, tissue)

    def _crops(self, member: LiteFCN, tissue: Tissue, number: int) -> tuple[Features, torch.Tensor]:
        crops = Crops([tissue], self.config.for_crops(self.base.card.um_per_px), member.stride, self.per_field,
                      offset=number * self.per_field)  # fmt: skip
        features, labels = [], []
        for start in range(0, self.per_field, _AT_ONCE):
            self.stop_if_cancelled()
            items = [crops[i] for i in range(start, min(self.per_field, start + _AT_ONCE))]
            features.append(_see(member, torch.stack([image for image, _ in items])))
            labels.append(torch.stack([label for _, label in items]))
        return [torch.cat(maps) for maps in zip(*features, strict=True)], torch.cat(labels)

    def _track(self, data: _Member, learns: list[int], judges: list[int]) -> _Track:
        rows = np.concatenate([np.arange(i * self.per_field, (i + 1) * self.per_field) for i in learns])
        head = copy.deepcopy(data.head).train()
        optimiser = torch.optim.AdamW(head.parameters(), lr=self.config.lr, weight_decay=0.0)
        return _Track(rows, judges, head, copy.deepcopy(data.head), optimiser)

    def _step(self, data: _Member, track: _Track, index: int, step: int) -> float:
        """One optimiser step at the learning rate of one cosine cycle; returns the loss."""
        config = self.config
        phase = min(1.0, step / _WARMUP) * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        for group in track.optimiser.param_groups:
            group["lr"] = config.lr * max(phase, 0.02)
        drawn = np.random.default_rng((config.seed, index, step)).integers(2**31, size=config.batch)
        rows = torch.from_numpy(track.crops[drawn % len(track.crops)])
        labels = data.labels[rows]
        logits = _answer(
            track.head, [maps[rows].contiguous(memory_format=torch.channels_last) for maps in data.features]
        )
        background, mitosis = logits.unbind(1)
        from_even = torch.stack([background, mitosis - data.even[rows]], 1)
        loss = concentric_loss(from_even, labels, config.mitosis_weight)
        old = F.kl_div(F.log_softmax(logits, 1), data.answers[rows], log_target=True, reduction="none").sum(1)
        loss = loss + config.distil * (old * (labels == 0)).mean()
        track.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(track.head.parameters(), 1.0)
        track.optimiser.step()
        _towards(track.average, track.head, 1 - min(config.average, (1 + step) / (10 + step)))
        return float(loss.detach())

    def _blended(self, data: _Member, track: _Track) -> nn.Module:
        head = copy.deepcopy(data.head)
        _towards(head, track.average, self.config.blend)
        return head

    def _judge(
        self, data: _Member, tracks: list[_Track], step: int, best: dict[str, Any] | None
    ) -> tuple[dict[str, Any], float]:
        """The better of `best` and this step, and the F1 of this step."""
        heads = [self._blended(data, track) for track in tracks]
        stride = self.base.card.stride
        values = {i: _whole(head, data.whole[i], self.tissues[i], stride)
                  for head, track in zip(heads, tracks, strict=True) for i in track.judges}  # fmt: skip
        maps = {i: ProbabilityMap(v, self.cell_px(i), self.fields[i].um_per_px) for i, v in values.items()}
        curve = threshold_curve(self.scored(maps), RADIUS_UM)
        ap = curve.average_precision or 0.0
        if best is None or ap >= best["ap"]:
            best = {"step": step, "ap": ap, "head": _mean(heads).state_dict(), "maps": _logits(values),
                    "old maps": _logits({i: data.old[i] for i in values})}  # fmt: skip
        return best, float(curve.f1.max(initial=0.0))

    def scored(self, maps: dict[int, ProbabilityMap]) -> list[ScoredField]:
        """Detections beside the truth, both only where somebody has looked and was sure."""
        rows = []
        for i, found_map in sorted(maps.items()):
            example, tissue = self.fields[i], self.tissues[i]
            found = inside(
                find_blobs(calibrate(found_map, self.base.card.calibration), self.base.card.blobs), example.field
            )
            pixel_px = _pixel_px(example, tissue)
            keep = _vouched_for(to_resampled_px(found.xy_px, pixel_px), tissue)
            kept = Detections(found.xy_px[keep], found.score[keep], found.area_um2[keep])
            true = example.mitoses_xy_px.reshape(-1, 2)
            true = true[_vouched_for(to_resampled_px(true, pixel_px), tissue)]
            rows.append(ScoredField(example.field.name, example.slide, kept, true, example.um_per_px))
        return rows

    def cell_px(self, i: int) -> tuple[float, float]:
        """(width, height) of a cell of the map of field i."""
        width, height = _pixel_px(self.fields[i], self.tissues[i])
        return self.base.card.stride * width, self.base.card.stride * height

    # How far it is

    def _tell(self, index: int, step: int, loss: float, f1: float | None) -> None:
        members, steps = self.base.card.members, self.config.steps
        done = index * steps + step
        speed = (time.perf_counter() - self.started) / max(1, done - self.first)
        epoch = step * self.config.batch // (self.learning * self.per_field)
        self.progress(Progress(done, members * steps, epoch, loss, f1, speed * (members * steps - done)))

    def identity(self) -> str:
        """What a checkpoint must have been made from to be taken up."""
        parts = [self.base.card.weights_sha256, digest(self.fields), self.learning, dataclasses.asdict(self.config)]
        ignored = [None if t.ignored is None else hashlib.sha256(t.ignored.tobytes()).hexdigest() for t in self.tissues]
        return hashlib.sha256(json.dumps([*parts, ignored]).encode()).hexdigest()

    def _read(self) -> dict[str, Any]:
        if self.checkpoint is None or not self.checkpoint.exists():
            return {}
        parts = cast(dict[str, Any], torch.load(self.checkpoint, weights_only=True))
        return parts if parts["identity"] == self.identity() else {}

    def taken_up(self) -> list[dict[str, Any]]:
        """The networks that a run that was cut has finished."""
        done = cast(list[dict[str, Any]], self._read().get("done", []))
        self.done = list(done)
        self.first = len(done) * self.config.steps
        return done

    def _resume(self, index: int, tracks: list[_Track]) -> tuple[int, dict[str, Any] | None]:
        """The step to go on after, and the best so far; the tracks as they were then."""
        parts = self._read()
        if parts.get("index") != index:
            return 0, None
        for track, kept in zip(tracks, parts["tracks"], strict=True):
            for name in ("head", "average", "optimiser"):
                getattr(track, name).load_state_dict(kept[name])
        self.first = index * self.config.steps + parts["step"]
        return parts["step"], parts["best"]

    def _keep(self, index: int, step: int, tracks: list[_Track], best: dict[str, Any]) -> None:
        kept = [{name: getattr(t, name).state_dict() for name in ("head", "average", "optimiser")} for t in tracks]
        self._write({"done": self.done, "index": index, "step": step, "tracks": kept, "best": best})

    def save(self, done: list[dict[str, Any]]) -> None:
        self.done = list(done)
        self._write({"done": self.done})

    def _write(self, parts: dict[str, Any]) -> None:
        """Written beside and renamed, so that a crash leaves the previous checkpoint whole."""
        if self.checkpoint is None:
            return
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        beside = self.checkpoint.with_suffix(".part")
        torch.save({"identity": self.identity(), **parts}, beside)
        os.replace(beside, self.checkpoint)


def _logits(values: dict[int, Float32]) -> dict[int, torch.Tensor]:
    """Maps as they are kept: the logits, in half precision."""
    return {i: torch.from_numpy(logit(v).astype(np.float16)) for i, v in values.items()}


def _parts(features: Features) -> Iterator[Features]:
    """The same features, a few crops at a time."""
    return (list(part) for part in zip(*(torch.split(maps, _AT_ONCE) for maps in features), strict=True))


@torch.no_grad()
def _towards(weights: nn.Module, aim: nn.Module, share: float) -> None:
    for kept, new in zip(weights.parameters(), aim.parameters(), strict=True):
        kept.lerp_(new, share)


@torch.no_grad()
def _mean(heads: Sequence[nn.Module]) -> nn.Module:
    """The head in the middle of several that began as one."""
    mean = copy.deepcopy(heads[0])
    for kept, *others in zip(mean.parameters(), *(head.parameters() for head in heads[1:]), strict=True):
        kept.copy_(torch.stack([kept, *others]).mean(0))
    return mean


# The version


def _threshold(run: _Run, done: Sequence[dict[str, Any]]) -> tuple[float, dict[str, Any]]:
    """The raw threshold of the new version, and its scores on the fields that judged it.

    It begins where the new version finds as many figures as the old one did, so that a change of scale, which other
    slides share, does no harm; and goes, on the scale of logits, the nearer to the best one on these fields the
    more mitoses they hold.
    """
    scored = run.scored(_together(run, [result["maps"] for result in done]))
    before = run.scored(_together(run, [result["old maps"] for result in done]))
    same, mitoses = _as_many(scored, before, run.base.card.raw_threshold), sum(len(f.true_xy_px) for f in scored)
    curve = threshold_curve(scored, RADIUS_UM)
    if not curve.tp.any():
        return same, {}
    trust = mitoses / (mitoses + run.config.trust)
    low, high = logit(np.array([same, steady_threshold(scored)], np.float32))
    at = float(probability(np.array([low + trust * (high - low)], np.float32))[0])
    scores = curve.at(at)
    note = "step and threshold were chosen on these fields, so this flatters"
    return at, {"f1": scores.f1, "precision": scores.precision, "recall": scores.recall, "radius_um": RADIUS_UM,
                "note": note}  # fmt: skip


def _as_many(scored: Sequence[ScoredField], before: Sequence[ScoredField], threshold: float) -> float:
    """The threshold at which `scored` has as many detections as `before` has at `threshold`."""
    count = sum(len(f.detections.above(threshold)) for f in before)
    scores = np.sort(np.concatenate([f.detections.score for f in scored]))[::-1]
    if not 0 < count < len(scores):
        return threshold
    return float(probability(logit(scores[count - 1 : count + 1]).mean(keepdims=True))[0])


def _together(run: _Run, by_member: Sequence[dict[int, torch.Tensor]]) -> dict[int, ProbabilityMap]:
    """The maps of several networks as one: the mean of their logits, as mitosis_core.methods.ensemble has it."""
    maps = {}
    for i in by_member[0]:
        mean = np.mean([logits[i].float().numpy() for logits in by_member], axis=0)
        maps[i] = ProbabilityMap(probability(mean), run.cell_px(i), run.fields[i].um_per_px)
    return maps


def _card(
    run: _Run,
    examples: Sequence[Example],
    version: str,
    threshold: float,
    scores: dict[str, Any],
    done: Sequence[dict[str, Any]],
) -> ModelCard:
    """The card of the old version with what has changed."""
    judges = run.fields[run.learning :]
    data = {
        "sha256": digest(list(examples)),
        "fields": len(examples),
        "slides": sorted({e.slide for e in examples}),
        "mitoses": sum(len(e.mitoses_xy_px) for e in examples),
        "before": run.base.card.data,
    }
    return dataclasses.replace(
        run.base.card,
        version=version,
        parent=run.base.version,
        raw_threshold=round(threshold, 4),
        weights_sha256="",
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        data=data,
        split={"validation": sorted({e.slide for e in judges}), "unit": "slide"} if judges else {"held out": "in turn"},
        training={"recipe": "heads", **dataclasses.asdict(run.config), "steps kept": [r["step"] for r in done]},
        scores={"validation": scores} if scores else {},
    )
