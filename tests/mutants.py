"""`make mutants`: change bandits/ in one place after the other, and see whether its tests notice.

What survives is listed, with the reason why nothing can notice, in tests/bandits/survivors.txt; anything else that
survives is a hole in the tests, and an entry that no longer survives is out of date. A mutant is run in a copy of the
repository: nothing here is ever changed.
"""

import ast
import contextlib
import copy
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
SURVIVORS = ROOT / "tests" / "bandits" / "survivors.txt"
# A mutant that loops for ever is noticed, too: after this many times what the tests take of the module as it is, and what
# a machine that is busy with something else may need to begin.
TIMEOUT_TIMES = 5.0
TIMEOUT_MORE_S = 20.0

# What all tests import stands ready in a process that is forked for each mutant: half of the work otherwise. Nothing of
# ours is among it, which a mutant may have changed.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", "hypothesis", "numpy", "scipy.special", "scipy.optimize", "scipy.stats"])

SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Yield (what was changed, changed source); what was changed is told without line numbers, so that lists last."""
    whole = ast.parse(source)
    spared = _spared(whole)
    places = [place for place, node in enumerate(ast.walk(whole)) if place not in spared and _changed(node) is not None]
    for place in places:
        tree = copy.deepcopy(whole)
        node = next(node for number, node in enumerate(ast.walk(tree)) if number == place)
        before = ast.unparse(node)
        changed = _changed(node)
        assert changed is not None
        for name, value in changed.items():
            setattr(node, name, value)
        yield f"{before} -> {ast.unparse(node)}", ast.unparse(ast.fix_missing_locations(tree))


def _spared(whole: ast.AST) -> set[int]:
    """Return the places inside decorators: a dataclass that nobody changes works as well when it could be changed."""
    inside = {
        id(part)
        for node in ast.walk(whole)
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        for decorator in node.decorator_list
        for part in ast.walk(decorator)
    }
    return {place for place, node in enumerate(ast.walk(whole)) if id(node) in inside}


def _changed(node: ast.AST) -> dict[str, object] | None:
    """Return which fields of this node to set to what; None where nothing is to be changed."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in SWAPPED:
            return {"ops": [SWAPPED[type(operator)]()]}
        case ast.BinOp() | ast.BoolOp() | ast.AugAssign() if type(node.op) in SWAPPED:
            return {"op": SWAPPED[type(node.op)]()}
        case ast.UnaryOp(op=ast.Not()):
            return {"operand": ast.UnaryOp(ast.Not(), node.operand)}
        case ast.Constant(value=bool() as flag):
            return {"value": not flag}
        case ast.Constant(value=int() | float() as number):
            return {"value": number + 1}
        case _:
            return None


def is_noticed(
    folder: Path, module: Path, source: str, tests: Sequence[str], timeout_s: float = TIMEOUT_MORE_S
) -> bool:
    """Say whether a test fails with this source in the module's place, in the copy at `folder`."""
    original = (folder / module).read_text()
    (folder / module).write_text(source)
    child = _CONTEXT.Process(target=_run, args=(folder, tests))
    child.start()
    try:
        child.join(timeout_s)
        return child.exitcode != 0
    finally:
        child.kill()
        child.join()
        (folder / module).write_text(original)


def _run(folder: Path, tests: Sequence[str]) -> None:
    """Run the tests of the copy, and end with their status: in a process of its own, which ends with it."""
    import pytest

    # Pytest would like to see Hypothesis imported after itself, to rewrite its assertions: they are no claims of ours.
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    os.chdir(folder)
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        status = pytest.main(
            ["-q", "-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning", *tests]
        )
    os._exit(status)


def survivors_of(folder: Path, module: Path) -> set[str]:
    """Return the changes of a module that its tests do not notice. Raises ValueError when they fail without any."""
    source, tests = (folder / module).read_text(), tests_of(module)
    began = time.monotonic()
    # As `ast` writes it, so that only the change makes a difference. What fails anyway would notice everything.
    if is_noticed(folder, module, ast.unparse(ast.parse(source)), tests, timeout_s=600.0):
        raise ValueError(f"{' '.join(tests)} must pass before anything is changed in {module}, and does not")
    timeout_s = TIMEOUT_MORE_S + TIMEOUT_TIMES * (time.monotonic() - began)
    found = list(mutants(source))
    survived: set[str] = set()
    for number, (change, changed) in enumerate(found, 1):
        sys.stderr.write(f"\r{module}: {number} of {len(found)}, {len(survived)} survived ")
        sys.stderr.flush()
        if not is_noticed(folder, module, changed, tests, timeout_s):
            survived.add(change)
    sys.stderr.write("\n")
    return survived


def tests_of(module: Path) -> list[str]:
    """Return the tests that are run for a module of bandits/: those named after it, else all of them."""
    own = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests/bandits").glob(f"test_{module.stem}*.py"))
    return own or ["tests/bandits"]


def excused(text: str) -> dict[tuple[str, str], str]:
    """Read the list of survivors, `module | change | reason` a line, as reasons by module and change."""
    reasons = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            # The change is code, and may hold a bar itself.
            module, _, rest = line.partition(" | ")
            change, _, reason = rest.rpartition(" | ")
            reasons[module, change] = reason
    return reasons


def report(module: Path, survived: set[str], known: Mapping[tuple[str, str], str]) -> tuple[str, bool]:
    """Return what is to be said of a module's survivors, each with its reason, and whether all have one."""
    lines = [f"{module} | {change} | {known.get((str(module), change), 'NOT EXCUSED')}" for change in sorted(survived)]
    stale = [change for name, change in known if name == str(module) and change not in survived]
    lines += [f"no longer survives: {module} | {change}" for change in stale]
    return "".join(f"{line}\n" for line in lines), all((str(module), change) in known for change in survived)


def main(names: Sequence[str]) -> int:
    """Try all mutants of these modules; with none, of all modules of bandits/. Return 1 when one survives unexcused."""
    modules = [Path(name) for name in names] or sorted(path.relative_to(ROOT) for path in ROOT.glob("bandits/*.py"))
    known = excused(SURVIVORS.read_text())
    is_all_excused = True
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("bandits", "serving", "router", "load", "turpin", "tests", "docs"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        for module in modules:
            # A module at a time: hours of work that are interrupted have said what they found.
            text, is_excused = report(module, survivors_of(folder, module), known)
            sys.stdout.write(text)
            sys.stdout.flush()
            is_all_excused = is_all_excused and is_excused
    return 0 if is_all_excused else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
