"""The published systems, by key."""

from __future__ import annotations

from mitosis_core.methods.deepmitosis import DEEPMITOSIS
from mitosis_core.methods.instance_max import INSTANCE_MAX
from mitosis_core.methods.method import Method
from mitosis_core.methods.rdlm import RDLM
from mitosis_core.methods.segmitos import SEGMITOS

METHODS: dict[str, Method] = {method.key: method for method in (SEGMITOS, DEEPMITOSIS, RDLM, INSTANCE_MAX)}

__all__ = ["METHODS", "Method"]
