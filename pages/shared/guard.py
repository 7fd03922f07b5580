"""Checks on every request: allowed hosts and origins, the person a proxy names, the security headers for browsers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import sys
from ipaddress import ip_address
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config, file_util

from mitosis_core.errors import ConcentricError
from pages.shared import access

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_PROXY_SECRET = "x-concentric-proxy-secret"


def _inline_scripts() -> str:
    """The scripts in Streamlit's own page, by their sha256, as a policy names them."""
    page = (Path(file_util.get_static_dir()) / "index.html").read_text(encoding="utf-8")
    digests = (hashlib.sha256(text.encode()).digest() for text in re.findall(r"<script>(.*?)</script>", page, re.S))
    return "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


# What Streamlit cannot do without: styles written by its scripts, the viewer's own module as a blob.
POLICY = "; ".join(
    [
        "default-src 'self'",
        f"script-src 'self' blob:{_inline_scripts()}",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """ASGI middleware over every route, page and websocket, Streamlit's own too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            refused = _refusal(scope)
        except ConcentricError as error:  # refuse everybody while the access rules cannot be read
            refused = 503, str(error)
        if refused is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refused[1]})
        else:
            await PlainTextResponse(refused[1], refused[0])(scope, receive, _with_headers(send))


# For monitoring, which has no log-in: they tell outsiders no more than whether all is well.
OPEN_PATHS = frozenset({"/api/health", "/api/metrics"})
MIDDLEWARE = [Middleware(Guard)]


def refuse_to_start_unsafely() -> None:
    """End the process with a sentence when the settings would allow unauthenticated access."""
    try:
        access.check_start(config.get_option("server.address"))
    except ConcentricError as error:
        sys.exit(f"Concentric does not start: {error}")


def host_of(netloc: str) -> str:
    """The host of "host:port", in small letters and without brackets; "" when it has no proper form."""
    found = _HOST.fullmatch(netloc.lower())
    return found[1].strip("[]") if found else ""


def from_elsewhere(headers: Headers) -> bool:
    """Whether a page of another site asks: the browser says where the page came from."""
    origin = headers.get("origin")
    if origin is None:
        return False
    netloc = origin.partition("://")[2]
    # Behind a proxy the host that the browser sees may not be the one that is asked; the operator has named it then.
    return netloc != headers.get("host") and host_of(netloc) not in access.added_hosts()


def fetched_elsewhere(headers: Headers) -> bool:
    """Whether the browser says that a page of another site fetches; what is no browser says nothing."""
    return headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


def _refusal(scope: Scope) -> tuple[int, str] | None:
    """Status and sentence for a request that may not come in."""
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    if len(hosts) != 1 or host_of(hosts[0]) not in access.known_hosts():
        return 421, "This host name is not configured. The operator of this server can add it to CONCENTRIC_HOSTS."
    if len(headers.getlist("origin")) > 1 or from_elsewhere(headers):
        return 403, "Another site may not use this."
    if scope["path"] in OPEN_PATHS:
        return None
    kind = access.login()
    if kind == "proxy":
        return None if _vouched(headers) else (401, "Please log in through your institution.")
    if not kind and not from_this_computer(scope):
        return 403, "Without a log-in only the computer that runs this server may use it."
    return None


def from_this_computer(scope: Scope) -> bool:
    """Whether the peer is this computer (behind a proxy here, everybody's requests seem to be)."""
    try:
        return ip_address((scope.get("client") or ("",))[0]).is_loopback
    except ValueError:
        return False


def _vouched(headers: Headers) -> bool:
    """Whether the proxy, which alone knows the secret, names exactly one person."""
    secrets = headers.getlist(_PROXY_SECRET)
    known = access.proxy_secret().encode()
    named = headers.getlist(access.proxy_header())
    if len(secrets) != 1 or not known or len(named) != 1:
        return False
    return hmac.compare_digest(secrets[0].encode("latin-1"), known) and bool(access.proxied_name(named[0]))


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sending
