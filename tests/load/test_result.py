"""The JSON object of a run, and what is missing from a run that did not go well."""

import json
from collections.abc import Callable

import msgspec
import pytest

from load.demo.result import Run, document, missing
from tests.load.runs import finished_run

# Design §13, in its order.
KEYS = (
    "requests",
    "failed",
    "experiment",
    "phase",
    "winner",
    "retired",
    "unloaded",
    "shares",
    "value_usd",
    "uniform_value_usd",
    "billed_usd",
    "rewards_sent",
    "rewards_counted",
    "duration_s",
)


def test_good_run_misses_nothing_and_says_so_in_json() -> None:
    run = finished_run()

    found = json.loads(msgspec.json.encode(document(run)))

    assert missing(run) == []
    assert tuple(found)[: len(KEYS)] == KEYS
    assert (found["requests"], found["failed"], found["winner"]) == (6000, 0, "v2")
    assert (found["retired"], found["unloaded"]) == (["v1", "v3"], ["v1", "v3"])
    assert (found["rewards_sent"], found["rewards_counted"]) == (6000, 6000)
    assert sum(found["shares"].values()) == pytest.approx(1.0, abs=1e-5)
    assert found["value_usd"] > found["uniform_value_usd"] > 0
    assert len(set(found["pids"].values())) == 3


def _not_concluded(run: Run) -> None:
    assert run.state is not None
    run.state = msgspec.structs.replace(run.state, phase="running", winner=None, not_ready=["age 3 s of 10 s"])


def _undecided(run: Run) -> None:
    assert run.state is not None
    run.state = msgspec.structs.replace(run.state, winner=None, reason="max_duration")


def _still_loaded(run: Run) -> None:
    run.servers = {1: "END", 2: "AVAILABLE", 3: "UNLOADING"}


def _standby(run: Run) -> None:
    assert run.state is not None
    arms = [msgspec.structs.replace(arm, state="standby") if arm.name == "v1" else arm for arm in run.state.arms]
    run.state = msgspec.structs.replace(run.state, arms=arms)


def _failed(run: Run) -> None:
    run.books.failed("gRPC UNAVAILABLE: away")


def _lost_reward(run: Run) -> None:
    run.rewards_sent += 1


def _refused(run: Run) -> None:
    run.rewards_refused = {"reward 410 window closed: late": 2}


def _unseen(run: Run) -> None:
    run.state = None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_not_concluded, "still running, not concluded; it waits for: age 3 s of 10 s"),
        (_undecided, "concluded without a winner: max_duration"),
        (_still_loaded, "not at END in the model server's own status: v3"),
        (_standby, "not retired: v1"),
        (_failed, "1 of 6001 requests failed: 1 × gRPC UNAVAILABLE: away"),
        (_lost_reward, "6001 rewards were sent, 6000 counted"),
        (_refused, "2 × reward 410 window closed: late"),
        (_unseen, "never showed the experiment"),
    ],
)
def test_each_shortcoming_is_named(spoil: Callable[[Run], None], words: str) -> None:
    run = finished_run()

    spoil(run)

    assert any(words in sentence for sentence in missing(run)), missing(run)
    assert json.loads(msgspec.json.encode(document(run)))["missing"] == missing(run)


def test_run_is_over_when_every_loser_is_gone() -> None:
    run = finished_run()
    assert run.is_over()

    _still_loaded(run)

    assert not run.is_over()
