"""What is sent to a replica follows from what is wanted and what it says: labels first, no bystander, ends where wanted."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from serving import model_config, wire
from serving.errors import FailedPrecondition
from serving.fleet import Sight, VersionStatus
from serving.model_config import Desired
from serving.reconcile import Pace, drift, encoded, next_config, without_failed
from tests.serving.fake_tfs import MODELS_CONFIG, FakeTfs

WANTED = model_config.seed({}, model_config.read_config(MODELS_CONFIG))


def sight(digits: Mapping[int, int], labels: Mapping[str, int] = {}, bystander: Mapping[int, int] = {7: 30}) -> Sight:
    models = {"digits": digits, "bystander": bystander}
    statuses = {
        name: {
            one: VersionStatus(one, state, "bad graph" if state == wire.END else "") for one, state in states.items()
        }
        for name, states in models.items()
    }
    return Sight(statuses, {"digits": labels} if labels else {})


def digits(config: wire.Message) -> tuple[list[int], dict[str, int]]:
    (entry,) = [entry for entry in config.model_config_list.config if entry.name == "digits"]
    return sorted(entry.model_version_policy.specific.versions), dict(entry.version_labels)


ALL = {1: wire.AVAILABLE, 2: wire.AVAILABLE, 3: wire.AVAILABLE}
LABELS = {"stable": 1, "canary": 3}


def test_replica_that_serves_what_is_wanted_is_left_alone() -> None:
    assert drift(WANTED.config(), sight(ALL, LABELS)) == ()


def test_what_is_being_loaded_is_no_drift() -> None:
    assert drift(WANTED.config(), sight({**ALL, 2: wire.LOADING}, LABELS)) == ()


def test_every_difference_is_told_in_words() -> None:
    seen = sight({1: wire.AVAILABLE, 2: wire.END, 4: wire.AVAILABLE}, {"stable": 4, "stray": 1}, {})

    assert drift(WANTED.config(), seen) == (
        "digits/2 could not be loaded: bad graph",
        "digits/3 is not listed",
        "digits/4 is loaded, and is not to be",
        "label stable of digits leads to 4, not to 1",
        "label stray of digits is not to be",
        "no version of bystander is loaded",
    )


def test_label_waits_until_its_version_is_loaded() -> None:
    assert digits(next_config(WANTED.config(), sight({1: wire.AVAILABLE}))) == ([1, 2, 3], {"stable": 1})
    assert digits(next_config(WANTED.config(), sight(ALL, {"stable": 1}))) == ([1, 2, 3], LABELS)


def test_label_is_moved_before_its_version_is_dropped() -> None:
    wanted = WANTED.retiring("digits", 3, available=(), label_to=2).config()

    first = next_config(wanted, sight(ALL, LABELS))
    assert digits(first) == ([1, 2, 3], {"stable": 1, "canary": 2})

    second = next_config(wanted, sight(ALL, {"stable": 1, "canary": 2}))
    assert digits(second) == ([1, 2], {"stable": 1, "canary": 2})


def test_label_stays_where_it_is_while_its_new_version_loads() -> None:
    wanted = WANTED.loading("digits", 4, available=()).retiring("digits", 3, available=(), label_to=4).config()

    seen = sight({**ALL, 4: wire.LOADING}, LABELS)

    assert digits(next_config(wanted, seen)) == ([1, 2, 3, 4], LABELS)


def test_version_whose_load_failed_can_be_left_out_so_that_it_is_tried_again() -> None:
    failed = sight({1: wire.AVAILABLE, 2: wire.AVAILABLE, 3: wire.END}, {"stable": 1})

    assert digits(without_failed(next_config(WANTED.config(), failed), failed))[0] == [1, 2]


def test_the_same_config_is_sent_again_after_ever_longer_pauses_and_another_at_once() -> None:
    pace, sent_at = Pace(), []
    for now in range(300):
        if pace.is_due(b"config", float(now)):
            sent_at.append(now)
            pace = pace.after(b"config", float(now))

    assert sent_at == [0, 3, 9, 21, 45, 93, 153, 213, 273]
    assert pace.is_due(b"other", 274.0)


ORDERS = st.lists(
    st.tuples(
        st.sampled_from(["load", "retire", "restart", "foreign", "poll", "step", "step", "step"]),
        st.sampled_from(["digits", "bystander"]),
        st.integers(1, 9),
    ),
    max_size=30,
)


def look(server: FakeTfs, labels: Mapping[str, Any]) -> Sight:
    """What `fleet.look` would see, without a network."""
    statuses = {
        model: {one: VersionStatus(one, state, error) for one, (state, error) in states.items()}
        for model, states in server.states.items()
    }
    leads: dict[str, dict[str, int]] = {}
    for entry in server.config.model_config_list.config:
        for label, to in entry.version_labels.items():
            if to in server.serves(entry.name):
                leads.setdefault(entry.name, {})[label] = to
    return Sight(statuses, leads)


class Server(FakeTfs):
    """The stand-in without a network. Mutable: what was ever unloaded, and a refusal or a missing label if it happened."""

    def __init__(self) -> None:
        super().__init__({"digits": range(1, 10), "bystander": (7, 8)}, model_config.read_config(MODELS_CONFIG))
        self.restart()

    def take(self, config: wire.Message) -> None:
        """Be told a config, and look at it at once."""
        for entry in config.model_config_list.config:
            for to in entry.version_labels.values():
                assert to in self.serves(entry.name), "TF Serving refuses a label to a version that is not loaded"
        self.config = config
        self.poll()


def step(server: Server, desired: Desired) -> bool:
    """One look, and what it makes us send; say whether anything was."""
    seen, wanted = look(server, {}), desired.config()
    if not drift(wanted, seen):
        return False
    before = {entry.name: entry for entry in server.config.model_config_list.config}
    config = next_config(wanted, seen)
    untouched = {entry.name for entry in config.model_config_list.config} - set(desired.changes)
    server.take(config)
    for name in untouched & set(before):
        imported = {one.name: one for one in model_config.read_config(MODELS_CONFIG).model_config_list.config}
        (sent,) = [one for one in config.model_config_list.config if one.name == name]
        ours, theirs = (one.SerializeToString(deterministic=True) for one in (sent, imported[name]))
        assert ours == theirs or name == "digits"  # whose labels may wait
    return True


@settings(max_examples=1000, deadline=None)
@given(ORDERS)
def test_a_thousand_random_sequences_unload_no_bystander_and_end_where_wanted(
    orders: list[tuple[str, str, int]],
) -> None:
    """Retiring and loading, restarts, and other people's reloads: versions nobody spoke of never stop serving by our hand."""
    server, desired, spoken_of = Server(), WANTED, set[tuple[str, int]]()
    for kind, model, version in orders:
        if model == "bystander" and kind in ("load", "retire"):
            continue
        if kind == "load":
            desired = desired.loading(model, version, available=server.serves(model))
            spoken_of.add((model, version))
        elif kind == "retire":
            listed = desired.versions(model) or ()
            label_to = next((one for one in listed if one != version), None)
            try:
                desired = desired.retiring(model, version, available=server.serves(model), label_to=label_to)
            except FailedPrecondition:
                assert listed == (version,)
            spoken_of.add((model, version))
        elif kind == "restart":
            server.restart()
        elif kind == "foreign":
            foreign = wire.ModelServerConfig()
            foreign.model_config_list.config.add(name=model, base_path="/m", model_platform="tensorflow")
            server.take(foreign)
        else:
            before = {(m, v) for m in server.states for v in server.serves(m)}
            step(server, desired)
            after = {(m, v) for m in server.states for v in server.serves(m)}
            wanted = {("digits", one) for one in desired.versions("digits") or ()}
            lost = before - after - spoken_of
            # What a foreign reload loaded beyond our config is nobody's; everything else stays.
            assert not {one for one in lost if one in wanted or one[0] == "bystander"}

    for _ in range(6):
        if not step(server, desired):
            break

    assert drift(desired.config(), look(server, {})) == ()
    assert server.serves("bystander") == [7, 8]
    assert server.serves("digits") == sorted(desired.versions("digits") or ())


def test_encoding_does_not_depend_on_the_order_of_labels() -> None:
    one, other = WANTED.config(), WANTED.config()
    for config, labels in ((one, LABELS), (other, dict(reversed(LABELS.items())))):
        entry = config.model_config_list.config[0]
        entry.version_labels.clear()
        entry.version_labels.update(labels)

    assert encoded(one) == encoded(other)
