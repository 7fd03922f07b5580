"""What a retraining that was cut goes on from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import torch

from mitosis_core.atomic_write import atomic_write
from mitosis_core.errors import ConcentricError

log = logging.getLogger("concentric.train")

_FORMAT = 2  # what a checkpoint holds; those of programs before are begun anew

Parts = dict[str, Any]


class Checkpoint:
    """The networks that are done, and how far the one in training is, in one file (none when path is None).

    A file of another run, or one that cannot be read, counts for nothing: the run begins anew.
    """

    def __init__(self, path: Path | None, identity: str) -> None:
        self._path, self._identity = path, f"{_FORMAT} {identity}"
        self._found = self._read()
        self.done: list[Parts] = list(self._found.get("done", []))

    def in_training(self, index: int) -> Parts | None:
        """The "step", "tracks" and "best" of network `index`, when it was in training."""
        return self._found if self._found.get("index") == index else None

    def save_progress(self, index: int, step: int, tracks: list[Parts], best: Parts) -> None:
        """Network `index` has come to this step."""
        self._write({"index": index, "step": step, "tracks": tracks, "best": best})

    def add_result(self, result: Parts) -> None:
        """The next network is done."""
        self.done.append(result)
        self._write({})

    def _read(self) -> Parts:
        if self._path is None or not self._path.exists():
            return {}
        try:
            parts = cast(Parts, torch.load(self._path, weights_only=True))
            return parts if parts["identity"] == self._identity else {}
        except Exception:  # torch has no one error for a damaged file
            log.warning("the checkpoint %s cannot be read; the run begins anew", self._path.name, exc_info=True)
            return {}

    def _write(self, parts: Parts) -> None:
        if self._path is None:
            return
        try:
            with atomic_write(self._path) as file:
                torch.save({"identity": self._identity, "done": self.done, **parts}, file)
        except (OSError, RuntimeError) as error:  # torch says RuntimeError for a full disk
            raise ConcentricError("The checkpoint could not be written; perhaps the disk is full.") from error
