"""What an operator asks over HTTP: is it well (/api/health), and what has it done (/api/metrics)."""

from __future__ import annotations

import hmac
import os

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pages.shared.guard import fetched_elsewhere, from_this_computer
from pages.shared.operation.health import health
from pages.shared.operation.metrics import exposition

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
# What proxies add: behind one on this computer, everybody would seem to sit at this computer.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


def is_operator(request: Request) -> bool:
    """Whether somebody at this computer asks, or who knows CONCENTRIC_METRICS_TOKEN."""
    token = os.environ.get("CONCENTRIC_METRICS_TOKEN", "")
    given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if token and hmac.compare_digest(given.encode("latin-1"), token.encode()):
        return True
    return _is_here(request)


async def get_health(request: Request) -> Response:
    """200 or 503, {ok}; to operators also {sentence}."""
    now = await run_in_threadpool(health)
    said = {"ok": now.ok} | ({"sentence": now.sentence} if is_operator(request) else {})
    return JSONResponse(said, 200 if now.ok else 503, _HEADERS)


async def get_metrics(request: Request) -> Response:
    """Prometheus' text format, to operators."""
    if not is_operator(request):
        said = "Metrics are given to this computer only, or for the token of the operator."
        return PlainTextResponse(said, 403, _HEADERS)
    return Response(await run_in_threadpool(exposition), headers=_HEADERS, media_type=CONTENT_TYPE_LATEST)


def _is_here(request: Request) -> bool:
    if any(name in request.headers for name in _FORWARDED) or "origin" in request.headers:
        return False
    return not fetched_elsewhere(request.headers) and from_this_computer(request.scope)


OPERATION_ROUTES = [
    Route("/api/health", get_health, methods=["GET"]),
    Route("/api/metrics", get_metrics, methods=["GET"]),
]
