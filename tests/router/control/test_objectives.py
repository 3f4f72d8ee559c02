"""Every kind of objective, mode and policy from its configuration to the end, in the learner's world."""

from typing import Any

import pytest

from router.decisions import Mode
from router.snapshot import PARTS
from serving.cost import Line
from tests.router.control.world import Gateway, World, spec

LINE, DEAR = Line(0.001, 0.0002), Line(0.004, 0.0008)
GOOD = (0.80, 0.97, 0.98)


def concluded(of: World) -> bool:
    return of.phase == "concluded"


def ended(of: World) -> tuple[int | None, list[str]]:
    of.run(concluded)
    return of.dossier.life.winner, of.states()


def test_ratio_buys_most_reward_for_a_dollar() -> None:
    # v3 brings a little more reward for four times the money. By value alone it would win.
    objective = {"kind": "ratio", "value_usd": 1.0, "reward": {"window": "10s"}}
    of = World(spec(objective=objective), GOOD, (LINE, LINE, DEAR))

    assert ended(of) == (1, ["retired", "eligible", "retired"])
    state = of.view()
    assert state["objective"] == "ratio"
    for arm in state["arms"]:
        assert arm["score"] == pytest.approx(arm["rate"] / arm["prediction_cost_usd"])


def test_cheapest_within_margin_takes_what_is_good_enough() -> None:
    objective = {"kind": "cheapest_within_margin", "value_usd": 1.0, "reward": {"window": "10s"}}
    of = World(
        spec(objective=objective, stop={"margin": 0.05}), GOOD, (LINE, Line(0.002, 0.0004), DEAR), requests=4_000
    )

    assert ended(of) == (1, ["retired", "eligible", "retired"])


def test_information_directed_sampling_ends_alike() -> None:
    assert ended(World(spec(policy={"kind": "ids"}), GOOD, (LINE, LINE, DEAR)))[0] == 1


def test_copies_of_the_winner_are_parked_and_shown() -> None:
    wanted = spec()
    document = wanted.model_dump(mode="json")
    for number in (1, 2):
        document["arms"][number]["reward_group"] = "two"
    of = World(type(wanted).model_validate(document), (0.8, 0.97, 0.97), (LINE, LINE, DEAR))

    assert ended(of) == (1, ["retired", "eligible", "standby"])
    for _ in range(10):
        of.tick()
    # The grace is long over.
    assert of.states() == ["retired", "eligible", "standby"]
    state = of.view()
    assert [arm["reward_group"] for arm in state["arms"]] == [None, "two", "two"]
    assert state["arms"][1]["rate"] == state["arms"][2]["rate"]


def test_observing_leaves_everything_to_control_and_measures_it() -> None:
    of = World(seen_as("observe"), GOOD, (LINE, LINE, DEAR))
    of.run(lambda of: of.version >= 40)
    state = of.view()

    assert of.phase == "running"
    assert {one.mode for one in of.published if one.mode != Mode.WARMUP} == {Mode.OBSERVE}
    assert all([arm.parts for arm in one.arms] == [PARTS, 0, 0] for one in of.published)
    assert state["arms"][0]["rate"] == pytest.approx(0.8, abs=0.01)
    assert state["arms"][0]["decisions"] > 10_000
    assert "mode observe never ends" in state["not_ready"]


def test_always_on_follows_what_changes_and_says_so() -> None:
    of = World(seen_as("always_on", policy={"memory": "1m"}), GOOD, (LINE, LINE, LINE), requests=1_000)
    of.run(lambda of: of.version >= 40)
    assert of.dossier.life.leader == 2
    of.rates = (0.8, 0.97, 0.5)
    of.run(lambda of: of.version >= 80)
    drifting = of.view()["alarms"]
    of.run(lambda of: of.version >= 160)
    state = of.view()

    assert (of.phase, of.dossier.life.leader) == ("running", 1)
    assert [(alarm["name"], alarm["arm"]) for alarm in drifting] == [("drift", "v3")]
    assert drifting[0]["evidence_log"] > drifting[0]["bar_log"]
    # What was before is forgotten.
    assert state["arms"][2]["rate"] == pytest.approx(0.5, abs=0.1)


def seen_as(mode: str, **changes: Any) -> Any:
    wanted = spec(**changes)
    return type(wanted).model_validate(wanted.model_dump(mode="json") | {"mode": mode})


def test_no_mode_without_an_end_is_over_after_the_longest_duration() -> None:
    of = World(seen_as("always_on", stop={"min_age": "0s", "max_duration": "20s"}), GOOD, (LINE,) * 3)
    of.run(lambda of: of.version >= 60)

    assert of.phase == "running"


def test_blocks_of_a_sprint_are_known_and_its_price_is_shown_before_and_after() -> None:
    # Arms alike: drained of value long before any of them is refuted.
    wanted = spec(stop={"margin": 0.002, "sprint": {"leader": 0.7, "max_usd": 1.0}})
    of = World(wanted, (0.9, 0.9, 0.9), (LINE, Line(0.001, 0.00021), LINE), requests=3_000)
    before = of.run(lambda of: of.phase == "running" and of.view()["sprint"]["price_usd"] is not None)
    of.run(lambda of: bool(of.view()["sprint"]["is_running"]))
    document = of.dossier.document
    first = document.sprint_blocks[0]
    sprinting = [of.tick() for _ in range(3)][-1]
    state = of.view()["sprint"]

    assert not before.dossier.document.sprint_blocks
    assert document.block == first
    assert max(arm.parts for arm in sprinting.snapshot.arms) / PARTS == pytest.approx(0.97 * 0.7 + 0.01, abs=0.01)
    assert (state["leader"], state["max_usd"]) == (0.7, 1.0)
    assert state["spent_usd"] >= 0.0


def test_sprint_that_would_cost_too_much_is_not_begun() -> None:
    wanted = spec(stop={"margin": 0.002, "sprint": {"max_usd": 0}})
    of = World(wanted, (0.9, 0.9, 0.9), (LINE, LINE, Line(0.001, 0.00025)), requests=3_000)
    of.run(lambda of: of.phase == "confirming")
    for _ in range(5):
        of.tick()
    state = of.view()["sprint"]

    assert not state["is_running"]
    assert "stop.sprint.max_usd is $0" in state["refused"]
    assert of.dossier.document.sprint_blocks == ()


def test_price_that_flaps_is_held() -> None:
    of = World(spec(stop={"min_age": "1h"}), GOOD, (LINE, LINE, DEAR), gateways=[Gateway(3)])
    of.run(lambda of: of.phase == "running")
    of.prices = {name: 2 * price for name, price in of.prices.items()}
    of.tick()
    of.prices = {name: price / 2 for name, price in of.prices.items()}
    of.tick()
    held = of.view()["arms"][0]["price_usd_per_hour"]
    of.prices = {name: price / 4 for name, price in of.prices.items()}
    of.tick()

    assert held == 4.0
    assert of.view()["arms"][0]["price_usd_per_hour"] == 0.5


def test_money_a_day_is_told_from_the_traffic_of_the_day() -> None:
    of = World(spec(stop={"min_age": "1h"}), GOOD, (LINE, LINE, DEAR), requests=100)
    of.run(lambda of: of.phase == "running")
    early = of.view()["continuing"]
    for _ in range(60):
        of.tick()
    state = of.view()

    assert state["requests_per_day"] == pytest.approx(100 * 86_400, rel=0.05)
    assert early["worth_usd_day"] is None or early["worth_usd_day"] > state["continuing"]["worth_usd_day"]
    assert state["continuing"]["cost_usd_day"] > 0.0
