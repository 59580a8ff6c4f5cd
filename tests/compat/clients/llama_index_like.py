"""LlamaIndex's OpenAILike: legacy completions by default, chat where it is told so."""

from typing import Any

import openai
from checks import KEY, PICTURE, URL, At, each, main, raises
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class Weather(BaseModel):
    """The weather."""

    city: str
    degrees: int


def weather(city: str, degrees: int) -> str:
    """the weather"""
    return "sunny"


TOOL = FunctionTool.from_defaults(weather)


def like(model: str, **more: Any) -> OpenAILike:
    fixed: dict[str, Any] = {
        "is_chat_model": True,
        "is_function_calling_model": True,
        "max_retries": 0,
        "timeout": 20,
        "context_window": 8000,
    }
    return OpenAILike(model=model, api_base=f"{URL}/v1", **{"api_key": KEY, **fixed, **more})


def says(text: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=text)]


@each()
def sync_whole(at: At) -> None:
    assert like(at.model("chat")).chat(says("hello there")).message.content == "Echo: hello there"


@each()
async def async_whole(at: At) -> None:
    assert (await like(at.model("chat")).achat(says("hello"))).message.content == "Echo: hello"


@each()
def sync_stream(at: At) -> None:
    parts = list(like(at.model("chat")).stream_chat(says("a b c")))
    assert parts[-1].message.content == "Echo: a b c" and "".join(part.delta or "" for part in parts) == "Echo: a b c"


@each()
async def async_stream(at: At) -> None:
    parts = [part async for part in await like(at.model("chat")).astream_chat(says("x y"))]
    assert parts[-1].message.content == "Echo: x y"


@each()
def completions(at: At) -> None:
    """What it does unless told that the model chats."""
    client = like(at.model("instruct" if at.kind == "openai" else "chat"), is_chat_model=False, is_function_calling_model=False)
    assert client.complete("once upon").text == "Echo: once upon"
    assert [part.text for part in client.stream_complete("once more")][-1] == "Echo: once more"


@each()
def tools(at: At) -> None:
    client = like(at.model("chat"))
    whole = client.chat_with_tools([TOOL], user_msg="the weather, twice", allow_parallel_tool_calls=True)
    *_, streamed = client.stream_chat_with_tools([TOOL], user_msg="the weather, twice", allow_parallel_tool_calls=True)
    for said in (whole, streamed):
        calls = client.get_tool_calls_from_response(said)
        assert [(call.tool_name, call.tool_kwargs) for call in calls] == [("weather", {"city": "Paris", "degrees": 7})] * 2
        results = [ChatMessage(role="tool", content="sunny", additional_kwargs={"tool_call_id": call.tool_id}) for call in calls]
        answer = client.chat_with_tools([TOOL], chat_history=[*says("the weather, twice"), said.message, *results])
        assert answer.message.content == "The tool said: sunny"


@each()
def structured(at: At) -> None:
    for more in ({"should_use_structured_outputs": True}, {"should_use_structured_outputs": False}):
        found = like(at.model("chat"), **more).as_structured_llm(Weather).chat(says("the weather"))
        assert found.raw == Weather(city="Paris", degrees=7), more


@each()
def images(at: At) -> None:
    import base64

    block = ImageBlock(image=base64.b64decode(PICTURE), image_mimetype="image/png")
    turn = ChatMessage(role="user", blocks=[TextBlock(text="what is this?"), block])
    assert like(at.called("eyes", 1)).chat([turn]).message.content == "Echo: 1 pictures"


@each()
def errors(at: At) -> None:
    def ask(what: str, times: int = 1, **more: Any) -> Any:
        return like(at.called(what, times), **more).chat(says("x"))

    assert "'temperature' does not support 9" in str(raises(openai.BadRequestError, lambda: ask("fails-400")))
    raises(openai.RateLimitError, lambda: ask("fails-429"))
    raises(openai.InternalServerError, lambda: ask("fails-500"))
    raises(openai.APIError, lambda: list(like(at.called("fails-cut", 1)).stream_chat(says("x"))), exactly=False)
    raises(openai.NotFoundError, lambda: like(f"{at.kind}-chit").chat(says("x")))
    raises(openai.AuthenticationError, lambda: like(at.model("chat"), api_key="nr_nobody").chat(says("x")))


@each()
async def disconnect(at: At) -> None:
    running = like(at.called("slow", 2)).stream_chat(says("go on"))
    next(running)
    running.close()
    at.left()
    going = await like(at.model("slow")).astream_chat(says("go on"))
    await anext(going)
    await going.aclose()
    at.left()


if __name__ == "__main__":
    main()
