"""The tutorial runs as it stands, in a kernel of its own, against a real model server and a real gateway."""

import ast
import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.repo.tree import ROOT

PATH = ROOT / "docs" / "tutorial.ipynb"
# Training takes seconds, and servers that import TensorFlow start slowly on a busy machine.
CELL_S = 180


def printed(notebook: nbformat.NotebookNode) -> str:
    """What its cells wrote to stdout, one after the other."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output["text"] for output in outputs if output.get("name") == "stdout")


def test_it_is_kept_without_outputs() -> None:
    cells = nbformat.read(PATH, as_version=4).cells

    assert [cell.outputs for cell in cells if cell.cell_type == "code" and cell.outputs] == []


@pytest.mark.system
@pytest.mark.timeout(600)
def test_candidate_earns_its_traffic_and_is_taken_back() -> None:
    notebook = nbformat.read(PATH, as_version=4)

    NotebookClient(notebook, timeout=CELL_S, kernel_name="python3").execute()

    text = printed(notebook)
    assert "upload → " in text
    assert "join" in text.splitlines()[[line.startswith("upload") for line in text.splitlines()].index(True)]
    shares = [ast.literal_eval(line) for line in re.findall(r"^\{'v1': '\d+%'.*\}$", text, re.MULTILINE)]
    assert int(shares[-1]["v3"].rstrip("%")) > 50 > int(shares[0]["v3"].rstrip("%"))
    states = ast.literal_eval(re.findall(r"^\{'\d': '[A-Z]+'.*\}$", text, re.MULTILINE)[-1])
    assert (states["1"], states["3"]) == ("AVAILABLE", "END")
    html = "".join(
        output["data"].get("text/html", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "data" in output
    )
    assert html.count("<svg") == 4
