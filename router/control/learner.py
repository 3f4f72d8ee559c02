"""One refresh of one experiment, as arithmetic: sums, measurements and events in; a new dossier, a snapshot and commands out.

No IO and no clock: the leader reads, calls `refresh`, and writes what it returns.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from bandits.assess import assess
from bandits.evidence import GridCache
from bandits.experiment import age_s, mode, receives, step, underway
from bandits.life import ArmIdle, Assessed, Command, Event, Life, Note, Tick
from bandits.question import ArmFacts, Assessment, Question
from bandits.sums import Sums
from bandits.weights import to_parts
from router.control.dossier import Document, Dossier
from router.control.prices import follow
from router.control.report import numbers_of, state_view
from router.control.seen import Seen, deciding_cost_usd
from router.decisions import Mode
from router.snapshot import PARTS, ArmRoute, Snapshot, view_of
from serving.cost import PROBES_NEEDED, Line, probe_scale, reference_rows

# Weights that moved by more than this since a block began would bias what is learned inside it (bandit-science.md §A).
_BLOCK_MOVE_MAX: Final = 0.1
# A probe scale that wavers by less than this is noise (its median of 15 has a spread of 7-16 %, performance.md): the
# dossier is not rewritten for it.
_SCALE_MOVE_MIN: Final = 0.02
# Requests that can't be padded are never probes; after so many decisions the calibration has to do.
_UNPROBED_MAX: Final = 2_000
_DAY_S: Final = 86_400.0
_MODES: Final = {
    "warmup": Mode.WARMUP,
    "experiment": Mode.EXPERIMENT,
    "settled": Mode.SETTLED,
    "frozen": Mode.SETTLED,
    "paused": Mode.BYPASS,
}


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What is to be written, told and begun."""

    dossier: Dossier
    snapshot: Snapshot
    commands: tuple[Command, ...]
    notes: tuple[Note, ...]


def refresh(dossier: Dossier, seen: Seen, *, version: int, now: float, cache: GridCache | None = None) -> Refreshed:
    """Learn from what was seen, let the life go on, and decide the weights of snapshot `version`; `now` in unix s.

    The cache only saves time; it must have been used for this experiment's epoch alone.
    """
    dossier = _measure(dossier, seen)
    prices = follow(dossier.document.prices, seen.prices_usd_per_hour, now, dossier.spec.policy.hold)
    dossier = dossier.with_changes(prices=prices)
    notes: list[Note] = []
    life = dossier.life
    for event in (*seen.events, *_idle(dossier, seen, now), Tick(now)):
        life = _step(life, event, notes)
    if mode(life) == "experiment":
        question = _question(dossier, life, seen, now)
        assessment = assess(question, cache)
        life = _step(life, _assessed(assessment, now), notes)
        dossier = dossier.with_changes(numbers=numbers_of(assessment, question.requests_per_day))
    dossier = dossier.with_life(life)
    parts = _parts(dossier, life)
    dossier = _roll_block(dossier, parts, now)
    dossier = _note_silence(dossier, parts, version)
    snapshot = _snapshot(dossier, parts, version, now, state_view(dossier, seen, parts, now))
    return Refreshed(dossier, snapshot, underway(life), tuple(notes))


def _step(life: Life, event: Event, notes: list[Note]) -> Life:
    result = step(life, event)
    notes.extend(result.notes)
    return result.life


