"""What is logged of a mixed run, at the most talkative level, in both forms: no key, no prompt, no answer, no path of a file of ours."""

import asyncio
import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from neuroroute.core import jsonbytes, log
from neuroroute.web.state import WATCH
from tests.support import fakes
from tests.support.gateway import ADMIN_KEY, Gateway, gateway, model, provider
from tests.support.relay import Relay
from tests.support.upstream import CUT, Upstream, error, html, reset, sse, whole

PROMPT = "purple-elephant-prompt"
ANSWER = "crimson-walrus-answer"
HOOK_SECRET, HOOK_PATH = "hook-signing-secret", "hook-path-that-is-a-credential"
ANTHROPIC_KEY, STOLEN_KEY = "ant-upstream-key-value", "nr_stolenkeythatopensnothing1234567890"


@pytest.fixture(params=[False, True], ids=["lines", "pretty"])
def logged(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """All that is logged, at level trace; afterwards logging is as it was."""
    names = ("", "neuroroute", "asyncio", "aiohttp")
    before = {name: logging.getLogger(name).level for name in names}
    handlers = list(logging.getLogger().handlers)
    out = io.StringIO()
    log.setup("trace", pretty=request.param, stream=out)
    yield out
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


async def ask(gw: Gateway, body: Any, path: str = "/v1/chat/completions", **options: Any) -> int:
    async with gw.post(path, body, **options) as response:
        await response.read()
        return int(response.status)


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": PROMPT}], **fields}


async def mixed(gw: Gateway, upstream: Upstream, relay: Relay) -> str:
    """Calls of all kinds, good and bad. Returns the key that they used."""
    key = str((await gw.new_key(name="mixed"))["key"])
    piece = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": ANSWER}}],
    }
    good = {"model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}]}
    for steps in (
        [whole(good)], [whole({**good, "usage": {"prompt_tokens": -5, "completion_tokens": 10**15}})], [error(401, f"Incorrect API key: {PROMPT}")] * 3,
        [error(400, f"bad {PROMPT}")], [error(500, ANSWER)] * 3, [html(502)] * 3, [reset()] * 3, [whole(ANSWER)] * 3,
    ):  # fmt: skip
        upstream.will(*steps)
        await ask(gw, chat(temperature=0.5 + len(steps) / 10), key=key)
    upstream.will(sse(piece, piece, CUT), sse(piece, 0.01, piece))
    await ask(gw, chat(stream=True), key=key)
    await ask(gw, chat(stream=True, temperature=1), key=key)
    await ask(gw, {"model": "claude", "max_tokens": 5, "messages": chat()["messages"]}, "/v1/messages", headers={"x-api-key": key})
    await ask(gw, {"prompt": PROMPT, "model_id": "m"}, "/prompt", key=key)
    await ask(gw, chat(), key=STOLEN_KEY)
    await ask(gw, chat(neuroroute={PROMPT: 1}), key=key)
    await ask(gw, {"model": PROMPT, "messages": PROMPT}, key=key)
    async with gw.http.post(
        gw.url + "/v1/chat/completions", data=b'{"messages": "' + PROMPT.encode(), headers={"authorization": f"Bearer {key}"}
    ) as r:
        await r.read()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gw.url.rpartition(":")[2]))
    writer.write(f"POST /v1/chat/completions HTTP/1.1\r\nhost x\r\nauthorization: Bearer {key}\r\n\r\n{PROMPT}".encode())
    await writer.drain()
    await reader.read()
    writer.close()
    await relay.refuse()
    await ask(gw, chat(temperature=0.9), key=key)
    await relay.restore()
    return key


async def test_logs_hold_no_key_and_no_prompt(database_url: str, logged: io.StringIO) -> None:
    async with Upstream(fakes.openai) as upstream, Upstream(fakes.anthropic) as claude, Relay.to(database_url) as relay:
        config = {
            "providers": {"p": provider(upstream.base_url), "a": provider(claude.url, "anthropic", api_key=ANTHROPIC_KEY)},
            "models": {"m": model("p"), "claude": model("a", "claude-sonnet-5-5")},
            "alerts": [{"rule": "error_rate", "above": 0, "for_s": 0, "min_calls": 1}],
            "alert_webhook": {"url": f"http://127.0.0.1:1/{HOOK_PATH}", "secret": HOOK_SECRET},
        }
        async with gateway(relay.url, config, breaker_failures=1000) as gw:
            await gw.app[WATCH].round()
            key = await mixed(gw, upstream, relay)
            await gw.app[WATCH].round()
            gw.services.log.error("as if a bug had logged it: Bearer %s", key)
            await asyncio.sleep(0.5)
    text = logged.getvalue()
    assert text.count("\n") > 3 and "as if a bug had logged it: Bearer***" in text and "alert: error_rate" in text
    if text.startswith("{"):
        assert all({"level", "time", "pid", "name", "msg"} <= set(jsonbytes.loads(line)) for line in text.splitlines())
    for word in (PROMPT, ANSWER, key, key[3:], ADMIN_KEY, STOLEN_KEY[3:], "sk-upstream-secret", ANTHROPIC_KEY, HOOK_SECRET, HOOK_PATH):
        assert word not in text, [line for line in text.splitlines() if word in line][:3]
