"""What follows from the unit costs: how much one Redis carries, and what a million predictions a second would take."""

from typing import Final

from load.store.unit_costs import Units

# A process that is busier than this answers late.
_BUSY_MAX: Final = 0.7
PREDICTIONS_PER_S: Final = 1e6
# Rewards are remembered for two windows, five minutes and an hour (router/rewards.py); the window is the default one.
_WINDOW_S: Final = 1800.0
REMEMBERED_S: Final = 2 * _WINDOW_S + 300.0 + 3600.0
# One reward in ten predictions, as where conversions are reported; and one for each.
SHARES: Final = (0.1, 1.0)


def workers_per_redis(units: Units) -> float:
    """Return how many workers keep a Redis as busy as it may be, if nothing else does."""
    return _BUSY_MAX * 1e6 / units.worker.cpu_us


def rewards_per_s(cpu_us: float) -> float:
    """Return how many rewards a second do."""
    return _BUSY_MAX * 1e6 / cpu_us


def workers_for(units: Units, predictions_per_s: float) -> float:
    """Return how many workers answer so many predictions a second, each on a core."""
    return predictions_per_s * units.prediction_cpu_us / 1e6 / _BUSY_MAX


def outlook(units: Units) -> list[str]:
    """Return it as lines."""
    workers = workers_for(units, PREDICTIONS_PER_S)
    lines = [f"a Redis that is {_BUSY_MAX:.0%} busy carries {workers_per_redis(units):,.0f} workers, or"]
    lines += [f"  {rewards_per_s(one.cpu_us):9,.0f} rewards/s in calls of {one.batch}" for one in units.rewards]
    lines.append(f"{PREDICTIONS_PER_S:,.0f} predictions/s take {workers:,.0f} cores of workers, whose")
    lines.append(
        f"  being there takes {workers * units.worker.cpu_us / 1e6:.2f} cores of Redis and "
        f"{workers * units.worker.out_bytes / 1e6:.1f} MB/s of its network for each experiment"
    )
    for share in SHARES:
        rate = share * PREDICTIONS_PER_S
        cores = ", ".join(f"{rate * one.cpu_us / 1e6:.1f} in calls of {one.batch}" for one in units.rewards)
        lines.append(f"with a reward for {share:.0%} of them: cores of Redis {cores};")
        memory_gb = rate * REMEMBERED_S * units.reward_bytes / 1e9
        lines.append(f"  {memory_gb:,.0f} GB for what is remembered for {REMEMBERED_S:,.0f} s")
    return lines
