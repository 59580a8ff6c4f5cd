"""
Identifiers and client keys.

Ids are UUIDv7 in hex behind a prefix, so they sort by the time they were made (RFC 9562): `req_`, `usr_`, `key_`, ...
Keys are `nr_` + 43 base62 characters (256 random bits) + 6 base62 characters of CRC-32, so that a mistyped key is refused without a look-up.
"""

import hashlib
import hmac
import os
import secrets
import time
import zlib
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY_PREFIX: Final = "nr_"
_BODY_CHARS: Final = 43  # 62^43 > 2^256
_CHECK_CHARS: Final = 6  # 62^6 > 2^32


def new_id(prefix: str) -> str:
    """new_id("req") -> "req_0199..." (prefix, then a UUIDv7 as 32 hex digits)."""
    ms = time.time_ns() // 1_000_000
    rest = int.from_bytes(os.urandom(10), "big")
    value = (ms & 0xFFFFFFFFFFFF) << 80 | 7 << 76 | (rest >> 68) << 64 | 0b10 << 62 | (rest & 0x3FFFFFFFFFFFFFFF)
    return f"{prefix}_{value:032x}"


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def new_key() -> str:
    """A fresh client key. It is shown once and never stored."""
    body = _base62(secrets.randbits(256), _BODY_CHARS)
    return KEY_PREFIX + body + _checksum(body)


def well_formed(key: str) -> bool:
    """Whether `key` can be one of ours at all: shape and checksum."""
    if len(key) != len(KEY_PREFIX) + _BODY_CHARS + _CHECK_CHARS or not key.startswith(KEY_PREFIX) or not key.isascii():
        return False
    body = key[len(KEY_PREFIX) : -_CHECK_CHARS]
    return body.isalnum() and hmac.compare_digest(_checksum(body), key[-_CHECK_CHARS:])


def key_digest(key: str, secret: bytes) -> bytes:
    """What is stored of a key: HMAC-SHA-256 under the server's secret (32 bytes)."""
    return hmac.digest(secret, key.encode("utf-8", "surrogateescape"), hashlib.sha256)


def key_display(key: str) -> str:
    """What is shown of a key later: its beginning, enough to recognise it and far too little to use it."""
    return key[:11] + "..." if len(key) > 16 else key[:2] + "..."


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_CHARS)
