"""A snapshot reaches the workers as the leader wrote it, and heartbeats reach the leader as the workers did."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits import weights
from router import heartbeat, snapshot
from router.heartbeat import ArmBeat, ExperimentBeat, Heartbeat
from tests.router.samples import snapshot as sample

uint64 = st.integers(0, 2**64 - 1)
beats = st.builds(
    ExperimentBeat,
    version=st.integers(0, 2**63 - 1),
    arms=st.lists(
        st.builds(
            ArmBeat,
            in_flight=st.integers(0, 10**6),
            probes=st.lists(st.tuples(st.integers(1, 512), st.floats(0, 1e3)), max_size=3).map(tuple),
            batch_rows=st.dictionaries(st.integers(1, 10**6), st.integers(1, 512), max_size=3),
        ),
        max_size=3,
    ).map(tuple),
)


@settings(deadline=None, max_examples=50)
@given(uint64, st.floats(allow_nan=False, allow_infinity=False), st.text('aé"\\\n\u2028😀', max_size=8))
def test_snapshot_is_read_as_it_was_written(epoch: int, published_at: float, label: str) -> None:
    written = sample(epoch=epoch, published_at=published_at, entry_labels=(label,))

    read = snapshot.decode(snapshot.encode(written))

    assert msgspec.structs.replace(read, view=written.view) == written


def test_view_is_carried_undecoded() -> None:
    written = sample(view=snapshot.view_of({"arms": [{"rate": None}], "name": "é"}))

    read = snapshot.decode(snapshot.encode(written))

    assert bytes(read.view) == bytes(written.view) == '{"arms":[{"rate":null}],"name":"é"}'.encode()


def test_snapshot_of_a_newer_leader_may_say_more_but_not_less() -> None:
    raw = snapshot.encode(sample())

    assert snapshot.decode(raw.replace(b'{"name"', b'{"news":1,"name"', 1)) == snapshot.decode(raw)
    with pytest.raises(msgspec.ValidationError, match="epoch"):
        snapshot.decode(raw.replace(b'"epoch"', b'"epoche"'))


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(uint64, beats, max_size=3))
def test_heartbeat_is_read_as_it_was_written(experiments: dict[int, ExperimentBeat]) -> None:
    written = Heartbeat(experiments)

    assert heartbeat.decode(heartbeat.encode(written)) == written


def test_parts_are_the_same_everywhere() -> None:
    assert snapshot.PARTS == weights.PARTS == 2**31
