"""What comes in as a file, damaged in every way: it is answered, or refused in one sentence; nothing else may happen.

`python -m benchmarks.fuzz [--quick]` mutates images of every format that is read, versions (zips and cards) and files
of marks in every format, in processes whose memory and time are watched, writes benchmarks/results/fuzz.json and prints
it as its last line. `uncaught`: errors that are no ConcentricError; `crashes`: processes that died; each is listed in
`found`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from benchmarks.record import Figures, cpu_name, write_result
from mitosis_core.errors import ConcentricError
from mitosis_core.image.reading import read_field
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.interchange import FORMATS
from mitosis_core.interchange.annotation_csv import read_annotations, read_detections
from mitosis_core.interchange.class_names import LABELS
from mitosis_core.interchange.exchange import read_marks, write_marks
from mitosis_core.interchange.marks import Mark, MarkedImage
from mitosis_core.model import list_versions, load_model

MOST_BYTES, LONGEST_S = 1_500_000_000, 30.0
FULL = {"images": 10_000, "versions": 1_000, "imports": 5_000}
QUICK = {"images": 200, "versions": 10, "imports": 300}
BATCH = {"images": 250, "versions": 100, "imports": 1_000}  # in one process
UNCOMMON = 0.04  # share of images that are decoded in a process of their own, which takes half a second each

Judge = Callable[[Random], None]


def seed_images(rng: Random) -> tuple[list[bytes], list[bytes]]:
    """A small field in every format: those decoded in this process, and those decoded apart."""
    sample = draw_sample_field(seed=rng.randrange(100), size_px=160, mitoses=2, lookalikes=2).field.pixels
    pixels = sample[:96, : rng.choice((96, 128, 160))]
    image, rgba = Image.fromarray(pixels), np.dstack([pixels, pixels[..., :1]])
    exif = Image.Exif()
    exif[0x0112] = 6
    common = [
        *(_saved(image, "PNG", **more) for more in ({}, {"dpi": (96000, 96000)}, {"exif": exif})),
        _saved(image.quantize(32), "PNG", transparency=bytes(range(0, 256, 8))),
        _saved(Image.fromarray(rgba), "PNG"),
        *(_saved(image, "JPEG", **more) for more in ({}, {"progressive": True}, {"subsampling": 0, "exif": exif})),
        *(_saved(image, "WEBP", **more) for more in ({}, {"lossless": True})),
        _saved(image, "WEBP", save_all=True, append_images=[image.rotate(180)]),
        *(_saved(one, "BMP") for one in (image, image.quantize(64), Image.fromarray(rgba))),
        *(_tiff(pixels, compression=kind) for kind in (None, "lzw", "zlib", "packbits", "jpeg")),
        _tiff(pixels, compression="lzw", tile=(32, 32), predictor=True),
        _tiff(pixels.astype(np.uint16) * 100, compression="zlib"),
        _tiff(rgba, extrasamples=["unassalpha"]),
        _tiff(np.moveaxis(pixels, -1, 0), planarconfig="separate", bigtiff=True),
        _tiff(np.moveaxis(pixels, -1, 0), photometric="minisblack", ome=True, metadata={"axes": "CYX"}),
        _tiff(pixels, byteorder=">", description="Aperio|MPP = 0.25"),
    ]
    import imagecodecs

    common.append(bytes(imagecodecs.png_encode(pixels.astype(np.uint16) * 16)))
    kinds = ("zstd", "lzma", "webp", "jpeg2000", "jpegxl", "png")
    return common, [_tiff(pixels, compression=kind) for kind in kinds]


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _tiff(samples: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **({"photometric": "rgb"} | options))
    return file.getvalue()


# ---------------------------------------------------------------- mutations

_NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    63,
    64,
    255,
    256,
    4096,
    7700,
    7745,
    16_383,
    20_000,
    65_535,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
)


def mutated(data: bytes, rng: Random) -> bytes:
    """One to four faults: flipped bits, other numbers, parts cut off, moved, doubled or blanked."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if changed:
            rng.choice((_flip, _number, _number, _digits, _cut, _move, _double, _blank, _noise))(changed, rng)
    if changed[:4] == b"\x89PNG" and rng.random() < 0.7:
        _mend_crc(changed)
    return bytes(changed)


