"""How soon traffic follows a price: `python -P -m load.figures.flip [RUNS]` plays load/worlds/price-flip-20.yaml."""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from load.simulate.command import one_thread_each
from load.simulate.run import run
from load.simulate.world import World
from router.config.document import read_yaml, validate

_WORLD = Path(__file__).parent.parent / "worlds" / "price-flip-20.yaml"
# What comes later than this many requests after the flip is not looked for.
_LOOKED_AT = 30_000


def requests_until_moved(runs: int, seed: int = 11) -> NDArray[np.float64]:
    """Return per run the requests from the flip until the arm that is cheaper then has 90 % of them (inf: not seen)."""
    text = _WORLD.read_text(encoding="utf-8")
    at = int(validate(World, read_yaml(text)).changes[0].at)
    world = validate(World, read_yaml(text) | {"requests": at + _LOOKED_AT})
    found = []
    for number in range(runs):
        path = run(world, seed, number, has_path=True).path
        moved = path[(path[:, 0] >= at) & (path[:, 2] >= 0.9)]
        found.append(float(moved[0, 0]) - at if len(moved) else np.inf)
    return np.array(found)


if __name__ == "__main__":
    one_thread_each()
    took = requests_until_moved(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
    at_once = int((took == 0).sum())
    sys.stdout.write(
        f"{at_once} of {took.size} runs at the next refresh; median {np.median(took):.0f}, "
        f"95 % {np.quantile(took, 0.95):.0f}, most {took.max():.0f} requests\n"
    )
