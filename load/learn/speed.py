"""Jobs that measure time: a refresh of the whole learner, and the draw of an arm."""

import random
import statistics
import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from bandits.weights import choose, cumulative, to_parts
from load.simulate.counts import Counts
from load.simulate.production import Production
from load.simulate.world import World
from router.config.document import validate

Parameters = Mapping[str, Any]

_SEED: Final = 20_260
_REQUESTS: Final = 5000
_TIMES: Final = 25
_DRAWS: Final = 300_000


def refresh_seconds(parameters: Parameters, number: int) -> dict[str, Any]:
    """Fill so many blocks, then refresh again and again while the last one fills; return the median time of a refresh.

    Processor time: a refresh waits for nothing, and what else runs on the machine is no business of the learner's.

    Parameters: `arms`, `blocks`.
    """
    arms, blocks = int(parameters["arms"]), int(parameters["blocks"])
    length = _REQUESTS * (blocks + 1)
    rates = [0.05] * (arms - 1) + [0.0525]
    of = validate(
        World,
        {"requests": length, "refresh": 10, "block": _REQUESTS, "arms": [{"rate": rate} for rate in rates]},
    )
    rng, policy, counted = np.random.default_rng([_SEED, number]), Production(of), Counts(arms, of.window_told)
    costs, moments = np.zeros(arms), [block * _REQUESTS for block in range(1, blocks + 1)]
    turn = policy.turn(0, counted.cells, [], costs)
    took: list[float] = []
    for now in [*moments, *(moments[-1] + 10 * step for step in range(1, _TIMES + 1))]:
        # An even split, whatever the weights: what has to be computed depends on it.
        sent = np.full(arms, _REQUESTS // arms if now in moments[-1:] or now < moments[-1] else 1)
        won = rng.binomial(sent, rates)
        counted.requests(turn, sent)
        counted.immediate(turn.block, np.stack([sent, won << 16, won << 32], axis=1))
        began = time.process_time()
        turn = policy.turn(now, counted.cells, [], costs)
        took.append(time.process_time() - began)
    return {"median_s": statistics.median(took[-_TIMES:]), "blocks": turn.block}


def draw_seconds(parameters: Parameters, number: int) -> dict[str, Any]:
    """Draw an arm again and again; return the time of one draw. Parameters: `arms`."""
    arms = int(parameters["arms"])
    running, rng = cumulative(to_parts(np.arange(1.0, arms + 1))), random.Random(number)
    began = time.process_time()
    for _ in range(_DRAWS):
        choose(running, rng.getrandbits(31))
    return {"draw_s": (time.process_time() - began) / _DRAWS}
