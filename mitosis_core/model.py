"""A version of a detector: weights on disk and the card that says what they are."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mitosis_core.atomic_write import atomic_write
from mitosis_core.card_schema import read_card
from mitosis_core.errors import UnusableModel
from mitosis_core.inference.blobs import BlobSettings
from mitosis_core.inference.calibration import Calibration, centre_on_threshold
from mitosis_core.weights import check_sha256

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mitosis_core.inference.verifier import Verifier
    from mitosis_core.methods.method import DetectorNet

DEFAULT_VERSION = "segmitos-accurate-6"
_SHIPPED = Path(__file__).parent / "versions"
_VERIFIER_PREFIX = "verifier."  # before the names of the weights of a second stage


@dataclass(frozen=True)
class VerifierSettings:
    """The second stage of a version: its encoder, the weight of the detector's score when the two scores are fused, and
    the lowest score of a detection that it sees."""

    encoder: str
    weight: float
    lower: float


@dataclass(frozen=True)
class ModelCard:
    """What a version is, and where it comes from: the JSON file beside the weights.

    raw_threshold, blobs and calibration belong to the version: they were chosen on its validation fields.
    What each may be is in card_schema, and checked wherever a card is read or written.
    """

    version: str
    method: str
    encoder: str
    um_per_px: float
    stride: int
    members: int
    raw_threshold: float
    blobs: BlobSettings
    calibration: Calibration | None
    weights_sha256: str
    created_at: str
    data: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    parent: str | None = None
    variant: str = ""  # of the method; "" is the published one
    verifier: VerifierSettings | None = None  # None: one stage
    stain: str = ""  # what fields are brought to, see stain.normalise; "" is the reference
    purpose: str = ""  # when to choose this version, in a sentence

    def to_json(self) -> str:
        """The text of the card's file."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelCard:
        """Raises UnusableModel when a field is missing, unknown, or not what it may be (see card_schema)."""
        try:
            values = read_card(text)
            calibration = Calibration(**values["calibration"]) if values["calibration"] else None
            verifier = VerifierSettings(**values["verifier"]) if values.get("verifier") else None
            blobs = BlobSettings.from_dict(values["blobs"])
            return cls(**{**values, "blobs": blobs, "calibration": calibration, "verifier": verifier})
        except ValueError as error:
            raise UnusableModel(f"The model card cannot be understood: {error}.") from error


@dataclass(frozen=True)
class Model:
    """A card and the safetensors file it describes."""

    card: ModelCard
    weights: Path

    def __hash__(self) -> int:  # engines are kept by model
        return hash(self.card.weights_sha256)

    @property
    def version(self) -> str:
        """Its name, as the card has it."""
        return self.card.version

    @property
    def purpose(self) -> str:
        """When to choose it, in a sentence; "" where its card says nothing."""
        return self.card.purpose

    @property
    def threshold(self) -> float:
        """The score from which a detection counts: 0.5 for every version, see calibration.centre_on_threshold."""
        return 0.5

    @property
    def score_by_false_alarms(self) -> dict[float, float]:
        """False detections per mm² of tissue without mitoses -> the lowest score to count for that, as `threshold` is;
        strictest first, empty for a version that was not measured so."""
        raw = self.card.scores.get("validation", {}).get("raw_threshold_by_false_alarms_per_mm2", {})
        known = sorted((float(per_mm2), float(at)) for per_mm2, at in raw.items())
        scores = centre_on_threshold(np.array([at for _, at in known], np.float32), self.card.raw_threshold)
        return {per_mm2: float(score) for (per_mm2, _), score in zip(known, scores, strict=True)}

    def net(self) -> DetectorNet:
        """The network with its weights, on the CPU, ready to detect. Raises UnusableModel."""
        from mitosis_core.methods import METHODS
        from mitosis_core.methods.ensemble import make_ensemble

        card = self.card
        if card.method not in METHODS:
            raise UnusableModel(f"{self.version} was made by the method “{card.method}”, which is not known here.")
        build = METHODS[card.method].build
        net = make_ensemble([build(card.encoder, False, card.variant) for _ in range(card.members)])
        if net.stride != card.stride:
            raise self._misfit(f"its network answers every {net.stride} pixels, not every {card.stride}")
        values = self._values()
        own = {name: value for name, value in values.items() if not name.startswith(_VERIFIER_PREFIX)}
        if (card.verifier is None) != (len(own) == len(values)):
            raise self._misfit("one of them has a second stage, the other has none")
        self._fill(net, own)
        return net.eval()

    def second_stage(self) -> Verifier | None:
        """The verifier of the version, on the CPU, ready; None for a version of one stage. Raises UnusableModel."""
        if self.card.verifier is None:
            return None
        from mitosis_core.encoders import build_encoder
        from mitosis_core.inference.verifier import Verifier

        net = Verifier(build_encoder(self.card.verifier.encoder, pretrained=False))
        own = {n.removeprefix(_VERIFIER_PREFIX): v for n, v in self._values().items() if n.startswith(_VERIFIER_PREFIX)}
        self._fill(net, own)
        return net.eval()

    def check(self) -> None:
        """Raises UnusableModel unless every weight has its place in the networks of the card."""
        self.net()
        self.second_stage()

    def _values(self) -> dict[str, torch.Tensor]:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return {name: value.float() for name, value in load_file(self.weights).items()}
        except SafetensorError as error:
            raise UnusableModel(f"{self.weights.name} is no file of weights (safetensors).") from error

    def _fill(self, net: nn.Module, values: dict[str, torch.Tensor]) -> None:
        try:
            net.load_state_dict(values)
        except RuntimeError as error:  # torch names every weight, hundreds of them
            raise self._misfit("they are those of another network (method, variant, encoder or members)") from error

    def _misfit(self, why: str) -> UnusableModel:
        return UnusableModel(f"The weights of {self.version} do not fit its model card: {why}.")


