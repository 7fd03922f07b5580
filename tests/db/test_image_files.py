"""Images in a folder and in a bucket of an S3-compatible store: the same laws for both."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from db.archive import verify, write_archive
from db.doctor import examine, is_sound, repair
from db.engine import Store, open_configured
from db.errors import ImageDamaged, StoreAway, StoreFailed
from db.fields import add_field, delete_field, list_fields, load_field
from db.image_files import FilesByUrl, FilesInFolder, ImageFiles, files_at, image_files
from db.images import image_name
from db.merge import merge_archive
from db.thumbnails import delete_thumbnail, read_thumbnail
from tests.db.conftest import make_field

NAME = f"{'a' * 64}.png"
PART = f"{'b' * 64}.png.{'0' * 16}.part"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Its address."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    one = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    one.start()
    yield "http://{}:{}".format(*one.get_host_and_port())
    one.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty prefix in a bucket of this test."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed (requirements-scale.txt)")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": server,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"lab-{secrets.token_hex(4)}"
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}/images"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def in_bucket(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("CONCENTRIC_IMAGES", bucket)
    return open_configured(tmp_path / "data")


@pytest.fixture(params=["folder", "bucket"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> ImageFiles:
    given: ImageFiles = files_at(
        str(tmp_path / "images") if request.param == "folder" else request.getfixturevalue("bucket")
    )
    given.prepare()
    return given


# ---------------------------------------------------------------- one law for both


def test_a_file_is_there_whole_once_it_has_its_name(files: ImageFiles) -> None:
    assert files.names() == [] and files.size(NAME) is None
    part = files.write_part(NAME, b"content")
    assert re.fullmatch(re.escape(NAME) + r"\.[0-9a-f]{16}\.part", part)
    assert files.names() == [] and files.size(NAME) is None
    files.put(part, NAME)
    assert files.names() == [NAME] and files.size(NAME) == 7
    assert files.read(NAME) == files.read_once(NAME) == b"content"
    with files.open(NAME) as file:
        assert file.read(3) + file.read(100) == b"content"
    files.put(files.write_part(NAME, b"other"), NAME)  # a damaged file is made anew
    assert files.read(NAME) == files.read_once(NAME) == b"other"
    files.remove(NAME)
    files.remove(NAME)
    assert files.names() == [] and files.size(NAME) is None
    for read in (files.read, files.read_once, files.open):
        with pytest.raises(FileNotFoundError):
            read(NAME)


def test_what_is_set_aside_is_never_written_over_and_can_be_taken_back(files: ImageFiles) -> None:
    assert files.names_aside() == []
    for content in (b"one", b"two"):
        files.put(files.write_part(NAME, content), NAME)
        files.set_aside(NAME)
    again = NAME.replace(".png", ".1.png")
    assert files.names() == [] and sorted(files.names_aside()) == sorted([NAME, again])
    assert files.read_aside(NAME) == b"one" and files.read_aside(again) == b"two"
    files.take_back(again, NAME)
    assert files.read(NAME) == b"two" and files.names_aside() == [NAME]


def test_a_file_of_this_machine_is_taken_in(files: ImageFiles, tmp_path: Path) -> None:
    (tmp_path / "from").write_bytes(b"content")
    files.take_in(tmp_path / "from", NAME)
    assert files.read(NAME) == b"content" and not (tmp_path / "from").exists()


def test_half_written_files_go_after_an_hour(files: ImageFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    part = files.write_part(NAME, b"x")
    files.remove_stale_parts()
    files.put(part, NAME)  # a fresh one is still there
    files.write_part(NAME, b"y")
    monkeypatch.setattr("db.image_files.STALE_PART_S", -60)
    files.remove_stale_parts()
    assert files.names() == [NAME] and files.size(NAME) == 1


# ---------------------------------------------------------------- a store with its images in a bucket


def test_a_field_is_kept_in_the_bucket_and_nowhere_else(in_bucket: Store, tmp_path: Path) -> None:
    field = make_field(1)
    stored, _ = add_field(in_bucket, field)
    assert in_bucket.image_files.names() == [image_name(field.digest)]
    assert in_bucket.image_files.size(image_name(field.digest)) == stored.file_size
    assert not list(in_bucket.images.iterdir())
    again = open_configured(tmp_path / "data")
    assert np.array_equal(load_field(again, stored).pixels, field.pixels)
    assert add_field(again, field) == (stored, True)
    assert is_sound(examine(tmp_path / "data", images=again.image_files))
    delete_field(again, stored.id, by="Ann")
    assert again.image_files.names() == [] and list_fields(again) == []


def test_an_image_is_fetched_once(in_bucket: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = [add_field(in_bucket, make_field(seed))[0] for seed in (1, 2)]
    fetched: list[str] = []
    real = FilesByUrl.read

    def read(files: FilesByUrl, name: str) -> bytes:
        fetched.append(name)
        return real(files, name)

    monkeypatch.setattr(FilesByUrl, "read", read)
    with ThreadPoolExecutor(8) as pool:  # at once
        assert len({one.digest for one in pool.map(lambda _: load_field(in_bucket, stored[0]), range(8))}) == 1
    delete_thumbnail(in_bucket, stored[0].digest)
    assert read_thumbnail(in_bucket, stored[0].digest)
    assert fetched == [image_name(stored[0].digest)]
    load_field(in_bucket, stored[1])
    small = FilesByUrl(in_bucket.image_files.where, kept_bytes=stored[1].file_size)  # room for one
    for one in (*stored, stored[1], stored[0]):
        small.read_once(image_name(one.digest))
    assert [name[:64] for name in fetched[2:]] == [stored[0].digest, stored[1].digest, stored[0].digest]


def test_an_archive_is_streamed_from_the_bucket_and_merged_into_it(
    in_bucket: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = [make_field(seed) for seed in (1, 2)]
    for one in fields:
        add_field(in_bucket, one)
    with monkeypatch.context() as patch:
        patch.setattr(FilesByUrl, "read", None)  # nothing is read as a whole
        manifest = write_archive(in_bucket, tmp_path / "a.zip")
    assert manifest.missing == () and verify(tmp_path / "a.zip")[1] == []
    monkeypatch.setenv("CONCENTRIC_IMAGES", in_bucket.image_files.where.replace("images", "another"))
    other = open_configured(tmp_path / "other")
    assert merge_archive(other, tmp_path / "a.zip").fields == 2
    assert {load_field(other, one).digest for one in list_fields(other)} == {one.digest for one in fields}
    assert len(other.image_files.names()) == 2 and not list(other.images.iterdir())
    assert len(in_bucket.image_files.names()) == 2


def test_a_start_leaves_the_bucket_alone_and_the_doctor_sets_aside(in_bucket: Store) -> None:
    """Another installation may have its images there by mistake; and to list a million takes minutes."""
    kept, _ = add_field(in_bucket, make_field(1))
    in_bucket.image_files.put(in_bucket.image_files.write_part(NAME, b"x"), NAME)
    open_configured(in_bucket.folder)
    assert NAME in in_bucket.image_files.names()
    assert "1 image file without a field" in " ".join(
        one.says for one in examine(in_bucket.folder, images=in_bucket.image_files)
    )
    (note,) = repair(in_bucket.folder, images=in_bucket.image_files)
    assert not note.fault and f"{in_bucket.image_files.where}/set-aside" in note.says
    assert in_bucket.image_files.names() == [image_name(kept.digest)]
    assert in_bucket.image_files.names_aside() == [NAME]


def test_a_damaged_or_missing_image_is_named(in_bucket: Store) -> None:
    damaged, missing = (add_field(in_bucket, make_field(seed))[0] for seed in (1, 2))
    files, name = in_bucket.image_files, image_name(damaged.digest)
    files.put(files.write_part(name, b"no image"), name)
    files.remove(image_name(missing.digest))
    for one, how in ((damaged, "damaged"), (missing, "missing")):
        with pytest.raises(ImageDamaged, match=how):
            load_field(in_bucket, one)
    says = [one.says for one in examine(in_bucket.folder, images=in_bucket.image_files)]
    assert len(says) == 2 and "is damaged" in says[0] and "is missing" in says[1]
    add_field(in_bucket, make_field(1))  # uploaded again
    assert load_field(in_bucket, damaged).digest == damaged.digest


class Broken:
    """A client of an object store that is gone."""

    def __getattr__(self, name: str) -> object:
        def fail(*_: object, **__: object) -> None:
            raise ConnectionError("Could not connect to the endpoint URL")

        return fail


def test_an_object_store_that_is_gone_is_a_sentence_and_nothing_is_recorded(in_bucket: Store) -> None:
    kept, _ = add_field(in_bucket, make_field(1))
    there, files = in_bucket.image_files, FilesByUrl(in_bucket.image_files.where, Broken())
    in_bucket.image_files = files
    sentence = r"The images at s3://lab-.*/images could not be read or written \(Could not connect.*Nothing was saved"
    with pytest.raises(StoreAway, match=sentence):
        add_field(in_bucket, make_field(2))
    with pytest.raises(StoreAway, match=sentence) as failed:
        load_field(in_bucket, kept)
    assert not isinstance(failed.value, ImageDamaged)  # nobody shall upload it again
    assert list_fields(in_bucket) == [kept]
    in_bucket.image_files = there

    def put(part: str, name: str) -> None:
        raise StoreFailed("gone in the middle")

    there.put = put  # type: ignore[method-assign]
    with pytest.raises(StoreFailed, match="gone in the middle"):
        add_field(in_bucket, make_field(2))
    assert list_fields(in_bucket) == [kept] and there.names() == [image_name(kept.digest)]
    assert not [name for name in there._list(there.where.removeprefix("s3://")) if name.endswith(".part")]  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_real_server_that_stops_is_a_sentence(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # where nobody listens
    with pytest.raises(StoreFailed, match="could not be read or written"):
        files_at(bucket).prepare()


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("s3://no-such-bucket/images", "The images at s3://no-such-bucket/images could not be read or written"),
        ("s4://lab/images", "for which a package is missing"),
    ],
)
@pytest.mark.usefixtures("bucket")
def test_a_wrong_address_is_a_sentence(
    address: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCENTRIC_IMAGES", address)
    with pytest.raises(StoreFailed, match=sentence):
        open_configured(tmp_path / "data")


# ---------------------------------------------------------------- which place


def test_the_place_of_images_is_the_data_folder_or_what_the_setting_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONCENTRIC_IMAGES", raising=False)
    own = image_files(tmp_path)
    assert isinstance(own, FilesInFolder) and own.where == str(tmp_path / "images") and own.swept
    monkeypatch.setenv("CONCENTRIC_IMAGES", str(tmp_path / "share"))
    share = image_files(tmp_path)
    assert isinstance(share, FilesInFolder) and share.where == str(tmp_path / "share") and not share.swept
    monkeypatch.setenv("CONCENTRIC_IMAGES", "s3://lab/images/")
    assert image_files(tmp_path).where == "s3://lab/images"


def test_images_on_a_share_are_used_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_IMAGES", str(tmp_path / "share"))
    store = open_configured(tmp_path / "data")
    stored, _ = add_field(store, make_field(1))
    assert [file.name for file in (tmp_path / "share").iterdir()] == [image_name(stored.digest)]
    assert load_field(open_configured(tmp_path / "data"), stored).digest == stored.digest
    open_configured(tmp_path / "another")  # with the same setting: it has no rows, and takes nothing away
    assert load_field(store, stored).digest == stored.digest


def test_the_command_copies_images_to_the_bucket_and_back(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from db.__main__ import main

    monkeypatch.delenv("CONCENTRIC_IMAGES", raising=False)
    store = open_configured(tmp_path / "data")
    stored = [add_field(store, make_field(seed))[0] for seed in (1, 2)]
    command = ["images", bucket, "--data", str(tmp_path / "data")]
    assert main(command) == 0
    assert "2 images copied, 0 there already" in capsys.readouterr().out
    (store.images / image_name(stored[0].digest)).write_bytes(b"damaged")
    assert main(command) == 1
    said = capsys.readouterr()
    assert (
        "0 images copied, 1 there already" in said.out and f"{stored[0].digest}.png is missing or damaged" in said.err
    )
    monkeypatch.setenv("CONCENTRIC_IMAGES", bucket)
    used = open_configured(tmp_path / "data")
    assert [load_field(used, one).digest for one in stored] == [one.digest for one in stored]
    assert main(["images", str(tmp_path / "back"), "--data", str(tmp_path / "data")]) == 0
    assert len(list((tmp_path / "back").iterdir())) == 2
