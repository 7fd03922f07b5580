"""Where the home page sends files: one after the other, each stored and waiting for detection before it is answered.

It does not pass through Streamlit's uploader, whose files are lost with the page that holds them.
"""

from __future__ import annotations

import logging
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from streamlit import config

from db.incoming_files import refuse_file
from mitosis_core.image.whole_slide import whole_slide_advice
from pages.shared.access import Role, login, proxied_name, proxy_header, role_of
from pages.shared.service.importing import ImportedFile, receive_file, too_large
from pages.shared.store import the_store
from pages.shared.viewer.routes import Json, Refused, check_token, in_words
from pages.shared.viewer.tokens import sign

log = logging.getLogger("concentric")

_SUBJECT = "files"
_LONGEST_NAME = 1000


def files_token(user: str) -> str:
    """Lets a page send files in the name of a user, "" where nobody logs in."""
    return sign(_SUBJECT, user)


def largest_file_mb() -> int:
    """Megabytes that one file may have: the limit of every upload of this server."""
    return int(config.get_option("server.maxUploadSize"))


async def post_file(request: Request) -> Response:
    """Store one file: its bytes are the body, ?name=, and ?case= or ?unnamed=1 if wanted.

    Answers {name, case, field, problem, known}, 200 also where `problem` says what is wrong with the file; or {error}.
    A whole slide, or a file that is too large (?size= in bytes says so), is sent without a body and listed with what
    to do.
    """
    try:
        user = await check_token(request, request.headers.get("x-concentric-token", ""), _SUBJECT)
        if login() == "proxy" and proxied_name(request.headers.get(proxy_header(), "")) != user:
            raise Refused(403, "The token is somebody else's.")
        asked = request.query_params
        name, case = asked.get("name", "")[-_LONGEST_NAME:], asked.get("case")
        if not name:
            raise Refused(400, "The file has no name.")
        data = await _body(request)
        one = await run_in_threadpool(
            in_words, _receive, user, name, data, _number(asked.get("size")), case, "unnamed" not in asked
        )
    except Refused as refused:
        log.warning("a file was refused (%d): %s", refused.status, refused.sentence)
        return Json({"error": refused.sentence}, refused.status, refused.headers)
    return Json(_answer(one), headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})


def _receive(user: str, name: str, data: bytes, size: int, case: str | None, keep_names: bool) -> ImportedFile:
    if role_of(user) < Role.REVIEWER:
        raise Refused(403, "You may look at fields, but not add any.")
    store = the_store()
    if data or not size:
        return receive_file(store, name, data, user=user, case=case, keep_names=keep_names)
    problem = whole_slide_advice(name) or too_large(name, size, largest_file_mb() * 1_000_000)
    refuse_file(store, name, problem, by=user)
    return ImportedFile(name, case or "", problem=problem)


async def _body(request: Request) -> bytes:
    most, body = largest_file_mb() * 1_000_000, bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise Refused(413, f"A file may have {largest_file_mb()} MB.")
    except ClientDisconnect as error:
        raise Refused(400, "The file did not arrive whole.") from error
    return bytes(body)


def _answer(one: ImportedFile) -> dict[str, Any]:
    return {
        "name": one.name,
        "case": one.case,
        "field": one.field_id,
        "problem": one.problem,
        "known": one.was_there,
    }


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else 0


FILE_ROUTES = [Route("/api/files", post_file, methods=["POST"])]
