"""The configuration of a gateway: all sections of `turpin.yaml` together, and how they are read."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, PlainSerializer, Strict, model_validator

from router.config import environment
from router.config.document import BadInput, Document, Place, Problem, read_yaml, refuse, shown, validate
from router.config.experiment import Experiment
from router.config.experiment_files import backend_problems, model_problems, read_experiments, served_problems
from router.config.fields import Name, Secret, hide_unless_revealed, is_loopback
from router.config.settings import Admin, Backend, Journal, Limits, Listen, Rewards, Spool
from router.config.tls import Tls
from router.config.unused import unused_settings
from router.decisions import KEY_BYTES_MIN, Keyring
from router.store import redis_url

STORE_SCHEMES: Final = ("memory", "sqlite", *redis_url.SCHEMES)
_SPOOL_FOLDER: Final = "/var/lib/turpin/spool"
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")


def _check_store(url: str) -> str:
    scheme, colon, rest = url.partition(":")
    if not colon or scheme not in STORE_SCHEMES:
        wanted = (
            "must be memory:, sqlite:///PATH, redis://HOST:PORT/DB, rediss://…, redis+sentinel://… or redis+cluster://…"
        )
        raise ValueError(f"{wanted}; got the scheme {shown(scheme if colon else '')}")
    if scheme == "sqlite" and (not rest.startswith("///") or len(rest) < len("///x")):
        raise ValueError(f"must be sqlite:///PATH; got {shown(url)}")
    if scheme == "memory" and rest:
        raise ValueError(f"must be memory: and nothing behind it; got {shown(url)}")
    if scheme in redis_url.SCHEMES:
        redis_url.read_address(url)
    return url


class Config(Document):
    """All settings of a gateway, checked; experiments from files are read in."""

    listen: Listen = Listen()
    # One worker serves a thousand requests a second; more are for more cores.
    workers: int = Field(default=1, ge=1, le=64)
    # What carries gRPC: grpc.aio, or (with the extra `turpin[envoy]`) an Envoy around each worker.
    front: Literal["grpc", "envoy"] = "grpc"
    # Rewards outlive a restart without any server beside.
    store: Annotated[str, AfterValidator(_check_store), PlainSerializer(hide_unless_revealed, when_used="json")] = (
        Field(default="sqlite:///var/lib/turpin/turpin.db", repr=False)
    )
    # standard: rewards go on being accepted, into a local file, while the store is away. strict: they are refused.
    durability: Literal["standard", "strict"] = "standard"
    decision_keys: Annotated[tuple[Secret, ...], Strict(False)] = ()
    backends: dict[Name, Backend] = Field(min_length=1, description="the model servers: name: {target: …, …}")
    # None: everything passes through.
    experiments: Annotated[tuple[Experiment, ...], Strict(False)] = ()
    admin: Admin = Admin()
    rewards: Rewards = Rewards()
    tls: Tls = Tls()
    limits: Limits = Limits()
    journal: Journal = Journal()
    spool: Spool = Spool()

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse([*_store_problems(self), *_front_problems(self), *_admin_problems(self), *_served_problems(self)])
        return self

    def keys(self, environ: Mapping[str, str] = os.environ) -> tuple[tuple[str, bytes], ...]:
        """Return (id, secret) of `decision_keys`, the signing one first; BadInput when one is missing or too short."""
        return _keys([key.get_secret_value() for key in self.decision_keys], environ)

    def spool_folder(self) -> Path | None:
        """Return where rewards wait while the store is away; None where they are refused instead."""
        return None if self.durability == "strict" or self.store == "memory:" else self.memory_folder()

    def memory_folder(self) -> Path:
        """Return the folder for what must outlive a restart of this machine's processes: the spool, and which store is
        known."""
        if self.spool.folder is not None:
            return Path(self.spool.folder)
        scheme, _, rest = self.store.partition(":")
        return Path("/" + rest.lstrip("/") + ".spool" if scheme == "sqlite" else _SPOOL_FOLDER)

    def unused(self) -> tuple[str, ...]:
        """Return a line for each setting that was changed from its default and does nothing in this version."""
        return tuple(unused_settings(self))


def _store_problems(config: Config) -> Iterable[Problem]:
    if config.store == "memory:" and config.workers > 1:
        message = f"must be 1 with the store memory:, which lives in one process; got {config.workers}"
        yield Problem(("workers",), message)
    if config.store.startswith("redis") and not config.decision_keys:
        yield Problem(("decision_keys",), "is missing: gateways that share a Redis must share the key that signs")


def _front_problems(config: Config) -> Iterable[Problem]:
    if config.front == "envoy" and config.store == "memory:":
        yield Problem(("front",), "must be grpc with the store memory:, which lives in one process; got 'envoy'")


def _admin_problems(config: Config) -> Iterable[Problem]:
    if not is_loopback(config.listen.admin) and not config.admin.tokens:
        message = "must be a loopback address without admin.tokens; listen.metrics may show /metrics to all"
        yield Problem(("listen", "admin"), f"{message}; got {shown(config.listen.admin)}")


def _served_problems(config: Config) -> Iterable[Problem]:
    for position, experiment in enumerate(config.experiments):
        for problem in served_problems(experiment, config.backends):
            yield Problem(("experiments", position, *problem.place), problem.message)


def _keys(written: Sequence[str], environ: Mapping[str, str]) -> tuple[tuple[str, bytes], ...]:
    problems: list[Problem] = []
    keys: list[tuple[str, bytes]] = []
    for position, text in enumerate(written):
        key_id, colon, value = text.partition(":")
        if key_id == "env" or not colon or not _KEY_ID.fullmatch(key_id):
            key_id, value = "", text
        name = value.removeprefix("env:")
        if name != value:
            # Secrets that come as files into the environment often end with a line break that nobody meant.
            value = environ.get(name, "").strip()
        if not value and name:
            problems.append(Problem(("decision_keys", position), f"{name} is not set in the environment"))
        elif len(value.encode()) < KEY_BYTES_MIN:
            message = f"must have at least {KEY_BYTES_MIN} bytes, else it could be guessed; got {len(value.encode())}"
            problems.append(Problem(("decision_keys", position), message))
        # A key without an id gets one from its own hash, so that it keeps it when others come before it.
        keys.append((key_id or "k" + hashlib.blake2b(value.encode(), digest_size=4).hexdigest(), value.encode()))
    if not problems and keys:
        try:
            Keyring(keys)
        except ValueError as error:
            problems.append(Problem(("decision_keys",), str(error)))
    if problems:
        raise BadInput(problems)
    return tuple(keys)


def load_config(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Read `turpin.yaml`, what it includes and the environment; BadInput with every problem and its place."""
    overridden = environment.override(Config, _read_mapping(path), environ)
    problems = list(overridden.problems)
    data, places = _include(_beside(overridden.data, path.parent), path.parent, problems)
    config: Config | None = None
    try:
        config = validate(Config, data)
    except BadInput as error:
        problems.extend(error.problems)
    problems.extend(_written_problems(data, environ))
    if problems or config is None:
        raise BadInput(_at_its_place(problem, places, overridden.sources) for problem in problems)
    return config


