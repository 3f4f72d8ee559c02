"""The draw: which arm a request gets, why, and the nonce of its decision."""

import bisect
import os
from collections.abc import Hashable
from typing import NamedTuple

from bandits.weights import race
from router.decisions import Keyring, Mode
from router.routes import Live
from router.snapshot import PARTS
from router.trials import Trials, tag_of


class Context(NamedTuple):
    """What a front knows of a request beside its body; `deadline` in the clock of the loop."""

    deadline: float
    unit: bytes = b""
    request_id: bytes = b""
    segment: bytes = b""
    # What is the same for all requests of a connection: a client that floods waits behind itself.
    peer: Hashable = b""


# A tuple is made in a third of the time of a dataclass, once a request.
class Choice(NamedTuple):
    """The numbers of arm and segment, the mode of the decision, its nonce, and the unit that was drawn (empty: the
    request was)."""

    arm: int
    segment: int
    mode: Mode
    nonce: bytes
    unit: bytes = b""


def choose(live: Live, context: Context, keys: Keyring, trials: Trials, now: float) -> Choice:
    """Draw an arm by the weights of the request's segment. A request with an id gets the same decision when it is sent
    again; so does, if sticky, a unit, while weights stand. Without an id or a unit each draw is new.
    """
    snapshot, mode = live.snapshot, live.mode
    segment = live.segment_of.get(context.segment, 0)
    split = live.splits[segment]
    request = context.request_id
    # Four bytes for the draw, sixteen for the nonce.
    random = keys.point(snapshot.epoch, b"request", request) if request else os.urandom(20)
    nonce = random[4:]
    if not snapshot.is_sticky:
        arm = bisect.bisect_right(split.cumulative, int.from_bytes(random[:4]) % PARTS)
        return Choice(arm, segment, mode, nonce)
    # Who names no unit is one of its own: its request, or this draw.
    unit = context.unit or nonce
    arm = race(keys.uniforms(snapshot.epoch, unit, len(split.parts)), split.parts)
    tag = tag_of(keys, snapshot, unit, now)
    if mode.is_learned and not trials.is_new(tag):
        mode = Mode.REPEAT
    return Choice(arm, segment, mode, nonce[: -len(tag)] + tag, unit)
