"""What the command line of the model server asks for."""

from dataclasses import dataclass

from serving import wire


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How TensorFlow's sessions run and answer; 0 threads means one per core, as in tensorflow_model_server."""

    intra_op_threads: int = 0
    inter_op_threads: int = 0
    gpu_memory_fraction: float = 0.0
    answers_as_content: bool = False


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What the command line asks for; port 0 means any free one."""

    config: wire.Message  # ModelServerConfig
    host: str = "0.0.0.0"  # noqa: S104 - tensorflow_model_server listens on every address, and takes its place here
    port: int = 8500
    rest_api_port: int | None = 8501  # None: no REST
    poll_wait_s: float = 1.0
    threads: int = 1  # calls that run in TensorFlow at the same time; cores, or they only hinder each other
    allow_labels_for_unavailable: bool = False
    is_cors: bool = False  # REST answers pages of any origin
    metrics_path: str | None = None  # of the page for Prometheus, on the REST port; None: there is none
    socket_path: str = ""  # a UNIX socket for gRPC, beside the port
    channel_arguments: tuple[tuple[str, int | str], ...] = ()  # gRPC's own


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a started server listens."""

    grpc: int
    rest: int | None
