"""The edge of the gateway seen from outside: odd paths, methods, headers and bodies; other origins; who stands behind a proxy."""

import asyncio
import contextlib
import gzip
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from neuroroute.store.audit import AuditLog
from tests.support import fakes
from tests.support.gateway import HELLO, Gateway, gateway, model, provider
from tests.support.http import exchange, request_bytes
from tests.support.upstream import Upstream, dumps, stream, whole

JSON = "Content-Type: application/json"
CHAT = json.dumps({"model": "m", "messages": HELLO}).encode()
FORM = "Content-Type: multipart/form-data; boundary=x"


def one(up: Upstream, **fields: Any) -> dict[str, Any]:
    return {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p", "gpt-4o"), "other": model("p", "gpt-4.1")}, **fields}


ODD = [
    "/v1/./chat/completions",
    "/v1/../v1/chat/completions",
    "/v1/%2e%2e/chat/completions",
    "/v1/files/..%2f..%2fadmin",
    "/v1/chat%2fcompletions",
    "/v1/chat%252fcompletions",
    "/v1/chat%5ccompletions",
    "/v1/chat/completions;x=1",
    "/v1/chat/completions%3bx",
    "/v1/chat/completions/",
    "/v1/chat/completions%00",
    "/v1/chat/completions%20",
    "/v1/Chat/completions",
    "/v1/chat/Completions",
    "/V1/chat/completions",
    "/v1/models%2fm",
    "/v1/responses%2fresp_1",
    "/v1/responses/resp_1%2finput_items",
    "/v1/Responses/resp_1",
    "/v1/responses/resp_1/../resp_2",
    "/Admin/users",
    "/admin/users/",
    "/admin/%2e/users",
    "/admin%2fusers",
]


async def test_odd_paths_open_no_other_door(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw:
        for path in ODD:
            for method, body in (("POST", CHAT), ("GET", b"")):
                status, _, answer = await exchange(gw, request_bytes(method, path, body, JSON))
                assert status in (404, 405), (method, path, status)
                assert json.loads(answer)["error"]["type"] == "invalid_request_error", path
        assert [seen.path for seen in up.seen] == []


async def test_one_decoding_and_extra_slashes_lead_to_the_same_door(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw:
        for path in ("/v1//chat/completions", "//v1/chat/completions", "/v1/%63hat/completions", "/%761/chat/completions"):
            status, headers, _ = await exchange(gw, request_bytes("POST", path, CHAT, JSON))
            assert (status, headers["x-neuroroute-model"]) == (200, "m"), path
            assert (await exchange(gw, request_bytes("POST", path, CHAT, JSON, key="")))[0] == 401
        for path in ("/v1//messages", "/v1/%6dessages"):  # in its dialect
            status, _, answer = await exchange(gw, request_bytes("POST", path, b"[]", JSON))
            assert (status, json.loads(answer)["type"]) == (400, "error")
        assert {row.dialect for row in await gw.rows(6)} == {"chat", "messages"}


async def test_a_query_and_a_path_pass_as_they_came(database_url: str) -> None:
    async with Upstream(lambda seen: whole({})) as up, gateway(database_url, one(up)) as gw:
        for path in (
            "/v1/files/file-Ab_1/content",
            "/v1/vector_stores/vs_1/files?after=a%20b&x=%26%0d%0aX-Evil:%201&y=%C3%A9&z",
            "/v1/a.b/ft:x:y::z",
        ):
            status, _, _ = await exchange(gw, request_bytes("GET", path))
            assert status == 200, path
            assert up.seen[-1].path + ("?" + up.seen[-1].query if "?" in path else "") == path
            assert "x-evil" not in up.seen[-1].headers
        assert up.seen[-1].path == "/v1/a.b/ft:x:y::z"


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "PROPFIND", "CONNECT"])
async def test_methods_that_are_not_passed_on(database_url: str, method: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw:
        for path in (
            "/v1/files",
            "/v1/models",
            "/v1/responses/resp_1",
            "/v1/chat/completions",
            "/prompt",
            "/admin/users",
            "/health",
            "/nope",
        ):
            status, headers, answer = await exchange(gw, request_bytes(method, path))
            assert status in (404, 405), (path, status)
            assert json.loads(answer)["error"]["message"] and (status == 404 or "GET" in headers["allow"] or "POST" in headers["allow"])
        assert not up.seen


async def test_a_response_of_another_user_is_nowhere_to_be_had(database_url: str) -> None:
    """Whatever the method, and the path below it."""
    theirs = {"id": "resp_theirs", "object": "response", "status": "completed", "model": "gpt-4o", "output": [], "created_at": 1}
    async with Upstream(lambda seen: whole(theirs)) as up:
        config = {"providers": {"p": provider(up.base_url, speaks=["chat", "responses"])}, "models": {"m": model("p", "gpt-4o")}}
        async with gateway(database_url, config) as gw:
            async with gw.post("/v1/responses", {"model": "m", "input": "my secret"}) as response:
                assert response.status == 200
            stranger = (await gw.new_key(user_id=(await gw.new_user())["id"]))["key"]
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"):
                for tail in ("", "/input_items", "/cancel", "/items/1", "/compact"):
                    body = {} if method == "POST" else None
                    async with gw.ask(method, f"/v1/responses/resp_theirs{tail}", body, key=stranger) as response:
                        assert response.status == 404, (method, tail)
            async with gw.post(
                "/v1/responses", {"model": "m", "input": "x", "previous_response_id": "resp_theirs"}, key=stranger
            ) as response:
                assert response.status == 400
            assert len(up.seen) == 1
            async with gw.get("/v1/responses/resp_theirs") as response:
                assert response.status == 200
            assert len(up.seen) == 2


BODIES = [
    ("gzip that is none", CHAT, ["Content-Encoding: gzip"], 400),
    ("gzip", gzip.compress(CHAT), ["Content-Encoding: gzip"], 200),
    ("a bomb", gzip.compress(b"[" + b" " * 30_000_000 + b"]"), ["Content-Encoding: gzip"], 413),
    ("nothing", b"", [], 400),
    ("chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(CHAT), CHAT), ["Transfer-Encoding: chunked"], 200),
    ("chunks that are none", b"2\r\n{}\r\nzz\r\n", ["Transfer-Encoding: chunked"], 400),
    ("an expectation", CHAT, ["Expect: 100-continue"], 200),
    ("another expectation", CHAT, ["Expect: miracles"], 417),
]


@pytest.mark.parametrize(("body", "heads", "status"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES])
async def test_bodies_of_every_kind(
    database_url: str, caplog: pytest.LogCaptureFixture, body: bytes, heads: list[str], status: int
) -> None:
    async with Upstream(lambda seen: fakes.openai(seen)) as up, gateway(database_url, one(up)) as gw:
        got, headers, answer = await exchange(gw, request_bytes("POST", "/v1/chat/completions", body, JSON, *heads))
        assert (got, headers["content-type"].partition(";")[0]) == (status, "application/json")
        assert ("error" in json.loads(answer)) is (status != 200)
        for path, kind in (("/admin/users", JSON), ("/prompt", JSON), ("/v1/files", FORM), ("/v1/messages/count_tokens", JSON)):
            got, _, answer = await exchange(gw, request_bytes("POST", path, body, kind, *heads))
            assert got in (200, 400, 413, 417), (path, got, answer)
    assert "Traceback" not in caplog.text


async def test_a_body_over_the_limit_that_comes_with_its_head_in_chunks(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up), max_body_bytes=1024) as gw:
        chunks = b"7d0\r\n" + b" " * 2000 + b"\r\n0\r\n\r\n"
        for path, kind in (("/v1/chat/completions", JSON), ("/v1/files", FORM), ("/admin/users", JSON)):
            status, _, answer = await exchange(gw, request_bytes("POST", path, chunks, kind, "Transfer-Encoding: chunked"))
            assert (status, json.loads(answer)["error"]["code"]) == (413, "request_too_large"), (path, answer)


async def test_a_body_of_another_kind_is_told_so(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw:
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings", "/prompt", "/admin/users"):
            for kind, body, wanted in (
                ("text/plain", b"hello", 415),
                ("application/xml; charset=utf-8", b"<a/>", 415),
                ("application/json; charset=utf-8", b"<a/>", 400),
                ("application/vnd.api+json", b"<a/>", 400),
            ):
                status, headers, answer = await exchange(gw, request_bytes("POST", path, body, f"Content-Type: {kind}"))
                assert (status, headers["content-type"]) == (wanted, "application/json"), (path, kind)
                assert json.loads(answer)["error"]["type"] == "invalid_request_error"
        for kind in ("text/plain", "application/x-www-form-urlencoded"):  # as careless clients call what is JSON all the same
            assert (await exchange(gw, request_bytes("POST", "/v1/chat/completions", CHAT, f"Content-Type: {kind}")))[0] == 200


async def test_our_own_paths_have_their_own_methods_alone(database_url: str) -> None:
    """No provider is asked what another method means; but it is asked for its stored chats."""
    async with Upstream(lambda seen: whole({"object": "list", "data": []})) as up, gateway(database_url, one(up)) as gw:
        for path in ("completions", "embeddings", "responses", "messages", "messages/count_tokens", "route", "feedback"):
            for method in ("GET", "PUT", "PATCH", "DELETE"):
                status, headers, answer = await exchange(gw, request_bytes(method, f"/v1/{path}", CHAT if method != "GET" else b"", JSON))
                assert (status, headers["allow"]) == (405, "POST"), (method, path)
                assert json.loads(answer)["error"]["type" if path.startswith("messages") else "code"] in (
                    "method_not_allowed",
                    "invalid_request_error",
                )
        for method, path, allowed in (("POST", "models", "GET, HEAD"), ("DELETE", "chat/completions", "GET, HEAD, POST")):
            status, headers, _ = await exchange(gw, request_bytes(method, f"/v1/{path}", b"{}", JSON))
            assert (status, headers["allow"]) == (405, allowed)
        assert not up.seen
        assert (await exchange(gw, request_bytes("GET", "/v1/chat/completions")))[0] == 200


async def test_embeddings_come_whole_whatever_a_field_says(database_url: str) -> None:
    body = {"model": "m", "input": "x", "stream": True}
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw, gw.post("/v1/embeddings", body) as response:
        assert response.status == 200 and (await response.json())["data"][0]["embedding"]


ODD_CHATS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "x", "tool_calls": [5]}]},
    {"messages": [{"role": "user", "content": "x", "tool_calls": "abc"}]},
    {"messages": [{"role": "user", "content": "x", "tool_calls": [{"function": 5}]}]},
    {"messages": HELLO, "tools": [{"type": "x", "description": 5}]},
    {"messages": HELLO, "system": [{"type": "text", "text": [[1]]}]},
    {"messages": HELLO, "reasoning": {"effort": 3}, "text": {"format": 7}},
]


