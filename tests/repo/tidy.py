"""The rules of CONTRIBUTING.md that ruff and mypy don't know: each check takes a path and a text and yields complaints."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.repo.tree import PACKAGES

Check = Callable[[Path, str], Iterator[str]]

# A module is read in one sitting, a function on one screen. A test module is a list: one reads a single entry of it.
MODULE_LINES_MAX: Final = 300
TEST_MODULE_LINES_MAX: Final = 500
FUNCTION_LINES_MAX: Final = 50
TEST_FUNCTION_LINES_MAX: Final = 80

# A name that says nothing about what is inside draws everything in.
_EMPTY_WORDS: Final = {"common", "core", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
_EMPTY_OPENINGS: Final = ("this module", "this file", "module ", "contains ", "various ", "utilities", "helpers")
# A bracket in each, so that this file does not break its own rules.
_MARKERS: Final = re.compile(r"\b(T[O]DO|F[I]XME|X[X]X|H[A]CK)\b")
_MACHINE_PATH: Final = re.compile(r"(?<![\w.)}/-])/(?:home|root|Users|work|workspace|builds)/[\w.]")
_INDEX: Final = re.compile(
    r"(?<!\w)(?:--(?:extra-|default-)?index-url|--find-links|--trusted-host|PIP_INDEX_URL)[ =]\S"
)
_PACKAGE_HOST: Final = re.compile(r"(?:files\.pythonhosted|//pypi|//test\.pypi)\.org", re.IGNORECASE)
_BARE_TIMES: Final = {"timeout", "delay", "duration", "elapsed", "interval", "latency", "wait"}
_UNIT_INSIDE: Final = re.compile(r"_(?:s|ms|us|ns|usd)_(?:max|min|limit|mean|median|p\d+)$")
_UNIT_MISSPELT: Final = re.compile(r"_(?:secs?|msecs?|millis|micros|nanos|dollars)$")


def module_length(path: Path, text: str) -> Iterator[str]:
    """Modules end before the reader tires."""
    most = TEST_MODULE_LINES_MAX if _is_test(path) else MODULE_LINES_MAX
    lines = len(text.splitlines())
    if _is_ours(path) and lines > most:
        yield f"{path}: {lines} lines; at most {most}: which of its things deserves a module of its own?"


def function_length(path: Path, text: str) -> Iterator[str]:
    """Functions fit a screen, docstring included."""
    most = TEST_FUNCTION_LINES_MAX if _is_test(path) else FUNCTION_LINES_MAX
    for function in _functions(path, text):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > most:
            yield f"{path}:{function.lineno}: {function.name} has {lines} lines; at most {most}"


def module_docstring(path: Path, text: str) -> Iterator[str]:
    """The first thing one reads in a module is what it is for."""
    if not _is_ours(path) or _is_test(path) or not text.strip():
        return
    opening = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0].strip()
    if not opening:
        yield f"{path}: no docstring; say in a sentence what the module is for"
    elif not opening.endswith((".", ":")):
        yield f"{path}: the docstring begins with no whole sentence: '{opening[:60]}'"
    elif opening.lower().startswith(_EMPTY_OPENINGS):
        yield f"{path}: '{opening[:60]}': say what it is for, not that it is a module"


def file_name(path: Path, text: str) -> Iterator[str]:
    """Files and folders are named for what is in them."""
    words = {word for part in path.with_suffix("").parts for word in re.split(r"[_\-.]", part.lower())}
    for word in sorted(words & _EMPTY_WORDS):
        yield f"{path}: '{word}' says nothing about what is inside; name the thing"


def unfinished(path: Path, text: str) -> Iterator[str]:
    """What is left to do is an issue, not a comment."""
    for number, line in enumerate(text.splitlines(), 1):
        for found in _MARKERS.finditer(line):
            yield f"{path}:{number}: {found[0]}; do it, or file an issue"


def this_machine(path: Path, text: str) -> Iterator[str]:
    """Nothing in the repository knows the machine it was written on, or where that got its packages."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := _MACHINE_PATH.search(line):
            yield f"{path}:{number}: '{found[0]}…' is a path of somebody's machine"
        if found := _INDEX.search(line) or _PACKAGE_HOST.search(line):
            yield f"{path}:{number}: '{found[0]}' names a package index; that is the installer's to choose"
    if path.parts[0] == "requirements" and "://" in text:
        yield f"{path}: has an address; a lock file holds names, versions and hashes (make lock)"


def units(path: Path, text: str) -> Iterator[str]:
    """Numbers with a unit say it, last in their name: wait_max_s, cost_usd."""
    for name, line, annotation in _numbers(path, text):
        if name in _BARE_TIMES:
            yield f"{path}:{line}: '{name}: {annotation}' has no unit; '{name}_s' would"
        elif _UNIT_INSIDE.search(name):
            yield f"{path}:{line}: '{name}': the unit goes last"
        elif _UNIT_MISSPELT.search(name):
            yield f"{path}:{line}: '{name}': units are written _s, _ms, _us, _ns, _usd"


CHECKS: Final[tuple[Check, ...]] = (
    module_length,
    function_length,
    module_docstring,
    file_name,
    unfinished,
    this_machine,
    units,
)


def _is_test(path: Path) -> bool:
    return path.parts[0] == "tests"


def _is_ours(path: Path) -> bool:
    """Python that people wrote: no code that protoc made."""
    is_generated = path.stem.endswith(("_pb2", "_pb2_grpc"))
    return path.suffix == ".py" and path.parts[0] in (*PACKAGES, "tests") and not is_generated


def _functions(path: Path, text: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    if _is_ours(path):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


def _numbers(path: Path, text: str) -> Iterator[tuple[str, int, str]]:
    """Yield (name, line, annotation) of each parameter and field that holds an int or a float, perhaps None."""
    # Tests stand in for other people's functions too, and take their parameters' names.
    if not _is_ours(path) or _is_test(path):
        return
    for node in ast.walk(ast.parse(text)):
        name, annotation = "", None
        if isinstance(node, ast.arg):
            name, annotation = node.arg, node.annotation
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name, annotation = node.target.id, node.annotation
        written = ast.unparse(annotation) if annotation else ""
        if re.fullmatch(r"(?:int|float)(?: \| None)?", written):
            yield name, getattr(node, "lineno", 0), written
