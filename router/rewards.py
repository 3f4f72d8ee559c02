"""Rewards: a claim brings its decision token back, is checked, and is counted once in the block of its decision."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from bandits import delay_bins
from bandits.sums import quantise
from router.decisions import BadToken, Decision, Keyring
from router.journal import Journal
from router.ledger import Ledger
from router.metrics import Metrics
from router.problems import Problem
from router.reward_calls import OTHER_EVENT, RewardCalls
from router.routes import Live, Routes
from router.snapshot import EVENT_CHARS_MAX
from router.spool import SPOOL_AGE_S, Spool, Spooled
from router.spool.counting import settled
from router.store import Reward, RewardResult, Store, StoreUnavailable, StoreUnopenable
from router.trials import trial_of

# Clocks of gateways may differ by this much; a token from further in the future is not one of ours.
_SKEW_S: Final = 300.0
# Dedupe outlives the window by as much again, so that a clock that jumps by less can't make a reward count twice.
_DEDUPE_WINDOWS: Final = 2.0
_LABELS: Final = {(202, False): "recorded", (202, True): "spooled", (200, False): "duplicate"}
# One request may carry this many rewards; more is split by the client. Bounds the memory of one call.
REWARDS_PER_CALL_MAX: Final = 10_000


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client sends: one reward for the request, or one per row. A bare number is a finite JSON number."""

    decision: str
    reward: float | None = None
    rewards: tuple[float, ...] | None = None
    event: str = "default"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a claim: accepted or a duplicate, or the problem that stood in the way."""

    status: int
    is_learned: bool = False
    # Safe in a file of this machine, until the store is back.
    is_spooled: bool = False
    problem: Problem | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Checked:
    """A claim that may be counted: what to add, and for the metric whose decision came back after how long."""

    reward: Reward
    experiment: str
    age_s: float
    # Sticky: the claim that the decision is its unit's trial.
    trial: Reward | None = None

    @property
    def entry(self) -> Spooled:
        """What is to be counted."""
        return Spooled(self.reward, self.trial)


class RewardDesk:
    """Checks claims and hands them to the store."""

    def __init__(
        self,
        *,
        keys: Keyring,
        routes: Routes,
        store: Store,
        metrics: Metrics,
        unix_now: Callable[[], float],
        ledger: Ledger,
        calls: RewardCalls,
        journal: Journal | None = None,
        spool: Spool | None = None,
    ) -> None:
        """Without a `spool` rewards are refused while the store is away."""
        self._spool = spool
        self._ledger = ledger
        self._calls = calls
        self._journal = journal
        self._keys = keys
        self._routes = routes
        self._store = store
        self._metrics = metrics
        self._unix_now = unix_now

    def refused(self, kind: Problem) -> None:
        """Count a call, or a line of one, that was refused before a claim could be read from it."""
        self._metrics.rewards.labels(kind.label).inc()

    async def record(self, claims: Sequence[Claim]) -> list[Outcome]:
        """Record claims in one durable step; one outcome each, in order. Never raises for what a client sent."""
        found = [self._find(claim) for claim in claims]
        checked = [
            item if isinstance(item, Outcome) else self._check(claim, *item)
            for claim, item in zip(claims, found, strict=True)
        ]
        entries = [item.entry for item in checked if isinstance(item, _Checked)]
        results, away = await self._count(entries)
        remaining = iter(results)
        outcomes = [
            item if isinstance(item, Outcome) else self._outcome(item, next(remaining), away) for item in checked
        ]
        for claim, item, outcome in zip(claims, found, outcomes, strict=True):
            label = outcome.problem.label if outcome.problem else _LABELS[outcome.status, outcome.is_spooled]
            self._metrics.rewards.labels(label).inc()
            if not isinstance(item, Outcome):
                decision, live = item
                is_other = claim.event != live.snapshot.reward_event
                self._calls.count(decision.epoch, decision.arm, OTHER_EVENT if is_other else label, self._unix_now())
        return outcomes

    async def _count(self, entries: Sequence[Spooled]) -> tuple[list[tuple[Reward, RewardResult | None]], str]:
        """Count rewards in the store, or keep them in the spool while it is away (None); with neither say why.

        Learned is only from decisions that are their unit's trial: whoever comes second is kept apart.
        """
        if not entries:
            return [], ""
        try:
            rewards = await settled(self._store, entries)
            return list(zip(rewards, await self._store.add_rewards(rewards), strict=True)), ""
        except (StoreUnavailable, StoreUnopenable) as error:
            # One that refuses us, since its password was changed, is as good as away.
            away = str(error)
        if self._spool is not None:
            try:
                await self._spool.put(entries)
                away = ""
            except StoreUnavailable as error:
                away = f"{away}; {error}"
        return [(entry.reward, None) for entry in entries], away

    def _find(self, claim: Claim) -> tuple[Decision, Live] | Outcome:
        """Return the decision that the claim's token proves, and its experiment."""
        try:
            decision = self._keys.verify(claim.decision)
        except BadToken as error:
            return _refused(Problem.FORGED, str(error))
        live = self._routes.by_epoch.get(decision.epoch)
        if live is None or decision.arm >= len(live.snapshot.arms) or decision.segment >= len(live.splits):
            return _refused(Problem.UNKNOWN_EPOCH, "the experiment of this decision is not known here (any more)")
        return decision, live

    def _check(self, claim: Claim, decision: Decision, live: Live) -> _Checked | Outcome:
        now = self._unix_now()
        age_s = now - decision.time_us * 1e-6
        if age_s < -_SKEW_S:
            return _refused(Problem.FORGED, f"the decision is dated {-age_s:.0f} s in the future")
        if age_s > live.snapshot.window_s:
            if _is_learned(claim, decision, live):
                # Each report counts: what is late is not remembered, so nobody knows whether it comes a second time.
                self._ledger.add(decision.cell, late_rewards=1)
            return _refused(
                Problem.LATE, f"the decision is {age_s:.0f} s old, the window is {live.snapshot.window_s:g} s"
            )
        if not 1 <= len(claim.event) <= EVENT_CHARS_MAX:
            return _refused(
                Problem.INVALID, f"event must have 1 to {EVENT_CHARS_MAX} characters, got {len(claim.event)}"
            )
        if not _is_text(claim.event):
            return _refused(Problem.INVALID, f"event must be text, got {claim.event!a}")
        value = _value(claim, decision, live)
        if isinstance(value, Outcome):
            return value
        reward = self._reward(claim, decision, live, value, age_s)
        is_trial = live.snapshot.is_sticky and _is_learned(claim, decision, live)
        trial = trial_of(decision, live.snapshot) if is_trial else None
        return _Checked(reward, live.snapshot.name, age_s, trial)

    @staticmethod
    def _reward(claim: Claim, decision: Decision, live: Live, value: float, age_s: float) -> Reward:
        snapshot = live.snapshot
        q = quantise(value, snapshot.reward_low, snapshot.reward_high)
        fields = {"unlearned_rewards": 1, "unlearned_reward_q": q}
        if claim.event != snapshot.reward_event:
            fields |= {"other_event_rewards": 1, "other_event_reward_q": q}
        elif _is_learned(claim, decision, live):
            fields = {"rewards": 1, "reward_q": q, "reward_q2": q * q, "delay_ms": max(0, int(age_s * 1e3))}
            if snapshot.feedback == "conversions":
                fields[delay_bins.FIELDS[delay_bins.bin_of(age_s, snapshot.window_s)]] = 1
        return Reward(
            cell=decision.cell,
            nonce=decision.nonce,
            event=claim.event,
            value=value,
            fields=fields,
            expires_at=int(decision.time_us * 1e-6 + _DEDUPE_WINDOWS * snapshot.window_s + _SKEW_S + SPOOL_AGE_S),
        )

    def _outcome(self, checked: _Checked, found: tuple[Reward, RewardResult | None], away: str) -> Outcome:
        reward, result = found
        is_learned = "rewards" in reward.fields
        match result:
            case None if away:
                return _refused(Problem.STORE_AWAY, away)
            case None | RewardResult.RECORDED:
                self._metrics.reward_delay_seconds.labels(checked.experiment).observe(max(0.0, checked.age_s))
                if self._journal is not None:
                    self._journal.rewarded(reward, checked.experiment, self._unix_now(), checked.age_s)
                return Outcome(202, is_learned=is_learned, is_spooled=result is None)
            case RewardResult.DUPLICATE:
                return Outcome(200, is_learned=is_learned)
            case RewardResult.CONFLICT:
                return _refused(
                    Problem.CONFLICT,
                    f"another reward than {reward.value:g} was recorded for this decision and event {reward.event!r}",
                )


