"""The captures of one gateway, in the memory of its control process alone: what each wants, has, and why it ended.

They are gone with the process, a day after their end, or when somebody deletes them.
"""

from collections.abc import Callable
from typing import Final, Literal

from router.capture.messages import BeginCapture, Captured, Example

# A day to look at them: they are people's data, and nobody has to remember to delete them.
KEPT_S: Final = 86_400.0
# 64 MiB at most, beside 100 to 200 MiB that a control process has.
CAPTURES_MAX: Final = 4
CAPTURE_BYTES_MAX: Final = 16 << 20

Ended = Literal["", "examples", "bytes", "time", "stopped"]


class Capture:
    """One capture. Mutable: its examples, why it ended (empty while it runs), and when (unix s)."""

    def __init__(self, order: BeginCapture, *, who: str, why: str, per_minute: int, now: float) -> None:
        self.order, self.who, self.why, self.per_minute, self.began_at = order, who, why, per_minute, now
        self.examples: list[Example] = []
        self.size_bytes = 0
        self.ended: Ended = ""
        self.ended_at: float | None = None

    def end(self, why: Ended, now: float) -> None:
        """End it, if it runs."""
        if not self.ended:
            self.ended, self.ended_at = why, now

    def keep(self, example: Example, now: float) -> None:
        """Take an example while there is room."""
        if self.ended:
            return
        if self.size_bytes + example.size_bytes > CAPTURE_BYTES_MAX:
            self.end("bytes", now)
            return
        self.examples.append(example)
        self.size_bytes += example.size_bytes
        if len(self.examples) >= self.order.examples_max:
            self.end("examples", now)


class Shelf:
    """Mutable: the captures, by id, and those whose end the workers were not told of."""

    def __init__(self, unix_now: Callable[[], float], *, workers: int) -> None:
        """`workers` of this gateway share what a capture may have a minute."""
        self.workers, self._unix_now = workers, unix_now
        self.captures: dict[str, Capture] = {}
        self._untold: set[str] = set()

    def running(self, experiment: str) -> Capture | None:
        """Return the capture of an experiment that runs."""
        found = (one for one in self.captures.values() if one.order.experiment == experiment and not one.ended)
        return next(found, None)

    @property
    def is_full(self) -> bool:
        """Whether one has to be deleted before the next begins."""
        return len(self.captures) >= CAPTURES_MAX

    def add(self, capture: Capture) -> None:
        """Begin a capture."""
        self.captures[capture.order.id] = capture
        self._untold.add(capture.order.id)

    def remove(self, id_: str) -> None:
        """Forget a capture and all it has."""
        self.captures.pop(id_, None)

    def take(self, captured: Captured) -> None:
        """Keep an example; one of a capture that has ended, or is not known, is forgotten."""
        capture = self.captures.get(captured.id)
        if capture is not None:
            capture.keep(captured.example, self._unix_now())

    def step(self) -> list[str]:
        """End those whose time is over and forget the old ones; return the ids that workers have to be told the end of."""
        now = self._unix_now()
        for id_, capture in list(self.captures.items()):
            if now >= capture.order.until:
                capture.end("time", capture.order.until)
            if capture.ended_at is not None and now - capture.ended_at >= KEPT_S:
                del self.captures[id_]
        over = [id_ for id_ in self._untold if id_ not in self.captures or self.captures[id_].ended]
        self._untold.difference_update(over)
        return over
