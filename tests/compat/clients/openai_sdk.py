"""The OpenAI SDK (3.x and 2.x): chat, completions, responses, embeddings, in both of its forms."""

import asyncio
import base64
import struct
from typing import Any

import openai
from checks import KEY, KINDS, PICTURE, SCHEMA, URL, At, each, main, raises
from pydantic import BaseModel

sync = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=20)


def asynchronous() -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{URL}/v1/", api_key=KEY, max_retries=0, timeout=20)


class Weather(BaseModel):
    city: str
    degrees: int


TOOL: Any = {"type": "function", "function": {"name": "weather", "description": "the weather", "parameters": SCHEMA}}
FLAT_TOOL: Any = {"type": "function", "name": "weather", "description": "the weather", "parameters": SCHEMA, "strict": True}


def says(*texts: str) -> Any:
    return [{"role": "user", "content": text} for text in texts]


@each()
def sync_whole(at: At) -> None:
    raw = sync.chat.completions.with_raw_response.create(model=at.model("chat"), messages=says("hello there"), seed=1)
    answer = raw.parse()
    assert answer.choices[0].message.content == "Echo: hello there" and answer.choices[0].finish_reason == "stop"
    assert answer.object == "chat.completion" and answer.usage and answer.usage.total_tokens > 0 and answer.model != "auto"
    assert raw.headers["x-request-id"] and answer._request_id == raw.headers["x-request-id"]
    short = sync.chat.completions.create(model=at.model("chat"), messages=says("one two three four"), max_completion_tokens=2)
    assert short.choices[0].finish_reason == "length"


@each()
async def async_whole(at: At) -> None:
    async with asynchronous() as client:
        answers = await asyncio.gather(
            *(client.chat.completions.create(model=at.model("chat"), messages=says(f"number {n}")) for n in range(4))
        )
        assert [answer.choices[0].message.content for answer in answers] == [f"Echo: number {n}" for n in range(4)]


@each()
def sync_stream(at: At) -> None:
    stream = sync.chat.completions.create(model=at.model("chat"), messages=says("a b c"), stream=True)
    chunks = list(stream)
    assert all(chunk.choices for chunk in chunks), "nobody asked for usage"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Echo: a b c"
    assert [chunk.choices[0].delta.role for chunk in chunks].count("assistant") == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert len({(chunk.id, chunk.model, chunk.created) for chunk in chunks}) == 1
    with sync.chat.completions.stream(
        model=at.model("chat"), messages=says("with usage"), stream_options={"include_usage": True}
    ) as helped:
        kinds = {event.type for event in helped}
        final = helped.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == "Echo: with usage" and final.choices[0].message.role == "assistant"
    assert final.usage and final.usage.completion_tokens > 0


@each()
async def async_stream(at: At) -> None:
    async with asynchronous() as client:
        stream = await client.chat.completions.create(
            model=at.model("chat"), messages=says("x y"), stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Echo: x y"
        assert [bool(chunk.choices) for chunk in chunks].count(False) == 1 and chunks[-1].usage and chunks[-1].usage.prompt_tokens > 0


@each()
async def auto(at: At) -> None:
    async with asynchronous() as client:
        answer = await client.chat.completions.create(model="auto", messages=says(f"{at.kind}?"))
        assert answer.model.rpartition("-")[0] in KINDS or answer.model
        assert answer.model != "auto"


@each()
def tools(at: At) -> None:
    turns = says("the weather, twice")
    first = sync.chat.completions.create(model=at.model("chat"), messages=turns, tools=[TOOL])
    calls = first.choices[0].message.tool_calls or []
    assert first.choices[0].finish_reason == "tool_calls" and [call.function.name for call in calls] == ["weather", "weather"]  # type: ignore[union-attr]
    with sync.chat.completions.stream(
        model=at.model("chat"), messages=turns, tools=[openai.pydantic_function_tool(Weather, name="weather")]
    ) as stream:
        for _ in stream:
            pass
        streamed = stream.get_final_completion().choices[0].message
    assert [call.function.parsed_arguments for call in streamed.tool_calls or []] == [Weather(city="Paris", degrees=7)] * 2
    assert len({call.id for call in streamed.tool_calls or []}) == 2
    for message, made in ((first.choices[0].message, calls), (streamed, streamed.tool_calls or [])):
        said = message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
        results = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in made]
        if message is first.choices[0].message:
            answer = sync.chat.completions.create(model=at.model("chat"), messages=[*turns, said, *results], tools=[TOOL])
            assert answer.choices[0].message.content == "The tool said: sunny"
        else:
            # What one provider called can be answered by another.
            other = KINDS[(KINDS.index(at.kind) + 1) % len(KINDS)]
            for call in said["tool_calls"]:
                call["function"].pop("parsed_arguments", None)
            answer = sync.chat.completions.create(model=f"{other}-chat", messages=[*turns, said, *results], tools=[TOOL])
            assert answer.choices[0].message.content == "The tool said: sunny"


