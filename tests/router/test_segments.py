"""Requests are drawn by the weights of their segment, and counted in it; the token says which it was."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.sample_ratio import LAMBDAS, SHARP_BITS, STORED_BITS, log_moments
from bandits.sums import cell_arm
from bandits.weights import to_parts
from router.decisions import TOKEN_CHARS, Keyring, Mode
from router.journal.scribe import Decided, Scribe
from router.ledger import Ledger, moment_cell
from router.metrics import Metrics
from router.reward_calls import RewardCalls
from router.rewards import Claim, RewardDesk
from router.routes import Routes
from router.snapshot import PARTS, SegmentRoute, Snapshot, decode, encode
from router.store import Cell
from router.store.memory import MemoryStore
from tests.router.samples import BACKEND, EPOCH, KEYS, NOW, Bench, Instant, ask, bench, counted, snapshot

REST, DE, FR = (PARTS // 4, 3 * PARTS // 4), (PARTS, 0), (0, PARTS)
SEGMENTS = tuple(SegmentRoute(*one) for one in (("other", REST), ("de", DE), ("fr", FR)))


def segmented(**changes: object) -> Snapshot:
    """Two arms, and two declared segments: one is all v1's, the other all v2's."""
    return snapshot(PARTS // 2, PARTS // 2, segments=SEGMENTS, **changes)


def on_segments(**changes: object) -> Bench:
    return bench({BACKEND: Instant()}, [segmented(**changes)])


def test_each_segment_is_drawn_by_its_own_weights() -> None:
    on = on_segments()

    arms = {name: {ask(on, n, segment=name).arm for n in range(50)} for name in (b"de", b"fr")}

    assert arms == {b"de": {"v1"}, b"fr": {"v2"}}


@pytest.mark.parametrize("name", [b"", b"it", b"DE", b"de ", b"other", b"\xff"])
def test_what_was_not_declared_belongs_to_the_rest(name: bytes) -> None:
    on = on_segments()

    decision = on.keys.verify(ask(on, segment=name).decision)

    assert decision.segment == 0
    assert decision.parts == REST[decision.arm]


def test_token_has_the_segment_and_the_propensity_of_its_weights() -> None:
    on = on_segments()

    token = ask(on, segment=b"fr").decision

    decision = on.keys.verify(token)
    assert (decision.segment, decision.arm, decision.parts) == (2, 1, PARTS)
    assert len(token) == TOKEN_CHARS < 110


def test_decisions_are_counted_in_their_segment() -> None:
    on = on_segments()
    for name in (b"de", b"fr", b"fr"):
        ask(on, segment=name)

    found = {cell: (fields["decisions"], fields["assigned"]) for cell, fields in counted(on).items()}

    assert found == {Cell(EPOCH, cell_arm(0, 1), 3): (1, 1), Cell(EPOCH, cell_arm(1, 2), 3): (2, 2)}
    assert on.count("turpin_segment_decisions_total", experiment="digits-2026", segment="fr") == 2


def test_without_segments_the_header_changes_nothing() -> None:
    on = bench({BACKEND: Instant()}, [snapshot(0, PARTS)])

    ask(on, segment=b"de")

    assert list(counted(on)) == [Cell(EPOCH, 1, 3)]


def test_a_unit_gets_the_arm_of_its_segment_and_counts_once() -> None:
    on = on_segments(is_sticky=True)

    replies = [ask(on, n, segment=name, unit=b"ann") for n, name in enumerate((b"de", b"de", b"fr"))]

    decisions = [on.keys.verify(reply.decision) for reply in replies]
    assert [(one.segment, one.arm, one.mode) for one in decisions] == [
        (1, 0, Mode.EXPERIMENT),
        (1, 0, Mode.REPEAT),
        # The unit has had its trial, wherever it comes from next.
        (2, 1, Mode.REPEAT),
    ]
    assert [trial.cell for trial in on.trials.waiting()] == [Cell(EPOCH, cell_arm(0, 1), 3)]


def test_a_reward_lands_in_the_segment_of_its_decision() -> None:
    on = on_segments()
    token = ask(on, segment=b"fr").decision

    cells = asyncio.run(rewarded(on, token, segmented()))

    assert {cell: fields["rewards"] for cell, fields in cells.items()} == {(cell_arm(1, 2), 3): 1}


def test_a_token_without_segment_from_before_is_learned_from_in_the_rest() -> None:
    before = bench({BACKEND: Instant()}, [snapshot(0, PARTS)])
    token = ask(before).decision

    cells = asyncio.run(rewarded(before, token, segmented(version=8)))

    assert {cell: fields["rewards"] for cell, fields in cells.items()} == {(1, 3): 1}


def test_a_token_of_a_segment_that_is_unknown_here_is_refused() -> None:
    token = ask(on_segments(), segment=b"fr").decision

    with pytest.raises(AssertionError, match="not known here"):
        asyncio.run(rewarded(on_segments(), token, snapshot()))


async def rewarded(on: Bench, token: str, known: Snapshot) -> dict[tuple[int, int], dict[str, int]]:
    """Bring a token back where this snapshot is known; return the store's cells."""
    routes = Routes({BACKEND: ()})
    routes.update(known)
    store = MemoryStore()
    await store.open()
    desk = RewardDesk(
        keys=Keyring(KEYS),
        routes=routes,
        store=store,
        metrics=Metrics(),
        unix_now=lambda: NOW,
        ledger=Ledger(),
        calls=RewardCalls(),
    )
    (outcome,) = await desk.record([Claim(decision=token, reward=1.0)])
    assert outcome.status == 202, outcome.detail
    return {cell: dict(fields) for cell, fields in (await store.sums(EPOCH)).items()}


shares = st.lists(st.integers(1, 1000), min_size=2, max_size=2)


@given(st.lists(st.tuples(st.integers(0, 2), shares, st.integers(0, 1)), max_size=40))
def test_every_draw_promises_what_its_own_segments_weights_say(
    draws: list[tuple[int, Sequence[int], int]],
) -> None:
    ledger, exact = Ledger(), Counter[Cell]()
    for segment, weights, arm in draws:
        parts = to_parts(weights)
        ledger.assign(7, 1, tuple(itertools.accumulate(parts)), arm, segment)
        for k, moments in enumerate(log_moments(parts)):
            exact.update({moment_cell(7, k, place): moment for place, moment in enumerate(moments)})

    deltas = ledger.parcel().deltas

    for arm, segment in itertools.product(range(2), range(3)):
        drawn = sum((one, chosen) == (segment, arm) for one, _, chosen in draws)
        assert deltas.get(Cell(7, cell_arm(arm, segment), 1), {}).get("assigned", 0) == drawn
    for arm, place in itertools.product(range(2), range(len(LAMBDAS))):
        cell = moment_cell(7, arm, place)
        assert deltas.get(cell, {}).get("log_moment", 0) == exact[cell] >> (SHARP_BITS - STORED_BITS)


def test_the_journal_has_the_propensities_of_the_segment() -> None:
    on = on_segments()
    decision = on.keys.verify(ask(on, segment=b"fr").decision)

    line = json.loads(Scribe(on.keys, 1.0).text(Decided(decision, segmented(), 0, b"")))

    assert (line["segment"], line["arm"], line["propensity"]) == (2, "v2", 1.0)
    assert line["propensities"] == {"v1": 0.0, "v2": 1.0}


def test_snapshots_of_before_have_no_segments() -> None:
    raw = json.loads(encode(snapshot()))
    del raw["segments"]

    assert decode(json.dumps(raw).encode()).segments == ()
