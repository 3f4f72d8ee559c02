"""Answers to browsers whose page comes from elsewhere, as `--rest_api_enable_cors_support` gives them.

Source: tensorflow_serving/model_servers/http_server.cc and http_rest_api_util.cc (commit 9d981c5c).
"""

import re
from typing import Final

from serving.errors import FailedPrecondition

HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


def check_preflight(origin: str) -> None:
    """Raise FailedPrecondition for an OPTIONS request that no browser sent, as its `Origin` shows."""
    if not re.search("https?://", origin):
        raise FailedPrecondition("Origin header is missing in CORS preflight")
