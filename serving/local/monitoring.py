"""The page for Prometheus that `--monitoring_config_file` switches on: TF Serving's names for requests and their times.

Source: tensorflow_serving/servables/tensorflow/util.cc and util/prometheus_exporter.cc (commit 9d981c5c).
"""

import bisect
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from serving.errors import Code, ServingError

DEFAULT_PATH: Final = "/monitoring/prometheus/metrics"

# Microseconds: 10 · 1.8^k, 33 of them, about 20 minutes at the end.
_BOUNDS: Final = tuple(10 * 1.8**k for k in range(33))
_COUNT: Final = ":tensorflow:serving:request_count"
_LATENCY: Final = ":tensorflow:serving:request_latency"


@dataclass(slots=True)
class _Times:
    """Mutable throughout."""

    buckets: list[int]
    total_us: float = 0.0


class Requests:
    """What was asked and how long it took. Mutable: counts by (model, status), times by (model, API, entry point).

    Called from the event loop and from threads, under one lock. Names of models that are not `known` are folded into "".
    """

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known
        self._lock = threading.Lock()
        self._counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._times: dict[tuple[str, str, str], _Times] = {}

    @contextmanager
    def measured(self, model: str, api: str, entry: str) -> Iterator[None]:
        """Count what the block does as one request."""
        started = time.perf_counter()
        status = Code.OK.name
        try:
            yield
        except ServingError as error:
            status = error.code.name
            raise
        finally:
            self._ended(model if self._known(model) else "", status, api, entry, time.perf_counter() - started)

    def _ended(self, model: str, status: str, api: str, entry: str, seconds: float) -> None:
        """Count a request; only those that were answered have a time, as in TF Serving."""
        with self._lock:
            self._counts[model, status] += 1
            if status == "OK":
                times = self._times.setdefault((model, api, entry), _Times([0] * (len(_BOUNDS) + 1)))
                times.buckets[bisect.bisect_left(_BOUNDS, seconds * 1e6)] += 1
                times.total_us += seconds * 1e6

    def page(self) -> bytes:
        """Write everything in Prometheus' text format."""
        with self._lock:
            return "".join(f"{line}\n" for line in self._lines()).encode()

    def _lines(self) -> Iterator[str]:
        yield f"# TYPE {_COUNT} counter"
        for (model, status), count in sorted(self._counts.items()):
            yield f'{_COUNT}{{model_name="{_escaped(model)}",status="{status}"}} {count}'
        yield f"# TYPE {_LATENCY} histogram"
        for (model, api, entry), times in sorted(self._times.items()):
            labels = f'model_name="{_escaped(model)}",API="{api}",entrypoint="{entry}"'
            seen = 0
            for bound, count in zip((*_BOUNDS, None), times.buckets, strict=True):
                seen += count
                yield f'{_LATENCY}_bucket{{{labels},le="{"+Inf" if bound is None else f"{bound:g}"}"}} {seen}'
            yield f"{_LATENCY}_sum{{{labels}}} {times.total_us:g}"
            yield f"{_LATENCY}_count{{{labels}}} {seen}"


def read_path(file: Path) -> str | None:
    """Return where a MonitoringConfig in text format wants the page, None when it wants none; ValueError when it is wrong."""
    try:
        config = text_format.Parse(file.read_text(encoding="utf-8"), _monitoring_config())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ValueError(f"{file} is no MonitoringConfig in protobuf's text format: {error}") from error
    prometheus = config.prometheus_config
    if not prometheus.enable:
        return None
    return str(prometheus.path or DEFAULT_PATH)


def _monitoring_config() -> Any:
    """Make the message, which tensorflow-serving-api leaves out: MonitoringConfig{prometheus_config{enable, path}}."""
    file = descriptor_pb2.FileDescriptorProto(name="monitoring_config.proto", package="tensorflow.serving")
    fields = descriptor_pb2.FieldDescriptorProto
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=fields.TYPE_BOOL, label=fields.LABEL_OPTIONAL)
    prometheus.field.add(name="path", number=2, type=fields.TYPE_STRING, label=fields.LABEL_OPTIONAL)
    file.message_type.add(name="MonitoringConfig").field.add(
        name="prometheus_config",
        number=1,
        type=fields.TYPE_MESSAGE,
        type_name=".tensorflow.serving.PrometheusConfig",
        label=fields.LABEL_OPTIONAL,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.MonitoringConfig"))()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
