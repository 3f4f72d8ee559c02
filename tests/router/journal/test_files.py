"""The folder of the journal: nothing grows beyond its bound, and no process deletes what another is writing."""

import contextlib
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.journal.files import Files, journal_files

MAX_BYTES = 2**20
FILE_BYTES = 2**16
HEAD = b'{"head":1}\n'


class Ticks:
    """A clock that is a second later at every look. Mutable: the time."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


TICKS = Ticks()


def files(folder: Path, name: str = "gw-a") -> Files:
    return Files(folder, name, MAX_BYTES, TICKS)


def line(number: int, size: int = 200) -> bytes:
    return f"{number:>{size - 1}}\n".encode()


def written(folder: Path) -> list[bytes]:
    return [text for path in journal_files(folder) for text in path.read_bytes().splitlines(keepends=True)]


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


@contextlib.contextmanager
def nearly_full_disk(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size`: what a write gets from a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_lines_follow_each_other_behind_the_head(tmp_path: Path) -> None:
    journal = files(tmp_path / "new" / "folder")

    for number in range(3):
        journal.append(line(number), HEAD)
    journal.close()

    assert written(tmp_path / "new" / "folder") == [HEAD, line(0), line(1), line(2)]


def test_only_their_owner_can_read_files(tmp_path: Path) -> None:
    folder = tmp_path / "journal"

    files(folder).append(line(0), HEAD)

    (path,) = journal_files(folder)
    assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o700, 0o600)


def test_the_folder_never_exceeds_its_bound_and_the_newest_lines_stay(tmp_path: Path) -> None:
    writers = [files(tmp_path, f"gw-{n}") for n in range(3)]

    for number in range(12_000):
        writers[number % 3].append(line(number), HEAD)
        if number % 100 == 0:
            assert total(tmp_path) <= MAX_BYTES

    numbers = sorted(int(text) for text in written(tmp_path) if text != HEAD)
    # 2.4 MB were written, 1 MiB is kept; only the oldest file of each process may be gone before another's.
    assert numbers[-4_000:] == list(range(8_000, 12_000))


def test_every_file_begins_with_its_head(tmp_path: Path) -> None:
    journal = files(tmp_path)

    for number in range(1_000):
        journal.append(line(number), HEAD)

    assert len(journal_files(tmp_path)) == 4
    assert all(path.read_bytes().startswith(HEAD) for path in journal_files(tmp_path))
    assert all(path.stat().st_size <= FILE_BYTES for path in journal_files(tmp_path))


def test_a_file_that_is_being_written_is_never_deleted(tmp_path: Path) -> None:
    quiet, busy = files(tmp_path, "gw-quiet"), files(tmp_path, "gw-busy")
    quiet.append(line(7), HEAD)
    (oldest,) = journal_files(tmp_path)

    for number in range(6_000):
        busy.append(line(number), HEAD)
    is_kept = oldest.exists()
    quiet.close()
    for number in range(1_000):
        busy.append(line(number), HEAD)

    assert is_kept
    assert not oldest.exists()


def test_what_a_dead_process_left_may_be_deleted(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from router.journal.files import Files;"
        f"Files(Path(sys.argv[1]), 'gw-dead', {MAX_BYTES}, lambda: 1.0).append(b'x\\n', b''); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=15)
    (left,) = journal_files(tmp_path)

    journal = files(tmp_path)
    for number in range(6_000):
        journal.append(line(number), HEAD)

    assert not left.exists()


def test_when_others_files_fill_the_folder_nothing_more_is_written(tmp_path: Path) -> None:
    others = [files(tmp_path, f"gw-{n}") for n in range(16)]
    for other in others:
        other.append(line(0), HEAD)

    with pytest.raises(OSError, match="16 files of other processes"):
        files(tmp_path, "gw-late").append(line(0), HEAD)

    assert len(journal_files(tmp_path)) == 16


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_bytes(b"x" * MAX_BYTES)
    journal = files(tmp_path)

    for number in range(200):
        journal.append(line(number), HEAD)

    assert (tmp_path / "notes.jsonl").exists()
    assert len(written(tmp_path)) > 200


def test_a_line_half_written_to_a_full_disk_is_cut_off(tmp_path: Path) -> None:
    journal = files(tmp_path)
    journal.append(line(0), HEAD)

    with nearly_full_disk(300), pytest.raises(OSError, match="File too large"):
        journal.append(line(1), HEAD)
    kept = written(tmp_path)
    journal.append(line(2), HEAD)

    assert kept == [HEAD, line(0)]
    assert written(tmp_path) == [HEAD, line(0), HEAD, line(2)]


def test_a_full_disk_is_not_littered_with_empty_files(tmp_path: Path) -> None:
    journal = files(tmp_path)

    for _ in range(5):
        with nearly_full_disk(100), pytest.raises(OSError, match="File too large"):
            journal.append(line(1), HEAD)

    assert journal_files(tmp_path) == []


def test_a_folder_that_can_not_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file")
    journal = files(tmp_path / "journal")

    with pytest.raises(FileExistsError):
        journal.append(line(0), HEAD)
    (tmp_path / "journal").unlink()
    journal.append(line(1), HEAD)

    assert written(tmp_path / "journal") == [HEAD, line(1)]


def test_after_the_folder_was_cleared_a_new_file_is_begun(tmp_path: Path) -> None:
    journal = files(tmp_path / "journal")
    journal.append(line(0), HEAD)
    for path in journal_files(tmp_path / "journal"):
        path.unlink()
    (tmp_path / "journal").rmdir()

    journal.append(line(1), HEAD)

    assert written(tmp_path / "journal") == [HEAD, line(1)]


def test_lines_that_no_file_can_hold_are_refused(tmp_path: Path) -> None:
    journal = files(tmp_path)

    with pytest.raises(ValueError, match="a file holds 65536"):
        journal.append(line(0, FILE_BYTES), HEAD)
    journal.append(line(1), HEAD)

    assert written(tmp_path) == [HEAD, line(1)]
