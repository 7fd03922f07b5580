"""A PostgreSQL server of our own in a temporary folder, for tests and measurements."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

USER = "concentric"
_SETTINGS = {"max_connections": "100", "shared_buffers": "128MB", "logging_collector": "off", "lc_messages": "C"}
# Nothing outlives the tests, so nothing need be on the disk.
_FORGETFUL = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}


def find_tools() -> Path | None:
    """The folder with initdb and postgres, of the newest release that is installed; None where there is none."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


class PostgresServer:
    """Started, stopped and started again at the same address. durable: what is committed is on the disk."""

    def __init__(self, tools: Path, *, durable: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="concentric-postgres-"))
        self._tools, self._data = tools, self.folder / "data"
        atexit.register(self.remove)
        self._owner: str | None = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self._owner = next(one for one in ("postgres", "nobody") if _is_user(one))
            shutil.chown(self.folder, self._owner)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # A collation in which "b" comes before "C": what depends on the order of bytes must say so.
        language = ["--locale-provider=icu", "--icu-locale=en-US"] if int(tools.parent.name) >= 15 else []
        known = ("-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
        self._run("initdb", "-D", self._data, *known, *language, "--no-sync")
        chosen = (
            _SETTINGS
            | ({} if durable else _FORGETFUL)
            | {"port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.folder)}
        )
        settings = "".join(f"{name} = '{value}'\n" for name, value in chosen.items())
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(settings)
        # Who comes by the network says a password; who comes by the socket is believed.
        (self._data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")

    def start(self) -> PostgresServer:
        """Returns when it answers."""
        self._run("pg_ctl", "-D", self._data, "-l", self.folder / "log", "-w", "-s", "start")
        return self

    def stop(self) -> None:
        """At once, as by a kill; nothing happens when it is not running."""
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "-s", "stop")

    def remove(self) -> None:
        """Stop it and delete its folder."""
        atexit.unregister(self.remove)
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, name: str) -> str:
        """Of a database, by the socket."""
        return f"postgresql://{USER}@/{name}?host={self.folder}&port={self.port}"

    def url_by_network(self, name: str, password: str, user: str = USER) -> str:
        """Of a database, at 127.0.0.1."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{name}"

    def say(self, statement: str, name: str = "postgres") -> None:
        """One statement outside a transaction."""
        import psycopg

        where = f"host={self.folder} port={self.port} user={USER} dbname={name}"
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(statement)

    def make(self, name: str, template: str = "template0") -> str:
        """A new database; returns its URL."""
        self.say(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def _run(self, tool: str, *arguments: object) -> None:
        # Into a file: what stays running would keep a pipe open.
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(
                [self._tools / tool, *map(str, arguments)],
                user=self._owner,
                cwd=self.folder,
                stdout=said,
                stderr=said,
                stdin=subprocess.DEVNULL,
                check=False,
                **_group(self._owner),
            )
            said.seek(0)
            if done.returncode:
                raise RuntimeError(f"{tool} failed: {said.read()}")


@contextmanager
def postgres_server(*, durable: bool) -> Iterator[PostgresServer]:
    """A server for as long as the block lasts. Raises RuntimeError where PostgreSQL is not installed."""
    tools = find_tools()
    if tools is None:
        raise RuntimeError("PostgreSQL is not installed here (Debian: apt-get install postgresql).")
    server = PostgresServer(tools, durable=durable)
    try:
        yield server.start()
    finally:
        server.remove()


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _group(user: str | None) -> dict[str, Any]:
    return {"group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
