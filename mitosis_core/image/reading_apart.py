"""Decoding in a process of its own, within limits of memory and time.

For formats whose decoders believe what a file says of itself, and for images that need much memory on the way. The
limit of memory is kept by the system, on Linux; macOS and Windows keep that of time alone.

python -m mitosis_core.image.reading_apart FILE FOLDER    decodes a TIFF into FOLDER/pixels.npy and FOLDER/facts.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mitosis_core.errors import UnreadableField
from mitosis_core.types import UInt8

MAX_BYTES = 1_300_000_000
TIMEOUT_S = 60
_TOO_LARGE = (
    "Reading this image takes more memory than an image of its size should; please save it as 8-bit PNG or JPEG."
)
_TOO_LONG = f"Reading this image takes longer than {TIMEOUT_S} seconds; please save it as 8-bit PNG or JPEG."
_DAMAGED = "The image file is damaged or incomplete; please export it again."


def decode_in_subprocess(data: bytes, *, longest_s: float = TIMEOUT_S) -> tuple[UInt8, dict[str, Any]]:
    """Pixels UInt8[H, W, 3] of a TIFF, and what else `reading` knows of it. Raises UnreadableField."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "image").write_bytes(data)
        command = [sys.executable, "-m", "mitosis_core.image.reading_apart", str(place / "image"), folder]
        try:
            subprocess.run(
                command,
                check=True,
                timeout=longest_s,
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            facts = json.loads((place / "facts.json").read_text(encoding="utf-8"))
        except subprocess.TimeoutExpired as error:
            raise UnreadableField(_TOO_LONG) from error
        except (OSError, subprocess.SubprocessError, ValueError) as error:  # the decoder took the process down
            raise UnreadableField(_DAMAGED) from error
        if sentence := facts.pop("refused", None):
            raise UnreadableField(sentence)
        return np.load(place / "pixels.npy"), facts


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
        most = MAX_BYTES if kind == resource.RLIMIT_DATA else 4 * MAX_BYTES  # libraries reserve what they never use
        resource.setrlimit(kind, (most, most))


def _main(image: Path, folder: Path) -> None:
    from mitosis_core.image.reading import decode_tiff

    _limit_memory()
    try:
        pixels, facts = decode_tiff(image.read_bytes())
        np.save(folder / "pixels.npy", pixels)
    except UnreadableField as error:
        facts = {"refused": str(error)}
    except MemoryError:
        facts = {"refused": _TOO_LARGE}
    except Exception:  # decoders meet damaged files with almost any exception
        facts = {"refused": _DAMAGED}
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
