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


_POOL: Final = 256
_tails: list[str] = []
os.register_at_fork(after_in_child=_tails.clear)  # or siblings would give out the same ids


def new_id(prefix: str) -> str:
    """new_id("req") -> "req_0199..." (prefix, then a UUIDv7 as 32 hex digits)."""
    try:
        tail = _tails.pop()
    except IndexError:
        _tails.extend(_more_tails())
        return new_id(prefix)
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{tail}"


def _more_tails() -> list[str]:
    """The random ends of ids, many for one question to the kernel, which costs as much as all else of an id."""
    digits = os.urandom(10 * _POOL).hex()
    return [f"7{digits[at : at + 3]}{'89ab'[int(digits[at + 3], 16) & 3]}{digits[at + 4 : at + 19]}" for at in range(0, len(digits), 20)]


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


_SALT: Final = os.urandom(16)


def salted(key: str) -> bytes:
    """By what this process knows a key again: a quarter of `key_digest`'s time, and of no use to anybody else."""
    return hashlib.sha256(_SALT + key.encode("utf-8", "surrogateescape")).digest()


def key_display(key: str) -> str:
    """What is shown of a key later: its beginning, enough to recognise it and far too little to use it."""
    return key[:11] + "..." if len(key) > 16 else key[:2] + "..."


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_CHARS)
