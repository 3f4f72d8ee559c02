"""Probes go round the arms, and cost no more than their share of the busy time."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.probes import BUSY_SHARE_MAX, KEPT, ProbeSchedule
from serving.upstream import Servable

ARMS = [Servable("tfs-a", "digits", version) for version in (1, 2, 3)]
MS = 1_000_000
# What is lent before there is any busy time.
SAVED_NS = 200 * MS


def traffic(schedule: ProbeSchedule, busy_ns: int) -> None:
    schedule.record(ARMS[0], rows=1, seconds=1.0, charged_ns=busy_ns, is_probe=False)


def probe(schedule: ProbeSchedule, arm: Servable, took_ns: int = MS) -> None:
    schedule.record(arm, rows=8, seconds=took_ns / 1e9, charged_ns=took_ns, is_probe=True)


def rich() -> ProbeSchedule:
    schedule = ProbeSchedule()
    traffic(schedule, 100 * SAVED_NS)
    return schedule


def test_arms_take_turns() -> None:
    schedule = rich()
    probed = []
    for _ in range(7):
        arm = schedule.due(ARMS)
        assert arm is not None
        probe(schedule, arm)
        probed.append(arm)

    assert probed == [*ARMS, *ARMS, ARMS[0]]


def test_one_probe_is_awaited_at_a_time() -> None:
    schedule = rich()
    asked = schedule.due(ARMS)

    assert [schedule.due(ARMS) for _ in range(39)] == [None] * 39
    assert asked == ARMS[0]


def test_arm_that_never_comes_is_passed_over() -> None:
    schedule = rich()

    asked = [arm for _ in range(200) if (arm := schedule.due(ARMS)) is not None]

    assert asked == [ARMS[0], ARMS[1], ARMS[2], ARMS[0], ARMS[1]]


def test_arm_that_gets_no_traffic_any_more_is_not_awaited() -> None:
    schedule = rich()
    assert schedule.due(ARMS) == ARMS[0]

    assert schedule.due(ARMS[1:]) == ARMS[1]


def test_nobody_is_probed_when_there_is_nobody() -> None:
    assert rich().due([]) is None


def test_probe_that_failed_passes_the_turn_on_and_is_paid_for() -> None:
    schedule = rich()
    for arm, took_ns in zip(ARMS, (MS, MS, 2 * SAVED_NS), strict=True):
        assert schedule.due(ARMS) == arm
        schedule.failed(arm, took_ns)

    assert schedule.due(ARMS) is None
    assert schedule.measured == {}


def test_batch_of_another_arm_does_not_end_the_wait() -> None:
    schedule = rich()
    assert schedule.due(ARMS) == ARMS[0]
    probe(schedule, ARMS[2])

    assert schedule.due(ARMS) is None


def test_last_fifteen_are_kept_with_their_sizes() -> None:
    schedule = rich()
    for number in range(20):
        schedule.record(ARMS[0], rows=number, seconds=0.1, charged_ns=1, is_probe=True)

    assert list(schedule.measured[ARMS[0]]) == [(number, 0.1) for number in range(5, 20)]
    assert KEPT == 15


def test_first_probes_are_lent_and_the_next_are_earned() -> None:
    schedule = ProbeSchedule()
    count = 0
    while (arm := schedule.due(ARMS)) is not None:
        probe(schedule, arm, 10 * MS)
        count += 1
    assert count == SAVED_NS // (10 * MS)

    # 10 ms are 2 % of half a second.
    traffic(schedule, 499 * MS)
    assert schedule.due(ARMS) is None
    traffic(schedule, 2 * MS)
    assert schedule.due(ARMS) is not None


def test_probe_that_costs_more_than_can_be_saved_gets_its_turns_all_the_same() -> None:
    schedule, probed = ProbeSchedule(), Counter[Servable]()
    busy_ns = spent_ns = 0
    for _ in range(1000):
        traffic(schedule, 250 * MS)
        busy_ns += 250 * MS
        arm = schedule.due(ARMS)
        if arm is not None:
            took_ns = 2 * SAVED_NS if arm == ARMS[1] else MS
            probe(schedule, arm, took_ns)
            spent_ns += took_ns
            probed[arm] += 1

    assert min(probed.values()) >= 10
    assert max(probed.values()) - min(probed.values()) <= 1
    assert spent_ns <= BUSY_SHARE_MAX * busy_ns + 3 * SAVED_NS


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 500 * MS), st.booleans()), max_size=200),
    st.lists(st.integers(1, 400 * MS), min_size=3, max_size=3),
)
def test_probes_never_cost_more_than_their_share_and_one_too_long(
    looks: list[tuple[int, bool]], costs_ns: list[int]
) -> None:
    schedule = ProbeSchedule()
    busy_ns = spent_ns = 0
    for more_ns, fails in looks:
        traffic(schedule, more_ns)
        busy_ns += more_ns
        arm = schedule.due(ARMS)
        if arm is None:
            continue
        took_ns = costs_ns[ARMS.index(arm)]
        spent_ns += took_ns
        if fails:
            schedule.failed(arm, took_ns)
        else:
            probe(schedule, arm, took_ns)

        assert spent_ns <= BUSY_SHARE_MAX * busy_ns + SAVED_NS + max(costs_ns)


@pytest.mark.parametrize("idle_looks", [0, 1000])
def test_nothing_is_saved_up_beyond_the_bound(idle_looks: int) -> None:
    schedule = ProbeSchedule()
    for _ in range(idle_looks):
        traffic(schedule, 1000 * MS)
    count = 0
    while (arm := schedule.due(ARMS)) is not None:
        probe(schedule, arm, 10 * MS)
        count += 1

    assert count == SAVED_NS // (10 * MS)
