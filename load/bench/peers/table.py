"""The peers: what each needs, how it is started and asked, and what its cost is held against."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from load.bench.peers import messages
from load.bench.peers.environments import Environment
from load.bench.push import Asked
from load.bench.systems import ENVOY_FRONT

_SERVERS: Final = "load.bench.peers.servers"
GRPC_FRONT, REST_FRONT = "turpin grpc front", "turpin rest"

MOSEC: Final = Environment("mosec", ("mosec==0.9.8", "numpy==2.4.6"), "mosec")
LITSERVE: Final = Environment("litserve", ("litserve==0.2.19", "numpy==2.4.6", "uvloop==0.23.0"), "litserve")
BENTOML: Final = Environment("bentoml", ("bentoml==1.4.40", "numpy==2.4.6", "uvloop==0.23.0"), "bentoml")
RAY: Final = Environment("ray", ("ray[serve]==2.60.0", "numpy==2.4.6", "uvloop==0.23.0"), "ray.serve")
# gunicorn 20.1 imports pkg_resources, which setuptools 81 and later have no more. protobuf 3.20, which it asks for, is
# written in C++ up to Python 3.10 and in Python after it.
SELDON: Final = Environment(
    "seldon",
    ("seldon-core==1.18.2", "setuptools<81"),
    "seldon_core.microservice",
    pythons=(os.environ.get("SELDON_PYTHON", "python3.10"), "python3.10", "python3.9", "python3.8"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer runs: its environment's programs, ports that are free, a folder for it alone."""

    programs: Path
    ports: tuple[int, int, int]
    folder: Path

    def module(self, name: str, *arguments: str) -> list[str]:
        """Return the command that runs one of the programs of `servers`."""
        return [str(self.programs / "python"), "-P", "-m", f"{_SERVERS}.{name}", *arguments]


@dataclass(frozen=True, slots=True)
class Peer:
    """One row. `command`: its first port is the one that is asked. `arms`: how many models have to get requests."""

    name: str
    environment: Environment
    command: Callable[[Place], list[str]]
    asked: Asked
    is_right: messages.Check
    arms: int = 1
    settings: Callable[[Place], Mapping[str, str]] = field(default=lambda _: {})


def _mosec(kind: str, place: Place) -> list[str]:
    options = ("--address", "127.0.0.1", "--port", str(place.ports[0]), "--path", str(place.folder / "mosec"))
    return place.module("mosec_model", kind, *options, "--log-level", "warning")


def _litserve(place: Place) -> list[str]:
    return place.module("litserve_model", str(place.ports[0]))


def _bentoml(service: str, place: Place) -> list[str]:
    where = ("--host", "127.0.0.1", "--port", str(place.ports[0]))
    return [str(place.programs / "bentoml"), "serve", f"{_SERVERS}.bentoml_router:{service}", *where]


def _bentoml_settings(place: Place) -> dict[str, str]:
    return {"BENTOML_HOME": str(place.folder), "BENTOML_DO_NOT_TRACK": "True"}


def _ray(place: Place) -> list[str]:
    return place.module("ray_router", str(place.ports[0]), str(place.folder))


def _ray_settings(place: Place) -> dict[str, str]:
    """Return what Ray offers for throughput: HAProxy in front, and fewer threads and lines of log in its replicas."""
    return {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(place.ports[1]),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(place.ports[2]),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(place.folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(place.folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(place.folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(place.folder / "server-state"),
        **_ray_default(place),
    }


def _ray_default(place: Place) -> dict[str, str]:
    return {"RAY_USAGE_STATS_ENABLED": "0"}


def _seldon(protocol: str, place: Place) -> list[str]:
    asked, other, metrics = map(str, place.ports)
    rest, grpc = (asked, other) if protocol == "rest" else (other, asked)
    # One process of one thread, its default: with eight threads a request cost 4 (gRPC) to 11 % (JSON) more.
    return [
        str(place.programs / "seldon-core-microservice"),
        f"{_SERVERS}.seldon_router.Router",
        "--service-type=ROUTER",
        *(f"--http-port={rest}", f"--grpc-port={grpc}", f"--metrics-port={metrics}", "--log-level=ERROR"),
    ]


PEERS: Final = (
    Peer("mosec raw", MOSEC, lambda at: _mosec("raw", at), messages.raw("/inference"), messages.raw_rows),
    Peer("mosec json", MOSEC, lambda at: _mosec("json", at), messages.instances("/inference"), messages.predictions),
    Peer("litserve json", LITSERVE, _litserve, messages.instances("/predict"), messages.predictions),
    Peer(
        "bentoml json, one model",
        BENTOML,
        lambda at: _bentoml("First", at),
        messages.instances("/predict"),
        messages.bare_rows,
        settings=_bentoml_settings,
    ),
    Peer(
        "bentoml json, router",
        BENTOML,
        lambda at: _bentoml("Router", at),
        messages.instances("/predict"),
        messages.bare_rows,
        arms=2,
        settings=_bentoml_settings,
    ),
    Peer(
        "ray serve json, router",
        RAY,
        _ray,
        messages.instances("/"),
        messages.predictions,
        arms=2,
        settings=_ray_settings,
    ),
    Peer(
        "ray serve json, router as it comes",
        RAY,
        _ray,
        messages.instances("/"),
        messages.predictions,
        arms=2,
        settings=_ray_default,
    ),
    Peer(
        "seldon grpc, router hop",
        SELDON,
        lambda at: _seldon("grpc", at),
        messages.seldon_grpc("/seldon.protos.Router/Route"),
        messages.seldon_grpc_arm,
        arms=2,
    ),
    Peer(
        "seldon json, router hop",
        SELDON,
        lambda at: _seldon("rest", at),
        messages.seldon_rest("/route"),
        messages.seldon_rest_arm,
        arms=2,
    ),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """A peer beside one of Turpin's fronts: how many times cheaper Turpin is to be at least, or how much dearer at most.

    Neither: no bar, only said.
    """

    peer: str
    front: str
    cheaper_min: float | None = None
    dearer_max: float | None = None


# With a bar: Turpin's cheapest front that speaks the peer's protocol. Bytes over HTTP are held against gRPC, which carries
# the same. mosec, which neither routes nor has more than a model, is to be come near to.
BARS: Final = (
    Bar("seldon grpc, router hop", ENVOY_FRONT, cheaper_min=3.0),
    Bar("seldon grpc, router hop", GRPC_FRONT),
    Bar("seldon json, router hop", REST_FRONT, cheaper_min=3.0),
    Bar("bentoml json, router", REST_FRONT, cheaper_min=8.0),
    Bar("bentoml json, router", ENVOY_FRONT),
    Bar("bentoml json, router", GRPC_FRONT),
    Bar("ray serve json, router", REST_FRONT, cheaper_min=20.0),
    Bar("ray serve json, router", ENVOY_FRONT),
    Bar("ray serve json, router", GRPC_FRONT),
    Bar("ray serve json, router as it comes", REST_FRONT, cheaper_min=20.0),
    Bar("litserve json", REST_FRONT),
    Bar("bentoml json, one model", REST_FRONT),
    Bar("mosec raw", ENVOY_FRONT, dearer_max=1.5),
    Bar("mosec json", REST_FRONT, dearer_max=1.5),
)
