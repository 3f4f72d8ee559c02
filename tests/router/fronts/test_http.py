"""TF Serving's REST API as TF Serving answers it, with the decision in headers; rewards in problem documents."""

import asyncio
import contextlib
import gzip
import io
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import aiohttp
import pytest
import yarl

from router.fronts.decide import DecideRoute
from router.fronts.http import HttpFront, serve_front
from router.fronts.rewards import BODY_BYTES_MAX
from router.rewards import REWARDS_PER_CALL_MAX
from router.snapshot import PARTS
from serving.errors import BackendError, Code, DeadlineExceeded, QueueFull, ServingError, Unavailable
from serving.upstream import Servable
from tests.router.fronts.bench import MESSAGE_BYTES, Behind
from tests.router.samples import BACKEND, EPOCH

V1, V2 = Servable(BACKEND, "digits", 1), Servable(BACKEND, "digits", 2)
ROWS = json.dumps({"instances": [1.5, 2.5]})
COLUMNS = json.dumps({"inputs": {"x": [1.5, 2.5]}})
PREDICT = "/v1/models/digits:predict"


class Client:
    """A client of the front. Mutable: its session, and what the front says of its readiness."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, front: HttpFront, end: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        self.session, self.url, self.front, self.end = session, url, front, end

    async def call(
        self, method: str, path: str, sent: str | bytes | io.BytesIO | None = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Return status, body (read as JSON, where it is), and headers in small letters."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url + path, data=sent, headers=named) as answer:
            raw = await answer.read()
            found = {name.lower(): value for name, value in answer.headers.items()}
            is_json = answer.content_type.endswith(("/json", "+json"))
            return answer.status, json.loads(raw) if is_json and raw else raw, found

    async def predict(
        self, sent: str | bytes = ROWS, path: str = PREDICT, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Ask for a prediction."""
        return await self.call("POST", path, sent, **headers)

    async def decision(self) -> str:
        """Return the token of a new decision."""
        return (await self.predict())[2]["turpin-decision"]

    async def reward(self, **claim: Any) -> tuple[int, Any, dict[str, str]]:
        """Send one reward."""
        return await self.call("POST", "/v1/rewards", json.dumps(claim))


@contextlib.asynccontextmanager
async def serving(
    behind: Behind, *, is_cors: bool = False, is_decide: bool = False, connection_age_s: float = 0.0
) -> AsyncIterator[Client]:
    """The front on a free port, and a client of it."""
    front = HttpFront(
        predictor=behind.bench.predictor,
        models=behind.models,
        rewards=behind.rewards,
        decide=DecideRoute(predictor=behind.bench.predictor, access=behind.access, is_on=is_decide),
        metrics=behind.bench.metrics,
        message_bytes=MESSAGE_BYTES,
        is_cors=is_cors,
        connection_age_s=connection_age_s,
    )
    await behind.store.open()
    runner, port = await serve_front(front, "127.0.0.1", 0, is_shared=False)
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(session, f"http://127.0.0.1:{port}", front, runner.cleanup)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("sent", "expected"),
    [(ROWS, {"predictions": [1.5, 2.5]}), (COLUMNS, {"outputs": [1.5, 2.5]})],
    ids=["rows", "columns"],
)
async def test_answer_has_the_form_of_the_request_and_headers_tell_the_decision(sent: str, expected: Any) -> None:
    behind = Behind(parts=(0, PARTS))
    async with serving(behind) as client:
        status, answer, headers = await client.predict(sent)

    assert (status, answer) == (200, expected)
    assert (headers["turpin-arm"], headers["turpin-experiment"]) == ("v2", "digits-2026")
    assert behind.bench.keys.verify(headers["turpin-decision"]).arm == 1
    assert behind.requests("rest", "ok") == 1.0


async def test_body_too_large_for_the_loop_is_read_beside_it() -> None:
    many = json.dumps({"instances": [0.5] * 20_000})
    async with serving(Behind()) as client:
        status, answer, _ = await client.predict(many)

    assert (status, len(many) > 64 * 1024) == (200, True)
    assert answer["predictions"] == [0.5] * 20_000


@pytest.mark.parametrize(
    ("path", "servable"),
    [
        ("/v1/models/digits/versions/1:predict", V1),
        ("/v1/models/digits/labels/canary:predict", Servable(BACKEND, "digits", None, "canary")),
        ("/v1/models/bystander:predict", Servable(BACKEND, "bystander", None)),
    ],
)
async def test_pins_and_other_models_go_where_they_say_and_nothing_is_told(path: str, servable: Servable) -> None:
    behind = Behind()
    async with serving(behind) as client:
        status, _, headers = await client.predict(path=path)

    assert (status, behind.dispatcher.servables) == (200, [servable])
    assert [name for name in headers if name.startswith("turpin-")] == []


