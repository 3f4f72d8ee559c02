"""Jobs that measure time: a refresh of the whole learner, and the draw of an arm."""

import random
import statistics
import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from bandits.arrivals import REFRESHES
from bandits.weights import choose, cumulative, to_parts
from load.simulate.counts import Counts
from load.simulate.production import Production, experiment_of
from load.simulate.world import World
from router.config.document import validate
from router.config.experiment import Experiment

Parameters = Mapping[str, Any]

_SEED: Final = 20_260
_REQUESTS: Final = 5000
_TIMES: Final = 25
_DRAWS: Final = 300_000


def refresh_seconds(parameters: Parameters, number: int) -> dict[str, Any]:
    """Fill so many blocks, then refresh again and again while the last one fills; return the median time of a
    refresh, of means over the few after which laws of delays are learned anew.

    Processor time: a refresh waits for nothing, and what else runs on the machine is no business of the learner's.

    Parameters: `arms`, `blocks`, and what the experiment is like: `kind` of objective, `policy`, `feedback`, `segments`.
    """
    arms, blocks, segments = int(parameters["arms"]), int(parameters["blocks"]), int(parameters.get("segments", 1))
    of = _world(arms, blocks, segments, parameters)
    policy = Production(of, _experiment(of, str(parameters.get("kind", "net"))))
    rng, counted = np.random.default_rng([_SEED, number]), Counts(arms, of.window_told, has_segments=segments > 1)
    # Each arm a little dearer than the one before, so that no two are alike to an objective that counts costs.
    costs, moments = np.linspace(1.0, 2.0, arms) * 1e-4, [block * _REQUESTS for block in range(1, blocks + 1)]
    turn = policy.turn(0, {}, [], costs)
    took: list[float] = []
    for now in [*moments, *(moments[-1] + 10 * step for step in range(1, _TIMES + 1))]:
        # An even split, whatever the weights: what has to be computed depends on it.
        sent = np.full(arms, max(1, (_REQUESTS if now <= moments[-1] else 10) // (arms * segments)))
        for segment in range(segments):
            won = rng.binomial(sent, [arm.rate for arm in of.arms])
            counted.requests(turn, sent, segment)
            known = won if of.feedback == "conversions" else sent
            counted.immediate(turn.block, np.stack([known, won << 16, won << 32], axis=1), segment)
        cells = counted.changed()
        began = time.process_time()
        turn = policy.turn(now, cells, [], costs)
        took.append(time.process_time() - began)
    took = took[-_TIMES:]
    rounds = [sum(took[start : start + REFRESHES]) / REFRESHES for start in range(0, _TIMES, REFRESHES)]
    return {"median_s": statistics.median(rounds), "blocks": turn.block}


def _world(arms: int, blocks: int, segments: int, parameters: Parameters) -> World:
    wanted: dict[str, Any] = {
        "requests": _REQUESTS * (blocks + 1),
        "refresh": 10,
        "block": _REQUESTS,
        "arms": [{"rate": 0.05}] * (arms - 1) + [{"rate": 0.0525}],
        "policy": parameters.get("policy", "thompson"),
        "feedback": parameters.get("feedback", "explicit"),
        "window": 10 * _REQUESTS if "feedback" in parameters else None,
        "segments": [{"share": 1.0 / segments}] * segments if segments > 1 else None,
    }
    return validate(World, wanted)


def _experiment(of: World, kind: str) -> Experiment:
    written = experiment_of(of).model_dump(mode="json", exclude_unset=True, exclude_none=True)
    written["objective"]["kind"] = kind
    return validate(Experiment, written)


def draw_seconds(parameters: Parameters, number: int) -> dict[str, Any]:
    """Draw an arm again and again; return the time of one draw. Parameters: `arms`."""
    arms = int(parameters["arms"])
    running, rng = cumulative(to_parts(np.arange(1.0, arms + 1))), random.Random(number)
    began = time.process_time()
    for _ in range(_DRAWS):
        choose(running, rng.getrandbits(31))
    return {"draw_s": (time.process_time() - began) / _DRAWS}
