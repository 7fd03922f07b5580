"""Engines: each is made once, also when two sessions begin at once, and kept for the next start."""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mitosis_core.errors import UnusableModel
from mitosis_core.inference import runtime
from mitosis_core.model import Model
from mitosis_core.weights import cache_dir


@pytest.fixture(autouse=True)
def _forget_engines() -> None:
    runtime._engine.cache_clear()


def _converted() -> list[Path]:
    return sorted((cache_dir() / "openvino").iterdir())


@pytest.mark.slow
def test_two_sessions_that_begin_at_once_share_one_engine(random_version: Model) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: runtime.get_engine(random_version, "cpu"), range(2))
    assert first is second


@pytest.mark.slow
def test_a_conversion_is_kept_under_the_digest_of_the_weights(
    random_version: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    answer = runtime.get_engine(random_version, "cpu")(pixels).values
    assert answer.shape == (16, 24) and answer.dtype == np.float32 and 0 <= answer.min() <= answer.max() <= 1
    digest = random_version.card.weights_sha256
    assert [path.suffix for path in _converted()] == [".bin", ".xml"]
    assert all(path.name.startswith(digest) for path in _converted())

    runtime._engine.cache_clear()
    monkeypatch.setattr(runtime, "_convert", lambda net, path: pytest.fail("converted again"))
    assert np.array_equal(runtime.get_engine(random_version, "cpu")(pixels).values, answer)


@pytest.mark.slow
def test_a_network_compiled_for_one_size_answers_as_one_for_any(
    random_version: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (height, 96, 3), dtype=np.uint8) for height in (64, 128, 64)]
    engine = runtime.get_engine(random_version, "cpu")
    any_size = [engine(pixels).values for pixels in images]
    monkeypatch.setattr(runtime, "_SMALL_PX", 0)
    for pixels, expected in zip(images, any_size, strict=True):
        assert np.array_equal(engine(pixels).values, expected)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="what each thread may run on is read from Linux")
def test_no_thread_of_an_engine_is_pinned_to_a_core(random_version: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes would pin theirs to the same core, and be no faster than one."""
    pytest.importorskip("openvino")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    engine = runtime.get_engine(random_version, "cpu")
    allowed, seen = os.sched_getaffinity(0), []
    with ThreadPoolExecutor(1) as pool:  # they are pinned only while they compute
        coming = pool.submit(engine, np.zeros((1024, 1024, 3), np.uint8))
        while not coming.done():
            seen += [_cores_of(int(thread.name)) for thread in Path("/proc/self/task").iterdir()]
    assert len(seen) > 10 and all(cores in (allowed, None) for cores in seen)


def _cores_of(thread: int) -> set[int] | None:
    try:
        return os.sched_getaffinity(thread)
    except ProcessLookupError:  # it has ended meanwhile
        return None


@pytest.mark.slow
def test_a_converted_file_does_not_hide_that_a_card_does_not_fit(random_version: Model) -> None:
    runtime.get_engine(random_version, "cpu")
    for changed in ({"stride": 8}, {"method": "rdlm"}, {"encoder": "resnet18"}, {"members": 2}):
        other = dataclasses.replace(random_version, card=dataclasses.replace(random_version.card, **changed))
        with pytest.raises(UnusableModel, match="do not fit"):
            runtime.get_engine(other, "cpu")


@pytest.mark.parametrize("digits", [0, 8, 32, 63])
def test_nothing_is_kept_or_found_under_less_than_a_whole_digest(random_version: Model, digits: int) -> None:
    digest = random_version.card.weights_sha256[:digits]
    other = dataclasses.replace(random_version, card=dataclasses.replace(random_version.card, weights_sha256=digest))
    with pytest.raises(UnusableModel, match="sha256"):
        runtime.get_engine(other, "cpu")
    assert not (cache_dir() / "openvino").exists()


def test_without_openvino_pytorch_answers(random_version: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_has_openvino", lambda: False)
    assert runtime.describe_device("cpu") == "CPU (PyTorch)"
    pixels = np.full((64, 64, 3), 120, np.uint8)
    assert runtime.get_engine(random_version, "cpu")(pixels).values.shape == (16, 16)
    assert not (cache_dir() / "openvino").exists()
