"""What the store keeps of an experiment beside its sums: its specification, its life, and what its arms were measured to cost.

One JSON document, changed by compare-and-set; only the leader writes it.
"""

from typing import Any, Final, Literal

import msgspec

from bandits.life import Life, from_json, to_json
from router.config.document import validate
from router.config.experiment import Experiment
from router.config.experiment_sections import Arm
from router.control.prices import HeldPrice

_ENCODER: Final = msgspec.json.Encoder()


class ArmCost(msgspec.Struct, frozen=True):
    """What an arm was measured to take: the line `a_s + b_s·rows` of its calibration, and the probes' scale on it.

    `is_merged`: its requests may ride together; not those of a model whose rows were seen to depend on one another.
    """

    a_s: float
    b_s: float
    scale: float = 1.0
    is_probed: bool = False
    is_merged: bool = True


class DelayNumbers(msgspec.Struct, frozen=True):
    """What is thought of an arm's delays: see `bandits.arrivals.Delays`. `law` is the one in use."""

    law: Literal["exponential", "product_limit"]
    mean_s: float
    arrived: float
    gap: float


class ArmNumbers(msgspec.Struct, frozen=True):
    """What an assessment said of one arm; money per prediction."""

    rate: float
    value_usd: float
    value_usd_low: float
    value_usd_high: float
    best_probability: float
    evidence_log: float
    score: float = 0.0
    is_refuted: bool = False
    delay: DelayNumbers | None = None  # with conversions


class SegmentNumbers(msgspec.Struct, frozen=True):
    """What an assessment said of one segment: its part of all decisions, its leader, and the arm it is settled on."""

    traffic: float
    leader: int
    serves: int | None
    arms: tuple[ArmNumbers, ...]


class AlarmNumbers(msgspec.Struct, frozen=True):
    """One alarm that rings: which, of which arm, how loud, and in words."""

    name: str
    arm: str | None
    evidence_log: float
    bar_log: float
    words: str


class SprintNumbers(msgspec.Struct, frozen=True):
    """What the sprint would take from here, what it has cost, whether it runs, and why not although it might."""

    is_running: bool = False
    requests: float | None = None
    price_usd: float | None = None
    spent_usd: float = 0.0
    refused: str = ""


class Numbers(msgspec.Struct, frozen=True):
    """The assessment an experiment decided by last, kept so that it can be shown after the end and after a restart."""

    leader: int
    remaining_q95: float | None
    threshold: float
    is_drained: bool
    not_ready: tuple[str, ...]
    evidence_bar_log: float
    margin: float
    certified_gap: float | None
    given_up_usd: float  # per prediction, by exploring: the leader's value less what the weights earn
    arms: tuple[ArmNumbers, ...]
    requests_per_day: float = 0.0
    worth_usd_day: float = 0.0
    sprint: SprintNumbers = SprintNumbers()
    alarms: tuple[AlarmNumbers, ...] = ()
    segments: tuple[SegmentNumbers, ...] = ()


class Former(msgspec.Struct, frozen=True):
    """An epoch that is over, and since when (unix s): rewards of its decisions are still accepted, and not learned."""

    epoch: int
    ended_at: float


class Since(msgspec.Struct, frozen=True):
    """The winner's rewards since the end: (how many, their sum in steps) at each mark, the last one made at `at`; and the
    prices at the end, by backend."""

    at: float
    marks: tuple[tuple[int, int], ...]
    prices_usd_per_hour: dict[str, float]


class FirstAnswer(msgspec.Struct, frozen=True):
    """What was answered to the first request with an Idempotency-Key; `fingerprint` is that request's."""

    fingerprint: str
    at: float
    status: int
    body: msgspec.Raw


class Document(msgspec.Struct, frozen=True):
    """The document as it stands in the store. Times in unix seconds.

    `spec` is as people wrote it last. An arm's number is that in `arms`, where every arm that ever was part of the
    experiment keeps its place, so that what is known of it stays where it was counted; empty: those of `spec`.
    `revision` counts what people changed, from 1.
    """

    spec: dict[str, Any]
    epoch: int
    life: dict[str, Any]
    block_starts: tuple[float, ...] = ()  # of block 1, 2, …; the last is open
    block_parts: tuple[int, ...] = ()  # the weights when the block began
    costs: dict[str, ArmCost] = {}
    reference_rows: int = 1
    # Per arm, the first snapshot version that gave it nothing since it began to drain.
    silent_since: dict[str, int] = {}
    numbers: Numbers | None = None
    prices: dict[str, HeldPrice] = {}  # per backend, those decided by
    sprint_blocks: tuple[int, ...] = ()  # blocks whose weights were those of a sprint
    guarded_from: dict[str, dict[str, int]] = {}  # per arm, the calls that guardrails no longer count
    slow_beyond_s: float | None = None  # calls that took longer are counted as slow
    slow_since: float = 0.0
    arms: tuple[dict[str, Any], ...] = ()
    revision: int = 1
    answers: dict[str, FirstAnswer] = {}
    former: tuple[Former, ...] = ()
    since_end: Since | None = None

    @property
    def block(self) -> int:
        """The number of the open block; 0 before learning began."""
        return len(self.block_starts)

    def essence(self) -> bytes:
        """Return what must not be lost: all but the last assessment, which the next refresh makes anew."""
        life = {key: value for key, value in self.life.items() if key not in ("leader", "weights", "segment_weights")}
        return _ENCODER.encode(msgspec.structs.replace(self, numbers=None, life=life))


class Dossier(msgspec.Struct, frozen=True):
    """The document taken apart: what the leader works with. The arms of `spec` are those of the document, by number."""

    name: str
    revision: int
    document: Document
    spec: Experiment
    life: Life

    def with_life(self, life: Life) -> "Dossier":
        """Return the dossier with another life, in both forms."""
        return msgspec.structs.replace(
            self, life=life, document=msgspec.structs.replace(self.document, life=to_json(life))
        )

    def is_merged(self, arm: str) -> bool:
        """Whether an arm's requests may ride together; where rows are compared, not before it is known."""
        cost = self.document.costs.get(arm)
        return not self.spec.batching.probe if cost is None else cost.is_merged

    def with_changes(self, **changes: Any) -> "Dossier":
        """Return the dossier with fields of its document replaced."""
        return msgspec.structs.replace(self, document=msgspec.structs.replace(self.document, **changes))


_DECODER: Final = msgspec.json.Decoder(Document)


def encode(document: Document) -> bytes:
    """Serialise for the store; equal documents give equal bytes."""
    return _ENCODER.encode(document)


def dossier_of(name: str, revision: int, raw: bytes) -> Dossier:
    """Read a stored experiment; msgspec.ValidationError or BadInput if this version can't read it."""
    document = _DECODER.decode(raw)
    spec = validate(Experiment, document.spec)
    if document.arms:
        # Not checked together: arms that were dropped count for no rule.
        spec = spec.model_copy(update={"arms": tuple(validate(Arm, arm) for arm in document.arms)})
    return Dossier(name, revision, document, spec, from_json(document.life))
