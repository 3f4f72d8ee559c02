"""What a replay answers, as JSON-able values and as words."""

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from bandits.replay import Estimate, Everywhere, Log, evaluate
from router.journal.reading import Records
from router.replay.loglines import Read
from router.replay.policies import Floats, choices

# 95 % of a normal law.
_Z: Final = 1.959963984540054
# A larger share of decisions without a reward may hide what an arm's rewards are like.
_PENDING_MAX: Final = 0.1
# Weights average 1 when the log is whole; so many standard errors off is no accident (1 in 16,000).
_OFF_SE: Final = 4.0

Answer = dict[str, Any]


def replay_log(read: Read, *, floor: float | None, value_usd: float | None) -> Answer:
    """Answer for a log of anybody's, in units of reward; in money too when a reward's worth is given."""
    found = evaluate(read.log, floor=floor)
    answer = _numbers(found)
    if value_usd is not None:
        cost_usd = np.zeros(found.n) if read.cost_usd is None else read.cost_usd
        answer |= {"value_usd": value_usd, **_money(read.log, value_usd, cost_usd, found.n, floor)}
    return answer | {"notes": list(_notes(found, read.log, answer))}


def replay_journal(records: Records, policy: str, *, floor: float | None, value_usd: float | None) -> Answer:
    """Answer for our own journal; BadPolicy when the policy speaks of arms that are not there."""
    wanted = choices(policy, records.arms, records.propensities)
    is_known = ~np.isnan(records.reward)
    log, uncovered = _log(records, wanted, is_known)
    found = evaluate(log, floor=floor, unsupported=uncovered)
    value_usd = records.value_usd if value_usd is None else value_usd
    pending = int((~is_known).sum())
    answer: Answer = {
        "experiment": records.experiment,
        "policy": policy,
        "from": _iso(records.time.min()) if records.time.size else None,
        "to": _iso(records.time.max()) if records.time.size else None,
        "decisions": round(records.decisions),
        "pending": pending,
        "set_aside": records.set_aside,
        "unreadable": records.unreadable,
        "sample": records.sample,
        **_numbers(found),
        "unsupported": uncovered,
        "value_usd": value_usd,
    }
    if value_usd is not None:
        answer |= _money(log, value_usd, records.cost_usd[is_known], records.decisions, floor)
    notes = list(_notes(found, log, answer))
    if pending > _PENDING_MAX * is_known.size:
        notes.insert(0, f"{pending / is_known.size:.0%} of the decisions have no reward (yet); they are left out")
    return answer | {"notes": notes}


def _log(records: Records, wanted: Floats, is_known: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[Log, float]:
    """Return the decisions whose reward is known, and the share of the policy's choices that had no chance then."""
    row, arm = records.weights[is_known], records.arm[is_known]
    per_row = np.where(records.propensities > 0, 0.0, wanted).sum(axis=1)
    log = Log(
        arms=arm,
        propensity=records.propensity[is_known],
        target=wanted[row, arm],
        reward=records.reward[is_known],
        everywhere=Everywhere(np.asarray(wanted, np.float64), row),
        segments=records.segments[is_known],
        units=None if records.units is None else records.units[is_known],
    )
    return log, float(per_row[records.weights].mean()) if records.weights.size else 0.0


def _numbers(found: Estimate) -> Answer:
    numbers: Answer = {
        "n": found.n,
        "mean": found.mean,
        "ips": found.ips,
        "ips_se": found.ips_se,
        "snips": found.snips,
        "snips_se": found.snips_se,
        "dr": found.dr,
        "dr_se": found.dr_se,
        "ess": found.ess,
        "weight_mean": found.weight_mean,
        "weight_max": found.weight_max,
        "clipped": found.clipped,
        "refused": found.refused,
        "reason": found.reason,
    }
    # Without all the policy's shares there is no such estimate, and its place would only invite to read 0.
    return numbers if found.dr is not None else {name: n for name, n in numbers.items() if name not in ("dr", "dr_se")}


def _money(log: Log, value_usd: float, cost_usd: Floats, decisions: float, floor: float | None) -> Answer:
    """Return what was earned, what the policy would have, and the difference, over all decisions, with 95 % intervals."""
    found = evaluate(replace(log, reward=value_usd * log.reward - cost_usd), floor=floor)
    best, best_se = (found.snips, found.snips_se) if found.dr is None else (found.dr, found.dr_se)
    return {
        "earned_usd": None if found.mean is None else decisions * found.mean,
        **_interval("policy_usd", best, best_se, decisions),
        **_interval("gain_usd", found.gain, found.gain_se, decisions),
    }


def _interval(name: str, mean: float | None, error: float | None, decisions: float) -> Answer:
    middle = None if mean is None else decisions * mean
    reach = None if error is None else _Z * decisions * error
    is_known = middle is not None and reach is not None
    return {
        name: middle,
        f"{name}_low": middle - reach if is_known else None,  # type: ignore[operator]  # both are numbers then
        f"{name}_high": middle + reach if is_known else None,  # type: ignore[operator]
    }


def _notes(found: Estimate, log: Log, answer: Answer) -> Iterator[str]:
    """Yield what a reader should know beside the numbers."""
    if found.clipped:
        yield f"{found.clipped} weights were cut to {found.weight_max:g}: the estimates lean towards what was done"
    weights = log.target / log.propensity
    error = float(weights.std() / math.sqrt(weights.size)) if weights.size else 0.0
    if weights.size and abs(weights.mean() - 1.0) > _OFF_SE * error + 1e-6:
        yield (
            f"the weights average {weights.mean():.3g} where a whole log has 1: decisions or rewards of some arms are "
            "missing more than others', or propensities are wrong"
        )
    low, high = answer.get("gain_usd_low"), answer.get("gain_usd_high")
    if low is not None and high is not None and low <= 0 <= high:
        yield "can't tell whether the policy would have earned more or less: the interval of the gain has 0 in it"


def words(answer: Answer) -> str:
    """Say the answer for a person: what was earned, what would have been, and what to make of it."""
    rows = []
    if "policy" in answer:
        rows.append(f"{answer['experiment']}: {answer['policy']}, {answer['from']} to {answer['to']}")
        rows.append(f"{answer['decisions']} decisions, {answer['n']} with a known reward")
    else:
        rows.append(f"{answer['n']} decisions")
    rows += [
        f"{label}: {_number(answer.get(name))} ± {_number(answer.get(f'{name}_se'))} (standard error)"
        for label, name in (("ips", "ips"), ("self-normalised", "snips"), ("doubly robust", "dr"))
        if name in answer
    ]
    rows.append(f"effective sample size: {answer['ess']:.1f}")
    if "earned_usd" in answer:
        rows.append(f"earned: {_dollars(answer['earned_usd'])}")
        rows += [
            f"{label}: {_dollars(answer[name])} (95 %: {_dollars(answer[f'{name}_low'])} to "
            f"{_dollars(answer[f'{name}_high'])})"
            for label, name in (("the policy would have earned", "policy_usd"), ("gain", "gain_usd"))
        ]
    rows += [f"note: {note}" for note in answer["notes"]]
    if answer["refused"]:
        rows.append(f"refused: {answer['reason']}")
    return "\n".join(rows) + "\n"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"


def _dollars(value: float | None) -> str:
    if value is None:
        return "unknown"
    sign = "-" if value < 0 else ""
    return f"{sign}${abs(value):,.2f}" if abs(value) >= 1 else f"{sign}${abs(value):.4g}"


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(float(unix_s), UTC).isoformat(timespec="seconds")
