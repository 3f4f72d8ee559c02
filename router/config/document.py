"""Read what people write (YAML, JSON) into strict models, and say in plain words, all at once, what is wrong with it."""

import difflib
import inspect
import json
import re
import sys
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

Place = tuple[str | int, ...]

# In the context of a serialisation: write secrets out instead of hiding them.
REVEAL: Final = "reveal"
# Values are shown in messages up to this length: enough to recognise, too short to flood a terminal.
_SHOWN_CHARS = 60
# Below these names nothing is ever shown: a message ends up in logs.
_SECRET_PLACES = frozenset({"decision_keys", "store", "tokens", "tls"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where: `experiments[0].arms[1].backend: no backend 'tfs-x'; there are tfs-a`."""

    place: Place
    message: str

    def __str__(self) -> str:
        where = place_text(self.place)
        return f"{where}: {self.message}" if where else self.message


class BadInput(Exception):
    """What was written can't be used; `problems` says all that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Document(BaseModel):
    """A mapping as people write it: no unknown keys, no silent conversions, no NaN, and frozen once read."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    @classmethod
    def from_json(cls, data: bytes | Mapping[str, Any]) -> Self:
        """Read JSON, or the mapping it holds; BadInput with every problem when it is not one of these."""
        try:
            return validate(cls, json.loads(data) if isinstance(data, bytes) else data)
        except (ValueError, RecursionError) as error:
            raise BadInput([Problem((), f"is not JSON: {error}")]) from error

    def to_json(self) -> dict[str, Any]:
        """Return the mapping `from_json` reads back, secrets included: never to be printed."""
        return self.model_dump(mode="json", context={REVEAL: True})

    def printable(self) -> dict[str, Any]:
        """Return what may be shown: every setting, the defaults too, with secrets hidden."""
        return self.model_dump(mode="json")


AnyDocument = TypeVar("AnyDocument", bound=Document)


def place_text(place: Place) -> str:
    """Write a place as people read it: `arms[1].backend`. A first part that names a file ends with `: `."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not text or text.endswith(": "):
            text += part
        else:
            text += f".{part}"
    return text.removesuffix(": ")


def refuse(problems: Sequence[Problem]) -> None:
    """Raise from within a model's validator if there are problems; their places are relative to that model."""
    if problems:
        raise PydanticCustomError("problems", "several problems", {"problems": tuple(problems)})


def validate(model: type[AnyDocument], data: object) -> AnyDocument:
    """Return `data` as a `model`; BadInput with every problem when it is not one."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
    raise BadInput(
        problem for detail in details if not _is_echo(detail, details) for problem in _problems(model, detail)
    )


def read_text(path: str) -> str:
    """Return the text of a file that somebody names, - for standard input; BadInput says why it can't be read."""
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadInput([Problem((), f"can't read {path}: {reason}")]) from error


def read_yaml(text: str) -> Any:
    """Return the one document in `text`, by the rules of YAML 1.2's core schema; BadInput with line and column."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        message = f"{where}{error.problem or error.context or 'is not YAML'}"
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        message = f"is not YAML: {type(error).__name__}"
    raise BadInput([Problem((), message)])


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars (1e-6 is a number, `no` and 2026-01-01 are text), and a key may be there only once."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 PyYAML's own way: the scalars of YAML 1.1 are not inherited

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is there twice: YAML would let the last one win without a word."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
            if key_node.value in seen and key_node.value != "<<":
                problem = f"the key {key_node.value!r} is there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def shown(value: object) -> str:
    """Write a value for a message as it would stand in the file, cut short."""
    try:
        text = f"'{value}'" if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"


def near(name: str, names: Iterable[str]) -> str:
    """Write a hint for a name that is not among `names`: the one that was probably meant, else all there are."""
    there = sorted(names)
    close = difflib.get_close_matches(name, there, n=1)
    return f"did you mean '{close[0]}'?" if close else there_are(there)


def there_are(names: Iterable[str]) -> str:
    """Write all names there are, for a message about one that is not."""
    there = sorted(names)
    return f"there are {', '.join(there)}" if there else "there are none"


def models_in(annotation: Any) -> tuple[type[Document], ...]:
    """Return the models an annotation admits, through unions and containers."""
    if inspect.isclass(annotation):
        return (annotation,) if issubclass(annotation, Document) else ()
    return tuple(model for part in typing.get_args(annotation) for model in models_in(part))


# What pydantic calls a failure, and what we say; `{got}` is the value, other names come from the failure's context.
_WORDS: Final = {
    "string_type": "must be text; got {got}",
    "int_type": "must be a whole number; got {got}",
    "float_type": "must be a number; got {got}",
    "bool_type": "must be true or false; got {got}",
    "dict_type": "must be a mapping (name: value); got {got}",
    "model_type": "must be a mapping (name: value); got {got}",
    "tuple_type": "must be a list; got {got}",
    "literal_error": "must be {expected}; got {got}",
    "greater_than": "must be more than {gt}; got {got}",
    "greater_than_equal": "must be at least {ge}; got {got}",
    "less_than": "must be less than {lt}; got {got}",
    "less_than_equal": "must be at most {le}; got {got}",
    "finite_number": "must be a finite number; got {got}",
    "too_short": "needs at least {min_length} entries; got {actual_length}",
    "too_long": "may have at most {max_length} entries; got {actual_length}",
    "string_too_short": "must not be empty",
}


def _problems(root: type[Document], detail: ErrorDetails) -> Iterable[Problem]:
    # Tags of unions (in angle brackets) and pydantic's mark for the key of a mapping are not the writer's.
    place: Place = tuple(part for part in detail["loc"] if not str(part).startswith(("<", "[key]")))
    context: dict[str, Any] = {
        key: f"{part:g}" if isinstance(part, float) else part for key, part in detail.get("ctx", {}).items()
    }
    if detail["type"] == "problems":
        for problem in context["problems"]:
            yield Problem((*place, *problem.place), problem.message)
        return
    owners = _owners(root, place)
    name = str(place[-1]) if place else ""
    got = "a secret" if _SECRET_PLACES.intersection(map(str, place)) else shown(detail["input"])
    if detail["type"] == "extra_forbidden":
        yield Problem(place, f"unknown setting; {near(name, {key for owner in owners for key in owner.model_fields})}")
    elif detail["type"] == "missing":
        what = [owner.model_fields[name].description for owner in owners if name in owner.model_fields]
        yield Problem(place, f"is missing: {what[0]}" if what and what[0] else "is missing")
    elif detail["type"] == "value_error":
        yield Problem(place, str(context["error"]))
    else:
        yield Problem(place, _WORDS.get(detail["type"], "is not valid; got {got}").format(got=got, **context))


def _is_echo(detail: ErrorDetails, details: Sequence[ErrorDetails]) -> bool:
    """Whether a list is only too short because entries that are there were refused, which is said already."""
    place = detail["loc"]
    return detail["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in details
    )


def _owners(root: type[Document], place: Place) -> tuple[type[Document], ...]:
    """Return the models that the mapping around the last part of `place` may be."""
    owners: tuple[type[Document], ...] = (root,)
    for part in place[:-1]:
        fields = [owner.model_fields[part] for owner in owners if part in owner.model_fields]
        if fields:
            owners = tuple(model for field in fields for model in models_in(field.annotation))
    return owners
