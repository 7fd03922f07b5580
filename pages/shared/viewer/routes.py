"""What the viewer fetches over HTTP, past Streamlit's reruns: today the pictures of a field."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pages.shared.viewer.images import IMAGES, MEDIA_TYPES
from pages.shared.viewer.tokens import NoToken, WrongToken, check, sign

_HEADERS = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}
# The name holds the digest of the content, so a browser need never ask again.
_KEEP = {"Cache-Control": "private, max-age=31536000, immutable"}


def image_url(name: str, user: str) -> str:
    """The signed address of a published picture."""
    return f"/api/images/{name}?t={sign(name, user)}"


def from_elsewhere(request: Request) -> bool:
    """Whether another site asks, as browsers tell in these two headers."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        return True
    return request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")


async def get_image(request: Request) -> Response:
    name = request.path_params["name"]
    if from_elsewhere(request):
        return _refuse("Another site may not fetch this.", 403)
    try:
        check(request.query_params.get("t", ""), name)
    except NoToken:
        return _refuse("The address has no token or it has run out; please reload the page.", 401)
    except WrongToken:
        return _refuse("The token is not for this picture.", 403)
    data = IMAGES.get(name)
    if data is None:
        return _refuse("This picture is no longer kept; please reload the page.", 404)
    return Response(data, media_type=MEDIA_TYPES[name.rpartition(".")[2]], headers={**_HEADERS, **_KEEP})


def _refuse(sentence: str, status: int) -> Response:
    return PlainTextResponse(sentence, status, {**_HEADERS, "Cache-Control": "no-store"})


ROUTES = [Route("/api/images/{name}", get_image, methods=["GET"])]
