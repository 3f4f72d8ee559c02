"""The table of types against TensorProto's own descriptor."""

import pytest

from serving import dtypes
from serving.wire import TensorProto


@pytest.mark.parametrize("dtype", dtypes.ENCODINGS)
def test_the_table_names_the_fields_of_the_proto(dtype: int) -> None:
    encoding = dtypes.ENCODINGS[dtype]
    field = TensorProto.DESCRIPTOR.fields_by_name[encoding.field]

    assert field.number == encoding.number
    assert field.is_packed
    assert encoding.is_raw == (
        encoding.field in ("float_val", "double_val", "bool_val", "scomplex_val", "dcomplex_val")
    )


@pytest.mark.parametrize("dtype", dtypes.ENCODINGS)
def test_names_and_numbers_are_tensorflows(dtype: int) -> None:
    numbers = TensorProto.DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_number

    assert numbers[dtype].name == "DT_" + dtypes.name(dtype).upper()


def test_a_type_of_the_future_has_a_name_too() -> None:
    assert dtypes.name(99) == "unknown dtype enum (99)"


@pytest.mark.parametrize("dtype", dtypes.ENCODINGS)
def test_values_are_read_as_contents(dtype: int) -> None:
    encoding = dtypes.ENCODINGS[dtype]
    tensor = TensorProto(dtype=dtype)
    assert encoding.read(tensor) == b""
    getattr(tensor, encoding.field).extend([1, 0, 1, 1])

    content = encoding.read(tensor)

    assert len(content) == 4 * encoding.value_bytes
    one, zero = content[: encoding.value_bytes], bytes(encoding.value_bytes)
    assert content == one + zero + one + one
    assert one != zero
