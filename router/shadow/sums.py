"""What is known of the copies that an arm was sent: counts and histograms that add up, of bounded size. Pure.

A worker counts since its start; the leader adds up the workers. All of it is soft state, as heartbeats are.
"""

import math
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from serving.comparison import Difference, agreement

# Agreement is summed in these steps, as rewards are: integers add up the same in any order.
STEPS: Final = 1 << 16
# Outputs come from the model; more of them than this are shown as one.
_OUTPUTS_MAX: Final = 16
OTHER: Final = "other"
# Four bins an octave: a quantile is within 9 %. From 1 µs to 68 minutes.
_BINS_PER_OCTAVE: Final = 4
_BIN_MIN, _BIN_MAX = -80, 48
# Infinity would be null in a heartbeat's JSON, which the leader can't read: outputs are the model's, and may be anything.
_LARGEST: Final = sys.float_info.max


class Times(msgspec.Struct):
    """Durations. Mutable: how many, their sum in seconds, and how many fell into which bin."""

    count: int = 0
    total_s: float = 0.0
    bins: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Count a duration."""
        place = math.floor(_BINS_PER_OCTAVE * math.log2(seconds)) if seconds > 0 else _BIN_MIN
        place = min(max(place, _BIN_MIN), _BIN_MAX)
        self.count += 1
        self.total_s += seconds
        self.bins[place] = self.bins.get(place, 0) + 1

    def merge(self, other: "Times") -> None:
        """Add another's."""
        self.count += other.count
        self.total_s += other.total_s
        self.bins = dict(Counter(self.bins) + Counter(other.bins))

    def quantile_s(self, share: float) -> float | None:
        """Return the duration that so many of them did not exceed, within 9 %; None while there are none."""
        left = share * self.count
        for place in sorted(self.bins):
            left -= self.bins[place]
            if left <= 0:
                return float(2.0 ** ((place + 0.5) / _BINS_PER_OCTAVE))
        return None


class OutputSums(msgspec.Struct):
    """One output. Mutable: how often it was compared, how far it agreed in steps, why it could not be compared; of
    `measured` comparisons of numbers the largest differences, and the sum of their means."""

    compared: int = 0
    agreement_q: int = 0
    faults: dict[str, int] = {}
    measured: int = 0
    max_abs: float = 0.0
    mean_abs_sum: float = 0.0
    max_relative: float = 0.0
    not_finite: int = 0

    def add(self, found: Difference) -> None:
        """Count one comparison."""
        self.compared += 1
        self.agreement_q += round(found.agreement * STEPS)
        self.not_finite += found.not_finite
        if found.fault:
            self.faults[found.fault] = self.faults.get(found.fault, 0) + 1
        if found.max_abs is not None:
            self.measured += 1
            self.max_abs = max(self.max_abs, found.max_abs)
            self.mean_abs_sum = min(self.mean_abs_sum + (found.mean_abs or 0.0), _LARGEST)
            self.max_relative = max(self.max_relative, found.max_relative or 0.0)

    def merge(self, other: "OutputSums") -> None:
        """Add another's."""
        self.compared += other.compared
        self.agreement_q += other.agreement_q
        self.not_finite += other.not_finite
        self.faults = dict(Counter(self.faults) + Counter(other.faults))
        self.measured += other.measured
        self.max_abs = max(self.max_abs, other.max_abs)
        self.mean_abs_sum = min(self.mean_abs_sum + other.mean_abs_sum, _LARGEST)
        self.max_relative = max(self.max_relative, other.max_relative)

    def view(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        is_measured = self.measured > 0
        return {
            "compared": self.compared,
            "agreement": self.agreement_q / STEPS / self.compared if self.compared else None,
            "max_abs": self.max_abs if is_measured else None,
            "mean_abs": self.mean_abs_sum / self.measured if is_measured else None,
            "max_relative": self.max_relative if is_measured else None,
            "not_finite": self.not_finite,
            "faults": self.faults,
        }


class ShadowSums(msgspec.Struct):
    """The copies of one shadow. Mutable: all of it only grows.

    `requests` were drawn to be copied; each is in time `dropped` by a reason, in `errors` by a label, or compared.
    `agreed` are those of which all agreed; `agreement_q` sums how far each did, in steps.
    """

    requests: int = 0
    mirrored: int = 0
    compared: int = 0
    agreed: int = 0
    agreement_q: int = 0
    errors: dict[str, int] = {}
    dropped: dict[str, int] = {}
    outputs: dict[str, OutputSums] = {}
    answered: Times = msgspec.field(default_factory=Times)
    shadow: Times = msgspec.field(default_factory=Times)
    cost_pico_usd: int = 0

    def drop(self, reason: str) -> None:
        """Count a request that was not copied."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def failed(self, label: str) -> None:
        """Count a copy that was not answered."""
        self.errors[label] = self.errors.get(label, 0) + 1

    def compare(self, found: Mapping[str, Difference], answered_s: float, shadow_s: float) -> bool:
        """Count a comparison, and how long the request waited for its backend and the copy for its; say whether both
        answers agreed."""
        share = agreement(found)
        self.compared += 1
        self.agreed += int(share == 1.0)
        self.agreement_q += round(share * STEPS)
        self.answered.add(answered_s)
        self.shadow.add(shadow_s)
        for name, difference in found.items():
            key = name if name in self.outputs or len(self.outputs) < _OUTPUTS_MAX else OTHER
            self.outputs.setdefault(key, OutputSums()).add(difference)
        return share == 1.0

    def merge(self, other: "ShadowSums") -> None:
        """Add what another worker counted."""
        self.requests += other.requests
        self.mirrored += other.mirrored
        self.compared += other.compared
        self.agreed += other.agreed
        self.agreement_q += other.agreement_q
        self.errors = dict(Counter(self.errors) + Counter(other.errors))
        self.dropped = dict(Counter(self.dropped) + Counter(other.dropped))
        for name, sums in other.outputs.items():
            key = name if name in self.outputs or len(self.outputs) < _OUTPUTS_MAX else OTHER
            self.outputs.setdefault(key, OutputSums()).merge(sums)
        self.answered.merge(other.answered)
        self.shadow.merge(other.shadow)
        self.cost_pico_usd += other.cost_pico_usd

    @property
    def agreement(self) -> float | None:
        """How far the answers agreed, as a mean over those compared; None while there are none."""
        return self.agreement_q / STEPS / self.compared if self.compared else None

    def view(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "requests": self.requests,
            "mirrored": self.mirrored,
            "compared": self.compared,
            "agreed": self.agreed,
            "differing": self.compared - self.agreed,
            "agreement": self.agreement,
            "errors": self.errors,
            "dropped": self.dropped,
            "answered_ms": _milliseconds(self.answered),
            "shadow_ms": _milliseconds(self.shadow),
            "outputs": {name: sums.view() for name, sums in sorted(self.outputs.items())},
            "cost_usd": self.cost_pico_usd * 1e-12,
        }


def _milliseconds(times: Times) -> dict[str, float | None]:
    found = {"p50": times.quantile_s(0.5), "p99": times.quantile_s(0.99)}
    found["mean"] = times.total_s / times.count if times.count else None
    return {name: None if seconds is None else seconds * 1e3 for name, seconds in found.items()}
