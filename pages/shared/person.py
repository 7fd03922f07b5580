"""A person and what the role allows. No Streamlit here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """Each may do what those before it may."""

    NOBODY = 0
    READER = 1  # looks
    REVIEWER = 2  # keeps fields and reviews them
    ADMIN = 3  # trains, promotes, deletes, exports all, sees the marks of others before finishing


@dataclass(frozen=True)
class Person:
    """name: "" where nobody logs in; the reader then types one."""

    name: str
    role: Role

    def may(self, needed: str) -> bool:
        """needed: the name of a role in small letters."""
        return self.role >= Role[needed.upper()]
