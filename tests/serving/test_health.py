"""A replica is ejected on proof, comes back on an answer, and is left alone for longer each time it falls again."""

from serving.health import Health


def test_nobody_there_is_proof_at_once() -> None:
    out = Health().refused(10.0)

    assert out.is_out
    assert not out.is_due(10.9)
    assert out.is_due(11.0)


def test_one_missing_answer_may_be_a_pause_and_two_are_a_hung_server() -> None:
    once = Health().timed_out(1.0, has_others=True)

    assert not once.is_out
    assert once.timed_out(2.0, has_others=True).is_out
    assert not once.answered(2.0).timed_out(3.0, has_others=True).is_out


def test_the_last_replica_is_not_ejected_for_being_slow() -> None:
    health = Health()
    for now in range(10):
        health = health.timed_out(float(now), has_others=False)

    assert not health.is_out


def test_pause_doubles_while_it_is_asked_in_vain_up_to_its_bound() -> None:
    health, now = Health(), 0.0
    pauses: list[float] = []
    for _ in range(8):
        health = health.refused(now)
        assert health.out_until is not None
        pauses.append(health.out_until - now)
        now = health.out_until

    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_server_that_goes_up_and_down_is_in_for_a_twentieth_of_the_time_at_most() -> None:
    """Up for 2 s, down for 2 s, asked every 0.5 s: operations.md B12."""
    health, calls_reached_a_dead_one, ticks = Health(), 0, 10_000
    for tick in range(ticks):
        now = tick * 0.5
        is_up = int(now) % 4 < 2
        calls_reached_a_dead_one += not is_up and not health.is_out
        if health.is_due(now):
            health = health.answered(now) if is_up else health.refused(now)

    assert calls_reached_a_dead_one <= 0.05 * ticks


def test_long_healthy_replica_begins_anew() -> None:
    health = Health().refused(0.0).refused(1.0).answered(3.0)
    assert health.ejections == 2

    assert health.answered(62.0).ejections == 2
    assert health.answered(63.0).ejections == 0


def test_the_last_of_all_is_asked_at_once_and_for_it_no_pause_grows() -> None:
    out = Health().refused(0.0, has_others=False)
    for tick in range(1, 100):
        assert out.is_due(tick / 2, has_others=False)
        out = out.refused(tick / 2, has_others=False)

    # Others are back: from here on it is treated as one that was ejected once.
    assert out.is_due(50.0)
    assert out.refused(50.0).ejections == 2
