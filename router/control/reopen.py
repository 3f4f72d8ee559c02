"""Begins the next epoch of an experiment that has ended: watches the winner, and makes the new document when it is due.

What was counted stays with the epoch that is over: the new one has another number, under which nothing was counted yet.
Rewards of decisions of the old one still come; they are accepted and not learned, and no sum of the new one has them.
"""

from dataclasses import replace
from itertools import pairwise
from typing import Final

import msgspec

from bandits.experiment import step
from bandits.life import EndRules, Life, Note, Reopen, to_json
from bandits.reopening import Ended, Reason, by_drift, by_price, is_open_to
from router.config.experiment import Experiment
from router.control.dossier import Document, Dossier, Former, Since
from router.control.seen import Seen, deciding_cost_usd, unreliable_prices
from router.control.tally import Counted

# Clocks of gateways may differ by as much; a reward's window is counted by theirs.
_SKEW_S: Final = 60.0
# An epoch takes minutes at the least, a window hours at most: more would be a fault, and snapshots are small.
_FORMER_MAX: Final = 16
# Twice as many periods as two months of days; then neighbours are put together.
_MARKS_MAX: Final = 128


def watched(dossier: Dossier, counted: Counted, now: float) -> Dossier:
    """Return the dossier with a mark of the winner's rewards for each whole period since the end; `now` in unix s.

    The prices of `dossier` are still those of the refresh before, in which it ended if this is the first one since.
    A period is the declared cycle of the traffic, so that its rhythm looks like none, else a block.
    """
    document, life = dossier.document, dossier.life
    if life.phase != "concluded" or life.winner is None:
        return dossier if document.since_end is None else dossier.with_changes(since_end=None)
    mark = _unlearned(counted, life.winner)
    since = document.since_end
    if since is None:
        return dossier.with_changes(
            since_end=Since(now, (mark,), {name: held.usd_per_hour for name, held in document.prices.items()})
        )
    period_s = dossier.spec.stop.cycle or dossier.spec.policy.block
    if now - since.at < period_s:
        return dossier
    marks = (*since.marks, mark)
    if len(marks) > _MARKS_MAX:
        marks = (*marks[:-1:2], marks[-1])
    return dossier.with_changes(since_end=msgspec.structs.replace(since, at=now, marks=marks))


def begun_anew(
    dossier: Dossier, seen: Seen, counted: Counted, now: float, epoch: int
) -> tuple[Dossier, tuple[Note, ...]] | None:
    """Return the dossier in its next epoch when a price or a drift asks for it, and what to tell; else None."""
    reason = _reason(dossier, seen, counted)
    arms = _able(dossier)
    if reason is None or len(arms) < 2:
        return None
    life, _, notes = step(dossier.life, Reopen(now, arms, reason.words, numbers=reason.numbers))
    document = _fresh(dossier.document, life, now, dossier.spec.objective.reward.window, epoch)
    anew = msgspec.structs.replace(dossier, document=document, life=life)
    return anew, (*_told(dossier, now, epoch, reason.words), *notes)


def takes_new_arms(dossier: Dossier) -> bool:
    """Say whether an experiment has ended, and would begin anew for an arm that is new."""
    return "new_arm" in dossier.spec.reopen_on and is_open_to(dossier.life, "new_arm")


def brings_new_arms(dossier: Dossier, spec: Experiment) -> bool:
    """Say whether this edit brings such an arm."""
    return takes_new_arms(dossier) and not {arm.name for arm in spec.arms} <= {
        arm["name"] for arm in dossier.document.spec["arms"]
    }


def in_new_epoch(
    dossier: Dossier, edited: Document, rules: EndRules, now: float, who: str, epoch: int
) -> tuple[Document, tuple[Note, ...]]:
    """Return an edited document in its next epoch: it has arms that are new."""
    wanted = [arm["name"] for arm in edited.spec["arms"]]
    known = {arm.name: number for number, arm in enumerate(dossier.life.arms)}
    serving = dossier.life.arms[dossier.life.serving].name
    # Who serves is what the others are compared with, specified or not.
    back = tuple(number for name, number in known.items() if name in wanted or name == serving)
    new = tuple(name for name in wanted if name not in known)
    why = (
        f"new_arm: {', '.join(sorted(set(wanted) - {arm['name'] for arm in dossier.document.spec['arms']}))}, by {who}"
    )
    life, _, notes = step(dossier.life, Reopen(now, back, why, new))
    document = _fresh(edited, replace(life, rules=rules), now, dossier.spec.objective.reward.window, epoch)
    return document, (*_told(dossier, now, epoch, why), *notes)


