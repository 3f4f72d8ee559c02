"""The sections of `turpin.yaml` but the experiments: what can be set, the defaults and why."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Strict,
    Tag,
    model_validator,
)

from router.config.document import Document, Problem, refuse, shown
from router.config.fields import HOUR, MINUTE, Address, AutoCount, Duration, Name, hide_unless_revealed, split_address
from serving import model_config
from serving.errors import InvalidArgument

_SHA256 = re.compile(r"[0-9a-f]{64}")


def _check_target(value: object) -> object:
    targets = (value,) if isinstance(value, str) else value
    for target in targets if isinstance(targets, list | tuple) else ():
        if isinstance(target, str):
            split_address(target)
    return targets


def _check_sha256(digest: str) -> str:
    if not _SHA256.fullmatch(digest):
        raise ValueError(f"must be the 64 hex digits of a SHA-256; got {len(digest)} characters")
    return digest


def _check_folder(folder: str) -> str:
    if not folder.startswith("/"):
        raise ValueError(f"must be an absolute path; got {shown(folder)}")
    return folder


class Listen(Document):
    """Where clients, operators and Prometheus find the gateway."""

    # TF Serving's own ports, on all interfaces as it does: a client changes only the host.
    grpc: Address = "0.0.0.0:8500"
    http: Address = "0.0.0.0:8501"
    # Operators' port: nobody else should reach it.
    admin: Address = "127.0.0.1:8502"
    # `/metrics` is on the admin port; a second port only for a Prometheus that may not see the rest.
    metrics: Address | None = None
    # As TF Serving's --rest_api_enable_cors_support: pages of any origin may call. Closed unless somebody opens it.
    cors: bool = False
    # POST /v1/decide gives arms without predictions; for callers that route themselves, who are few.
    decide: bool = False
    # The kernel shares out connections, not requests, and a busy client keeps its one for ever: a worker, or a gateway,
    # that came later would get none. Connecting anew costs a client a millisecond.
    connection_age: Duration = Field(default=10 * MINUTE, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        seen: dict[int, str] = {}
        for name in ("grpc", "http", "admin", "metrics"):
            address = getattr(self, name)
            _, port = split_address(address) if address else ("", 0)
            if port and port in seen:
                problems.append(Problem((name,), f"port {port} is listen.{seen[port]}'s already"))
            seen.setdefault(port, name)
        refuse(problems)
        return self


class ModelFiles(Document):
    """A model on a managed backend: the folder of its versions, and those that are to be loaded."""

    base_path: str = Field(min_length=1, description="the folder that holds the version folders, as the server sees it")
    versions: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Strict(False)] = Field(
        min_length=1, description="the versions to load"
    )
    labels: dict[str, int] = Field(default={})


def _check_feed(feed: str) -> str:
    if not any(feed.startswith(kind) and len(feed) > len(kind) for kind in ("https://", "file:")):
        raise ValueError(f'must be "https://…", or "file:PATH"; got {shown(feed.partition(":")[0])}')
    return feed


class Feed(Document):
    """Where a backend's price is read: a JSON object of dollars an hour, by key."""

    feed: Annotated[str, AfterValidator(_check_feed), PlainSerializer(hide_unless_revealed, when_used="json")] = Field(
        description='"file:PATH" or "https://…"'
    )
    key: str = Field(min_length=1, description="the price's key in the feed")
    # Spot markets move by the minute; a file is looked at every second.
    every: Duration = Field(default=MINUTE, ge=1)
    # An hour unread: the price may be anything by now, and nothing is retired on it.
    max_age: Duration = Field(default=HOUR, ge=1)

    def shown(self) -> str:
        """Return the address without what may be secret in it."""
        return self.feed.partition("?")[0].rpartition("@")[2] if "@" in self.feed else self.feed.partition("?")[0]


_IS_FEED = Discriminator(lambda value: "<feed>" if isinstance(value, Mapping | Feed) else "<number>")
Price = Annotated[
    Annotated[Feed, Tag("<feed>")] | Annotated[float, Field(ge=0), Tag("<number>")],
    _IS_FEED,
]


