"""
The semantic cache: an answer to the same question in other words. Off unless the configuration, the call's policy or its key says so.

It stands where a provider would be asked, so nobody pays for it who hits, joins or does not want it. The vector of the last user message is
asked of the embedding model as any call is: reserved, within the provider's limits, on the books as a row of its own (tag TAG, client_request_id
= the call it is for). All else of the body must be equal: it is part of the scope, as are user and model. What is found must lie above the
threshold and pass `likeness`; labels of `never` are not looked up at all. Whatever fails or takes too long here, the call goes on.
"""

import asyncio
import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from neuroroute.caching import likeness
from neuroroute.caching.entry import Entry
from neuroroute.caching.keys import FORM_FREE
from neuroroute.chain import cache
from neuroroute.chain.call import NO_BODY, Call, Steering
from neuroroute.chain.classify import read as classified
from neuroroute.chain.dispatch import dispatch
from neuroroute.chain.plan import plan
from neuroroute.chain.reserve import reserve
from neuroroute.chain.services import Services
from neuroroute.chain.settle import settle
from neuroroute.core.clock import monotonic_s, unix_s, utcnow
from neuroroute.core.config import Config
from neuroroute.core.dataclass import dataclass
from neuroroute.core.errors import ClientGone, NeuroRouteError
from neuroroute.core.jsonbytes import dumps, loads
from neuroroute.core.tasks import spawn
from neuroroute.core.types import ClientRequest, Dialect, Reply
from neuroroute.routing.catalog import is_auto
from neuroroute.store.postgres import DatabaseAway, DatabaseFault
from neuroroute.store.semantic import Near, SemanticAnswers

TAG: Final = "semantic_cache"
AGAIN_S: Final = 10.0  # after an outage of the database
_EMBEDDING_S: Final = 30.0  # beyond the call's own wait the vector is still of use, to keep the answer under it
_MOST_NUMBERS: Final = 16_000  # what pgvector holds
_log = logging.getLogger("neuroroute.semantic")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of the call's question; the vector comes when it comes, None = not at all."""

    scope: bytes
    marks: likeness.Marks
    vector: asyncio.Task[list[float] | None]


class Semantic:
    """What is configured, and whether this server can do it. `configure` begins anew."""

    def __init__(self, answers: SemanticAnswers) -> None:
        self._answers = answers
        self._ready: asyncio.Task[bool] | None = None
        self._again_s = 0.0
        self._off = False
        self.configure(Config())
        self.hits = self.misses = self.refused = self.failed = 0

    def configure(self, config: Config) -> None:
        self.config, self._off, self._again_s = config.cache.semantic, False, 0.0
        named = {name: policy.semantic_cache for name, policy in config.routing.policies.items()}
        self._policies = {name: wanted for name, wanted in named.items() if wanted is not None}

    def readings(self) -> list[tuple[str, tuple[str, ...], float]]:
        """For metrics: (name, label values, value)."""
        found = {"hit": self.hits, "miss": self.misses, "refused": self.refused, "failed": self.failed}
        return [("neuroroute_cache_semantic", (outcome,), count) for outcome, count in found.items()]

    def wants(self, call: Call) -> bool:
        """Whether it is on for this call: its key says so first, then its policy, then the configuration."""
        principal, planned = call.principal, call.cache_plan
        if planned is None or not planned.read or not planned.write or call.cache_key is None or principal is None or self._off:
            return False
        if principal.semantic_cache is not None:
            return principal.semantic_cache
        if self._policies and call.catalog is not None and is_auto(call.requested_model):
            policy = call.steering.policy or call.catalog.auto_policy(call.requested_model)
            if policy in self._policies:
                return self._policies[policy]
        return self.config.enabled

    async def find(self, call: Call, s: Services) -> Entry | None:
        """The answer to a call that asks the same in other words; then `cache_state` is hit. Never raises, within the configured time."""
        question = _question(call)
        marks = likeness.read(question[0]) if question is not None else None
        if question is None or marks is None or not await self._is_ready():
            return None
        if call.catalog is None or call.catalog.entry(self.config.embedding_model) is None:
            self._give_up(f"the embedding model {self.config.embedding_model!r} is not in the catalogue")
            return None
        if (call.classification or classified(call, s)).label in self.config.never:
            return None
        text, rest = question
        scope = hashlib.sha256(self.config.embedding_model.encode() + b"\0" + cache.key_of(call, s, rest)).digest()
        asked = call.semantic = Asked(scope, marks, spawn(self._vector(call, text, s), name="embedding"))
        began_s = monotonic_s()
        try:
            async with asyncio.timeout(self.config.timeout_ms / 1000):
                vector = await asyncio.shield(asked.vector)
                near = await self._answers.nearest(scope, vector) if vector is not None else []
                found = await self._chosen(call, asked, near, s)
        except (TimeoutError, DatabaseAway, DatabaseFault):
            self.failed += 1
            return None
        finally:
            call.upstream_s += monotonic_s() - began_s
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
        return found

    async def _chosen(self, call: Call, asked: Asked, near: Sequence[Near], s: Services) -> Entry | None:
        for one in near:
            if one.similarity < self.config.threshold:
                break
            if likeness.differs(asked.marks, likeness.unpack(one.marks)):
                self.refused += 1
                continue
            entry = s.cache.look(one.cache_key) or await s.cache.look_behind(one.cache_key)
            if entry is None:
                spawn(self._forget(asked.scope, one.cache_key), name="semantic answer that is gone")
                continue
            if cache.is_true_still(call, entry):
                return _taken(call, entry, one, s)
        return None

    def keep(self, call: Call, entry: Entry, ttl_s: float, s: Services) -> None:
        """The call's answer was kept: from now on it is found by its question's meaning, too."""
        if call.semantic is not None:
            spawn(self._put(call, call.semantic, entry, ttl_s, s), name="semantic answer")

    async def drop(self, tag: str | None) -> None:
        """As ResponseCache.drop. An outage leaves rows behind that find no answer any more."""
        try:
            await self._answers.drop(tag)
        except (DatabaseAway, DatabaseFault):
            _log.warning("the vectors of dropped answers could not be removed; they end with their time")

    async def expire(self) -> int:
        return await self._answers.expire()

    async def _put(self, call: Call, asked: Asked, entry: Entry, ttl_s: float, s: Services) -> None:
        vector = await asked.vector
        assert call.cache_key is not None
        if vector is None:
            return
        try:
            await self._answers.put(
                asked.scope, call.cache_key, vector, marks=asked.marks.pack(), request_id=call.request_id,
                tags=(*entry.tags, f"model:{entry.provider}/{entry.model}"), expires_at=utcnow() + timedelta(seconds=ttl_s),
            )  # fmt: skip
            if s.cache.is_dropped(entry):  # while its vector was on the way
                await self._answers.forget(asked.scope, call.cache_key)
        except (DatabaseAway, DatabaseFault):
            self.failed += 1

    async def _forget(self, scope: bytes, key: bytes) -> None:
        try:
            await self._answers.forget(scope, key)
        except DatabaseAway:
            return

    async def _is_ready(self) -> bool:
        if self._ready is None:
            if monotonic_s() < self._again_s:
                return False
            self._ready = spawn(self._prepared(), name="semantic cache")
        return await asyncio.shield(self._ready)

    async def _prepared(self) -> bool:
        try:
            if await self._answers.prepare():
                return True
            self._give_up("this PostgreSQL has no extension `vector` (pgvector)")
        except DatabaseAway:
            self._ready, self._again_s = None, monotonic_s() + AGAIN_S
        except DatabaseFault as fault:
            self._give_up(f"its table can not be made: {fault.__cause__ or fault}")
        return False

    def _give_up(self, why: str) -> None:
        self._off, self._ready = True, None
        _log.warning("the semantic cache stays off: %s", why)

    async def _vector(self, call: Call, text: str, s: Services) -> list[float] | None:
        """Ask the embedding model, as a call of its own that is on the caller's books."""
        assert call.principal is not None
        name = self.config.embedding_model
        body = {"model": name, "input": text, "encoding_format": "float"}
        asks = Call(
            NO_BODY, "", monotonic_s(), Dialect.EMBEDDINGS, path="/embeddings", client_request_id=call.request_id,
            principal=replace(call.principal, allowed_models=None), requested_model=name, catalog=call.catalog,
            steering=Steering(tags={**call.steering.tags, TAG: "true"}, store_prompts=False),  # its words are kept with the call's own, if at all
        )  # fmt: skip
        asks.client = ClientRequest(Dialect.EMBEDDINGS, dumps(body), body, path="/embeddings", request_id=asks.request_id)
        try:
            async with asyncio.timeout(_EMBEDDING_S):
                plan(asks, s)
                await reserve(asks, s)
                async with dispatch(asks, s) as answer:
                    return _numbers(answer)
        except NeuroRouteError as error:
            asks.error = error
        except (TimeoutError, asyncio.CancelledError):
            asks.error = ClientGone("nobody waits for it any more")
        finally:
            settle(asks, s)
        self.failed += 1
        return None


