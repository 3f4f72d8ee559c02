"""Captures on the admin port: begun with a reason, bounded, seen by operators, in the audit without what they have."""

from typing import Any

import numpy as np
import pytest

from router.capture.messages import BeginCapture, Captured, EndCapture, Example
from serving import wire
from serving.arrays import from_numpy
from tests.router.admin.bench import Bench, bench

PATH = "/admin/v1/captures"


def example(value: float = 1.0) -> Example:
    tensors = {"x": from_numpy(np.array([[value]], np.float32))}
    request = wire.PredictRequest(inputs=tensors).SerializeToString()
    answer = wire.PredictResponse(model_spec={"version": {"value": 1}}, outputs=tensors).SerializeToString()
    return Example(1.0, "v1", "token", None, request, answer)


async def begin(on: Bench, **changes: Any) -> dict[str, Any]:
    """Begin a capture of an experiment that there is."""
    answer = await on.call("POST", PATH, {"experiment": "digits"} | changes)
    assert answer.status == 201, answer.body
    found: dict[str, Any] = answer.body
    return found


async def rows(on: Bench) -> list[dict[str, Any]]:
    """The rows of the audit about captures."""
    audit = (await on.call("GET", "/admin/v1/audit")).body["audit"]
    return [row for row in audit if "capture" in row["what"]]


async def test_workers_are_told_what_to_keep(on: Bench) -> None:
    await on.started()

    answer = await on.call(
        "POST",
        PATH,
        {"experiment": "digits", "arms": ["v2"], "margin_below": 0.1, "redact": ["email"], "per_minute": 30}
        | {"examples_max": 7, "lasts": "1h", "reason": "what does it confuse?"},
    )

    assert answer.status == 201
    assert answer.headers["location"] == f"{PATH}/{answer.body['id']}"
    now = on.clock["now"]
    # Thirty a minute, by two workers.
    expected = BeginCapture(answer.body["id"], "digits", ("v2",), 0.1, ("email",), 4.0, 7, now + 3600.0)
    assert on.ordered == [expected]
    assert (await on.call("GET", PATH)).body == {"captures": [answer.body]}


async def test_examples_come_page_by_page(on: Bench) -> None:
    await on.started()
    id_ = (await begin(on))["id"]
    for number in range(3):
        on.shelf.take(Captured(id_, example(number)))

    first = (await on.call("GET", f"{PATH}/{id_}?limit=2")).body
    second = (await on.call("GET", f"{PATH}/{id_}?after={first['next']}")).body

    assert [one["inputs"]["x"] for one in first["examples"]] == [[[0.0]], [[1.0]]]
    assert [one["number"] for one in second["examples"]] == [3]
    assert "next" not in second
    assert first["capture"]["examples"] == 3


async def test_who_began_and_ended_it_is_in_the_audit_and_what_it_has_is_not(on: Bench) -> None:
    await on.started()
    etag, history = await on.etag(), (await on.call("GET", "/admin/v1/experiments/digits/history")).body
    id_ = (await begin(on, reason="a complaint"))["id"]
    on.shelf.take(Captured(id_, example(123456.0)))
    assert (await on.call("POST", f"{PATH}/{id_}:stop", {"reason": "enough"})).body["state"] == "ended"
    assert (await on.call("DELETE", f"{PATH}/{id_}", Turpin_Reason="seen")).status == 204

    found = await rows(on)

    assert [(row["what"], row["who"], row["why"]) for row in found] == [
        ("capture requests of digits", "local", "a complaint"),
        ("stop capture of digits", "local", "enough"),
        ("delete capture of digits", "local", "seen"),
    ]
    assert [row["after"] and row["after"]["state"] for row in found] == ["running", "ended", None]
    assert "123456" not in str(found)
    # It is no change of the experiment.
    assert (await on.etag(), (await on.call("GET", "/admin/v1/experiments/digits/history")).body) == (etag, history)


