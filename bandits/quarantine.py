"""How long a sick arm rests, and when it is tried again: the part of an arm's life that is spent in quarantine.

Sickness says nothing about reward: statistics are kept, and nothing is retired by it. Rests double while the arm falls
ill again, and begin anew once it has been well for as long as it rested last. Source: bandit-science.md, Part II §2.8.
"""

from dataclasses import replace

from bandits.guardrails import PROBE_LAST_S, probe_after_s
from bandits.life import ArmLife


def laid_off(arm: ArmLife, now: float, why: str) -> ArmLife:
    """Return the arm as it begins to rest, coming from a state in which it had traffic or was about to."""
    was_well_s = now - arm.since if arm.state == "eligible" else 0.0
    rests = 1 if not arm.rests or was_well_s >= probe_after_s(arm.rests - 1) else arm.rests + 1
    return _resting(replace(arm, state="quarantined", since=now, reason=why), rests, now)


def still_sick(arm: ArmLife, now: float, why: str) -> ArmLife:
    """Return the arm after an answer to its trial; a reason that comes while it rests changes no more than the words."""
    arm = replace(arm, reason=why)
    return _resting(arm, arm.rests + 1, now) if arm.is_trying else arm


def has_rested(arm: ArmLife, now: float) -> bool:
    """Whether a quarantined arm is due for a trial; a clock that was set back makes nobody rest for longer."""
    if arm.state != "quarantined" or arm.is_trying:
        return False
    rest_s = (arm.rests_until or 0.0) - now
    return rest_s <= 0.0 or rest_s > PROBE_LAST_S


def _resting(arm: ArmLife, rests: int, now: float) -> ArmLife:
    return replace(arm, rests=rests, rests_until=now + probe_after_s(rests - 1), is_trying=False)
