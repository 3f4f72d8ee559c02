"""An arm without a prediction: drawn, counted and signed as any other decision, and nothing is sent anywhere."""

import json
from collections import Counter
from typing import Any

import pytest
from aiohttp import web

from router.decisions import Mode
from router.fronts.access import Access
from router.fronts.bodies import problem
from router.problems import Problem
from router.snapshot import PARTS
from tests.router.fronts.bench import Behind
from tests.router.fronts.test_http import Client, serving
from tests.router.samples import BACKEND, CELL_1, CELL_2, MODEL, counted

PATH = "/v1/decide"


async def decide(client: Client, body: Any = None, **headers: str) -> tuple[int, Any]:
    status, answer, _ = await client.call("POST", PATH, json.dumps(body or {"model": MODEL}), **headers)
    return status, answer


async def test_arm_is_chosen_counted_and_signed_and_nothing_is_sent() -> None:
    behind = Behind(parts=(PARTS // 4, PARTS - PARTS // 4))
    async with serving(behind, is_decide=True) as client:
        answers = [await decide(client) for _ in range(20)]

    on, chosen = behind.bench, Counter(answer["arm"] for _, answer in answers)
    assert {status for status, _ in answers} == {200}
    for _, answer in answers:
        decision = on.keys.verify(answer["decision"])
        assert (decision.mode, f"v{decision.arm + 1}", decision.rows) == (Mode.EXPERIMENT, answer["arm"], 1)
        assert answer["propensity"] == decision.parts / PARTS == (0.25 if answer["arm"] == "v1" else 0.75)
        assert (answer["backend"], answer["model"], answer["version"]) == (BACKEND, MODEL, decision.arm + 1)
        assert (answer["experiment"], answer["learned"]) == ("digits-2026", True)
    assert behind.dispatcher.servables == []
    sums = counted(on)
    found = {name: sums.get(cell, {}).get("decisions", 0) for name, cell in (("v1", CELL_1), ("v2", CELL_2))}
    assert found == {"v1": chosen["v1"], "v2": chosen["v2"]}
    assert on.count("turpin_decisions_total", experiment="digits-2026", arm="v1", mode="experiment") == chosen["v1"]


async def test_decision_is_learned_from_when_its_reward_comes() -> None:
    async with serving(Behind(), is_decide=True) as client:
        _, answer = await decide(client)
        status, recorded, _ = await client.reward(decision=answer["decision"], reward=1.0)

    assert (status, recorded["learned"]) == (202, True)


async def test_rows_are_rewarded_one_by_one() -> None:
    async with serving(Behind(), is_decide=True) as client:
        _, answer = await decide(client, {"model": MODEL, "rows": 3})
        wrong = await client.reward(decision=answer["decision"], rewards=[1.0])
        right = await client.reward(decision=answer["decision"], rewards=[1.0, 0.0, 1.0])

    assert (wrong[0], right[0]) == (422, 202)


async def test_call_with_an_id_gets_the_same_decision_again() -> None:
    behind = Behind()
    async with serving(behind, is_decide=True) as client:
        answers = [(await decide(client, turpin_request_id="r1"))[1] for _ in range(8)]

    decisions = [behind.bench.keys.verify(answer["decision"]) for answer in answers]
    assert len({(decision.arm, decision.nonce) for decision in decisions}) == 1


@pytest.mark.parametrize(
    ("raw", "status", "word"),
    [
        (b"", 400, "is no JSON object"),
        (b"[]", 422, "Expected `object`"),
        (b'{"model": 1}', 422, "Expected `str`"),
        (b"{}", 422, "missing required field `model`"),
        (b'{"model": "digits", "rows": 0}', 422, "$.rows"),
        (b'{"model": "digits", "arm": "v2"}', 422, "unknown field `arm`"),
        (b'{"model": "\xff"}', 400, "is no JSON object"),
        (b'{"model": "nobody-s"}', 404, "no experiment decides for the model 'nobody-s'"),
        (b" " * 5000, 413, "larger than"),
    ],
)
async def test_what_makes_no_sense_is_refused(raw: bytes, status: int, word: str) -> None:
    async with serving(Behind(), is_decide=True) as client:
        found, answer, _ = await client.call("POST", PATH, raw)

    assert (found, word in answer["detail"]) == (status, True), answer


async def test_it_is_off_until_it_is_switched_on() -> None:
    async with serving(Behind()) as client:
        status, answer = await decide(client)

    assert (status, "listen: {decide: true}" in answer["detail"]) == (404, True)


class Closed(Access):
    """Lets nobody in, as off loopback without a token."""

    def refuse_reward(self, request: web.BaseRequest) -> web.Response | None:
        return problem(Problem.UNAUTHENTICATED, "send a token")


async def test_it_wants_what_rewards_want() -> None:
    behind = Behind()
    behind.access = Closed(token_sha256=(), is_reward_open=False)
    async with serving(behind, is_decide=True) as client:
        status, answer = await decide(client)

    assert (status, answer["type"]) == (401, "urn:turpin:problem:unauthenticated")
    assert counted(behind.bench) == {}