async def test_entry_label_takes_part() -> None:
    async with serving(Behind(parts=(0, PARTS))) as client:
        _, _, headers = await client.predict(path="/v1/models/digits/labels/stable:predict")

    assert headers["turpin-arm"] == "v2"


async def test_request_id_and_timeout_are_read_from_headers() -> None:
    behind = Behind()
    before = asyncio.get_running_loop().time()
    async with serving(behind) as client:
        told = [(await client.predict(turpin_request_id=n, turpin_timeout_ms="2500"))[2] for n in "aab"]
    after = asyncio.get_running_loop().time()

    decisions = [behind.bench.keys.verify(headers["turpin-decision"]) for headers in told]
    assert decisions[0].nonce == decisions[1].nonce != decisions[2].nonce
    assert all(before + 2.5 <= deadline <= after + 2.5 for _, deadline in behind.dispatcher.asked)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unavailable("tfs:1 is away"), 503),
        (QueueFull("the queue is full"), 429),
        (DeadlineExceeded("too late", "queue"), 504),
        (BackendError(Code.INVALID_ARGUMENT, "its own words"), 400),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
async def test_error_is_tf_servings_body_and_is_counted_by_its_label(error: ServingError, status: int) -> None:
    behind = Behind({V1: error}, parts=(PARTS, 0))
    async with serving(behind) as client:
        answered, answer, headers = await client.predict()

    assert (answered, answer) == (status, {"error": error.message})
    assert headers.get("retry-after") == ("1" if status in (429, 503) else None)
    assert behind.requests("rest", error.label) == 1.0


async def test_fault_of_ours_shows_nothing_of_itself_and_is_counted() -> None:
    behind = Behind()
    behind.bench.predictor._dispatchers = {}
    async with serving(behind) as client:
        assert (await client.predict())[:2] == (500, {"error": "internal error of the gateway"})

    assert behind.requests("rest", "internal") == 1.0


async def test_classify_takes_part_in_the_experiment_as_predict_does() -> None:
    behind = Behind()
    async with serving(behind) as client:
        status, answer, headers = await client.predict('{"examples": [{"x": 1.0}]}', "/v1/models/digits:regress")

    # The stand-in gives no results, which are nothing that JSON could show; but the call was made, and decided.
    assert (status, answer) == (400, {"error": "Cannot convert empty RegressionResults to JSON"})
    assert behind.dispatcher.servables[0] in (V1, V2)
    assert (
        behind.bench.count("turpin_decisions_total", experiment="digits-2026", arm="v1", mode="experiment")
        + (behind.bench.count("turpin_decisions_total", experiment="digits-2026", arm="v2", mode="experiment"))
        == 1.0
    )
    assert "turpin-decision" not in headers


async def test_packed_body_is_read_within_the_limit_that_holds_for_it_unpacked() -> None:
    async with serving(Behind()) as client:
        good = await client.predict(gzip.compress(ROWS.encode()), Content_Encoding="gzip")
        bomb = await client.predict(gzip.compress(b" " * (MESSAGE_BYTES + 1)), Content_Encoding="gzip")
        broken = await client.predict(b"no gzip", Content_Encoding="GZIP")

    assert good[0] == 200
    assert (bomb[0], f"more than {MESSAGE_BYTES} bytes" in bomb[1]["error"]) == (400, True)
    assert (broken[0], broken[1]["error"].startswith("Failed to uncompress request body: ")) == (400, True)


async def test_models_are_listed_with_the_states_of_their_versions() -> None:
    async with serving(Behind()) as client:
        status, answer, _ = await client.call("GET", "/v1/models")

    (listed,) = [model for model in answer["models"] if model["name"] == "digits"]
    assert status == 200
    assert [one["version"] for one in listed["model_version_status"]] == ["2", "1"]


@pytest.mark.parametrize("path", [PREDICT, "/v1/rewards"])
@pytest.mark.parametrize("is_cors", [True, False])
async def test_pages_of_other_origins_may_call_and_read_the_token_only_where_that_is_allowed(
    path: str, is_cors: bool
) -> None:
    async with serving(Behind(), is_cors=is_cors) as client:
        preflight = await client.call("OPTIONS", path, Origin="https://page.example")
        refused = await client.call("OPTIONS", PREDICT)
        answer = await client.predict()

    allowed = [preflight[2].get("access-control-allow-origin"), answer[2].get("access-control-allow-origin")]
    assert allowed == (["*", "*"] if is_cors else [None, None])
    assert ("turpin-decision" in answer[2].get("access-control-expose-headers", "")) == is_cors
    assert preflight[0] == (405 if path == "/v1/rewards" and not is_cors else 200)
    assert refused[:2] == (400, {"error": "Origin header is missing in CORS preflight"})


