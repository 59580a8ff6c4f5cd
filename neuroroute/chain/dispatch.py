"""
Stage `dispatch`: try the plan's targets in order until one gives a first good byte; that one is then final.

After a failure before it the next target is tried, and the last one a second time where that can help (`Retry.SAME`). UPSTREAM_MAX_RETRIES bounds the tries of a call, the retry budget those of all calls together, and a client that is itself retrying
gets no second try of the same target from us on top. The breaker of each target hears every outcome.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from copy import copy
from types import TracebackType
from typing import Any, Final

from neuroroute.adapters import translator_for
from neuroroute.adapters.base import StreamTranslator, Translator
from neuroroute.adapters.transport import UpstreamResponse
from neuroroute.adapters.upstream import shown_headers
from neuroroute.chain.call import Call, Tried
from neuroroute.chain.hedge import hedged
from neuroroute.chain.meter import checked
from neuroroute.chain.rate_limit import tokens_asked
from neuroroute.chain.services import Services
from neuroroute.chain.trace import marked
from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import (
    NeuroRouteError,
    Retry,
    Unavailable,
    UpstreamBusy,
    UpstreamError,
    UpstreamLimited,
    UpstreamTimeout,
)
from neuroroute.core.types import Dialect, Reply, Target
from neuroroute.limits.queue import Full, Queue, Turn
from neuroroute.limits.throttle import Throttle
from neuroroute.routing.health import Attempt

_BACKOFF_S: Final = 0.1  # mean of the pause before the second try of the same target, by full jitter. Guess.
_TOO_MUCH: Final = (UpstreamLimited, UpstreamBusy, UpstreamTimeout)
_MAX_PAUSE_S: Final = 2.0  # a provider's longer Retry-After is passed on to the client instead of slept here


class Streaming:
    """
    An answer that has begun. `first` goes out first, then what `next` gives; once `done` is true nothing follows.

    status, headers: of the answer, where they are not those of every event stream.
    """

    __slots__ = ("_call", "_response", "_s", "_translator", "done", "first", "headers", "status")

    def __init__(self, call: Call, response: UpstreamResponse, translator: StreamTranslator, s: Services) -> None:
        self._call, self._response, self._translator, self._s = call, response, translator, s
        self.done = False
        self.first = b""
        self.status, self.headers = response.status, {}
        if call.dialect is Dialect.PASS:
            self.headers = shown_headers(response.headers)

    @property
    def answer(self) -> Mapping[str, Any] | None:
        """The whole answer as an object, once it is there and where a translator made it."""
        return getattr(self._translator, "answer", None)

    @property
    def usage_event(self) -> bytes:
        """The event that reports what was used, where the provider sent one."""
        return getattr(self._translator, "usage_event", b"")

    def belongs_to(self, call: Call) -> None:
        """The call that it is an answer to, from now on."""
        self._call = call

    async def next(self) -> bytes:
        """The client's next bytes; empty only when the end of the answer brings none. Raises UpstreamError."""
        translator = self._translator
        while True:
            chunk = await self._response.readany()
            out = translator.feed(chunk) if chunk else translator.end()
            if translator.done or not chunk:
                self.done = True
                self.note()
                return out
            if out:
                return out

    def text(self) -> str:
        """What was said so far."""
        return self._translator.text()

    def note(self) -> None:
        """What was used so far goes to the call: as reported, or counted from the delivered text where nothing was reported."""
        call = self._call
        call.finish_reason = self._translator.finish_reason
        call.usage = checked(call, self._translator.usage, self._translator.text, self._s)

    def failure(self, error: NeuroRouteError) -> bytes:
        """The event that tells the client of a failure inside the stream; empty where the stream has no events."""
        return self._translator.failure(error)


