"""Texts of users inside Markdown."""

from __future__ import annotations

import re


def plain(text: str) -> str:
    """Text that Markdown shows as it is (file names may hold anything), on one line."""
    escaped = re.sub(r"([\\`*_{}\[\]()#+\-.!|<>~$:&=@])", r"\\\1", re.sub(r"\s+", " ", text))
    # Addresses, :emoji: and :material/icons: are also looked for after Markdown was read: an invisible mark parts them.
    return re.sub(r"(?<=:)(?=\w|/|\\)|(?<=www)(?=\\\.)|(?=\\@)", "\u2060", escaped, flags=re.IGNORECASE)
