"""What clients may ask beside predictions: any replica answers, and no arm that is away hides the others."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from router.models import Models
from router.routes import Routes
from router.snapshot import PARTS, ArmRoute
from serving import dtypes, wire
from serving.errors import (
    BackendError,
    Code,
    DeadlineExceeded,
    InternalError,
    InvalidArgument,
    ModelNotFound,
    ServingError,
    Unavailable,
)
from tests.router.samples import snapshot
from tests.simulated_loop import run_simulated

TIMEOUT_S = 5.0
# The arms: two on one backend, the second as its own model on another.
ARMS = (
    ArmRoute("v1", "tfs-a", "digits", 1, PARTS),
    ArmRoute("v2", "tfs-a", "digits", 2, 0),
    ArmRoute("v3", "tfs-b", "digits-b", 3, 0),
)


class Described:
    """A replica that answers metadata and status. Mutable: what it serves, and what it raises instead."""

    def __init__(self, states: Mapping[str, Mapping[int, int]], address: str = "a:1") -> None:
        self.address = address
        self.states = states
        self.fails: ServingError | None = None
        self.garbage: bytes | None = None
        self.hangs = False
        self.asked: list[tuple[str, str]] = []

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        """Answer in the words of the stock server."""
        request = wire.GetModelMetadataRequest.FromString(body)
        spec = request.model_spec
        choice = spec.version_label or (str(spec.version.value) if spec.HasField("version") else "latest")
        self.asked.append((spec.name, choice))
        if self.hangs:
            await asyncio.sleep(timeout_s)
            raise DeadlineExceeded(f"{self.address} did not answer within {timeout_s:.3f} s")
        if self.fails is not None:
            raise self.fails
        if self.garbage is not None:
            return self.garbage
        if spec.name not in self.states:
            raise BackendError(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        if method == wire.GET_MODEL_STATUS:
            status = wire.GetModelStatusResponse()
            for version, state in self.states[spec.name].items():
                status.model_version_status.add(version=version, state=state)
            return bytes(status.SerializeToString())
        packed = wire.SignatureDefMap()
        packed.signature_def["serving_default"].inputs[f"{spec.name}/{choice}"].dtype = dtypes.FLOAT
        answer = wire.GetModelMetadataResponse(model_spec={"name": spec.name})
        answer.metadata["signature_def"].Pack(packed)
        return bytes(answer.SerializeToString())

    async def close(self) -> None:
        """Nothing is open."""


A = {"digits": {1: wire.AVAILABLE, 2: wire.END, 9: wire.AVAILABLE}, "bystander": {7: wire.AVAILABLE}}
B = {"digits-b": {3: wire.LOADING}}


class Bench:
    """Models over replicas by backend."""

    def __init__(self, **backends: tuple[Described, ...]) -> None:
        self.a, self.b = Described(A), Described(B, "b:1")
        routes = Routes({"tfs-a": ("digits", "bystander"), "tfs-b": ("digits-b",)})
        routes.update(snapshot(arms=ARMS))
        self.routes = routes
        self.models = Models(routes=routes, upstreams={"tfs-a": (self.a,), "tfs-b": (self.b,), **backends})

    def run(self, ask: Callable[[Models], Coroutine[Any, Any, Any]]) -> Any:
        """Ask in virtual time."""
        return run_simulated(ask(self.models))


def spec_body(message: Any, name: str, *, version: int | None = None, label: str = "") -> bytes:
    request = message()
    if name:
        request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    elif label:
        request.model_spec.version_label = label
    return bytes(request.SerializeToString())


def status(on: Bench, name: str, **choice: Any) -> dict[int, int]:
    body = spec_body(wire.GetModelStatusRequest, name, **choice)
    raw = on.run(lambda models: models.status(body, TIMEOUT_S))
    return {one.version: one.state for one in wire.GetModelStatusResponse.FromString(raw).model_version_status}


def metadata(on: Bench, name: str, **choice: Any) -> wire.Message:
    body = spec_body(wire.GetModelMetadataRequest, name, **choice)
    raw = on.run(lambda models: models.metadata(body, TIMEOUT_S))
    return wire.GetModelMetadataResponse.FromString(raw)


async def method_of(models: Models, name: str, version: int | None = None, label: str = "") -> str:
    """The mark that `Described` leaves in a signature: model and choice."""
    signatures = await models.signatures(name, version, label, TIMEOUT_S)
    return next(iter(signatures["serving_default"]))


def test_status_of_a_public_name_is_that_of_its_arms_newest_first() -> None:
    found = status(Bench(), "digits")

    assert list(found.items()) == [(3, wire.LOADING), (2, wire.END), (1, wire.AVAILABLE)]


def test_status_of_one_version_is_that_alone() -> None:
    assert status(Bench(), "digits", version=2) == {2: wire.END}
    with pytest.raises(ModelNotFound, match="Could not find version 9 of model digits"):
        status(Bench(), "digits", version=9)


@pytest.mark.parametrize(
    "error", [Unavailable("b:1 is away"), BackendError(Code.NOT_FOUND, "Could not find any versions")], ids=repr
)
def test_backend_that_is_away_hides_its_own_arms_only(error: ServingError) -> None:
    on = Bench()
    on.b.fails = error

    assert status(on, "digits") == {2: wire.END, 1: wire.AVAILABLE}


def test_status_fails_when_no_backend_knows_anything() -> None:
    on = Bench()
    on.a.fails, on.b.fails = Unavailable("a:1 is away"), Unavailable("b:1 is away")

    with pytest.raises(Unavailable, match="a:1"):
        status(on, "digits")


def test_of_one_version_on_two_backends_the_available_one_is_shown() -> None:
    for states in ((wire.AVAILABLE, wire.END), (wire.END, wire.AVAILABLE)):
        on = Bench()
        on.a.states, on.b.states = {"digits": {1: states[0]}}, {"digits": {1: states[1]}}
        arms = (ArmRoute("a", "tfs-a", "digits", 1, PARTS), ArmRoute("b", "tfs-b", "digits", 1, 0))
        on.routes.update(snapshot(arms=arms, version=8))

        assert status(on, "digits") == {1: wire.AVAILABLE}


def test_model_without_an_experiment_is_asked_as_it_was() -> None:
    on = Bench()

    assert status(on, "bystander") == {7: wire.AVAILABLE}
    assert metadata(on, "bystander", label="canary").model_spec.name == "bystander"
    assert on.a.asked == [("bystander", "latest"), ("bystander", "canary")]
    with pytest.raises(ModelNotFound, match="Latest"):
        status(on, "unheard-of")


@pytest.mark.parametrize(
    ("choice", "asked"),
    [
        ({}, ("tfs-a", "digits", "1")),
        ({"label": "stable"}, ("tfs-a", "digits", "1")),
        ({"version": 2}, ("tfs-a", "digits", "2")),
        ({"version": 3}, ("tfs-b", "digits-b", "3")),
        ({"version": 9}, ("tfs-a", "digits", "9")),
        ({"label": "canary"}, ("tfs-a", "digits", "canary")),
    ],
    ids=str,
)
def test_metadata_and_signatures_are_those_of_the_version_a_request_goes_to(
    choice: dict[str, Any], asked: tuple[str, str, str]
) -> None:
    on = Bench()

    answer = metadata(on, "digits", **choice)
    mark = on.run(lambda models: method_of(models, "digits", **choice))

    backend, *name_and_choice = asked
    assert (on.a if backend == "tfs-a" else on.b).asked == [tuple(name_and_choice)] * 2
    assert mark == "/".join(name_and_choice)
    assert answer.model_spec.name == "digits"


def test_after_the_end_metadata_is_the_winners() -> None:
    on = Bench()
    on.routes.update(snapshot(arms=ARMS, version=8, serving=2))

    metadata(on, "digits")

    assert on.b.asked == [("digits-b", "3")]


def test_signatures_are_asked_once_a_minute_and_of_the_latest_once_a_second() -> None:
    on = Bench()

    async def asking(models: Models, name: str, pauses_s: list[float]) -> int:
        before = len(on.a.asked)
        for pause_s in pauses_s:
            await asyncio.sleep(pause_s)
            await method_of(models, name)
        return len(on.a.asked) - before

    assert on.run(lambda models: asking(models, "digits", [0.0, 30.0, 29.9, 0.2])) == 2
    assert on.run(lambda models: asking(models, "bystander", [0.0, 0.9, 0.2])) == 2


def test_names_that_clients_make_up_do_not_fill_the_memory() -> None:
    on = Bench()

    async def asking(models: Models) -> int:
        for version in range(2_500):
            await method_of(models, "bystander", version)
        kept = len(on.a.asked)
        for version in range(1_500, 2_500):
            await method_of(models, "bystander", version)
        return len(on.a.asked) - kept

    # At most a thousand are kept: of the last thousand some are asked for again.
    assert on.run(asking) >= 500


@pytest.mark.parametrize("method", ["signatures", "metadata", "status"])
def test_replica_that_is_away_is_passed_over(method: str) -> None:
    first, second = Described(A, "a:1"), Described(A, "a:2")
    first.fails = Unavailable("a:1 is away")
    on = Bench(**{"tfs-a": (first, second)})
    ask: dict[str, Callable[[], Any]] = {
        "signatures": lambda: on.run(lambda models: method_of(models, "digits")),
        "metadata": lambda: metadata(on, "digits"),
        "status": lambda: status(on, "digits"),
    }

    assert ask[method]()
    assert (len(first.asked), len(second.asked)) == (1, 1)


@pytest.mark.parametrize("method", ["signatures", "metadata", "status"])
def test_replica_that_hangs_is_passed_over_while_there_is_time(method: str) -> None:
    first, second = Described(A, "a:1"), Described(A, "a:2")
    first.hangs = True
    on = Bench(**{"tfs-a": (first, second)})
    ask: dict[str, Callable[[], Any]] = {
        "signatures": lambda: on.run(lambda models: method_of(models, "digits")),
        "metadata": lambda: metadata(on, "digits"),
        "status": lambda: status(on, "digits"),
    }

    assert ask[method]()


@pytest.mark.parametrize("is_hanging", [True, False])
def test_signatures_go_on_to_hold_while_their_backend_is_away(is_hanging: bool) -> None:
    on = Bench()

    async def asking(models: Models) -> tuple[list[str], float]:
        found = [await method_of(models, "digits")]
        await asyncio.sleep(100.0)
        on.a.hangs, on.a.fails = is_hanging, Unavailable("a:1 is away")
        began = asyncio.get_running_loop().time()
        # The second is not asked for: the first has just been in vain.
        found += [await method_of(models, "digits") for _ in range(2)]
        return found, asyncio.get_running_loop().time() - began

    found, waited_s = on.run(asking)
    assert found == ["digits/1"] * 3
    assert waited_s <= 1.0
    assert len(on.a.asked) == 2


def test_last_replica_says_why_nobody_answers() -> None:
    first, second = Described(A, "a:1"), Described(A, "a:2")
    first.fails, second.fails = Unavailable("a:1 is away"), Unavailable("a:2 is away")
    on = Bench(**{"tfs-a": (first, second)})

    with pytest.raises(Unavailable, match="a:2"):
        metadata(on, "digits")


@pytest.mark.parametrize("method", ["signatures", "metadata", "status"])
def test_answer_that_can_not_be_read_is_no_fault_of_the_clients(method: str) -> None:
    on = Bench()
    on.a.garbage = on.b.garbage = b"\xff\xff"
    ask: dict[str, Callable[[], Any]] = {
        "signatures": lambda: on.run(lambda models: method_of(models, "digits")),
        "metadata": lambda: metadata(on, "digits"),
        "status": lambda: status(on, "digits"),
    }

    with pytest.raises(InternalError, match="tfs-a"):
        ask[method]()


def test_request_without_a_model_is_refused_in_tf_servings_words() -> None:
    on = Bench()

    for ask in (on.models.metadata, on.models.status):
        with pytest.raises(InvalidArgument, match="Missing ModelSpec"):
            run_simulated(ask(b"", TIMEOUT_S))
        with pytest.raises(InvalidArgument, match="can't parse"):
            run_simulated(ask(b"\xff", TIMEOUT_S))
