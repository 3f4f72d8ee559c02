"""The description of the admin API is OpenAPI 3.1, is what `docs/reference/openapi.json` holds, and leaves no route out."""

import json
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from router.admin import requests
from router.admin.captures import CaptureBody
from router.admin.contracts import CONTRACTS
from router.admin.openapi import document, text
from router.admin.routes import ROUTES, Role
from router.config.document import BadInput, validate
from router.config.experiment import Experiment
from router.config.fields import parse_duration
from tests.repo.tree import ROOT
from tests.router.admin.bench import bench, specified

DOCUMENT = document()


def test_description_is_openapi() -> None:
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_reference_file_is_what_is_served() -> None:
    kept = (Path(ROOT) / "docs" / "reference" / "openapi.json").read_text(encoding="utf-8")

    assert kept == text(), "run: python -P -m router.admin.openapi > docs/reference/openapi.json"


async def test_description_is_served_to_everybody() -> None:
    async with bench() as admin, admin.session.get("/openapi.json") as got:
        assert (got.status, await got.json()) == (200, DOCUMENT)


def test_every_route_is_described_with_its_role() -> None:
    described = {
        (method.upper(), path): operation
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
    }

    assert {key: Role[one["x-turpin-role"].upper()] for key, one in described.items()} == {
        (route.method, route.path): route.role for route in ROUTES
    }
    assert CONTRACTS.keys() == {route.name for route in ROUTES}
    for route in ROUTES:
        assert bool(described[route.method, route.path]["security"]) == (route.role is not Role.ANYBODY)


def test_bodies_are_described_by_the_models_that_read_them() -> None:
    bodies = {contract.body for contract in CONTRACTS.values()} - {None}

    assert bodies == {Experiment, CaptureBody, requests.OrderBody, requests.PromoteBody, requests.RollbackBody}
    # Not strict: nothing unknown is let in, and the description says so.
    schemas = DOCUMENT["components"]["schemas"]
    assert all(schemas[body.__name__]["additionalProperties"] is False for body in bodies if body)


def _properties(schema: Any) -> Any:
    if isinstance(schema, dict):
        yield from schema.get("properties", {}).items()
        for inner in schema.values():
            yield from _properties(inner)


def test_defaults_are_what_people_may_write() -> None:
    written = [
        described["default"]
        for _, described in _properties(DOCUMENT["components"]["schemas"])
        if "30m" in str(described) and isinstance(described.get("default"), str)
    ]

    assert len(written) >= 8
    assert all(parse_duration(one) >= 0 for one in written)


@pytest.mark.parametrize("value", ["30m", "1h30m", "500ms", 0, 30, "30", "", "m", "30 m", 1.5, True])
def test_description_of_a_duration_takes_what_its_reader_takes(value: Any) -> None:
    import jsonschema

    schema = DOCUMENT["components"]["schemas"]["Policy"]["properties"]["hold"]
    is_described = jsonschema.Draft202012Validator(schema).is_valid(value)
    try:
        validate(Experiment, specified(policy={"hold": value}))
        is_read = True
    except BadInput:
        is_read = False

    assert is_described == is_read


def test_file_ends_and_reads_as_json() -> None:
    assert json.loads(text()) == DOCUMENT
