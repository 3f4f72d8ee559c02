"""Which store a gateway knows, and whether what answers under its address is that one: a value's worth of state, no IO.

A store that comes back empty or older must not be learned from as if nothing had happened: the sums that decided so far
are gone, and rewards that were counted would count again. So every store has a generation, a random name that it got
when it was made, and counts the beats of all its processes. Another name is another store; fewer beats than were seen
is the same one from before.
"""

import logging
from dataclasses import dataclass
from typing import Final

log = logging.getLogger(__name__)

FAILOVER_LOSS_MAX_S: Final = 10.0
"""What a failover may lose and still be one: replicas lag by a second, sentinels take five to notice."""


@dataclass(frozen=True, slots=True)
class Beat:
    """How often the store was beaten, and when last (unix s, by its own clock)."""

    beats: int = 0
    beat_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Known:
    """A store as it was known last."""

    generation: str
    beat: Beat


class Lineage:
    """Mutable: the generation and the beat that are known, why calls are refused ("": they are not), how often a change
    was taken over."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self.generation = ""
        self.last = Beat()
        self.refusal = ""
        self.changes = 0

    def know(self, generation: str, beat: Beat) -> None:
        """Begin with what is known."""
        self.generation, self.last = generation, beat

    def begin(self, generation: str, beat: Beat, *, is_accepted: bool, remembered: "Known | None") -> None:
        """Begin with what the store says ("": it is empty), held against what was remembered of it."""
        if remembered is None:
            self.know(generation, beat)
            return
        self.know(remembered.generation, remembered.beat)
        if generation != remembered.generation:
            self.met_other(generation, beat, is_accepted=is_accepted)
        elif beat.beats < remembered.beat.beats:
            self.met_older(beat)
        else:
            self.saw(beat)

    def saw(self, beat: Beat) -> None:
        """Take note of a beat; answers may come in any order."""
        if beat.beats > self.last.beats:
            self.last = beat
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

    def met_older(self, beat: Beat) -> bool:
        """The store has fewer beats than were seen; take it over if no more is lost than by a failover."""
        lost_s = self.last.beat_at - beat.beat_at
        if 0 <= lost_s <= FAILOVER_LOSS_MAX_S:
            log.error(
                "the store came back without its last seconds: what was acknowledged then is lost",
                extra={"store": self._shown, "lost_s": round(lost_s, 3), "lost_beats": self.last.beats - beat.beats},
            )
            self._take_over(self.generation, beat)
            return True
        self._refuse(
            f"{self._shown} went back in time, by {lost_s:.0f} s: is it a backup, or a replica that was cut off?"
        )
        return False

    def met_emptied(self) -> None:
        """An epoch that was written to is gone from the store."""
        self._refuse(f"{self._shown} has lost what it held of an experiment")

    def _take_over(self, generation: str, beat: Beat) -> None:
        self.generation, self.last, self.refusal = generation, beat, ""
        self.changes += 1

    def _refuse(self, reason: str) -> None:
        refusal = (
            f"{reason}. Learning waits and rewards are kept aside: bring the right store back, or go on with this one by "
            "`turpin store accept`"
        )
        if refusal != self.refusal:
            log.error("store reset", extra={"store": self._shown, "reason": reason})
        self.refusal = refusal
