"""Which store a gateway knows, and whether what answers under its address is that one: a value's worth of state, no IO.

A store that comes back empty or older must not be learned from as if nothing had happened: the sums that decided so far
are gone, and rewards that were counted would count again. So every store has a generation, a random name that it got
when it was made, and counts the beats of all its processes. Another name is another store; fewer beats than were seen
is the same one from before.

What a failover loses is a few seconds, and is gone on with. The first process that finds beats missing has that counted
as a loss, in the store; by it the others find out that the sums they have read may be more than the store holds, also
when its beats have overtaken what they knew.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

log = logging.getLogger(__name__)

FAILOVER_LOSS_MAX_S: Final = 10.0
"""What a failover may lose and still be one: replicas lag by a second, sentinels take five to notice."""


Verdict = Literal["same", "follow", "take over", "refuse"]
"""What becomes of a store that has changed: it has not, for us; another process has had the loss counted; we are to have
it counted; we have no more to do with it."""

Pause = tuple[float, float]
"""From when until when (unix s) nobody beat a store, for longer than FAILOVER_LOSS_MAX_S."""


@dataclass(frozen=True, slots=True)
class Beat:
    """How often the store was beaten, when last (unix s, by its own clock), and how many losses were counted in it."""

    beats: int = 0
    beat_at: float = 0.0
    losses: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """A store as it was known last."""

    generation: str
    beat: Beat


class Lineage:
    """Mutable: the generation and the beat that are known, the last beat that this process made itself (0: none since it
    knows this store), why calls are refused ("": they are not), how often a change was taken over."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self.generation = ""
        self.last = Beat()
        self.own = 0
        self.refusal = ""
        self.changes = 0

    def know(self, generation: str, beat: Beat) -> None:
        """Begin with what is known."""
        self.generation, self.last = generation, beat

    def begin(
        self,
        generation: str,
        beat: Beat,
        pauses: Sequence[Pause] = (),
        *,
        is_accepted: bool,
        remembered: "Known | None",
    ) -> None:
        """Begin with what the store says ("": it is empty), held against what was remembered of it.

        A loss that nobody has counted yet is left to the first beat.
        """
        if remembered is None:
            self.know(generation, beat)
            return
        self.know(remembered.generation, remembered.beat)
        if generation != remembered.generation:
            self.met_other(generation, beat, is_accepted=is_accepted)
        elif self.judge(beat, 0, pauses) == "same":
            self.know(generation, beat)

    def saw(self, beat: Beat) -> None:
        """Take note of a beat of our own; answers may come in any order."""
        if beat.losses == self.last.losses and beat.beats > self.last.beats:
            self.last, self.own = beat, beat.beats
        if self.refusal:
            log.info("store as it was: calls go on", extra={"store": self._shown})
            self.refusal = ""

    def met_other(self, generation: str, beat: Beat, *, is_accepted: bool) -> bool:
        """The store has another generation ("": none); take it over if a person accepted it, and say whether."""
        if is_accepted:
            log.warning("a changed store was accepted", extra={"store": self._shown, "generation": generation})
            self._take_over(generation, beat)
            return True
        is_empty = "it is empty" if not generation else f"it is {generation}, not {self.generation}"
        self._refuse(f"{self._shown} is not the store that was known here: {is_empty}")
        return False

    def judge(self, beat: Beat, mine: int, pauses: Sequence[Pause]) -> Verdict:
        """Say what becomes of a store of our generation that is at `beat`; one that others followed is followed here.

        `mine`: the last of our own beats that the store remembers; `pauses`: those of the store.
        """
        last = self.last
        is_there = beat.beats >= last.beats and mine >= self.own and not _spanning(last.beat_at, pauses)
        if beat.losses == last.losses and is_there:
            return "same"
        lost_s = last.beat_at - _stood_at(beat, last.beat_at, pauses)
        if lost_s > FAILOVER_LOSS_MAX_S:
            self._refuse(
                f"{self._shown} went back in time, by {lost_s:.0f} s: is it a backup, or a replica that was cut off?"
            )
            return "refuse"
        if beat.losses <= last.losses:
            return "take over"
        self.lost(beat)
        return "follow"

    def lost(self, beat: Beat) -> None:
        """Go on with a store that has lost something, and has had it counted."""
        log.error(
            "the store came back without its last seconds: what was acknowledged then is lost",
            extra={
                "store": self._shown,
                "lost_s": round(max(0.0, self.last.beat_at - beat.beat_at), 3),
                "lost_beats": max(0, self.last.beats - beat.beats),
            },
        )
        self._take_over(self.generation, beat)

    def met_emptied(self) -> None:
        """An epoch that was written to is gone from the store."""
        self._refuse(f"{self._shown} has lost what it held of an experiment")

    def _take_over(self, generation: str, beat: Beat) -> None:
        self.generation, self.last, self.own, self.refusal = generation, beat, 0, ""
        self.changes += 1

    def _refuse(self, reason: str) -> None:
        refusal = (
            f"{reason}. Learning waits and rewards are kept aside: bring the right store back, or go on with this one by "
            "`turpin store accept`"
        )
        if refusal != self.refusal:
            log.error("store reset", extra={"store": self._shown, "reason": reason})
        self.refusal = refusal


def _stood_at(beat: Beat, known_at: float, pauses: Sequence[Pause]) -> float:
    """Return when a store that is at `beat` was beaten last before `known_at`, as far as can be known: so old is what it
    holds.

    Who beats an older store without noticing makes it look young. But nobody beat it from when it was as it is until it
    came back, after `known_at`; was that for long, it is a pause that the store knows of.
    """
    if beat.beat_at <= known_at:
        return beat.beat_at
    return min((since for since, _ in _spanning(known_at, pauses)), default=known_at)


def _spanning(known_at: float, pauses: Sequence[Pause]) -> list[Pause]:
    """Return the pauses in which the store was beaten all the same, as we know it."""
    return [(since, until) for since, until in pauses if since < known_at < until]
