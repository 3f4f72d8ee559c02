"""Reads a log of anybody's: lines `{arm, propensity, target_propensity, reward, cost_usd?}` (design §13)."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from bandits.replay import PROPENSITY_MIN, REWARD_MAX, Everywhere, Log

# More is a file of another kind.
_PROBLEMS_MAX = 20
# Target propensities are written with a few digits.
_SUM_TOLERANCE = 1e-6


class BadLog(Exception):
    """Lines that are none of a log; `problems` says where and why, one each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _Line(msgspec.Struct, frozen=True):
    arm: str | int
    propensity: float
    target_propensity: float
    reward: float
    cost_usd: float | None = None

    def problem(self) -> str:
        """Say what is wrong with the numbers; nothing if they may be used."""
        if not PROPENSITY_MIN <= self.propensity <= 1:
            return f"propensity must be more than 0 and at most 1, got {self.propensity:g}"
        if not 0 <= self.target_propensity <= 1:
            return f"target_propensity must be from 0 to 1, got {self.target_propensity:g}"
        for name, number in (("reward", self.reward), ("cost_usd", self.cost_usd or 0.0)):
            if not abs(number) <= REWARD_MAX:
                return f"{name} must be a number of at most {REWARD_MAX:g}, got {number:g}"
        return ""


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A log, and the costs of its decisions (n,) if every line gave one."""

    log: Log
    cost_usd: NDArray[np.float64] | None


def read_log(texts: Iterable[bytes]) -> Read:
    """Read lines, leaving out empty ones; BadLog for any that can't be used.

    The doubly robust estimate needs to know what the policy would have done with every arm. It does when the policy
    wants the same of an arm on every line, and the shares of the arms in the log add up to 1.
    """
    found: list[_Line] = []
    problems: list[str] = []
    decoder = msgspec.json.Decoder(_Line)
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            line = decoder.decode(text)
            problem = line.problem()
        except (msgspec.MsgspecError, ValueError) as error:
            problem = str(error)
        else:
            found.append(line)
        if problem:
            problems.append(f"line {number}: {problem}")
        if len(problems) == _PROBLEMS_MAX:
            break
    with_cost = sum(line.cost_usd is not None for line in found)
    if not problems and with_cost not in (0, len(found)):
        problems.append(f"cost_usd must be on every line or on none; it is on {with_cost} of {len(found)}")
    if problems:
        raise BadLog(problems)
    return Read(_log(found), np.array([line.cost_usd for line in found], np.float64) if with_cost else None)


def _log(found: list[_Line]) -> Log:
    numbers: dict[str | int, int] = {}
    arms = np.array([numbers.setdefault(line.arm, len(numbers)) for line in found], np.int64)
    target = np.array([line.target_propensity for line in found], np.float64)
    table = np.zeros((1, len(numbers)))
    table[0, arms] = target
    is_known = bool(found) and bool((table[0, arms] == target).all()) and abs(table.sum() - 1.0) <= _SUM_TOLERANCE
    return Log(
        arms=arms,
        propensity=np.array([line.propensity for line in found], np.float64),
        target=target,
        reward=np.array([line.reward for line in found], np.float64),
        everywhere=Everywhere(table, np.zeros(arms.size, np.int64)) if is_known else None,
    )