def _written_problems(data: Mapping[str, Any], environ: Mapping[str, str]) -> Iterable[Problem]:
    """Check what spans several sections on what was written, so that an error elsewhere hides none of these."""
    experiments = data.get("experiments")
    experiments = experiments if isinstance(experiments, list) else []
    backends = data.get("backends")
    names = [name for name in backends if isinstance(name, str)] if isinstance(backends, Mapping) else []
    for position, experiment in enumerate(experiments):
        for problem in backend_problems(experiment, names):
            yield Problem(("experiments", position, *problem.place), problem.message)
    for problem in model_problems(experiments):
        yield Problem(("experiments", *problem.place), problem.message)
    keys = data.get("decision_keys")
    if isinstance(keys, list) and all(isinstance(key, str) for key in keys):
        try:
            _keys(keys, environ)
        except BadInput as error:
            yield from error.problems


def _read_mapping(path: Path) -> Mapping[str, Any]:
    try:
        data = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadInput([Problem((), f"can't read {path}: {reason}")]) from error
    except BadInput as error:
        raise BadInput(Problem((f"{path}: ",), problem.message) for problem in error.problems) from error
    if data is not None and not isinstance(data, Mapping):
        raise BadInput([Problem((f"{path}: ",), f"must be a mapping (name: value); got {shown(data)}")])
    return data or {}


def _include(data: Mapping[str, Any], folder: Path, problems: list[Problem]) -> tuple[dict[str, Any], dict[int, Place]]:
    """Put the content of experiment files in the place of their patterns; return also where each experiment stood."""
    written = data.get("experiments", ())
    written = [written] if isinstance(written, str) else written
    if not isinstance(written, list):
        return dict(data), {}
    found: list[Any] = []
    places: dict[int, Place] = {}
    for position, item in enumerate(written):
        if not isinstance(item, str):
            places[len(found)] = ("experiments", position)
            found.append(item)
            continue
        files, unreadable = read_experiments([item], folder)
        problems.extend(unreadable)
        for file, content in files:
            places[len(found)] = (f"{file}: ",)
            found.append(content)
    return {**data, "experiments": found}, places


def _beside(data: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Return the settings with the files of price feeds taken to lie beside the configuration."""
    backends = data.get("backends")
    if not isinstance(backends, Mapping):
        return data
    found = dict(backends)
    for name, backend in backends.items():
        if not isinstance(backend, Mapping) or not isinstance(price := backend.get("price_usd_per_hour"), Mapping):
            continue
        feed = price.get("feed")
        if isinstance(feed, str) and feed.startswith("file:") and feed != "file:":
            absolute = f"file:{folder.absolute() / feed.removeprefix('file:')}"
            found[name] = {**backend, "price_usd_per_hour": {**price, "feed": absolute}}
    return {**data, "backends": found}


def _at_its_place(problem: Problem, places: Mapping[int, Place], sources: Mapping[Place, str]) -> Problem:
    """Name the file of an experiment, and the name in the environment that set the value."""
    place, message = problem.place, problem.message
    for depth in range(len(place), 0, -1):
        if place[:depth] in sources:
            message += f" (from {sources[place[:depth]]})"
            break
    match place:
        case ("experiments", int(position), *inner) if position in places:
            place = (*places[position], *inner)
    return Problem(place, message)
