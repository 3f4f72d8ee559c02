"""One refresh of one experiment, as arithmetic: sums, measurements and events in; a new dossier, a snapshot and commands out.

No IO and no clock: the leader reads, calls `refresh`, and writes what it returns.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from bandits.alarm import Alarm
from bandits.arrivals import LawCache, delays_of
from bandits.assess import assess
from bandits.evidence import GridCache
from bandits.experiment import mode, step, underway
from bandits.health import HealthCache
from bandits.life import ArmIdle, Assessed, Command, Event, Life, Note, Tick
from bandits.question import Assessment, Question
from bandits.segmented import SegmentMemory
from router.control.alarms import alarms_of
from router.control.capacity import rooms
from router.control.dossier import ArmCost, Dossier
from router.control.guards import bounded, call_max_s, counted_from, sick
from router.control.prices import follow
from router.control.questions import question_of
from router.control.reopen import begun_anew, watched
from router.control.report import numbers_of, state_view
from router.control.seen import Seen, unreliable
from router.control.shadows import shadow_routes
from router.control.splits import Splits, splits_of
from router.control.tally import Counted, Tally
from router.decisions import Mode
from router.snapshot import PARTS, ArmRoute, SegmentRoute, Snapshot, view_of
from serving.cost import Line, reference_rows
from serving.scales import PROBES_NEEDED, scales

# Weights that moved by more than this since a block began would bias what is learned inside it (bandit-science.md §A).
_BLOCK_MOVE_MAX: Final = 0.1
# A young experiment's blocks are no more than this share of its age: five closed strata are asked for because one level
# must not carry the whole comparison, and a stratum that spans most of what was seen does. Splitting costs almost nothing
# (bandit-science.md §A, §E: strata of 500 requests instead of 5,000). Two arms at 5 % and 6 %, blocks of 5,000 requests,
# a daily rhythm: the median end is at 14k requests instead of 22k (60 runs).
_BLOCK_SHARE_MAX: Final = 0.2
# A probe scale that wavers by less is noise (its median of 15 has a spread of 7-16 %, performance.md): nothing is written.
_SCALE_MOVE_MIN: Final = 0.02
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


def refresh(
    dossier: Dossier,
    seen: Seen,
    *,
    version: int,
    now: float,
    cache: GridCache | None = None,
    health: HealthCache | None = None,
    laws: LawCache | None = None,
    memory: SegmentMemory | None = None,
    tally: Tally | None = None,
    fresh_epoch: int | None = None,
) -> Refreshed:
    """Learn from what was seen, let the life go on, and decide the weights of snapshot `version`; `now` in unix s.

    `fresh_epoch` is a random number for the epoch that begins if the experiment does so anew; without it, it does not.
    The caches only save time; they, the memory and the tally must have been used for this experiment's epoch alone.
    Without a tally, or with a new one, all cells must have been seen.
    """
    tally = tally or Tally()
    tally.take(seen.cells)
    counted = tally.counted(len(dossier.spec.arms), len(dossier.spec.segment_names()))
    dossier = watched(_measure(dossier, seen), counted, now)
    prices = follow(dossier.document.prices, seen.prices_usd_per_hour, now, dossier.spec.policy.hold)
    dossier = bounded(dossier.with_changes(prices=prices), now)
    if fresh_epoch is not None and (anew := begun_anew(dossier, seen, counted, now, fresh_epoch)) is not None:
        # All that was seen is of the epoch that is over, and of the life that the experiment had in it.
        done = refresh(anew[0], replace(seen, cells={}, beats=(), events=()), version=version, now=now)
        return replace(done, notes=(*anew[1], *done.notes))
    notes: list[Note] = []
    life = dossier.life
    for event in (*seen.events, *_idle(dossier, seen, now), Tick(now)):
        life = _step(life, event, notes)
    for failed in sick(dossier, life, counted, seen.beats, now):
        life = _step(life, failed, notes)
    dossier = dossier.with_changes(guarded_from=counted_from(dossier, life, counted, now))
    if mode(life) == "experiment":
        question = question_of(dossier, life, counted, seen, now, laws)
        alarms = _ringing(dossier, life, counted, question, now, health)
        question = replace(question, alarms=(*(alarm.words for alarm in alarms), *unreliable(dossier, seen)))
        assessment = assess(question, cache, memory)
        life = _step(life, _assessed(assessment, now, is_spooling=seen.is_spooling), notes)
        dossier = dossier.with_changes(
            numbers=numbers_of(assessment, question.requests_per_day, alarms, delays_of(question))
        )
    dossier = dossier.with_life(life)
    splits = splits_of(dossier, life, rooms(dossier, seen.capacities_rps))
    dossier = _note_silence(_roll_block(dossier, splits.drawn, now), splits, version)
    snapshot = _snapshot(dossier, splits, version, now, seen, counted)
    return Refreshed(dossier, snapshot, underway(life), tuple(notes))


def _step(life: Life, event: Event, notes: list[Note]) -> Life:
    result = step(life, event)
    notes.extend(result.notes)
    return result.life


def _ringing(
    dossier: Dossier, life: Life, counted: Counted, question: Question, now: float, health: HealthCache | None
) -> tuple[Alarm, ...]:
    # Not written out as JSON yet: only the alarms see this one.
    current = msgspec.structs.replace(dossier, life=life)
    alarms = alarms_of(current, counted, question.sums, now, health, segments=question.segments)
    return tuple(alarm for alarm in alarms if alarm.is_ringing)


def _measure(dossier: Dossier, seen: Seen) -> Dossier:
    """Take over new calibrations, the probes' scales, and the reference size: the leader's usual batch."""
    document, costs = dossier.document, dict(dossier.document.costs) | dict(seen.calibrated)
    if mode(dossier.life) in ("settled", "frozen"):
        # What was decided stands on these measurements, and is shown with them; probes go on, but decide nothing.
        return dossier.with_changes(costs=costs)
    for backend in sorted({arm.backend for arm in dossier.spec.arms}):
        costs |= _scaled(dossier, seen, costs, backend)
    sizes: Counter[int] = Counter()
    leader = dossier.life.control if dossier.life.leader is None else dossier.life.leader
    # Of a leader whose requests go alone nothing follows for those that are merged.
    for beat in seen.beats if dossier.is_merged(dossier.spec.arms[leader].name) else ():
        sizes.update(beat.arms[leader].batch_rows)
    rows = reference_rows(document.reference_rows, sizes) if sizes else document.reference_rows
    return dossier.with_changes(costs=costs, reference_rows=rows)


def _scaled(dossier: Dossier, seen: Seen, costs: Mapping[str, ArmCost], backend: str) -> dict[str, ArmCost]:
    """Return the costs of a backend's calibrated arms, scaled by their probes: they share the machine."""
    arms = [
        (place, arm.name) for place, arm in enumerate(dossier.spec.arms) if arm.backend == backend and arm.name in costs
    ]
    probes = [[probe for beat in seen.beats for probe in beat.arms[place].probes] for place, _ in arms]
    found = scales([Line(costs[name].a_s, costs[name].b_s) for _, name in arms], probes)
    scaled = {}
    for (_, name), mine, scale in zip(arms, probes, found, strict=True):
        cost, is_enough = costs[name], len(mine) >= PROBES_NEEDED
        # An arm that was probed and is now too seldom keeps what was measured.
        stands = scale is None or (cost.is_probed and not is_enough)
        if scale is None or stands or abs(scale - cost.scale) <= _SCALE_MOVE_MIN * cost.scale:
            scale = cost.scale
        scaled[name] = msgspec.structs.replace(cost, scale=scale, is_probed=cost.is_probed or is_enough)
    return scaled