def _measure(dossier: Dossier, seen: Seen) -> Dossier:
    """Take over new calibrations, the probes' scales, and the reference size: the leader's usual batch."""
    document = dossier.document
    costs = dict(document.costs) | dict(seen.calibrated)
    if mode(dossier.life) in ("settled", "frozen"):
        # What was decided stands on these measurements, and is shown with them; probes go on, but decide nothing.
        return dossier.with_changes(costs=costs)
    for place, arm in enumerate(dossier.spec.arms):
        cost = costs.get(arm.name)
        if cost is None:
            continue
        probes = [probe for beat in seen.beats for probe in beat.arms[place].probes]
        scale = probe_scale(Line(cost.a_s, cost.b_s), probes) if len(probes) >= PROBES_NEEDED else cost.scale
        is_probed = cost.is_probed or len(probes) >= PROBES_NEEDED
        if abs(scale - cost.scale) <= _SCALE_MOVE_MIN * cost.scale:
            scale = cost.scale
        costs[arm.name] = msgspec.structs.replace(cost, scale=scale, is_probed=is_probed)
    leader = dossier.life.leader if dossier.life.leader is not None else dossier.life.control
    sizes: Counter[int] = Counter()
    for beat in seen.beats:
        sizes.update(beat.arms[leader].batch_rows)
    rows = reference_rows(document.reference_rows, sizes) if sizes else document.reference_rows
    return dossier.with_changes(costs=costs, reference_rows=rows)


def _question(dossier: Dossier, life: Life, seen: Seen, now: float) -> Question:
    arms, document = dossier.spec.arms, dossier.document
    live = receives(life)
    # A block we never opened is another leader's, whose dossier was lost with its store.
    known = {key: cell for key, cell in seen.cells.items() if cell["decisions"] and 0 < key[1] <= document.block}
    sums = Sums.from_cells(known, len(arms))
    decisions = sums.decisions.sum(axis=0)
    starts_s = _starts_s(document, life, sums)
    return Question(
        arms=tuple(
            ArmFacts(
                name=arm.name,
                cost_usd=deciding_cost_usd(dossier, place, seen.prices_usd_per_hour),
                is_live=live[place],
                max_share=arm.max_share,
                is_cost_known=_is_probed(document, arm.name) or decisions[place] >= _UNPROBED_MAX,
                group=arm.reward_group,
            )
            for place, arm in enumerate(arms)
        ),
        control=life.control,
        sums=sums,
        open_block=document.block,
        age_s=age_s(life, now),
        objective=dossier.spec.objective_rules(),
        policy=dossier.spec.policy_rules(),
        stop=dossier.spec.stop_rules(),
        blocks_closed=max(0, document.block - 1),
        open_share=min(1.0, max(0.0, now - max(document.block_starts, default=now)) / dossier.spec.policy.block),
        starts_s=starts_s,
        is_sprint=np.isin(sums.blocks, document.sprint_blocks),
        requests_per_day=_requests_per_day(sums, starts_s, age_s(life, now)),
    )


def _starts_s(document: Document, life: Life, sums: Sums) -> NDArray[np.float64]:
    """Return the age at which each row's block began; never falling, even when the clock was set back."""
    starts = np.array([document.block_starts[block - 1] for block in sums.blocks], np.float64)
    return np.maximum.accumulate(np.maximum(starts - (life.started_at or 0.0), 0.0))


def _requests_per_day(sums: Sums, starts_s: NDArray[np.float64], age: float) -> float:
    """Return the present traffic: that of the blocks begun within the last day, or of all there are."""
    rows = starts_s >= min(age - _DAY_S, starts_s.max(initial=0.0))
    span_s = age - float(starts_s[rows].min(initial=age))
    return float(sums.decisions[rows].sum()) / span_s * _DAY_S if span_s > 0.0 else 0.0


def _is_probed(document: Document, arm: str) -> bool:
    cost = document.costs.get(arm)
    return cost is not None and cost.is_probed


def _assessed(assessment: Assessment, now: float) -> Assessed:
    return Assessed(
        now,
        leader=assessment.leader,
        weights=tuple(float(weight) for weight in assessment.weights),
        is_drained=assessment.is_drained,
        is_over=assessment.is_over,
        retire=assessment.retire,
        park=assessment.park,
        numbers={
            "value_remaining_q95": assessment.remaining_q95,
            "threshold": assessment.threshold,
            "evidence_bar_log": assessment.evidence_bar_log,
            "margin": assessment.margin,
            "certified_gap": assessment.certified_gap,
            "sprint_price_usd": assessment.sprint.price_usd,
            "sprint_spent_usd": assessment.sprint.spent_usd,
        },
    )