def _taken(call: Call, entry: Entry, near: Near, s: Services) -> Entry | None:
    """The call is answered with it; the next equal one finds it without a vector."""
    assert call.cache_key is not None
    entry = replace(entry, why=f"similar to {near.request_id}, {near.similarity:.3f}", similarity=near.similarity)
    s.cache.keep(call.cache_key, entry, entry.expires_at_s - unix_s())
    if entry.stream != call.stream and call.dialect in FORM_FREE:
        told = s.cache.other_form(call.cache_key, entry)
        if told is None:
            return None
        entry = told
    call.cache_state = "hit"
    cache.taken(call, entry)
    return entry


def _question(call: Call) -> tuple[str, Mapping[str, Any]] | None:
    """(text of the last user message, the body without it); None where the call does not end in such a text."""
    body = call.body
    name = "input" if call.dialect is Dialect.RESPONSES else "messages"
    if call.dialect not in (Dialect.CHAT, Dialect.MESSAGES, Dialect.RESPONSES):
        return None
    said = body.get(name)
    if isinstance(said, str):
        return said, {**body, name: ""}
    last = said[-1] if isinstance(said, list) and said else None
    if not isinstance(last, dict) or last.get("role") != "user":
        return None
    content = last.get("content")
    if isinstance(content, str):
        return content, {**body, name: [*said[:-1], {**last, "content": ""}]}  # type: ignore[index]
    part = content[0] if isinstance(content, list) and len(content) == 1 else None
    if not isinstance(part, dict) or not isinstance(part.get("text"), str):
        return None
    return part["text"], {**body, name: [*said[:-1], {**last, "content": [{**part, "text": ""}]}]}  # type: ignore[index]


def _numbers(answer: object) -> list[float] | None:
    """The vector of an answer; None where it holds none that can be compared."""
    if not isinstance(answer, Reply):
        return None
    try:
        found = loads(answer.body)["data"][0]["embedding"]
        numbers = [float(number) for number in found]
    except (ValueError, TypeError, LookupError):
        return None
    usable = 0 < len(numbers) <= _MOST_NUMBERS and all(map(math.isfinite, numbers)) and any(numbers)
    return numbers if usable else None