def _place(data: bytearray, rng: Random) -> int:
    """Anywhere, but mostly where headers and directories are."""
    most = rng.choice((64, 600, len(data), len(data)))
    at = rng.randrange(max(1, min(most, len(data))))
    return at if rng.random() < 0.8 else len(data) - 1 - at


def _flip(data: bytearray, rng: Random) -> None:
    data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _number(data: bytearray, rng: Random) -> None:
    at, size = _place(data, rng), rng.choice((1, 2, 2, 4, 4, 8))
    value = rng.choice(_NUMBERS) % 2 ** (8 * size)
    data[at : at + size] = value.to_bytes(size, rng.choice(("big", "little")))


def _digits(data: bytearray, rng: Random) -> None:
    """A number that is written in words of its own, such as in OME-XML, becomes the largest of its length or longer."""
    if found := list(re.finditer(rb"\d+", data[-20_000:])):
        one, behind = rng.choice(found), max(0, len(data) - 20_000)
        data[behind + one.start() : behind + one.end() + rng.choice((0, 0, 7))] = b"9" * (
            len(one[0]) + rng.choice((0, 7))
        )


def _cut(data: bytearray, rng: Random) -> None:
    del data[_place(data, rng) :]


def _move(data: bytearray, rng: Random) -> None:
    at, size = _place(data, rng), rng.choice((4, 16, 100, 1000))
    part = data[at : at + size]
    del data[at : at + size]
    to = rng.randrange(len(data) + 1)
    data[to:to] = part


def _double(data: bytearray, rng: Random) -> None:
    at, size = _place(data, rng), rng.choice((4, 16, 100, 1000))
    data[at:at] = data[at : at + size]


def _blank(data: bytearray, rng: Random) -> None:
    at, size = _place(data, rng), rng.choice((4, 16, 100))
    data[at : at + size] = bytes([rng.choice((0, 255))]) * len(data[at : at + size])


def _noise(data: bytearray, rng: Random) -> None:
    at, size = _place(data, rng), rng.choice((2, 8, 64))
    data[at : at + size] = rng.randbytes(len(data[at : at + size]))


def _mend_crc(data: bytearray) -> None:
    """So that a PNG decoder looks at what was changed."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4


# ---------------------------------------------------------------- what is judged


def image_judge(rng: Random) -> Judge:
    """Reads one mutated image of this batch's seeds."""
    common, uncommon = seed_images(rng)

    def judge(rng: Random) -> None:
        field = read_field(mutated(rng.choice(uncommon if rng.random() < UNCOMMON else common), rng))
        assert field.pixels.dtype == np.uint8 and field.pixels.ndim == 3 and field.digest

    return judge


_VALUES: tuple[Any, ...] = (
    None,
    [],
    {},
    "",
    "x",
    0,
    -1,
    1,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    True,
    "\ud800",
    "=1+1",
    "../x",
    [[[]]],
    {"a": {"b": []}},
    "0" * 64,
    "x" * 100_000,
)


def _changed_card(card: dict[str, Any], rng: Random) -> str:
    """The card with one to three values, at any depth, that do not belong there."""
    card = json.loads(json.dumps(card))
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = card
        while rng.random() < 0.5:
            inside = [value for value in place.values() if isinstance(value, dict) and value]
            if not inside:
                break
            place = rng.choice(inside)
        name = rng.choice([*place, "surprise"])
        if rng.random() < 0.15:
            place.pop(name, None)
        else:
            place[name] = rng.choice(_VALUES)
    return json.dumps(card)


