"""What a configuration may say, what it means, and that everything wrong with it is said at once."""

import copy
import json
import pickle
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from router.config import Config, load_config
from router.config.document import BadInput, read_yaml, validate
from router.config.fields import LONGEST_S, format_duration, is_loopback, parse_duration, split_address

DOZEN_LINES = """\
store: "memory:"
listen: {grpc: "127.0.0.1:8500", http: "127.0.0.1:8501"}
backends:
  tfs: {target: "127.0.0.1:9000", price_usd_per_hour: 0.526}
experiments:
  - name: digits
    model: digits
    control: v1
    arms:
      - {name: v1, backend: tfs, version: 1}
      - {name: v2, backend: tfs, version: 2}
    objective: {value_usd: 1e-6}
"""


def load(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    path = folder / "turpin.yaml"
    path.write_text(text)
    return load_config(path, environ or {})


def problems(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(BadInput) as caught:
        load(folder, text, environ)
    return str(caught.value).splitlines()


def changed(**changes: Any) -> str:
    """Write the dozen lines with top-level settings replaced."""
    return yaml.safe_dump(read_yaml(DOZEN_LINES) | changes)


def test_a_dozen_lines_suffice(tmp_path: Path) -> None:
    config = load(tmp_path, DOZEN_LINES)

    assert len(DOZEN_LINES.splitlines()) == 12
    assert config.store == "memory:"
    assert config.backends["tfs"].target == ("127.0.0.1:9000",)
    (experiment,) = config.experiments
    assert experiment.objective.value_usd == 1e-6
    assert [(arm.model, arm.version) for arm in experiment.arms] == [("digits", 1), ("digits", 2)]
    assert config.unused() == ()


def test_defaults_are_those_of_the_design(tmp_path: Path) -> None:
    config = load(tmp_path, "backends: {tfs: {target: 'tfs:8500', price_usd_per_hour: 1}}")

    assert (config.listen.grpc, config.listen.http) == ("0.0.0.0:8500", "0.0.0.0:8501")
    assert (config.listen.admin, config.listen.metrics) == ("127.0.0.1:8502", None)
    assert (config.workers, config.durability, config.experiments) == (1, "standard", ())
    assert (config.limits.message_bytes, config.limits.queue_rows, config.limits.queue_bytes) == (
        67108864,
        4096,
        268435456,
    )
    assert (config.backends["tfs"].control, config.backends["tfs"].max_in_flight) == ("observed", "auto")


def test_all_errors_are_reported_together_with_their_place(tmp_path: Path) -> None:
    text = """
store: "foo:bar"
workerz: 2
workers: two
listen: {grpc: "8500"}
tls: {grpc: {cert: x}}
backends:
  tfs-a: {target: "tfs:8500", prise_usd_per_hour: 0.5, max_in_flight: 0}
  tfs-g: {target: [], price_usd_per_hour: -1, max_in_flight: many}
experiments:
  - name: Digits
    control: v1
    arms: [{name: v1, backend: tfs-x, version: 1}, {name: v2, backend: tfs-a, version: -2}]
    objective: {value_usd: 0, reward: {window: 30}}
"""
    assert problems(tmp_path, text) == [
        "listen.grpc: must be \"host:port\" with a port of 0 to 65535; got '8500'",
        "workers: must be a whole number; got 'two'",
        "store: must be memory:, sqlite:///PATH, redis://HOST:PORT/DB, rediss://…, redis+sentinel://… or redis+cluster://…; got the scheme 'foo'",
        "backends.tfs-a.price_usd_per_hour: is missing: what one replica costs an hour, in dollars, or {feed: …, key: …}",
        "backends.tfs-a.max_in_flight: must be at least 1; got 0",
        "backends.tfs-a.prise_usd_per_hour: unknown setting; did you mean 'price_usd_per_hour'?",
        "backends.tfs-g.target: needs at least 1 entries; got 0",
        "backends.tfs-g.price_usd_per_hour: must be at least 0; got -1",
        "backends.tfs-g.max_in_flight: must be auto or a number; got 'many'",
        "experiments[0].name: must be 1 to 63 of a-z, 0-9 and '-'; got 'Digits'",
        "experiments[0].model: is missing: the model name clients call",
        "experiments[0].arms[1].version: must be at least 0; got -2",
        "experiments[0].objective.value_usd: must be more than 0; got 0",
        'experiments[0].objective.reward.window: must be a duration with a unit (ms, s, m, h or d) such as "30m";'
        " got 30",
        "tls.grpc.cert: must be an absolute path; got 'x'",
        "tls.grpc.key: is missing: the file of its key, without a passphrase",
        "workerz: unknown setting; did you mean 'workers'?",
        "experiments[0].arms[0].backend: no backend 'tfs-x'; there are tfs-a, tfs-g",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "must be a mapping (name: value); got [1, 2]"),
        ("store: [", "line 1, column 9: expected the node content"),
        ("store: a\nstore: b", "line 2, column 1: the key 'store' is there twice"),
        ("? [a]\n: b", "line 1, column 3: a key must be plain text"),
        ("store: !!python/object/apply:os.system [ls]", "could not determine a constructor for the tag"),
    ],
)
def test_what_is_no_configuration_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (problem,) = problems(tmp_path, text)

    assert message in problem
    assert problem.startswith(str(tmp_path / "turpin.yaml"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"can't read .*nowhere.yaml: No such file"):
        load_config(tmp_path / "nowhere.yaml", {})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(
        [("store",), ("listen",), ("backends",), ("backends", "tfs"), ("experiments",), ("decision_keys",)]
    ),
)
def test_any_value_anywhere_is_taken_or_refused_in_plain_words(value: Any, place: tuple[str, ...]) -> None:
    data = read_yaml(DOZEN_LINES)
    inner = data
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value

    try:
        validate(Config, data)
    except BadInput as error:
        text = str(error)
        assert text
        for jargon in ("pydantic", "Input should", "https://", "str_type", "<class"):
            assert jargon not in text.replace(str(value), "")


