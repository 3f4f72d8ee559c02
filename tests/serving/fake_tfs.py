"""A stand-in for `tensorflow_model_server`: its model states, config rules and words, over real gRPC, without models.

Predict answers its inputs and takes `a + b·rows` seconds of whatever clock the test has. The rules are those of
reference/tf-serving.md §1.2 and §5, read from the C++ source.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Self

import grpc
import grpc.aio

from serving import wire
from serving.errors import Code

# A models.config with an experiment's model and a bystander.
MODELS_CONFIG = """
model_config_list {
  # A comment, as people write them.
  config {
    name: "digits" base_path: "/models/digits" model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 2 versions: 3 } }
    version_labels { key: "stable" value: 1 }
    version_labels { key: "canary" value: 3 }
  }
  config {
    name: "bystander" base_path: "/models/bystander" model_platform: "tensorflow"
    model_version_policy { all {} }
    logging_config { sampling_config { sampling_rate: 0.1 } }
  }
}
"""

Pause = Callable[[float], Awaitable[None]]
Refused = tuple[Code, str]


class SimulatedClock:
    """A clock that only pauses move: seconds, from 0."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.now += seconds


class FakeTfs:
    """One model server on a free port of loopback, for as long as its `async with` lasts.

    `disk` holds the versions of each model; a version in `broken` fails to load. With `polls` False, versions change
    only when the test calls `poll`, as the real server's do up to a second after a reload.
    """

    def __init__(
        self,
        disk: Mapping[str, Collection[int]],
        config: wire.Message,
        *,
        signatures: Mapping[str, wire.Message] | None = None,
        lines: Mapping[int, tuple[float, float]] | None = None,
        broken: Collection[tuple[str, int]] = (),
        polls: bool = True,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self.disk, self.config, self.first_config = disk, config, config
        self.signatures, self.lines, self.broken = dict(signatures or {}), dict(lines or {}), broken
        self.polls, self.pause = polls, pause
        self.states: dict[str, dict[int, tuple[int, str]]] = {}
        self.reloads: list[wire.Message] = []
        self.predicted: list[tuple[int, int]] = []  # (version, rows) of each call, in their order
        self.rows_max = 1_000_000
        self.in_flight = self.in_flight_max = 0
        self.refusals: dict[int, Refused] = {}
        self.garbage: bytes | None = None
        self.address = ""
        self._server: Any = None

    async def __aenter__(self) -> Self:
        await self.rise()
        return self

    async def rise(self) -> None:
        """Start as a new process does, on the port that it had before, if it had one."""
        handlers = {
            wire.GET_MODEL_STATUS: (wire.GetModelStatusRequest, self._status),
            wire.GET_MODEL_METADATA: (wire.GetModelMetadataRequest, self._metadata),
            wire.RELOAD_CONFIG: (wire.ReloadConfigRequest, self._reload),
            wire.PREDICT: (wire.PredictRequest, self._predict),
        }
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        self._server.add_generic_rpc_handlers((_Handlers(self, handlers),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port(self.address or '127.0.0.1:0')}"
        self.restart()
        await self._server.start()

    async def fall(self) -> None:
        """End as a killed process does; calls under way end as UNAVAILABLE."""
        await self._server.stop(grace=None)

    async def __aexit__(self, *_: object) -> None:
        await self.fall()

    def restart(self) -> None:
        """Forget all reloads and states, as a process that was started anew."""
        self.config, self.states = self.first_config, {}
        self.poll()

    def poll(self) -> None:
        """Look at the disk and load and unload what the config says."""
        for entry in self.config.model_config_list.config:
            states = self.states.setdefault(entry.name, {})
            on_disk = sorted(self.disk.get(entry.name, ()))
            match entry.model_version_policy.WhichOneof("policy_choice"):
                case "specific":
                    wanted = [v for v in on_disk if v in entry.model_version_policy.specific.versions]
                case "all":
                    wanted = on_disk
                case _:
                    wanted = on_disk[-1:]
            for version in wanted:
                if states.get(version, (wire.END, ""))[0] != wire.AVAILABLE:
                    is_broken = (entry.name, version) in self.broken
                    states[version] = (wire.END, "bad graph") if is_broken else (wire.AVAILABLE, "")
            for version in set(states) - set(wanted):
                states[version] = (wire.END, states[version][1])

    def serves(self, model: str) -> list[int]:
        """The versions that answer predictions."""
        return sorted(v for v, (state, _) in self.states.get(model, {}).items() if state == wire.AVAILABLE)

    async def _status(self, request: wire.Message) -> wire.Message | Refused:
        name = request.model_spec.name
        if not self.states.get(name):
            return Code.NOT_FOUND, f"Could not find any versions of model {name}"
        answer = wire.GetModelStatusResponse()
        for version, (state, error) in self.states[name].items():
            code = Code.UNKNOWN.number if error else 0
            answer.model_version_status.add(
                version=version, state=state, status={"error_code": code, "error_message": error}
            )
        return answer

    async def _metadata(self, request: wire.Message) -> wire.Message | Refused:
        version = self._resolve(request.model_spec)
        if not isinstance(version, int):
            return version
        packed = wire.SignatureDefMap()
        for name, signature in self.signatures.items():
            packed.signature_def[name].CopyFrom(signature)
        answer = wire.GetModelMetadataResponse(model_spec={"name": request.model_spec.name})
        answer.model_spec.version.value = version
        answer.metadata["signature_def"].Pack(packed)
        return answer

    async def _reload(self, request: wire.Message) -> wire.Message | Refused:
        self.reloads.append(request.config)
        if request.config.WhichOneof("config") != "model_config_list":
            return Code.INVALID_ARGUMENT, "ServerModelConfig type not supported by HandleReloadConfigRequest."
        names = [entry.name for entry in request.config.model_config_list.config]
        for entry in request.config.model_config_list.config:
            if names.count(entry.name) > 1:
                return Code.INVALID_ARGUMENT, f"Illegal to list model {entry.name} multiple times in config list"
            if not entry.model_platform:
                return Code.INVALID_ARGUMENT, "Illegal setting neither ModelServerConfig::model_type"
        self.config = request.config
        for entry in request.config.model_config_list.config:
            for version in entry.version_labels.values():
                if version not in self.serves(entry.name):
                    words = f"Request to assign label to version {version} of model {entry.name}"
                    return Code.FAILED_PRECONDITION, f"{words}, which is not currently available for inference"
        for name in set(self.states) - set(names):
            self.states[name] = dict.fromkeys(self.states[name], (wire.END, ""))
        if self.polls:
            self.poll()
        return wire.ReloadConfigResponse()

    async def _predict(self, request: wire.Message) -> wire.Message | Refused:
        version = self._resolve(request.model_spec)
        if not isinstance(version, int):
            return version
        rows = next(iter(request.inputs.values())).tensor_shape.dim[0].size
        self.predicted.append((version, rows))
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight, self.in_flight_max)
        a, b = self.lines.get(version, (0.0, 0.0))
        await self.pause(a + b * rows)
        self.in_flight -= 1
        if version in self.refusals:
            return self.refusals[version]
        if rows > self.rows_max:
            return Code.INVALID_ARGUMENT, f"Task size {rows} is larger than maximum input batch size {self.rows_max}"
        answer = wire.PredictResponse(outputs=request.inputs, model_spec=request.model_spec)
        answer.model_spec.version.value = version
        return answer

    def _resolve(self, spec: wire.Message) -> int | Refused:
        served = self.serves(spec.name)
        if spec.WhichOneof("version_choice") == "version_label":
            labels = {
                label: to
                for entry in self.config.model_config_list.config
                if entry.name == spec.name
                for label, to in entry.version_labels.items()
            }
            to = labels.get(spec.version_label)
            if to is None:
                return Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}"
            if to in served:
                return int(to)
            return Code.NOT_FOUND, f"Servable not found for request: Specific({spec.name}, {to})"
        if spec.HasField("version"):
            if spec.version.value in served:
                return int(spec.version.value)
            return Code.NOT_FOUND, f"Servable not found for request: Specific({spec.name}, {spec.version.value})"
        return served[-1] if served else (Code.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio publishes no types
    """Routes a method path to a coroutine of the fake, which returns its answer or (code, words)."""

    def __init__(self, fake: FakeTfs, methods: Mapping[str, tuple[Any, Callable[[Any], Awaitable[Any]]]]) -> None:
        self._fake, self._methods = fake, methods

    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method not in self._methods:
            return None
        request_class, answer = self._methods[handler_call_details.method]

        async def handle(body: bytes, context: Any) -> bytes:
            result = await answer(request_class.FromString(body))
            if isinstance(result, tuple):
                code, words = result
                status = next(status for status in grpc.StatusCode if status.value[0] == code.number)
                await context.abort(status, words)
            return self._fake.garbage or result.SerializeToString()

        return grpc.unary_unary_rpc_method_handler(handle)
