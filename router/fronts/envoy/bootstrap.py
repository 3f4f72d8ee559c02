"""What an Envoy is told that runs the gateway's Python in its process: one port for gRPC, and an admin socket."""

import json
from typing import Any, Final

import msgspec

_TYPES: Final = "type.googleapis.com/envoy.extensions"
# The module that brings Python into Envoy finds this name in the filter's configuration.
_FILTER: Final = "pyvoy"
STATS: Final = "front"
ADMIN_SOCKET: Final = "admin.sock"
RENEWED: Final = "renewed"
_CERTIFICATE, _CLIENTS = "certificate.json", "clients.json"

# A client that takes longer over its headers is slow on purpose; over a body, the server looks itself.
_HEADERS_S: Final = 10
# gRPC's own bound is 16 KiB from where it begins to refuse at random.
_HEADERS_KB: Final = 16
# Of one connection; others wait at the client, as HTTP/2 has it.
_STREAMS_MAX: Final = 1024
# Envoy takes a connection for an attack when most of its streams end early, of 500 and more; its HTTP/2 library, when
# clients end more than 1,000 at once and 33 a second from then on. Both cut off the calls of others on that connection.
# Clients with short deadlines look the same: a worker answers 6,000 calls a second, so that one of them can end so many.
# A call that was taken back costs 35 us, of which Python sees little and the backend nothing: 10,000 a second take a
# third of a core, and what is beyond is an attack.
_RESETS_MAX: Final = 10**12
_RESETS_PER_S: Final = 10_000
_RUNTIME: Final = {"overload.premature_reset_total_stream_count": _RESETS_MAX}
# pyvoy never answers a path whose escapes are no UTF-8. gRPC's paths have none; this answers 403 instead.
_NO_ESCAPES: Final = {
    "name": "envoy.filters.http.rbac",
    "typed_config": {
        "@type": f"{_TYPES}.filters.http.rbac.v3.RBAC",
        "rules": {
            "action": "DENY",
            "policies": {
                "escapes": {
                    "permissions": [{"url_path": {"path": {"contains": "%"}}}],
                    "principals": [{"any": True}],
                }
            },
        },
    },
}
# Connections that were made together do not end together.
_JITTER: Final = 0.1
# As much of one connection is read before others have their turn; messages of 60 MB pass through in pieces. With 1 MB and
# more, 20,000 calls that were taken back at once had left 230 MB and more behind, where these leave 75.
_READ_BYTES: Final = 64 * 1024


class Files(msgspec.Struct, frozen=True):
    """Paths of PEM files for TLS, as serving.tls.CertificateFiles has them."""

    cert: str
    key: str
    client_ca: str | None = None


class Settings(msgspec.Struct, frozen=True):
    """What differs between gateways; `folder` is where each worker makes one of its own."""

    folder: str
    host: str
    port: int
    # Clients are asked to connect anew so often, a tenth sooner or later; 0: never.
    connection_age_s: float = 0.0
    # None: plain.
    tls: Files | None = None


def bootstrap(settings: Settings, *, application: str, module: str, folder: str) -> dict[str, Any]:
    """Return Envoy's configuration.

    `application`: the ASGI application as module:name. `module`: the path of pyvoy's library. `folder`: one of its own,
    that only we can reach, for the admin socket and, with TLS, for `secrets` and a folder in which a file is moved when the
    certificate was renewed.
    """
    python = {
        "@type": f"{_TYPES}.filters.http.dynamic_modules.v3.DynamicModuleFilter",
        "dynamic_module_config": {"module": {"local": {"filename": module}}},
        "filter_name": _FILTER,
        "terminal_filter": True,
        "filter_config": {
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": json.dumps({"app": application, "interface": "asgi", "lifespan": True}),
        },
    }
    manager: dict[str, Any] = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": STATS,
        "codec_type": "HTTP2",
        # The other codec, oghttp2, lost trailers.
        "http2_protocol_options": {
            "max_concurrent_streams": _STREAMS_MAX,
            "use_oghttp2_codec": {"value": False},
            "stream_reset_burst": _RESETS_PER_S,
            "stream_reset_rate": _RESETS_PER_S,
        },
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"]}]},
        "http_filters": [_NO_ESCAPES, {"name": _FILTER, "typed_config": python}],
        "generate_request_id": False,
        "max_request_headers_kb": _HEADERS_KB,
        "request_headers_timeout": f"{_HEADERS_S}s",
        # A Watch of health is silent for days.
        "stream_idle_timeout": "0s",
        "server_name": "turpin",
    }
    if settings.connection_age_s:
        manager["common_http_protocol_options"] = _aged(settings.connection_age_s)
    return {
        "admin": {"address": {"pipe": {"path": f"{folder}/{ADMIN_SOCKET}", "mode": 0o600}}},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": _RUNTIME}]},
        # Who asks for secrets has to have a name.
        "node": {"id": "turpin", "cluster": "turpin"},
        "static_resources": {"listeners": [_listener(settings, manager, folder)]},
    }


def _aged(age_s: float) -> dict[str, Any]:
    """Return Envoy's settings for connections that end at this age, each a tenth sooner or later, as gRPC has it.

    Envoy only adds to what it is told, in percent of it.
    """
    return {
        "max_connection_duration": f"{(1 - _JITTER) * age_s:.3f}s",
        "max_connection_duration_jitter": {"value": 100 * 2 * _JITTER / (1 - _JITTER)},
    }


def secrets(files: Files, folder: str) -> dict[str, dict[str, Any]]:
    """Return by name the files that Envoy reads its certificates from, one in each as it wants it.

    It reads the PEM files again when something moves in RENEWED.
    """
    watched = {"watched_directory": {"path": f"{folder}/{RENEWED}"}}
    certificate = {"certificate_chain": {"filename": files.cert}, "private_key": {"filename": files.key}, **watched}
    kind = {"@type": f"{_TYPES}.transport_sockets.tls.v3.Secret"}
    found = {_CERTIFICATE: {"resources": [{**kind, "name": _CERTIFICATE, "tls_certificate": certificate}]}}
    if files.client_ca is not None:
        context = {"trusted_ca": {"filename": files.client_ca}, **watched}
        found[_CLIENTS] = {"resources": [{**kind, "name": _CLIENTS, "validation_context": context}]}
    return found


def _tls(files: Files, folder: str) -> dict[str, Any]:
    def secret(name: str) -> dict[str, Any]:
        source = {"path_config_source": {"path": f"{folder}/{name}"}, "resource_api_version": "V3"}
        return {"name": name, "sds_config": source}

    context: dict[str, Any] = {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificate_sds_secret_configs": [secret(_CERTIFICATE)],
    }
    if files.client_ca is not None:
        context["validation_context_sds_secret_config"] = secret(_CLIENTS)
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": files.client_ca is not None,
            "common_tls_context": context,
        },
    }


def _listener(settings: Settings, manager: dict[str, Any], folder: str) -> dict[str, Any]:
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": STATS,
        "address": {"socket_address": {"address": settings.host, "port_value": settings.port}},
        # Other workers listen beside this one.
        "enable_reuse_port": True,
        "per_connection_buffer_limit_bytes": _READ_BYTES,
        "filter_chains": [
            {"filters": filters, **({} if settings.tls is None else {"transport_socket": _tls(settings.tls, folder)})}
        ],
    }
