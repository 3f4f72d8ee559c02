"""TensorFlow's element types: their names, and how a TensorProto carries each of them.

Source: tensorflow/core/framework/tensor.proto and types.proto; checked against TensorFlow's own parser by
tests/serving/test_tensors_tf.py.
"""

import struct
from dataclasses import dataclass
from typing import Final

from serving.wire import Message, TensorProto

FLOAT: Final = 1
DOUBLE: Final = 2
INT32: Final = 3
UINT8: Final = 4
INT16: Final = 5
INT8: Final = 6
STRING: Final = 7
COMPLEX64: Final = 8
INT64: Final = 9
BOOL: Final = 10
BFLOAT16: Final = 14
UINT16: Final = 17
COMPLEX128: Final = 18
HALF: Final = 19
UINT32: Final = 22
UINT64: Final = 23

# As TensorFlow's DataTypeString() writes them in messages.
_NAMES: Final = {
    0: "INVALID", FLOAT: "float", DOUBLE: "double", INT32: "int32", UINT8: "uint8", INT16: "int16", INT8: "int8",
    STRING: "string", COMPLEX64: "complex64", INT64: "int64", BOOL: "bool", 11: "qint8", 12: "quint8", 13: "qint32",
    BFLOAT16: "bfloat16", 15: "qint16", 16: "quint16", UINT16: "uint16", COMPLEX128: "complex128", HALF: "half",
    20: "resource", 21: "variant", UINT32: "uint32", UINT64: "uint64",
}  # fmt: skip


def name(dtype: int) -> str:
    """Name a DataType as TensorFlow's messages do: `float`, `int64`, ..."""
    return _NAMES.get(dtype, f"unknown dtype enum ({dtype})")


@dataclass(frozen=True, slots=True)
class Encoding:
    """How one fixed-width type is written: its repeated field, and its little-endian form in tensor_content.

    `number` is the field's in TensorProto, `code` struct's letter for one of its values, `per_element` how many values
    make an element (2 for complex), `mask` what is kept of a value in a field wider than the type: C++ casts, so 300
    in a uint8's int_val is 44.
    """

    field: str
    number: int
    code: str
    per_element: int = 1
    mask: int | None = None

    @property
    def value_bytes(self) -> int:
        """Bytes of one value in tensor_content's form."""
        return struct.calcsize(f"<{self.code}")

    @property
    def item_bytes(self) -> int:
        """Bytes of one element in tensor_content."""
        return self.value_bytes * self.per_element

    @property
    def is_raw(self) -> bool:
        """Whether the packed field holds just the bytes that tensor_content would (a bool's varint is its byte)."""
        return self.code in "fd?"

    def read(self, tensor: Message) -> bytes:
        """Return all values of the tensor's field, in tensor_content's form."""
        values = getattr(tensor, self.field)
        if not len(values):
            return b""
        if self.is_raw:
            # Serialised alone, a packed field ends in its values: 20 times quicker than taking each as a Python number.
            alone = TensorProto()
            getattr(alone, self.field).MergeFrom(values)
            return bytes(alone.SerializeToString()[-len(values) * self.value_bytes :])
        if self.mask is None:
            return struct.pack(f"<{len(values)}{self.code}", *values)
        return struct.pack(f"<{len(values)}{self.code}", *[value & self.mask for value in values])


# The types that can be cut and joined row by row. Strings are apart; resources, variants, quantised and 4- and 8-bit
# types are left to the backend.
ENCODINGS: Final = {
    FLOAT: Encoding("float_val", 5, "f"),
    DOUBLE: Encoding("double_val", 6, "d"),
    INT32: Encoding("int_val", 7, "i"),
    # The signed narrow types are packed unsigned, which is the same bit pattern once masked.
    UINT8: Encoding("int_val", 7, "B", mask=0xFF),
    INT16: Encoding("int_val", 7, "H", mask=0xFFFF),
    INT8: Encoding("int_val", 7, "B", mask=0xFF),
    COMPLEX64: Encoding("scomplex_val", 9, "f", per_element=2),
    INT64: Encoding("int64_val", 10, "q"),
    BOOL: Encoding("bool_val", 11, "?"),
    # The 16-bit floats travel as raw bit patterns.
    BFLOAT16: Encoding("half_val", 13, "H", mask=0xFFFF),
    UINT16: Encoding("int_val", 7, "H", mask=0xFFFF),
    COMPLEX128: Encoding("dcomplex_val", 12, "d", per_element=2),
    HALF: Encoding("half_val", 13, "H", mask=0xFFFF),
    UINT32: Encoding("uint32_val", 16, "I"),
    UINT64: Encoding("uint64_val", 17, "Q"),
}
