"""Guardrails: a bound on how often an arm may fail or be slow, tested at every look, and when a sick arm is tried again.

The rate of failures is 1/2, 1/2-Beta mixed against the likeliest rate within the bound, which is an e-process at any
true rate within it. Source: bandit-science.md, Part II §2.8.
"""

import math
from dataclasses import dataclass

from scipy.special import betaln, xlog1py, xlogy

from bandits.alarm import BAR_LOG, Alarm, bounded

# A sick arm is tried again after half a minute, then twice as late each time, and at least once an hour.
PROBE_FIRST_S = 30.0
PROBE_LAST_S = 3600.0


@dataclass(frozen=True, slots=True)
class Guard:
    """A guardrail on one arm: of `trials` calls `events` were failures, or slower than the bound; `share_max` may be.

    A trial must be what fails by itself: the call. Of a batch that fails all riders fail together, and counted one by
    one they would look like many independent failures.
    """

    metric: str
    arm: str
    events: int
    trials: int
    share_max: float

    def __post_init__(self) -> None:
        """Refuse counts that can't be and a bound that bounds nothing."""
        if not 0 <= self.events <= self.trials:
            raise ValueError(
                f"{self.metric} of {self.arm}: events must be in 0..trials={self.trials}, got {self.events}"
            )
        if not 0.0 < self.share_max < 1.0:
            raise ValueError(f"{self.metric} of {self.arm}: share_max must lie in (0, 1), got {self.share_max}")


def guarded(guard: Guard) -> Alarm:
    """Return the guardrail's alarm; it rings when the share is above the bound and chance is no excuse."""
    log_e = log_evidence(guard.events, guard.trials, guard.share_max)
    share = guard.events / max(1, guard.trials)
    is_ringing = share > guard.share_max and log_e >= BAR_LOG
    words = (
        f"{guard.metric} of arm {guard.arm}: {guard.events} of {guard.trials} calls, {share:.3%}, "
        f"{guard.share_max:.3%} may be"
    )
    return Alarm(guard.metric, guard.arm, log_e, BAR_LOG, is_ringing, words)


def log_evidence(events: int, trials: int, share_max: float) -> float:
    """Return log E against "the share of events is at most `share_max`", within ±1000."""
    quiet = trials - events
    mixed = betaln(0.5 + events, 0.5 + quiet) - betaln(0.5, 0.5)
    likeliest = min(events / trials, share_max) if trials else share_max
    return bounded(float(mixed - xlogy(events, likeliest) - xlog1py(quiet, -likeliest)))


def probe_after_s(failed: int) -> float:
    """Return how long a quarantined arm rests after this many failed probes: 30 s, doubled each time, at most 1 h."""
    if failed < 0:
        raise ValueError(f"failed probes must be at least 0, got {failed}")
    # Seven doublings are more than an hour; a larger exponent would only overflow.
    return min(PROBE_LAST_S, math.ldexp(PROBE_FIRST_S, min(failed, 7)))
