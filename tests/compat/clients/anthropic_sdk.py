"""The Anthropic SDK (2.x and 1.x): messages in both of its forms, on Anthropic and on providers of OpenAI's type."""

import asyncio
from typing import Any

import anthropic
from checks import KEY, KINDS, PICTURE, SCHEMA, URL, At, each, main, raises
from pydantic import BaseModel

sync = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0, timeout=20)


def asynchronous() -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=URL + "/", api_key=KEY, max_retries=0, timeout=20)


class Weather(BaseModel):
    city: str
    degrees: int


TOOL: Any = {"name": "weather", "description": "the weather", "input_schema": SCHEMA}


def asks(at: At, text: str, what: str = "chat", times: int = 1, **more: Any) -> dict[str, Any]:
    name = at.model(what) if what == "chat" else at.called(what, times)
    return {"model": name, "max_tokens": 200, "messages": [{"role": "user", "content": text}], **more}


@each()
def sync_whole(at: At) -> None:
    answer = sync.messages.create(**asks(at, "hello there", system="be brief", metadata={"user_id": "u1"}))
    assert answer.type == "message" and answer.role == "assistant" and answer.content[0].text == "Echo: hello there"
    assert answer.stop_reason == "end_turn" and answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0
    assert answer._request_id
    short = sync.messages.create(**{**asks(at, "one two three four"), "max_tokens": 2})
    assert short.stop_reason == "max_tokens"
    warm = sync.messages.create(**asks(at, "warm"), extra_headers={"anthropic-version": "2023-06-01"}, extra_body={"temperature": 0.4})
    assert warm.content[0].text == "Echo: warm"


@each()
async def async_whole(at: At) -> None:
    async with asynchronous() as client:
        answers = await asyncio.gather(*(client.messages.create(**asks(at, f"number {n}")) for n in range(4)))
        assert [answer.content[0].text for answer in answers] == [f"Echo: number {n}" for n in range(4)]


@each()
def sync_stream(at: At) -> None:
    events = list(sync.messages.create(**asks(at, "a b c"), stream=True))
    kinds = [event.type for event in events if event.type != "ping"]
    assert kinds[:2] == ["message_start", "content_block_start"] and kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert "".join(event.delta.text for event in events if event.type == "content_block_delta") == "Echo: a b c"
    with sync.messages.stream(**asks(at, "by the helper")) as stream:
        assert "".join(stream.text_stream) == "Echo: by the helper"
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn" and final.usage.input_tokens > 0 and final.usage.output_tokens > 0


@each()
async def async_stream(at: At) -> None:
    async with asynchronous() as client, client.messages.stream(**asks(at, "x y")) as stream:
        assert "".join([text async for text in stream.text_stream]) == "Echo: x y"
        assert (await stream.get_final_message()).usage.output_tokens > 0


@each()
def auto(at: At) -> None:
    answer = sync.messages.create(**{**asks(at, f"{at.kind}?"), "model": "auto"})
    assert answer.model != "auto" and answer.content[0].text.startswith("Echo:")


@each()
def tools(at: At) -> None:
    asked = asks(at, "the weather, twice", tools=[TOOL])
    whole = sync.messages.create(**asked)
    with sync.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    for message, kind in ((whole, at.kind), (streamed, KINDS[(KINDS.index(at.kind) + 1) % len(KINDS)])):
        uses = [block for block in message.content if block.type == "tool_use"]
        assert message.stop_reason == "tool_use" and [use.input for use in uses] == [{"city": "Paris", "degrees": 7}] * 2
        assert len({use.id for use in uses}) == 2
        said = {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]}
        results = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"} for use in uses]}
        answer = sync.messages.create(**{**asked, "model": f"{kind}-chat", "messages": [*asked["messages"], said, results]})
        assert answer.content[0].text == "The tool said: sunny"
    forced = sync.messages.create(**asks(at, "no tool", tools=[TOOL], tool_choice={"type": "none"}))
    assert forced.content[0].type == "text"


