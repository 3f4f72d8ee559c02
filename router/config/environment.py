"""Settings from the environment: TURPIN_LISTEN__GRPC overrides `listen: {grpc: …}` of the file."""

import difflib
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from router.config.document import BadInput, Document, Place, Problem, models_in, read_yaml

PREFIX: Final = "TURPIN_"
# Names that mean something to our commands but are no settings of the gateway.
COMMAND_NAMES: Final = frozenset({"TURPIN_CONFIG", "TURPIN_ADMIN", "TURPIN_HTTP", "TURPIN_TOKEN", "TURPIN_CLIENT_CERT"})
# Kubernetes tells every pod of every service this way; a service called turpin must not stop ours from starting.
_SERVICE_LINK = re.compile(
    r"TURPIN_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
_REFERENCE = re.compile(r"(?:^|:)env:([A-Za-z_][A-Za-z0-9_]*)$")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting that a name of the environment stands for."""

    place: tuple[str, ...]
    annotation: Any


def settings(model: type[Document], data: object) -> dict[str, Setting]:
    """Return every name the environment may hold for `model`; entries of mappings are those there are in `data`."""
    found = {PREFIX + "__".join(path).upper(): Setting(place, kind) for path, place, kind in _walk(model, data)}
    # TURPIN_ADMIN tells the commands where a gateway is; the section `admin` is set by its parts, TURPIN_ADMIN__HOSTS.
    return {name: setting for name, setting in found.items() if name not in COMMAND_NAMES}


def _walk(model: type[Document], data: object) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], Any]]:
    written = data if isinstance(data, Mapping) else {}
    for name, field in model.model_fields.items():
        yield (name,), (name,), field.annotation
        inner, is_mapping = models_in(field.annotation), _is_mapping(field.annotation)
        if not inner or _list_item(field.annotation) is not None:
            continue
        value = written.get(name)
        if not is_mapping:
            for path, place, kind in _walk(inner[0], value):
                yield (name, *path), (name, *place), kind
        elif isinstance(value, Mapping):
            for key in (key for key in value if isinstance(key, str)):
                for path, place, kind in _walk(inner[0], value[key]):
                    # Names of the environment can't hold a dash.
                    yield (name, key.replace("-", "_"), *path), (name, key, *place), kind


def _is_mapping(annotation: Any) -> bool:
    return any(typing.get_origin(part) is dict for part in _alternatives(annotation))


def _list_item(annotation: Any) -> Any:
    for part in _alternatives(annotation):
        if typing.get_origin(part) is tuple:
            return typing.get_args(part)[0]
    return None


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, without the notes of Annotated."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _alternatives(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return tuple(part for member in typing.get_args(annotation) for part in _alternatives(member))
    return (annotation,)


def references(values: Iterable[object]) -> set[str]:
    """Return the names of the environment that values such as "k1:env:TURPIN_DECISION_KEY" point to."""
    found: set[str] = set()
    for value in values:
        if isinstance(value, str):
            found.update(_REFERENCE.findall(value))
        elif isinstance(value, Mapping):
            found |= references(value.values())
        elif isinstance(value, list | tuple):
            found |= references(value)
    return found


@dataclass(frozen=True, slots=True)
class Overridden:
    """What was written with the settings of the environment put in, and which name set which place."""

    data: dict[str, Any]
    sources: dict[Place, str]
    problems: tuple[Problem, ...]


def override(model: type[Document], data: Mapping[str, Any], environ: Mapping[str, str]) -> Overridden:
    """Put the settings of the environment into `data`.

    A problem is a name that begins with TURPIN_ and is neither a setting, nor a command's, nor pointed to by a value.
    """
    ours = {name: text for name, text in environ.items() if name.startswith(PREFIX)}
    known = settings(model, data)
    pointed_to = references([data, *(text for name, text in ours.items() if name in known)])
    problems: list[Problem] = []
    result = dict(data)
    sources: dict[Place, str] = {}
    # A whole mapping first, then the settings within it.
    for name in sorted(ours, key=lambda name: (name.count("__"), name)):
        setting = known.get(name)
        if setting is not None:
            try:
                _put(result, setting.place, _read(ours[name], setting.annotation))
                sources[setting.place] = name
            except BadInput:
                problems.append(Problem(setting.place, f"{name} is not a value YAML can read"))
        elif not (name in COMMAND_NAMES or name in pointed_to or _SERVICE_LINK.fullmatch(name)):
            close = difflib.get_close_matches(name, [*known, *COMMAND_NAMES], n=1)
            hint = f"did you mean {close[0]}?" if close else "nothing points to it either"
            problems.append(Problem((), f"{name} in the environment is no setting; {hint}"))
    return Overridden(result, sources, tuple(problems))


def _read(text: str, annotation: Any) -> Any:
    kinds = _alternatives(annotation)
    if str in kinds:
        # Text stays as it is ("memory:" would be a mapping to YAML).
        return None if text == "null" and type(None) in kinds else text
    if _list_item(annotation) is not None and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    return read_yaml(text)


def _put(data: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    """Set the value at `place`; mappings on the way are copied, what is no mapping is left for the check to refuse."""
    name, *rest = place
    if not rest:
        data[name] = value
        return
    inner = data.get(name)
    if inner is None or isinstance(inner, Mapping):
        copy = dict(inner or {})
        _put(copy, tuple(rest), value)
        data[name] = copy
