"""A fake TF Serving whose versions can be told apart, and which refuses bad requests in TF Serving's words.

Every answer repeats the images it was sent and names its version, so that a client can see whether the rows are its
own and which arm made them. The refusals are those of reference/tf-serving.md §1.2.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from serving import wire
from serving.arrays import from_numpy, to_numpy
from serving.errors import Code
from tests.serving.fake_tfs import FakeTfs, Refused

MODEL: Final = "digits"
BYSTANDER: Final = "bystander"
PIXELS: Final = 4
_FLOAT: Final = 1
# As TF Serving cuts them, in bytes: 1,024 emoji are 12 KB in a header, which gRPC refuses now and then (soft limit 8 KiB).
_MESSAGE_BYTES_MAX: Final = 1024
_TYPE_NAMES: Final = {1: "float", 2: "double", 3: "int32", 7: "string", 9: "int64"}

# What the server has loaded when a test begins: the experiment's model, and one that is none of its business.
CONFIG: Final[Mapping[str, Mapping[str, Any]]] = {
    MODEL: {"base_path": "/models/digits", "versions": [1, 2, 3], "labels": {"stable": 1, "canary": 3}},
    BYSTANDER: {"base_path": "/models/bystander", "versions": [7, 8], "labels": {}},
}


def server_config() -> wire.Message:
    """Return the ModelServerConfig that `CONFIG` describes."""
    config = wire.ModelServerConfig()
    for name, files in CONFIG.items():
        entry = config.model_config_list.config.add(
            name=name, base_path=files["base_path"], model_platform="tensorflow", version_labels=files["labels"]
        )
        entry.model_version_policy.specific.versions.extend(files["versions"])
    return config


def signature() -> wire.Message:
    """Return the one signature of all models here: images [rows, PIXELS] in; the images and the version out."""

    def tensor(name: str, *sizes: int) -> dict[str, Any]:
        return {"name": f"{name}:0", "dtype": _FLOAT, "tensor_shape": {"dim": [{"size": size} for size in sizes]}}

    return wire.SignatureDef(
        inputs={"images": tensor("images", -1, PIXELS)},
        outputs={"images": tensor("images_out", -1, PIXELS), "version": tensor("version", -1)},
        method_name="tensorflow/serving/predict",
    )


class DigitsServer(FakeTfs):
    """The fake with labels, request checks and answers that say which version made them."""

    def __init__(self, lines: Mapping[int, tuple[float, float]] | None = None) -> None:
        """`lines`: version to (a, b), its answers take `a + b·rows` seconds."""
        super().__init__(
            {name: files["versions"] for name, files in CONFIG.items()},
            server_config(),
            signatures={wire.DEFAULT_SIGNATURE: signature()},
            lines=lines,
        )

    def state_of(self, model: str, version: int) -> int:
        """The state of a version as GetModelStatus would give it."""
        return self.states[model][version][0]

    async def _predict(self, request: wire.Message) -> wire.Message | Refused:
        version = self._resolve(request.model_spec)
        refusal = _refusal(request) if isinstance(version, int) else version
        if refusal is not None:
            return refusal
        answer = await super()._predict(request)
        if isinstance(answer, tuple):
            return answer
        # Answers come as *_val, however the request was encoded: that is how a stock server is built.
        answer.outputs["images"].CopyFrom(from_numpy(to_numpy(request.inputs["images"])))
        rows = request.inputs["images"].tensor_shape.dim[0].size
        version = answer.outputs["version"]
        version.dtype = _FLOAT
        version.tensor_shape.dim.add(size=rows)
        version.float_val.extend([float(answer.model_spec.version.value)] * rows)
        return answer

    async def _metadata(self, request: wire.Message) -> wire.Message | Refused:
        if not request.metadata_field:
            return Code.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field"
        return await super()._metadata(request)

    def _resolve(self, spec: wire.Message) -> int | Refused:
        answer = super()._resolve(spec)
        return answer if isinstance(answer, int) else (answer[0], _cut(answer[1]))


def _cut(message: str) -> str:
    """Cut a message as TF Serving does: gRPC sends it in a header, whose size is limited."""
    encoded = message.encode()
    if len(encoded) <= _MESSAGE_BYTES_MAX:
        return message
    return encoded[:_MESSAGE_BYTES_MAX].decode(errors="ignore") + "...TRUNCATED"


def _refusal(request: wire.Message) -> Refused | None:
    """Return what TF Serving says of a request that does not fit the signature, None when it fits."""
    name = request.model_spec.signature_name
    if name not in ("", wire.DEFAULT_SIGNATURE):
        return Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
    sent, wanted = sorted(request.inputs), ["images"]
    if len(sent) != len(wanted):
        extra, missing = ",".join(set(sent) - set(wanted)), ",".join(set(wanted) - set(sent))
        return (
            Code.INVALID_ARGUMENT,
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({{{','.join(sent)}}}) != "
            f"len({{{','.join(wanted)}}}). Sent extra: {{{extra}}}. Missing but required: {{{missing}}}.",
        )
    if sent != wanted:
        words = f"input tensor alias not found in signature: {wanted[0]}. Inputs expected to be in the set {{images}}."
        return Code.INVALID_ARGUMENT, words
    tensor = request.inputs["images"]
    if tensor.dtype != _FLOAT:
        kind = _TYPE_NAMES.get(tensor.dtype, str(tensor.dtype))
        return Code.INVALID_ARGUMENT, f"Expects arg[0] to be float but {kind} is provided"
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    elements = math.prod(shape)
    content = len(tensor.tensor_content)
    if tensor.tensor_shape.unknown_rank or not 0 <= elements < 2**31 or content not in (0, 4 * elements):
        return Code.INVALID_ARGUMENT, "tensor parsing error: images"
    if len(shape) != 2 or shape[1] != PIXELS:
        return Code.INVALID_ARGUMENT, f"Matrix size-incompatible: In[0]: {shape}, In[1]: [{PIXELS},10]"
    return None
