"""The published systems, by key."""

from __future__ import annotations

from mitosis_core.methods.method import Method
from mitosis_core.methods.segmitos import SEGMITOS

METHODS: dict[str, Method] = {method.key: method for method in (SEGMITOS,)}

__all__ = ["METHODS", "Method"]
