"""Logs carry what happened and never a credential."""

import io
import json
import logging

import pytest
from aiohttp.http_exceptions import BadHttpMessage

from neuroroute.core import ids, log


@pytest.fixture
def lines():
    root, before = logging.getLogger(), list(logging.getLogger().handlers)
    levels = {name: logging.getLogger(name).level for name in ("", "neuroroute", "asyncio", "aiohttp")}
    stream = io.StringIO()
    yield stream
    root.handlers[:] = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_a_json_line_has_level_time_name_message_and_fields(lines):
    log.setup("debug", stream=lines)
    logging.getLogger("neuroroute.chain").warning("target %s is out", "openai/gpt-4o", extra={"request_id": "req_1", "tries": 3})
    line = json.loads(lines.getvalue())
    assert (line["level"], line["name"], line["msg"]) == ("warn", "neuroroute.chain", "target openai/gpt-4o is out")
    assert (line["request_id"], line["tries"]) == ("req_1", 3)
    assert line["time"].endswith("Z")


def test_a_failure_is_one_line_with_type_and_stack(lines):
    log.setup(stream=lines)
    try:
        raise ValueError("of sk-abcdefghijklmnop")
    except ValueError:
        logging.getLogger("neuroroute").exception("it failed")
    (text,) = lines.getvalue().splitlines()
    line = json.loads(text)
    assert line["error"] == "ValueError" and "Traceback" in line["stack"]
    assert "abcdefghijklmnop" not in text


def test_a_pretty_line_reads_like_a_sentence(lines):
    log.setup(pretty=True, stream=lines)
    logging.getLogger("neuroroute.serve").info("ready", extra={"took_ms": 412})
    assert lines.getvalue().endswith("INFO  serve: ready  took_ms=412\n")


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("key {}", ids.new_key()),
        ("sent {}", "sk-ant-api03-AbC_dEf-123456"),
        ("Authorization: Bearer {}", "eyJhbGciOi.J9-x_y"),
        ("{{'x-api-key': '{}'}}", "plain-secret"),
        ('"api_key":"{}"', "another-secret"),
        ("can not reach postgresql://app:{}@db:5432/x", "hunter2"),
        ("password={}", "hunter2"),
    ],
    ids=["own", "anthropic", "bearer", "header", "field", "url", "password"],
)
@pytest.mark.parametrize("pretty", [True, False])
def test_credentials_are_masked_wherever_they_stand(lines, text, secret, pretty):
    log.setup(pretty=pretty, stream=lines)
    logging.getLogger("neuroroute").info(text.format(secret))
    logging.getLogger("neuroroute").info("as a field", extra={"detail": text.format(secret)})
    assert secret not in lines.getvalue() and lines.getvalue().count("***") == 2


def test_fields_with_the_text_of_a_call_are_masked_whole(lines):
    log.setup(stream=lines)
    logging.getLogger("neuroroute").info("call", extra={"prompt": "my diary", "messages": [{"content": "my diary"}], "label": "writing"})
    assert "diary" not in lines.getvalue() and '"label":"writing"' in lines.getvalue()


@pytest.mark.parametrize(("level", "told"), [("error", 1), ("warn", 2), ("info", 3), ("debug", 4), ("trace", 5)])
def test_a_level_tells_itself_and_what_is_worse(lines, level, told):
    log.setup(level, stream=lines)
    ours = logging.getLogger("neuroroute.x")
    for number in log.LEVELS.values():
        ours.log(number, "message")
    assert [json.loads(line)["level"] for line in lines.getvalue().splitlines()] == list(log.LEVELS)[:told]


def test_requests_that_can_not_be_parsed_leave_no_traceback(lines):
    log.setup(stream=lines)
    server = logging.getLogger("aiohttp.server")
    try:
        raise BadHttpMessage("Authorization: Bearer nr_secretsecret")
    except BadHttpMessage:
        server.exception("Error handling request")
    assert lines.getvalue() == ""
    try:
        raise RuntimeError("ours")
    except RuntimeError:
        server.exception("Error handling request")
    assert "RuntimeError" in lines.getvalue()