async def test_body_beyond_the_limit_is_refused_and_counted() -> None:
    behind = Behind()
    async with serving(behind) as client:
        status, answer, _ = await client.predict(" " * (MESSAGE_BYTES + 1))

    assert status == 429
    assert f"limits.message_bytes = {MESSAGE_BYTES}" in answer["error"]
    assert behind.requests("rest", "message_too_large") == 1.0


async def test_status_and_metadata_are_answered_under_the_public_name() -> None:
    async with serving(Behind()) as client:
        status = await client.call("GET", "/v1/models/digits")
        metadata = await client.call("GET", "/v1/models/digits/versions/2/metadata")

    assert [one["version"] for one in status[1]["model_version_status"]] == ["2", "1"]
    assert metadata[1]["model_spec"]["name"] == "digits"
    assert "serving_default" in metadata[1]["metadata"]["signature_def"]["signature_def"]


async def test_readiness_is_what_the_process_says() -> None:
    async with serving(Behind()) as client:
        before = await client.call("GET", "/readyz")
        client.front.is_ready = True
        after = await client.call("GET", "/readyz")
        health = await client.call("GET", "/healthz")

    assert (before[:2], after[:2], health[:2]) == (
        (503, {"ready": False}),
        (200, {"ready": True}),
        (200, {"status": "ok"}),
    )


async def test_reward_is_counted_once_and_every_answer_says_what_became_of_it() -> None:
    behind = Behind()
    async with serving(behind) as client:
        token = await client.decision()
        first = await client.reward(decision=token, reward=1)
        again = await client.reward(decision=token, reward=1)
        other = await client.reward(decision=token, reward=0)
        sums = await behind.store.sums(EPOCH)

    accepted = {"durability": "standard", "learned": True}
    assert (first[0], first[1]) == (202, accepted)
    assert (again[0], again[1]) == (200, {**accepted, "duplicate": True})
    assert (other[0], other[1]["type"]) == (409, "urn:turpin:problem:conflict")
    assert other[2]["content-type"].startswith("application/problem+json")
    assert sum(cell["rewards"] for cell in sums.values()) == 1


async def test_rewards_of_rows_are_one_reward() -> None:
    behind = Behind()
    async with serving(behind) as client:
        status, _, _ = await client.reward(decision=await client.decision(), rewards=[1, 0])
        sums = await behind.store.sums(EPOCH)

    assert status == 202
    assert [cell["reward_q"] for cell in sums.values()] == [1 << 15]


@pytest.mark.parametrize(
    ("sent", "status", "label"),
    [
        (b"", 400, "malformed"),
        (b"[]", 422, "invalid"),
        (b"{", 400, "malformed"),
        (b'{"reward": 1}', 422, "invalid"),
        (b'{"decision": "x", "reward": NaN}', 422, "invalid"),
        (b'{"decision": "x", "reward": 1, "more": 2}', 422, "invalid"),
        (b'{"decision": "x", "reward": "1"}', 422, "invalid"),
        (b'{"decision": "x", "reward": true}', 422, "invalid"),
        (b'{"decision": "x", "reward": 1}', 401, "forged"),
        (b'{"decision": "x", "event": "\\ud800"}', 400, "malformed"),
        (b"[" * 100_000, 422, "invalid"),
        (b"\xff", 400, "malformed"),
        (b" " * (MESSAGE_BYTES + 1), 413, "too_large"),
    ],
    ids=range(13),
)
async def test_reward_that_is_refused_is_a_problem_with_a_type(sent: bytes, status: int, label: str) -> None:
    behind = Behind()
    async with serving(behind) as client:
        found, problem, headers = await client.call("POST", "/v1/rewards", sent)

    assert (found, problem["status"], problem["type"]) == (status, status, f"urn:turpin:problem:{label}")
    assert behind.bench.count("turpin_rewards_total", result=label) == 1.0
    assert headers["content-type"].startswith("application/problem+json")
    assert set(problem) == {"type", "title", "status", "detail"}


def lines(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in raw.splitlines()]


