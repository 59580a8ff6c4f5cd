"""What a Responses request refers to, put in place."""

from neuroroute.adapters import translator_for
from neuroroute.adapters.responses_items import conversation, references, splice
from neuroroute.core import jsonbytes
from neuroroute.core.types import Dialect
from tests.support.transcripts.reader import client, target

SAID = {"id": "msg_1", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
ASKED = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}


def test_references() -> None:
    assert references({"input": "x"}) == (None, ())
    assert references({"previous_response_id": "resp_1", "input": "x"}) == ("resp_1", ())
    items = [
        {"type": "item_reference", "id": "a"},
        {"id": "b"},
        {"id": "a", "type": None},
        {"id": "c", "role": "user", "content": "x"},
        SAID,
        "odd",
    ]
    assert references({"input": items}) == (None, ("a", "b"))


def test_splicing() -> None:
    body = {"previous_response_id": "resp_1", "input": [{"type": "item_reference", "id": "msg_1"}, {"id": "gone"}], "x": 1}
    resolved = splice(body, [ASKED], {"msg_1": SAID})
    assert resolved["input"] == [ASKED, SAID, {"id": "gone"}]
    assert resolved["x"] == 1 and "previous_response_id" not in resolved
    assert body["input"][0] == {"type": "item_reference", "id": "msg_1"}  # the client's body stays
    assert splice({"input": "more"}, [ASKED], {})["input"][1]["content"][0]["text"] == "more"


def test_a_conversation_goes_on_by_id() -> None:
    to = target("openai", "qwen")
    translator = translator_for(Dialect.RESPONSES, to)
    first = client("responses", b'{"model":"qwen","input":"hi"}')
    answer = b'{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'
    response = jsonbytes.loads(translator.whole(first, to, 200, {}, answer).body)
    kept = conversation(first.body, response)
    resolved = splice({"model": "qwen", "input": "more", "previous_response_id": response["id"]}, kept, {})
    second = client("responses", jsonbytes.dumps(resolved))
    sent = jsonbytes.loads(translator.request(second, to).body)  # type: ignore[arg-type]
    assert [(m["role"], m["content"]) for m in sent["messages"]] == [("user", "hi"), ("assistant", "Hello"), ("user", "more")]
    assert jsonbytes.loads(translator.whole(second, to, 200, {}, answer).body)["previous_response_id"] == response["id"]


def test_a_stream_leaves_its_answer_to_those_who_keep_items() -> None:
    to = target("openai", "qwen")
    stream = translator_for(Dialect.RESPONSES, to).stream(
        client("responses", b'{"model":"qwen","input":"hi","stream":true}', stream=True), to
    )
    stream.feed(b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"},"finish_reason":null}]}\n\n')
    assert stream.answer is None  # type: ignore[attr-defined]
    stream.feed(b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n')
    assert stream.answer["status"] == "incomplete"  # type: ignore[attr-defined]
    assert stream.answer["output"][0]["content"][0]["text"] == "Hello"  # type: ignore[attr-defined]
    assert stream.done
