"""Measure what each arm's batches take when it runs alone, for the line that decides.

Live calls can't fit that line: under load hardly any runs alone, and a starved arm sends single rows (measured to pick
the wrong winner). So while arms warm, each is sent made-up batches of 1, 2, 4 … rows, one call at a time, all arms in
turn, so that a disturbance of the machine meets all of them. Each turn is two calls: the first finds the machine as
another arm left it, its caches full of another model's weights, and what counts is what an arm takes that serves.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from serving import wire
from serving.cost import Line, fit_line, undisturbed
from serving.errors import Code, DeadlineExceeded, FailedPrecondition, InvalidArgument, ServingError
from serving.upstream import Servable, Upstream

# 16 calls a size, two at a time. In 15 trials at a machine load of 6 to 9 the ratio of the two small demo models' lines
# repeated within 3 % at one row, and within 6 % at twenty (one standard deviation); the models lie 22 % and 33 % apart.
REPEATS: Final = 16
# When time runs out, a size counts with five calls: of fewer, all may have been disturbed.
REPEATS_NEEDED: Final = 5
# So many calls follow one another at each turn. The small demo model's single row takes 2.0 ms after a batch of 64 of the
# wide one, and 1.4 ms after its own kind (medians of 150).
_TURN: Final = 2
# The default of `limits.message_bytes`: a batch that the gateway would never send need not be measured.
EXAMPLE_BYTES_MAX: Final = 64 * 2**20
# What a backend says of a batch beyond its own limit or its memory.
_TOO_LARGE: Final = frozenset({Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED})

_STRING: Final = 7
# Bytes of one value in tensor_content, by DataType number (tensorflow/core/framework/types.proto).
_ITEM_BYTES: Final = {
    **dict.fromkeys((4, 6, 10, 11, 12, 24, 25), 1),  # UINT8, INT8, BOOL, QINT8, QUINT8, FLOAT8_E5M2, FLOAT8_E4M3FN
    **dict.fromkeys((5, 14, 15, 16, 17, 19), 2),  # INT16, BFLOAT16, QINT16, QUINT16, UINT16, HALF
    **dict.fromkeys((1, 3, 13, 22), 4),  # FLOAT, INT32, QINT32, UINT32
    **dict.fromkeys((2, 8, 9, 23), 8),  # DOUBLE, COMPLEX64, INT64, UINT64
    18: 16,  # COMPLEX128
}


def example_request(servable: Servable, signature_name: str, signature: wire.Message, rows: int) -> wire.Message:
    """Make a PredictRequest of so many rows from a SignatureDef alone: zeros and empty strings.

    A first dimension that the signature leaves open is the batch; other open dimensions are 1, and an input of unknown
    rank is taken to be a list of scalars. Inputs with a default of their own are left out.
    InvalidArgument when the signature fixes another number of rows, has a type that can't be made up (sparse, resource,
    variant), or when the batch would have more than `EXAMPLE_BYTES_MAX`.
    """
    if rows < 1:
        raise InvalidArgument(f"an example needs at least one row, got {rows}")
    inputs = {name: info for name, info in signature.inputs.items() if name not in signature.defaults}
    shapes = {name: _shape(info, rows) for name, info in inputs.items()}
    if not any(_is_open(info) for info in inputs.values()):
        fixed = sorted({shape[0] if shape else 1 for shape in shapes.values()})
        if fixed != [rows]:
            raise InvalidArgument(f"signature {signature_name} of {servable} fixes its rows at {fixed}, not {rows}")
    request = wire.PredictRequest(model_spec={"name": servable.model, "signature_name": signature_name})
    if servable.version is not None:
        request.model_spec.version.value = servable.version
    bytes_left = EXAMPLE_BYTES_MAX
    for name, info in inputs.items():
        if info.WhichOneof("encoding") != "name" or info.dtype not in {_STRING, *_ITEM_BYTES}:
            raise InvalidArgument(f"input {name} of {servable} has a type no example can be made of: {info}")
        values = math.prod(shapes[name])
        # An empty string takes two bytes on the wire.
        bytes_left -= values * _ITEM_BYTES.get(info.dtype, 2)
        if bytes_left < 0:
            raise InvalidArgument(f"{rows} rows of {servable} are more than {EXAMPLE_BYTES_MAX} bytes")
        tensor = request.inputs[name]
        tensor.dtype = info.dtype
        # The message exists even without dimensions: a scalar is not a tensor of unknown shape.
        tensor.tensor_shape.SetInParent()
        for size in shapes[name]:
            tensor.tensor_shape.dim.add(size=size)
        if info.dtype == _STRING:
            tensor.string_val.extend([b""] * values)
        else:
            tensor.tensor_content = bytes(values * _ITEM_BYTES[info.dtype])
    return request


async def calibrate(
    targets: Sequence[tuple[Servable, Upstream]],
    signatures: Mapping[Servable, Mapping[str, wire.Message]],
    *,
    sizes: Iterable[int],
    latency_limit_s: float,
    deadline: float,
    clock: Callable[[], float],
    repeats: int = REPEATS,
    signature_name: str = wire.DEFAULT_SIGNATURE,
) -> dict[Servable, Line | ServingError]:
    """Fit a line to each target's undisturbed times; a target that fails has the error in its line's place.

    `signatures` are those of `fleet.metadata`, by servable and name. Each (target, size) begins with one call that is
    not counted (it may compile, allocate, connect). Sizes of a target end with the first one that takes longer than
    `latency_limit_s` twice, or before the first that the backend refuses as too large; but a line needs two sizes.
    All ends by `deadline` (seconds of `clock`): what is then measured is fitted, when it is enough. No call may take
    more than its target's share of the time left, so that one that hangs costs the others nothing.
    """
    sizes = sorted(set(sizes))
    if not sizes or sizes[0] < 1 or repeats < 1 or len({servable for servable, _ in targets}) < len(targets):
        raise ValueError(
            f"calibrate needs sizes and repeats >= 1 and each target once, got {sizes}, {repeats}, {targets}"
        )
    runs = [_Run(servable, upstream, list(sizes)) for servable, upstream in targets]
    for run in runs:
        run.signature = signatures.get(run.servable, {}).get(signature_name)
        if run.signature is None:
            run.error = FailedPrecondition(f"{run.servable} has no signature {signature_name} to be calibrated with")
    session = _Session(runs, signature_name, deadline, clock)
    for rows in sizes:
        for run in session.taking_part(rows):
            await session.climb(run, rows, latency_limit_s)
    for _ in range(0, repeats, _TURN):
        for rows in sizes:
            for run in session.taking_part(rows):
                await session.turn(run, rows, repeats)
    return {run.servable: run.result(min(repeats, REPEATS_NEEDED)) for run in runs}


@dataclass(slots=True)
class _Run:
    """One target and what was measured of it. Mutable: `sizes` is cut when a limit is found, the rest is filled."""

    servable: Servable
    upstream: Upstream
    sizes: list[int]
    signature: wire.Message | None = None
    seconds: dict[int, list[float]] = field(default_factory=dict)
    error: ServingError | None = None

    def result(self, needed: int) -> Line | ServingError:
        """Return the line through the undisturbed times of the sizes that have enough calls, or why there is none."""
        if self.error is not None:
            return self.error
        enough = [rows for rows, seconds in self.seconds.items() if len(seconds) >= needed]
        if len(enough) < min(2, len(self.sizes)):
            calls = {rows: len(seconds) for rows, seconds in self.seconds.items()}
            return DeadlineExceeded(
                f"calibration of {self.servable} ran out of time: {needed} calls at two sizes are needed, got {calls}"
            )
        return fit_line(enough, [undisturbed(self.seconds[rows]) for rows in enough])


@dataclass(frozen=True, slots=True)
class _Session:
    """One calibration: the clock, its end, and who still takes part."""

    runs: Sequence[_Run]
    signature_name: str
    deadline: float
    clock: Callable[[], float]

    def taking_part(self, rows: int) -> list[_Run]:
        """Return the targets that are to be sent batches of this size."""
        return [run for run in self.runs if run.error is None and rows in run.sizes]

    async def climb(self, run: _Run, rows: int, latency_limit_s: float) -> None:
        """Try a size for the first time: once to warm it, then to see whether larger ones make sense."""
        if await self.call(run, rows) is None:
            return
        # Twice, since one slow call is often an accident of the machine. Both count as measurements.
        for _ in range(2):
            seconds = await self.measure(run, rows)
            if seconds is None or seconds <= latency_limit_s:
                return
        run.sizes = run.sizes[: max(2, run.sizes.index(rows) + 1)]

    async def turn(self, run: _Run, rows: int, repeats: int) -> None:
        """Make the calls of one turn, as far as they are still wanted."""
        for _ in range(_TURN):
            if run.error is None and len(run.seconds.get(rows, ())) < repeats:
                await self.measure(run, rows)

    async def measure(self, run: _Run, rows: int) -> float | None:
        """Make one call that counts, and return its seconds; None when there was no answer."""
        seconds = await self.call(run, rows)
        if seconds is not None:
            run.seconds.setdefault(rows, []).append(seconds)
        return seconds

    async def call(self, run: _Run, rows: int) -> float | None:
        """Make one call and return its seconds; None when it failed, which is noted in `run`, or time is up."""
        time_left = self.deadline - self.clock()
        if time_left <= 0:
            return None
        timeout_s = time_left / sum(run.error is None for run in self.runs)
        try:
            request = example_request(run.servable, self.signature_name, run.signature, rows)
            body = request.SerializeToString()
            began = self.clock()
            await run.upstream.call(wire.PREDICT, body, timeout_s)
        except ServingError as error:
            is_first_try = rows not in run.seconds
            if error.code in _TOO_LARGE and is_first_try and rows > run.sizes[0]:
                run.sizes = run.sizes[: run.sizes.index(rows)]
            else:
                run.error = error
            return None
        return self.clock() - began


def _is_open(info: wire.Message) -> bool:
    """Whether the signature leaves the first dimension of an input to the request."""
    shape = info.tensor_shape
    return shape.unknown_rank or (len(shape.dim) > 0 and shape.dim[0].size < 0)


def _shape(info: wire.Message, rows: int) -> list[int]:
    """Return the shape of an input of so many rows; a fixed first dimension stays what it is."""
    if info.tensor_shape.unknown_rank:
        return [rows]
    sizes = [dim.size if dim.size >= 0 else 1 for dim in info.tensor_shape.dim]
    return [rows, *sizes[1:]] if _is_open(info) else sizes
