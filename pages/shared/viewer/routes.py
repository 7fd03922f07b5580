"""What the viewer fetches and saves over HTTP, past Streamlit's reruns: pictures of fields, changes to reviews."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from db.errors import FieldGone, ImageDamaged, StoreFailed
from db.reviews import Applied, BadOp, apply_ops, parse_op
from mitosis_core.errors import ConcentricError
from mitosis_core.logs import alias
from pages.shared.access import Role, login, proxied_name, proxy_header, role_of
from pages.shared.guard import fetched_elsewhere, from_elsewhere
from pages.shared.operation.metrics import CHANGES
from pages.shared.store import the_store
from pages.shared.viewer.crops import parse_crop, publish_crop
from pages.shared.viewer.images import IMAGES, MEDIA_TYPES, publish_stored
from pages.shared.viewer.tokens import NoToken, WrongToken, check, sign

log = logging.getLogger("concentric")

MAX_BODY = 512 * 1024  # of one request with changes; the viewer sends far less
_MAX_OPS = 1000
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}
# The name holds the digest of the content, so a browser need never ask again.
_KEEP = {"Cache-Control": "private, max-age=31536000, immutable"}


class Refused(Exception):
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence

    @property
    def headers(self) -> dict[str, str]:
        """What the answer carries besides its sentence."""
        later = {"Retry-After": "5"} if self.status == 503 else {}
        return {**_HEADERS, **later, "Cache-Control": "no-store"}


class Json(JSONResponse):
    """JSON in ASCII: an answer can name whatever a request has sent, half of a character too."""

    def render(self, content: Any) -> bytes:
        """The content as JSON, whatever text is in it."""
        return json.dumps(content, allow_nan=False).encode("ascii")


def image_url(name: str, user: str) -> str:
    """The signed address of a published picture."""
    return f"/api/images/{name}?t={sign(name, user)}"


def crops_address(digest: str, user: str) -> dict[str, str]:
    """Where the crops of a stored field are, and the token for all of them: {url}/{X}-{Y}-{SIDE}.jpg?t={token}."""
    return {"url": f"/api/crops/{digest}", "token": sign(f"crops of {digest}", user)}


def ops_token(field_id: int, reader: str) -> str:
    """Lets a page change the review of one field in the name of one reader."""
    return sign(f"review of field {field_id}", reader)


async def get_image(request: Request) -> Response:
    """Answer with a published picture, for a page that holds its signed address."""
    name = request.path_params["name"]
    try:
        await check_token(request, request.query_params.get("t", ""), name)
        # A field of the store is encoded when a browser first asks: pages name it without opening it.
        data = IMAGES.get(name) or await run_in_threadpool(in_words, publish_stored, name)
        if data is None:
            raise Refused(404, "This picture is no longer kept; please reload the page.")
    except Refused as refused:
        return PlainTextResponse(refused.sentence, refused.status, refused.headers)
    return Response(data, media_type=MEDIA_TYPES[name.rpartition(".")[2]], headers={**_HEADERS, **_KEEP})


async def get_crop(request: Request) -> Response:
    """Answer with a square of a stored field, for a page that holds the token of this field's crops."""
    digest = request.path_params["digest"]
    try:
        await check_token(request, request.query_params.get("t", ""), f"crops of {digest}")
        crop = parse_crop(request.path_params["name"])
        data = await run_in_threadpool(in_words, publish_crop, digest, crop) if crop else None
        if data is None:
            raise Refused(404, "There is no such crop.")
    except Refused as refused:
        return PlainTextResponse(refused.sentence, refused.status, refused.headers)
    return Response(data, media_type=MEDIA_TYPES["jpg"], headers={**_HEADERS, **_KEEP})


