"""Model servers as the control process sees them: the stand-in of tests/serving/fake_tfs.py, over gRPC or without."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from serving import model_config, wire
from serving.errors import BackendError, ServingError
from tests.serving.fake_tfs import FakeTfs

DISK: Final = {"digits": (1, 2, 3), "bystander": (7, 8)}
CONFIG: Final = """
model_config_list {
  config {
    name: "digits" base_path: "/models/digits" model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 2 versions: 3 } }
  }
  config {
    name: "bystander" base_path: "/models/bystander" model_platform: "tensorflow"
    model_version_policy { specific { versions: 7 versions: 8 } }
  }
}
"""


def signature(name: str = "x") -> wire.Message:
    """A signature of one input and one output, any number of rows."""
    made = wire.SignatureDef(method_name="tensorflow/serving/predict")
    for info in (made.inputs[name], made.outputs["y"]):
        info.name = f"{name}:0"
        info.dtype = 1
        info.tensor_shape.dim.add(size=-1)
    return made


def fake_tfs(config: str = CONFIG, **changes: Any) -> FakeTfs:
    """A server that has loaded what its config says, before anybody listens on a port."""
    changes = {"signatures": {"serving_default": signature()}, **changes}
    fake = FakeTfs(DISK, model_config.read_config(config), **changes)
    fake.restart()
    return fake


class Direct:
    """An Upstream that calls a stand-in without a network, so that it fits virtual time. Mutable: what it raises."""

    def __init__(self, fake: FakeTfs, address: str = "tfs:1", *, per_version: Mapping[int, wire.Message] = {}) -> None:
        """`per_version` are signatures that differ from the server's."""
        self.address = address
        self.fake = fake
        self.per_version = per_version
        self.fails: ServingError | None = None
        self.only = ""  # the one method that raises it; all by default
        self.methods: list[str] = []
        self._handlers: dict[str, tuple[Any, Any]] = {
            wire.GET_MODEL_STATUS: (wire.GetModelStatusRequest, fake._status),
            wire.GET_MODEL_METADATA: (wire.GetModelMetadataRequest, fake._metadata),
            wire.RELOAD_CONFIG: (wire.ReloadConfigRequest, fake._reload),
            wire.PREDICT: (wire.PredictRequest, fake._predict),
        }

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        """Answer as the server would."""
        self.methods.append(method)
        if self.fails is not None and self.only in ("", method):
            raise self.fails
        message, handler = self._handlers[method]
        request = message.FromString(body)
        version = request.model_spec.version.value if method == wire.GET_MODEL_METADATA else 0
        before = self.fake.signatures
        if version in self.per_version:
            self.fake.signatures = {"serving_default": self.per_version[version]}
        answer = await handler(request)
        self.fake.signatures = before
        if isinstance(answer, tuple):
            raise BackendError(*answer)
        return bytes(answer.SerializeToString())

    async def close(self) -> None:
        """Nothing is open."""


def entries(config: wire.Message) -> dict[str, bytes]:
    """A config's models, each as its bytes."""
    return {entry.name: entry.SerializeToString(deterministic=True) for entry in config.model_config_list.config}


def versions(config: wire.Message, model: str) -> Collection[int]:
    """The versions of a model that a config lists."""
    (entry,) = [entry for entry in config.model_config_list.config if entry.name == model]
    return tuple(entry.model_version_policy.specific.versions)