def list_versions() -> list[str]:
    """Names of the versions that come with the program, the default first, then the newest."""
    names = [path.stem for path in _SHIPPED.glob("*.safetensors")]
    newest = sorted(names, key=lambda name: (_created_at(name), name), reverse=True)
    return sorted(newest, key=lambda name: name != DEFAULT_VERSION)


@lru_cache
def _created_at(name: str) -> str:
    """When a version that comes with the program was made, in ISO 8601; "" where its card does not say."""
    try:
        card = json.loads((_SHIPPED / f"{name}.json").read_bytes())
    except (OSError, ValueError):
        return ""
    return str(card.get("created_at", "")) if isinstance(card, dict) else ""


@lru_cache(maxsize=8)
def load_model(version: str | Path | None = None) -> Model:
    """A version by name, or by the path of its .safetensors file with the card (.json) beside it.

    None is the default version. The weights are checked against the sha256 of the card.
    Raises UnusableModel when a file is missing, damaged or not what the card says.
    """
    named = _SHIPPED / f"{version or DEFAULT_VERSION}.safetensors"
    weights = named if version is None or str(version) in list_versions() else Path(version)
    card = weights.with_suffix(".json")
    if not weights.is_file():
        known = ", ".join(list_versions()) or "none"
        raise UnusableModel(f"There is no version or file “{version or DEFAULT_VERSION}”. Versions here: {known}.")
    if not card.is_file():
        raise UnusableModel(f"The model card {card.name} is missing beside {weights.name}.")
    try:
        model = Model(ModelCard.from_json(card.read_bytes()), weights)
        check_sha256(weights, model.card.weights_sha256)
    except OSError as error:
        raise UnusableModel(f"The files of {weights.stem} cannot be read ({error.strerror or error}).") from error
    return model


def save_model(net: nn.Module, card: ModelCard, path: Path, verifier: nn.Module | None = None) -> Model:
    """Write weights (float16, safetensors) and card beside each other; the card gets the sha256 of the weights.

    verifier: the second stage, where card.verifier describes one.
    The weights are in place before the card is: a card never describes half a file.
    """
    import hashlib

    import torch
    from safetensors.torch import save_file

    values = dict(net.state_dict())
    if verifier is not None:
        values |= {_VERIFIER_PREFIX + name: value for name, value in verifier.state_dict().items()}
    with atomic_write(path.with_suffix(".json")) as card_part, atomic_write(path) as part:
        save_file({name: value.to(torch.float16).contiguous() for name, value in values.items()}, part)
        card = dataclasses.replace(card, weights_sha256=hashlib.sha256(part.read_bytes()).hexdigest())
        card = ModelCard.from_json(card.to_json())  # none is written that could not be read
        card_part.write_text(card.to_json(), encoding="utf-8")
    load_model.cache_clear()
    return Model(card, path)