def _assessed(assessment: Assessment, now: float, *, is_spooling: bool) -> Assessed:
    return Assessed(
        now,
        leader=assessment.leader,
        weights=tuple(float(weight) for weight in assessment.weights),
        is_drained=assessment.is_drained,
        is_over=assessment.is_over,
        retire=assessment.retire,
        park=assessment.park,
        not_ready=assessment.not_ready,
        is_spent=assessment.is_spent,
        is_held=is_spooling and len(assessment.not_ready) == 1,
        segment_weights=tuple(tuple(float(weight) for weight in one.weights) for one in assessment.segments),
        serves=tuple(one.serves for one in assessment.segments if one.serves is not None) if assessment.is_over else (),
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


def _note_silence(dossier: Dossier, splits: Splits, version: int) -> Dossier:
    """Remember from which version on a draining arm gets nothing; forget it when it serves again."""
    known = dossier.document.silent_since
    silent = {
        arm.name: known.get(arm.name, version)
        for place, arm in enumerate(dossier.life.arms)
        if arm.state == "draining" and splits.is_silent(place)
    }
    return dossier.with_changes(silent_since=silent)


def _roll_block(dossier: Dossier, parts: tuple[int, ...], now: float) -> Dossier:
    """Begin a new block when the last is over, the weights have moved too far within it, or a sprint begins or ends."""
    document = dossier.document
    if mode(dossier.life) != "experiment":
        return dossier
    is_sprint = document.numbers is not None and document.numbers.sprint.is_running
    was_sprint = document.block in document.sprint_blocks
    is_over = not document.block or now - document.block_starts[-1] >= _block_s(dossier, now)
    has_moved = any(
        abs(new - old) > _BLOCK_MOVE_MAX * PARTS for new, old in zip(parts, document.block_parts or parts, strict=True)
    )
    if not (is_over or has_moved or is_sprint != was_sprint):
        return dossier
    sprints = (*document.sprint_blocks, document.block + 1) if is_sprint else document.sprint_blocks
    return dossier.with_changes(block_starts=(*document.block_starts, now), block_parts=parts, sprint_blocks=sprints)


def _block_s(dossier: Dossier, now: float) -> float:
    """Return how long the open block may last."""
    return min(dossier.spec.policy.block, _BLOCK_SHARE_MAX * (now - dossier.document.block_starts[0]))


def _rps_max(seen: Seen, backend: str) -> float | None:
    """Return each worker's part of a backend's capacity."""
    capacity_rps = seen.capacities_rps.get(backend)
    return None if capacity_rps is None else capacity_rps / max(1, len(seen.beats))


def _snapshot(dossier: Dossier, splits: Splits, version: int, now: float, seen: Seen, counted: Counted) -> Snapshot:
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
            ArmRoute(
                arm.name,
                arm.backend,
                arm.model,
                arm.version,
                share,
                seen.prices_usd_per_hour.get(arm.backend, 0.0),
                _rps_max(seen, arm.backend),
                dossier.is_merged(arm.name),
            )
            for arm, share in zip(spec.arms, splits.parts, strict=True)
        ),
        segments=tuple(
            SegmentRoute(name, parts) for name, parts in zip(spec.segment_names(), splits.segments, strict=True)
        ),
        is_sticky=spec.policy.sticky,
        # Where nothing is forgotten a unit counts once until the longest duration is over.
        unit_memory_s=spec.stop.max_duration if spec.mode == "experiment" else spec.policy.memory,
        units_return=spec.mode != "experiment",
        reward_low=spec.objective.reward.range[0],
        reward_high=spec.objective.reward.range[1],
        window_s=spec.objective.reward.window,
        reference_rows=document.reference_rows,
        value_usd=spec.objective.value_usd,
        feedback=spec.objective.reward.feedback,
        reward_event=spec.objective.reward.event,
        call_max_s=call_max_s(spec),
        revision=document.revision,
        is_archived=life.phase == "archived",
        former=tuple(one.epoch for one in document.former),
        shadows=shadow_routes(dossier, life, seen.shadowing, seen.prices_usd_per_hour),
        workers=len(seen.beats),
        view=view_of(state_view(dossier, seen, counted, splits, now)),
    )
