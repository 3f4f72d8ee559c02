"""Every setting that people may write, with its default as they would write it: what pages on them are compared with."""

import json
from collections.abc import Iterator
from typing import Any, Final

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from router.config.document import Document, models_in
from router.config.environment import _is_mapping, _list_item

REQUIRED: Final = "required"


def settings(model: type[Document], place: str = "") -> Iterator[tuple[str, str]]:
    """Yield (place, default) of each setting; `*` is an entry's name, `[]` an item. A section of others has no row."""
    for name, field in model.model_fields.items():
        here = f"{place}{name}"
        inner = models_in(field.annotation)
        if not inner:
            yield here, _default(model, name, field)
            continue
        ending = ".*" if _is_mapping(field.annotation) else "[]" if _list_item(field.annotation) is not None else ""
        if _has_own_default(field, ending):
            yield here, _default(model, name, field)
        yield from settings(inner[0], f"{here}{ending}.")


def _has_own_default(field: FieldInfo, ending: str) -> bool:
    """Say whether the section itself may be written as a value: a list, a mapping, a number, or null."""
    return bool(ending) or field.default is PydanticUndefined or not isinstance(field.default, Document)


def _default(model: type[Document], name: str, field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return REQUIRED
    # As the model itself would write it: durations with their units.
    whole: dict[str, Any] = model.model_construct().model_dump(mode="json", include={name}, warnings=False)
    return json.dumps(whole[name]).strip('"') or "empty"
