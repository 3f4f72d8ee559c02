"""Uploads are unpacked whole, verified and durable before they appear, and nothing else is ever touched."""

import contextlib
import resource
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.deploy.place import UPLOADS, Place, Staging
from router.deploy.refusals import NoRoom, VersionTaken, VersionUnfit
from tests.turpin import models
from tests.turpin.archives import LIMITS, archive, file, link
from turpin.package import NAME
from turpin.packing import pack, verify
from turpin.tar import Limits


def packed(folder: Path) -> tuple[bytes, str]:
    """A version's archive and its digest."""
    made = pack(models.write_model(folder))
    return b"".join(made.chunks()), made.sealed.digest


@contextlib.contextmanager
def unpacked(place: Place, content: bytes, *, piece: int = 1000, limits: Limits = LIMITS) -> Iterator[Staging]:
    staging = place.begin(limits)
    try:
        for begin in range(0, len(content), piece):
            staging.feed(content[begin : begin + piece])
        yield staging
    finally:
        staging.discard()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "publish").mkdir()
    return Place(tmp_path / "publish")


def tree(place: Place) -> set[str]:
    return {path.relative_to(place.root).as_posix() for path in place.root.rglob("*")}


def test_version_appears_with_all_files_as_they_were_sent(place: Place, tmp_path: Path) -> None:
    content, digest = packed(tmp_path / "7")

    with unpacked(place, content) as staging:
        assert staging.finish(digest).digest == digest
        assert not (place.root / "digits").exists()
        place.publish(staging, "digits", 7)

    assert verify(place.root / "digits" / "7").digest == digest == place.sealed("digits", 7)
    assert {path for path in tree(place) if not path.startswith("digits/7")} == {UPLOADS, "digits"}
    modes = {path.stat().st_mode & 0o777 for path in (place.root / "digits" / "7").rglob("*") if path.is_file()}
    assert modes == {0o644}


def test_version_is_never_overwritten(place: Place, tmp_path: Path) -> None:
    taken = place.root / "digits" / "7"
    taken.mkdir(parents=True)
    content, digest = packed(tmp_path / "7")

    with unpacked(place, content) as staging:
        staging.finish(digest)
        with pytest.raises(VersionTaken, match="never overwritten"):
            place.publish(staging, "digits", 7)

    assert list(taken.iterdir()) == []


def test_one_of_many_uploads_of_a_number_is_published(place: Place, tmp_path: Path) -> None:
    content, digest = packed(tmp_path / "7")
    results: list[str] = []

    def upload() -> None:
        with unpacked(place, content) as staging:
            staging.finish(digest)
            try:
                place.publish(staging, "digits", 7)
                results.append("published")
            except VersionTaken:
                results.append("taken")

    threads = [threading.Thread(target=upload) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == ["published"] + ["taken"] * 5
    verify(place.root / "digits" / "7")


def spoiled(content: bytes) -> bytes:
    """The archive with a byte of a weight flipped."""
    place = content.index(bytes(range(100, 120)))
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_flipped_byte_is_refused_and_its_file_named(place: Place, tmp_path: Path) -> None:
    content, _ = packed(tmp_path / "7")

    with (
        unpacked(place, spoiled(content)) as staging,
        pytest.raises(VersionUnfit, match=r"variables\.data-00000-of-00001 was changed after it was sealed"),
    ):
        staging.finish(None)


def test_digest_that_was_said_must_be_that_of_the_archive(place: Place, tmp_path: Path) -> None:
    content, digest = packed(tmp_path / "7")

    with unpacked(place, content) as staging, pytest.raises(VersionUnfit, match=f"digest is {digest}, and was said"):
        staging.finish("sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (archive([file("saved_model.pb")]), f"there is no {NAME} in the archive"),
        (archive([file(NAME, b"digest: x")]), "there is no saved_model.pb at the top"),
        (archive([file("7/saved_model.pb"), file(NAME)]), "there is no saved_model.pb at the top"),
        (archive([file("saved_model.pb"), file(NAME, b"{}")]), "must begin with `digest: sha256"),
        (archive([file("saved_model.pb")])[:600], "ends in the middle"),
    ],
)
def test_archive_without_its_parts_is_refused(place: Place, content: bytes, word: str) -> None:
    with unpacked(place, content) as staging, pytest.raises(VersionUnfit, match=word):
        staging.finish(None)


@pytest.mark.parametrize(
    "entry",
    [link("saved_model.pb", "/etc/passwd", tarfile.SYMTYPE), file("../../../escaped"), file("/escaped")],
    ids=["link", "parent", "absolute"],
)
def test_hostile_archive_leaves_nothing_behind(place: Place, entry: tuple[tarfile.TarInfo, bytes]) -> None:
    before = {path.as_posix() for path in place.root.parent.rglob("*")}

    with (
        pytest.raises(VersionUnfit),
        unpacked(place, archive([file("variables/a"), entry])),
    ):
        pass

    assert {path.as_posix() for path in place.root.parent.rglob("*")} == before | {(place.root / UPLOADS).as_posix()}


def test_package_beyond_its_bound_is_refused_before_it_is_written(place: Place) -> None:
    content = archive([file(NAME, bytes(2**20 + 1))])

    with (
        unpacked(place, b"", limits=Limits(2**30, 10)) as staging,
        pytest.raises(VersionUnfit, match="has 1048577 bytes; at most 1048576"),
    ):
        staging.feed(content[:512])


def test_upload_of_a_process_that_was_killed_is_swept_away_and_a_living_one_is_not(place: Place) -> None:
    script = (
        "import os, sys; from pathlib import Path; from router.deploy.place import Place; from turpin.tar import Limits;"
        "staging = Place(Path(sys.argv[1])).begin(Limits(1, 1)); print(staging.folder.name, flush=True); os.abort()"
    )
    died = subprocess.run(
        [sys.executable, "-c", script, place.root], capture_output=True, text=True, check=False, cwd=Path.cwd()
    ).stdout.strip()
    assert (place.root / UPLOADS / died).is_dir()
    staging = place.begin(LIMITS)

    place.sweep()

    assert {path.name for path in (place.root / UPLOADS).iterdir()} == {staging.folder.name}
    staging.discard()
    assert not staging.folder.exists()


def test_only_what_was_published_here_is_withdrawn(place: Place, tmp_path: Path) -> None:
    content, digest = packed(tmp_path / "7")
    with unpacked(place, content) as staging:
        staging.finish(digest)
        place.publish(staging, "digits", 7)
    (place.root / "digits" / "8").mkdir()

    place.withdraw("digits", 8, "")
    place.withdraw("digits", 7, "sha256:" + "0" * 64)
    place.withdraw("digits", 9, digest)
    assert (place.root / "digits" / "7").exists()
    place.withdraw("digits", 7, digest)

    assert tree(place) == {UPLOADS, "digits", "digits/8"}


def test_disk_that_takes_no_more_is_said_so(place: Place, tmp_path: Path) -> None:
    content, _ = packed(tmp_path / "7")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    with unpacked(place, b"") as staging:
        # What a full disk does at any byte, the kernel does here at this one.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            with pytest.raises(NoRoom, match="the disk of the publish folder is full"):
                staging.feed(content)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NoRoom, match="can't be written: No such file"):
        Place(tmp_path / "nowhere").begin(LIMITS)
