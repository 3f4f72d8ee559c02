"""First answers, kept under the Idempotency-Key of their request: who asks again is told the same, and nothing is done."""

from collections.abc import Mapping
from typing import Final

from router.admin.answers import Refused
from router.control.dossier import FirstAnswer
from router.problems import Problem

# Stripe keeps first answers a day; an experiment, or a backend's price, sees a handful of orders in it.
_KEPT_S: Final = 86_400.0
_KEPT_MAX: Final = 64
# What a first answer that is told again says of itself, as Stripe does.
REPLAYED: Final = {"Idempotent-Replayed": "true"}


def first_answer(answers: Mapping[str, FirstAnswer], key: str, fingerprint: str) -> FirstAnswer | None:
    """Return the first answer to this very request, if it has a key and was answered; Refused for another with its key."""
    first = answers.get(key) if key else None
    if first is not None and first.fingerprint != fingerprint:
        raise Refused(Problem.KEY_REUSED, "this Idempotency-Key came with another request before: take a new one")
    return first


def remembered(answers: Mapping[str, FirstAnswer], key: str, first: FirstAnswer) -> dict[str, FirstAnswer]:
    """Return the answers with one more, without those that are too old or too many."""
    kept = {one: answer for one, answer in answers.items() if first.at - answer.at < _KEPT_S}
    kept[key] = first
    return dict(list(kept.items())[-_KEPT_MAX:])
