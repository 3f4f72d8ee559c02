"""The client asks as the API wants, names what goes wrong, and repeats only what may be repeated."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import turpin
from tests.repo.tree import ROOT
from tests.turpin import models
from tests.turpin.gateway import Script, problem, scripted
from turpin import errors
from turpin.client import Client
from turpin.deployment import version_of
from turpin.package import NAME
from turpin.token import read_token
from turpin.transport import Url

AWAY = Script(503, {"detail": "the store is away"}, {"Retry-After": "0"})


def client(url: str, **changes: Any) -> Client:
    return Client(url, **{"token": "secret", "data_url": url, **changes})


def test_experiments_and_state_are_read_from_the_admin_port() -> None:
    listed = {"experiments": [{"name": "digits", "phase": "running"}]}
    with scripted(Script(200, listed), Script(200, {"name": "digits", "arms": [{"name": "v1", "weight": 1}]})) as port:
        experiments = client(port.url).experiments()
        state = client(port.url).state("digits")

    assert (experiments.names, experiments["digits"]["phase"], len(experiments)) == (("digits",), "running", 1)
    assert state.shares == {"v1": 1.0}
    assert [asked.path for asked in port.asked] == ["/admin/v1/experiments", "/admin/v1/experiments/digits/state"]
    assert {asked.headers["authorization"] for asked in port.asked} == {"Bearer secret"}


def test_history_is_read_to_its_beginning() -> None:
    newer, older = {"history": [{"what": "phase"}], "next": "abc="}, {"history": [{"what": "revision"}]}
    with scripted(Script(200, newer), Script(200, older)) as port:
        history = client(port.url).history("digits")

    assert [note["what"] for note in history] == ["revision", "phase"]
    assert port.asked[1].path == "/admin/v1/experiments/digits/history?cursor=abc%3D"


def test_names_can_not_lead_elsewhere() -> None:
    with scripted(Script(200, {"name": "x"})) as port:
        client(port.url).state("../../v1/rewards?a#b")

    assert port.asked[0].path == "/admin/v1/experiments/..%2F..%2Fv1%2Frewards%3Fa%23b/state"


@pytest.mark.parametrize(
    ("status", "label", "kind"),
    [
        (400, "malformed", errors.BadRequest),
        (401, "unauthenticated", errors.Unauthenticated),
        (401, "forged", errors.Unauthenticated),
        (403, "forbidden", errors.Forbidden),
        (404, "not_found", errors.NotFound),
        (409, "state_conflict", errors.Conflict),
        (410, "late", errors.Gone),
        (412, "stale", errors.Stale),
        (413, "too_large", errors.TooLarge),
        (422, "invalid", errors.Invalid),
        (418, "new_one", errors.BadRequest),
        (429, "busy", errors.Unavailable),
        (500, "fault", errors.Fault),
        (503, "store_away", errors.Unavailable),
        (507, "no_room", errors.Unavailable),
        (599, "new_one", errors.Fault),
    ],
)
def test_problem_is_an_error_of_that_name(status: int, label: str, kind: type[errors.TurpinError]) -> None:
    listed = [{"field": "arms", "message": "is empty"}]
    with scripted(problem(status, label, "what is wrong", errors=listed)) as port, pytest.raises(kind) as raised:
        client(port.url).rollback("digits") if status < 500 else client(port.url).decide("digits")

    assert type(raised.value) is kind
    assert (str(raised.value), raised.value.status, raised.value.label) == ("what is wrong", status, label)
    assert raised.value.errors == tuple(listed)


@pytest.mark.parametrize("answer", ["<html>hello</html>", "[1]", "7", ""])
def test_what_is_no_turpin_is_said_so(answer: str) -> None:
    with scripted(Script(200, answer)) as port, pytest.raises(errors.NotTurpin, match="API of Turpin"):
        client(port.url).state("digits")


def test_error_without_a_problem_document_still_has_its_text() -> None:
    with scripted(Script(502, "bad gateway")) as port, pytest.raises(errors.Fault, match="bad gateway"):
        client(port.url).state("digits")


CALLS: dict[str, tuple[Callable[[Client], object], bool]] = {
    "state": (lambda one: one.state("digits"), True),
    "reward": (lambda one: one.reward("token", 1), True),
    "rollback": (lambda one: one.rollback("digits", to=3, reason="worse"), True),
    "decide with an id": (lambda one: one.decide("digits", request_id="r1"), True),
    "decide": (lambda one: one.decide("digits"), False),
}


@pytest.mark.parametrize("fault", [AWAY, Script(200, "", hangs_up=True)], ids=["refused", "cut off"])
@pytest.mark.parametrize(("call", "is_repeated"), CALLS.values(), ids=CALLS)
def test_only_what_does_nothing_twice_is_repeated(
    call: Callable[[Client], object], is_repeated: bool, fault: Script
) -> None:
    with scripted(fault, fault, Script(200, {})) as port:
        if is_repeated:
            call(client(port.url))
        else:
            with pytest.raises(errors.TurpinError):
                call(client(port.url))

    assert len(port.asked) == (3 if is_repeated else 1)
    # The same key each time: whatever arrives twice is done once.
    assert len({asked.headers.get("idempotency-key") for asked in port.asked}) == 1


def test_posts_to_the_admin_port_carry_a_key_and_a_new_one_each() -> None:
    with scripted(Script(200, {})) as port:
        client(port.url).rollback("digits", to=3, reason="worse")
        client(port.url).rollback("digits", to=3, reason="worse")

    keys = [asked.headers["idempotency-key"] for asked in port.asked]
    assert len(set(keys)) == 2
    assert port.asked[0].body == b'{"reason": "worse", "revision": 3}'
    assert port.asked[0].path == "/admin/v1/experiments/digits:rollback"


def test_gateway_that_never_answers_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(errors.Unreachable, match="is `turpin serve` running there"):
            client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.3).state("digits")

    assert time.monotonic() - began < 5


def test_port_where_nobody_listens_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(errors.Unreachable, match=rf"no gateway answers at http://127\.0\.0\.1:{port}"):
        client(f"http://127.0.0.1:{port}", timeout_s=1.0).state("digits")


def test_rewards_say_what_became_of_them() -> None:
    accepted = {"durability": "standard", "learned": True}
    with scripted(Script(202, accepted), Script(200, accepted | {"duplicate": True})) as port:
        first, second = client(port.url).reward("token", 1), client(port.url).reward("token", [0.5, 1], event="rows")

    assert (first.is_duplicate, first.is_learned, first.durability) == (False, True, "standard")
    assert second.is_duplicate
    assert port.asked[0].body == b'{"decision": "token", "event": "default", "reward": 1}'
    assert port.asked[1].body == b'{"decision": "token", "event": "rows", "rewards": [0.5, 1]}'


def test_decisions_bring_their_token_and_arm() -> None:
    with scripted(Script(200, {"decision": "AYkB", "arm": "v2", "propensity": 0.5})) as port:
        decision = client(port.url).decide("digits", unit="u1", segment="mobile")

    assert (decision.token, decision.arm, decision.document["propensity"]) == ("AYkB", "v2", 0.5)
    assert (port.asked[0].headers["turpin-unit"], port.asked[0].headers["turpin-segment"]) == ("u1", "mobile")


RUNNING = {"model": "digits", "version": 7, "state": "running", "step": "load", "detail": "LOADING"}
DONE = RUNNING | {"state": "done", "step": "join"}


def test_deployment_is_uploaded_by_digest_and_followed_to_its_end(tmp_path: Path) -> None:
    folder = models.write_model(tmp_path / "model")
    seen: list[turpin.Progress] = []
    with scripted(Script(202, RUNNING), Script(200, RUNNING), Script(200, DONE)) as port:
        deployed = client(port.url).deploy("digits", folder, as_="v7", experiment="digits", progress=seen.append)

    upload, *polls = port.asked
    assert deployed.is_done
    assert (upload.method, upload.path) == ("PUT", "/admin/v1/models/digits/versions/7?arm=v7&experiment=digits")
    assert upload.headers["content-type"] == "application/x-tar"
    assert upload.headers["turpin-digest"].startswith("sha256:")
    assert NAME.encode() in upload.body
    assert {poll.path for poll in polls} == {"/admin/v1/models/digits/versions/7"}
    assert [step.step for step in seen if step.step != "upload"] == ["load", "load", "join"]
    assert (seen[0].step, next(step for step in reversed(seen) if step.step == "upload").share) == ("upload", 1.0)


def test_deployment_that_fails_is_an_error_with_the_server_s_words(tmp_path: Path) -> None:
    folder = models.write_model(tmp_path / "model")
    failed = RUNNING | {"state": "failed", "error": "tfs-a: INVALID_ARGUMENT: no such op"}
    with (
        scripted(Script(202, RUNNING), Script(200, failed)) as port,
        pytest.raises(errors.DeploymentFailed, match="load failed: tfs-a: INVALID_ARGUMENT: no such op"),
    ):
        client(port.url).deploy("digits", folder, as_="v7")


def test_upload_that_is_refused_before_its_end_tells_why(tmp_path: Path) -> None:
    folder = models.write_model(tmp_path / "model")
    (folder / "variables" / "large").write_bytes(bytes(8 << 20))
    refusal = problem(413, "too_large", "more than limits.version_bytes")
    with (
        scripted(Script(413, refusal.document, reads_body=False)) as port,
        pytest.raises(errors.TurpinError) as raised,
    ):
        client(port.url).deploy("digits", folder, as_="v7")

    # The kernel may throw the answer away with the bytes that nobody read; then nobody answered.
    assert isinstance(raised.value, errors.TooLarge | errors.Unreachable)


def test_version_is_the_number_at_the_end_of_the_arm_s_name() -> None:
    assert (version_of("v7"), version_of("digits-2026-11"), version_of("12")) == (7, 11, 12)
    with pytest.raises(ValueError, match="ends with no number"):
        version_of("latest")


async def test_async_client_does_the_same_and_holds_up_nobody(tmp_path: Path) -> None:
    folder = models.write_model(tmp_path / "model")
    seen: list[turpin.Progress] = []
    with scripted(Script(202, RUNNING), Script(200, DONE), Script(200, {"name": "digits"})) as port:
        one = turpin.AsyncClient(port.url, token="secret")
        deployed = await one.deploy("digits", folder, as_="v7", progress=seen.append)
        state = await one.state("digits")
        await asyncio.sleep(0)

    assert deployed.is_done
    assert state.name == "digits"
    assert seen[-1].step == "join"


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("127.0.0.1:8502", "a URL such as"),
        ("ftp://host", "a URL such as"),
        ("http://", "a URL such as"),
        ("http://host:99999", "is no URL"),
        ("http://user:secret@host", "must hold no user"),
        ("http://host/?token=secret", "must hold no user, query"),
    ],
)
def test_url_that_is_none_is_refused_at_once(url: str, word: str) -> None:
    with pytest.raises(ValueError, match=word) as raised:
        Client(url)

    assert "secret" not in str(raised.value)


def test_url_keeps_its_prefix_and_brackets() -> None:
    assert str(Url.read("https://[::1]:8502/turpin/").at_port(8501)) == "https://[::1]:8501/turpin"


def test_token_of_a_gateway_on_this_machine_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TURPIN_TOKEN", raising=False)
    made = tmp_path / "turpin.db.admin-token"
    made.write_text("turpin_" + "a" * 43 + "\n")
    with scripted(Script(200, {"version": "1", "token_file": str(made)}), Script(200, {})) as port:
        Client(port.url).state("digits")

    assert [asked.headers.get("authorization") for asked in port.asked] == [None, "Bearer turpin_" + "a" * 43]


def test_gateway_can_make_the_client_send_nothing_but_such_a_token(tmp_path: Path) -> None:
    secret = tmp_path / "id_ed25519"
    secret.write_text("turpin_" + "a" * 43)
    (tmp_path / "link.admin-token").symlink_to(secret)
    (tmp_path / "other.admin-token").write_text("PRIVATE KEY")

    found = [read_token(tmp_path / name) for name in ("id_ed25519", "link.admin-token", "other.admin-token", "none")]

    assert found == ["", "", "", ""]


def test_importing_the_client_is_cheap() -> None:
    script = "import turpin, sys; turpin.Client; turpin.AsyncClient; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)

    loaded = {name.split(".")[0] for name in ran.stdout.split()}
    assert loaded & {"router", "serving", "bandits", "aiohttp", "numpy", "grpc", "yaml", "pydantic", "rich"} == set()


def test_client_certificate_that_cant_be_used_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TURPIN_CLIENT_CERT", f"{tmp_path}/gone.pem")

    with pytest.raises(errors.Unreachable, match=r"TURPIN_CLIENT_CERT=.*gone\.pem is no certificate"):
        client("https://127.0.0.1:1").experiments()


@pytest.mark.parametrize(("event", "sent"), [("größe", '"größe"'.encode()), ("\ud800", b'"\\ud800"')])
def test_many_rewards_are_as_short_as_may_be(event: str, sent: bytes) -> None:
    with scripted(Script(200, '{"status": 202}\n')) as port, contextlib.suppress(errors.TurpinError):
        client(port.url).rewards([{"decision": "t", "reward": 1, "event": event}])

    assert port.asked[0].body.strip() == b'{"decision":"t","reward":1,"event":' + sent + b"}"