def _refused(problem: Problem, detail: str) -> Outcome:
    return Outcome(problem.status, problem=problem, detail=detail)


def _is_learned(claim: Claim, decision: Decision, live: Live) -> bool:
    """Say whether a reward is learned from: not where its decision was none of the experiment's, nor of an epoch that
    is over, for what was learned then is decided; and of a decision's events one, for the decision is the trial."""
    snapshot = live.snapshot
    return decision.is_learned and decision.epoch == snapshot.epoch and claim.event == snapshot.reward_event


def _is_text(text: str) -> bool:
    """Say whether this can be written as UTF-8: half of a surrogate pair can't, and no store could keep it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _value(claim: Claim, decision: Decision, live: Live) -> float | Outcome:
    """Return the reward of the request: rows enter as their mean, for the request is what was randomised."""
    if (claim.reward is None) == (claim.rewards is None):
        return _refused(Problem.INVALID, "exactly one of `reward` and `rewards` must be given")
    values = (claim.reward,) if claim.rewards is None else claim.rewards
    low, high = live.snapshot.reward_low, live.snapshot.reward_high
    for value in values:
        if value is None or not math.isfinite(value) or not low <= value <= high:
            return _refused(Problem.INVALID, f"a reward must be within [{low:g}, {high:g}], got {value}")
    if claim.rewards is not None and len(claim.rewards) != decision.rows:
        return _refused(Problem.INVALID, f"the request had {decision.rows} rows, got {len(claim.rewards)} rewards")
    return math.fsum(value for value in values if value is not None) / len(values)
