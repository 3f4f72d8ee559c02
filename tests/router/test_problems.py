"""The table of refusals: each has a status, a label of its own, and RFC 9457's members."""

import json
from http import HTTPStatus

import pytest

from router.problems import CONTENT_TYPE, Problem


@pytest.mark.parametrize("problem", Problem, ids=lambda problem: problem.label)
def test_body_has_the_members_of_rfc_9457(problem: Problem) -> None:
    body = json.loads(problem.body('got "x"'))

    assert body == {
        "type": f"urn:turpin:problem:{problem.label}",
        "title": problem.value[2],
        "status": problem.status,
        "detail": 'got "x"',
    }
    assert HTTPStatus(problem.status) >= HTTPStatus.BAD_REQUEST
    assert CONTENT_TYPE == "application/problem+json"


def test_no_two_problems_share_a_label() -> None:
    assert len({problem.label for problem in Problem}) == len(Problem)


def test_detail_may_quote_bytes_that_are_no_text() -> None:
    quoted = b"c\xd27".decode(errors="surrogateescape")

    assert json.loads(Problem.STALE.body(f"made to {quoted}"))["detail"] == "made to c?7"