def _reason(dossier: Dossier, seen: Seen, counted: Counted) -> Reason | None:
    """Return why the experiment is to begin anew, None when it is not."""
    document, life, spec = dossier.document, dossier.life, dossier.spec
    numbers, winner = document.numbers, life.winner
    if winner is None or numbers is None or document.since_end is None or len(numbers.arms) != len(life.arms):
        return None
    able = _able(dossier)
    if "price" in spec.reopen_on and is_open_to(life, "price") and not unreliable_prices(dossier, seen):
        costs = [deciding_cost_usd(dossier, arm, seen.prices_usd_per_hour) for arm in range(len(life.arms))]
        value_usd = spec.objective.value_usd
        ended = Ended(
            names=tuple(arm.name for arm in life.arms),
            winner=winner,
            rates=tuple(arm.rate for arm in numbers.arms),
            rates_high=tuple(arm.rate + (arm.value_usd_high - arm.value_usd) / value_usd for arm in numbers.arms),
            costs_then_usd=tuple(_cost_then_usd(dossier, arm, cost) for arm, cost in enumerate(costs)),
            costs_usd=tuple(cost if arm in able else None for arm, cost in enumerate(costs)),
            objective=spec.objective_rules(),
            margin=numbers.margin,
        )
        if (reason := by_price(ended)) is not None:
            return reason
    # Of conversions only those that came are counted after the end, and silence is no number.
    is_told = spec.objective.reward.feedback == "explicit"
    if "drift" in spec.reopen_on and is_open_to(life, "drift") and is_told:
        return by_drift(life.arms[winner].name, _rewards(dossier, counted, winner), spec.objective_rules())
    return None


def _cost_then_usd(dossier: Dossier, arm: int, cost_usd: float | None) -> float:
    """Return what an arm cost at the end, by what it is known to take now: only its price can have moved since.

    An arm that was brought back is calibrated anew, and a machine that was busy then or now must not look like a price.
    """
    document, backend = dossier.document, dossier.spec.arms[arm].backend
    assert document.since_end is not None  # noqa: S101 marked at the end
    then = document.since_end.prices_usd_per_hour.get(backend)
    held = document.prices.get(backend)
    if cost_usd is None or then is None or held is None or not held.usd_per_hour:
        return cost_usd or 0.0
    return cost_usd * then / held.usd_per_hour


def _rewards(dossier: Dossier, counted: Counted, winner: int) -> list[tuple[int, int]]:
    """Return the winner's rewards in the epoch, then in each period since the end."""
    assert dossier.document.since_end is not None  # noqa: S101 asked for only then
    marks = dossier.document.since_end.marks
    rows = [_summed(counted, winner, "rewards", "reward_q")]
    for before, after in pairwise(marks):
        rows.append((max(0, after[0] - before[0]), max(0, after[1] - before[1])))
    return rows


def _able(dossier: Dossier) -> tuple[int, ...]:
    """Return the specified arms that can take part: those still loaded, and those that are ours to load."""
    wanted = {arm["name"] for arm in dossier.document.spec["arms"]}
    life = dossier.life
    return tuple(
        number
        for number, arm in enumerate(life.arms)
        if number == life.serving
        or (arm.name in wanted and not (number in life.rules.observed and arm.state == "retired"))
    )


def _summed(counted: Counted, arm: int, *names: str) -> tuple[int, int]:
    own = counted.totals(names)[arm]
    count, total = (own[name] for name in names)
    return count, total


def _unlearned(counted: Counted, arm: int) -> tuple[int, int]:
    """Return the rewards that would have been learned, had the experiment not ended."""
    count, total = _summed(counted, arm, "unlearned_rewards", "unlearned_reward_q")
    others, other_total = _summed(counted, arm, "other_event_rewards", "other_event_reward_q")
    return count - others, total - other_total


def _fresh(document: Document, life: Life, now: float, window_s: float, epoch: int) -> Document:
    """Return the document at the beginning of its next epoch: nothing counted, nothing assessed."""
    former = [one for one in document.former if now - one.ended_at < window_s + _SKEW_S]
    return msgspec.structs.replace(
        document,
        epoch=epoch,
        life=to_json(life),
        block_starts=(),
        block_parts=(),
        silent_since={},
        numbers=None,
        sprint_blocks=(),
        guarded_from={},
        former=(*former, Former(document.epoch, now))[-_FORMER_MAX:],
        since_end=None,
    )


def _told(dossier: Dossier, now: float, epoch: int, why: str) -> tuple[Note, ...]:
    return (Note(now, "epoch", f"{dossier.document.epoch:016x}", f"{epoch:016x}", why),)
