"""`turpin model-server`: serve SavedModels with TensorFlow, in the place of tensorflow_model_server."""

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from serving.signals import ended_at_once

if TYPE_CHECKING:
    # Importing this module must stay cheap, since it is part of every `turpin --help`; hence the imports in functions.
    from serving import wire
    from serving.local.options import EngineOptions, Ports, ServerOptions
    from serving.local.versions import Engine

# Exit status, as of every turpin command.
_FAILED: Final = 1
_BAD_INPUT: Final = 2

EXAMPLE: Final = "Example: turpin model-server --port 8500 --model_name digits --model_base_path /models/digits"

_PORT_MAX: Final = 65535

# All but --host are flags of tensorflow_model_server, with its names and defaults where nothing else is said.
Port = Annotated[int, typer.Option("--port", help="gRPC port; 0: any free one.")]
RestPort = Annotated[
    int, typer.Option("--rest_api_port", help="REST port; 0: any free one, -1: no REST (tensorflow_model_server's 0).")
]
Host = Annotated[
    str, typer.Option("--host", help="Address to listen on; all of them by default, as tensorflow_model_server does.")
]
Name = Annotated[str, typer.Option("--model_name", help="Name of the model at --model_base_path.")]
BasePath = Annotated[str, typer.Option("--model_base_path", help="Folder that holds a model's numbered versions.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--model_config_file", help="ModelServerConfig as text; --model_name and --model_base_path are unused."
    ),
]
PollWait = Annotated[
    float,
    typer.Option("--file_system_poll_wait_seconds", help="Between looks at the disk; 0: only at start and at reloads."),
]
IntraOp = Annotated[
    int, typer.Option("--tensorflow_intra_op_parallelism", help="Threads within an operation; 0: one per core.")
]
InterOp = Annotated[
    int,
    typer.Option(
        "--tensorflow_inter_op_parallelism",
        help="Operations of one call at a time; 0: one per core (tensorflow_model_server's default), -1: one after the"
        " other without a thread of their own, three times as fast for small models, as calls run beside each other anyway.",
    ),
]
GpuShare = Annotated[
    float,
    typer.Option("--per_process_gpu_memory_fraction", help="Of the GPU's memory, taken at once; 0: as it sees fit."),
]
AsContent = Annotated[
    bool,
    typer.Option(
        "--enable_serialization_as_tensor_content", help="Answer in tensor_content: faster, float_val is empty."
    ),
]
AnyLabel = Annotated[
    bool,
    typer.Option(
        "--allow_version_labels_for_unavailable_models", help="Accept new labels for versions not loaded yet."
    ),
]
Cors = Annotated[
    bool, typer.Option("--rest_api_enable_cors_support", help="Let pages of any origin call the REST API.")
]
Monitoring = Annotated[
    Path | None,
    typer.Option(
        "--monitoring_config_file", help="MonitoringConfig as text; with prometheus_config, a page on the REST port."
    ),
]
SocketPath = Annotated[str, typer.Option("--grpc_socket_path", help="UNIX socket for gRPC, beside the port.")]
ChannelArguments = Annotated[
    str,
    typer.Option(
        "--grpc_channel_arguments", help="gRPC's own settings, as grpc.max_connection_age_ms=2000,name=value."
    ),
]