class dispatch:
    """
    `async with` gives the Reply, or the Streaming answer whose first good bytes are there.

    Raises the last UpstreamError when no target answered; Unavailable when every breaker refuses. Leaving the block ends the upstream's
    answer, whatever happened: a half-read one is cancelled at the provider.
    """

    __slots__ = ("_attempt", "_response", "_s", "_streaming", "_throttle", "_turns", "call")

    def __init__(self, call: Call, s: Services) -> None:
        self.call, self._s = call, s
        self._attempt: Attempt | None = None
        self._response: UpstreamResponse | None = None
        self._streaming: Streaming | None = None
        self._turns: list[Turn] = []
        self._throttle: Throttle | None = None

    async def __aenter__(self) -> Reply | Streaming:
        call, s = self.call, self._s
        assert call.decision is not None
        s.retry_budget.call(monotonic_s())
        last: NeuroRouteError | None = None
        targets = call.decision.targets
        for target in (*targets, targets[-1]):  # the last one gets a second try, the others have somebody after them
            again = bool(call.tried) and call.tried[-1].target is target
            if call.tried and not self._may_retry(again):
                break
            if again:
                if not isinstance(last, UpstreamError) or last.retry is not Retry.SAME:
                    break
                await asyncio.sleep(_pause_s(last))
            try:
                if s.hedging.on and not call.tried and (wait_s := s.hedging.wait_s(call, target, s)) is not None:
                    return await hedged(self, wait_s, s)
                return await self.attempt_at(target)
            except UpstreamError as error:
                last = error
                if error.retry is Retry.NEVER:
                    raise
            except Unavailable as refused:  # its breaker is open; a failure seen by this call says more than that
                last = last or refused
        raise last or Unavailable("No target can serve this model at the moment.", retry_after_s=1.0)

    def fork(self) -> "dispatch":
        """An attempt of its own, which changes nothing of the call until it is adopted."""
        shadow = copy(self.call)
        shadow.tried = []
        return dispatch(shadow, self._s)

    def adopt(self, other: "dispatch", answer: "Reply | Streaming | NeuroRouteError", waited_s: float) -> "Reply | Streaming":
        """A fork's answer is the call's. Raises the error that it ended in."""
        call, theirs = self.call, other.call
        call.target, call.trace, call.usage, call.finish_reason = theirs.target, theirs.trace, theirs.usage, theirs.finish_reason
        call.first_byte_s = theirs.first_byte_s
        call.upstream_s += waited_s
        call.tried += theirs.tried
        self._attempt, self._response, self._streaming, self._throttle = other._attempt, other._response, other._streaming, other._throttle
        self._turns = other._turns
        if isinstance(answer, NeuroRouteError):
            raise answer
        if isinstance(answer, Streaming):
            answer.belongs_to(call)
        return answer

    def drop(self) -> None:
        """A fork that is not taken: its answer is cancelled at the provider."""
        if self._attempt is not None:
            self._attempt.abandoned()
        self._close(0)

    def _may_retry(self, again: bool) -> bool:
        call, s = self.call, self._s
        if call.dialect is Dialect.PASS:  # a body that went by is gone, and what such a path does twice nobody knows
            return False
        if len(call.tried) > s.settings.upstream_max_retries:
            return False
        if again and call.headers.get("x-stainless-retry-count", "0") != "0":
            return False
        return s.retry_budget.take(monotonic_s())

    async def attempt_at(self, target: Target) -> Reply | Streaming:
        """One attempt. A hang-up of our client tells nothing about the target and only frees its probe."""
        call, s = self.call, self._s
        assert call.client is not None and call.reservation is not None
        assert call.decision is not None
        throttle = s.throttles.of(target.name)
        if throttle.is_full and target is not call.decision.targets[-1]:
            raise Unavailable(f"{target.name} bears no more calls at present", retry_after_s=1.0)
        if queues := s.queues.of(target.provider.name, target.name):
            await self._line_up(target, queues)
        if throttle.places.most:
            await self._line_up(target, (throttle.queue,))
        else:
            throttle.places.running += 1
            self._throttle = throttle
        began_s = monotonic_s()
        try:
            attempt = self._attempt = s.health.admit(target.name, began_s)
        except Unavailable:
            self._close(0)
            raise
        call.target, span_id = target, 0
        try:
            translator = translator_for(call.client.dialect, target)
            request, span_id = marked(call, translator.request(call.client, target), s)
            self._response = await s.transport.open(request, target.timeouts, call.reservation).__aenter__()
            answer = await self._answer(self._response, translator, target)
        except UpstreamError as error:
            now_s = monotonic_s()
            call.upstream_s += now_s - began_s
            call.tried.append(Tried(target, type(error).__name__, now_s - began_s, began_s, span_id))
            attempt.failed(error, now_s)
            if isinstance(error, _TOO_MUCH):
                throttle.refused(now_s, began_s)
            self._close(0)
            raise
        except BaseException:
            attempt.abandoned()
            self._close(0)
            raise
        now_s = call.first_byte_s = monotonic_s()
        call.upstream_s += now_s - began_s
        call.tried.append(Tried(target, "ok", now_s - began_s, began_s, span_id))
        if isinstance(answer, Reply):
            attempt.succeeded(now_s, call.usage.completion_tokens, whole=True)
            throttle.answered((now_s - began_s) * 1000.0, call.usage.completion_tokens, now_s)
        else:
            attempt.first_byte(now_s)
            throttle.began((now_s - began_s) * 1000.0, now_s)
        return answer

    async def _answer(self, response: UpstreamResponse, translator: Translator, target: Target) -> Reply | Streaming:
        call = self.call
        assert call.client is not None
        if response.status >= 300:
            raise translator.error(response.status, response.headers, await response.read())
        if call.dialect is Dialect.PASS and not _is_small_json(response):
            return await self._begun(response, translator, target)
        if call.client.stream and call.dialect is not Dialect.PASS:  # whatever its content type: plain servers call a stream text/html
            return await self._begun(response, translator, target)
        reply = translator.whole(call.client, target, response.status, response.headers, await response.read())
        call.finish_reason = reply.finish_reason
        call.usage = checked(call, reply.usage, lambda: reply.body.decode("utf-8", "replace"), self._s)
        return reply

    async def _begun(self, response: UpstreamResponse, translator: Translator, target: Target) -> Streaming:
        assert self.call.client is not None
        stream = Streaming(self.call, response, translator.stream(self.call.client, target), self._s)
        stream.first = await stream.next()
        self._streaming = stream
        return stream

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        stream, attempt, now_s = self._streaming, self._attempt, monotonic_s()
        assert attempt is not None
        if stream is not None and not stream.done:
            stream.note()
        if isinstance(error, UpstreamError):
            self.call.tried[-1].outcome = type(error).__name__
            attempt.failed(error, now_s)
        elif stream is None or stream.done:
            attempt.succeeded(now_s, self.call.usage.completion_tokens)
        attempt.abandoned()  # no verdict yet: our client left
        self._close(self.call.usage.prompt_tokens + self.call.usage.completion_tokens)

    async def _line_up(self, target: Target, queues: Sequence[Queue]) -> None:
        """Wait for the provider's own limits. Raises UpstreamLimited where there is no turn in time."""
        call = self.call
        assert call.principal is not None
        began_s, tokens = monotonic_s(), tokens_asked(call)
        try:
            for queue in queues:
                turn = queue.try_enter(tokens) or await queue.enter(call.principal.key_id, tokens)
                if isinstance(turn, Full):
                    text = f"The limits of the provider {target.provider.name} are reached. Please try again in a moment."
                    error = UpstreamLimited(text, retry_after_s=turn.retry_after_s)
                    call.target = target
                    call.tried.append(Tried(target, type(error).__name__, monotonic_s() - began_s, began_s))
                    raise error
                self._turns.append(turn)
        except BaseException:
            self._close(0)
            raise
        finally:
            call.upstream_s += monotonic_s() - began_s

    def _close(self, used_tokens: int) -> None:
        throttle, self._throttle = self._throttle, None
        if throttle is not None:
            throttle.leave()
        turns, self._turns = self._turns, []
        for turn in turns:
            turn.end(used_tokens)
        response, self._response = self._response, None
        if response is not None:
            response.close()


_SMALL_JSON_BYTES: Final = 1 << 20


def _is_small_json(response: UpstreamResponse) -> bool:
    """What is read whole on a path that is only passed on: everything else goes through piece by piece."""
    length = response.headers.get("content-length", "0")
    return "json" in response.headers.get("content-type", "json") and length.isdigit() and int(length) <= _SMALL_JSON_BYTES


def _pause_s(error: UpstreamError) -> float:
    """What the provider asked for, where that is short; else a random pause."""
    wanted_s = error.retry_after_s if error.retry_after_s is not None else 2 * _BACKOFF_S * random.random()
    return min(wanted_s, _MAX_PAUSE_S)
