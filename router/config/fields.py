"""The kinds of values people write in configurations and experiments: durations, names, addresses, `auto`."""

import ipaddress
import re
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    SecretStr,
    SerializationInfo,
    Tag,
    WithJsonSchema,
)

from router.config.document import REVEAL, shown

SECOND: Final = 1.0
MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86400.0
# Beyond any experiment, simulated ones included, where a request stands for a second: a fortnight of 100,000 requests a
# second, eight times over. A float of seconds still holds a millisecond there.
LONGEST_S: Final = 50_000_000 * DAY
_UNITS_S: Final = {"d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND, "ms": 0.001}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
HIDDEN: Final = "********"
# The user and password of a URL, and its query, where some put the password.
_CREDENTIALS = re.compile(r"(?<=://)[^/]*(?=@)|(?<=\?).*")
NAME: Final = re.compile(r"[a-z0-9-]{1,63}")
# How these are described in JSON Schema: what people write, not what it is read into.
_DURATION_SCHEMA: Final = {
    "anyOf": [{"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"}, {"const": 0}],
    "examples": ["30m", "1h30m", "500ms"],
}


def parse_duration(text: object) -> float:
    """Return the seconds of "30m", "1h30m", "500ms", "1.5s"; ValueError for anything else, and beyond LONGEST_S."""
    parts = _PART.findall(text) if isinstance(text, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f'must be a duration with a unit (ms, s, m, h or d) such as "30m"; got {shown(text)}')
    # Decimal keeps "0.1s" and "100ms" the same number.
    total = float(sum(Decimal(number) * Decimal(str(_UNITS_S[unit])) for number, unit in parts))
    if total > LONGEST_S:
        raise ValueError(f"must be at most {format_duration(LONGEST_S)}; got {shown(text)}")
    return total


def format_duration(seconds: float) -> str:
    """Write seconds in the largest unit that leaves a whole number, so that `parse_duration` gives them back exactly."""
    if seconds == 0:
        return "0s"
    exact = Decimal(repr(seconds))
    for unit, unit_s in _UNITS_S.items():
        count = exact / Decimal(str(unit_s))
        if count == count.to_integral_value():
            return f"{int(count)}{unit}"
    return f"{exact:f}s"


def _read_duration(value: object) -> float:
    # Zero needs no unit. Any other bare number is refused: one reader takes 30 for seconds, the next for minutes.
    is_zero = isinstance(value, int | float) and not isinstance(value, bool) and value == 0
    return 0.0 if is_zero else parse_duration(value)


def _check_name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(f"must be 1 to 63 of a-z, 0-9 and '-'; got {shown(value)}")
    return value


def _check_auto(value: object) -> object:
    if isinstance(value, str) and value != "auto":
        raise ValueError(f"must be auto or a number; got {shown(value)}")
    return value


def _check_address(value: str) -> str:
    split_address(value)
    return value


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of "host:port" ("[::1]:8500" for IPv6; port 0: any free one); ValueError for other text."""
    host, colon, port = address.rpartition(":")
    is_bare_v6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536) or is_bare_v6 or "/" in host:
        raise ValueError(f'must be "host:port" with a port of 0 to 65535; got {shown(address)}')
    return host.strip("[]"), int(port)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a "host:port"."""
    host, _ = split_address(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Duration = Annotated[
    float,
    BeforeValidator(_read_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema(_DURATION_SCHEMA),
]
Name = Annotated[str, AfterValidator(_check_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME.pattern}$"})]
# The tags of a union stand in the places pydantic reports; the angle brackets tell `_problems` to leave them out.
_IS_AUTO = Discriminator(lambda value: "<auto>" if isinstance(value, str) else "<number>")
AutoFloat = Annotated[
    Annotated[Literal["auto"], Tag("<auto>")] | Annotated[float, Tag("<number>")],
    _IS_AUTO,
    BeforeValidator(_check_auto),
]
AutoCount = Annotated[
    Annotated[Literal["auto"], Tag("<auto>")] | Annotated[int, Field(ge=1), Tag("<number>")],
    _IS_AUTO,
    BeforeValidator(_check_auto),
]
Address = Annotated[str, AfterValidator(_check_address)]


def hide_unless_revealed(value: object, info: SerializationInfo) -> str:
    """Write a secret as stars, but for `Document.to_json`; of a URL only the credentials are one."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if info.context and info.context.get(REVEAL):
        return text
    is_url = isinstance(value, str) and "://" in value
    return _CREDENTIALS.sub(HIDDEN, text) if is_url or text == "memory:" else HIDDEN


# Text that is never shown: not by repr, not by str, not in a printed configuration.
Secret = Annotated[SecretStr, PlainSerializer(hide_unless_revealed, return_type=str, when_used="json")]