async def post_ops(request: Request) -> Response:
    """Store changes to one review: {field, ops} -> {done, superseded, refused, rev, missed}, else {error}.

    409, with all of these, when changes were refused because the field is finished and was not reopened.
    """
    try:
        body = await _read(request)
        field_id = _field_id(body)
        reader = await check_token(
            request, request.headers.get("x-concentric-token", ""), f"review of field {field_id}"
        )
        if login() == "proxy" and proxied_name(request.headers.get(proxy_header(), "")) != reader:
            raise Refused(403, "The token is somebody else's.")
        answer = await run_in_threadpool(in_words, _apply, field_id, reader, body["ops"])
    except Refused as refused:
        where = request.client.host if request.client else "?"
        log.warning("changes from %s refused (%d): %s", where, refused.status, refused.sentence)
        return Json({"error": refused.sentence}, refused.status, refused.headers)
    return Json(answer, 409 if "error" in answer else 200, {**_HEADERS, "Cache-Control": "no-store"})


async def check_token(request: Request, token: str, subject: str) -> str:
    """The user a token was made for; raises Refused."""
    if from_elsewhere(request.headers) or fetched_elsewhere(request.headers):
        raise Refused(403, "Another site may not use this.")
    try:
        return str(await run_in_threadpool(in_words, check, token, subject))  # the key may have to be waited for
    except NoToken as error:
        raise Refused(401, "The page is too old; please reload it.") from error
    except WrongToken as error:
        raise Refused(403, "The token is not for this.") from error


def in_words(work: Callable[..., Any], *given: Any) -> Any:
    """What work(*given) gives; what is wrong with the store or the request becomes Refused."""
    try:
        return work(*given)
    except (Refused, NoToken, WrongToken):
        raise
    except (FieldGone, ImageDamaged) as error:  # asking again does not help
        raise Refused(404, str(error)) from error
    except StoreFailed as error:  # it may be mended, so browsers ask again
        raise Refused(503, str(error)) from error
    except ConcentricError as error:
        raise Refused(400, str(error)) from error
    except Exception as error:
        log.exception("a request failed")
        raise Refused(500, "Something unexpected happened; it is written in the log.") from error


async def _read(request: Request) -> dict[str, Any]:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused(400, "Changes are sent as JSON.")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise Refused(413, "Too many changes at once.")
        sent = json.loads(body)
    except (ClientDisconnect, ValueError, RecursionError) as error:
        raise Refused(400, "The changes cannot be read.") from error
    if not isinstance(sent, dict) or set(sent) != {"field", "ops"} or not isinstance(sent["ops"], list):
        raise Refused(400, "The changes cannot be read.")
    if len(sent["ops"]) > _MAX_OPS:
        raise Refused(413, "Too many changes at once.")
    return sent


def _field_id(body: dict[str, Any]) -> int:
    field = body["field"]
    if not (isinstance(field, str) and field.isascii() and field.isdigit() and len(field) < 16):
        raise Refused(400, "The changes name no field.")
    return int(field)


def _apply(field_id: int, reader: str, sent: list[Any]) -> dict[str, Any]:
    if role_of(reader) < Role.REVIEWER:
        raise Refused(403, "You may look at reviews, but not change them.")
    ops, bad = [], []
    for one in sent:
        try:
            if isinstance(one, dict) and one.get("field") != str(field_id):
                raise BadOp("This change is for another field.")
            ops.append(parse_op(one))
        except BadOp as error:
            op_id = one.get("op_id") if isinstance(one, dict) else None
            if not isinstance(op_id, str):
                raise Refused(400, str(error)) from error
            bad.append((op_id, str(error)))
    applied = apply_ops(the_store(), field_id, reader, ops)
    refused = [*applied.refused, *bad]
    for op_id, why in refused:
        log.warning("change %s of %s on field %d refused: %s", alias(op_id), alias(reader), field_id, why)
    CHANGES.inc(len(applied.done))
    return _answer(applied, refused)


def _answer(applied: Applied, refused: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "done": list(applied.done),
        "superseded": list(applied.superseded),
        "refused": [{"op_id": op_id, "why": why} for op_id, why in refused],
        "rev": applied.rev,
        "missed": applied.missed,
    } | ({"error": applied.locked} if applied.locked else {})


ROUTES = [
    Route("/api/images/{name}", get_image, methods=["GET"]),
    Route("/api/crops/{digest}/{name}", get_crop, methods=["GET"]),
    Route("/api/ops", post_ops, methods=["POST"]),
]
