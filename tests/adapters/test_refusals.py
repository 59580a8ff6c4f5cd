"""Error bodies of every known shape, and what may never be in a message."""

from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroroute.adapters.refusals import MAX_MESSAGE_CHARS, embedded, masked, refusal, retry_after_s
from neuroroute.core import clock, jsonbytes
from neuroroute.core.errors import (
    Retry,
    UpstreamBroken,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamLimited,
    UpstreamModelGone,
    UpstreamRefused,
    UpstreamTimeout,
)


def body(message: str, type: str | None = None, code: Any = None, param: str | None = None) -> bytes:
    return jsonbytes.dumps({"error": {"message": message, "type": type, "code": code, "param": param}})


@pytest.mark.parametrize(
    ("status", "data", "kind", "shown"),
    [
        (400, body("bad temperature", "invalid_request_error", "unsupported_value", "temperature"), UpstreamRefused, 400),
        (413, body("too large"), UpstreamRefused, 413),
        (422, b'{"detail":[{"loc":["body","n"],"msg":"wrong"}]}', UpstreamRefused, 422),
        (409, body("conflict"), UpstreamRefused, 409),
        (401, body("Incorrect API key provided: sk-abc"), UpstreamDenied, 502),
        (402, body("pay"), UpstreamDenied, 502),
        (403, body("no"), UpstreamDenied, 502),
        (403, body("no access to model", code="model_not_found"), UpstreamModelGone, 404),
        (400, b'{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}', UpstreamDenied, 502),
        (400, b'[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key."}}]', UpstreamDenied, 502),
        (404, body("The model `x` does not exist", code="model_not_found"), UpstreamModelGone, 404),
        (404, b'{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}', UpstreamModelGone, 404),
        (404, b"<html>nginx</html>", UpstreamModelGone, 404),
        (404, b'{"error":"model \'x\' not found"}', UpstreamModelGone, 404),
        (408, b"", UpstreamTimeout, 504),
        (429, body("slow down", "rate_limit_error", "rate_limit_exceeded"), UpstreamLimited, 429),
        (429, body("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), UpstreamLimited, 429),
        (408, body("too slow"), UpstreamTimeout, 408),
        (500, body("The server had an error", "server_error"), UpstreamBroken, 500),
        (500, b"<html>Internal Server Error</html>", UpstreamBroken, 502),
        (507, body("no room"), UpstreamBroken, 507),
        (999, body("no such status"), UpstreamBroken, 502),
        (502, b"<html><body>Bad Gateway</body></html>", UpstreamBroken, 502),
        (503, b"upstream connect error", UpstreamBusy, 503),
        (504, b"", UpstreamTimeout, 504),
        (529, b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', UpstreamBusy, 529),
        (302, b"", UpstreamBroken, 502),
        (418, b'"teapot"', UpstreamRefused, 418),
        (400, b"\xff\xfe\x00", UpstreamRefused, 400),
        (400, b'{"error":null}', UpstreamRefused, 400),
        (400, b'{"object":"error","message":"vLLM says no","type":"BadRequestError","code":400}', UpstreamRefused, 400),
    ],
)
def test_the_error_that_an_answer_means(status: int, data: bytes, kind: type[UpstreamError], shown: int) -> None:
    error = refusal(status, {}, data)
    assert type(error) is kind
    assert error.status == shown
    assert error.message and "<" not in error.message
    assert (error.retry is Retry.NEVER) is (kind is UpstreamRefused)
    openai_error: Any = error.openai()["error"]
    assert isinstance(openai_error["message"], str) and isinstance(openai_error["type"], str)


def test_a_refusal_keeps_all_its_fields() -> None:
    error = refusal(400, {}, body("bad temperature", "invalid_request_error", "unsupported_value", "temperature"))
    assert error.openai()["error"] == {
        "message": "bad temperature", "type": "invalid_request_error", "param": "temperature", "code": "unsupported_value",
    }  # fmt: skip
    assert refusal(422, {}, b'{"detail":"wrong n"}').message == "wrong n"
    assert refusal(400, {}, b'{"message":"vLLM says no","code":400}').message == "vLLM says no"


@pytest.mark.parametrize("status", [408, 429, 500, 503, 504, 520, 529])
def test_a_failure_that_is_reported_keeps_status_type_and_code(status: int) -> None:
    error = refusal(status, {}, body("it failed", "a_type", "a_code", "a_field"))
    assert error.status == status
    assert error.openai()["error"] == {"message": "it failed", "type": "a_type", "param": "a_field", "code": "a_code"}


def test_a_spent_quota_is_tried_elsewhere_but_not_by_the_client() -> None:
    error = refusal(429, {}, body("You exceeded your current quota", "insufficient_quota", "insufficient_quota"))
    assert (error.code, error.type, error.should_retry, error.retry) == ("insufficient_quota", "insufficient_quota", False, Retry.NEXT)


def test_a_404_of_something_else_is_not_the_model() -> None:
    error = refusal(404, {}, body("No such File object: file-1"), model_call=False)
    assert type(error) is UpstreamRefused and error.status == 404
    assert type(refusal(404, {}, body("The model x does not exist"), model_call=False)) is UpstreamModelGone


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.", "context_length_exceeded"),
        ("prompt is too long: 210000 tokens > 200000 maximum", None),
        ("Trying to keep the first 5000 tokens when context the overflows. n_ctx=4096", None),
        ("request (9000 tokens) exceeds the available context size", "exceed_context_size_error"),
        ("Input tokens exceed the configured limit of 272000 tokens.", "context_length_exceeded"),
    ],
)
def test_a_context_overflow_is_recognised_by_clients(message: str, code: str | None) -> None:
    error = refusal(400, {}, body(message, "invalid_request_error", code))
    assert error.message.startswith(message)
    assert "prompt is too long" in error.message
    assert error.code == (code or "context_length_exceeded")
    assert type(error) is UpstreamRefused


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"Retry-After-Ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e99"}, None),
        ({"retry-after-ms": "x"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], wait: float | None) -> None:
    assert retry_after_s(headers) == wait
    assert refusal(429, headers, b"").retry_after_s == wait


