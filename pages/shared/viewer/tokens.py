"""Signed tokens: who may fetch or change what, and until when."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time

from pages.shared.store import the_store

_SLOT_S = 43_200
# name, expiry, signature; of the name's base64 only the one spelling that `sign` uses.
_FORM = re.compile(r"([A-Za-z0-9_-]{0,1024})\.([0-9]{10})\.([0-9a-f]{64})", re.ASCII)


class NoToken(Exception):
    """There is no token, it has no proper form, or it has run out."""


class WrongToken(Exception):
    """The token was made for something else, or not by this server."""


def sign(subject: str, user: str) -> str:
    """A token for one subject (the name of an image, of a field) and one user, good for half a day to one day.

    Raises ConcentricError while the store, which keeps the key, cannot be used.
    """
    # Whole half days: the token, and with it the URL that a browser has cached, stays the same between reruns.
    expiry = (int(time.time()) // _SLOT_S + 2) * _SLOT_S
    return f"{_spelt(user)}.{expiry}.{_signature(subject, user, expiry)}"


def check(token: str, subject: str) -> str:
    """The user that the token was made for. Raises NoToken, WrongToken; ConcentricError as `sign` does."""
    parts = _FORM.fullmatch(token)
    if parts is None:
        raise NoToken
    user, expiry = _user(parts[1]), int(parts[2])
    if not hmac.compare_digest(parts[3], _signature(subject, user, expiry)):
        raise WrongToken
    if expiry < time.time():
        raise NoToken
    return user


def _spelt(user: str) -> str:
    return base64.urlsafe_b64encode(user.encode()).decode().rstrip("=")


def _user(name: str) -> str:
    try:
        user = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
    except (binascii.Error, ValueError) as error:
        raise NoToken from error
    if _spelt(user) != name:  # unused bits of the last character: the same name in another spelling
        raise NoToken
    return user


def _signature(subject: str, user: str, expiry: int) -> str:
    # The key is kept with the reviews: what a page could not save is still welcome after a restart of the server.
    return hmac.new(the_store().secret(), f"{subject}\n{user}\n{expiry}".encode(), hashlib.sha256).hexdigest()
