"""Signed tokens: who may fetch or change what, and until when."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from functools import cache

from mitosis_core.errors import ConcentricError
from pages.shared.store import the_store

_DAY_S = 86_400


class NoToken(Exception):
    """There is no token, or it has run out."""


class WrongToken(Exception):
    """The token was made for something else, or not by this server."""


def sign(subject: str, user: str) -> str:
    """A token for one subject (the name of an image, of a field) and one user, good for one to two days."""
    # Whole days: the token, and with it the URL that a browser has cached, stays the same between reruns.
    expiry = (int(time.time()) // _DAY_S + 2) * _DAY_S
    name = base64.urlsafe_b64encode(user.encode()).decode().rstrip("=")
    return f"{name}.{expiry}.{_signature(subject, user, expiry)}"


def check(token: str, subject: str) -> str:
    """The user that the token was made for. Raises NoToken or WrongToken."""
    if not token:
        raise NoToken
    name, _, rest = token.partition(".")
    expiry, _, signature = rest.partition(".")
    if not expiry.isascii() or not expiry.isdigit() or not signature.isascii():
        raise WrongToken
    user = _user(name)
    if not hmac.compare_digest(signature, _signature(subject, user, int(expiry[:12]))):
        raise WrongToken
    if int(expiry) < time.time():
        raise NoToken
    return user


def _user(name: str) -> str:
    try:
        return base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
    except (binascii.Error, ValueError) as error:
        raise WrongToken from error


def _signature(subject: str, user: str, expiry: int) -> str:
    return hmac.new(_key(), f"{subject}\n{user}\n{expiry}".encode(), hashlib.sha256).hexdigest()


@cache
def _key() -> bytes:
    """Kept with the reviews: what a page could not save is still welcome after a restart of the server."""
    try:
        return the_store().secret()
    except ConcentricError:
        return secrets.token_bytes(32)  # without a store there is nothing to save