async def test_no_shape_of_a_body_is_a_bug(database_url: str) -> None:
    async with (
        Upstream(lambda seen: fakes.openai(seen) if seen.path.endswith("/completions") else whole({})) as up,
        gateway(database_url) as gw,
    ):
        del up
        for body in ODD_CHATS:
            for path in ("/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens", "/v1/route"):
                async with gw.post(path, {"model": "auto", "max_tokens": 5, **body}) as response:
                    assert response.status in (200, 400), (path, body, await response.text())
        for odd in ([1], {"a": 1}, "x", [{"role": "user"}], 5, None):
            async with gw.post("/v1/messages/count_tokens", {"model": "auto", "messages": odd}) as response:
                assert response.status in (200, 400), odd


async def test_headers_of_any_bytes(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up), metrics_token="a-token") as gw:
        for name in (
            "x-neuroroute-policy",
            "x-neuroroute-tags",
            "x-neuroroute-cache",
            "anthropic-beta",
            "openai-beta",
            "x-request-id",
            "x-api-key",
        ):
            for value in ("\xff", "a=\xff\xfe", "\xe9"):
                status, _, _ = await exchange(gw, request_bytes("POST", "/v1/chat/completions", CHAT, JSON, f"{name}: {value}"))
                assert status < 500, (name, value)
        assert (await exchange(gw, request_bytes("GET", "/metrics", key="\xff")))[0] == 401
        assert (await exchange(gw, request_bytes("GET", "/metrics", key="a-token")))[0] == 200
        await gw.services.ledger.flush()
        assert not gw.services.ledger.rejected


