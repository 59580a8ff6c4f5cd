"""LangChain's ChatOpenAI and OpenAIEmbeddings."""

from typing import Any

import openai
from checks import KEY, PICTURE, URL, At, each, main, raises
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel


class Weather(BaseModel):
    """The weather."""

    city: str
    degrees: int


@tool
def weather(city: str, degrees: int) -> str:
    """the weather"""
    return "sunny"


def chat(model: str, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(model=model, base_url=f"{URL}/v1", **{"api_key": KEY, "max_retries": 0, "timeout": 20, **more})


@each()
def sync_whole(at: At) -> None:
    answer = chat(at.model("chat"), temperature=0.2, max_tokens=50).invoke([("system", "be brief"), ("user", "hello there")])
    assert answer.content == "Echo: hello there" and answer.usage_metadata["input_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"
    assert [a.content for a in chat(at.model("chat")).batch(["one", "two"])] == ["Echo: one", "Echo: two"]


@each()
async def async_whole(at: At) -> None:
    assert (await chat(at.model("chat")).ainvoke("hello")).content == "Echo: hello"


@each()
def sync_stream(at: At) -> None:
    chunks = list(chat(at.model("chat"), stream_usage=True).stream("a b c"))
    assert "".join(chunk.content for chunk in chunks) == "Echo: a b c" and len(chunks) > 3
    usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert len(usage) == 1 and usage[0]["output_tokens"] > 0


@each()
async def async_stream(at: At) -> None:
    whole: Any = None
    async for chunk in chat(at.model("chat")).astream("x y"):
        whole = chunk if whole is None else whole + chunk
    assert whole.content == "Echo: x y" and not whole.usage_metadata


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


@each("openai", "lmstudio")
async def embeddings(at: At) -> None:
    client = OpenAIEmbeddings(model=at.called("embed", 2), base_url=f"{URL}/v1", api_key=KEY, check_embedding_ctx_length=False)
    assert client.embed_documents(["one", "two"])[0] == [0.5, -0.25, 0.0, 1.0]
    assert len(await client.aembed_query("three")) == 4


@each()
def errors(at: At) -> None:
    def ask(what: str, times: int = 1, **more: Any) -> Any:
        return chat(at.called(what, times), **more).invoke("x")

    assert "'temperature' does not support 9" in str(raises(openai.BadRequestError, lambda: ask("fails-400"), exactly=False))
    raises(ContextOverflowError, lambda: ask("fails-overflow"), exactly=False)
    raises(openai.RateLimitError, lambda: ask("fails-429", 3, max_retries=2), exactly=False)
    raises(openai.InternalServerError, lambda: ask("fails-500"), exactly=False)
    raises(openai.APIError, lambda: list(chat(at.called("fails-cut", 1)).stream("x")), exactly=False)
    raises(openai.NotFoundError, lambda: chat("nothing-like-it").invoke("x"), exactly=False)
    raises(openai.AuthenticationError, lambda: chat(at.model("chat"), api_key="nr_nobody").invoke("x"), exactly=False)


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


@each()
def responses(at: At) -> None:
    client = chat(at.model("chat"), use_responses_api=True)
    assert client.invoke("hello").text == "Echo: hello"
    assert "".join(chunk.text for chunk in client.stream("x y")) == "Echo: x y"
    said = client.bind_tools([weather]).invoke("the weather")
    assert said.tool_calls[0]["args"] == {"city": "Paris", "degrees": 7}


if __name__ == "__main__":
    main()
