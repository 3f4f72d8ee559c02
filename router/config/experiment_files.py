"""The files experiments are read from, and what can only be checked with the backends or the other experiments."""

import glob
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from router.config.document import BadInput, Problem, read_yaml, there_are, validate
from router.config.experiment import Experiment
from router.config.settings import Backend


def backend_problems(experiment: object, backends: Collection[str]) -> Iterable[Problem]:
    """Yield the arms, of an experiment as it was written, whose backend is not among `backends`."""
    arms = experiment.get("arms") if isinstance(experiment, Mapping) else None
    for position, arm in enumerate(arms if isinstance(arms, list) else ()):
        backend = arm.get("backend") if isinstance(arm, Mapping) else None
        if isinstance(backend, str) and backend not in backends:
            yield Problem(("arms", position, "backend"), f"no backend '{backend}'; {there_are(backends)}")


def served_problems(experiment: Experiment, backends: Mapping[str, Backend]) -> Iterable[Problem]:
    """Yield the arms that a managed backend would never load."""
    for position, arm in enumerate(experiment.arms):
        backend = backends.get(arm.backend)
        if backend is None or backend.control != "managed" or backend.model_config_file is not None:
            continue
        files = backend.models.get(arm.model)
        if files is None:
            message = f"backend '{arm.backend}' has no model '{arm.model}'; {there_are(backend.models)}"
            yield Problem(("arms", position, "model"), message)
        # What was published later is not in the file.
        elif backend.publish is None and arm.version not in files.versions:
            there = ", ".join(map(str, files.versions))
            message = f"backend '{arm.backend}' has no version {arm.version} of '{arm.model}'; there are {there}"
            yield Problem(("arms", position, "version"), message)


def model_problems(experiments: Sequence[object]) -> Iterable[Problem]:
    """Yield the experiments, as they were written, that share a name or a model with an earlier one."""
    for key in ("name", "model"):
        seen: set[str] = set()
        for position, experiment in enumerate(experiments):
            value = experiment.get(key) if isinstance(experiment, Mapping) else None
            if isinstance(value, str) and value in seen:
                yield Problem((position, key), f"another experiment has the {key} '{value}' already; one is the most")
            elif isinstance(value, str):
                seen.add(value)


def read_experiments(globs: Iterable[str], relative_to: Path) -> tuple[list[tuple[str, Any]], list[Problem]]:
    """Return (file, content) of every file the patterns match, in order, and why others can't be read."""
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for pattern in globs:
        paths = sorted(glob.glob(pattern, root_dir=relative_to, recursive=True))
        if not paths and not glob.has_magic(pattern):
            problems.append(Problem((), f"no file '{pattern}' in {relative_to}"))
        for path in paths:
            try:
                found.setdefault(path, read_yaml((relative_to / path).read_text(encoding="utf-8")))
            except BadInput as error:
                problems.extend(Problem((f"{path}: ",), problem.message) for problem in error.problems)
            except (OSError, UnicodeDecodeError) as error:
                problems.append(Problem((f"{path}: ",), f"can't be read: {error}"))
    return list(found.items()), problems


def load_experiments(globs: Iterable[str], relative_to: Path) -> tuple[Experiment, ...]:
    """Return the experiments in the files the patterns match; BadInput with every problem and its file."""
    files, problems = read_experiments(globs, relative_to)
    problems += [
        Problem((f"{files[int(problem.place[0])][0]}: ", *problem.place[1:]), problem.message)
        for problem in model_problems([content for _, content in files])
    ]
    experiments = []
    for path, content in files:
        try:
            experiments.append(validate(Experiment, content))
        except BadInput as error:
            problems.extend(Problem((f"{path}: ", *problem.place), problem.message) for problem in error.problems)
    if problems:
        raise BadInput(problems)
    return tuple(experiments)
