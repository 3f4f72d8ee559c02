"""What an Envoy is told that runs the gateway's Python in its process: one port for gRPC, and an admin socket."""

import json
from typing import Any, Final

import msgspec

_TYPES: Final = "type.googleapis.com/envoy.extensions"
# The module that brings Python into Envoy finds this name in the filter's configuration.
_FILTER: Final = "pyvoy"
STATS: Final = "front"

# A client that takes longer over its headers is slow on purpose; over a body, the server looks itself.
_HEADERS_S: Final = 10
# gRPC's own bound is 16 KiB from where it begins to refuse at random.
_HEADERS_KB: Final = 16
# Of one connection; others wait at the client, as HTTP/2 has it.
_STREAMS_MAX: Final = 1024
# Envoy takes a connection for an attack when most of its streams end early. Clients with short deadlines look the same:
# at its default of 500 it refused 2,480 of 10,000 such calls.
_RESETS_MAX: Final = 1_000_000
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
# A message in the encoding of HTTP/2, and what waits beside it.
_BUFFER_SLACK_BYTES: Final = 1024 * 1024


class Settings(msgspec.Struct, frozen=True):
    """What differs between gateways."""

    host: str
    port: int
    message_bytes: int
    # Clients are asked to connect anew so often; 0: never.
    connection_age_s: float = 0.0


def bootstrap(settings: Settings, *, application: str, module: str, admin_socket: str) -> dict[str, Any]:
    """Return Envoy's configuration.

    `application`: the ASGI application as module:name. `module`: the path of pyvoy's library. `admin_socket`: the path
    of a socket that only we can reach.
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
        "http2_protocol_options": {"max_concurrent_streams": _STREAMS_MAX, "use_oghttp2_codec": {"value": False}},
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
        manager["common_http_protocol_options"] = {"max_connection_duration": f"{settings.connection_age_s:.3f}s"}
    return {
        "admin": {"address": {"pipe": {"path": admin_socket, "mode": 0o600}}},
        "layered_runtime": {
            "layers": [
                {
                    "name": "static",
                    "static_layer": {"overload.premature_reset_total_stream_count": _RESETS_MAX},
                }
            ]
        },
        "static_resources": {"listeners": [_listener(settings, manager)]},
    }


def _listener(settings: Settings, manager: dict[str, Any]) -> dict[str, Any]:
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": STATS,
        "address": {"socket_address": {"address": settings.host, "port_value": settings.port}},
        # Other workers listen beside this one.
        "enable_reuse_port": True,
        "per_connection_buffer_limit_bytes": settings.message_bytes + _BUFFER_SLACK_BYTES,
        "filter_chains": [{"filters": filters}],
    }
