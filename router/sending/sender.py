"""Sends batches of rewards until each is answered for good, and keeps the books of what became of them."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from router.sending.lines import Line
from turpin.errors import TooLarge, TurpinError, Unavailable, Unreachable

_PAUSE_S: Final = 0.5
# What a gateway says of a reward that may be sent again: it is too busy, or its store is away.
_AGAIN: Final = frozenset({429, 503})
# Wrong in themselves, whatever the gateway's state is.
_BAD_INPUT: Final = frozenset({400, 413, 422})


class Client(Protocol):
    """What rewards are sent with: `turpin.Client`."""

    def rewards(self, claims: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Send rewards; return what became of each, in order."""


class Stopped(Exception):
    """The gateway did not answer any more, or refused the whole call."""


@dataclass(slots=True)
class Books:
    """What became of the rewards so far. Mutable throughout. `next_line`: the first line that was not answered."""

    recorded: int = 0
    learned: int = 0
    spooled: int = 0
    duplicates: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    is_bad_input: bool = False
    next_line: int = 1

    def document(self) -> dict[str, Any]:
        """Return them as JSON values."""
        return {
            "recorded": self.recorded,
            "learned": self.learned,
            "spooled": self.spooled,
            "duplicates": self.duplicates,
            "refused": dict(self.refused),
            "next_line": self.next_line,
        }

    def take(self, answer: Mapping[str, Any]) -> str:
        """Enter an answer; return why the reward was refused, empty when it was not."""
        status = answer.get("status")
        if status in (200, 202):
            self.recorded += status == 202
            self.duplicates += status == 200
            self.learned += bool(answer.get("learned"))
            self.spooled += answer.get("durability") == "spooled"
            return ""
        label = str(answer.get("type", "")).rpartition(":")[2] or f"status {status}"
        self.refused[label] += 1
        self.is_bad_input = self.is_bad_input or status in _BAD_INPUT
        return f"{label}: {answer.get('detail') or answer.get('title') or 'no reason given'}"


def send(
    client: Client,
    batches: Iterable[Sequence[Line]],
    books: Books,
    *,
    patience_s: float,
    on_batch: Callable[[Sequence[Line]], None],
    on_refusal: Callable[[int, str], None],
) -> None:
    """Send all batches; Stopped when one was not answered for `patience_s`. What was answered is in `books` at any time.

    `on_batch` is told of each batch that is done, `on_refusal` of each reward that was refused, by its line.
    """
    for batch in batches:
        books.next_line = batch[0].number
        waiting = list(batch)
        give_up_at = time.monotonic() + patience_s
        while waiting:
            answers, why = _ask(client, waiting)
            again = []
            for line, answer in zip(waiting, answers, strict=True):
                if answer.get("status") in _AGAIN:
                    again.append(line)
                    why = str(answer.get("detail") or answer.get("title") or why)
                elif reason := books.take(answer):
                    on_refusal(line.number, reason)
            waiting = again
            if waiting and time.monotonic() + _PAUSE_S > give_up_at:
                raise Stopped(why)
            if waiting:
                time.sleep(_PAUSE_S)
        books.next_line = batch[-1].number + 1
        on_batch(batch)


def _ask(client: Client, lines: Sequence[Line]) -> tuple[Sequence[Mapping[str, Any]], str]:
    """Return the answers; where there is none, that all may be sent again, and why. Stopped where that won't help."""
    try:
        return client.rewards([line.claim for line in lines]), ""
    except (Unavailable, Unreachable) as error:
        return [{"status": 503, "detail": str(error)}] * len(lines), str(error)
    except TooLarge as error:
        # Numbers may take more bytes as they are sent than in the file, and a gateway may take less than ours.
        if len(lines) == 1:
            return [{"status": 413, "type": "too_large", "detail": str(error)}], ""
        middle = len(lines) // 2
        first, why = _ask(client, lines[:middle])
        second, why_then = _ask(client, lines[middle:])
        return [*first, *second], why or why_then
    except TurpinError as error:
        raise Stopped(str(error)) from error
