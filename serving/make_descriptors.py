"""Write `tfs.desc`: the messages of TF Serving's API as a FileDescriptorSet, for `serving.wire`.

Needs the extra `turpin[local]`; run `python -P -m serving.make_descriptors`. A test compares the file with what this makes.
"""

import importlib
import sys
import types
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

# Everything TF Serving's two public services exchange.
APIS = ("prediction_service_pb2", "model_service_pb2")
PATH = Path(__file__).with_name("tfs.desc")


def descriptor_set() -> bytes:
    """Serialise the files of `APIS` with all they import, dependencies first.

    The modules are read without running tensorflow's own __init__ (10 s, 700 MB): a bare package with the right
    __path__ stands in for it, which is why this is a script and not a function of the gateway.
    """
    if "tensorflow" not in sys.modules:
        stub = types.ModuleType("tensorflow")
        stub.__path__ = [str(distribution("tensorflow").locate_file("tensorflow"))]
        sys.modules["tensorflow"] = stub
    files: dict[str, Any] = {}

    def visit(file: Any) -> None:
        if file.name in files:
            return
        for dependency in file.dependencies:
            visit(dependency)
        files[file.name] = file

    for api in APIS:
        visit(importlib.import_module(f"tensorflow_serving.apis.{api}").DESCRIPTOR)
    result = descriptor_pb2.FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(result.file.add())
    return result.SerializeToString(deterministic=True)


if __name__ == "__main__":
    written = PATH.write_bytes(descriptor_set())
    print(f"{PATH.name}: {written} bytes")