@each()
async def structured(at: At) -> None:
    parsed = sync.chat.completions.parse(model=at.model("chat"), messages=says("the weather"), response_format=Weather)
    assert parsed.choices[0].message.parsed == Weather(city="Paris", degrees=7)
    form: Any = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA, "strict": True}}
    async with (
        asynchronous() as client,
        client.chat.completions.stream(model=at.model("chat"), messages=says("the weather, please"), response_format=Weather) as stream,
    ):
        async for _ in stream:
            pass
        assert (await stream.get_final_completion()).choices[0].message.parsed == Weather(city="Paris", degrees=7)
    answer = sync.chat.completions.create(model=at.model("chat"), messages=says("and again"), response_format=form)
    assert Weather.model_validate_json(answer.choices[0].message.content or "")
    error = raises(
        openai.LengthFinishReasonError,
        lambda: sync.chat.completions.parse(
            model=at.called("eyes", 1), messages=says("one two"), response_format=openai.NOT_GIVEN, max_completion_tokens=1
        ),
    )
    assert error.completion.choices[0].finish_reason == "length"


@each()
def images(at: At) -> None:
    shown = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}", "detail": "low"}}
    turns: Any = [{"role": "user", "content": [{"type": "text", "text": "what is this?"}, shown, shown]}]
    assert sync.chat.completions.create(model=at.called("eyes", 1), messages=turns).choices[0].message.content == "Echo: 2 pictures"
    item: Any = {"role": "user", "content": [{"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}", "detail": "auto"}]}
    assert sync.responses.create(model=at.called("eyes", 1), input=[item]).output_text == "Echo: 1 pictures"


@each("openai", "lmstudio")
async def embeddings(at: At) -> None:
    packed = sync.embeddings.create(model=at.called("embed", 3), input=["one", "two words"])
    assert [row.index for row in packed.data] == [0, 1] and packed.data[0].embedding == [0.5, -0.25, 0.0, 1.0]
    assert packed.usage.prompt_tokens == 3
    async with asynchronous() as client:
        tokens = await client.embeddings.create(model=at.model("embed"), input=[[1, 2], [3]], encoding_format="float", dimensions=2)
        assert [row.embedding for row in tokens.data] == [[0.5, -0.25]] * 2
    form = sync.post("/embeddings", cast_to=object, body={"model": at.model("embed"), "input": "x", "encoding_format": "base64"})
    vector = form["data"][0]["embedding"]  # type: ignore[index]
    if isinstance(vector, str):
        vector = list(struct.unpack("<4f", base64.b64decode(vector)))
    assert vector == [0.5, -0.25, 0.0, 1.0]
    error = raises(openai.BadRequestError, lambda: sync.embeddings.create(model="anthropic-chat", input="x"))
    assert "embeddings" in error.message


