"""The decision token: one arm chosen for one request, signed, so that nothing has to be stored per decision.

Layout (big endian, 54 bytes, then a 16-byte keyed BLAKE2b over them, all in base64url without padding: 94 characters):
format u8, key u8, mode u8, segment u8, epoch u64, arm u16, parts u32, weights version u32, block u32, time u64 (unix µs),
rows u32, nonce 16 bytes. `parts` is the arm's share in units of 2^-31, so that the propensity is exact.
"""

import base64
import binascii
import enum
import hashlib
import hmac
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bandits.sums import cell_arm
from router.store.contract import Cell

_FORMAT = 1
_BODY = struct.Struct(">BBBBQHIIIQI16s")
_MAC_BYTES = 16
TOKEN_CHARS = 94
# Domain separation: the same key signs tokens and hashes request ids, and neither may be taken for the other.
_TOKEN_PERSON = b"turpin-token"
_POINT_PERSON = b"turpin-point"
_UNIT_PERSON = b"turpin-unit"
# One digest of 64 bytes gives eight numbers of 64 bits.
_NUMBERS = struct.Struct(">8Q")
_PER_DIGEST = 8
_STEP = 2.0**-53
# A key shorter than this could be guessed; blake2b takes at most 64 bytes, longer ones are hashed down.
KEY_BYTES_MIN = 16


class Mode(enum.IntEnum):
    """Why an arm was chosen. The rewards of those that are not learned from are accepted and kept apart."""

    EXPERIMENT = 1
    WARMUP = 2
    FALLBACK = 3
    BYPASS = 4
    SETTLED = 5
    OBSERVE = 6
    SHADOW = 7
    REPEAT = 8  # sticky: the unit has had its trial

    # Whether decisions and rewards enter the statistics. Those of `OBSERVE` are all control's.
    is_learned: bool
    # As metrics say it.
    label: str

    def __init__(self, value: int) -> None:
        # Made once: asked several times a request, a property and `name` took 2 us of it.
        self.is_learned = self.name in ("EXPERIMENT", "OBSERVE")
        self.label = self.name.lower()


class Decision(NamedTuple):
    """One arm chosen for one request; `parts` / 2^31 is the probability with which it was chosen in its segment.

    Segment 0 takes what belongs to no other; without segments it is all there is. The fields are in the token's order.
    """

    mode: Mode
    segment: int
    epoch: int
    arm: int
    parts: int
    weights_version: int
    block: int
    time_us: int
    rows: int
    nonce: bytes

    @property
    def is_learned(self) -> bool:
        """Whether rewards of this decision enter the statistics."""
        return self.mode.is_learned

    @property
    def cell(self) -> Cell:
        """Where the decision and its rewards are counted."""
        return Cell(self.epoch, cell_arm(self.arm, self.segment), self.block)


class BadToken(Exception):
    """The token was not made with one of our keys, or was altered."""


class Keyring:
    """The keys that sign decisions: the first signs, all verify, so that keys can be rotated."""

    __slots__ = ("_by_tag", "_first", "_point_key")

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        """Take (id, secret) pairs; ValueError for none, a short secret, or two ids that share a tag."""
        if not keys:
            raise ValueError("decision_keys is empty: at least one key must sign")
        by_tag: dict[int, bytes] = {}
        for key_id, secret in keys:
            if len(secret) < KEY_BYTES_MIN:
                raise ValueError(
                    f"decision key {key_id!r} has {len(secret)} bytes; at least {KEY_BYTES_MIN} are needed"
                )
            tag = _key_tag(key_id)
            if tag in by_tag:
                raise ValueError(f"decision key id {key_id!r} can't be told from an earlier one: choose another id")
            by_tag[tag] = _fold(secret)
        self._by_tag: Mapping[int, bytes] = by_tag
        self._first = _key_tag(keys[0][0])
        self._point_key = by_tag[self._first]

    def sign(self, decision: Decision) -> str:
        """Write the decision as a token of `TOKEN_CHARS` characters."""
        body = _BODY.pack(_FORMAT, self._first, *decision)
        return base64.urlsafe_b64encode(body + _mac(self._point_key, body))[:TOKEN_CHARS].decode()

    def verify(self, token: str) -> Decision:
        """Read a token back, in constant time for all tokens of the right length; BadToken for any other than ours."""
        if len(token) != TOKEN_CHARS:
            raise BadToken(f"a decision token has {TOKEN_CHARS} characters, this one has {len(token)}")
        try:
            raw = base64.b64decode(token.encode("ascii") + b"==", altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise BadToken("a decision token is base64url; this one has other characters") from error
        body, mac = raw[: _BODY.size], raw[_BODY.size :]
        secret = self._by_tag.get(body[1], self._by_tag[self._first])
        # The four unused bits of the last character must be zero too, or several texts would pass as one token.
        is_canonical = base64.urlsafe_b64encode(raw).rstrip(b"=") == token.encode("ascii")
        if not hmac.compare_digest(mac, _mac(secret, body)) or body[0] != _FORMAT or not is_canonical:
            raise BadToken("the signature of the decision token does not fit: it was altered, or another key made it")
        _, _, mode, *rest = _BODY.unpack(body)
        return Decision(Mode(mode), *rest)

    def point(self, epoch: int, purpose: bytes, value: bytes) -> bytes:
        """Hash a request id or a unit to 20 bytes that nobody without the key can predict: a draw, then a nonce."""
        message = epoch.to_bytes(8) + len(purpose).to_bytes(1) + purpose + value
        return hashlib.blake2b(message, digest_size=20, key=self._point_key, person=_POINT_PERSON).digest()

    def uniforms(self, epoch: int, unit: bytes, count: int) -> list[float]:
        """Hash a unit to `count` numbers, evenly spread over (0, 1); the first of them do not depend on the count."""
        found: list[float] = []
        for page in range(-(-count // _PER_DIGEST)):
            message = b"".join((epoch.to_bytes(8), page.to_bytes(1), unit))
            digest = hashlib.blake2b(message, key=self._point_key, person=_UNIT_PERSON).digest()
            # The middles of 2^53 steps: never 0, never 1, each exact in a double.
            found += [((number >> 11) + 0.5) * _STEP for number in _NUMBERS.unpack(digest)]
        return found[:count]


def _key_tag(key_id: str) -> int:
    # One byte names the key in the token; derived from the id, it is the same on every gateway and after a rotation.
    return hashlib.blake2b(key_id.encode(), digest_size=1).digest()[0]


def _fold(secret: bytes) -> bytes:
    return secret if len(secret) <= hashlib.blake2b.MAX_KEY_SIZE else hashlib.blake2b(secret).digest()


def _mac(secret: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_MAC_BYTES, key=secret, person=_TOKEN_PERSON).digest()
