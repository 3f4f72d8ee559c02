"""12,000 crashes: whatever is left on the disk, what was acknowledged counts once and nothing else does."""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.spool.file import SpoolFiles
from tests.crashes import spool_points, sqlite_points
from tests.simulated_disk import SimulatedDisk


@pytest.fixture(autouse=True)
def _in_silence(caplog: pytest.LogCaptureFixture) -> None:
    """A torn file is logged each time."""
    caplog.set_level(logging.CRITICAL)


def first_wrong(crashes: Iterator[tuple[str, str]]) -> str:
    return next((f"{what}: {wrong}" for what, wrong in crashes if wrong), "")


def test_spool_keeps_what_was_acknowledged_wherever_it_is_cut_off() -> None:
    stories = itertools.chain.from_iterable(spool_points.broken(seed) for seed in itertools.count(1))

    assert first_wrong(itertools.islice(stories, 10_000)) == ""


@pytest.mark.parametrize("seed", [1, 2])
def test_sqlite_keeps_what_was_acknowledged_wherever_it_is_cut_off(tmp_path: Path, seed: int) -> None:
    crashes = list(sqlite_points.broken(tmp_path / "crashes", seed, 1_000))

    assert first_wrong(iter(crashes)) == ""
    assert len(crashes) == 1_000


def test_spool_that_does_not_sync_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedDisk, "sync", lambda _disk, _descriptor: None)

    assert "acknowledged and lost" in first_wrong(spool_points.broken(1))


def test_spool_that_writes_behind_what_is_torn_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpoolFiles, "_mend", lambda _files, _own: None)

    assert "acknowledged and lost" in first_wrong(spool_points.broken(1))


def test_sqlite_that_does_not_sync_is_found(tmp_path: Path) -> None:
    assert first_wrong(sqlite_points.broken(tmp_path / "crashes", 1, 100, is_synced=False))
