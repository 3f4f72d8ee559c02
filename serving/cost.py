"""What a prediction costs: busy time shared exactly among calls and rows, and the line `a + b·rows` that decides.

Two costs, never mixed. *Billed* is what happened: wall time in which a replica worked, in integer nanoseconds, split so
that not one is lost or counted twice. *For deciding* is what an arm would cost at one reference batch size, the same
for all arms: its calibrated line, scaled by its latest probes (`scales.py`), times the current price.
"""

import functools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

# Of ten times the lowest may be left out, so that a single one nobody can explain does not decide. See `undisturbed`.
_LOWEST_OF = 10
# The reference size moves when the median batch leaves current/1.5 .. current·1.5. Calibrated costs repeat within 7-12 %
# (one standard deviation), so a smaller move would change no decision; and each move shifts every arm's cost at once,
# which makes the weights jump. Load that drifts by a third within minutes is ordinary; by half it is another regime.
REFERENCE_HYSTERESIS = 1.5
_SECONDS_PER_HOUR = 3600


class BusyMeter:
    """Shares a replica's busy time among the calls that caused it: an instant with n in flight charges 1/n to each.

    Exact in integers: what the ended calls were charged, plus what is still owed, is the wall time in which at least
    one call was in flight. An interval that does not divide by n leaves less than n nanoseconds over; they join the next
    interval, and the last call of a busy spell takes what is left. So a charge is within 1 ns per event of its fair
    value. Each event takes the same time however many calls are in flight.

    A clock that goes backwards stands still until it has caught up: no charge is negative, and busy never exceeds wall.
    """

    # Mutable: `_now_ns` the latest time seen; `_charge_ns` what a call in flight since the beginning would have been
    # charged; `_left_ns` not yet charged to anybody; `_busy_ns` all busy time; `_started` call -> `_charge_ns` then.
    __slots__ = ("_busy_ns", "_charge_ns", "_left_ns", "_now_ns", "_started")

    def __init__(self) -> None:
        self._now_ns: int | None = None
        self._charge_ns = 0
        self._left_ns = 0
        self._busy_ns = 0
        self._started: dict[Hashable, int] = {}

    @property
    def in_flight(self) -> int:
        """Calls started and not ended."""
        return len(self._started)

    def started(self, call_id: Hashable, now_ns: int) -> None:
        """Note that a call went out; ValueError when this id is in flight already."""
        if call_id in self._started:
            raise ValueError(f"call ids must be unique among the calls in flight, {call_id!r} started twice")
        self._advance(now_ns)
        self._started[call_id] = self._charge_ns

    def ended(self, call_id: Hashable, now_ns: int) -> int:
        """Note that a call came back, and return its charge in ns; ValueError when it is not in flight."""
        if call_id not in self._started:
            raise ValueError(f"only a call in flight can end, {call_id!r} is none of the {len(self._started)}")
        self._advance(now_ns)
        return self._charge_ns - self._started.pop(call_id)

    def busy_ns(self, now_ns: int) -> int:
        """Wall time with at least one call in flight, so far, in ns; calls still running are in it up to now."""
        self._advance(now_ns)
        return self._busy_ns

    def _advance(self, now_ns: int) -> None:
        """Charge the time since the last event to the calls that were in flight."""
        elapsed_ns = 0 if self._now_ns is None else max(0, now_ns - self._now_ns)
        self._now_ns = now_ns if self._now_ns is None else max(self._now_ns, now_ns)
        if self._started:
            self._busy_ns += elapsed_ns
            each_ns, self._left_ns = divmod(elapsed_ns + self._left_ns, len(self._started))
            self._charge_ns += each_ns


