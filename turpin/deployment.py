"""A deployment as the client follows it: which step it is at, and how far the upload is."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from turpin.picture import steps_html

STEPS: Final = ("upload", "publish", "load", "check", "warm", "join")
"""The steps in their order: the archive travels; the version appears in the publish folder; the model servers load it
beside all others; its signatures are compared with control's; it is called until it is warm; it becomes an arm. Before
the last, `shadow`, where it was asked for: its answers are compared on live requests."""

SHADOW: Final = "shadow"
_NUMBER: Final = re.compile(r"([0-9]{1,18})$")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a deployment is: the step under way, its number of how many, how much of it is done (0 to 1), and details."""

    step: str
    number: int
    of: int
    share: float
    detail: str = ""


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A version on its way to be an arm; `document` is the whole answer of the gateway."""

    document: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<Deployment of {self.model} version {self.version}: {self.error or self.document.get('state')}>"

    @property
    def model(self) -> str:
        """The model."""
        return str(self.document.get("model", ""))

    @property
    def version(self) -> int:
        """The number under which it lies in the publish folder."""
        return int(self.document.get("version", 0))

    @property
    def digest(self) -> str:
        """The digest that its package was sealed with."""
        return str(self.document.get("digest", ""))

    @property
    def step(self) -> str:
        """The step under way; the last one when it is done."""
        return str(self.document.get("step", ""))

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps of this deployment in their order."""
        return (*STEPS[:-1], SHADOW, STEPS[-1]) if self.document.get("shadow") else STEPS

    @property
    def comparison(self) -> Mapping[str, Any] | None:
        """What copies of live requests showed: `compared`, `agreement`, `outputs` …; None when none was asked for."""
        found = self.document.get("comparison")
        return found if isinstance(found, dict) else None

    @property
    def is_done(self) -> bool:
        """Whether it is an arm now."""
        return self.document.get("state") == "done"

    @property
    def error(self) -> str:
        """Why it failed, empty when it did not."""
        return str(self.document.get("error") or "") if self.document.get("state") == "failed" else ""

    def progress(self) -> Progress:
        """Return how far it is."""
        steps = self.steps
        number = steps.index(self.step) + 1 if self.step in steps else 0
        share = 1.0 if self.is_done else 0.0
        return Progress(self.step, number, len(steps), share, str(self.document.get("detail") or ""))

    def _repr_html_(self) -> str:
        names = self.steps
        at = names.index(self.step) if self.step in names else 0
        states = ["done" if self.is_done or place < at else "" for place in range(len(names))]
        if not self.is_done:
            states[at] = "failed" if self.error else "running"
        details = [str(self.document.get("detail") or "") if place == at else "" for place in range(len(names))]
        if SHADOW in names and self.comparison is not None:
            details[names.index(SHADOW)] = compared_words(self.comparison)
        rows = zip(names, states, details, strict=True)
        steps = [{"name": name, "state": state, "detail": detail} for name, state, detail in rows]
        return steps_html(f"{self.model} version {self.version}", steps, self.error)


def version_of(arm: str) -> int:
    """Return the number at the end of an arm's name ("v7" is 7); ValueError when there is none."""
    found = _NUMBER.search(arm)
    if found is None:
        raise ValueError(
            f"the name {arm!r} ends with no number: say which version it is to be, version=7 (--version 7)"
        )
    return int(found[1])


def compared_words(comparison: Mapping[str, Any]) -> str:
    """Say in a line what a comparison showed."""
    compared, agreement = comparison.get("compared") or 0, comparison.get("agreement")
    errors = sum((comparison.get("errors") or {}).values())
    words = f"{compared} requests compared"
    words += "" if agreement is None else f", agreement {agreement:.4g}"
    return words + (f", {errors} not answered" if errors else "")


def counted(
    chunks: Iterator[bytes], size_bytes: int, progress: OnProgress, *, steps: int = len(STEPS)
) -> Iterator[bytes]:
    """Yield the chunks of an upload, and tell how much of it has been sent; it is the first of so many steps."""
    sent = 0
    for chunk in chunks:
        yield chunk
        sent += len(chunk)
        progress(Progress("upload", 1, steps, sent / size_bytes, f"{sent / 2**20:.1f} MiB"))
