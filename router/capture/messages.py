"""What the control process and its workers say to one another of captures: begin, end, and here is an example."""

import msgspec


class BeginCapture(msgspec.Struct, frozen=True, tag="begin capture"):
    """Control to worker: keep some of the requests of an experiment, with their answers.

    `arms`: of these alone (none: all). `margin_below`: only where the best two scores of a row are nearer than this.
    `redact`: inputs and outputs that are left out. At most one example each `interval_s`, `examples_max` in all, none after
    `until` (unix s).
    """

    id: str
    experiment: str
    arms: tuple[str, ...]
    margin_below: float | None
    redact: tuple[str, ...]
    interval_s: float
    examples_max: int
    until: float


class EndCapture(msgspec.Struct, frozen=True, tag="end capture"):
    """Control to worker: enough."""

    id: str


class Example(msgspec.Struct, frozen=True):
    """One answered request: when (unix s), its arm and token, and both messages as protobuf, without what was redacted.

    `margin`: how near the best two scores were, in the row where they were nearest; None where none were looked at.
    """

    at: float
    arm: str
    decision: str
    margin: float | None
    request: bytes
    response: bytes

    @property
    def size_bytes(self) -> int:
        """What it holds."""
        return len(self.request) + len(self.response)


class Captured(msgspec.Struct, frozen=True, tag="captured"):
    """Worker to control: an example of a capture."""

    id: str
    example: Example
