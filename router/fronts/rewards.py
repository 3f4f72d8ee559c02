"""The reward routes of port 8501: one reward as JSON, or many as lines of JSON; refusals are problem documents."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web

from router.fronts.access import Access
from router.fronts.bodies import RETRY_AFTER_S, BodyRefused, Handler, only, problem, read_body
from router.problems import Problem
from router.rewards import REWARDS_PER_CALL_MAX, Claim, Outcome, RewardDesk

# Room for REWARDS_PER_CALL_MAX claims, a token and an event each. All of a body is read in one go: 60 MB of short lines
# held up every other call of the worker for 6 s and took 1.5 GB (measured); this much takes 0.1 s.
BODY_BYTES_MAX: Final = 4 * 1024 * 1024

_claims: Final = msgspec.json.Decoder(Claim)
# JSON has no such numbers, but many programs write them; who sends one is told of the value, not of a syntax error.
_NOT_FINITE: Final = re.compile(rb"(?<![\w\"])-?(?:NaN|Infinity)(?![\w\"])")


class RewardRoutes:
    """`/v1/rewards` and `/v1/rewards:batch`."""

    def __init__(self, *, rewards: RewardDesk, access: Access, message_bytes: int, durability: str) -> None:
        self._rewards = rewards
        self._access = access
        # Named as it is refused: the smaller of the two.
        self._limit = min((message_bytes, "limits.message_bytes"), (BODY_BYTES_MAX, "what rewards may take"))
        self._durability = durability

    @property
    def routes(self) -> dict[str, Handler]:
        """Return the handlers by path; TF Serving's routes never see these, whatever the method."""
        return {"/v1/rewards": only("POST", self._one), "/v1/rewards:batch": only("POST", self._batch)}

    async def _one(self, request: web.BaseRequest) -> web.Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            claim = _read(await read_body(request, *self._limit), "body")
        except BodyRefused as error:
            return self._refused(error.problem, error.detail)
        (outcome,) = await self._rewards.record([claim])
        if outcome.problem is not None:
            return problem(outcome.problem, outcome.detail)
        return web.json_response(self._accepted(outcome), status=outcome.status)

    async def _batch(self, request: web.BaseRequest) -> web.Response:
        """Record many rewards, a JSON object a line; answer a line for each, in order."""
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            body = await read_body(request, *self._limit)
        except BodyRefused as error:
            return self._refused(error.problem, error.detail)
        if (count := body.rstrip().count(b"\n") + 1) > REWARDS_PER_CALL_MAX:
            return self._refused(Problem.TOO_LARGE, f"{count} lines in one call; at most {REWARDS_PER_CALL_MAX}")
        lines = [line for line in body.split(b"\n") if line.strip()]
        answers = await self._record(lines)
        is_away = bool(answers) and all(answer["status"] == Problem.STORE_AWAY.status for answer in answers)
        return web.Response(
            body=b"".join(msgspec.json.encode(answer) + b"\n" for answer in answers),
            content_type="application/x-ndjson",
            status=503 if is_away else 200,
            headers={"Retry-After": RETRY_AFTER_S} if is_away else None,
        )

    async def _record(self, lines: Sequence[bytes]) -> list[dict[str, object]]:
        """Record each line; one that can't be read costs the others nothing."""
        answers: list[dict[str, object]] = []
        claims: list[Claim] = []
        places: list[int] = []
        for place, line in enumerate(lines):
            try:
                claims.append(_read(line, "line"))
                places.append(place)
                answers.append({})
            except BodyRefused as error:
                self._rewards.refused(error.problem)
                answers.append(error.problem.document(error.detail))
        for place, outcome in zip(places, await self._rewards.record(claims), strict=True):
            if outcome.problem is not None:
                answers[place] = outcome.problem.document(outcome.detail)
            else:
                answers[place] = {"status": outcome.status, **self._accepted(outcome)}
        return answers

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        """Return the refusal of a caller who may not record rewards, counted as one; None if it may go on."""
        refusal = self._access.refuse_reward(request)
        if refusal is not None:
            self._rewards.refused(Problem.UNAUTHENTICATED)
        return refusal

    def _refused(self, kind: Problem, detail: str) -> web.Response:
        """Refuse a call before it was read: it counts as one, whatever it held."""
        self._rewards.refused(kind)
        return problem(kind, detail)

    def _accepted(self, outcome: Outcome) -> dict[str, object]:
        durability = "spooled" if outcome.is_spooled else self._durability
        result: dict[str, object] = {"durability": durability, "learned": outcome.is_learned}
        return result | {"duplicate": True} if outcome.status == 200 else result


def _read(raw: bytes, what: str) -> Claim:
    """Read a claim; BodyRefused says what is wrong with it."""
    try:
        return _claims.decode(raw)
    except msgspec.ValidationError as error:
        raise BodyRefused(Problem.INVALID, str(error)) from error
    except UnicodeDecodeError as error:
        raise BodyRefused(Problem.MALFORMED, f"the {what} is no UTF-8") from error
    except (msgspec.DecodeError, RecursionError) as error:
        if found := _NOT_FINITE.search(raw):
            raise BodyRefused(Problem.INVALID, f"a reward must be a finite number, got {found[0].decode()}") from error
        raise BodyRefused(Problem.MALFORMED, f"the {what} is no JSON object of a reward: {error}") from error
