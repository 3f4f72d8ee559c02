"""A store that loses its last seconds under several processes: whoever finds it out, all of them count it. R7, R8."""

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.store import Fenced
from router.store.redis_lineage import FAILOVER_LOSS_MAX_S, Beat, Lineage, Pause
from router.store.redis_store import RedisStore
from tests.redis_server import redis_server
from tests.router.store.samples import CELL, NOW, reward


@dataclass(frozen=True, slots=True)
class Kept:
    """What a store holds of its lineage, as redis_scripts.py writes it."""

    beat: Beat = field(default_factory=Beat)
    pauses: tuple[Pause, ...] = ()
    mine: tuple[tuple[int, int], ...] = ()  # (process, its last beat)

    def beaten(self, process: int, now: float) -> "Kept":
        beats, at = self.beat.beats, self.beat.beat_at
        pauses = self.pauses
        if beats and now - at > FAILOVER_LOSS_MAX_S:
            pauses = (*pauses, (at, now))
        mine = dict(self.mine) | {process: beats + 1}
        return Kept(Beat(beats + 1, now, self.beat.losses), pauses, tuple(mine.items()))


class World:
    """One store and its processes. Mutable: all of it, and the states that led to the one it is in, by time."""

    def __init__(self) -> None:
        self.now = NOW
        self.kept = Kept()
        self.states: list[tuple[float, Kept]] = [(self.now, self.kept)]
        self.processes: list[Lineage] = []

    def join(self) -> None:
        lineage = Lineage("redis://r")
        lineage.know("g", self.kept.beat)
        self.processes.append(lineage)

    def put(self, kept: Kept) -> None:
        self.kept = kept
        self.states.append((self.now, kept))

    def lose(self, lost_s: float, at_most_s: float) -> bool:
        """Be as it was then, unless somebody would see more than `at_most_s` lost; it is a moment until it is back."""
        before = [(at, kept) for at, kept in self.states if at <= max(NOW, self.now - lost_s)]
        _, kept = before[-1]
        if any(lineage.last.beat_at - kept.beat.beat_at > at_most_s for lineage in self.processes):
            return False
        self.states, self.kept = before, kept
        self.now += 0.5
        return True

    def beat(self, process: int) -> bool:
        """As RedisDocuments.beat does; False when the store is refused."""
        lineage = self.processes[process]
        for _ in range(5):
            mine = dict(self.kept.mine).get(process, 0)
            verdict = lineage.judge(self.kept.beat, mine, self.kept.pauses)
            if verdict == "refuse":
                return False
            if verdict == "take over":
                losses = max(self.kept.beat.losses, lineage.last.losses) + 1
                self.put(replace(self.kept, beat=replace(self.kept.beat, losses=losses)))
                lineage.lost(self.kept.beat)
            if verdict == "same":
                self.put(self.kept.beaten(process, self.now))
                lineage.saw(self.kept.beat)
                return True
        raise AssertionError("it does not come to an end")

    def has_lost(self, process: int) -> bool:
        """Whether the last beat that this process made is gone from the store."""
        lineage = self.processes[process]
        return dict(self.kept.mine).get(process, 0) < lineage.own


_EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("beat"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.sampled_from([0.01, 0.25, 3.0, 60.0])),
        st.tuples(st.just("lose"), st.sampled_from([0.1, 1.0, 5.0])),
    ),
    max_size=40,
)


@settings(max_examples=500, deadline=None)
@given(_EVENTS)
def test_after_losses_within_bounds_nobody_refuses_and_everybody_has_counted_one(
    events: list[tuple[str, float]],
) -> None:
    world = World()
    for process in range(4):
        world.join()
        assert world.beat(process)
    due: list[int] | None = None  # how often each had counted a change when a loss was one that somebody can know of
    for what, how in events:
        if what == "beat":
            assert world.beat(int(how))
        elif what == "wait":
            world.now += how
        else:
            knew = [process for process in range(4) if not world.has_lost(process)]
            if world.lose(how, FAILOVER_LOSS_MAX_S) and any(map(world.has_lost, knew)):
                due = [lineage.changes for lineage in world.processes]

    for process in (0, 1, 2, 3) * 2:
        assert world.beat(process)
    assert all(not lineage.refusal for lineage in world.processes)
    if due is not None:
        assert all(lineage.changes > before for lineage, before in zip(world.processes, due, strict=True))


@settings(max_examples=300, deadline=None)
@given(_EVENTS.map(lambda events: [event for event in events if event[0] != "lose"]), st.integers(0, 60))
def test_backup_is_refused_by_everybody_who_knew_more_however_newcomers_beat_it(
    events: list[tuple[str, float]], newcomer_beats: int
) -> None:
    world = World()
    for process in range(4):
        world.join()
        assert world.beat(process)
    world.now += FAILOVER_LOSS_MAX_S + 1.0
    for process in range(4):
        assert world.beat(process)
    for what, how in events:
        if what == "beat":
            assert world.beat(int(how))
        else:
            world.now += how
    assert world.lose(world.now - NOW, 1e9)
    world.join()
    for _ in range(newcomer_beats):
        assert world.beat(4)
        world.now += 0.25

    assert not any(world.beat(process) for process in range(4))


async def opened(url: str) -> RedisStore:
    store = RedisStore(url, unix_now=lambda: NOW)
    await store.open()
    return store


async def test_both_processes_begin_anew_on_a_redis_that_lost_its_last_seconds(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with redis_server(folder, "--save", "", "--appendonly", "yes", "--appendfsync", "always") as server:
        leader, other = await opened(server.url), await opened(server.url)
        assert await leader.lease("leader", NOW, 60.0) == 1
        assert await other.lease("other", NOW, 60.0) is None
        await other.flush("o", 1, {CELL: {"rows": 1}}, b"", NOW)
        server.end()
        shutil.copytree(folder, tmp_path / "before")
        server.start()
        await leader.lease("leader", NOW, 60.0)
        for sequence in range(2, 9):
            await other.flush("o", sequence, {CELL: {"rows": 1}}, b"", NOW)
        server.end()
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "before", folder)
        server.start()

        # Whoever comes first has the loss counted, a worker here; what it sent is not lost to it.
        await other.flush("o", 9, {CELL: {"rows": 1}}, b"", NOW)
        assert server.tell("HGET", "{turpin}:store", "losses") == "1"
        assert [str(result) for result in await other.add_rewards([reward(1)])] == ["RewardResult.RECORDED"]
        # The leader's fence is past all that were given out; what it wrote under an old one would be refused.
        for _ in range(20):
            await other.flush("o", 10, {}, b"", NOW)
        await leader.heartbeats(NOW, 60.0)
        with pytest.raises(Fenced):
            await leader.save_experiment("a", b"one", 0, 1)
        assert await leader.lease("leader", NOW, 60.0) == 1002
        assert await leader.save_experiment("a", b"one", 0, 1002) == 1
        assert server.tell("HGET", "{turpin}:store", "losses") == "1"
        await leader.close()
        await other.close()
