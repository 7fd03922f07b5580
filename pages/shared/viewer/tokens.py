"""Signed tokens: who may fetch or change what, and until when."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

_KEY = secrets.token_bytes(32)  # a restart of the server ends all tokens
_DAY_S = 86_400


class NoToken(Exception):
    """There is no token, or it has run out."""


class WrongToken(Exception):
    """The token was made for something else, or not by this server."""


def sign(subject: str, user: str) -> str:
    """A token for one subject (the name of an image, of a field) and one user, good for one to two days."""
    # Whole days: the token, and with it the URL that a browser has cached, stays the same between reruns.
    expiry = (int(time.time()) // _DAY_S + 2) * _DAY_S
    return f"{user}.{expiry}.{_signature(subject, user, expiry)}"


def check(token: str, subject: str) -> str:
    """The user that the token was made for. Raises NoToken or WrongToken."""
    if not token:
        raise NoToken
    user, _, rest = token.partition(".")
    expiry, _, signature = rest.partition(".")
    if not expiry.isascii() or not expiry.isdigit() or not signature.isascii():
        raise WrongToken
    if not hmac.compare_digest(signature, _signature(subject, user, int(expiry[:12]))):
        raise WrongToken
    if int(expiry) < time.time():
        raise NoToken
    return user


def _signature(subject: str, user: str, expiry: int) -> str:
    return hmac.new(_KEY, f"{subject}\n{user}\n{expiry}".encode(), hashlib.sha256).hexdigest()
