"""Discovery against servers that list models as OpenAI, LM Studio, Ollama, vLLM, OpenRouter and Anthropic do."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

import pytest

from neuroroute.adapters.discovery import Discovery, Listed, local_servers, models_of
from neuroroute.adapters.transport import Transport
from neuroroute.core.errors import UpstreamError
from neuroroute.core.types import Model, Price, Protocol, Provider, Timeouts
from tests.support import fakes
from tests.support.upstream import Seen, Step, Upstream, drip, error, html, stall, whole


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport(proxies={})
    yield transport
    await transport.close()


def openai(server: Upstream, name: str = "work", key: str | None = "sk-1") -> Provider:
    return Provider(name, Protocol.OPENAI, server.base_url, key, discover=True)


async def test_openai_lists_its_models(transport: Transport) -> None:
    async with Upstream(fakes.openai) as server:
        models = await models_of(transport, openai(server), 1.0)
        assert [(model.name, model.kind) for model in models] == [
            ("gpt-4o", "chat"),
            ("gpt-4o-mini", "chat"),
            ("text-embedding-3-small", "embedding"),
        ]
        assert server.seen[0].headers["authorization"] == "Bearer sk-1"


async def test_anthropic_lists_its_models(transport: Transport) -> None:
    async with Upstream(fakes.anthropic) as server:
        models = await models_of(transport, Provider("anthropic", Protocol.ANTHROPIC, server.url, "sk-ant"), 1.0)
        assert [model.name for model in models] == ["claude-sonnet-5-5"]
        assert server.seen[0].headers["x-api-key"] == "sk-ant"


async def test_lm_studio_says_more(transport: Transport) -> None:
    async with Upstream(fakes.lmstudio) as server:
        qwen, vision, nomic = await models_of(transport, openai(server, key=None), 1.0)
    assert (qwen.name, qwen.kind, qwen.context_window_tokens, qwen.abilities) == ("qwen2.5-7b-instruct", "chat", 8192, frozenset({"tools"}))
    assert (vision.context_window_tokens, vision.abilities) == (16384, frozenset({"vision"}))
    assert (nomic.name, nomic.kind) == ("text-embedding-nomic-embed-text-v1.5", "embedding")


async def test_an_older_lm_studio_says_less(transport: Transport) -> None:
    async with Upstream() as server:
        server.will(whole({"data": [{"id": "m", "owned_by": "organization_owner"}]}), whole({"error": "Unexpected endpoint or method."}))
        assert await models_of(transport, openai(server), 1.0) == (Model("m", "work", "m"),)


async def test_facts_of_other_servers(transport: Transport) -> None:
    vllm = {"id": "qwen", "object": "model", "created": 1700000000, "owned_by": "vllm", "max_model_len": 32768}
    router = {
        "id": "meta/llama-4",
        "context_length": 131072,
        "architecture": {"input_modalities": ["text", "image"]},
        "pricing": {"prompt": "0.0000005", "completion": "0.0000015", "input_cache_read": "0.0000001"},
        "supported_parameters": ["tools", "temperature", "structured_outputs"],
        "top_provider": {"max_completion_tokens": 8192},
    }
    varying = {"id": "auto", "pricing": {"prompt": "-1", "completion": "-1"}}
    async with Upstream() as server:
        server.will(whole({"data": [vllm, router, varying]}))
        first, second, third = await models_of(transport, openai(server), 1.0)
    assert (first.context_window_tokens, first.created) == (32768, 1700000000)
    assert second.price == Price.of(0.5, 1.5, 0.1)
    assert (second.context_window_tokens, second.max_output_tokens) == (131072, 8192)
    assert second.abilities == {"vision", "tools", "json_schema"}
    assert third.price is None


async def test_odd_entries_are_passed_over(transport: Transport) -> None:
    entries: list[object] = [None, "x", {}, {"id": 5}, {"id": ""}, {"id": "a\nb"}, {"id": "x" * 300}]
    entries += [{"id": "ok", "max_model_len": "many", "capabilities": 3, "pricing": {"prompt": []}}, {"id": "ok"}]
    async with Upstream() as server:
        server.will(whole({"data": entries}))
        assert await models_of(transport, openai(server), 1.0) == (Model("ok", "work", "ok"),)


@pytest.mark.parametrize("kind", ["bge-m3:latest", "mxbai-embed-large", "intfloat/e5-large", "all-minilm"])
async def test_embedding_models_by_name(transport: Transport, kind: str) -> None:
    async with Upstream() as server:
        server.will(whole({"data": [{"id": kind}]}))
        assert (await models_of(transport, openai(server), 1.0))[0].kind == "embedding"


@pytest.mark.parametrize(
    "step",
    [error(401), html(200), whole({"data": 5}), whole([]), stall(), drip(b'{"data":[]}' * 5, pause_s=0.05)],
    ids=["401", "html", "no-data", "list", "stall", "drip"],
)
async def test_servers_that_do_not_answer_properly(transport: Transport, step: Step) -> None:
    async with Upstream() as server:
        server.will(step)
        began = time.monotonic()
        with pytest.raises(UpstreamError):
            await models_of(transport, openai(server), 0.3)
        assert time.monotonic() - began < 0.8


class Heard:
    """What the discovery reported last."""

    def __init__(self) -> None:
        self.models: Mapping[str, Listed] = {}
        self.local: Mapping[str, Provider] = {}
        self.times = 0

    def __call__(self, models: Mapping[str, Listed], local: Mapping[str, Provider]) -> None:
        self.models, self.local, self.times = models, local, self.times + 1


async def test_local_servers_come_and_go(transport: Transport) -> None:
    heard = Heard()
    async with Upstream(fakes.lmstudio) as server:
        lmstudio = local_servers(server.base_url, Timeouts())[0]
        discovery = Discovery(transport, dict, [lmstudio], heard)
        await discovery.refresh()
        assert list(heard.local) == ["lmstudio"] and len(heard.models["lmstudio"]) == 3
        await discovery.refresh()
        assert heard.times == 1  # nothing new
    await discovery.refresh()
    assert heard.times == 1  # one silence is none
    await discovery.refresh()
    assert (heard.times, heard.local, heard.models) == (2, {}, {})


async def test_what_is_configured_is_left_to_the_configuration(transport: Transport) -> None:
    heard = Heard()
    async with Upstream(fakes.lmstudio) as server:
        mine = openai(server, "mine", None)
        still = Provider("still", Protocol.OPENAI, "http://127.0.0.1:9/v1")
        discovery = Discovery(transport, lambda: {"mine": mine, "still": still}, local_servers(server.base_url, Timeouts())[:1], heard)
        await discovery.refresh()
        assert (list(heard.models), heard.local) == (["mine"], {})
        assert all(seen.path != "/v1/models" for seen in server.seen[2:])


async def test_a_configured_provider_keeps_its_last_list(transport: Transport) -> None:
    heard = Heard()
    async with Upstream() as server:
        server.will(whole({"data": [{"id": "a"}]}), error(500), error(500), error(500), whole({"data": [{"id": "b"}]}))
        current = {"work": openai(server)}
        discovery = Discovery(transport, lambda: current, [], heard)
        for _ in range(4):
            await discovery.refresh()
            assert [model.name for model in heard.models["work"]] == ["a"]
        await discovery.refresh()
        assert [model.name for model in heard.models["work"]] == ["b"]


async def test_a_slow_server_does_not_hold_back_a_quick_one(transport: Transport) -> None:
    heard = Heard()

    def slow(seen: Seen) -> Step:
        return stall()

    async with Upstream(slow) as stalled, Upstream(fakes.openai) as quick:
        current = {"stalled": openai(stalled, "stalled"), "quick": openai(quick, "quick")}
        task = asyncio.ensure_future(Discovery(transport, lambda: current, [], heard, every_s=0.01).run())
        async with asyncio.timeout(2):
            while "quick" not in heard.models:
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
