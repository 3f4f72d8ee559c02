"""200 simulated worlds keep all laws, each is the same every time, and a fault that is planted is found."""

import logging
from collections import Counter
from pathlib import Path

import msgspec
import pytest
import structlog

from router.control.hearing import Hearing
from router.store.memory import MemoryStore
from tests.simulated_disk import SimulatedDisk
from tests.simulation.plants import Careless, Forgetful, Lawless, Lossy
from tests.simulation.run import simulate
from tests.simulation.worker import Worker

SEEDS = [
    int(line.split()[0]) for line in Path(__file__).with_name("seeds.txt").read_text().splitlines() if line[0] != "#"
]
_PER_TEST = 20


@pytest.fixture(autouse=True)
def _in_silence(caplog: pytest.LogCaptureFixture) -> None:
    """A world in trouble says so, hundreds of times."""
    caplog.set_level(logging.CRITICAL)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[])


def played(seed: int) -> Counter[str]:
    """Play a world that is to keep the laws."""
    outcome = simulate(seed)
    assert not outcome.broken, f"seed {seed}: {outcome.broken}; again: python -m tests.simulation --seed {seed}"
    return outcome.counts


@pytest.mark.parametrize("first", range(1, 201, _PER_TEST))
def test_worlds_keep_the_laws(first: int) -> None:
    counts: Counter[str] = Counter()
    for seed in range(first, first + _PER_TEST):
        counts += played(seed)

    # All that is to go wrong did, and what is to go on went on.
    for what in ("answered", "failed", "rewards", "reward 202 spooled", "reward 409", "killed", "retired", "snapshots"):
        assert counts[what], what


@pytest.mark.parametrize("first", [1, 6, 11, 16])
def test_worlds_where_clocks_jump_by_an_hour_keep_the_laws(first: int) -> None:
    """G4."""
    counts: Counter[str] = Counter()
    for seed in range(first, first + 5):
        outcome = simulate(seed, clocks_jump=True)
        assert not outcome.broken, f"seed {seed}: {outcome.broken}"
        counts += outcome.counts

    for what in ("clocks", "rewards", "reward 202"):
        assert counts[what], what


@pytest.mark.parametrize("seed", SEEDS)
def test_seed_that_once_broke_a_law_keeps_it(seed: int) -> None:
    played(seed)


@pytest.mark.parametrize("seed", [3, 4])
def test_same_seed_is_the_same_world(seed: int) -> None:
    first, second = simulate(seed), simulate(seed)

    assert first == second
    assert first.trace != simulate(seed + 1).trace


def found(kind: type[MemoryStore] = MemoryStore, *, first: int = 1) -> str:
    """Return the first law that breaks; the search begins where a world once met the fault, so that it ends soon."""
    seeds = range(first, first + 300)
    return next((broken for seed in seeds if (broken := simulate(seed, kind).broken)), "")


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (Forgetful, "the store has"),
        (Careless, "the store has"),
        (Lossy, "acknowledged rewards are not counted"),
        (Lawless, "wrote with fence"),
    ],
)
def test_planted_fault_of_a_store_is_found(kind: type[MemoryStore], what: str) -> None:
    assert what in found(kind)


def test_spool_that_does_not_sync_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedDisk, "sync", lambda _disk, _descriptor: None)

    assert "acknowledged rewards are not counted" in found(first=51)


def test_worker_that_hides_its_spool_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    beat = Worker._beat
    monkeypatch.setattr(
        Worker, "_beat", lambda worker, lives: msgspec.structs.replace(beat(worker, lives), is_spooling=False)
    )

    assert "wait in a spool" in found(first=2)


def test_leader_that_does_not_miss_a_gateway_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hearing, "unheard", lambda _hearing, _beats, _now: [])

    assert "wait in a spool" in found(first=94)
