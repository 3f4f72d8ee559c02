"""The model server's gRPC front: TF Serving's services over the models that are loaded."""

from collections.abc import Callable
from typing import Any

from serving import wire
from serving.grpc_server import Arguments, GrpcServer, Handler
from serving.local import answers
from serving.local.keeper import Keeper
from serving.local.models import Models
from serving.local.monitoring import Requests
from serving.local.workers import Workers


class GrpcFront:
    """A gRPC server on one port; `start` binds it, `stop` ends it with the calls under way answered."""

    def __init__(
        self,
        models: Models,
        keeper: Keeper,
        workers: Workers,
        requests: Requests,
        grace_s: float,
        channel_arguments: Arguments = (),
    ) -> None:
        """`grace_s`: what calls under way get at `stop`. `channel_arguments`: gRPC's own, by name."""
        self._requests = requests
        self._models = models
        self._keeper = keeper
        self._workers = workers
        self._grace_s = grace_s
        # Images and embeddings are larger than gRPC's 4 MiB; TF Serving sets no limit either.
        self._server = GrpcServer(
            self.routes(), message_bytes=-1, is_port_shared=False, channel_arguments=channel_arguments
        )

    def routes(self) -> dict[str, Handler]:
        """Return what is served: method path -> call. A method that is not here is answered UNIMPLEMENTED."""
        return {
            wire.PREDICT: self._threaded(wire.PredictRequest, answers.predict, "Predict"),
            wire.CLASSIFY: self._threaded(wire.ClassificationRequest, answers.classify, "Classify"),
            wire.REGRESS: self._threaded(wire.RegressionRequest, answers.regress, "Regress"),
            wire.MULTI_INFERENCE: self._threaded(wire.MultiInferenceRequest, answers.multi_inference),
            wire.GET_MODEL_METADATA: self._threaded(wire.GetModelMetadataRequest, answers.model_metadata),
            wire.GET_MODEL_STATUS: self._status,
            wire.RELOAD_CONFIG: self._reload,
        }

    async def start(self, host: str, port: int, socket_path: str = "") -> int:
        """Bind and serve; return the port, the free one that was found when 0 was asked for. OSError when taken.

        `socket_path` is a UNIX socket to listen on as well.
        """
        bound = await self._server.start(f"{host}:{port}", *([f"unix:{socket_path}"] if socket_path else []))
        await self._server.set_serving(is_serving=True)
        return bound

    async def stop(self) -> None:
        """Turn health to NOT_SERVING, take no new calls, and give those under way their grace."""
        await self._server.stop(self._grace_s)

    def _threaded(
        self, request_class: Any, answer: Callable[[Models, wire.Message], wire.Message], api: str = ""
    ) -> Handler:
        """Answer in a thread; calls with the name of an `api` are measured under it."""

        def work(body: bytes) -> bytes:
            request = wire.parse(request_class, body)
            if not api:
                return _to_bytes(answer(self._models, request))
            with self._requests.measured(request.model_spec.name, api, "GRPC"):
                return _to_bytes(answer(self._models, request))

        async def call(body: bytes, context: Any) -> bytes:
            # gRPC cancels this when the client's deadline passes, so no timer of our own is needed.
            return await self._workers.run(work, body)

        return call

    async def _status(self, body: bytes, context: Any) -> bytes:
        # On the event loop: it is answered while every thread is busy, and takes no longer than the hand-over would.
        return _to_bytes(answers.model_status(self._models, wire.parse(wire.GetModelStatusRequest, body)))

    async def _reload(self, body: bytes, context: Any) -> bytes:
        await self._keeper.reload(wire.parse(wire.ReloadConfigRequest, body).config, context.time_remaining())
        response = wire.ReloadConfigResponse()
        response.status.SetInParent()
        return _to_bytes(response)


def _to_bytes(message: wire.Message) -> bytes:
    body: bytes = message.SerializeToString()
    return body
