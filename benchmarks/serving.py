"""A real server in a process of its own, and readers who write to it over HTTP, for the benchmarks."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from dataclasses import field as made
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
Op = dict[str, Any]


class Server:
    """The app over a data folder, at one port of this computer: start, kill, stop, start again."""

    def __init__(self, folder: Path, log: Path, **settings: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port)]
        self._environment = {**os.environ, "CONCENTRIC_DATA": str(folder), **settings}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers. Raises RuntimeError when it ends or stays silent instead."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        for _ in range(1200):
            if self._process.poll() is not None:
                break
            try:
                if ask(self.port, "GET", "/_stcore/health")[0] < 500:  # 401 where one has to log in
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"The server did not start:\n{self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """At once and without warning, as by a power cut of the process."""
        assert self._process is not None, "it was started"
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Ask it to end, as an operator does; returns its exit code."""
        assert self._process is not None, "it was started"
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=60)

    def rss_bytes(self) -> int:
        """Memory that the process holds now."""
        assert self._process is not None, "it was started"
        text = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmRSS:"))

    def cpu_s(self) -> float:
        """Processor seconds that the process has used."""
        assert self._process is not None, "it was started"
        stat = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def ask(
    port: int, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body of one request on a connection of its own. Raises OSError when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:  # cut in the middle of an answer
        raise ConnectionResetError(str(error)) from error
    finally:
        connection.close()


@dataclass
class Reader:
    """One reader at work on one field: every change is sent until it is acknowledged, as the page's outbox does."""

    port: int
    field: int
    token: str
    acknowledged: list[str] = made(default_factory=list)
    seconds: list[float] = made(default_factory=list)  # each change took, from sent to acknowledged
    refused: list[str] = made(default_factory=list)
    sent_again: int = 0
    _seq: int = 0

    def next_op(self) -> Op:
        """A new mark."""
        self._seq += 1
        return {
            "op_id": uuid.uuid4().hex,
            "client": f"bench-{id(self)}",
            "seq": self._seq,
            "t": 0,
            "field": str(self.field),
            "base": 0,
            "kind": "add",
            "id": f"m{id(self)}-{self._seq}",
            "x": 10.0 + self._seq % 200,
            "y": 10.0 + self._seq // 200 % 200,
            "cls": "mitosis",
        }

    def send(self, op: Op) -> bool:
        """Whether the change was acknowledged."""
        started = time.perf_counter()
        try:
            status, body = ask(
                self.port,
                "POST",
                "/api/ops",
                {"field": str(self.field), "ops": [op]},
                {"Content-Type": "application/json", "X-Concentric-Token": self.token},
            )
        except OSError:
            return False
        if status != 200:
            if status != 503:
                self.refused.append(f"{status}: {body[:200].decode(errors='replace')}")
            return False
        if op["op_id"] in json.loads(body)["done"]:
            self.acknowledged.append(op["op_id"])
            self.seconds.append(time.perf_counter() - started)
            return True
        self.refused.append(body[:200].decode(errors="replace"))
        return True
