"""What the store keeps of an experiment is read as it was written, by the same leader and by the next version's."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits.life import ArmWarmed, to_json
from router.config.document import BadInput
from router.control.dossier import ArmCost, ArmNumbers, Document, Dossier, Numbers, dossier_of, encode
from serving.cost import Line
from tests.router.control.world import World, seeded, spec

finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.builds(
    Numbers,
    leader=st.integers(0, 1),
    remaining_q95=st.none() | finite,
    threshold=finite,
    is_drained=st.booleans(),
    not_ready=st.lists(st.text(max_size=5), max_size=2).map(tuple),
    evidence_bar_log=finite,
    margin=finite,
    certified_gap=st.none() | finite,
    given_up_usd=finite,
    arms=st.lists(st.builds(ArmNumbers, *[finite] * 6), max_size=2).map(tuple),
)
documents = st.builds(
    Document,
    spec=st.just(spec().model_dump(mode="json")),
    epoch=st.integers(0, 2**64 - 1),
    life=st.just(to_json(seeded(spec()).life)),
    block_starts=st.lists(finite, max_size=3).map(tuple),
    block_parts=st.lists(st.integers(0, 2**31), max_size=3).map(tuple),
    costs=st.dictionaries(st.sampled_from(["v1", "v2"]), st.builds(ArmCost, finite, finite, finite, st.booleans())),
    reference_rows=st.integers(1, 1024),
    silent_since=st.dictionaries(st.sampled_from(["v1", "v2"]), st.integers(0, 2**63)),
    numbers=st.none() | numbers,
)


def content(document: Document) -> dict[str, Any]:
    """A document's fields; JSON makes lists of the tuples in its life."""
    fields = {name: getattr(document, name) for name in document.__struct_fields__}
    return fields | {"life": msgspec.json.decode(msgspec.json.encode(document.life))}


@settings(deadline=None, max_examples=50)
@given(documents)
def test_document_is_read_as_it_was_written(document: Document) -> None:
    read = dossier_of("digits", 4, encode(document))

    assert content(read.document) == content(document)
    assert (read.name, read.revision, read.spec, read.life) == ("digits", 4, spec(), seeded(spec()).life)
    assert encode(read.document) == encode(document)


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": {"refresh": "0.1s", "block": "90s", "hold": "1.5s", "floor": 0.1 / 3}},
        {"stop": {"cycle": "26h", "min_cycles": 3, "max_duration": "100d", "margin": 0.1, "alpha": 1e-7}},
        {"objective": {"value_usd": 1e-300, "reward": {"type": "continuous", "range": [-0.1, 1e9], "window": "1ms"}}},
        {"on_stop": {"action": "notify", "grace": "0s", "unload": False}},
        {"batching": {"latency_ms": 0.1, "allowed_rows": [1, 8]}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_specification_is_the_same_after_a_restart(changes: dict[str, Any]) -> None:
    wanted = spec(**changes)

    # Otherwise a leader would warn that its file differs from the store, which it made from that very file.
    assert dossier_of("digits", 1, encode(seeded(wanted).document)).spec == wanted


def test_life_is_the_same_in_both_forms() -> None:
    dossier = seeded(spec())

    after = dossier.with_life(replace(dossier.life, reason="changed"))

    assert after.life.reason == after.document.life["reason"] == "changed"
    assert dossier_of("digits", 1, encode(after.document)).life == after.life


def running() -> World:
    of = World(spec(arms=2), (0.8, 0.9), (Line(0.001, 0.0),) * 2)
    of.run(lambda of: of.phase == "running")
    return of


def test_what_the_next_refresh_makes_anew_is_no_reason_to_write() -> None:
    before = running().dossier
    other = msgspec.structs.replace(before.document, numbers=None)
    life = {**before.document.life, "leader": 0, "weights": (0.5, 0.5)}

    assert before.document.essence() == other.essence() == msgspec.structs.replace(other, life=life).essence()


@pytest.mark.parametrize(
    "changes",
    [
        {"block_starts": (1.0, 2.0, 3.0)},
        {"block_parts": (1, 2)},
        {"costs": {"v1": ArmCost(1.0, 2.0)}},
        {"reference_rows": 99},
        {"silent_since": {"v1": 7}},
        {"epoch": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_everything_else_is_written(changes: dict[str, Any]) -> None:
    document = running().dossier.document

    assert msgspec.structs.replace(document, **changes).essence() != document.essence()


def test_every_change_of_an_arm_or_a_phase_is_written() -> None:
    of = World(spec(arms=2), (0.8, 0.9), (Line(0.001, 0.0),) * 2)
    of.tick()
    before = of.dossier.document

    of.tick(ArmWarmed(of.now, 0))

    assert of.dossier.document.essence() != before.essence()


def test_block_is_the_number_of_those_begun() -> None:
    document = seeded(spec()).document

    assert (document.block, msgspec.structs.replace(document, block_starts=(1.0, 2.0)).block) == (0, 2)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"{}", msgspec.ValidationError),
        (b"\xff", msgspec.DecodeError),
        (b'{"spec": {}, "epoch": 1, "life": {}}', BadInput),
        (b'{"spec": {}, "epoch": -1, "life": 5}', msgspec.ValidationError),
    ],
)
def test_what_can_not_be_read_is_an_error_by_name(raw: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        dossier_of("digits", 1, raw)


def test_later_version_may_add_fields_to_the_document() -> None:
    raw = encode(seeded(spec()).document)

    read: Dossier = dossier_of("digits", 1, raw.replace(b'{"spec"', b'{"news":[1],"spec"', 1))

    assert encode(read.document) == raw
