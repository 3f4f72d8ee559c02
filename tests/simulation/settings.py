"""The configuration that all simulated gateways share, and what a seed makes of the experiment."""

import random
from dataclasses import dataclass
from typing import Any, Final

from router.config import Config
from router.config.document import validate
from router.decisions import Keyring
from serving.batches import BatchLimits

BACKEND: Final = "tfs-a"
MODEL: Final = "digits"
START: Final = 1_700_000_000.0
KEYS: Final = (("k1", b"0123456789abcdef"),)
# Of the arms, in their order.
RATES: Final = (0.5, 0.7, 0.2)
# Of what a reward may be; simulated clients send the values of binary ones.
WINDOW_S: Final = 60.0
LIMITS: Final = BatchLimits(max_rows=16, max_in_flight=2, queue_rows=500, queue_bytes=1 << 20)
SPOOL_BYTES: Final = 4096
SEGMENTS: Final = ("web", "app")
_MODELS: Final = {
    "digits": {"base_path": "/models/digits", "versions": [1, 2, 3]},
    "bystander": {"base_path": "/models/bystander", "versions": [7, 8]},
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What kind of world a seed is."""

    gateways: int
    is_sticky: bool
    has_segments: bool
    # So much traffic from elsewhere that the experiment ends.
    is_busy: bool
    # Seconds of faults, and of nothing but traffic after them.
    stormy_s: float
    calm_s: float

    @classmethod
    def of(cls, rng: random.Random) -> "Shape":
        """Draw one."""
        is_busy = rng.random() < 0.25
        return cls(
            gateways=rng.choice((1, 2, 2, 3)),
            is_sticky=rng.random() < 0.25,
            has_segments=not is_busy and rng.random() < 0.2,
            is_busy=is_busy,
            stormy_s=14.0 if is_busy else 5.0,
            calm_s=5.0,
        )


def config_of(shape: Shape) -> Config:
    """Return what `turpin.yaml` says."""
    policy: dict[str, Any] = {"block": "2s", "refresh": "1s", "sticky": shape.is_sticky}
    if shape.has_segments:
        policy["segments"] = list(SEGMENTS)
    experiment = {
        "name": "digits-2026",
        "model": MODEL,
        "control": "v1",
        "arms": [{"name": f"v{n}", "backend": BACKEND, "version": n} for n in range(1, len(RATES) + 1)],
        "objective": {"value_usd": 1e-6, "reward": {"window": f"{WINDOW_S:g}s"}},
        "policy": policy,
        "stop": {"cycle": None, "min_per_arm": 50, "min_age": "5s"},
        "on_stop": {"grace": "1s"},
        # One row is what an arm is calibrated with: more sizes would only take time.
        "batching": {"latency_ms": 1e-6},
    }
    backend = {"target": "tfs:1", "price_usd_per_hour": 0.002, "control": "managed", "models": _MODELS}
    return validate(Config, {"store": "memory:", "backends": {BACKEND: backend}, "experiments": [experiment]})


def keyring() -> Keyring:
    """Return the keys that all gateways share."""
    return Keyring(KEYS)
