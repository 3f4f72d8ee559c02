"""Pictures show shares and intervals, and no name in them is ever markup."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turpin.deployment import STEPS, Deployment
from turpin.picture import state_html
from turpin.state import Experiments, State

ARMS = [
    {
        "name": "v1",
        "weight": 0.25,
        "state": "eligible",
        "value_usd": 8e-7,
        "value_usd_low": 7e-7,
        "value_usd_high": 9e-7,
    },
    {
        "name": "v2",
        "weight": 0.75,
        "state": "eligible",
        "value_usd": 9e-7,
        "value_usd_low": 8e-7,
        "value_usd_high": 1e-6,
    },
]
STATE: dict[str, Any] = {"name": "digits", "phase": "running", "leader": "v2", "arms": ARMS}

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</svg><script>",
    "'onload='alert(1)",
    "&lt;script&gt;",
    "\u202e\x1b[2J\x00",
    "]]>",
    "javascript:alert(1)",
)


def parsed(html: str) -> ET.Element:
    """The picture as a tree: what is no well-formed markup has something in it that broke out."""
    return ET.fromstring(f"<body>{html}</body>")


def tags(html: str) -> set[str]:
    return {element.tag.rpartition("}")[2] for element in parsed(html).iter()}


def test_state_shows_each_share_and_interval() -> None:
    body = parsed(State(STATE)._repr_html_())

    texts = [text for element in body.iter() if (text := element.text)]
    bars = [float(element.attrib["width"]) for element in body.iter() if element.tag.endswith("rect")]
    lines = [element.attrib for element in body.iter() if element.tag.endswith("line")]
    assert {"v1", "v2", "25.0%", "75.0%", "0.7", "1"} <= set(texts)
    assert bars == [45.0, 135.0]
    assert [float(line["x1"]) < float(line["x2"]) for line in lines] == [True, True]
    assert float(lines[1]["x2"]) == 620.0


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_name_is_only_text(name: str) -> None:
    state = STATE | {"name": name, "phase": name, "leader": name, "winner": name}
    state["arms"] = [ARMS[0] | {"name": name, "state": name}]
    failed = {"model": name, "version": 7, "state": "failed", "step": "load", "error": name, "detail": name}
    pages = (State(state)._repr_html_(), Experiments((state,))._repr_html_(), Deployment(failed)._repr_html_())

    for page in pages:
        allowed = {"body", "div", "b", "svg", "title", "text", "rect", "line", "circle"}
        assert tags(page) <= allowed | {"table", "thead", "tbody", "tr", "th", "td", "ul", "li", "p"}
        for element in parsed(page).iter():
            assert not [attribute for attribute in element.attrib if attribute.startswith("on")]


_values = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8)


@given(st.lists(st.dictionaries(st.sampled_from([*ARMS[0]]), _values, max_size=6), max_size=4), _values)
def test_no_answer_of_a_server_breaks_the_picture(arms: list[dict[str, Any]], anything: object) -> None:
    page = state_html({"name": anything, "arms": arms, "value_remaining": anything})

    assert "script" not in tags(page)


@pytest.mark.parametrize("arms", [None, [], "arms", [1], [{}], [{"name": "v1"}]])
def test_state_without_numbers_is_drawn_without_them(arms: object) -> None:
    assert "svg" in tags(state_html({"name": "digits", "arms": arms}))


def test_deployment_shows_its_step_and_why_it_failed() -> None:
    document = {"model": "digits", "version": 7, "step": "check", "state": "failed", "error": "other signatures"}

    page = Deployment(document)._repr_html_()

    lines = [element.text for element in parsed(page).iter() if element.tag == "li"]
    assert lines == ["✔ upload ", "✔ publish ", "✔ load ", "✘ check ", "· warm ", "· join "]
    assert len(STEPS) == len(lines)
    assert "other signatures" in page


def test_deployment_shows_what_its_comparison_showed() -> None:
    document = {"model": "digits", "version": 7, "step": "join", "state": "done", "shadow": {"requests": 9}}
    document |= {"comparison": {"compared": 9, "agreement": 1.0, "errors": {}}}

    page = Deployment(document)._repr_html_()

    lines = [element.text for element in parsed(page).iter() if element.tag == "li"]
    assert lines[-2:] == ["✔ shadow 9 requests compared, agreement 1", "✔ join "]


def test_state_in_words_controls_nothing_of_the_terminal() -> None:
    state = State({"name": "\x1b[31mred", "phase": "running", "arms": [{"name": "v1\x9b2J", "weight": 1.0}]})

    assert repr(state) == "<State of ?[31mred: running; v1?2J 100.0%>"
