"""When the client got its answers, and from which arm: what is held against the times in the servers' logs."""

import bisect
from collections import defaultdict
from collections.abc import Callable

from load.demo.senders import Answer, Sender


class Diary:
    """The time of every answer, by arm. Mutable: it is written by the senders."""

    def __init__(self, unix_now: Callable[[], float]) -> None:
        self._unix_now = unix_now
        self._times: defaultdict[str, list[float]] = defaultdict(list)

    def note(self, arm: str) -> None:
        """Take note of an answer, now."""
        self._times[arm].append(self._unix_now())

    def first(self, arm: str, since: float) -> float | None:
        """Return when (unix s) an arm first answered at or after `since`; None if it did not."""
        times = self._times[arm]
        place = bisect.bisect_left(times, since)
        return times[place] if place < len(times) else None

    def last(self, arm: str) -> float | None:
        """Return when an arm answered last."""
        times = self._times[arm]
        return times[-1] if times else None


class Noting:
    """A sender that writes the diary."""

    def __init__(self, sender: Sender, diary: Diary) -> None:
        self._sender = sender
        self._diary = diary

    async def predict(self, image: int) -> Answer:
        """Ask for image number `image`; raises Failed."""
        answer = await self._sender.predict(image)
        self._diary.note(answer.arm)
        return answer
