"""A client of the gateways: it asks for predictions and brings rewards back, again and again until it is told what became
of them; some come twice, some with another value."""

import asyncio
import random
from collections.abc import Callable
from typing import Final

from router.predict import Context
from router.rewards import Claim, Outcome
from serving import wire
from serving.errors import ServingError
from tests.serving.replica import request
from tests.simulation.laws import Laws, pair_of
from tests.simulation.settings import MODEL, RATES, SEGMENTS, keyring
from tests.simulation.worker import ConnectionLost, Worker

_PAUSE_S: Final = (0.02, 0.3)
_TIMEOUT_S: Final = 3.0
# Most rewards come soon, some when their worker has long been followed by another.
_DELAY_S: Final = 0.8
_RETRY_S: Final = (0.2, 0.8)
_TRIES: Final = 60
_UNITS: Final = 6
_AGAIN: Final = 0.3
_OTHER_VALUE: Final = 0.05
# Some don't wait for what becomes of a reward: it may be counted, once, or not.
_GIVES_UP: Final = 0.05


class Client:
    """Mutable: the number of its next request."""

    def __init__(
        self, number: int, seed: int, laws: Laws, choose: Callable[[random.Random], Worker], tasks: asyncio.TaskGroup
    ) -> None:
        """`choose` says which worker a connection comes to."""
        self._number = number
        self._rng = random.Random(f"{seed} client {number}")
        self._laws = laws
        self._choose = choose
        self._tasks = tasks
        self._keys = keyring()
        self._first = 0

    async def run(self, until: float) -> None:
        """Ask until then."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            await asyncio.sleep(self._rng.uniform(*_PAUSE_S))
            await self._ask()

    async def _ask(self) -> None:
        rng, laws, loop = self._rng, self._laws, asyncio.get_running_loop()
        rows = rng.choice((1, 1, 2, 5))
        self._first += 10
        message = request(self._number * 1_000_000 + self._first, rows)
        message.model_spec.name = MODEL
        context = Context(
            loop.time() + _TIMEOUT_S,
            unit=b"unit-%d" % rng.randrange(_UNITS),
            segment=rng.choice(SEGMENTS).encode(),
            peer=b"%d" % self._number,
        )
        wanted = list(message.inputs["x"].int64_val)
        laws.begun += 1
        try:
            reply = await self._choose(rng).predict(message.SerializeToString(), context)
        except (ServingError, ConnectionLost) as error:
            laws.ended += 1
            laws.counts["failed"] += 1
            laws.note("failed", type(error).__name__)
            return
        laws.ended += 1
        laws.counts["answered"] += 1
        answer = wire.PredictResponse.FromString(reply.body)
        if list(answer.outputs["x"].int64_val) != wanted or answer.model_spec.name != MODEL:
            raise self._laws.broken_by(
                f"the answer to {wanted} is {list(answer.outputs['x'].int64_val)} of {answer.model_spec.name}"
            )
        laws.note("answered", reply.arm, reply.decision)
        if not reply.decision:
            return
        decision = self._keys.verify(reply.decision)
        if reply.arm != f"v{decision.arm + 1}" or answer.model_spec.version.value != decision.arm + 1:
            raise self._laws.broken_by(
                f"{reply.arm} is named, {decision.arm} signed, {answer.model_spec.version.value} answered"
            )
        value = float(rng.random() < RATES[decision.arm])
        self._tasks.create_task(self._reward(reply.decision, value, rng.random()))

    async def _reward(self, token: str, value: float, kind: float) -> None:
        rng = random.Random(f"{token} {kind}")
        await asyncio.sleep(rng.expovariate(1 / _DELAY_S))
        await self._bring(token, value, rng, tries=1 if kind < _GIVES_UP else _TRIES)
        if rng.random() < _AGAIN:
            other = 1.0 - value if rng.random() < _OTHER_VALUE / _AGAIN else value
            await asyncio.sleep(rng.expovariate(1 / _DELAY_S))
            await self._bring(token, other, rng, tries=3)

    async def _bring(self, token: str, value: float, rng: random.Random, tries: int) -> None:
        """Bring a reward until somebody says what became of it."""
        laws, key = self._laws, pair_of(self._keys.verify(token))
        laws.sent.setdefault(key, (self._keys.verify(token), set()))[1].add(value)
        for _ in range(tries):
            try:
                (outcome,) = await self._choose(rng).record([Claim(token, value)])
            except ConnectionLost:
                outcome = Outcome(0)
            laws.note("reward", outcome.status, outcome.is_learned, outcome.is_spooled)
            laws.counts[f"reward {outcome.status}{' spooled' if outcome.is_spooled else ''}"] += 1
            if outcome.status in (200, 202):
                laws.acknowledged.setdefault(key, set()).add(value)
                if outcome.is_spooled:
                    laws.spooled.setdefault(key, asyncio.get_running_loop().time())
            if outcome.status in (200, 202, 409, 410):
                return
            # Of a decision that one gateway has dated in the future of another nothing is known but that.
            is_strange = outcome.status == 401 and self._laws.counts["clocks"] and "in the future" in outcome.detail
            if outcome.status not in (0, 503, 404, 422) and not is_strange:
                raise self._laws.broken_by(f"a reward was answered {outcome.status}: {outcome.detail}")
            await asyncio.sleep(rng.uniform(*_RETRY_S))