async def test_stopped_capture_keeps_what_it_has(on: Bench) -> None:
    await on.started()
    id_ = (await begin(on))["id"]
    on.shelf.take(Captured(id_, example()))

    first = await on.call("POST", f"{PATH}/{id_}:stop")
    again = await on.call("POST", f"{PATH}/{id_}:stop")
    on.shelf.take(Captured(id_, example()))

    assert (first.status, first.body["ended_by"]) == (200, "stopped")
    assert again.body == first.body
    assert len((await on.call("GET", f"{PATH}/{id_}")).body["examples"]) == 1
    assert on.ordered[1:] == [EndCapture(id_)]
    assert len(await rows(on)) == 2


async def test_deleted_capture_is_gone_and_workers_are_told(on: Bench) -> None:
    await on.started()
    id_ = (await begin(on))["id"]

    assert (await on.call("DELETE", f"{PATH}/{id_}")).status == 204

    assert on.ordered[1:] == [EndCapture(id_)]
    assert (await on.call("GET", f"{PATH}/{id_}")).label == "not_found"
    assert (await on.call("POST", f"{PATH}/{id_}:stop")).label == "not_found"
    assert (await on.call("GET", PATH)).body == {"captures": []}


async def test_one_runs_at_a_time_and_few_are_kept(on: Bench) -> None:
    await on.started()
    first = await begin(on)
    assert (await on.call("POST", PATH, {"experiment": "digits"})).label == "state_conflict"
    for one in range(4):
        on.clock["now"] += 600.0
        if one < 3:
            await begin(on)

    full = await on.call("POST", PATH, {"experiment": "digits"})
    await on.call("DELETE", f"{PATH}/{first['id']}")

    assert (full.status, full.label) == (409, "state_conflict")
    assert "delete one" in full.body["detail"]
    await begin(on)


async def test_key_begins_one_capture(on: Bench) -> None:
    await on.started()

    first = await on.call("POST", PATH, {"experiment": "digits"}, Idempotency_Key="k")
    again = await on.call("POST", PATH, {"experiment": "digits"}, Idempotency_Key="k")
    other = await on.call("POST", PATH, {"experiment": "digits", "per_minute": 1}, Idempotency_Key="k")

    assert (again.status, again.body, again.headers["idempotent-replayed"]) == (201, first.body, "true")
    assert other.label == "key_reused"
    assert len(on.ordered) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "experiment"),
        ({"experiment": "other"}, "experiment"),
        ({"experiment": "digits", "arms": ["v1", "v9"]}, "arms[1]"),
        ({"experiment": "digits", "margin_below": 0}, "margin_below"),
        ({"experiment": "digits", "per_minute": 601}, "per_minute"),
        ({"experiment": "digits", "examples_max": 1001}, "examples_max"),
        ({"experiment": "digits", "lasts": "25h"}, "lasts"),
        ({"experiment": "digits", "lasts": "500ms"}, "lasts"),
        ({"experiment": "digits", "redact": [""]}, "redact[0]"),
        ({"experiment": "digits", "share": 1}, "share"),
    ],
)
async def test_bad_input_is_refused_by_its_field(on: Bench, body: dict[str, Any], field: str) -> None:
    await on.started()

    answer = await on.call("POST", PATH, body)

    assert (answer.status, answer.label) == (422, "invalid")
    assert [error["field"] for error in answer.body["errors"]] == [field]
    assert on.ordered == []
    assert await rows(on) == []


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", "limit=101", "after=99999"])
async def test_bad_pages_are_refused(on: Bench, query: str) -> None:
    await on.started()
    id_ = (await begin(on))["id"]

    assert (await on.call("GET", f"{PATH}/{id_}?{query}")).label == "invalid"


async def test_examples_want_the_token_where_reading_is_open(on: Bench) -> None:
    await on.started()
    id_ = (await begin(on))["id"]

    async with on.session.get(PATH) as listed, on.session.get(f"{PATH}/{id_}") as shown:
        assert (listed.status, shown.status) == (200, 401)


async def test_end_of_a_capture_reaches_the_workers() -> None:
    async with bench() as on:
        await on.started()
        id_ = (await begin(on, lasts="1s"))["id"]
        on.clock["now"] += 1.0

        await on.captures._look()

        assert on.ordered[1:] == [EndCapture(id_)]
        assert (await on.call("GET", PATH)).body["captures"][0]["ended_by"] == "time"
