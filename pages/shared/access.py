"""Access: the log-in that is configured, the person of a session, and what each role may do."""

from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit import config

from db.reviews import check_reader
from mitosis_core.errors import ConcentricError
from pages.shared.person import Person, Role

__all__ = [
    "Person",
    "Role",
    "added_hosts",
    "check_start",
    "known_hosts",
    "login",
    "person",
    "proxied_name",
    "proxy_header",
    "proxy_secret",
    "role_of",
]

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
SESSION_S = 12 * 3600  # after a log-in; Streamlit's cookie alone would last 30 days
_SHORTEST_SECRET = 16


def person() -> Person:
    """Whose session this is. Without a log-in the one person at this computer, who may do everything."""
    kind = login()
    if not kind:
        return Person("", Role.ADMIN)
    name = proxied_name(st.context.headers.get(proxy_header()) or "") if kind == "proxy" else _logged_in()
    return Person(name, role_of(name))


def role_of(name: str) -> Role:
    """What somebody of this name may do now."""
    if not login():
        return Role.ADMIN
    if not name:
        return Role.NOBODY
    for role in (Role.ADMIN, Role.REVIEWER):
        if name.casefold() in {one.casefold() for one in _names(f"{role.name.lower()}s")}:
            return role
    return _default_role()


def login() -> str:
    """ "proxy", "oidc", or "" when people do not log in."""
    if proxy_header():
        return "proxy"
    return "oidc" if _secrets("auth") else ""


def proxy_header() -> str:
    """The header in which a proxy says who asks; "" for none."""
    return os.environ.get("CONCENTRIC_PROXY_HEADER", "").strip().lower()


def proxy_secret() -> str:
    """What only the proxy and this server know."""
    return os.environ.get("CONCENTRIC_PROXY_SECRET") or str(_secrets("concentric").get("proxy_secret", ""))


def proxied_name(header: str) -> str:
    """The name in a header (UTF-8, which HTTP servers hand on as Latin-1); "" when it is none."""
    try:
        return _name(header.encode("latin-1").decode("utf-8"))
    except UnicodeError:
        return ""


def added_hosts() -> frozenset[str]:
    """The names under which the operator wants this server to be known besides."""
    return frozenset(name.lower().strip("[]") for name in _names("hosts"))


def known_hosts() -> frozenset[str]:
    """Every name under which this server may be asked, on any port."""
    return LOCAL_HOSTS | added_hosts()


def check_start(address: str | None) -> None:
    """Raises ConcentricError when the server would let in who should not: address is what it listens on."""
    _default_role()
    if proxy_header() and len(proxy_secret()) < _SHORTEST_SECRET:
        raise ConcentricError(
            f"CONCENTRIC_PROXY_HEADER needs CONCENTRIC_PROXY_SECRET, of at least {_SHORTEST_SECRET} characters, which "
            "the proxy sends in X-Concentric-Proxy-Secret; without it, anybody could pretend to be another person."
        )
    if proxy_header() and _secrets("auth"):
        raise ConcentricError("Please configure one log-in: either [auth] in secrets.toml or CONCENTRIC_PROXY_HEADER.")
    if login():
        return
    if address not in LOCAL_HOSTS:
        raise ConcentricError(
            f"Concentric does not listen on {address or 'every address'} without a log-in: please configure one "
            "(docs/security.md), or leave server.address at 127.0.0.1."
        )
    if added_hosts():
        raise ConcentricError(
            "CONCENTRIC_HOSTS lets others reach this server, which needs a log-in: please configure one "
            "(docs/security.md), or remove it."
        )


def _logged_in() -> str:
    """The name that the OpenID provider has given, while the log-in is fresh."""
    claims: Mapping[str, Any] = st.user.to_dict()
    issued = claims.get("iat")
    if not claims.get("is_logged_in") or not isinstance(issued, int | float) or time.time() > issued + SESSION_S:
        return ""
    claim = str(_secrets("concentric").get("claim", "email"))
    if claim == "email" and claims.get("email_verified") is False:  # anybody may claim an address
        return ""
    value = claims.get(claim)
    return _name(value.lower() if claim == "email" else value) if isinstance(value, str) else ""


def _name(text: str) -> str:
    try:
        return check_reader(unicodedata.normalize("NFC", text))
    except ConcentricError:
        return ""


def _default_role() -> Role:
    given = os.environ.get("CONCENTRIC_DEFAULT_ROLE") or _secrets("concentric").get("default_role", "reader")
    try:
        return Role[str(given).upper()]
    except KeyError as error:
        raise ConcentricError("The default role must be nobody, reader, reviewer or admin.") from error


def _names(setting: str) -> list[str]:
    """A list in the environment, with commas, or else in [concentric] of secrets.toml."""
    given = os.environ.get(f"CONCENTRIC_{setting.upper()}")
    listed = given.split(",") if given is not None else _secrets("concentric").get(setting, [])
    return [str(one).strip() for one in listed if str(one).strip()]


def _secrets(section: str) -> Mapping[str, Any]:
    if st.secrets.load_if_toml_exists():
        found: Any = st.secrets.get(section, {})
        return found if isinstance(found, Mapping) else {}
    # Access is refused when the file that defines it cannot be read.
    if any(Path(file).exists() for file in config.get_option("secrets.files")):
        raise ConcentricError("secrets.toml cannot be read; the operator of this server must correct it.")
    return {}
