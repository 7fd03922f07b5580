"""Reviews kept in memory by the rules of the real ones, and a server that can be told to fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from db.ops import parse_op
from mitosis_core.errors import ConcentricError

SIZE = 1024
SCORES = (0.95, 0.90, 0.85, 0.80, 0.45)  # of the proposals on every field
DECIDED = {"mitosis", "lookalike", "unsure"}


@dataclass
class Review:
    """What one reader has said about one field."""

    ops: list[dict[str, Any]] = field(default_factory=list)  # in the order they were stored, each with its rev
    marks: dict[str, dict[str, Any]] = field(default_factory=dict)  # standing marks
    state: str = "unseen"
    area: list[float] | None = None
    seconds: float = 0.0

    @property
    def rev(self) -> int:
        return self.ops[-1]["rev"] if self.ops else 0


class Reviews:
    """mode: "" as it should be, or how it fails: busy, page, expired, forbidden; broken (page): by look-alikes."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, str], Review] = {}
        self.mode: dict[str, str] = {}
        self.frozen: dict[str, Review] = {}
        self._lock = Lock()
        self._rev = 0

    def review(self, user: str, name: str) -> Review:
        return self.of.setdefault((user, name), Review())

    def apply(self, user: str, name: str, ops: list[dict[str, Any]]) -> dict[str, Any]:
        answer: dict[str, Any] = {"done": [], "superseded": [], "refused": [], "missed": False}
        with self._lock:
            review = self.review(user, name)
            least = min(op["base"] for op in ops)
            client = ops[0]["client"]
            answer["missed"] = any(one["rev"] > least and one["client"] != client for one in review.ops)
            for op in ops:
                self._one(review, op, answer)
            return {**answer, "rev": review.rev}

    def _one(self, review: Review, op: dict[str, Any], answer: dict[str, Any]) -> None:
        if any(one["op_id"] == op["op_id"] for one in review.ops):
            answer["done"].append(op["op_id"])
            return
        try:
            parse_op(op)
        except ConcentricError as error:
            answer["refused"].append({"op_id": op["op_id"], "why": str(error)})
            return
        subject = op.get("id", op["kind"])
        late = op["kind"] != "time" and any(
            one["subject"] == subject and one["client"] != op["client"] and one["rev"] > op["base"] and not one["late"]
            for one in review.ops
        )
        self._rev += 1
        review.ops.append({**op, "subject": subject, "rev": self._rev, "late": late})
        answer["superseded" if late else "done"].append(op["op_id"])
        if not late:
            _play(review, op)


def _play(review: Review, op: dict[str, Any]) -> None:
    kind = op["kind"]
    if kind == "state":
        review.state = op["state"]
    elif kind == "area":
        review.area = op["area"]
    elif kind == "time":
        review.seconds += op["seconds"]
    elif kind == "delete":
        review.marks.pop(op["id"], None)
    else:
        review.marks[op["id"]] = {key: op[key] for key in ("id", "x", "y", "cls")}


REVIEWS = Reviews()


def points(user: str, name: str, many: int, blind: bool) -> list[dict[str, Any]]:
    """Own marks, open proposals, and one mark of another reader, as the viewer takes them."""
    marks = REVIEWS.review(user, name).marks
    scores = [max(0.5, 0.99 - place / 1000) for place in range(many)] if many else SCORES
    shown = []
    for place, score in enumerate(scores):
        row, column = divmod(place, 25)
        at = {"x": 40.0 * column + 30, "y": 45.0 * row + 30} if many else {"x": 200.0 + 150 * place, "y": 300.0}
        origin = {"id": f"p1-{place}", **at, "cls": "mitosis", "src": "model", "score": score, "by": None}
        mark = marks.get(origin["id"])
        if mark or not blind:
            shown.append({**origin, **(mark or {}), "decided": bool(mark)})
    own = [mark for mark in marks.values() if not mark["id"].startswith("p1-")]
    shown += [{**mark, "src": "reader", "score": None, "decided": True, "by": None} for mark in own]
    if not many:
        other = {"id": "p1-0", "x": 204.0, "y": 700.0, "cls": "lookalike", "src": "model", "score": 0.95}
        shown.append({**other, "decided": True, "by": "Bob"})
    return shown


# ---- routes

PAGE = "<!doctype html><title>Concentric</title>"


async def post_ops(request: Request) -> Response:
    """The token is the user's name."""
    user = request.headers.get("x-concentric-token", "")
    failures: dict[str, Response] = {
        "busy": JSONResponse({"error": "The database is busy."}, 503),
        "page": HTMLResponse(PAGE),
        "expired": JSONResponse({"error": "Please reload the page."}, 401),
        "forbidden": JSONResponse({"error": "This field is not yours."}, 403),
        "broken": JSONResponse({"error": "Something unexpected happened."}, 500),
        "broken page": PlainTextResponse("Internal Server Error", 500),
    }
    sent, mode = await request.json(), REVIEWS.mode.get(user, "")
    if mode and ("broken" not in mode or any(op.get("cls") == "lookalike" for op in sent["ops"])):
        return failures[mode]
    return JSONResponse(REVIEWS.apply(user, sent["field"], sent["ops"]))


async def get_review(request: Request) -> Response:
    """What a test looks at: one reader's review of one field."""
    review = REVIEWS.review(request.query_params["user"], request.query_params["field"])
    return JSONResponse({**vars(review), "rev": review.rev})


async def post_mode(request: Request) -> Response:
    REVIEWS.mode[request.query_params["user"]] = request.query_params["mode"]
    return JSONResponse({})


ROUTES = [
    Route("/api/ops", post_ops, methods=["POST"]),
    Route("/test/review", get_review, methods=["GET"]),
    Route("/test/mode", post_mode, methods=["POST"]),
]
