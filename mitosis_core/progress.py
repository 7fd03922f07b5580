"""How far a work of several parts is, told to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable

ShareDone = Callable[[float, str], None]  # done 0..1, name of the field, file or version that is worked on


def no_share(share: float, name: str) -> None:
    """Progress that nobody watches."""