@each()
def errors(at: At) -> None:
    def chat(what: str, times: int = 1, client: Any = sync, stream: bool = False, **more: Any) -> Any:
        return client.chat.completions.create(
            model=at.called(what, times) if times else at.model(what), messages=says("x"), stream=stream, **more
        )

    for stream in (False, True):
        refused = raises(openai.BadRequestError, lambda stream=stream: chat("fails-400", stream=stream))
        assert "'temperature' does not support 9" in refused.message and refused.type == "invalid_request_error"
        if at.kind != "anthropic":
            assert (refused.param, refused.code) == ("temperature", "unsupported_value")
    refused = raises(openai.BadRequestError, lambda: chat("fails-overflow"))
    assert "prompt is too long" in refused.message and refused.request_id
    raises(openai.InternalServerError, lambda: chat("fails-403", client=sync.with_options(max_retries=2)))
    limited = raises(openai.RateLimitError, lambda: chat("fails-429", 3, client=sync.with_options(max_retries=2)))
    assert limited.status_code == 429 and "Rate limit reached" in limited.message and limited.code == "rate_limit_exceeded"
    raises(openai.InternalServerError, lambda: chat("fails-500"))
    page = raises(openai.InternalServerError, lambda: chat("fails-html"))
    assert page.status_code == 502 and "<" not in page.message
    cut = raises(openai.APIError, lambda: list(chat("fails-cut", stream=True)))
    assert cut.body
    unknown = raises(openai.NotFoundError, lambda: sync.chat.completions.create(model=f"{at.kind}-chit", messages=says("x")))
    assert unknown.code == "model_not_found" and at.model("chat") in unknown.message
    stranger = openai.OpenAI(base_url=f"{URL}/v1", api_key="nr_nobody", max_retries=0)
    assert raises(openai.AuthenticationError, lambda: chat("chat", 0, client=stranger)).code == "invalid_api_key"
    wrong: Any = [{"role": "user", "content": 7}]
    shape = raises(openai.BadRequestError, lambda: sync.chat.completions.create(model=at.model("chat"), messages=wrong))
    assert shape.param and shape.param.startswith("messages")


@each()
async def disconnect(at: At) -> None:
    stream = sync.chat.completions.create(model=at.called("slow", 3), messages=says("go on"), stream=True)
    assert next(iter(stream)).choices
    stream.close()
    at.left()
    async with asynchronous() as client:
        running = await client.chat.completions.create(model=at.model("slow"), messages=says("go on"), stream=True)
        async for _ in running:
            break
        await running.close()
        at.left()
        raises_now = client.with_options(timeout=1.0).chat.completions.create(model=at.model("slow"), messages=says("say it whole"))
        try:
            await raises_now
        except openai.APITimeoutError:
            at.left()


@each()
async def responses(at: At) -> None:
    first = sync.responses.create(model=at.model("chat"), input="hello", instructions="be brief")
    assert first.output_text == "Echo: hello" and first.status == "completed" and first.usage and first.usage.input_tokens > 0
    async with asynchronous() as client:
        async with client.responses.stream(model=at.model("chat"), input="more", previous_response_id=first.id) as stream:
            kinds = [event.type async for event in stream]
            second = await stream.get_final_response()
        assert second.output_text == "Echo: more" and kinds[0] == "response.created" and kinds[-1] == "response.completed"
    parsed = sync.responses.parse(model=at.model("chat"), input="the weather", text_format=Weather)
    assert parsed.output_parsed == Weather(city="Paris", degrees=7)
    called = sync.responses.create(model=at.model("chat"), input="use it", tools=[FLAT_TOOL])
    [call] = [item for item in called.output if item.type == "function_call"]
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    answer = sync.responses.create(model=at.model("chat"), previous_response_id=called.id, input=[result], tools=[FLAT_TOOL])
    assert answer.output_text == "The tool said: sunny"


@each()
def completions(at: At) -> None:
    name = at.model("instruct" if at.kind == "openai" else "chat")
    whole = sync.completions.create(model=name, prompt="once upon", max_tokens=20)
    assert whole.object == "text_completion" and whole.choices[0].text == "Echo: once upon"
    chunks = list(sync.completions.create(model=name, prompt="once more", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "Echo: once more"


@each("openai")
def models(at: At) -> None:
    names = [model.id for model in sync.models.list()]
    assert {"auto", "openai-chat", "anthropic-chat", "lmstudio-embed"} <= set(names) and len(names) == len(set(names))
    assert sync.models.retrieve("openai-chat").object == "model"
    raises(openai.NotFoundError, lambda: sync.models.retrieve("nope"))


if __name__ == "__main__":
    main()
