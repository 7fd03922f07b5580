"""Concentric's core: fields in, mitoses out. Importing it is cheap; the parts load when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mitosis_core.image.reading import read_field
    from mitosis_core.model import Model, list_versions, load_model
    from mitosis_core.prediction import describe_device, predict
    from mitosis_core.types import Detections, Field, Prediction, ProbabilityMap

__version__ = "0.2.0.dev0"

_HOME = {
    "Detections": "types",
    "Field": "types",
    "Model": "model",
    "Prediction": "types",
    "ProbabilityMap": "types",
    "describe_device": "prediction",
    "list_versions": "model",
    "load_model": "model",
    "predict": "prediction",
    "read_field": "image.reading",
}

__all__ = [
    "Detections",
    "Field",
    "Model",
    "Prediction",
    "ProbabilityMap",
    "describe_device",
    "list_versions",
    "load_model",
    "predict",
    "read_field",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"mitosis_core.{_HOME[name]}"), name)
