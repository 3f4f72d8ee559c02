"""The client: even traffic over both senders, honest books, no retries; against a real server and in virtual time."""

import asyncio
from collections.abc import Sequence

import aiohttp
import numpy as np
import pytest

from load.demo.books import Books
from load.demo.plan import FORM_DIGITS
from load.demo.senders import Answer, Failed, RestSender, answer_of
from load.demo.traffic import IN_FLIGHT_FULL_SPEED, Traffic
from tests.load.stand_in import StandIn, images
from tests.simulated_loop import run_simulated

ARMS = ("v1", "v2", "v3")


class Paper:
    """A sender without a network: takes `seconds`, answers with the image's own number, or fails. Mutable: its log."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.log: list[tuple[float, int]] = []
        self.in_flight_max = 0
        self.is_away_until_s = -1.0
        self.is_sent = True
        self._in_flight = 0

    async def predict(self, image: int) -> Answer:
        now = asyncio.get_running_loop().time()
        self.log.append((now, image))
        self._in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self._in_flight)
        await asyncio.sleep(self.seconds)
        self._in_flight -= 1
        if now < self.is_away_until_s:
            raise Failed("connection lost or refused", is_away=True, is_sent=self.is_sent)
        return Answer(image, "v1", f"token-{len(self.log)}")


class Drawer:
    """Takes rewards, and answers whether the gateway is back."""

    def __init__(self, back_at_s: float = 0.0) -> None:
        self.rewards: list[float] = []
        self.back_at_s = back_at_s

    async def put(self, decision: str, reward: float) -> None:
        self.rewards.append(reward)

    async def is_back(self) -> bool:
        return asyncio.get_running_loop().time() >= self.back_at_s


async def run(senders: Sequence[Paper], seconds: float, rate: float, drawer: Drawer, seed: int = 0) -> Books:
    """Run traffic for `seconds` of virtual time; images 0..9 show their number, but image 9 shows 0."""
    clock = asyncio.get_running_loop().time
    books = Books(ARMS, clock)
    digits = np.array([*range(9), 0])
    traffic = Traffic(
        senders,
        digits,
        rate=rate,
        seed=seed,
        books=books,
        reward=drawer.put,
        is_back=drawer.is_back,
        clock=clock,
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(traffic.run(stop))
        await asyncio.sleep(seconds)
        stop.set()
    return books


def test_forms_leave_evenly_and_their_images_by_both_senders() -> None:
    grpc, rest, drawer = Paper(0.01), Paper(0.01), Drawer()

    books = run_simulated(run([grpc, rest], 1.99, 320.0, drawer))

    assert books.requests == 640
    assert len(grpc.log) == len(rest.log) == 320
    sent_at_s = sorted({at_s for at_s, _ in grpc.log})
    assert sent_at_s == pytest.approx(np.arange(20) * FORM_DIGITS / 320, abs=1e-9)


def test_rewards_say_what_the_books_say() -> None:
    drawer = Drawer()

    books = run_simulated(run([Paper()], 2.0, 300.0, drawer))

    assert len(drawer.rewards) == books.answers
    assert sum(drawer.rewards) == books.arms["v1"].right
    # Image 9 of 10 is read wrong: 90 % right, within 4 standard errors of 600 draws.
    assert sum(drawer.rewards) / len(drawer.rewards) == pytest.approx(0.9, abs=4 * (0.9 * 0.1 / 600) ** 0.5)


def test_seed_fixes_the_order_of_the_images() -> None:
    first, again, other = Paper(), Paper(), Paper()

    run_simulated(run([first], 1.0, 100.0, Drawer(), seed=1))
    run_simulated(run([again], 1.0, 100.0, Drawer(), seed=1))
    run_simulated(run([other], 1.0, 100.0, Drawer(), seed=2))

    assert first.log == again.log
    assert first.log != other.log


def test_full_speed_keeps_a_bounded_number_in_flight() -> None:
    sender = Paper(0.1)

    books = run_simulated(run([sender], 1.0, 0.0, Drawer()))

    assert sender.in_flight_max == IN_FLIGHT_FULL_SPEED
    assert books.answers == pytest.approx(10 * IN_FLIGHT_FULL_SPEED, abs=2 * IN_FLIGHT_FULL_SPEED)


def test_client_never_retries_and_holds_its_fire_while_the_gateway_is_away() -> None:
    sender, drawer = Paper(0.001), Drawer(back_at_s=1.0)
    sender.is_away_until_s = 0.9

    books = run_simulated(run([sender], 2.0, 100.0, drawer))

    # The first form finds out; the rest wait for the gateway, and the pace begins anew without a burst.
    assert books.failures == {"connection lost or refused": FORM_DIGITS}
    assert books.answers == pytest.approx(100, abs=FORM_DIGITS)
    assert len(drawer.rewards) == books.answers


@pytest.mark.parametrize("rate", [0.0, 300.0])
def test_a_request_that_was_never_sent_waits_until_somebody_is_there(rate: float) -> None:
    sender, drawer = Paper(0.01), Drawer(back_at_s=1.5)
    sender.is_away_until_s, sender.is_sent = 0.9, False

    books = run_simulated(run([sender], 3.0, rate, drawer))

    refused = [image for at_s, image in sender.log if at_s < 0.9]
    assert 0 < len(refused) <= FORM_DIGITS + IN_FLIGHT_FULL_SPEED
    assert not books.failures
    assert len(drawer.rewards) == len(sender.log) - len(refused)


async def test_rest_sender_reads_answers_and_failures() -> None:
    pixels, digits = images(10)
    async with StandIn(blind=7) as gateway, aiohttp.ClientSession() as session:
        sender = RestSender(session, gateway.url, pixels)
        read = [(await sender.predict(image)).digit for image in range(10)]
        gateway.predict_faults = [503]
        with pytest.raises(Failed, match=r"REST 503: .*out of order") as answered:
            await sender.predict(0)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Failed, match="REST: ClientConnector") as away:
            await RestSender(session, gateway.url, pixels).predict(0)

    assert [int(digit) for digit in digits if digit != read[digit]] == [7]
    assert not answered.value.is_away
    assert away.value.is_away


def test_answer_must_name_its_arm_and_decision() -> None:
    with pytest.raises(Failed, match="without turpin-decision"):
        answer_of([0.1] * 10, {"turpin-arm": "v1"})
    with pytest.raises(Failed, match="of 9 values"):
        answer_of([0.1] * 9, {"turpin-arm": "v1", "turpin-decision": "x"})
