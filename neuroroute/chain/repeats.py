"""
A request that comes again byte by byte, and whose answer is kept: answered in the same turn of the loop, by plain calls.

Nothing that may have changed is taken from memory: the key is looked up and its limits are asked, the answer must still be in the cache, and the
call goes on the books. Remembered is what the very same bytes lead to each time: their meaning and their cache key. Whatever is not as it was when
they were remembered (another catalogue, a changed key, an answer that went) sends the request the usual way, through `chain.life`.
"""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Final

from neuroroute.caching.keys import Share
from neuroroute.chain import cache, replies
from neuroroute.chain.call import NO_BODY, Call, Steering
from neuroroute.chain.rate_limit import tokens_asked
from neuroroute.chain.services import Services
from neuroroute.chain.settle import settle
from neuroroute.core.clock import monotonic_s
from neuroroute.core.dataclass import dataclass
from neuroroute.core.types import Dialect, Principal, Reply
from neuroroute.routing.catalog import Catalog

KNOWN_BYTES: Final = 1500
"""What one remembered request takes: 1.43 KB measured, with 420 characters of headers and a tag."""
SHARE: Final = 50
"""One in so many bytes of CACHE_MAX_BYTES is for them, beside the answers."""
LONGEST_BYTES: Final = 32 << 10
"""A longer body is not looked up: hashing it would cost as much as is saved."""
_SALT: Final = os.urandom(16)

Head = Sequence[tuple[bytes, bytes]]
"""Names and values of a request's headers, as they came."""


@dataclass(slots=True)
class _Known:
    """What a request meant, and what of the world that rests on. mark: by which its bytes are known again, its key's among them."""

    mark: bytes
    principal: Principal
    catalog: Catalog
    share: Share
    dialect: Dialect
    path: str
    group: str
    requested_model: str
    steering: Steering
    client_request_id: str | None
    cache_key: bytes
    tokens: int
    made_at_s: float = 0.0  # of the answer whose headers, but for those of each call, `lines` are
    lines: str = ""


class Repeats:
    """The requests of this process that were answered from its cache. lines_of: how headers are written; those that stay the same are once."""

    def __init__(self, services: Services, lines_of: Callable[[Mapping[str, str]], str]) -> None:
        self._s, self._lines_of = services, lines_of
        self._most = services.settings.cache_max_bytes // services.settings.workers // (SHARE * KNOWN_BYTES)
        self._known: OrderedDict[int, _Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def remember(self, call: Call, path: str, head: Head, body: bytes) -> None:
        """Learn from a call that is over. Does nothing where its answer was not a whole one of the cache, or it had a wish of its own."""
        entry, principal, catalog, key = call.kept_entry, call.principal, call.catalog, call.cache_key
        if call.cache_state != "hit" or call.error is not None or len(body) > LONGEST_BYTES:
            return
        if entry is None or principal is None or catalog is None or key is None:
            return
        if principal.gate is not None or self._s.texts is not None:  # who must show where they are, or whose words are kept
            return
        rules = self._s.limit_rules.of(principal, call.group)
        if call.stream or call.steering.explain or rules.caps or self._s.cache.peek(key) is not entry:
            return
        self._known[hash((path, head, body))] = _Known(
            mark=_mark(path, head, body),
            principal=principal,
            catalog=catalog,
            share=self._s.cache_rules.share,
            dialect=call.dialect,
            path=call.path,
            group=call.group,
            requested_model=call.requested_model,
            steering=call.steering,
            client_request_id=call.client_request_id,
            cache_key=key,
            tokens=tokens_asked(call, rules.fewest_tokens) if rules.fewest_tokens else 0,
        )
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def knows(self, path: str, head: Head, body: bytes) -> bool:
        """Whether `answer` is worth a try. A few hashes, and none while nothing is remembered."""
        return len(self._known) > 0 and hash((path, head, body)) in self._known

    def answer(self, path: str, head: Head, body: bytes, headers: Mapping[str, str], bearer: str) -> tuple[int, bytes, str] | None:
        """Status, body and header lines of the answer, which is on the books; None: go the usual way, nothing was done."""
        place = hash((path, head, body))
        known = self._known.get(place)
        if known is None or known.mark != _mark(path, head, body):
            return None
        started_s, s = monotonic_s(), self._s
        principal = s.keyring.find(bearer)
        if principal is not known.principal and principal == known.principal:
            known.principal = principal  # the keys were read again
        if principal is not known.principal or s.catalog.current is not known.catalog or s.cache_rules.share is not known.share:
            del self._known[place]
            return None
        entry = s.cache.peek(known.cache_key)
        if entry is None or entry.stream:
            return None
        rules = s.limit_rules.of(principal, known.group)
        verdict = s.limiter.try_admit(rules.checks, known.tokens if rules.fewest_tokens else 0) if not rules.caps else None
        if verdict is None or not verdict.admitted:
            return None
        s.cache.counts.hits += 1
        call = Call(
            source=NO_BODY,
            bearer="",
            started_s=started_s,
            dialect=known.dialect,
            path=known.path,
            headers=headers,
            group=known.group,
            client_request_id=known.client_request_id,
            principal=principal,
            requested_model=known.requested_model,
            steering=known.steering,
            catalog=known.catalog,
            verdict=verdict,
            cache_key=known.cache_key,
            cache_state="hit",
        )
        cache.taken(call, entry)
        call.lap("cache")
        settle(call, s)
        own = replies.own(call)
        if known.made_at_s != entry.made_at_s:
            reply = Reply(entry.body, call.usage, entry.status, {"content-type": entry.content_type})
            shared = {name: value for name, value in replies.whole_headers(call, reply).items() if name not in own}
            known.made_at_s, known.lines = entry.made_at_s, self._lines_of(shared)
        return entry.status, entry.body, f"{known.lines}\r\n{self._lines_of(own)}"


def _mark(path: str, head: Head, body: bytes) -> bytes:
    return hashlib.sha256(b"\0".join((_SALT, path.encode("utf-8", "surrogateescape"), *chain.from_iterable(head), body))).digest()
