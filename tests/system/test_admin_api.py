"""schemathesis holds a real gateway to its own description: what it sends is right or wrong, and no answer is undescribed."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from router.admin.routes import ROUTES
from tests.router.admin.bench import specified
from tests.router.control.world import BACKEND
from tests.system.gateway import Gateway, end, launched

pytestmark = pytest.mark.timeout(180)

TOKEN: Final = "turpin_" + "y" * 43
# Of each route in each mode; a minute of 100 found nothing that 8 did not.
EXAMPLES: Final = 8
# What is there: without it every call ends in 404.
THERE: Final = {"name": "digits", "arm": "v1", "backend": BACKEND}
# A value may fit its schema and not what is there (422), and a PATCH that is empty changes nothing (200); whether tokens
# are looked at is what tests/router/admin/test_gate.py tries with every route and every role.
EXCLUDED: Final = [positive_data_acceptance, negative_data_rejection, ignored_auth]
# schemathesis has no archives to send, and a stream of events has no end: tests/router has both.
FUZZED: Final = [route for route in ROUTES if route.name not in ("put_version", "events")]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose experiment warms for ever: its model server is not there."""
    sha256 = hashlib.sha256(TOKEN.encode()).hexdigest()
    document = {
        "store": "memory:",
        "listen": {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        "backends": {BACKEND: {"target": "127.0.0.1:1", "price_usd_per_hour": 0.5}},
        "experiments": [specified()],
        "admin": {"tokens": [{"name": "fuzz", "role": "admin", "sha256": sha256}]},
    }
    launched_gateway = launched(tmp_path_factory.mktemp("admin"), document)
    try:
        asyncio.run(launched_gateway.ready())
        yield launched_gateway
    finally:
        end(launched_gateway)


@pytest.fixture(scope="module")
def schema(gateway: Gateway) -> Any:
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{gateway.admin}/openapi.json")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
def test_answers_are_as_described_whatever_is_sent(gateway: Gateway, schema: Any, mode: GenerationMode) -> None:
    sent = 0
    for route in FUZZED:
        operation = schema[route.path][route.method]
        if mode is GenerationMode.NEGATIVE and not (operation.body or any(operation.iter_parameters())):
            continue  # there is nothing to be wrong

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def hold(case: Any) -> None:
            nonlocal sent
            sent += 1
            if sent % 3:  # else it keeps what was made up
                for name, value in THERE.items():
                    if name in case.path_parameters:
                        case.path_parameters[name] = value
            case.headers["Authorization"] = f"Bearer {TOKEN}"
            case.call_and_validate(excluded_checks=EXCLUDED)

        hold()

    assert sent > 2 * len(FUZZED)
    # A bulkhead that caught something is a fault as well.
    assert not gateway.events("admin call failed")
    assert "Traceback" not in Path(gateway.log_file).read_text()
