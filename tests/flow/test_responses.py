"""The Responses API on a provider that has none (kept here), on Anthropic, and on one that has it (passed)."""

from typing import Any

import openai
import pytest

from tests.support import fakes
from tests.support.gateway import gateway, model, provider
from tests.support.upstream import Upstream, whole


def config(up: Upstream, kind: str) -> dict[str, Any]:
    if kind == "anthropic":
        return {"providers": {"p": provider(up.url, "anthropic")}, "models": {"m": model("p", "claude-sonnet-4-5")}}
    return {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p", "gpt-4o")}}


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_a_conversation_goes_on_where_the_provider_remembers_nothing(database_url: str, kind: str) -> None:
    async with Upstream(getattr(fakes, kind)) as up, gateway(database_url, config(up, kind)) as gw, gw.openai() as client:
        first = await client.responses.create(model="m", input="first words")
        assert first.output_text == "Echo: first words" and first.usage is not None and first.usage.input_tokens > 0
        async with client.responses.stream(model="auto", input="and more", previous_response_id=first.id) as stream:
            async for _ in stream:
                pass
            second = await stream.get_final_response()
        assert second.output_text == "Echo: and more" and second.previous_response_id == first.id
        said = str(up.seen[-1].json["messages"])
        assert "first words" in said and "Echo: first words" in said and "and more" in said
        third = await client.responses.create(
            model="m", input=[{"type": "item_reference", "id": second.output[0].id}, {"role": "user", "content": "third"}]
        )
        assert third.output_text == "Echo: third" and "Echo: and more" in str(up.seen[-1].json["messages"])
        assert (await client.responses.retrieve(first.id)).output_text == first.output_text
        items = await client.responses.input_items.list(first.id)
        assert len(items.data) == 1
        with pytest.raises(openai.BadRequestError, match="background"):
            await client.responses.retrieve(first.id, stream=True)
        await client.responses.delete(first.id)
        asked = len(up.seen)
        for gone in (client.responses.retrieve, client.responses.delete, client.responses.cancel, client.responses.input_items.list):
            with pytest.raises(openai.NotFoundError):
                await gone(first.id)
        assert len(up.seen) == asked, "a provider that keeps none is not asked for one"
        with pytest.raises(openai.APIStatusError) as caught:
            await client.responses.create(model="m", input="again", previous_response_id=first.id)
        assert caught.value.status_code == 400 and caught.value.param == "previous_response_id"  # type: ignore[attr-defined]


async def test_what_one_user_said_is_not_there_for_another(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, config(up, "openai")) as gw, gw.openai() as client:
        first = await client.responses.create(model="m", input="a secret")
        stranger = await gw.new_key(user_id=(await gw.new_user())["id"])
        async with gw.openai(stranger["key"]) as other:
            with pytest.raises(openai.APIStatusError):
                await other.responses.create(model="m", input="tell me", previous_response_id=first.id)
            asked = len(up.seen)
            with pytest.raises(openai.NotFoundError):
                await other.responses.retrieve(first.id)
        assert len(up.seen) == asked and all(b"a secret" not in seen.body for seen in up.seen[1:])


async def test_nothing_is_kept_where_the_client_says_so(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, config(up, "openai")) as gw, gw.openai() as client:
        first = await client.responses.create(model="m", input="words", store=False)
        with pytest.raises(openai.APIStatusError):
            await client.responses.create(model="m", input="more", previous_response_id=first.id)


async def test_a_provider_that_speaks_it_gets_the_bytes_and_keeps_its_own(database_url: str) -> None:
    answer = {"id": "resp_theirs", "object": "response", "status": "completed", "model": "gpt-4o", "output": [], "created_at": 1, "x": 1.50,
              "usage": {"input_tokens": 5, "output_tokens": 6, "total_tokens": 11}}  # fmt: skip
    async with Upstream() as native, Upstream(fakes.openai) as other:
        given = {
            "providers": {"n": provider(native.base_url, speaks=["chat", "responses"]), "o": provider(other.base_url)},
            "models": {"mn": model("n", "gpt-4o"), "mo": model("o", "gpt-4o")},
        }
        async with gateway(database_url, given) as gw:
            native.will(whole(answer), whole(answer), whole(answer))
            async with gw.post("/v1/responses", {"model": "mn", "input": "hi", "odd": [None, 1.0]}) as response:
                assert (await response.json())["x"] == 1.5
            assert native.seen[0].path == "/v1/responses" and native.seen[0].json == {"model": "gpt-4o", "input": "hi", "odd": [None, 1.0]}
            async with gw.post("/v1/responses", {"model": "auto", "input": "on", "previous_response_id": "resp_theirs"}) as response:
                assert response.status == 200 and response.headers["x-neuroroute-provider"] == "n"
            async with gw.post("/v1/responses", {"model": "mo", "input": "on", "previous_response_id": "resp_theirs"}) as response:
                assert response.status == 400
            async with gw.get("/v1/responses/resp_theirs") as response:
                assert response.status == 200
            assert native.seen[-1].path == "/v1/responses/resp_theirs" and not other.seen
            [row, *_] = await gw.rows(4)
            assert (row.prompt_tokens, row.completion_tokens, row.cost_nanousd) == (5, 6, 17_000)
