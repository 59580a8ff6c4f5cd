"""
One gateway before three providers, for clients that run in processes of their own.

    async with house(database_url) as at:
        results = await at.run(command, environment)

Each kind of provider (`openai`, `anthropic`, `lmstudio`) has the models `<kind>-chat`, `<kind>-eyes` (counts the pictures that arrive intact),
`<kind>-slow` (begins to answer a stream, then is silent; says nothing at all to others) and `<kind>-fails-<how>`; OpenAI and LM Studio have
`<kind>-embed`, and OpenAI has `openai-instruct`, a completion model. A client's script prints one JSON line for each check; `Result` is such a line.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from neuroroute.store.usage import Usage, UsageFilter, UsageRecord
from tests.support import fakes
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.upstream import CUT, STALL, Seen, Step, Upstream, anthropic_error, dumps, error, html, stream

KINDS = ("openai", "anthropic", "lmstudio")
CHAT = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-5", "lmstudio": "qwen2.5-7b-instruct"}
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
FAILURES = ("400", "overflow", "403", "429", "500", "html", "cut")
SPEAKS = ["chat", "completions", "embeddings", "pass"]  # no responses: these are kept and translated by the gateway
RUN_LIMIT_S = 200
PAGE_ROWS = 200
GONE_WITHIN_S = 5.0  # 2 s by the rules; this machine may be busy with other tests


@dataclass(frozen=True, slots=True)
class Result:
    """
    One check of a client against one kind of provider. fault: the traceback, or None.

    calls: by model, how many calls this check made that the gateway must have counted; left_at_s: when, by the monotonic clock, a slow call was left.
    """

    check: str
    kind: str
    fault: str | None
    calls: Mapping[str, int] = field(default_factory=dict)
    left_at_s: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class House:
    gateway: Gateway
    upstreams: Mapping[str, Upstream]

    async def run(self, *command: str, environment: Mapping[str, str]) -> list[Result]:
        """What a script found. It is told where the gateway is by NR_URL and NR_KEY."""
        told = {"NR_URL": self.gateway.url, "NR_KEY": self.gateway.key, "NR_PICTURE": PICTURE, "NO_PROXY": "127.0.0.1"}
        process = await asyncio.create_subprocess_exec(
            *command, env={**environment, **told}, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=1 << 24,
        )  # fmt: skip
        try:
            async with asyncio.timeout(RUN_LIMIT_S):
                out, told_off = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, told_off.decode()[-4000:]
        return [Result(**json.loads(line)) for line in out.decode().splitlines() if line.startswith("{")]

    async def keeps_books(self, results: Sequence[Result]) -> None:
        """Every call that the checks counted is one row; every call that was left was dropped upstream in time, and is one row, too."""
        expected: Counter[str] = Counter()
        for result in results:
            expected.update(result.calls)
        rows = await self._rows()
        found = Counter(row.requested_model for row in rows)
        assert {name: found[name] for name in expected} == dict(expected)
        for kind, up in self.upstreams.items():
            left = [at_s for result in results if result.kind == kind for at_s in result.left_at_s]
            slow = [seen for seen in up.seen if b"upstream-slow" in seen.body]
            assert len(slow) == len(left), f"{kind}: {len(left)} calls were left, {len(slow)} had reached the provider"
            for seen, at_s in zip(slow, left, strict=True):
                async with asyncio.timeout(GONE_WITHIN_S):
                    await seen.gone.wait()
                assert seen.gone_at_s - at_s < GONE_WITHIN_S
            assert [row.status for row in rows if row.requested_model == f"{kind}-slow"] == ["client_gone"] * len(left)

    async def _rows(self) -> list[UsageRecord]:
        """All rows, oldest first, as soon as no more come."""
        usage = Usage(self.gateway.database)
        before, same = -1, 0
        while same < 5:
            await self.gateway.services.ledger.flush()
            newest, total = await usage.page(UsageFilter(), limit=PAGE_ROWS)
            before, same = total, same + 1 if total == before else 0
            await asyncio.sleep(0.05)
        found = [*newest]
        while len(found) < total:
            older, _ = await usage.page(UsageFilter(), page=len(found) // PAGE_ROWS + 1, limit=PAGE_ROWS)
            found += older
        return found[::-1]


@contextlib.asynccontextmanager
async def house(database_url: str) -> AsyncIterator[House]:
    async with (
        Upstream(_answers("openai")) as openai,
        Upstream(_answers("anthropic")) as anthropic,
        Upstream(_answers("lmstudio")) as lmstudio,
    ):
        config = {
            "providers": {
                "openai": provider(openai.base_url, speaks=SPEAKS),
                "anthropic": provider(anthropic.url, "anthropic"),
                "lmstudio": provider(lmstudio.base_url, speaks=SPEAKS),
            },
            "models": {name: entry for kind in KINDS for name, entry in _models(kind).items()},
        }
        async with gateway(database_url, config, upstream_max_retries=0, breaker_failures=1000) as gw:
            yield House(gw, {"openai": openai, "anthropic": anthropic, "lmstudio": lmstudio})


def _models(kind: str) -> dict[str, Any]:
    found = {f"{kind}-{what}": model(kind, f"upstream-{what}") for what in ("eyes", "slow", *(f"fails-{how}" for how in FAILURES))}
    found[f"{kind}-chat"] = model(kind, CHAT[kind])
    if kind != "anthropic":
        found[f"{kind}-embed"] = model(kind, "text-embedding-3-small", kind="embedding")
    if kind == "openai":
        found["openai-instruct"] = model(kind, "gpt-3.5-turbo-instruct", kind="completion")
    return found


def _answers(kind: str) -> Callable[[Seen], Step]:
    """A provider of that kind, with the models that misbehave."""
    fake = getattr(fakes, kind)

    def answer(seen: Seen) -> Step:
        name = seen.json.get("model", "") if seen.method == "POST" and seen.body.startswith(b"{") else ""
        if name == "upstream-slow":
            return _begun(fake(seen)) if seen.json.get("stream") else Step((STALL,), raw=True)
        if name == "upstream-eyes":
            return fake(_with_text(seen, f"{seen.body.count(PICTURE.encode())} pictures"))
        if name.startswith("upstream-fails-"):
            return _failure(kind, name.removeprefix("upstream-fails-"), fake, seen)
        return fake(seen)

    return answer


def _begun(step: Step) -> Step:
    return replace(step, pieces=(*step.pieces[:4], STALL))


def _with_text(seen: Seen, text: str) -> Seen:
    body = {**seen.json, "messages": [{"role": "user", "content": text}]}
    return Seen(seen.method, seen.path, seen.query, seen.headers, dumps(body), seen.at_s)


TOO_LONG = {
    "openai": "This model's maximum context length is 8192 tokens. Input tokens exceed the configured limit of 8192 tokens.",
    "anthropic": "prompt is too long: 210000 tokens > 200000 maximum",
    "lmstudio": "The number of tokens exceeds the context window",
}


def _failure(kind: str, how: str, fake: Callable[[Seen], Step], seen: Seen) -> Step:
    if how == "cut":
        return replace(fake(seen), pieces=(*fake(seen).pieces[:4], CUT)) if seen.json.get("stream") else stream(CUT)
    if how == "html":
        return html(502)
    status, message, code = {
        "400": (400, "Unsupported value: 'temperature' does not support 9.", "unsupported_value"),
        "overflow": (400, TOO_LONG[kind], "context_length_exceeded"),
        "403": (403, "Your project may not use this model.", "model_not_allowed"),
        "429": (429, "Rate limit reached for requests.", "rate_limit_exceeded"),
        "500": (500, "The server had an error.", None),
    }[how]
    headers = {"retry_after_ms": "30"} if how == "429" else {}
    if kind == "anthropic":
        types = {400: "invalid_request_error", 403: "permission_error", 429: "rate_limit_error", 500: "api_error"}
        return anthropic_error(status, message, types[status], **headers)
    types = {400: "invalid_request_error", 403: "permission_error", 429: "rate_limit_error", 500: "server_error"}
    step = error(status, message, types[status], code, **headers)
    if how == "400":
        body = {"error": {"message": message, "type": types[status], "param": "temperature", "code": code}}
        return replace(step, pieces=(dumps(body),))
    return step
