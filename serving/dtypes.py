"""TensorFlow's element types: their names, and how a TensorProto carries each of them.

Source: tensorflow/core/framework/tensor.proto and types.proto; checked against TensorFlow's own parser by
tests/serving/test_tensors_tf.py.
"""

import struct
from dataclasses import dataclass
from typing import Final

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

    `code` is struct's letter for one value of the field, `per_element` how many values make an element (2 for complex),
    `mask` what is kept of a value in a field wider than the type: C++ casts, so 300 in a uint8's int_val is 44.
    """

    field: str
    code: str
    per_element: int = 1
    mask: int | None = None

    @property
    def item_bytes(self) -> int:
        """Bytes of one element in tensor_content."""
        return struct.calcsize(f"<{self.code}") * self.per_element

    def pack(self, values: list[float] | list[int]) -> bytes:
        """Write values of the field as tensor_content."""
        if self.mask is not None:
            values = [int(value) & self.mask for value in values]
        return struct.pack(f"<{len(values)}{self.code}", *values)


# The types that can be cut and joined row by row. Strings are apart; resources, variants, quantised and 4- and 8-bit
# types are left to the backend.
ENCODINGS: Final = {
    FLOAT: Encoding("float_val", "f"),
    DOUBLE: Encoding("double_val", "d"),
    INT32: Encoding("int_val", "i"),
    # The signed narrow types are packed unsigned, which is the same bit pattern once masked.
    UINT8: Encoding("int_val", "B", mask=0xFF),
    INT16: Encoding("int_val", "H", mask=0xFFFF),
    INT8: Encoding("int_val", "B", mask=0xFF),
    COMPLEX64: Encoding("scomplex_val", "f", per_element=2),
    INT64: Encoding("int64_val", "q"),
    BOOL: Encoding("bool_val", "?"),
    # The 16-bit floats travel as raw bit patterns.
    BFLOAT16: Encoding("half_val", "H", mask=0xFFFF),
    UINT16: Encoding("int_val", "H", mask=0xFFFF),
    COMPLEX128: Encoding("dcomplex_val", "d", per_element=2),
    HALF: Encoding("half_val", "H", mask=0xFFFF),
    UINT32: Encoding("uint32_val", "I"),
    UINT64: Encoding("uint64_val", "Q"),
}
