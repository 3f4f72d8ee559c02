"""The state of an experiment says all that design §14 promises, in plain JSON numbers that add up."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from bandits.life import ArmFailed
from router.config.document import validate
from router.config.experiment import Experiment
from router.control.report import state_view
from router.control.seen import Seen
from router.control.splits import Splits
from router.heartbeat import ArmBeat, ExperimentBeat
from router.snapshot import PARTS
from serving.cost import Line
from tests.router.control.world import PRICES, START, World, counted, seeded, spec

STATE = {
    "name",
    "model",
    "phase",
    "epoch",
    "control",
    "leader",
    "value_remaining",
    "continuing",
    "retiring",
    "evidence_bar_log",
    "alarms",
    "arms",
}
ARM = {
    "name",
    "state",
    "weight",
    "decisions",
    "rows",
    "rewards",
    "reward_sum",
    "pending",
    "errors",
    "rate",
    "cost_usd",
    "prediction_cost_usd",
    "value_usd",
    "value_usd_low",
    "value_usd_high",
    "best_probability",
    "evidence_log",
}
ASSESSED = {"rate", "value_usd", "value_usd_low", "value_usd_high", "best_probability", "evidence_log"}
RATES, LINES = (0.90, 0.93, 0.935), (Line(0.001, 0.0002), Line(0.001, 0.0002), Line(0.001, 0.0006))


def strict(raw: bytes) -> dict[str, Any]:
    """Read JSON that knows neither NaN nor infinity."""

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    found: dict[str, Any] = json.loads(raw, parse_constant=refuse)
    return found


def view(of: World) -> dict[str, Any]:
    return strict(bytes(of.published[-1].view))


def world() -> World:
    return World(spec(), RATES, LINES)


def test_state_has_every_field_from_the_first_refresh_to_the_end() -> None:
    of = world()
    while of.phase != "concluded":
        of.tick()
        state = view(of)
        assert set(state) >= STATE
        assert set(state["value_remaining"]) == {"q95", "threshold", "drained"}
        assert set(state["continuing"]) == {"worth_usd_day", "cost_usd_day", "keeping_usd_day"}
        assert set(state["retiring"]) == {"frees_usd_day", "frees_capacity"}
        assert [arm["name"] for arm in state["arms"]] == ["v1", "v2", "v3"]
        assert all(set(arm) >= ARM for arm in state["arms"])
        assert sum(arm["weight"] for arm in state["arms"]) == pytest.approx(1.0, abs=1e-12)
        assert (state["phase"], state["control"]) == (of.phase, "v1")
        assert [arm["state"] for arm in state["arms"]] == of.states()


def test_what_only_an_assessment_knows_is_unknown_before_the_first_one() -> None:
    of = world()
    of.tick()

    state = view(of)
    assert all(arm[name] is None for arm in state["arms"] for name in ASSESSED)
    assert (state["leader"], state["evidence_bar_log"], state["value_remaining"]["q95"]) == (None, None, None)
    assert (state["value_remaining"]["threshold"], state["value_remaining"]["drained"]) == (0.01, False)
    assert state["continuing"]["cost_usd_day"] is None


def test_after_the_end_the_last_assessment_is_still_shown() -> None:
    of = world()
    of.run(lambda of: of.phase == "concluded")

    state = view(of)
    assert (state["leader"], state["winner"], state["outcome"]) == ("v2", "v2", "replaced")
    assert state["value_remaining"]["drained"] is True
    assert state["value_remaining"]["q95"] <= 0.01
    assert all(arm[name] is not None for arm in state["arms"] for name in ASSESSED)
    for place in (0, 2):
        assert state["arms"][place]["evidence_log"] >= state["evidence_bar_log"] > 0.0


def test_value_is_reward_less_cost_within_its_interval() -> None:
    of = world()
    of.run(lambda of: of.phase == "running")
    for _ in range(5):
        of.tick()

    for arm, line in zip(view(of)["arms"], LINES, strict=True):
        rows = of.dossier.document.reference_rows
        cost = line.seconds(rows) / rows * PRICES["tfs-a"] / 3600
        assert arm["prediction_cost_usd"] == pytest.approx(cost, rel=1e-12)
        assert arm["value_usd"] == pytest.approx(1e-6 * arm["rate"] - cost, rel=1e-9)
        assert arm["value_usd_low"] < arm["value_usd"] < arm["value_usd_high"]
        assert 0.0 <= arm["best_probability"] <= 1.0


SEEN = Seen(cells={}, beats=[], prices_usd_per_hour=PRICES, calibrated={}, events=[])


def test_sums_are_over_the_epoch_learned_or_not() -> None:
    wanted = spec(arms=2, objective={"value_usd": 1.0, "reward": {"type": "continuous", "range": [-1, 3]}})
    first = {"decisions": 10, "unlearned_decisions": 2, "rows": 30, "errors": 1, "cost_pico_usd": 5 * 10**11}
    # Two rewards of 3, and of those that are not learned from one of 1.
    second = {"decisions": 5, "rows": 6, "rewards": 2, "reward_q": 2 << 16, "unlearned_rewards": 1}
    second["unlearned_reward_q"] = 1 << 15

    of = seeded(wanted).with_changes(block_starts=(START, START + 5.0))
    state = state_view(of, SEEN, counted({(0, 1): first, (0, 2): second}, 2), Splits((PARTS, 0)), START + 6.0)

    one, other = state["arms"]
    assert (one["decisions"], one["rows"], one["errors"]) == (17, 36, 1)
    assert (one["rewards"], one["rewards_learned"], one["reward_sum"], one["pending"]) == (3, 2, 7.0, 13)
    assert one["cost_usd"] == pytest.approx(0.5)
    assert (one["weight"], other["weight"]) == (1.0, 0.0)
    assert (other["decisions"], other["reward_sum"], other["pending"]) == (0, 0.0, 0)


def test_rewards_that_run_ahead_of_their_decisions_are_not_pending() -> None:
    cells = {(0, 1): {"rewards": 5, "reward_q": 0, "decisions": 3}}

    of = seeded(spec()).with_changes(block_starts=(START,))
    assert state_view(of, SEEN, counted(cells, 3), Splits((PARTS, 0, 0)), START)["arms"][0]["pending"] == 0


def test_decision_is_pending_until_the_window_has_passed_since_its_blocks_end() -> None:
    # Blocks of 5 s, the second of them cut short, and the third the last that was ever opened; a window of 10 s.
    of = seeded(spec()).with_changes(block_starts=(START, START + 5.0, START + 7.0))
    cells = {(0, block): {"decisions": 10 * block, "rewards": 1} for block in (1, 2, 3)}

    def pending(after_s: float) -> int:
        return int(
            state_view(of, SEEN, counted(cells, 3), Splits((PARTS, 0, 0)), START + after_s)["arms"][0]["pending"]
        )

    assert [pending(after_s) for after_s in (8.0, 14.9, 15.0, 16.9, 17.0, 21.9, 22.0)] == [57, 57, 48, 48, 29, 29, 0]


def test_reward_calls_are_shown_by_arm_and_by_gateway() -> None:
    silent = ExperimentBeat(7, (ArmBeat(0),) * 3)
    heard = ExperimentBeat(
        7, (ArmBeat(0, reward_calls={"recorded": 3, "late": 1}), ArmBeat(0), ArmBeat(0)), START - 2.0
    )
    some = replace(SEEN, beats=[heard, silent, heard])

    state = state_view(seeded(spec()), some, counted({}, 3), Splits((PARTS, 0, 0)), START)

    assert [arm["reward_calls"] for arm in state["arms"]] == [{"recorded": 6, "late": 2}, {}, {}]
    of_heard = {"reward_calls": {"recorded": 3, "late": 1}, "reward_call_age_s": 2.0}
    assert state["gateways"] == [of_heard, {"reward_calls": {}, "reward_call_age_s": None}, of_heard]


def test_delays_are_shown_of_conversions_alone() -> None:
    changes: dict[str, Any] = {"objective": {"value_usd": 1e-6, "reward": {"window": "10s", "feedback": "conversions"}}}
    explicit, of = world(), World(spec(**changes), RATES, LINES)
    for one in (explicit, of):
        one.run(lambda one: one.phase == "running")
        for _ in range(3):
            one.tick()

    assert [arm["delay"] for arm in view(explicit)["arms"]] == [None] * 3
    shown = [arm["delay"] for arm in view(of)["arms"]]
    for each in shown:
        # Rewards of this world come at once: hardly any is awaited.
        assert 0.0 <= each["mean_s"] <= 0.01
        assert 0.99 <= each["arrived"] <= 1.0
        assert (each["law"] == "exponential") == (each["gap"] <= 0.1)
    # An arm of some hundred rewards still has the exponential of its prior, five of a tenth of the window; thousands
    # outweigh it.
    assert {each["law"] for each in shown} == {"exponential", "product_limit"}


def test_arm_that_is_not_calibrated_has_no_cost_yet() -> None:
    state = state_view(seeded(spec()), SEEN, counted({}, 3), Splits((PARTS, 0, 0)), START)

    assert [arm["prediction_cost_usd"] for arm in state["arms"]] == [None] * 3
    # It would look best with a value that has nothing taken off.
    assert [arm["value_usd"] for arm in state["arms"]] == [None] * 3


def test_why_is_said_of_phases_and_arms() -> None:
    of = world()
    of.tick(ArmFailed(START, 0, "not listed"))

    state = view(of)
    assert state["reason"] == "control v1 is warming: not listed"
    assert state["arms"][0]["reason"] == "not listed"


def test_epoch_is_written_so_that_no_reader_rounds_it() -> None:
    state = state_view(seeded(spec()), SEEN, counted({}, 3), Splits((PARTS, 0, 0)), START)

    assert int(state["epoch"], 16) == 2**64 - 9
    assert len(state["epoch"]) == 16


def test_leader_worth_nothing_leaves_no_infinite_number_behind() -> None:
    # All arms cost more than any reward is worth.
    of = World(spec(), RATES, [Line(1.0, 1.0)] * 3)
    of.run(lambda of: of.phase == "running")

    for _ in range(10):
        of.tick()
        assert all(arm["value_usd"] < 0.0 for arm in view(of)["arms"])


def test_infinite_is_unknown_and_money_given_up_is_that_of_the_weights() -> None:
    of = world()
    of.run(lambda of: of.phase == "running")
    numbers = of.dossier.document.numbers
    assert numbers is not None
    values = [arm.value_usd for arm in numbers.arms]
    weights = of.dossier.life.weights
    assert weights is not None

    best = values[numbers.leader]
    expected = sum(weight * max(0.0, best - value) for weight, value in zip(weights, values, strict=True))
    assert numbers.given_up_usd == pytest.approx(expected, rel=1e-9)
    assert numbers.certified_gap is None or math.isfinite(numbers.certified_gap)


def test_a_day_of_going_on_costs_what_is_given_up_at_the_present_traffic() -> None:
    of = world()
    of.run(lambda of: of.phase == "running")
    for _ in range(3):
        of.tick()

    state, numbers = view(of), of.dossier.document.numbers
    assert numbers is not None
    decisions = sum(cell["decisions"] for cell in of.cells.values())
    per_day = numbers.given_up_usd * decisions / state["age_s"] * 86_400
    assert state["continuing"]["cost_usd_day"] == pytest.approx(per_day, rel=1e-9)
    assert state["continuing"]["keeping_usd_day"] == 0.0
    assert state["retiring"] == {"frees_usd_day": 0.0, "frees_capacity": True}


def of_two_clouds(*, idle_counts: bool) -> World:
    """v1 is a little better, and the others have machines of their own that cost far more than can be learned."""
    document = spec(stop={"idle_counts": idle_counts}).model_dump(mode="json")
    for arm in document["arms"][1:]:
        arm["backend"] = "other"
    of = World(validate(Experiment, document), (0.92, 0.9, 0.9), LINES)
    of.prices["other"] = of.prices["tfs-a"]
    of.alone_on = {"other": 300}
    return of


def test_machines_that_only_losers_keep_on_are_part_of_what_going_on_costs() -> None:
    of = of_two_clouds(idle_counts=False)
    of.run(lambda of: of.phase == "running" and of.dossier.life.leader == 0)
    of.tick()

    state, numbers = view(of), of.dossier.document.numbers
    assert numbers is not None
    keeping = 24.0 * 300 * PRICES["tfs-a"]
    assert state["leader"] == "v1"
    assert state["continuing"]["keeping_usd_day"] == state["retiring"]["frees_usd_day"] == pytest.approx(keeping)
    given_up = numbers.given_up_usd * state["requests_per_day"]
    assert state["continuing"]["cost_usd_day"] == pytest.approx(given_up + keeping)


def test_where_idle_counts_an_experiment_is_confirmed_before_its_value_is_drained() -> None:
    counts, does_not = of_two_clouds(idle_counts=True), of_two_clouds(idle_counts=False)

    for of in (counts, does_not):
        of.requests = 50
        of.run(lambda of: of.phase == "confirming")

    assert counts.now < does_not.now
    reasons = [of.dossier.life.reason.partition(";")[0] for of in (counts, does_not)]
    assert reasons == ["going on costs more than it brings", "drained of its value"]