# The environment


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        DOZEN_LINES,
        {
            "TURPIN_LISTEN__GRPC": "[::1]:1234",
            "TURPIN_DURABILITY": "strict",
            "TURPIN_BACKENDS__TFS__PRICE_USD_PER_HOUR": "0.75",
            "TURPIN_BACKENDS__TFS__TARGET": "a:1, b:2",
            "TURPIN_LIMITS": "{queue_rows: 7}",
            "TURPIN_LIMITS__QUEUE_BYTES": "2048",
            "TURPIN_DECISION_KEYS": "k1:env:TURPIN_DECISION_KEY",
            "TURPIN_DECISION_KEY": "0123456789abcdef\n",
            "HOME": "/root",
        },
    )

    assert (config.listen.grpc, config.durability) == ("[::1]:1234", "strict")
    assert config.backends["tfs"].price_usd_per_hour == 0.75
    assert config.backends["tfs"].target == ("a:1", "b:2")
    assert (config.limits.queue_rows, config.limits.queue_bytes) == (7, 2048)


def test_a_backend_with_a_dash_is_reached_by_an_underscore(tmp_path: Path) -> None:
    text = "backends: {tfs-a: {target: 'tfs:8500', price_usd_per_hour: 1}}"

    config = load(tmp_path, text, {"TURPIN_BACKENDS__TFS_A__PRICE_USD_PER_HOUR": "2"})

    assert config.backends["tfs-a"].price_usd_per_hour == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("TURPIN_LISTEN_GRPC", "is no setting; did you mean TURPIN_LISTEN__GRPC?"),
        ("TURPIN_WORKER", "is no setting; did you mean TURPIN_WORKERS?"),
        ("TURPIN_DECISION_KEY", "is no setting; did you mean TURPIN_DECISION_KEYS?"),
    ],
)
def test_an_unknown_name_in_the_environment_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    (problem,) = problems(tmp_path, DOZEN_LINES, {name: "x"})

    assert problem == f"{name} in the environment {message}"


def test_what_tells_the_commands_where_a_gateway_is_does_not_keep_one_from_starting(tmp_path: Path) -> None:
    client = {"TURPIN_ADMIN": "http://127.0.0.1:8502", "TURPIN_TOKEN": "secret", "TURPIN_ADMIN__HOSTS": "[turpin]"}

    assert load(tmp_path, DOZEN_LINES, client).admin.hosts == ("turpin",)


def test_the_variables_of_a_kubernetes_service_called_turpin_are_not_ours(tmp_path: Path) -> None:
    names = [
        *("TURPIN_SERVICE_HOST", "TURPIN_SERVICE_PORT", "TURPIN_SERVICE_PORT_GRPC", "TURPIN_PORT"),
        *("TURPIN_PORT_8500_TCP", "TURPIN_PORT_8500_TCP_PROTO", "TURPIN_PORT_8500_TCP_ADDR"),
        *("TURPIN_REDIS_SERVICE_HOST", "TURPIN_REDIS_PORT_6379_TCP_PORT"),
    ]

    assert load(tmp_path, DOZEN_LINES, dict.fromkeys(names, "tcp://10.0.0.1:8500")).store == "memory:"


