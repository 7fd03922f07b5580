"""Two processes at one PostgreSQL database: every change once, every field of the queue once, one run at a time."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from db import detection_queue
from db.engine import Store
from db.fields import add_field
from db.reviews import history, replayed, reviews_of
from tests.db.conftest import make_field

ROOT = Path(__file__).parents[2]
# Two pages of one reader, and one of another, write to the same fields; in between the queue is worked off.
SERVER = """
import json, sys
from pathlib import Path
from db import detection_queue
from db.engine import open_store
from db.reviews import apply_ops
from tests.db.conftest import make_op
folder, url, name = sys.argv[1:]
store = open_store(Path(folder), busy_timeout_s=20, url=url)
store.secret()
print("ready", flush=True)
sys.stdin.readline()
done, taken = [], []
for seq in range(1, 26):
    for reader in ("Ann", name):
        op = make_op(1 + seq % 3, id=f"m{seq % 5}", client=f"{name}{reader}", seq=seq, base=10**6)
        applied = apply_ops(store, 1 + seq % 3, reader, [op])
        done += [*applied.done, *applied.superseded]
    with store.lock("detection") as take:
        if take() and (one := detection_queue.take_next(store)):
            detection_queue.fail(store, one.id, "as if it were damaged")
            taken.append(one.id)
print(json.dumps({"done": done, "taken": taken, "secret": store.secret().hex()}), flush=True)
"""


@pytest.mark.slow
def test_two_processes_write_reviews_and_work_off_the_queue(store: Store) -> None:
    fields = [add_field(store, make_field(number))[0].id for number in range(12)]
    detection_queue.enqueue(store, fields, "v1", by="Ann")
    command = [sys.executable, "-c", SERVER, str(store.folder), store.url]
    servers = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for name in ("Bob", "Cid")
    ]
    for server in servers:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
    answers = [json.loads(server.communicate("go\n", timeout=120)[0]) for server in start_together(servers)]
    acknowledged = Counter(op_id for answer in answers for op_id in answer["done"])
    stored = Counter(event.op_id for number in (1, 2, 3) for event in history(store, number))
    assert len(acknowledged) == 100 and stored == acknowledged and set(stored.values()) == {1}
    for number in (1, 2, 3):
        assert replayed(store, number) == (reviews_of(store, number), True)
    taken = [one for answer in answers for one in answer["taken"]]
    assert len(taken) == len(set(taken)) and {answer["secret"] for answer in answers} == {store.secret().hex()}
    left = detection_queue.progress(store).counts
    assert (left["failed"], left["running"]) == (len(taken), 0)


def start_together(servers: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    for server in servers:
        assert server.stdin is not None
        server.stdin.write("go\n")
        server.stdin.flush()
    return servers


@pytest.mark.slow
def test_a_worker_that_is_killed_gives_its_lock_back(store: Store) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom db.engine import open_store\n"
        "with open_store(Path(sys.argv[1]), url=sys.argv[2]).lock('detection') as take:\n"
        "    print(take(), flush=True)\n    sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", code, str(store.folder), store.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == "True\n"
        with store.lock("detection") as take:
            assert not take()
            worker.kill()
            worker.wait()
            assert any(take() for _ in range(200))