def _parts(dossier: Dossier, life: Life) -> tuple[int, ...]:
    """Return each arm's share of `PARTS`: the assessed weights where they hold, else all to one arm."""
    may = receives(life)
    if mode(life) in ("experiment", "frozen") and life.weights is not None:
        allowed = [weight if may[place] else 0.0 for place, weight in enumerate(life.weights)]
        if sum(allowed) > 0.0:
            return to_parts(allowed)
    if dossier.spec.mode == "observe":
        may = tuple(place == life.control for place in range(len(may)))
    # No weights yet, or none of them holds any more: an equal split among those that may receive.
    return to_parts([float(one) for one in may])


def _mode(dossier: Dossier) -> Mode:
    """Return why arms are chosen now; while control is only observed its decisions are learned from, as such."""
    found = _MODES[mode(dossier.life)]
    return Mode.OBSERVE if found is Mode.EXPERIMENT and dossier.spec.mode == "observe" else found


def _idle(dossier: Dossier, seen: Seen, now: float) -> list[Event]:
    """Return the draining arms to which no live gateway sends anything any more; none while gateways are unheard."""
    if not seen.is_complete or not seen.beats:
        return []
    return [
        ArmIdle(now, place)
        for place, arm in enumerate(dossier.life.arms)
        if arm.state == "draining"
        and (since := dossier.document.silent_since.get(arm.name)) is not None
        and all(beat.version >= since and beat.arms[place].in_flight == 0 for beat in seen.beats)
    ]


def _note_silence(dossier: Dossier, parts: Sequence[int], version: int) -> Dossier:
    """Remember from which version on a draining arm gets nothing; forget it when it serves again."""
    known = dossier.document.silent_since
    silent = {
        arm.name: known.get(arm.name, version)
        for arm, share in zip(dossier.life.arms, parts, strict=True)
        if arm.state == "draining" and not share
    }
    return dossier.with_changes(silent_since=silent)


def _roll_block(dossier: Dossier, parts: tuple[int, ...], now: float) -> Dossier:
    """Begin a new block when the last is over, the weights have moved too far within it, or a sprint begins or ends."""
    document = dossier.document
    if mode(dossier.life) != "experiment":
        return dossier
    is_sprint = document.numbers is not None and document.numbers.sprint.is_running
    was_sprint = document.block in document.sprint_blocks
    is_over = not document.block or now - document.block_starts[-1] >= dossier.spec.policy.block
    has_moved = any(
        abs(new - old) > _BLOCK_MOVE_MAX * PARTS for new, old in zip(parts, document.block_parts or parts, strict=True)
    )
    if not (is_over or has_moved or is_sprint != was_sprint):
        return dossier
    sprints = (*document.sprint_blocks, document.block + 1) if is_sprint else document.sprint_blocks
    return dossier.with_changes(block_starts=(*document.block_starts, now), block_parts=parts, sprint_blocks=sprints)


def _snapshot(dossier: Dossier, parts: Sequence[int], version: int, now: float, view: dict[str, Any]) -> Snapshot:
    spec, document, life = dossier.spec, dossier.document, dossier.life
    return Snapshot(
        name=dossier.name,
        model=spec.model,
        epoch=document.epoch,
        version=version,
        block=document.block,
        published_at=now,
        mode=_mode(dossier),
        entry_labels=tuple(spec.entry_labels),
        control=life.control,
        serving=life.control if life.winner is None else life.winner,
        arms=tuple(
            ArmRoute(arm.name, arm.backend, arm.model, arm.version, share)
            for arm, share in zip(spec.arms, parts, strict=True)
        ),
        is_sticky=spec.policy.sticky,
        reward_low=spec.objective.reward.range[0],
        reward_high=spec.objective.reward.range[1],
        window_s=spec.objective.reward.window,
        reference_rows=document.reference_rows,
        value_usd=spec.objective.value_usd,
        feedback=spec.objective.reward.feedback,
        view=view_of(view),
    )