def test_an_error_names_the_variable_that_caused_it(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, DOZEN_LINES, {"TURPIN_WORKERS": "many"})

    assert problem == "workers: must be a whole number; got 'many' (from TURPIN_WORKERS)"


# Secrets


def test_keys_are_read_in_all_three_forms(tmp_path: Path) -> None:
    environ = {"KEY_FROM_ENV": "a" * 16}
    text = changed(decision_keys=["k1:env:KEY_FROM_ENV", "k2:" + "b" * 16, "c" * 16])

    keys = load(tmp_path, text, environ).keys(environ)

    assert [secret for _, secret in keys] == [b"a" * 16, b"b" * 16, b"c" * 16]
    assert [key_id for key_id, _ in keys[:2]] == ["k1", "k2"]
    assert keys[2][0] not in ("", "k1", "k2")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("k1:env:NOWHERE", "decision_keys[0]: NOWHERE is not set in the environment"),
        ("k1:short", "decision_keys[0]: must have at least 16 bytes, else it could be guessed; got 5"),
        (7, "decision_keys[0]: must be text; got a secret"),
    ],
)
def test_a_key_that_can_not_sign_is_refused(tmp_path: Path, written: object, message: str) -> None:
    assert problems(tmp_path, changed(decision_keys=[written])) == [message]


def test_no_secret_is_ever_printed(tmp_path: Path) -> None:
    digest = "ab" * 32
    config = load(
        tmp_path,
        changed(
            store="redis://user:pass-word@db:6379/0?sentinel_password=pass-word",
            decision_keys=["k1:secret-secret-secret"],
            admin={"tokens": [{"name": "ops", "role": "admin", "sha256": digest}]},
        ),
    )

    for text in (repr(config), str(config), json.dumps(config.printable()), config.model_dump_json()):
        assert "pass-word" not in text
        assert "secret-secret" not in text
        assert digest not in text
    assert "db:6379/0" in config.printable()["store"]


def test_a_configuration_travels_whole(tmp_path: Path) -> None:
    config = load(tmp_path, changed(store="redis://user:pw@db/0", decision_keys=["k1:secret-secret-secret"]))

    assert Config.from_json(json.dumps(config.to_json()).encode()) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_the_printed_configuration_can_be_read_again(tmp_path: Path) -> None:
    config = load(tmp_path, DOZEN_LINES)

    assert load(tmp_path, yaml.safe_dump(config.printable())) == config


