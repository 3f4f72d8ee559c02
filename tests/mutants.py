"""`make mutants`: change bandits/ in one place after the other, and see whether its tests notice.

What survives is listed, with the reason why nothing can notice, in tests/bandits/survivors.txt; anything else that
survives is a hole in the tests, and an entry that no longer survives is out of date. A mutant is run in a copy of the
repository: nothing here is ever changed.
"""

import ast
import copy
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
SURVIVORS = ROOT / "tests" / "bandits" / "survivors.txt"
# A mutant that loops for ever is noticed, too. Tests of a module take seconds.
TIMEOUT_S = 120.0

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
    places = [place for place, node in enumerate(ast.walk(whole)) if _changed(node) is not None]
    for place in places:
        tree = copy.deepcopy(whole)
        node = next(node for number, node in enumerate(ast.walk(tree)) if number == place)
        before = ast.unparse(node)
        changed = _changed(node)
        assert changed is not None
        for name, value in changed.items():
            setattr(node, name, value)
        yield f"{before} -> {ast.unparse(node)}", ast.unparse(ast.fix_missing_locations(tree))


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


def is_noticed(folder: Path, module: Path, source: str, tests: Sequence[str]) -> bool:
    """Say whether a test fails with this source in the module's place, in the copy at `folder`."""
    original = (folder / module).read_text()
    (folder / module).write_text(source)
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return True
    finally:
        (folder / module).write_text(original)
    return done.returncode != 0


def tests_of(module: Path) -> list[str]:
    """Return the tests that are run for a module of bandits/: those named after it, else all of them."""
    own = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests/bandits").glob(f"test_{module.stem}*.py"))
    return own or ["tests/bandits"]


def excused(text: str) -> dict[tuple[str, str], str]:
    """Read the list of survivors: `module: change: reason` a line."""
    lines = [line.split(" | ") for line in text.splitlines() if line and not line.startswith("#")]
    return {(module, change): reason for module, change, reason in lines}


def main(names: Sequence[str]) -> int:
    """Try all mutants of these modules; with none, of all modules of bandits/. Return 1 when one survives unexcused."""
    modules = [Path(name) for name in names] or sorted(path.relative_to(ROOT) for path in ROOT.glob("bandits/*.py"))
    known = excused(SURVIVORS.read_text())
    survivors: set[tuple[str, str]] = set()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("bandits", "serving", "router", "load", "turpin", "tests", "docs"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        for module in modules:
            tests, found = tests_of(module), list(mutants((ROOT / module).read_text()))
            for number, (change, source) in enumerate(found, 1):
                sys.stderr.write(f"\r{module}: {number} of {len(found)}, {len(survivors)} survived ")
                sys.stderr.flush()
                if not is_noticed(folder, module, source, tests):
                    survivors.add((str(module), change))
            sys.stderr.write("\n")
    for survivor in sorted(survivors):
        sys.stdout.write(f"{survivor[0]} | {survivor[1]} | {known.get(survivor, 'NOT EXCUSED')}\n")
    stale = {entry for entry in known if entry not in survivors and Path(entry[0]) in modules}
    for module_name, change in sorted(stale):
        sys.stdout.write(f"no longer survives: {module_name} | {change}\n")
    return 1 if survivors - set(known) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
