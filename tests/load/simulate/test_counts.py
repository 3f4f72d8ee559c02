"""What is counted in a simulated world is what gateways would have counted, field by field."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bandits import delay_bins
from bandits.sample_ratio import LAMBDAS, Draws, sample_ratio
from load.simulate.counts import Counts
from load.simulate.policy import Turn
from load.simulate.truth import Rewards
from router.ledger import Ledger, moment_cell
from router.store import Cell

ONE = 1 << 16
PARTS = (3 * 2**29, 2**29)


def rewards(*rows: tuple[float, float, int, int, int]) -> Rewards:
    at, earned, arm, block, q = (np.array(column) for column in zip(*rows, strict=True))
    return Rewards(at.astype(float), earned.astype(float), arm, block, q)


def test_delayed_rewards_enter_the_cell_of_their_decision() -> None:
    of = Counts(2, 1000.0)

    of.delayed(rewards((50, 40.5, 1, 3, ONE), (60, 55, 1, 3, ONE // 2), (70, 10, 0, 2, 0)))

    late = of.cells[1, 3]
    assert [late[name] for name in ("rewards", "reward_q", "reward_q2", "delay_ms")] == [
        2,
        ONE * 3 // 2,
        ONE**2 + ONE**2 // 4,
        14_500,
    ]
    bins = {delay_bins.bin_of(9.5, 1000): 1, delay_bins.bin_of(5, 1000): 1}
    assert {name: late[name] for name in delay_bins.FIELDS if late.get(name)} == {
        delay_bins.FIELDS[number]: count for number, count in bins.items()
    }
    assert of.cells[0, 2]["rewards"] == 1


def test_bins_are_those_of_a_worker() -> None:
    rng = np.random.default_rng(1)
    delays = rng.exponential(300.0, 500)
    of = Counts(1, 900.0)

    of.delayed(rewards(*((delay, 0.0, 0, 1, ONE) for delay in delays.tolist())))

    wanted = np.bincount([delay_bins.bin_of(delay, 900.0) for delay in delays.tolist()], minlength=delay_bins.BINS)
    assert [of.cells[0, 1].get(name, 0) for name in delay_bins.FIELDS] == wanted.tolist()


def test_news_are_told_once() -> None:
    of = Counts(2, 1000.0)
    of.immediate(4, np.array([[5, 2 * ONE, 2 * ONE * ONE], [0, 0, 0]]))

    [first] = of.news()

    assert (first.arm, first.block, first.rewards, first.reward_q) == (0, 4, 5, 2 * ONE)
    assert of.news() == []


def stored(ledger: Ledger) -> dict[tuple[int, int], Mapping[str, int]]:
    return {(cell.arm, cell.block): fields for cell, fields in ledger.parcel().deltas.items()}


def test_draws_and_what_their_weights_promised_are_a_workers() -> None:
    of, ledger = Counts(2, 1000.0), Ledger()
    counts = np.array([70, 30])

    of.requests(Turn(PARTS, 5), counts)
    for arm, count in enumerate(counts.tolist()):
        for _ in range(count):
            ledger.assign(0, 5, (PARTS[0], 2**31), arm)

    for key, fields in stored(ledger).items():
        for name, value in fields.items():
            assert of.cells[key][name] == value, (key, name)


def test_honest_draws_ring_no_alarm_and_lost_ones_do() -> None:
    of, rng = Counts(2, 1000.0), np.random.default_rng(2)
    lost = 0
    for _ in range(100):
        counts = rng.multinomial(200, np.array(PARTS) / 2**31)
        of.requests(Turn(PARTS, 1), counts)
        lost += int(counts[1]) // 3

    def alarm(missing: int) -> Any:
        moments = tuple(
            tuple(of.cells[Cell(0, arm, -1 - place)[1:]]["log_moment"] for place in range(len(LAMBDAS)))
            for arm in range(2)
        )
        assigned = (of.cells[0, 1]["assigned"], of.cells[1, 1]["assigned"] - missing)
        return sample_ratio(["a", "b"], Draws(assigned, moments))

    assert moment_cell(0, 1, 2)[1:] == (1, -3)
    assert not alarm(0).is_ringing
    assert alarm(lost).is_ringing


def test_requests_that_are_not_learned_from_are_kept_apart() -> None:
    of = Counts(2, 1000.0)

    of.requests(Turn(PARTS, 5, is_learned=False), np.array([7, 0]))

    cell = of.cells[0, 5]
    assert (cell["decisions"], cell["assigned"], cell["unlearned_decisions"]) == (0, 0, 7)
    assert list(of.cells) == [(0, 5)]
