"""A conversation at Anthropic by OpenAI's SDK: its beginning is marked, what the provider's cache held is on the books, and `auto` stays there."""

import functools
from typing import Any

import pytest

from neuroroute.core.jsonbytes import dumps
from tests.support import fakes
from tests.support.gateway import gateway, model, provider
from tests.support.upstream import Seen, Step, Upstream, whole

SYSTEM = {"role": "system", "content": "You are the librarian of a small town, and you know every shelf. " * 200}
PRICE = {"input": 3.0, "output": 15.0, "cached_input": 0.3, "cache_write": 3.75}


class Claude:
    """Keeps what is marked, as Anthropic does, and finds it again; a quarter of the bytes are its tokens."""

    def __init__(self) -> None:
        self.kept: set[bytes] = set()

    def __call__(self, seen: Seen) -> Step:
        beginnings, so_far = [], b""
        for part in (seen.json.get("system", []), *[turn["content"] for turn in seen.json["messages"]]):
            for block in part:
                is_marked = block.pop("cache_control", None) is not None
                so_far += dumps(block)
                beginnings += [so_far] if is_marked else []
        read = max([len(one) for one in beginnings if one in self.kept], default=0) // 4
        held = len(beginnings[-1]) // 4 if beginnings else 0
        self.kept.update(beginnings)
        usage = {
            "input_tokens": len(so_far) // 4 - held,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": held - read,
            "output_tokens": 2,
        }
        content = [{"type": "text", "text": "Second shelf."}]
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5"}
        return whole({**head, "content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage})


def offer(up: Upstream, other: Upstream, **of_provider: Any) -> dict[str, Any]:
    return {
        "providers": {"a": provider(up.url, "anthropic", **of_provider), "o": provider(other.base_url)},
        "models": {
            "claude": model("a", "claude-sonnet-4-5", price=PRICE, quality={"default": 0.8}),
            "other": model("o", "gpt-4o", price={"input": 1.5, "output": 7.5}, quality={"default": 0.81}),
        },
    }


async def test_a_conversation_is_read_from_the_providers_cache(database_url: str) -> None:
    async with Upstream(Claude()) as up, Upstream(fakes.openai) as other, gateway(database_url, offer(up, other)) as gw:
        said: list[Any] = [SYSTEM]
        found = []
        async with gw.openai() as client:
            for asked in ("Where is Dumas?", "And Verne?", "And Hugo?"):
                said.append({"role": "user", "content": asked})
                answer = await client.chat.completions.create(model="claude", messages=said)
                said.append({"role": "assistant", "content": answer.choices[0].message.content})
                assert answer.usage is not None and answer.usage.prompt_tokens_details is not None
                found.append(answer.usage.prompt_tokens_details.cached_tokens)
        assert found[0] == 0 and 1200 < found[1] < found[2], "the system prompt, then the turns too"
        rows = sorted(await gw.rows(3), key=lambda row: row.created_at)
        assert [row.cached_tokens for row in rows] == found and rows[0].cache_write_tokens > 3000
        for row in rows:
            fresh = row.prompt_tokens - row.cached_tokens - row.cache_write_tokens
            assert (
                row.cost_nanousd == fresh * 3000 + row.cached_tokens * 300 + row.cache_write_tokens * 3750 + row.completion_tokens * 15000
            )
        assert (rows[2].cost_nanousd or 0) < (rows[0].cost_nanousd or 0) / 5


@pytest.mark.parametrize(("is_cached", "then"), [(True, "claude"), (False, "other")])
async def test_auto_stays_where_the_beginning_is_cached_while_that_is_worth_more(database_url: str, is_cached: bool, then: str) -> None:
    """The other model costs half and is no worse, so it is chosen for what is new; not for what Claude has read already."""
    config = functools.partial(offer, prompt_cache=is_cached)
    async with Upstream(Claude()) as up, Upstream(fakes.openai) as other, gateway(database_url, config(up, other)) as gw:

        async def asks(session: str, messages: list[Any], only: list[str] | None = None) -> str:
            steering = {"session": session, "policy": "cheap", "cache": "no-store", **({"allow": only} if only else {})}
            async with gw.chat("auto", messages=messages, neuroroute=steering) as response:
                assert response.status == 200, await response.text()
                return response.headers["x-neuroroute-model"]

        question = [SYSTEM, {"role": "user", "content": "Where is Dumas?"}]
        more = [*question, {"role": "assistant", "content": "Second shelf."}, {"role": "user", "content": "And Verne?"}]
        assert await asks("new", more) == "other"
        assert await asks("old", question, ["claude"]) == "claude"
        assert await asks("old", more) == then


async def test_it_can_be_turned_off(database_url: str) -> None:
    async with Upstream(Claude()) as up, gateway(database_url, offer(up, up, prompt_cache=False)) as gw:
        for asked in ("Where is Dumas?", "And Verne?"):
            async with gw.chat("claude", messages=[SYSTEM, {"role": "user", "content": asked}]) as response:
                assert response.status == 200
        assert b"cache_control" not in up.seen[0].body + up.seen[1].body
        assert [row.cached_tokens + row.cache_write_tokens for row in await gw.rows(2)] == [0, 0]
