"""What a change would do, before it is made: the diff, and the shares and the money that the learner would come to."""

from collections.abc import Mapping
from typing import Any

import msgspec

from bandits.experiment import step
from bandits.life import ArmWarmed, Life, Resume, Start
from router.config.differences import differences
from router.control.dossier import Document, Dossier, dossier_of, encode
from router.control.learner import refresh
from router.control.seen import Seen
from router.control.tally import Cells
from router.snapshot import Snapshot

_MILLION = 1e6


def forecast(
    before: Dossier | None,
    after: Document,
    name: str,
    cells: Cells,
    prices_usd_per_hour: Mapping[str, float],
    now: float,
) -> dict[str, Any]:
    """Return `diff` and `predicted`: what would be with the change, and what is without it (null for a new experiment).

    Predicted is the next refresh of the learner on what is known now, every arm warm; `now` in unix s.
    """
    was = {} if before is None else before.document.spec
    coming = dossier_of(name, 0, encode(after))
    return {
        "diff": [msgspec.to_builtins(one) for one in differences(was, after.spec)],
        "predicted": {
            "before": None if before is None else _next(before, cells, prices_usd_per_hour, now),
            "after": _next(coming, cells, prices_usd_per_hour, now),
        },
    }


def _next(dossier: Dossier, cells: Cells, prices: Mapping[str, float], now: float) -> dict[str, Any]:
    costs = dict(dossier.document.costs)
    control = costs.get(dossier.spec.control)
    assumed = [] if control is None else [arm.name for arm in dossier.spec.arms if arm.name not in costs]
    costs |= {name: control for name in assumed if control is not None}
    warm = dossier.with_life(_warm(dossier.life, now)).with_changes(costs=costs)
    seen = Seen(cells, (), prices, {}, (), is_complete=False)
    return _shown(refresh(warm, seen, version=1, now=now).snapshot, assumed)


def _warm(life: Life, now: float) -> Life:
    """Return the life as it will be when it runs and every arm is warm."""
    life = step(step(life, Resume(now)).life, Start(now)).life
    for number in range(len(life.arms)):
        life = step(life, ArmWarmed(now, number)).life
    return life


def _shown(snapshot: Snapshot, assumed: list[str]) -> dict[str, Any]:
    view: dict[str, Any] = msgspec.json.decode(snapshot.view)
    arms, per_day = view["arms"], view["requests_per_day"] or 0.0
    value = _mean(arms, "value_usd")
    return {
        "shares": {arm["name"]: arm["weight"] for arm in arms},
        "value_usd_per_million": None if value is None else value * _MILLION,
        "cost_usd_per_million": (_mean(arms, "prediction_cost_usd") or 0.0) * _MILLION,
        "value_usd_day": None if value is None or not per_day else value * per_day,
        # Not measured yet: taken for as dear as control.
        "costs_assumed": assumed,
    }


def _mean(arms: list[dict[str, Any]], field: str) -> float | None:
    known = [(arm["weight"], arm[field]) for arm in arms if arm[field] is not None]
    return sum(weight * number for weight, number in known) if known else None
