"""What a model card may say: a JSON schema, and the limits that such a schema cannot state.

A card comes from outside with a version. Every field is known, has its type and its bounds; a field nobody knows is
refused. What `data`, `split`, `training` and `scores` hold is free (they only tell where a version comes from), except
the few entries that are shown as numbers or lists.
"""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any, NoReturn

from mitosis_core.scale import PLAUSIBLE_UM_PER_PX

_DEEPEST = 200  # each retraining puts the data of the version before one level deeper
_LARGEST_INTEGER = 2**53  # what every reader of JSON keeps exactly

_NAME = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[^\x00-\x1f\x7f]*$"}
_CHOICE = {"type": "string", "maxLength": 200}
_TEXT = {"type": "string", "maxLength": 20_000}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_INSIDE = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
_THRESHOLD = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
_COUNT = {"type": "integer", "minimum": 0}
_FREE = {"type": "object"}


def _object(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _or_none(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


_BLOBS = _object(
    {
        "finder": {"enum": ["blobs", "peaks"]},
        "smooth_um": {"type": "number", "minimum": 0, "maximum": 50},
        "binarize": {"enum": ["otsu", "otsu-patchwise", "fixed"]},
        "threshold": _THRESHOLD,
        "threshold_low": _THRESHOLD,
        "threshold_high": _THRESHOLD,
        "patch_um": {"type": "number", "minimum": 5, "maximum": 10_000},
        "peak_distance_um": {"type": "number", "minimum": 0.1, "maximum": 100},
        "min_area_um2": {"type": "number", "minimum": 0, "maximum": 1e6},
        "max_area_um2": _or_none({"type": "number", "minimum": 0, "maximum": 1e9}),
        "min_score": _SHARE,
        "score": {"enum": ["mean", "peak"]},
        "border_um": {"type": "number", "minimum": 0, "maximum": 100},
    }
)
_CALIBRATION = _object(
    {
        "share": _INSIDE,
        "reference": {"type": "number", "minimum": -100, "maximum": 100},
        "largest_gap": _or_none({"type": "number", "minimum": 0, "maximum": 100}),
    },
    ("share", "reference"),
)
_VERIFIER = _object({"encoder": _NAME, "weight": _SHARE, "lower": _SHARE}, ("encoder", "weight", "lower"))
_DATA = {
    "type": "object",
    "properties": {
        "sha256": {"type": "string", "maxLength": 64},
        "fields": _COUNT,
        "mitoses": _COUNT,
        "patches": _COUNT,
        "slides": {"type": "array", "items": {"type": "string"}},
        "note": _TEXT,
    },
}
_SCORES = {
    "type": "object",
    "properties": {
        "validation": {
            "type": "object",
            "properties": {
                "raw_threshold_by_false_alarms_per_mm2": {
                    "type": "object",
                    "propertyNames": {"pattern": r"^[0-9]{1,4}(\.[0-9]{1,3})?\Z"},
                    "additionalProperties": _SHARE,
                }
            },
        }
    },
}
SCHEMA = _object(
    {
        "version": _NAME,
        "method": _NAME,
        "encoder": _NAME,
        "um_per_px": {"type": "number", "minimum": PLAUSIBLE_UM_PER_PX[0], "maximum": PLAUSIBLE_UM_PER_PX[1]},
        "stride": {"type": "integer", "minimum": 1, "maximum": 64},
        "members": {"type": "integer", "minimum": 1, "maximum": 20},
        "raw_threshold": _INSIDE,
        "blobs": _BLOBS,
        "calibration": _or_none(_CALIBRATION),
        "weights_sha256": {"type": "string", "pattern": r"^[0-9a-f]{64}\Z"},
        "created_at": {"type": "string", "maxLength": 40},
        "data": _DATA,
        "split": _FREE,
        "training": _FREE,
        "scores": _SCORES,
        "licence": _TEXT,
        "parent": _or_none(_NAME),
        "variant": _CHOICE,
        "verifier": _or_none(_VERIFIER),
        "stain": _CHOICE,
        "purpose": _TEXT,
    },
    (
        "version",
        "method",
        "encoder",
        "um_per_px",
        "stride",
        "members",
        "raw_threshold",
        "blobs",
        "calibration",
        "weights_sha256",
        "created_at",
    ),
)


def read_card(text: str | bytes) -> dict[str, Any]:
    """The fields of a card, every one of a type and size that it may have. Raises ValueError saying what is wrong."""
    try:
        values = json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_refuse)
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error.msg}, line {error.lineno})") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    _check_depth(values)
    from jsonschema.exceptions import best_match

    if wrong := best_match(_validator().iter_errors(values)):
        raise ValueError(_said(wrong))
    return dict(values)


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(SCHEMA)


def _said(wrong: Any) -> str:
    """A fault of the schema in words that fit into a sentence, however large the value is."""
    place, value = ".".join(str(part) for part in wrong.absolute_path) or "the card", _short(wrong.instance)
    match wrong.validator:
        case "required":
            return f"{next(name for name in wrong.validator_value if name not in wrong.instance)} is missing"
        case "additionalProperties":
            unknown = sorted(set(wrong.instance) - set(wrong.schema["properties"]))[0]
            return f"{_short(unknown)} is not known in {place}"
        case "type":
            kinds = wrong.validator_value if isinstance(wrong.validator_value, list) else [wrong.validator_value]
            return f"{place} must be {' or '.join(_KINDS[kind] for kind in kinds)}, not {value}"
        case "enum":
            return f"{place} must be one of {', '.join(wrong.validator_value)}, not {value}"
        case "pattern" if place == "weights_sha256":
            return "weights_sha256 must be 64 hexadecimal digits in lower case"
        case "pattern" | "minLength" | "maxLength":
            return f"{place} is empty, too long, or has characters that cannot be shown"
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return f"{place} must be {bounds[wrong.validator]} {wrong.validator_value:g}, not {value}"


_KINDS = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _check_depth(values: Any) -> None:
    """No deeper than can be written again, and all text such that it can be encoded."""
    level, left = 0, [values]
    while left:
        level += 1
        if level > _DEEPEST:
            raise ValueError("it is nested too deep")
        inside: list[Any] = []
        for one in left:
            if isinstance(one, dict):
                inside += [*one.keys(), *one.values()]
            elif isinstance(one, list):
                inside += one
            elif isinstance(one, str) and not _encodes(one):
                raise ValueError("it holds text that is not Unicode")
        left = inside


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integer(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > _LARGEST_INTEGER:
        raise ValueError(f"the number {digits[:20]}… is too large")
    return int(digits)


def _number(digits: str) -> float:
    if not math.isfinite(float(digits)):
        raise ValueError(f"the number {digits[:20]} is too large")
    return float(digits)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number that can be used")
