"""What Envoy is told: that it can be told so is seen in tests/system; here, what must not get lost."""

import json
from typing import Any

import pytest

from router.fronts.envoy.bootstrap import Files, Settings, bootstrap, secrets

FOLDER = "/run/envoy"


def listener(settings: Settings) -> dict[str, Any]:
    told = bootstrap(settings, application="a:b", module="/pyvoy.so", folder=FOLDER)
    (found,) = json.loads(json.dumps(told))["static_resources"]["listeners"]
    return dict(found)


def manager(settings: Settings) -> dict[str, Any]:
    return dict(listener(settings)["filter_chains"][0]["filters"][0]["typed_config"])


def test_plain_port_has_no_certificate() -> None:
    assert "transport_socket" not in listener(Settings("/run", "0.0.0.0", 8500))["filter_chains"][0]


def test_clients_need_a_certificate_where_a_ca_is_named() -> None:
    wants = {}
    for ca in (None, "/ca.pem"):
        chain = listener(Settings("/run", "0.0.0.0", 8500, tls=Files("/cert.pem", "/key.pem", ca)))["filter_chains"][0]
        wants[ca] = chain["transport_socket"]["typed_config"]["require_client_certificate"]

    assert wants == {None: False, "/ca.pem": True}


def test_keys_stay_in_their_files() -> None:
    found = secrets(Files("/cert.pem", "/key.pem", "/ca.pem"), FOLDER)

    (certificate,) = found["certificate.json"]["resources"]
    assert certificate["tls_certificate"]["private_key"] == {"filename": "/key.pem"}
    # Envoy takes one in a file.
    assert {name: [one["name"] for one in told["resources"]] for name, told in found.items()} == {
        "certificate.json": ["certificate.json"],
        "clients.json": ["clients.json"],
    }


def test_connections_last_as_long_as_they_should_and_a_tenth_sooner_or_later() -> None:
    assert "common_http_protocol_options" not in manager(Settings("/run", "0.0.0.0", 8500))
    aged = manager(Settings("/run", "0.0.0.0", 8500, connection_age_s=10))["common_http_protocol_options"]

    assert aged["max_connection_duration"] == "9.000s"
    # Envoy adds up to this share of it.
    assert 9.0 * (1 + aged["max_connection_duration_jitter"]["value"] / 100) == pytest.approx(11.0)
