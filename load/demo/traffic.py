"""The client: sends held-out images through both ports, checks each answer, and hands its reward on. Never retries."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from load.demo.books import Books
from load.demo.pace import Pace
from load.demo.plan import FORM_DIGITS
from load.demo.senders import Answer, Failed, Sender

# At full speed: enough to keep gateway and model server busy, few enough that a request waits milliseconds.
IN_FLIGHT_FULL_SPEED = 32
# Paced: what a second's stall of everything would leave open; beyond it the client waits, as sockets are not endless.
IN_FLIGHT_PACED = 512
# Between two looks whether the gateway is back.
_AWAY_LOOK_S = 0.1


class Traffic:
    """Images drawn uniformly from the held-out ones by a seeded generator, a form's at once, by each sender in turn.

    Mutable: whether the gateway is away. Then it holds its fire, as a client does whose connection is refused; what was
    in flight has failed and is counted.
    """

    def __init__(
        self,
        senders: Sequence[Sender],
        digits: NDArray[np.int64],
        *,
        rate: float,
        seed: int,
        books: Books,
        reward: Callable[[str, float], Awaitable[None]],
        is_back: Callable[[], Awaitable[bool]],
        clock: Callable[[], float],
    ) -> None:
        """`digits`: what the images show; `reward(decision, value)` takes a reward; `is_back()`: the gateway serves."""
        self._senders = senders
        self._digits = digits
        self._rng = np.random.default_rng(seed)
        self._pace = Pace(rate / FORM_DIGITS)
        self._slots = asyncio.Semaphore(IN_FLIGHT_PACED if rate else IN_FLIGHT_FULL_SPEED)
        self._books = books
        self._reward = reward
        self._is_back = is_back
        self._clock = clock
        self._is_away = False
        # Many may wait, one looks.
        self._looking = asyncio.Lock()

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`, then wait for what is in flight."""
        self._books.start()
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                await asyncio.sleep(self._pace.wait_s(self._clock()))
                if stop.is_set():
                    break
                if self._is_away:
                    await self._until_back(stop)
                    self._pace.begin_anew()
                    continue
                for place in range(FORM_DIGITS):
                    await self._slots.acquire()
                    image = int(self._rng.integers(len(self._digits)))
                    sender = self._senders[place % len(self._senders)]
                    tasks.create_task(self._ask(sender, image, stop))

    async def _ask(self, sender: Sender, image: int, stop: asyncio.Event) -> None:
        try:
            answer = await self._predict(sender, image, stop)
        except Failed as error:
            self._books.failed(str(error))
        else:
            is_right = answer.digit == self._digits[image]
            self._books.answered(answer.arm, bool(is_right))
            await self._reward(answer.decision, float(is_right))
        finally:
            self._slots.release()

    async def _predict(self, sender: Sender, image: int, stop: asyncio.Event) -> Answer:
        """Ask once; a request that found nobody to connect to was not sent, and waits until somebody is back."""
        try:
            return await sender.predict(image)
        except Failed as error:
            self._is_away = self._is_away or error.is_away
            if error.is_sent:
                raise
        await self._until_back(stop)
        return await sender.predict(image)

    async def _until_back(self, stop: asyncio.Event) -> None:
        async with self._looking:
            while self._is_away and not stop.is_set() and not await self._is_back():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_AWAY_LOOK_S):
                        await stop.wait()
            self._is_away = False