def _config_file_problems(path: str) -> list[Problem]:
    """Say what is wrong with a models.config; it is imported once, and must be readable until then."""
    try:
        model_config.read_config(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return [Problem(("model_config_file",), f"can't read {path}: {reason}")]
    except InvalidArgument as error:
        return [Problem(("model_config_file",), f"{path}: {error.message}")]
    return []


class Backend(Document):
    """A set of equal model servers, its replicas, with one price."""

    # One address or a list; a DNS name may stand for many.
    target: Annotated[tuple[str, ...], Strict(False), BeforeValidator(_check_target)] = Field(
        min_length=1, description='the model server\'s gRPC address, "host:port", or a list of them'
    )
    # Requests travel as gRPC; only a model without Predict needs its REST port.
    rest: Address | None = None
    # No default: every decision weighs cost, and a made-up price would decide it.
    price_usd_per_hour: Price = Field(description="what one replica costs an hour, in dollars, or {feed: …, key: …}")
    location: str | None = None
    # Most backends stand beside their gateway.
    egress_usd_per_gib: float = Field(default=0.0, ge=0)
    capacity_rps: float | None = Field(default=None, gt=0)
    # As many as the experiment's batching allows.
    max_batch_rows: int | None = Field(default=None, ge=1)
    max_in_flight: AutoCount = "auto"
    # Turpin touches no server it was not given.
    control: Literal["observed", "managed"] = "observed"
    # The server's own models.config (protobuf text), as this process sees it; imported once.
    model_config_file: Annotated[str, AfterValidator(_check_folder)] | None = None
    # The folder in which the folders of the models lie, as we see it; buckets are not supported yet.
    publish: Annotated[str, AfterValidator(_check_folder)] | None = None
    models: dict[str, ModelFiles] = Field(default={})

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if self.model_config_file is not None and self.control != "managed":
            message = "is read for a managed backend only; an observed one keeps its own config"
            problems.append(Problem(("model_config_file",), message))
        elif self.model_config_file is not None:
            problems += _config_file_problems(self.model_config_file)
        elif self.control == "managed" and not self.models:
            whole = "a managed backend's whole model config is Turpin's: write all models it serves here, or say where"
            whole += " its models.config is with model_config_file"
            problems.append(Problem(("models",), f"is missing: {whole}"))
        if self.publish is not None and self.control != "managed":
            problems.append(Problem(("publish",), "is for a managed backend only: nobody could load what lies there"))
        for name, files in self.models.items():
            for label, version in files.labels.items():
                if version not in files.versions:
                    message = f"must be one of the versions {list(files.versions)}; got {version}"
                    problems.append(Problem(("models", name, "labels", label), message))
        refuse(problems)
        return self


class Token(Document):
    """One caller of the admin API. Only the hash of the token is kept."""

    name: Name
    role: Literal["viewer", "operator", "admin"]
    sha256: Annotated[
        str, AfterValidator(_check_sha256), PlainSerializer(hide_unless_revealed, return_type=str, when_used="json")
    ] = Field(repr=False, description="the SHA-256 of the token, in hex")


class Admin(Document):
    """Who may use the admin API, and under which host names it answers."""

    # None: on loopback reading is open, and writing wants the token that is made at the first start.
    tokens: Annotated[tuple[Token, ...], Strict(False)] = ()
    # Names other than these in the Host header are refused: a web page elsewhere could point its name at us. The address
    # a call comes in on, and loopback, are always ours.
    hosts: Annotated[tuple[str, ...], Strict(False)] = ("localhost",)
    # The page at `/`. It shows nothing that a token does not allow.
    console: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [token.name for token in self.tokens]
        digests = [token.sha256 for token in self.tokens]
        problems = [
            Problem(("tokens", place, "name"), f"'{name}' is there twice; the audit tells callers apart by name")
            for place, name in enumerate(names)
            if name in names[:place]
        ]
        problems += [
            Problem(("tokens", place, "sha256"), "is there twice; each caller needs a token of its own")
            for place, digest in enumerate(digests)
            if digest in digests[:place]
        ]
        refuse(problems)
        return self


class Rewards(Document):
    """Who may send rewards."""

    # token: callers off loopback need one; none: anybody who can reach the port and holds a decision token.
    auth: Literal["token", "none"] = "token"


class Limits(Document):
    """Bounds on what a worker holds, so that it sheds load instead of dying."""

    # 64 MiB: a batch of 100 images of 224 × 224 × 3 floats.
    message_bytes: int = Field(default=64 * 2**20, ge=1024, le=2**31 - 1)
    # 16 of the largest batches.
    queue_rows: int = Field(default=4096, ge=1)
    # Four of the largest messages.
    queue_bytes: int = Field(default=256 * 2**20, ge=1024)
    # One retry for five requests: more would turn a fault into an overload.
    retry_budget: float = Field(default=0.2, ge=0, le=1)
    # All files of one uploaded version together: 8 GiB are two billion parameters in float32.
    version_bytes: int = Field(default=8 * 2**30, ge=2**20)
    # A SavedModel has a dozen files; vocabularies and other assets some more.
    version_files: int = Field(default=1_000, ge=4)


class Journal(Document):
    """The record of decisions and rewards, on which another policy can be replayed (`turpin replay`)."""

    # Beside the SQLite file; without one there is no journal unless this says where.
    folder: Annotated[str, AfterValidator(_check_folder)] | None = None
    # All of it: a replay can be no better than its log. 0: none is kept.
    sample: float = Field(default=1.0, ge=0, le=1)
    # 1 GiB: the last two million decisions and their rewards, of all workers together; the oldest go first.
    max_bytes: int = Field(default=2**30, ge=2**20)


class Spool(Document):
    """Where rewards wait while the store is away."""

    # Beside the SQLite file; with Redis in /var/lib/turpin/spool. It must be there again after a restart.
    folder: Annotated[str, AfterValidator(_check_folder)] | None = None
    # 64 MiB: half a million rewards, of all workers together; then clients are asked to come again.
    max_bytes: int = Field(default=64 * 2**20, ge=2**20)
