"""A deployment goes forward step by step, or is cleaned up; each way ends."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.deploy.deployment import STEPS, Deployment, decode, encode, failed, failing, forward, view

BEGUN = Deployment(
    backend="tfs-a",
    model="digits",
    version=7,
    experiment="digits",
    arm="v7",
    digest="sha256:" + "0" * 64,
    size_bytes=100,
    who="ops",
    began_at=1.0,
    changed_at=1.0,
)


def test_steps_follow_each_other_to_the_end() -> None:
    seen = [BEGUN]
    while not seen[-1].is_over:
        seen.append(forward(seen[-1], seen[-1].changed_at + 1))

    assert [(one.step, one.state) for one in seen] == [*((step, "running") for step in STEPS), ("join", "done")]
    assert [one.changed_at for one in seen] == [1, 2, 3, 4, 5, 6]


def test_comparison_comes_before_the_version_joins() -> None:
    seen = [msgspec.structs.replace(BEGUN, shadow={"requests": 200})]
    while not seen[-1].is_over:
        seen.append(forward(seen[-1], 2.0))

    assert [one.step for one in seen] == ["publish", "load", "check", "warm", "shadow", "join", "join"]


@given(st.integers(0, len(STEPS) - 1))
def test_whatever_fails_is_cleaned_up_and_says_why(steps: int) -> None:
    deployment = BEGUN
    for _ in range(steps):
        deployment = forward(deployment, 2.0)

    cleaning = failing(deployment, "INVALID_ARGUMENT: no such op", 3.0)
    over = failed(cleaning, 4.0)

    assert (cleaning.state, cleaning.is_over) == ("failing", False)
    assert (over.state, over.step, over.error, over.is_over) == (
        "failed",
        STEPS[steps],
        "INVALID_ARGUMENT: no such op",
        True,
    )


def test_what_is_over_does_not_go_on() -> None:
    over = failed(failing(BEGUN, "why", 2.0), 3.0)

    with pytest.raises(AssertionError, match="is failed, not running"):
        forward(over, 4.0)
    with pytest.raises(AssertionError, match="is failed, not running"):
        failing(over, "again", 4.0)
    with pytest.raises(AssertionError, match="is running, not failing"):
        failed(BEGUN, 4.0)


def test_document_comes_back_as_it_was_stored() -> None:
    assert decode(encode(BEGUN)) == BEGUN
    assert view(BEGUN)["location"] == "/admin/v1/models/digits/versions/7"
    assert view(BEGUN)["step"] == "publish"