async def test_counting_tokens_holds_no_slot(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw:
        narrow = (await gw.new_key(limits={"concurrency": 1, "tokens_per_minute": 10_000}, allowed_models=["m", "auto"]))["key"]
        for _ in range(5):
            async with gw.post("/v1/messages/count_tokens", {"model": "auto", "messages": HELLO}, key=narrow) as response:
                assert response.status == 200, await response.text()
        async with gw.post("/v1/messages/count_tokens", {"model": "other", "messages": HELLO}, key=narrow) as response:
            assert response.status == 403
        async with gw.post("/v1/messages/count_tokens", {"model": "othr", "messages": HELLO}, key=narrow) as response:
            assert response.status == 404 and "other" not in (await response.json())["error"]["message"]
        async with gw.chat(key=narrow) as response:
            assert response.status == 200


async def test_a_request_names_one_model(database_url: str) -> None:
    """Whichever of two a provider would take: the key was asked about one."""
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw:
        messages = json.dumps(HELLO)
        for twice in (
            '"model":"m","model":"other"',
            '"model":"m","x":{"model":1},"mod\\u0065l":"other"',
            '"model":"m", "n":1 ,"model" : "m"',
        ):
            body = f'{{{twice},"messages":{messages}}}'.encode()
            for path in ("/v1/chat/completions", "/v1/messages", "/v1/moderations", "/v1/route"):
                status, _, answer = await exchange(gw, request_bytes("POST", path, body, JSON))
                assert status == 400 and "twice" in json.loads(answer)["error"]["message"], (path, twice)
        assert not up.seen
        fine = f'{{"model":"m","messages":{messages},"metadata":{{"model":"x","mod\\u0065l":"y"}},"user":"\\u006d"}}'.encode()
        assert (await exchange(gw, request_bytes("POST", "/v1/chat/completions", fine, JSON)))[0] == 200


def form(*parts: tuple[str, bytes]) -> bytes:
    return (
        b"".join(b"--x\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (head.encode(), data) for head, data in parts) + b"--x--\r\n"
    )


async def test_a_form_names_one_model_where_the_key_may_not_use_all(database_url: str) -> None:
    sound = ('name="file"; filename="a.wav"', b"RIFF" + bytes(200_000))
    allowed, other = ('name="model"', b"m"), ('name="model"', b"other")
    forms = [
        (form(allowed, sound), 200),
        (form(allowed, sound, other), 400),
        (form(allowed, other, sound), 400),
        (form(allowed, sound, ("NAME=model", b"other")), 400),
        (form(('name="file"; filename="x"', b'; name="model"\r\n\r\nm\r\n'), other), 400),
        (form(other, sound), 403),
    ]
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw:
        narrow = (await gw.new_key(allowed_models=["m"]))["key"]
        for place, (body, expected) in enumerate(forms):
            status, _, answer = await exchange(gw, request_bytes("POST", "/v1/audio/transcriptions", body, FORM, key=narrow))
            assert status == expected, (place, answer)
        status, _, _ = await exchange(gw, request_bytes("POST", "/v1/audio/transcriptions", form(allowed, sound, other), FORM))
        assert status == 200  # all models are this key's


# other origins


async def test_browsers_of_the_named_origins_may_call(database_url: str) -> None:
    async with (
        Upstream(fakes.openai) as up,
        gateway(database_url, one(up), cors_origins="https://app.example, http://localhost:8080") as gw,
    ):
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os"}
        async with gw.ask("OPTIONS", "/v1/chat/completions", key="", headers={"Origin": "https://app.example", **asks}) as response:
            assert response.status == 204 and "POST" in response.headers["Access-Control-Allow-Methods"]
            assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
            assert response.headers["Access-Control-Allow-Headers"] == asks["Access-Control-Request-Headers"]
            assert response.headers["Vary"] == "Origin" and "Access-Control-Allow-Credentials" not in response.headers
        for stream in (False, True):
            async with gw.post(
                "/v1/chat/completions", {"model": "m", "messages": HELLO, "stream": stream}, headers={"Origin": "https://app.example"}
            ) as response:
                assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
                assert response.headers["Access-Control-Expose-Headers"] == "*" and response.status == 200
        async with gw.chat(key="nr_no") as response:
            assert response.status == 401 and "Access-Control-Allow-Origin" not in response.headers and response.headers["Vary"] == "Origin"
        for origin in ("https://evil.example", "null", "https://app.example.evil.example", "https://app.example:444"):
            async with gw.ask("OPTIONS", "/v1/chat/completions", key="", headers={"Origin": origin, **asks}) as response:
                assert response.status == 405 and "Access-Control-Allow-Origin" not in response.headers
            async with gw.get("/v1/models", headers={"Origin": origin}) as response:
                assert "Access-Control-Allow-Origin" not in response.headers
        bad = {**asks, "Access-Control-Request-Headers": "a b\tc"}
        async with gw.ask("OPTIONS", "/nope", key="", headers={"Origin": "https://app.example", **bad}) as response:
            assert response.status == 204 and "Access-Control-Allow-Headers" not in response.headers


async def test_every_origin_where_all_are_allowed_but_never_with_credentials(database_url: str) -> None:
    async with gateway(database_url, cors_origins="*") as gw:
        asks = {"Origin": "https://anywhere.example", "Access-Control-Request-Method": "DELETE"}
        async with gw.ask("OPTIONS", "/admin/api-keys/key_1", key="", headers=asks) as response:
            assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (204, "*")
            assert "Access-Control-Allow-Credentials" not in response.headers


async def test_no_origin_may_where_none_is_named(database_url: str) -> None:
    async with gateway(database_url) as gw:
        asks = {"Origin": "http://localhost", "Access-Control-Request-Method": "POST"}
        async with gw.ask("OPTIONS", "/v1/chat/completions", key="", headers=asks) as response:
            assert response.status == 405 and not [name for name in response.headers if name.lower().startswith("access-control")]


# proxies


async def _address(gw: Gateway, *forwarded: str) -> str | None:
    """What the audit log has as the address of a change that came with these X-Forwarded-For lines."""
    heads = [f"X-Forwarded-For: {line}" for line in forwarded]
    status, _, answer = await exchange(gw, request_bytes("POST", "/admin/users", b'{"name":"n"}', JSON, *heads))
    assert status == 201, answer
    [line], _ = await AuditLog(gw.database).page(limit=1)
    return line.address


async def test_the_address_in_the_audit_log_comes_from_trusted_proxies_alone(database_url: str) -> None:
    async with gateway(database_url) as gw:
        assert await _address(gw) == "127.0.0.1" == await _address(gw, "203.0.113.9")
    async with gateway(database_url, trusted_proxies="127.0.0.0/8, 10.0.0.0/8, 2001:db8::/32") as gw:
        assert await _address(gw) == "127.0.0.1"
        assert await _address(gw, "203.0.113.9") == "203.0.113.9"
        assert await _address(gw, "198.51.100.1, 203.0.113.9, 10.1.2.3") == "203.0.113.9"  # what the client made up stands before
        assert await _address(gw, "198.51.100.1", "203.0.113.9, 10.1.2.3") == "203.0.113.9"
        assert await _address(gw, "[2001:db9::5]:443, 2001:db8::1") == "2001:db9::5"
        assert await _address(gw, "203.0.113.9:5123") == "203.0.113.9"
        assert await _address(gw, "::ffff:203.0.113.9, ::ffff:10.0.0.1") == "203.0.113.9"
        assert await _address(gw, "nonsense") == "127.0.0.1"
        assert await _address(gw, "203.0.113.9, <script>, 10.0.0.1") == "10.0.0.1"
        assert await _address(gw, "10.0.0.1, 10.0.0.2") == "10.0.0.1"


@pytest.mark.parametrize("pieces", [False, True])
async def test_a_reader_that_takes_nothing_is_cut_off(database_url: str, pieces: bool) -> None:
    """A large answer, whole or in pieces, to a client that does not read: when it does at last, it finds the answer broken off."""
    large = dumps({"id": "x", "object": "list", "choices": [{"message": {"content": "x" * 16_000_000}}]})
    answer = (
        stream(*[large[at : at + 100_000] for at in range(0, len(large), 100_000)], content_type="application/json")
        if pieces
        else whole(large)
    )
    async with Upstream(lambda seen: answer) as up, gateway(database_url, one(up), slow_client_timeout_s=0.4) as gw:
        place = urlsplit(gw.url)
        for waits_s, complete in ((0.1, True), (1.6, False)):
            reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=1024)
            writer.write(request_bytes("GET", "/v1/files") if pieces else request_bytes("POST", "/v1/chat/completions", CHAT, JSON))
            await asyncio.sleep(waits_s)
            got = 0
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(1 << 20):
                    got += len(piece)
            assert (got > len(large)) is complete
            writer.close()
