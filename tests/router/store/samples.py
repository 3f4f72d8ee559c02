"""Rewards and cells for the tests of stores."""

from router.store import FIELDS, Cell, Reward

NOW = 1_700_000_000.0
CELL = Cell(epoch=2**64 - 3, arm=1, block=472_222)  # an epoch whose top bit is set
HOUR = 3600


def nonce(number: int) -> bytes:
    """Return a nonce that is the same for the same number, and scattered as real ones are."""
    return (number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).to_bytes(16)


def reward(
    number: int,
    value: float = 1.0,
    *,
    event: str = "default",
    cell: Cell = CELL,
    fields: dict[str, int] | None = None,
    expires_at: int = int(NOW) + HOUR,
) -> Reward:
    """Return the reward of decision `number`; it adds 1 to `rewards` and its value to `reward_q`, unless told."""
    if fields is None:
        fields = {"rewards": 1, "reward_q": int(value)}
    return Reward(cell, nonce(number), event, value, fields, expires_at)


def with_zeros(**sums: int) -> dict[str, int]:
    """Return all fields of a cell, zero but for those given."""
    return dict.fromkeys(FIELDS, 0) | sums
