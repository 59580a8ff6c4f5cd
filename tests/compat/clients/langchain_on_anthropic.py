"""LangChain's ChatAnthropic."""

from typing import Any

import anthropic
from checks import KEY, PICTURE, URL, At, each, main, raises
from langchain_anthropic import ChatAnthropic
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel


class Weather(BaseModel):
    """The weather."""

    city: str
    degrees: int


@tool
def weather(city: str, degrees: int) -> str:
    """the weather"""
    return "sunny"


def chat(model: str, **more: Any) -> ChatAnthropic:
    return ChatAnthropic(model=model, base_url=URL, **{"api_key": KEY, "max_retries": 0, "timeout": 20, "max_tokens": 200, **more})


@each()
def sync_whole(at: At) -> None:
    answer = chat(at.model("chat"), max_tokens=50).invoke([("system", "be brief"), ("user", "hello there")])
    assert answer.content == "Echo: hello there" and answer.usage_metadata["input_tokens"] > 0
    assert answer.response_metadata["stop_reason"] == "end_turn"
    assert [a.content for a in chat(at.model("chat")).batch(["one", "two"])] == ["Echo: one", "Echo: two"]


@each()
async def async_whole(at: At) -> None:
    assert (await chat(at.model("chat")).ainvoke("hello")).content == "Echo: hello"


@each()
def sync_stream(at: At) -> None:
    chunks = list(chat(at.model("chat")).stream("a b c"))
    assert "".join(chunk.text for chunk in chunks) == "Echo: a b c" and len(chunks) > 3


@each()
async def async_stream(at: At) -> None:
    whole: Any = None
    async for chunk in chat(at.model("chat")).astream("x y"):
        whole = chunk if whole is None else whole + chunk
    assert whole.text == "Echo: x y" and whole.usage_metadata["output_tokens"] > 0


@each()
def tools(at: At) -> None:
    bound = chat(at.model("chat")).bind_tools([weather])
    for streamed in (False, True):
        asked: list[Any] = [HumanMessage("the weather, twice")]
        said: Any = None
        if streamed:
            for chunk in bound.stream(asked):
                said = chunk if said is None else said + chunk
        else:
            said = bound.invoke(asked)
        assert [call["args"] for call in said.tool_calls] == [{"city": "Paris", "degrees": 7}] * 2
        results = [ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]) for call in said.tool_calls]
        turns = [*asked, AIMessage(said.content, tool_calls=said.tool_calls), *results]
        assert bound.invoke(turns).content == "The tool said: sunny"


@each()
def structured(at: At) -> None:
    for method in ("json_schema", "function_calling"):
        found = chat(at.model("chat")).with_structured_output(Weather, method=method).invoke("the weather")
        assert found == Weather(city="Paris", degrees=7), method


@each()
def images(at: At) -> None:
    shown = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    answer = chat(at.called("eyes", 1)).invoke([HumanMessage([{"type": "text", "text": "what?"}, shown])])
    assert answer.content == "Echo: 1 pictures"


@each()
def errors(at: At) -> None:
    def ask(what: str, times: int = 1, **more: Any) -> Any:
        return chat(at.called(what, times), **more).invoke("x")

    assert "'temperature' does not support 9" in str(raises(anthropic.BadRequestError, lambda: ask("fails-400"), exactly=False))
    raises(ContextOverflowError, lambda: ask("fails-overflow"), exactly=False)
    raises(anthropic.RateLimitError, lambda: ask("fails-429", 3, max_retries=2), exactly=False)
    raises(anthropic.InternalServerError, lambda: ask("fails-500"), exactly=False)
    raises(anthropic.APIError, lambda: list(chat(at.called("fails-cut", 1)).stream("x")), exactly=False)
    raises(anthropic.NotFoundError, lambda: chat("nothing-like-it").invoke("x"), exactly=False)
    raises(anthropic.AuthenticationError, lambda: chat(at.model("chat"), api_key="nr_nobody").invoke("x"), exactly=False)


@each()
async def disconnect(at: At) -> None:
    running = chat(at.called("slow", 2)).stream("go on")
    next(running)
    running.close()
    at.left()
    going = chat(at.model("slow")).astream("go on")
    await anext(going)
    await going.aclose()
    at.left()


if __name__ == "__main__":
    main()