def _packed(weights: bytes, card: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("theirs.safetensors", weights)
        archive.writestr("theirs.json", card)
    return file.getvalue()


def version_judge(rng: Random) -> Judge:
    """Takes one mutated version into a store; one that is taken in must be shown, and go out again."""
    from db import versions
    from db.engine import open_store
    from pages.shared.service import training
    from pages.shared.service.version_cards import version_cards

    smallest = min((load_model(name) for name in list_versions()), key=lambda model: model.weights.stat().st_size)
    weights, card = smallest.weights.read_bytes(), json.loads(smallest.card.to_json())
    store = open_store(Path(tempfile.mkdtemp(prefix="fuzz-")))
    whole = _packed(weights, json.dumps(card))
    smallest.check()  # brings torch along
    tail = len(whole) - 8_000  # the card and the directory; in the weights a fault only changes their digest

    def judge(rng: Random) -> None:
        if rng.random() < 0.6:
            data = _packed(weights, _changed_card(card, rng))
        else:
            data = mutated(whole[:600], rng) + mutated(whole[600:tail][-1000:], rng) + mutated(whole[tail:], rng)
            data = data if rng.random() < 0.3 else whole[:tail] + mutated(whole[tail:], rng)
        name = training.import_version(store, data, by="Anna")
        try:  # what was taken in can be shown, and goes out again
            assert name in {one.name for one in version_cards(store)}
            training.export_version(store, name)
        finally:
            versions.weights_path(store, name).unlink()
            _forget(store, name)

    return judge


def _forget(store: Any, name: str) -> None:
    from sqlalchemy import delete

    from db.schema import VersionRow

    with store.writing() as session:
        session.execute(delete(VersionRow).where(VersionRow.name == name))


_ANNOTATIONS = b"""image,x_px,y_px,label,um_per_px,slide,object_width_px,object_height_px
a.png,10.5,20,mitosis,0.25,A,9,8
a.png,30,40,lookalike,0.25,A,,
"b, c.png",,,,0.5,B,,
'=d.png,1,2,unsure,0.25,D,,
"""
_DETECTIONS = b'image,x_px,y_px,score,area_um2,model\na.png,1.5,-2,0.75,30,m\n"b\nc.png",3,4,0.5,20,m\n\'+d,5,6,1,9,m\n'


def seed_exports() -> list[tuple[str, bytes]]:
    """Name of the format and content of a file in each that is read; of those with a file an image also a zip."""
    marks = tuple(Mark(9.5 * n, 20, LABELS[n % 3], 0.5, (8, 9), "Ann", "2026-01-02T03:04:05+00:00") for n in range(5))
    images = [MarkedImage(f"{name}.png", marks, "ab" * 32, 100, 90, 0.25, "S") for name in "ab"]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, one in FORMATS.items():
            out = Path(folder) / (f"{name}.zip" if one.per_image else f"{name}{one.suffixes[0]}")
            write_marks(out, images, name)
            found.append((name, out.read_bytes()))
            if one.per_image:
                write_marks(Path(folder) / name, images, name)
                first = min(path for path in (Path(folder) / name).rglob("*") if path.is_file())
                found.append((f"{name}{first.suffix}", first.read_bytes()))
    return found


def import_judge(rng: Random) -> Judge:
    """Reads one mutated file: the tables that training and evaluation take, or any format of marks."""
    exports = seed_exports()

    def judge(rng: Random) -> None:
        kind = rng.random()
        if kind < 0.15:
            read_annotations(mutated(_ANNOTATIONS, rng))
        elif kind < 0.3:
            read_detections(mutated(_DETECTIONS, rng))
        else:
            name, content = rng.choice(exports)
            name, _, suffix = name.partition(".")
            with tempfile.TemporaryDirectory() as folder:
                ending = f".{suffix}" if suffix else ".zip" if FORMATS[name].per_image else FORMATS[name].suffixes[0]
                path = Path(folder) / f"x{ending}"
                path.write_bytes(mutated(content, rng))
                for _ in read_marks(path, rng.choice((name, name, None))):
                    pass

    return judge


JUDGES: dict[str, Callable[[Random], Judge]] = {
    "images": image_judge,
    "versions": version_judge,
    "imports": import_judge,
}

# ---------------------------------------------------------------- a batch, in a process of its own


def _peak_bytes() -> int:
    """The most memory this process, or one that it started, has held."""
    import resource

    own = Path("/proc/self/status")  # unlike getrusage, without what the process had before it became this program
    held = int(own.read_text().split("VmHWM:")[1].split()[0]) if own.exists() else 0
    return max(held, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024


def _cpu_s() -> float:
    """Seconds that this process and those it started have computed: a busy machine changes nothing in them."""
    return sum(os.times()[:4])


def run_batch(kind: str, first: int, count: int) -> None:
    """Print one line of JSON for each case: how it ended."""
    judge, before = JUDGES[kind](Random(first)), _peak_bytes()
    for number in range(first, first + count):
        signal.setitimer(signal.ITIMER_PROF, 2 * LONGEST_S)  # a case that never ends takes its process with it
        started, said = _cpu_s(), "read"
        try:
            judge(Random(number))
        except ConcentricError as error:
            said = "refused" if str(error).endswith(".") and "\n" not in str(error) else f"no sentence: {error}"
        except Exception as error:
            said = f"uncaught {type(error).__name__}: {str(error)[:200]}"
        peak = _peak_bytes()
        rose, before = peak > max(before, MOST_BYTES), max(peak, before)
        print(json.dumps({"said": said, "s": _cpu_s() - started, "rose": rose, "peak": peak}), flush=True)


def watch(kind: str, first: int, count: int) -> Counter[str]:
    """Run a batch; where its process dies or hangs, count that and go on behind the case that did it."""
    done: Counter[str] = Counter()
    while count > 0:
        command = [sys.executable, "-m", "benchmarks.fuzz", "--batch", kind, str(first), str(count)]
        lines, hung = _run(command)
        results = [line for line in lines if "said" in line]
        for offset, one in enumerate(results):
            _count(done, kind, first + offset, one)
        if len(results) < count:
            done[kind] += 1
            done["over_time" if hung else "crashes"] += 1
            done[f"found: {kind} {first + len(results)} {'never ended' if hung else 'took its process down'}"] += 1
        first, count = first + len(results) + 1, count - len(results) - 1
    return done


def _run(command: list[str]) -> tuple[list[Figures], bool]:
    """The lines that a batch wrote, and whether a case of it was stopped because it took too long."""
    with tempfile.TemporaryFile("w+") as out:
        ended = subprocess.run(command, stdout=out, stderr=subprocess.DEVNULL, check=False)
        out.seek(0)
        lines = [json.loads(line) for line in out.read().splitlines() if line.startswith("{") and line.endswith("}")]
        return lines, ended.returncode == -signal.SIGPROF


def _count(done: Counter[str], kind: str, number: int, one: Figures) -> None:
    done[kind] += 1
    good = one["said"] in ("read", "refused")
    done[f"{kind} {one['said']}" if good else "uncaught"] += 1
    done["over_memory"] += one["rose"]
    done["over_time"] += one["s"] > LONGEST_S
    if not good or one["rose"] or one["s"] > LONGEST_S:
        done[f"found: {kind} {number}: {one['said']}, {one['s']:.1f} s, {one['peak'] / 1e9:.2f} GB"] += 1
    done["peak"] = max(done["peak"], one["peak"])
    done["slowest_ms"] = max(done["slowest_ms"], int(one["s"] * 1000))


def fuzz(amounts: dict[str, int], seed: int) -> Figures:
    """All batches, two at a time; the figures."""
    started, done = time.perf_counter(), Counter[str]()
    batches = [
        (kind, seed + at, min(BATCH[kind], amount - at))
        for kind, amount in amounts.items()
        for at in range(0, amount, BATCH[kind])
    ]
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for number, one in enumerate(pool.map(lambda batch: watch(*batch), batches)):
            peaks = {name: max(done[name], one[name]) for name in ("peak", "slowest_ms")}
            done.update(one)
            done.update({name: value - done[name] for name, value in peaks.items()})
            print(f"batch {number + 1} of {len(batches)}, {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return {
        "images": done["images"],
        "crashes": done["crashes"],
        "uncaught": done["uncaught"],
        "over_memory": done["over_memory"],
        "over_time": done["over_time"],
        "versions": done["versions"],
        "imports": done["imports"],
        "seconds": round(time.perf_counter() - started, 1),
        "read": {kind: done[f"{kind} read"] for kind in amounts},
        "refused": {kind: done[f"{kind} refused"] for kind in amounts},
        "peak_gb": round(done["peak"] / 1e9, 2),
        "slowest_cpu_s": done["slowest_ms"] / 1000,
        "limits": {"gb": MOST_BYTES / 1e9, "cpu_s": LONGEST_S},
        "found": sorted(name.removeprefix("found: ") for name in done if name.startswith("found: "))[:100],
        "seed": seed,
        "cpu": cpu_name(),
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few cases, under 50 s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", nargs=3, metavar=("KIND", "FIRST", "COUNT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.batch:
        kind, first, count = arguments.batch
        run_batch(kind, int(first), int(count))
    else:
        write_result(
            "fuzz-quick" if arguments.quick else "fuzz", fuzz(QUICK if arguments.quick else FULL, arguments.seed)
        )


if __name__ == "__main__":
    main()
