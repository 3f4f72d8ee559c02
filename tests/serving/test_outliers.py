"""Which replica's calls fail while those of others do not."""

from hypothesis import given
from hypothesis import strategies as st

from serving.outliers import Outliers


def ejected(outliers: Outliers, address: str, faults: int, calls: int, now: float = 0.0) -> bool:
    """Whether the last of so many calls, the faults among them at the end, ejects the replica; both get calls."""
    found = [
        outliers.ended(address, now, is_fault=number >= calls - faults, others=["a", "b"]) for number in range(calls)
    ]
    return found[-1]


def test_half_of_the_calls_failing_ejects_and_fewer_do_not() -> None:
    for faults, is_out in ((7, False), (8, True)):
        outliers = Outliers()
        ejected(outliers, "b", 0, 16)

        assert ejected(outliers, "a", faults, 16) is is_out


def test_few_calls_prove_nothing() -> None:
    outliers = Outliers()
    ejected(outliers, "b", 0, 16)

    assert not ejected(outliers, "a", 7, 7)
    assert ejected(outliers, "a", 1, 1)


def test_what_fails_elsewhere_too_is_not_the_replicas_fault() -> None:
    outliers = Outliers()
    ejected(outliers, "b", 8, 16)

    assert not ejected(outliers, "a", 16, 16)


def test_what_no_other_replica_answers_is_nobodys_fault() -> None:
    # A client asks in turn for a model that is there and for one that is not: all of the latter come to one replica.
    outliers = Outliers()
    found = [
        outliers.ended(address, 0.0, is_fault=model == "none", others=["a", "b"], asked=model)
        for address, model in [("a", "digits"), ("b", "none")] * 20
    ]

    assert not any(found)


def test_a_broken_replica_is_found_beside_calls_for_what_nobody_has() -> None:
    outliers = Outliers()
    ejected(outliers, "b", 0, 16)
    for _ in range(100):
        outliers.ended("a", 0.0, is_fault=True, others=["a", "b"], asked="none")

    assert ejected(outliers, "a", 8, 8)


def test_the_last_replica_is_never_ejected() -> None:
    outliers = Outliers()

    assert not any(outliers.ended("a", 0.0, is_fault=True, others=["a"]) for _ in range(100))


def test_what_is_long_ago_counts_no_more() -> None:
    outliers = Outliers()
    ejected(outliers, "a", 7, 7, now=0.0)
    ejected(outliers, "b", 0, 16, now=10.0)

    assert not ejected(outliers, "a", 1, 1, now=10.0)


def test_after_an_ejection_it_begins_anew() -> None:
    outliers = Outliers()
    ejected(outliers, "b", 0, 16)
    assert ejected(outliers, "a", 8, 8)
    outliers.forget("a")

    assert not ejected(outliers, "a", 7, 7)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=200))
def test_nobody_is_ejected_whose_calls_fail_less_than_half_the_time(calls: list[tuple[str, bool]]) -> None:
    outliers, seen = Outliers(), {"a": [0, 0], "b": [0, 0], "c": [0, 0]}
    for number, (address, is_fault) in enumerate(calls):
        seen[address][0] += 1
        seen[address][1] += is_fault
        if outliers.ended(address, number / 1e3, is_fault=is_fault, others="abc"):
            assert 2 * seen[address][1] >= seen[address][0] >= 8
