"""A model under experiment is called as any other, by every method; what is new stands beside the answers."""

from typing import Any

import pytest

from tests.conformance.models import CLASSIFY, REGRESS
from tests.conformance.stubs import Stubs, http, rest
from tests.conformance.targets import TIMEOUT_S, Target

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def experiment(target: Target) -> Target:
    if target.name != "experiment":
        pytest.skip("only where the model is under experiment")
    return target


def tokens(stubs: Stubs, method: str, request: Any) -> dict[str, str]:
    """Make a call, and return what came beside the answer."""
    _, call = getattr(stubs.prediction, method).with_call(request, timeout=TIMEOUT_S)
    return {key: value for key, value in call.trailing_metadata() if key.startswith("turpin-")}


def test_every_call_over_grpc_bears_a_token_that_a_reward_may_bring_back(experiment: Target, stubs: Stubs) -> None:
    requests = {
        "Predict": stubs.predict_request(),
        "Classify": stubs.classify_request(2.0, 4.0),
        "Regress": stubs.regress_request(2.0),
        "MultiInference": stubs.multi_request(("regress_x_to_y", REGRESS), ("classify_x_to_y", CLASSIFY)),
    }

    for method, request in requests.items():
        said = tokens(stubs, method, request)
        assert said.keys() == {"turpin-decision", "turpin-arm", "turpin-experiment"}, method
        body = {"decision": said["turpin-decision"], "reward": 1}
        assert rest(experiment.rest, "/v1/rewards", body)[0] == 202, method


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("predict", {"instances": [2.0]}),
        ("classify", {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}),
        ("regress", {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}),
    ],
)
def test_every_call_over_rest_bears_a_token(experiment: Target, verb: str, body: Any) -> None:
    headers = http(experiment.rest, f"/v1/models/default:{verb}", body)[2]

    assert headers["turpin-experiment"] == "conformance"
    assert headers["turpin-arm"] in ("v1", "v2")


def test_pins_bear_none(experiment: Target, stubs: Stubs) -> None:
    assert tokens(stubs, "Classify", stubs.classify_request(2.0, version={"value": 123})) == {}
    assert tokens(stubs, "Regress", stubs.regress_request(2.0, name="half_plus_three")) == {}
