"""The page on rewards names every refusal of the reward routes, as the table of problems has it."""

import re
from pathlib import Path

from router.problems import Problem
from tests.repo.tree import ROOT

PAGE = Path(ROOT) / "docs" / "reference" / "rewards.md"
SOURCES = ("router/rewards.py", "router/fronts/rewards.py", "router/fronts/access.py", "router/fronts/bodies.py")


def test_page_names_every_refusal_with_its_status() -> None:
    text = PAGE.read_text(encoding="utf-8")
    named = {(label, int(status)) for status, label in re.findall(r"^\| (\d{3}) \| `(\w+)` \|", text, re.MULTILINE)}
    sources = "".join((Path(ROOT) / source).read_text(encoding="utf-8") for source in SOURCES)
    raised = {Problem[name] for name in re.findall(r"\bProblem\.([A-Z_]+)\b", sources)}

    # What only paths and methods that are not these are answered with.
    raised -= {Problem.METHOD, Problem.NOT_FOUND}
    assert named == {(problem.label, problem.status) for problem in raised}