# Sections and what spans them


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 2}, "workers: must be 1 with the store memory:, which lives in one process; got 2"),
        ({"store": "redis://db"}, "decision_keys: is missing: gateways that share a Redis must share the key"),
        ({"store": "sqlite:turpin.db"}, "store: must be sqlite:///PATH; got 'sqlite:turpin.db'"),
        ({"front": "envoy"}, "front: must be grpc with the store memory:, which lives in one process; got 'envoy'"),
        ({"store": "memory:x"}, "store: must be memory: and nothing behind it"),
        ({"listen": {"http": "0.0.0.0:8500"}}, "listen.http: port 8500 is listen.grpc's already"),
        ({"listen": {"admin": "0.0.0.0:8502"}}, "listen.admin: must be a loopback address"),
        ({"listen": {"grpc": "::1:8500"}}, 'listen.grpc: must be "host:port"'),
        ({"backends": {}}, "backends: needs at least 1 entries; got 0"),
        ({"admin": {"tokens": [{"name": "a", "role": "admin", "sha256": "ff"}]}}, "must be the 64 hex digits"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert any(message in problem for problem in problems(tmp_path, changed(**changes)))


def test_ports_of_zero_may_be_the_same(tmp_path: Path) -> None:
    listen = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", "admin": "127.0.0.1:0"}

    assert load(tmp_path, changed(listen=listen)).listen.http == "127.0.0.1:0"


def test_a_managed_backend_must_say_what_it_serves(tmp_path: Path) -> None:
    tfs = {"target": "tfs:8500", "price_usd_per_hour": 1, "control": "managed"}
    models = {"digits": {"base_path": "/models/digits", "versions": [1, 3], "labels": {"stable": 2}}}

    assert "backends.tfs.models: is missing" in problems(tmp_path, changed(backends={"tfs": tfs}))[0]
    assert problems(tmp_path, changed(backends={"tfs": tfs | {"models": models}})) == [
        "backends.tfs.models.digits.labels.stable: must be one of the versions [1, 3]; got 2"
    ]
    models["digits"]["labels"] = {}
    assert problems(tmp_path, changed(backends={"tfs": tfs | {"models": models}})) == [
        "experiments[0].arms[1].version: backend 'tfs' has no version 2 of 'digits'; there are 1, 3"
    ]


def test_settings_without_effect_are_listed(tmp_path: Path) -> None:
    data = read_yaml(DOZEN_LINES)
    data["backends"]["tfs"]["location"] = "aws/us-east-1"
    data["admin"] = {"tokens": [{"name": "ops", "role": "viewer", "sha256": "0" * 64}]}
    data["backends"]["tfs"]["rest"] = "127.0.0.1:8501"

    lines = load(tmp_path, yaml.safe_dump(data)).unused()

    assert [line.partition(" ")[0] for line in lines] == [
        "backends.tfs.rest",
        "backends.tfs.location",
    ]


# Experiments in files of their own


def write_experiments(folder: Path, *contents: str) -> None:
    (folder / "experiments").mkdir()
    for number, content in enumerate(contents):
        (folder / "experiments" / f"{number}.yaml").write_text(content)


def one(**changes: Any) -> str:
    experiment = copy.deepcopy(read_yaml(DOZEN_LINES)["experiments"][0])
    return yaml.safe_dump(experiment | changes)


def test_experiments_are_read_from_files_beside_the_configuration(tmp_path: Path) -> None:
    write_experiments(tmp_path, one(), one(name="other", model="other"))

    config = load(tmp_path, changed(experiments=["experiments/*.yaml"]))

    assert [experiment.name for experiment in config.experiments] == ["digits", "other"]


def test_errors_in_experiment_files_name_the_file(tmp_path: Path) -> None:
    write_experiments(tmp_path, one(control="v9"), "name: [", one(name="two"))
    text = changed(experiments=["experiments/*.yaml", "absent.yaml"])

    assert problems(tmp_path, text) == [
        "experiments/1.yaml: line 1, column 8: expected the node content, but found '<stream end>'",
        f"no file 'absent.yaml' in {tmp_path}",
        "experiments/0.yaml: control: must name an arm; got 'v9', there are v1, v2",
        "experiments/2.yaml: model: another experiment has the model 'digits' already; one is the most",
    ]


def test_two_experiments_for_one_model_are_refused(tmp_path: Path) -> None:
    write_experiments(tmp_path, one(), one(name="two"), one(model="second"))

    assert problems(tmp_path, changed(experiments=["experiments/*.yaml"])) == [
        "experiments/2.yaml: name: another experiment has the name 'digits' already; one is the most",
        "experiments/1.yaml: model: another experiment has the model 'digits' already; one is the most",
    ]


# Values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("2s", 2), ("24h", 86400), ("500ms", 0.5), ("1h30m", 5400), ("1.5s", 1.5), ("14d", 1209600)],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "30 m", "-1s", "1e3s", "30x", "1s junk", "٣s", None, 5, True])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="must be a duration with a unit"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["99999999999999d", "50000001d", f"{'9' * 400}d"])
def test_duration_beyond_all_experiments_is_refused(text: str) -> None:
    assert parse_duration("50000000d") == LONGEST_S
    with pytest.raises(ValueError, match="must be at most 50000000d; got"):
        parse_duration(text)


@given(st.floats(min_value=0, max_value=LONGEST_S, allow_nan=False))
def test_durations_survive_being_written(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text(alphabet=string.printable, max_size=12))
def test_an_address_is_taken_apart_or_refused(text: str) -> None:
    try:
        host, port = split_address(text)
    except ValueError:
        return

    assert host
    assert 0 <= port < 65536


def test_loopback_is_told_from_the_rest() -> None:
    assert all(map(is_loopback, ("127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1")))
    assert not any(map(is_loopback, ("0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.com:1")))


def test_yaml_scalars_are_what_they_look_like() -> None:
    text = "[1e-6, no, 2026-01-01, 12:30, 0x10, ~, .5, 1_000, -2, true, '1']"

    assert read_yaml(text) == [1e-6, "no", "2026-01-01", "12:30", 16, None, 0.5, "1_000", -2, True, "1"]
