"""What the lines of the journal say. One JSON object a line; `kind` tells which of the three it is.

A decision and its rewards share a `nonce_hash`: 64 bits of a keyed hash of the decision's nonce, in hex. Nothing in a
line allows a reward to be sent or a client to be known again. A line is kept when its hash, as a fraction of 2^64, is
below `sample`, so that a decision and its rewards are kept or left out together.
"""

from typing import Annotated, Final, TypeAlias

import msgspec

HASH_RANGE: Final = 2.0**64
Hash: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]


class ExperimentLine(msgspec.Struct, frozen=True, tag_field="kind", tag="experiment"):
    """What an experiment's rewards are worth. Written when it is first met, when it changes, and at every file's head."""

    experiment: str
    epoch: str
    value_usd: float | None
    feedback: str
    window_s: float
    reward_low: float
    reward_high: float
    arms: tuple[str, ...]


class DecisionLine(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="decision"):
    """One arm chosen for one request that was answered: `propensities` are all arms', `cost_usd` what is billed for it.

    `unit_hash` is there in sticky experiments: decisions of one unit were drawn together.
    """

    time: float  # unix s
    experiment: str
    epoch: str
    weights_version: int
    block: int
    arm: str
    propensity: Annotated[float, msgspec.Meta(gt=0, le=1)]
    propensities: msgspec.Raw
    mode: str
    rows: int
    cost_usd: float
    nonce_hash: Hash
    sample: Share
    segment: int = 0
    unit_hash: Hash | None = None


class RewardLine(msgspec.Struct, frozen=True, tag_field="kind", tag="reward"):
    """One reward that was recorded; duplicates and refused ones are not here. `time` is its own, not the decision's."""

    time: float  # unix s
    experiment: str
    epoch: str
    nonce_hash: Hash
    event: str
    reward: float
    is_learned: bool
    delay_s: float
    sample: Share


Line: TypeAlias = ExperimentLine | DecisionLine | RewardLine
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[Line]] = msgspec.json.Decoder(Line)


def encode(line: Line) -> bytes:
    """Return the line with its newline."""
    return _ENCODER.encode(line) + b"\n"


def decode(text: bytes) -> Line:
    """Read a line back; msgspec.DecodeError for a torn one, msgspec.ValidationError for another program's."""
    return _DECODER.decode(text)