async def test_batch_answers_a_line_for_each_line_in_their_order() -> None:
    behind = Behind()
    async with serving(behind) as client:
        tokens = [await client.decision() for _ in range(2)]
        sent = [
            json.dumps({"decision": tokens[0], "reward": 1}),
            "no json",
            "",
            json.dumps({"decision": tokens[1], "reward": 5}),
            json.dumps({"decision": tokens[0], "reward": 1}),
            json.dumps({"decision": tokens[1], "reward": 0}),
        ]
        status, raw, headers = await client.call("POST", "/v1/rewards:batch", "\n".join(sent))

    answers = lines(raw)
    assert (status, headers["content-type"].split(";")[0]) == (200, "application/x-ndjson")
    assert [answer["status"] for answer in answers] == [202, 400, 422, 200, 202]
    results = ("recorded", "malformed", "invalid", "duplicate")
    assert [behind.bench.count("turpin_rewards_total", result=result) for result in results] == [2.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("route", ["/v1/rewards", "/v1/rewards:batch"])
async def test_rewards_have_a_bound_of_their_own_below_that_of_predictions(route: str) -> None:
    behind = Behind(message_bytes=2 * BODY_BYTES_MAX)
    async with serving(behind) as client:
        refused, problem, _ = await client.call("POST", route, io.BytesIO(b"\n" * (BODY_BYTES_MAX + 1)))
        taken, _, _ = await client.call("POST", route, io.BytesIO(b" " * BODY_BYTES_MAX))

    assert (refused, problem["type"]) == (413, "urn:turpin:problem:too_large")
    assert problem["detail"] == f"the body is larger than what rewards may take = {BODY_BYTES_MAX}"
    assert taken in (200, 400)


async def test_batch_of_too_many_lines_is_refused_even_when_they_are_empty() -> None:
    async with serving(Behind()) as client:
        status, problem, _ = await client.call("POST", "/v1/rewards:batch", b"\n" * REWARDS_PER_CALL_MAX + b"x")
        at_most, raw, _ = await client.call("POST", "/v1/rewards:batch", b"x" + b"\n" * 3)

    assert (status, problem["detail"]) == (413, "10001 lines in one call; at most 10000")
    assert (at_most, len(lines(raw))) == (200, 1)


async def test_while_the_store_is_away_rewards_are_to_come_again_and_predictions_go_on() -> None:
    behind = Behind()
    async with serving(behind) as client:
        token = await client.decision()
        behind.store.is_away = True
        one = await client.reward(decision=token, reward=1)
        claim = json.dumps({"decision": token, "reward": 1})
        many = await client.call("POST", "/v1/rewards:batch", f"{claim}\n{claim}")
        mixed = await client.call("POST", "/v1/rewards:batch", f"{claim}\nx")
        predicted = await client.predict()

    assert (one[0], one[2]["retry-after"]) == (503, "1")
    assert (many[0], many[2]["retry-after"]) == (503, "1")
    assert (mixed[0], [answer["status"] for answer in lines(mixed[1])]) == (200, [503, 400])
    assert predicted[0] == 200


async def test_connection_ends_with_an_answer_once_it_has_its_age() -> None:
    seen: list[str] = []
    async with asyncio.timeout(15.0), serving(Behind(), connection_age_s=0.05) as client:
        while seen.count("close") < 3:
            status, _, headers = await client.predict()
            assert status == 200
            seen.append(headers.get("connection", ""))

    # Those in between stayed open.
    assert seen.count("") >= 3


async def test_client_that_waits_with_its_body_is_told_to_send_it() -> None:
    async with (
        serving(Behind()) as client,
        client.session.post(client.url + PREDICT, data=ROWS, expect100=True) as answer,
    ):
        assert (answer.status, await answer.json()) == (200, {"predictions": [1.5, 2.5]})


async def _refused(port: int) -> None:
    """Return when nobody listens any more."""
    with contextlib.suppress(ConnectionError):
        while True:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()


async def test_end_waits_for_a_body_that_is_on_its_way() -> None:
    async with asyncio.timeout(20.0), serving(Behind()) as client, asyncio.TaskGroup() as tasks:
        port = int(client.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        headers = f"Host: x\r\nExpect: 100-continue\r\nContent-Length: {len(ROWS)}"
        writer.write(f"POST {PREDICT} HTTP/1.1\r\n{headers}\r\n\r\n".encode())
        # It is being answered.
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        tasks.create_task(client.end())
        await _refused(port)
        writer.write(ROWS.encode())
        answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 200"), answer


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("HEAD", "/healthz", 200, None),
        ("POST", "/readyz", 405, "GET,HEAD"),
        ("GET", "/v1/rewards", 405, "POST"),
        ("GET", "/v1/rew%61rds", 405, "POST"),
        ("GET", "/v1x", 404, None),
        ("GET", "/", 404, None),
    ],
)
async def test_each_path_has_its_methods(method: str, path: str, status: int, allowed: str | None) -> None:
    async with serving(Behind()) as client:
        answer = await client.session.request(method, yarl.URL(client.url + path, encoded=True))

    assert (answer.status, answer.headers.get("Allow")) == (status, allowed)