def test_waiting_until_a_date() -> None:
    wait = retry_after_s({"Retry-After": formatdate(clock.unix_s() + 30, usegmt=True)})
    assert wait is not None and 27 < wait <= 31


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcDEF1234567890abcDEF", "sk-ant-api03-AbCd_efgh-1234567890", "sk-abc*****************wxyz", "AIzaSyA1234567890abcdefghijk", "nr_" + "a1B2" * 12,
        "Bearer abcdef123456", "https://10.0.0.5:8000/v1/chat", "http://inner.host/path?key=abc", "10.1.2.3:8000", "192.168.0.1", "localhost:1234",
        "vllm.internal:8000", "[::1]:8080", "/home/user/.cache/model.bin", "/root/app/main.py", "C:\\Users\\me\\x.py", "postgres://u:p@db/x",
        "f" * 20 + "1" * 30,
    ],
)  # fmt: skip
def test_what_is_masked(secret: str) -> None:
    message = refusal(500, {}, body(f"failed with {secret} while working")).message
    assert secret not in message
    assert message.startswith("failed with") and message.endswith("while working")


@pytest.mark.parametrize(
    "text",
    [
        "Unexpected endpoint or method. (POST /v1/x)",
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",
        "max_tokens: 40000 > 32000, which is the maximum allowed number of output tokens for claude-opus-4-20250514",
        "Unsupported value: 'temperature' does not support 0.2 with this model.",
        "messages.1.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_01A09q90qw90lq917835lq9",
        "Invalid type for 'messages[0].content': expected one of a string or array of objects, but got an integer instead.",
        "Rate limit reached for gpt-4o in organization org-abc123 on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 2s.",
        "The model `gpt-9` does not exist or you do not have access to it.",
    ],
)
def test_what_stays(text: str) -> None:
    assert masked(text) == text


def test_traces_and_length() -> None:
    assert "main.py" not in refusal(500, {}, body('boom\nTraceback (most recent call last):\n File "/app/main.py"')).message
    assert len(refusal(400, {}, body("x " * 5000)).message) <= MAX_MESSAGE_CHARS
    assert len(refusal(400, {}, body("context length " * 900)).message) <= MAX_MESSAGE_CHARS
    assert len(refusal(401, {}, body("x " * 5000)).message) <= MAX_MESSAGE_CHARS


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("plain", UpstreamBroken),
        ({"message": "m", "type": "server_error", "code": None}, UpstreamBroken),
        ({"message": "m", "code": 429}, UpstreamLimited),
        ({"message": "m", "code": "503"}, UpstreamBusy),
        ({"message": "m", "type": "overloaded_error"}, UpstreamBusy),
        ({"message": "m", "type": "rate_limit_error"}, UpstreamLimited),
        ({"message": "m", "code": 400}, UpstreamRefused),
        ({"message": "m", "type": "invalid_request_error", "code": "x"}, UpstreamBroken),
        ({}, UpstreamBroken),
        (7, UpstreamBroken),
    ],
)
def test_errors_in_answers(error: Any, kind: type[UpstreamError]) -> None:
    assert type(embedded(error)) is kind


@settings(deadline=None)
@given(
    st.integers(300, 599),
    st.binary(max_size=200) | st.text().map(lambda t: jsonbytes.dumps({"error": {"message": t, "code": t, "type": t}})),
)
def test_no_body_is_too_odd(status: int, data: bytes) -> None:
    error = refusal(status, {}, data)
    assert error.message and 400 <= error.status < 600
    jsonbytes.dumps(error.openai())
