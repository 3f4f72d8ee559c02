"""Requests that ride in one call, and who rides again with whom when the call failed."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from serving import methods, wire
from serving.batches import Plan
from serving.errors import DeadlineExceeded, Overloaded, ServingError
from serving.methods import Method
from serving.queues import Rider


class Answer(NamedTuple):
    """One request's own rows of a batch's response, with the model_spec the backend gave it."""

    response: wire.Message  # as its method has it
    rows: int
    replica: str
    batch_rows: int
    charged_ns: int


class Waiter(NamedTuple):
    """A request on its way, and the future its client waits on."""

    rider: Rider
    request: wire.Message
    future: "asyncio.Future[Answer]"
    since: float
    method: Method = methods.PREDICT

    def answer(self, answer: Answer) -> None:
        """Hand over the answer, unless the client has left or was told otherwise."""
        if not self.future.done():
            self.future.set_result(answer)

    def fail(self, error: ServingError) -> None:
        """Hand over an error, unless the client has left or was told otherwise."""
        if not self.future.done():
            # Its traceback leads to frames that hold the waiters, and those to the error again: whole requests would wait
            # for the collector.
            self.future.set_exception(error.with_traceback(None))


def refusals(plan: Plan, waiters: Mapping[int, Waiter], now: float) -> Iterator[tuple[Waiter, ServingError]]:
    """Yield who is not sent, and what they are told."""
    for rider in plan.expired:
        waiter = waiters[rider.id]
        yield waiter, DeadlineExceeded(f"the deadline passed after {now - waiter.since:.3f} s in the queue", "queue")
    for rider, fastest_s in plan.hopeless:
        left = f"{rider.deadline - now:.3f} s were left"
        reason = f"{left}, and the backend's fastest answer lately took {fastest_s:.3f} s: not sent"
        yield waiters[rider.id], DeadlineExceeded(reason, "queue")
    for rider in plan.shed:
        yield waiters[rider.id], Overloaded("more comes than the backend can answer in time: try again later")


def halvings_max(riders: int) -> int:
    """Return how many more calls a batch may make to find those at fault by halving: enough for one of them, and two to
    spare. Whoever is not cleared by then rides alone, so that no innocent fails and no batch keeps its slot for long.
    """
    return 2 * (riders - 1).bit_length() + 2


@dataclass(frozen=True, slots=True)
class Group:
    """Riders of one batch that go in one call. `pad_to`: rows to pad to, None for no padding."""

    waiters: tuple[Waiter, ...]
    pad_to: int | None = None

    @property
    def rows(self) -> int:
        """Their own rows, without padding."""
        return sum(waiter.rider.rows for waiter in self.waiters)

    def without_the_done(self) -> "Group":
        """Leave out who has left, expired or been answered."""
        return Group(tuple(waiter for waiter in self.waiters if not waiter.future.done()), self.pad_to)

    def singly(self) -> "list[Group]":
        """Let each ride alone."""
        return [Group((waiter,)) for waiter in self.waiters]

    def parts(self, cap: int | None, *, is_cap_new: bool, may_halve: bool) -> "list[Group]":
        """Return who rides again together after something in the call was refused; nobody when it was the only rider's.

        `cap`: the most rows that the backend takes, if it said so; `is_cap_new`: only since the call was sent.
        """
        if cap is not None and (self.pad_to or self.rows) > cap:
            if len(self.waiters) > 1:
                return self._packed(cap)
            is_worth_it = self.pad_to is not None or (is_cap_new and self.waiters[0].rider.mergeable)
            return self.singly() if is_worth_it else []
        if len(self.waiters) == 1:
            return [] if self.pad_to is None else self.singly()
        if not may_halve:
            return self.singly()
        middle = len(self.waiters) // 2
        return [Group(self.waiters[:middle]), Group(self.waiters[middle:])]

    def _packed(self, cap: int) -> "list[Group]":
        """Fill groups up to the cap, in order; one that is larger by itself goes alone, in pieces."""
        groups: list[list[Waiter]] = []
        rows = cap
        for waiter in self.waiters:
            rows += waiter.rider.rows
            if rows > cap:
                groups.append([])
                rows = waiter.rider.rows
            groups[-1].append(waiter)
        return [Group(tuple(group)) for group in groups]
