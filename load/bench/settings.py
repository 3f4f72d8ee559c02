"""What a bench is told by its environment, and whether it can run and keep its result: known before it measures for long."""

import math
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# h2load makes the load, taskset keeps it on its core.
_PROGRAMS: Final = {"h2load": "nghttp2-client", "taskset": "util-linux"}


class CannotRun(Exception):
    """The bench can't do what it is asked; the message says why, and what would be right."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`only`: what of a name is wanted; `rounds`, each of which measures everything once; `seconds` of each measurement.

    `is_whole`: whether none of it was shortened, so that the result is kept.
    """

    only: re.Pattern[str]
    rounds: int
    seconds: float
    is_whole: bool


def settings(prefix: str, *, rounds: int, seconds: float) -> Settings:
    """Return what PREFIX_ONLY, PREFIX_ROUNDS and PREFIX_SECONDS say, and else these; CannotRun."""
    text = os.environ.get(f"{prefix}_ONLY", "")
    try:
        only = re.compile(text)
    except re.error as error:
        raise CannotRun(f"{prefix}_ONLY must be a regular expression, got {text!r}: {error}") from error
    chosen_rounds = _number(f"{prefix}_ROUNDS", rounds)
    if chosen_rounds != int(chosen_rounds):
        raise CannotRun(f"{prefix}_ROUNDS must be a whole number, got {chosen_rounds}")
    chosen_seconds = _number(f"{prefix}_SECONDS", seconds)
    is_whole = not text and chosen_rounds >= rounds and chosen_seconds >= seconds
    return Settings(only, int(chosen_rounds), chosen_seconds, is_whole)


def check(results: Path | None) -> None:
    """Raise CannotRun where a program is missing, or the file of results can't be written; None: none is kept."""
    if missing := [f"{name} ({package} in Debian)" for name, package in _PROGRAMS.items() if not shutil.which(name)]:
        raise CannotRun(f"not in the PATH: {', '.join(missing)}")
    if results is not None and not os.access(results if results.exists() else results.parent, os.W_OK):
        raise CannotRun(f"the result can't be kept in {results}: it can't be written")


def _number(name: str, default: float) -> float:
    text = os.environ.get(name, str(default))
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise CannotRun(f"{name} must be a number above 0, got {text!r}")
    return number