@each()
def structured(at: At) -> None:
    parsed = sync.messages.parse(**asks(at, "the weather"), output_format=Weather)
    assert parsed.parsed_output == Weather(city="Paris", degrees=7)
    with sync.messages.stream(**asks(at, "the weather again"), output_format=Weather) as stream:
        assert stream.get_final_message().parsed_output == Weather(city="Paris", degrees=7)
    answer = sync.messages.create(**asks(at, "x", output_config={"format": {"type": "json_schema", "schema": SCHEMA}}))
    assert Weather.model_validate_json(answer.content[0].text)


@each()
def images(at: At) -> None:
    shown = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}
    turns = [{"role": "user", "content": [{"type": "text", "text": "what is this?"}, shown, shown]}]
    answer = sync.messages.create(**asks(at, "", "eyes", messages=turns) | {"messages": turns})
    assert answer.content[0].text == "Echo: 2 pictures"


@each()
def counted(at: At) -> None:
    few = sync.messages.count_tokens(model=at.model("chat"), messages=[{"role": "user", "content": "hello"}])
    many = sync.messages.count_tokens(model=at.model("chat"), messages=[{"role": "user", "content": "hello " * 100}], tools=[TOOL])
    assert 0 < few.input_tokens < many.input_tokens
    beta = sync.beta.messages.create(**asks(at, "beta"))
    assert beta.content[0].text == "Echo: beta"


@each()
def errors(at: At) -> None:
    def send(what: str, times: int = 1, client: Any = sync, **more: Any) -> Any:
        return client.messages.create(**asks(at, "x", what, times), **more)

    refused = raises(anthropic.BadRequestError, lambda: send("fails-400"))
    assert "'temperature' does not support 9" in str(refused) and refused.body["error"]["type"] == "invalid_request_error"
    assert refused.body["type"] == "error" and refused.request_id
    raises(anthropic.BadRequestError, lambda: send("fails-400", stream=True))
    assert "prompt is too long" in str(raises(anthropic.BadRequestError, lambda: send("fails-overflow")))
    raises(anthropic.InternalServerError, lambda: send("fails-403", client=sync.with_options(max_retries=2)))
    limited = raises(anthropic.RateLimitError, lambda: send("fails-429", 3, client=sync.with_options(max_retries=2)))
    assert limited.body["error"]["type"] == "rate_limit_error"
    failed = raises(anthropic.InternalServerError, lambda: send("fails-500"))
    assert failed.body["error"]["type"] == "api_error"
    page = raises(anthropic.InternalServerError, lambda: send("fails-html"))
    assert page.status_code == 502 and "<" not in str(page)
    cut = raises(anthropic.APIError, lambda: list(send("fails-cut", stream=True)), exactly=False)
    assert cut.body["error"]["message"]
    missing = raises(anthropic.NotFoundError, lambda: sync.messages.create(**{**asks(at, "x"), "model": f"{at.kind}-chit"}))
    assert missing.body["error"]["type"] == "not_found_error" and at.model("chat") in missing.body["error"]["message"]
    stranger = anthropic.Anthropic(base_url=URL, api_key="nr_nobody", max_retries=0)
    raises(anthropic.AuthenticationError, lambda: send("chat", client=stranger))


@each()
async def disconnect(at: At) -> None:
    stream = sync.messages.create(**asks(at, "go on", "slow"), stream=True)
    assert next(iter(stream)).type == "message_start"
    stream.close()
    at.left()
    async with asynchronous() as client:
        async with client.messages.stream(**asks(at, "go on", "slow")) as running:
            async for _ in running:
                break
        at.left()
        try:
            await client.with_options(timeout=1.0).messages.create(**asks(at, "say it whole", "slow"))
        except anthropic.APITimeoutError:
            at.left()


@each("anthropic")
def models(at: At) -> None:
    names = [model.id for model in sync.models.list()]
    assert {"auto", "openai-chat", "anthropic-chat"} <= set(names) and sync.models.retrieve("anthropic-chat").type == "model"


if __name__ == "__main__":
    main()
