"""`turpin-package.yaml`: what travels with a model version, sealed by a digest over every byte of it.

The first line of the file is the digest; everything below it, and every file beside it, is covered. The listing that is
hashed has a line `SHA-256  bytes  path` per file, sorted by the bytes of the path, the package itself (without its
first line) among them.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

NAME: Final = "turpin-package.yaml"
FORMAT: Final = 1
# Two hundred bytes a file, and there are thousands of files only where somebody made a mistake.
PACKAGE_BYTES_MAX: Final = 1 << 20
# Signatures are five deep. Time to read goes with the square of the depth: 100,000 brackets took longer than 20 s.
_DEPTH_MAX: Final = 20
_FIRST_LINE: Final = re.compile(rb"digest: (sha256:[0-9a-f]{64})\n")


class PackageRefused(ValueError):
    """A package that can't be read, or files that are not those it was sealed with; the text names what differs."""


@dataclass(frozen=True, slots=True, order=True)
class File:
    """One file of a version."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the version is to be run with: an image, and the flags of its model server."""

    image: str | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Package:
    """What its maker says of a version; what is None was not said."""

    signatures: Mapping[str, Any] = field(default_factory=dict)
    runtime: Runtime = Runtime()
    batching: Mapping[str, Any] = field(default_factory=dict)
    precision: str | None = None
    hardware: str | None = None
    price_usd_per_hour: float | None = None

    def __post_init__(self) -> None:
        price = self.price_usd_per_hour
        if price is not None and not 0 <= price < float("inf"):
            raise ValueError(f"price_usd_per_hour must be 0 or more, got {price}")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A package with its digest, as it stands in its file."""

    package: Package
    files: tuple[File, ...]
    digest: str
    content: bytes

    @property
    def size_bytes(self) -> int:
        """What the version's files take together, the package among them."""
        return sum(file.size_bytes for file in self.files) + len(self.content)


def seal(package: Package, files: Iterable[File]) -> Sealed:
    """Write down a package over these files."""
    import yaml

    listed = tuple(sorted(files, key=_order))
    document = {
        "format": FORMAT,
        **_plain(package),
        "files": [{"path": file.path, "bytes": file.size_bytes, "sha256": file.sha256} for file in listed],
    }
    # Aliases would be a second way to write the same thing.
    dumper: Any = type("_Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda self, value: True})
    rest = yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True, width=120).encode()
    if len(rest) > PACKAGE_BYTES_MAX:
        raise PackageRefused(f"{NAME} would have {len(rest)} bytes; at most {PACKAGE_BYTES_MAX}: are all files needed?")
    digest = _digest(listed, rest)
    return Sealed(package, listed, digest, f"digest: {digest}\n".encode() + rest)


def verify(content: bytes, files: Iterable[File]) -> Sealed:
    """Return what `content` says when `files` are exactly those it was sealed with; PackageRefused names what differs."""
    found = _FIRST_LINE.match(content)
    if found is None:
        raise PackageRefused(f"{NAME} must begin with `digest: sha256:…`, got {content[:80].decode('latin-1')!a}")
    package, sealed = _read(content[found.end() :])
    listed = tuple(sorted(files, key=_order))
    _compare({file.path: file for file in listed}, sealed)
    digest, wanted = _digest(listed, content[found.end() :]), found[1].decode()
    if digest != wanted:
        raise PackageRefused(f"{NAME} was changed after it was sealed: its digest would be {digest}, it says {wanted}")
    return Sealed(package, listed, digest, content)


def _compare(files: Mapping[str, File], sealed: Mapping[str, File]) -> None:
    for path in sorted(sealed.keys() | files.keys()):
        there, said = files.get(path), sealed.get(path)
        if there is None:
            raise PackageRefused(f"{path} is missing: {NAME} lists it")
        if said is None:
            raise PackageRefused(f"{path} is none of the files that {NAME} lists")
        if there != said:
            raise PackageRefused(
                f"{path} was changed after it was sealed: it has {there.size_bytes} bytes and SHA-256 {there.sha256}, "
                f"{NAME} says {said.size_bytes} and {said.sha256}"
            )


