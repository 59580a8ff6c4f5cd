"""
When two calls are the same: the key of the exact cache.

The key covers everything that can change the answer: who may see it (the scope), what the client speaks and asks for, every field of the body
that reaches the model, the catalogue it is routed by and the steering of the call. Two bodies that differ only in white space or in the order
of their fields have one key; so have a whole answer and a stream, where one can be told as the other (`FORM_FREE`).
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from neuroroute.core.jsonbytes import dumps_sorted
from neuroroute.core.types import Dialect, Principal

KEY_VERSION: Final = 2
"""Part of every key; raised when the form of the entries changes."""

FORM_FREE: Final = frozenset({Dialect.CHAT, Dialect.COMPLETIONS})
"""Dialects whose answers are kept in one form and served in both (see forms)."""

_OURS: Final = "neuroroute"
_FORM: Final = frozenset({_OURS, "stream", "stream_options"})


class Share(StrEnum):
    """Who may be answered with whose answers."""

    KEY = "key"
    USER = "user"
    EVERYONE = "everyone"


def scope_of(principal: Principal, share: Share) -> str:
    """The group of callers that may see each other's answers."""
    if share is Share.KEY:
        return "k:" + principal.key_id
    return "u:" + principal.user_id if share is Share.USER else "*"


def cache_key(
    *,
    scope: str,
    dialect: Dialect,
    path: str,
    catalog_version: str | int | None,
    model: str,
    body: Mapping[str, Any],
    stream: bool,
    query: str = "",
    steering: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """
    32 bytes, equal for equal calls.

    model: as requested, the policy included (auto:cheap). body: the client's, parsed; its member `neuroroute` is left out, `steering` says what
    of it matters. headers: those that change what the provider answers (anthropic-beta). catalog_version: None where nothing but the named model
    decides who answers; then who did is checked at the look-up.
    """
    if dialect in FORM_FREE:
        stream = False
        if not _FORM.isdisjoint(body):
            body = {name: value for name, value in body.items() if name not in _FORM}
    elif _OURS in body:
        body = {name: value for name, value in body.items() if name != _OURS}
    head = [KEY_VERSION, scope, dialect, path, query, catalog_version, model, stream, steering, headers]
    return hashlib.sha256(dumps_sorted(head) + b"\n" + dumps_sorted(body)).digest()