def share(charged_ns: int, rows: Sequence[int]) -> list[int]:
    """Split a whole amount by rows so that the parts sum to it exactly, by largest remainder.

    More rows never get less; the parts of equal rows differ by at most one, the earlier getting more. When nobody has
    rows the split is equal. Idle time is split over loaded versions by `share(idle_ns, [1] * versions)`.
    """
    if charged_ns < 0 or not rows or min(rows) < 0:
        raise ValueError(f"share needs an amount >= 0 and at least one rider with rows >= 0, got {charged_ns}, {rows}")
    total = sum(rows)
    weights = rows if total else [1] * len(rows)
    total = total or len(rows)
    parts = [charged_ns * weight // total for weight in weights]
    left = charged_ns - sum(parts)
    if left:
        # Ties go to more rows, then to the earlier: so the parts do not depend on the order of unequal riders.
        by_claim = sorted(range(len(rows)), key=lambda i: (charged_ns * weights[i] % total, weights[i]), reverse=True)
        for i in by_claim[:left]:
            parts[i] += 1
    return parts


@dataclass(frozen=True, slots=True)
class Line:
    """How long a batch takes an arm that has its replica to itself: `a_s + b_s·rows` seconds."""

    a_s: float
    b_s: float

    def __post_init__(self) -> None:
        if not (0 <= self.a_s < math.inf and 0 <= self.b_s < math.inf and self.a_s + self.b_s > 0):
            raise ValueError(f"a line needs finite a_s, b_s >= 0 that are not both 0, got {self.a_s}, {self.b_s}")

    def seconds(self, rows: int) -> float:
        """Time of a batch of so many rows, in seconds."""
        return self.a_s + self.b_s * rows


def fit_line(sizes: Sequence[int], seconds: Sequence[float]) -> Line:
    """Fit `a + b·rows`, a and b >= 0, to measured times by least squares of the *relative* errors.

    Relative, since the noise of a call grows with its length: absolute errors would let the largest size alone decide
    and leave a, what a small batch costs, to chance. Weights 1/t² make it so. Where the free fit has a negative
    coefficient, the best line of the quadrant has that one at 0 (the sum of squares is convex).
    One size alone tells nothing of what a further row costs: each row is then taken to cost as much as these (a = 0),
    which never makes an arm look cheaper at larger batches than it was measured.
    """
    if not sizes or len(sizes) != len(seconds):
        raise ValueError(f"a fit needs one time per size, got {len(sizes)} sizes and {len(seconds)} times")
    if min(sizes) < 1 or not all(0 < time < math.inf for time in seconds):
        raise ValueError(f"a fit needs sizes >= 1 and finite times > 0, got {list(sizes)}, {list(seconds)}")
    # fsum: the sum is the same in any order of the measurements.
    weights = [time**-2 for time in seconds]
    total = math.fsum(weights)
    rows_mean = math.fsum(w * rows for w, rows in zip(weights, sizes, strict=True)) / total
    seconds_mean = math.fsum(w * time for w, time in zip(weights, seconds, strict=True)) / total
    spread = math.fsum(w * (rows - rows_mean) ** 2 for w, rows in zip(weights, sizes, strict=True))
    slope = 0.0
    if min(sizes) < max(sizes):
        points = zip(weights, sizes, seconds, strict=True)
        slope = math.fsum(w * (rows - rows_mean) * (time - seconds_mean) for w, rows, time in points) / spread
        if slope <= 0:
            return Line(seconds_mean, 0.0)
    intercept = seconds_mean - slope * rows_mean
    if slope == 0 or intercept < 0:
        ratios = [rows / time for rows, time in zip(sizes, seconds, strict=True)]
        return Line(0.0, math.fsum(ratios) / math.fsum(ratio * ratio for ratio in ratios))
    return Line(intercept, slope)


def undisturbed(seconds: Sequence[float]) -> float:
    """Return how long it takes when nothing gets in the way: about the lowest tenth of the times.

    Whatever else a machine does only adds time, often several times the call's own, and under load to most calls: then the
    middle of fifteen calls is a measure of the neighbours, and moves with them, while the lowest ones stay. Measured with
    the demo's models, 15 calls a size, beside nothing, one and two busy processes: the ratio of two arms' costs repeated
    within 3 % (one standard deviation) where medians gave 6 to 9 %, and the costs themselves within 16 %, not 33 %.
    """
    return sorted(seconds)[len(seconds) // _LOWEST_OF]


def reference_rows(current: int, batch_rows: Mapping[int, int]) -> int:
    """Return the batch size at which all arms are compared: the row-weighted median of the leader's batches.

    `batch_rows` counts the batches of each size. Weighted by rows, it is the batch that a typical row rides in. The
    current size stands while the median is within a factor of `REFERENCE_HYSTERESIS`, and when there are no batches.
    """
    rows_total = sum(rows * batches for rows, batches in batch_rows.items())
    seen = 0
    for rows in sorted(batch_rows):
        seen += rows * batch_rows[rows]
        if seen > 0 and 2 * seen >= rows_total:
            is_near = current / REFERENCE_HYSTERESIS <= rows <= current * REFERENCE_HYSTERESIS
            return current if is_near else rows
    return current


def cost_usd(line: Line, scale: float, rows: int, price_usd_per_hour: float) -> float:
    """Return the deciding cost of one prediction (one row) in a batch of `rows`, in US dollars."""
    return (line.a_s / rows + line.b_s) * scale * price_usd_per_hour / _SECONDS_PER_HOUR


def pico_usd(busy_ns: int, price_usd_per_hour: float) -> int:
    """Return what busy time cost, in 1e-12 US dollars, rounded to the nearest; exact in integers before rounding.

    1 ms at $0.526 an hour is 0.15 micro-dollars: sums in larger units would round to zero.
    """
    if busy_ns < 0 or not 0 <= price_usd_per_hour < math.inf:
        raise ValueError(f"a cost needs time and price >= 0 and finite, got {busy_ns} ns at {price_usd_per_hour} USD/h")
    price, per = _ratio(price_usd_per_hour)
    # ns · $/h · 1e12 pico / (3600·1e9 ns per hour) = ns · price · 5 / 18
    numerator, denominator = 5 * busy_ns * price, 18 * per
    return (2 * numerator + denominator) // (2 * denominator)


@functools.lru_cache
def _ratio(price: float) -> tuple[int, int]:
    """Return a price as the fraction it is: prices are few, and asked once a request."""
    return price.as_integer_ratio()


def egress_pico_usd(size_bytes: int, usd_per_gib: float) -> int:
    """Return what it cost to bring so many bytes out of a cloud, in 1e-12 US dollars, rounded to the nearest."""
    if size_bytes < 0 or not 0 <= usd_per_gib < math.inf:
        raise ValueError(f"egress needs bytes and price >= 0 and finite, got {size_bytes} at {usd_per_gib} USD/GiB")
    return round(size_bytes * usd_per_gib * 1e12 / 2**30)