def app(
    port: Port = 8500,
    rest_api_port: RestPort = 8501,
    host: Host = "0.0.0.0",  # noqa: S104 - it takes tensorflow_model_server's place, which listens on every address
    model_name: Name = "default",
    model_base_path: BasePath = "",
    model_config_file: ConfigFile = None,
    file_system_poll_wait_seconds: PollWait = 1.0,
    tensorflow_intra_op_parallelism: IntraOp = 0,
    tensorflow_inter_op_parallelism: InterOp = -1,
    per_process_gpu_memory_fraction: GpuShare = 0.0,
    enable_serialization_as_tensor_content: AsContent = False,
    allow_version_labels_for_unavailable_models: AnyLabel = False,
    rest_api_enable_cors_support: Cors = False,
    monitoring_config_file: Monitoring = None,
    grpc_socket_path: SocketPath = "",
    grpc_channel_arguments: ChannelArguments = "",
) -> None:
    """Serve SavedModels with TensorFlow over TF Serving's gRPC and REST API, in tensorflow_model_server's place."""
    from serving.local.options import EngineOptions, ServerOptions

    _check_port("--port", port, least=0)
    _check_port("--rest_api_port", rest_api_port, least=-1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    options = ServerOptions(
        config=_config(model_name, model_base_path, model_config_file),
        host=host,
        port=port,
        rest_api_port=rest_api_port if rest_api_port >= 0 else None,
        poll_wait_s=file_system_poll_wait_seconds,
        threads=os.cpu_count() or 1,
        allow_labels_for_unavailable=allow_version_labels_for_unavailable_models,
        is_cors=rest_api_enable_cors_support,
        metrics_path=_metrics_path(monitoring_config_file),
        socket_path=grpc_socket_path,
        channel_arguments=_channel_arguments(grpc_channel_arguments),
    )
    engine_options = EngineOptions(
        intra_op_threads=tensorflow_intra_op_parallelism,
        inter_op_threads=tensorflow_inter_op_parallelism,
        gpu_memory_fraction=per_process_gpu_memory_fraction,
        answers_as_content=enable_serialization_as_tensor_content,
    )
    with ended_at_once():
        run(options, _engine_loader(engine_options))


def _metrics_path(file: Path | None) -> str | None:
    """Return where the page for Prometheus is to be; exits with 2 when the file is wrong."""
    from serving.local import monitoring

    try:
        return None if file is None else monitoring.read_path(file)
    except ValueError as error:
        raise _exit(_BAD_INPUT, str(error)) from error


def _channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    """Read name=value,name=value; exits with 2 when it is something else."""
    found: list[tuple[str, int | str]] = []
    for pair in filter(None, text.split(",")):
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise _exit(_BAD_INPUT, f"--grpc_channel_arguments must be name=value,name=value, got {pair!r}")
        found.append((name, int(value) if value.lstrip("-").isdecimal() else value))
    return tuple(found)


def _check_port(flag: str, port: int, least: int) -> None:
    if not least <= port <= _PORT_MAX:
        raise _exit(_BAD_INPUT, f"{flag} must be in {least}..{_PORT_MAX}, got {port}")


def _config(name: str, base_path: str, file: Path | None) -> "wire.Message":
    """Return the ModelServerConfig of the flags; exits with 2 when there is none or it is wrong."""
    from serving.errors import InvalidArgument
    from serving.local import config

    if file is None and not base_path:
        raise _exit(_BAD_INPUT, "nothing to serve: give --model_base_path or --model_config_file")
    try:
        chosen = config.read_config_file(file) if file is not None else config.one_model(name, base_path)
        config.read_config(chosen)
    except (ValueError, InvalidArgument) as error:
        raise _exit(_BAD_INPUT, str(error)) from error
    return chosen


def _engine_loader(options: "EngineOptions") -> "Callable[[str], Engine]":
    """Import TensorFlow (2-9 s, 500 MB), without its greetings on stderr, and return what makes an engine of a version's path."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with _held_stderr():
            from serving.local import engine

            found = engine.prepare_tensorflow()
    except ImportError as error:
        raise _exit(_FAILED, f"TensorFlow is missing ({error}): pip install 'turpin[local]'") from error
    logging.getLogger(__name__).info(found)

    def load(path: str) -> "Engine":
        return engine.SavedModelEngine(path, options)

    return load


def run(options: "ServerOptions", load: "Callable[[str], Engine]") -> None:
    """Serve until SIGTERM; exits with 1 when the server can't start."""
    from serving.errors import ServingError
    from serving.local.server import serve_until_signal

    try:
        with asyncio.Runner(loop_factory=_event_loop()) as runner:
            runner.run(serve_until_signal(options, load, partial(_announce, options.host)))
    except (ServingError, OSError) as error:
        raise _exit(_FAILED, f"Failed to start server. Error: {error}") from error


def _event_loop() -> "Callable[[], asyncio.AbstractEventLoop]":
    """Return uvloop's maker of event loops where there is one: a tenth less processor time per small prediction."""
    try:
        import uvloop
    except ImportError:  # not on every platform
        return asyncio.new_event_loop
    make: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return make


def _announce(host: str, ports: "Ports") -> None:
    """Say where the server listens: the only line on stdout."""
    rest = "" if ports.rest is None else f", REST {host}:{ports.rest}"
    typer.echo(f"model server: gRPC {host}:{ports.grpc}{rest}")


def _exit(status: int, message: str) -> typer.Exit:
    typer.echo(f"model server: {message}", err=True)
    return typer.Exit(status)


@contextmanager
def _held_stderr() -> Iterator[None]:
    """Swallow what native code writes to stderr meanwhile; when the block raises, let it through after all."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