def _digest(files: tuple[File, ...], rest: bytes) -> str:
    own = File(NAME, len(rest), hashlib.sha256(rest).hexdigest())
    lines = [f"{file.sha256}  {file.size_bytes}  {file.path}\n" for file in sorted((*files, own), key=_order)]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def _order(file: File) -> bytes:
    return file.path.encode()


def _plain(package: Package) -> dict[str, Any]:
    """Return the package as plain values."""
    return {
        "signatures": dict(package.signatures),
        "runtime": {"image": package.runtime.image, "flags": list(package.runtime.flags)},
        "batching": dict(package.batching),
        "precision": package.precision,
        "hardware": package.hardware,
        "price_usd_per_hour": package.price_usd_per_hour,
    }


def written(content: bytes) -> Package:
    """Read a package that its author wrote by hand, not sealed yet: all fields may be left out, `files` must be."""
    document = _mapping(content)
    document.pop("format", None)
    return _package(document)


def _read(rest: bytes) -> tuple[Package, dict[str, File]]:
    document = _mapping(rest)
    if document.pop("format", None) != FORMAT:
        raise PackageRefused(f"{NAME} must have format: {FORMAT}; was it made by a later version of Turpin?")
    try:
        files = [File(str(one["path"]), int(one["bytes"]), str(one["sha256"])) for one in document.pop("files")]
    except (KeyError, TypeError, ValueError) as error:
        raise PackageRefused(f"{NAME} must list its files as path, bytes and sha256: {error!r}") from error
    return _package(document), {file.path: file for file in files}


def _mapping(content: bytes) -> dict[str, Any]:
    import yaml

    if len(content) > PACKAGE_BYTES_MAX:
        raise PackageRefused(f"{NAME} has {len(content)} bytes; at most {PACKAGE_BYTES_MAX}")
    try:
        _check_events(yaml.parse(content, Loader=_loader()))
        document = yaml.load(content, Loader=_loader())  # noqa: S506 a safe loader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        if isinstance(error, PackageRefused):
            raise
        raise PackageRefused(f"{NAME} can't be read: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise PackageRefused(f"{NAME} must be a mapping (name: value)")
    return document


def _check_events(events: Iterable[Any]) -> None:
    """Refuse what would make the reader work without end: a few bytes of YAML can stand for gigabytes, or hours."""
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise PackageRefused(f"{NAME} must not hold aliases (*name): a few lines of them unfold into gigabytes")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH_MAX:
            raise PackageRefused(f"{NAME} must be at most {_DEPTH_MAX} deep")


def _loader() -> Any:
    import yaml

    # In C it is 20 times as fast; both build plain values only.
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _package(document: Mapping[str, Any]) -> Package:
    known = {one.name for one in fields(Package)}
    if unknown := sorted(document.keys() - known):
        raise PackageRefused(f"{NAME} has the unknown field {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return _Checked(document).package()


@dataclass(frozen=True, slots=True)
class _Checked:
    """Takes fields out of a document, each of the type it must have."""

    document: Mapping[str, Any]

    def package(self) -> Package:
        """Return the package; PackageRefused names the field that is wrong."""
        runtime = self._taken("runtime", dict, {})
        image, flags = runtime.get("image"), runtime.get("flags") or []
        if not (image is None or isinstance(image, str)) or not _is_texts(flags) or runtime.keys() - {"image", "flags"}:
            raise PackageRefused(f"runtime in {NAME} must have an image and a list of flags, got {runtime!r:.200}")
        price = self._taken("price_usd_per_hour", (int, float), None)
        try:
            return Package(
                signatures=self._taken("signatures", dict, {}),
                runtime=Runtime(image, tuple(flags)),
                batching=self._taken("batching", dict, {}),
                precision=self._taken("precision", str, None),
                hardware=self._taken("hardware", str, None),
                price_usd_per_hour=None if price is None else float(price),
            )
        except ValueError as error:
            raise PackageRefused(f"{NAME}: {error}") from error

    def _taken(self, name: str, kind: type | tuple[type, ...], default: Any) -> Any:
        value = self.document.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or isinstance(value, bool):
            wanted = "a mapping" if kind is dict else "a text" if kind is str else "a number"
            raise PackageRefused(f"{name} in {NAME} must be {wanted}, got {value!r:.100}")
        return value


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
