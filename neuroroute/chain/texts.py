"""
What was asked and answered, kept for some days where STORE_PROMPTS is on.

`keep` only puts it into a buffer; `run` masks it, brings it to Postgres and removes what is old. These texts are no books: where the database is
away for long, or too much comes at once, they are lost.
"""

import asyncio
import logging
from collections import deque
from datetime import timedelta
from typing import Final

from neuroroute.caching.forms import assemble
from neuroroute.chain import conversation
from neuroroute.chain.call import Call
from neuroroute.chain.learning import answer_of, text_of
from neuroroute.core.clock import monotonic_s, utcnow
from neuroroute.core.errors import NeuroRouteError
from neuroroute.core.redaction import redacted
from neuroroute.core.types import Dialect
from neuroroute.store.call_texts import CallText, CallTexts
from neuroroute.store.postgres import Database

HEADER: Final = "x-neuroroute-store-prompts"
MOST_CHARS: Final = 20_000
FLUSH_S: Final = 1.0
EXPIRE_EVERY_S: Final = 3600.0
_BATCH: Final = 100
_MOST_WAITING_CHARS: Final = 16_000_000
_log = logging.getLogger("neuroroute.texts")


class Texts:
    """days: how long they are kept; masked: whether what gives people and systems away is masked first."""

    def __init__(self, database: Database, days: float, *, masked: bool) -> None:
        self._texts, self._days, self._masked = CallTexts(database), days, masked
        self._waiting: deque[CallText] = deque()
        self._waiting_chars = 0
        self.lost = 0

    def keep(self, call: Call) -> None:
        """Never raises, never waits. What is passed on unread has no text, and a caller may ask that nothing is kept."""
        principal, client = call.principal, call.client
        if principal is None or client is None or call.dialect is Dialect.PASS or not principal.store_prompts or not _asked(call):
            return
        prompt = shortened(conversation.transcript(client))
        kept = CallText(call.request_id, principal.user_id, prompt, shortened(_answer(call)), utcnow())
        self._put(kept)

    def _put(self, one: CallText) -> None:
        self._waiting.append(one)
        self._waiting_chars += len(one.prompt) + len(one.answer)
        while self._waiting_chars > _MOST_WAITING_CHARS:
            self._take()
            self.lost += 1

    def _take(self) -> CallText:
        one = self._waiting.popleft()
        self._waiting_chars -= len(one.prompt) + len(one.answer)
        return one

    async def run(self) -> None:
        """Write and expire, for ever."""
        expired_s = -EXPIRE_EVERY_S
        while True:
            await self.flush()
            if monotonic_s() - expired_s >= EXPIRE_EVERY_S:
                await self._expire()
                expired_s = monotonic_s()
            await asyncio.sleep(FLUSH_S)

    async def _expire(self) -> None:
        before, gone = utcnow() - timedelta(days=self._days), 1
        while gone:
            gone = await self._texts.expire(before)

    async def flush(self) -> None:
        """All that was kept before is in the table then. Raises: DatabaseAway: then it waits for the next time."""
        while self._waiting:
            batch = [self._take() for _ in range(min(_BATCH, len(self._waiting)))]
            try:
                await self._texts.put_many(await asyncio.to_thread(self._shown, batch))
            except BaseException:
                for one in batch:
                    self._put(one)
                raise

    def _shown(self, batch: list[CallText]) -> list[CallText]:
        if not self._masked:
            return batch
        return [CallText(one.request_id, one.user_id, redacted(one.prompt), redacted(one.answer), one.created_at) for one in batch]

    async def close(self, deadline_s: float = 2.0) -> None:
        """Write what is left, for at most `deadline_s`."""
        try:
            async with asyncio.timeout(deadline_s):
                await self.flush()
        except (TimeoutError, NeuroRouteError) as error:
            _log.warning("the last texts of calls are lost: %s", error)


def _asked(call: Call) -> bool:
    """Whether the caller lets it be kept: whatever is said but yes means no."""
    said = call.headers.get(HEADER)
    return call.steering.store_prompts and (said is None or said.strip().lower() in ("true", "yes", "1"))


def _answer(call: Call) -> str:
    entry = call.kept_entry
    if call.answer is not None or entry is None:
        return answer_of(call)
    body = assemble(entry.body) if entry.stream and call.dialect is Dialect.CHAT else None if entry.stream else entry.body
    return "" if body is None else text_of(body)


def shortened(text: str) -> str:
    half = MOST_CHARS // 2
    return text if len(text) <= MOST_CHARS else f"{text[:half]}\n[... {len(text) - 2 * half} characters ...]\n{text[-half:]}"
