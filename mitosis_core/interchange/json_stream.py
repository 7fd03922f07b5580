"""JSON read piece by piece: one object of a list after the other, never the whole file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import ijson

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.files import Source

_MOST_TO_EXPLAIN = 1 << 27  # bytes; a larger file with an error is not searched for its line
_CHUNK, _SLICE, _LONGEST = 1 << 16, 1 << 12, 1 << 20  # bytes
_LONGEST_LINE = 1 << 26  # bytes: some hundred thousand marks in one image
_DEEPEST = 1000  # brackets open at a time; a slice can hold a few more
# Numbers that Java and Python write and JSON does not know.
_NO_NUMBER = re.compile(rb"([:,\[]\s*)(?:-?Infinity|NaN)(?=\s*[,\]}])")


class _Watched:
    """A file on its way to the parser, which would run out of memory on brackets that never close.

    nan: NaN and Infinity become null, as the parser knows neither.
    """

    def __init__(self, source: Source, file: BinaryIO, *, nan: bool = False) -> None:
        self._shown, self._file, self._nan = source.shown, file, nan
        self._held, self._open = b"", 0
        file.seek(3 if file.read(3) == b"\xef\xbb\xbf" else 0)  # the mark that Windows puts before text

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Raises UnusableData for what is nested too deeply."""
        if size == 0:
            return b""
        block = self._file.read(_CHUNK)
        for at in range(0, len(block), _SLICE):
            part = block[at : at + _SLICE]
            self._open += part.count(b"[") + part.count(b"{") - part.count(b"]") - part.count(b"}")
            if self._open > _DEEPEST:
                raise UnusableData(f"{self._shown} is nested too deeply.")
        return self._without_nan(block) if self._nan else block

    def _without_nan(self, block: bytes) -> bytes:
        """Up to the last place where no such word can be cut in two."""
        data = self._held + block
        ends = max(data.rfind(b"}"), data.rfind(b"]"), data.rfind(b",")) + 1
        keep = ends if block and len(data) < _LONGEST else len(data)
        self._held = data[keep:]
        if block and not keep:
            return self.read()
        return _NO_NUMBER.sub(rb"\1null", data[:keep])


def items(source: Source, prefix: str, *, nan: bool = False) -> Iterator[Any]:
    """The values at a place of the document, as ijson names it ("images.item": each of the list "images").

    nan: NaN is read as null. Raises UnusableData, with the line, for what is no JSON or was cut short.
    """
    with source.open() as file:
        try:
            yield from ijson.items(_Watched(source, file, nan=nan), prefix, use_float=True)
        except (ijson.JSONError, UnicodeDecodeError, RecursionError) as error:
            raise _explained(source, file, error) from error


def lines(source: Source) -> Iterator[Any]:
    """The values of a file with one to a line (JSON Lines). Raises UnusableData, with the line."""
    with source.open() as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), 1):
            if not line.strip():
                continue
            if not line.endswith(b"\n"):
                raise UnusableData(f"{source.shown}, line {number}: the file ends here; it was cut short.")
            try:
                yield json.loads(line.removeprefix(b"\xef\xbb\xbf"), parse_constant=_refuse_constant)
            except (ValueError, RecursionError) as error:
                raise UnusableData(f"{source.shown}, line {number}: this is no JSON.") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def outline(source: Source, most: int = 1_000_000) -> Iterator[tuple[str, str, object]]:
    """What the document is made of: (prefix, event, value) as ijson gives them, from its beginning to an error."""
    with source.open() as file:
        try:
            for number, event in enumerate(ijson.parse(_Watched(source, file, nan=True), use_float=True)):
                if number > most:
                    return
                yield cast(tuple[str, str, object], event)
        except (ijson.JSONError, UnicodeDecodeError, RecursionError):
            return


def _explained(source: Source, file: BinaryIO, error: Exception) -> UnusableData:
    """What is wrong, and in which line, from a second look by a parser that counts lines."""
    file.seek(0, 2)
    if file.tell() > _MOST_TO_EXPLAIN or isinstance(error, RecursionError):
        return UnusableData(f"{source.shown} is no valid JSON ({error}).")
    file.seek(0)
    data = file.read()
    if not data.strip():
        return UnusableData(f"{source.shown} is empty.")
    if (wrong := _NO_NUMBER.search(data)) is not None:
        line = data.count(b"\n", 0, wrong.end()) + 1
        return UnusableData(f"{source.shown}, line {line}: NaN and Infinity are no numbers.")
    try:
        json.loads(data)
    except UnicodeDecodeError:
        return UnusableData(f"{source.shown} is no text (JSON, UTF-8).")
    except RecursionError:
        return UnusableData(f"{source.shown} is nested too deeply.")
    except json.JSONDecodeError as wrong_json:
        if wrong_json.pos >= len(wrong_json.doc.rstrip()) - 1 or wrong_json.msg.startswith("Unterminated"):
            return UnusableData(f"{source.shown}, line {wrong_json.lineno}: the file ends here; it was cut short.")
        return UnusableData(f"{source.shown}, line {wrong_json.lineno}: this is no JSON ({wrong_json.msg}).")
    except ValueError:
        pass
    return UnusableData(f"{source.shown} is no valid JSON.")
