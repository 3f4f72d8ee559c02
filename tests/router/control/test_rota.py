"""Experiments that live are refreshed in every turn; quiet ones in turn, as far as the time goes."""

from router.control.rota import QUIET_MAX_S, Rota

PERIOD_S = 1.0
ALL = {"a": 1, "b": 1, "c": 1}


def rota(*quiet: str, at: float = 0.0) -> Rota:
    found = Rota(PERIOD_S)
    for place, name in enumerate(ALL):
        found.refreshed(name, 1, at + place / 10, is_quiet=name in quiet)
    return found


def test_experiments_that_live_come_first_and_never_wait() -> None:
    of = rota("a", "c")

    assert of.order(ALL) == ["b", "a", "c"]
    assert not of.may_wait("b", 1.0, 1.9)


def test_quiet_ones_wait_once_their_part_of_the_turn_is_over() -> None:
    of = rota("a", "b", "c")

    assert not of.may_wait("a", began=1.0, now=1.24)
    assert of.may_wait("b", began=1.0, now=1.26)


def test_whoever_waited_longest_comes_first() -> None:
    of = rota("a", "b", "c")
    of.refreshed("a", 1, 1.0, is_quiet=True)

    assert of.order(ALL) == ["b", "c", "a"]


def test_nobody_waits_for_ever() -> None:
    of = rota("a", "b", "c")

    assert of.may_wait("a", began=1.0, now=QUIET_MAX_S - 0.01)
    assert not of.may_wait("a", began=1.0, now=QUIET_MAX_S)


def test_what_a_person_changed_is_refreshed_at_once() -> None:
    of = rota("a", "b", "c")

    assert of.order(ALL | {"c": 2}) == ["c", "a", "b"]
    assert not of.may_wait("c", began=1.0, now=1.9)


def test_new_ones_are_refreshed_and_old_ones_forgotten() -> None:
    of = rota("a", "b", "c")
    of.order({"a": 1, "d": 1})

    assert not of.may_wait("d", began=1.0, now=1.9)
    assert not of.may_wait("b", began=1.0, now=1.9)
