"""SavedModels without TensorFlow: the few fields of the message that are looked at, written by hand."""

from pathlib import Path

FLOAT, STRING = 1, 7


def field(number: int, content: bytes | int) -> bytes:
    """A field of a protobuf message: a number, or anything with a length."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content % 2**64)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def tensor(dtype: int, *sizes: int) -> bytes:
    shape = b"".join(field(2, field(1, size)) for size in sizes)
    return field(1, b"x:0") + field(2, dtype) + field(3, shape)


def entry(key: str, value: bytes) -> bytes:
    return field(1, key.encode()) + field(2, value)


def signature(inputs: dict[str, bytes], outputs: dict[str, bytes]) -> bytes:
    sides = [*((1, *one) for one in inputs.items()), *((2, *one) for one in outputs.items())]
    return b"".join(field(number, entry(name, value)) for number, name, value in sides) + field(3, b"predict")


def saved_model(signatures: dict[str, bytes], *, tag: bytes = b"serve", graph: bytes = b"nodes") -> bytes:
    meta = field(1, field(4, tag)) + field(2, graph)
    return field(1, 1) + field(2, meta + b"".join(field(5, entry(*one)) for one in signatures.items()))


ROWS = signature({"images": tensor(FLOAT, -1, 64)}, {"scores": tensor(FLOAT, -1, 10)})
AS_READ = {
    "inputs": {"images": {"dtype": "float32", "shape": [-1, 64]}},
    "outputs": {"scores": {"dtype": "float32", "shape": [-1, 10]}},
}


def write_model(folder: Path, graph: bytes = b"nodes") -> Path:
    """Write a version that looks like one of TensorFlow's."""
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(saved_model({"serving_default": ROWS}, graph=graph))
    (folder / "variables" / "variables.index").write_bytes(b"index")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(bytes(range(256)))
    return folder
