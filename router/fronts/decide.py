"""`POST /v1/decide`: an arm without a prediction, for callers that send their requests themselves; rewards come as ever.

It is off unless `listen.decide` is on, and wants what rewards want: who may decide may bend what is learned.
"""

from typing import Annotated, Final

import msgspec
from aiohttp import web

from router.fronts.access import Access
from router.fronts.bodies import BodyRefused, Handler, only, problem, read_body
from router.fronts.rest import context_of
from router.predict import Decided, Predictor
from router.problems import Problem

# A model's name and a number.
_BODY_BYTES_MAX: Final = 4096
# As the token holds it.
_ROWS_MAX: Final = 2**32 - 1
# Nothing is waited for: a choice is made in microseconds.
_TIMEOUT_S: Final = 1.0


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For which model an arm is wanted, and of how many rows the request will be."""

    model: str
    rows: Annotated[int, msgspec.Meta(ge=1, le=_ROWS_MAX)] = 1


_wanted: Final = msgspec.json.Decoder(Wanted)


class DecideRoute:
    """The one route."""

    def __init__(self, *, predictor: Predictor, access: Access, is_on: bool) -> None:
        self._predictor = predictor
        self._access = access
        self._is_on = is_on

    @property
    def routes(self) -> dict[str, Handler]:
        """Return the handler of the path, which TF Serving's routes must not take for their own."""
        return {"/v1/decide": only("POST", self._decide)}

    async def _decide(self, request: web.BaseRequest) -> web.Response:
        if not self._is_on:
            return problem(Problem.NOT_FOUND, "POST /v1/decide is off: it is on with `listen: {decide: true}`")
        refusal = self._access.refuse_reward(request)
        if refusal is not None:
            return refusal
        try:
            wanted = _read(await read_body(request, _BODY_BYTES_MAX, "what a decision takes"))
        except BodyRefused as error:
            return problem(error.problem, error.detail)
        decided = self._predictor.decide(wanted.model, wanted.rows, context_of(request, _TIMEOUT_S))
        if decided is None:
            return problem(Problem.NOT_FOUND, f"no experiment decides for the model {wanted.model[:80]!r}")
        return web.json_response(_shown(decided))


def _shown(decided: Decided) -> dict[str, object]:
    arm = decided.arm
    return {
        "decision": decided.decision,
        "experiment": decided.snapshot.name,
        "arm": arm.name,
        "backend": arm.backend,
        "model": arm.model,
        "version": arm.version,
        "propensity": decided.propensity,
        "learned": decided.mode.is_learned,
    }


def _read(raw: bytes) -> Wanted:
    try:
        return _wanted.decode(raw)
    except msgspec.ValidationError as error:
        raise BodyRefused(Problem.INVALID, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BodyRefused(Problem.MALFORMED, f'the body is no JSON object like {{"model": "…"}}: {error}') from error
