"""Objects at a provider: who made one sees it, another user does not, by any path; and what is passed on is never booked as free."""

import itertools
from typing import Any

import pytest

from neuroroute.core.types import Role
from tests.support import fakes
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.upstream import Seen, Step, Upstream, whole


def account() -> Any:
    """A provider that keeps files and batches for whoever asks."""
    numbers, files = itertools.count(1), {"file-old": {"id": "file-old", "object": "file"}}

    def answer(seen: Seen) -> Step:
        path = seen.path.removeprefix("/v1")
        if path == "/files" and seen.method == "POST":
            made = {"id": f"file-{next(numbers)}", "object": "file"}
            files[made["id"]] = made
            return whole(made)
        if path == "/files":
            return whole({"object": "list", "data": list(files.values()), "has_more": False})
        if path == "/batches":
            return whole({"id": f"batch_{next(numbers)}", "object": "batch", "output_file_id": None})
        if path.startswith("/batches/"):
            return whole({"id": path[9:], "object": "batch", "output_file_id": f"file-out-{path[9:]}"})
        if path.startswith("/files/"):
            return whole({"id": path[7:], "object": "file"})
        if path == "/images/generations":
            return whole({"created": 1, "data": [{"url": "https://example.org/x.png"}]})
        return fakes.openai(seen)

    return answer


def one(up: Upstream) -> dict[str, Any]:
    return {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p", "gpt-4o"), "draw": model("p", "dall-e-3", kind="image")}}


async def ask(gw: Gateway, method: str, path: str, body: Any = None, *, key: str) -> tuple[int, Any]:
    async with gw.ask(method, path, body, key=key) as response:
        return response.status, await response.json(content_type=None)


async def key_of(gw: Gateway, role: Role = Role.USER, **fields: Any) -> str:
    return str((await gw.new_key(user_id=(await gw.new_user(role))["id"], **fields))["key"])


async def test_an_object_is_there_for_its_owner_and_for_admins(database_url: str) -> None:
    async with Upstream(account()) as up, gateway(database_url, one(up)) as gw:
        ada, bob = await key_of(gw), await key_of(gw)
        own = (await ask(gw, "POST", "/v1/files", {"purpose": "batch"}, key=ada))[1]["id"]
        others = (await ask(gw, "POST", "/v1/files", {"purpose": "batch"}, key=bob))[1]["id"]
        assert own != others
        assert (await ask(gw, "GET", f"/v1/files/{own}", key=ada))[0] == 200
        asked = len(up.seen)
        for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/content")]:
            status, told = await ask(gw, method, f"/v1/files/{own}{path}", key=bob)
            assert (status, told["error"]["param"]) == (404, "id"), (method, path)
        assert (await ask(gw, "GET", "/v1/files/file-old", key=bob))[0] == 404, "what nobody made here is the account's"
        assert len(up.seen) == asked, "the provider is not asked"
        assert [item["id"] for item in (await ask(gw, "GET", "/v1/files", key=ada))[1]["data"]] == [own]
        assert [item["id"] for item in (await ask(gw, "GET", "/v1/files", key=bob))[1]["data"]] == [others]
        assert {item["id"] for item in (await ask(gw, "GET", "/v1/files", key=gw.key))[1]["data"]} == {"file-old", own, others}
        assert (await ask(gw, "GET", f"/v1/files/{own}", key=gw.key))[0] == 200


async def test_a_body_refers_to_own_objects_alone_and_results_are_the_owners(database_url: str) -> None:
    async with Upstream(account()) as up, gateway(database_url, one(up)) as gw:
        ada, bob = await key_of(gw), await key_of(gw)
        own = (await ask(gw, "POST", "/v1/files", {"purpose": "batch"}, key=ada))[1]["id"]
        assert (await ask(gw, "POST", "/v1/batches", {"input_file_id": own}, key=bob))[0] == 404
        status, batch = await ask(gw, "POST", "/v1/batches", {"input_file_id": own}, key=ada)
        assert status == 200
        assert (await ask(gw, "GET", f"/v1/batches/{batch['id']}", key=bob))[0] == 404
        done = (await ask(gw, "GET", f"/v1/batches/{batch['id']}", key=ada))[1]
        assert (await ask(gw, "GET", f"/v1/files/{done['output_file_id']}/content", key=ada))[0] == 200
        assert (await ask(gw, "GET", f"/v1/files/{done['output_file_id']}/content", key=bob))[0] == 404


def _refers(object_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Every place where a call to a model names a file or the like."""
    file = {"type": "file", "file": {"file_id": object_id}}
    part = {"type": "input_file", "file_id": object_id}
    search = {"type": "file_search", "vector_store_ids": [object_id]}
    return [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, file]}]}),
        ("/v1/responses", {"input": [{"role": "user", "content": [part]}]}),
        ("/v1/responses", {"input": [part]}),
        ("/v1/responses", {"input": "x", "tools": [search]}),
        ("/v1/responses", {"input": "x", "tools": [{"type": "code_interpreter", "container": object_id}]}),
        ("/v1/responses", {"input": "x", "tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": [object_id]}}]}),
        ("/v1/responses", {"input": "x", "conversation": object_id}),
        ("/v1/responses", {"input": "x", "conversation": {"id": object_id}}),
        (
            "/v1/messages",
            {
                "max_tokens": 5,
                "messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": object_id}}]}],
            },
        ),
        ("/v1/messages", {"max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "container": object_id}),
        ("/v1/fine_tuning/jobs", {"training_file": object_id}),
        ("/v1/images/edits", {"prompt": "x", "images": [{"file_id": object_id}]}),
    ]


@pytest.mark.parametrize("place", range(12))
async def test_a_call_to_a_model_refers_to_own_files_alone(database_url: str, place: int) -> None:
    async with Upstream(account()) as up, gateway(database_url, one(up)) as gw:
        ada, bob = await key_of(gw), await key_of(gw)
        own = (await ask(gw, "POST", "/v1/files", {"purpose": "user_data"}, key=ada))[1]["id"]
        asked = len(up.seen)
        for object_id, key in [(own, bob), ("file-old", bob), ("file-old", ada)]:
            path, body = _refers(object_id)[place]
            status, told = await ask(gw, "POST", path, {"model": "m", **body}, key=key)
            assert status == 404 and object_id in str(told["error"]["message"]), (path, body, told)
        assert len(up.seen) == asked
        path, body = _refers(own)[place]
        status, told = await ask(gw, "POST", path, {"model": "m", **body}, key=ada)
        assert status != 404 or "no object" not in str(told), (path, body, told)


async def test_what_only_looks_like_a_reference_is_the_clients_own(database_url: str) -> None:
    tool = {
        "name": "open",
        "description": "",
        "parameters": {"type": "object", "properties": {"file_id": {"default": "7", "type": "string"}}},
    }
    messages = [
        {"role": "user", "content": 'open {"file_id": "file-9"}'},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "open", "arguments": '{"file_id": "7"}'}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "opened"},
    ]
    used = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "open", "input": {"file_id": "7"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "opened"}]},
    ]
    async with Upstream(account()) as up, gateway(database_url, one(up)) as gw:
        bob = await key_of(gw)
        body = {"model": "m", "messages": messages, "tools": [{"type": "function", "function": tool}], "metadata": {"file_id": "7"}}
        assert (await ask(gw, "POST", "/v1/chat/completions", body, key=bob))[0] == 200
        assert (await ask(gw, "POST", "/v1/messages", {"model": "m", "max_tokens": 9, "messages": used}, key=bob))[0] == 200


@pytest.mark.parametrize("path", ["/v1/%66iles/{}", "/v1//files/{}", "/v1/./files/{}", "/v1/files//{}"])
async def test_no_other_spelling_of_a_path_leads_to_it(database_url: str, path: str) -> None:
    async with Upstream(account()) as up, gateway(database_url, one(up)) as gw:
        ada, bob = await key_of(gw), await key_of(gw)
        own = (await ask(gw, "POST", "/v1/files", {"purpose": "batch"}, key=ada))[1]["id"]
        asked = len(up.seen)
        assert (await ask(gw, "GET", path.format(own), key=bob))[0] in (400, 404)
        assert len(up.seen) == asked


async def test_a_stored_chat_completion_is_its_owners(database_url: str) -> None:
    async with Upstream(account()) as up, gateway(database_url, one(up)) as gw:
        ada, bob = await key_of(gw), await key_of(gw)
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "store": True}
        status, made = await ask(gw, "POST", "/v1/chat/completions", body, key=ada)
        assert status == 200
        asked = len(up.seen)
        assert (await ask(gw, "GET", f"/v1/chat/completions/{made['id']}", key=bob))[0] == 404
        assert len(up.seen) == asked
        await ask(gw, "GET", f"/v1/chat/completions/{made['id']}", key=ada)
        assert len(up.seen) == asked + 1


async def test_a_key_for_some_models_is_told_so(database_url: str) -> None:
    async with Upstream(account()) as up, gateway(database_url, one(up)) as gw:
        narrow = await key_of(gw, allowed_models=["m"])
        for path in ("/v1/files", "/v1/files/file-old"):
            status, told = await ask(gw, "GET", path, key=narrow)
            assert (status, told["error"]["code"]) == (403, "permission_denied") and "some models" in told["error"]["message"]


async def test_what_reports_no_usage_has_an_unknown_price(database_url: str) -> None:
    async with Upstream(account()) as up, gateway(database_url, one(up)) as gw:
        assert (await ask(gw, "POST", "/v1/images/generations", {"model": "draw", "prompt": "x"}, key=gw.key))[0] == 200
        [row] = await gw.rows(1)
        assert (row.tokens_source, row.cost_nanousd, row.status) == ("none", None, "ok")


async def test_what_is_sold_by_the_piece_is_on_the_books_and_in_the_budget(database_url: str) -> None:
    def answer(seen: Seen) -> Step:
        if seen.path.endswith("/images/generations"):
            return whole({"created": 1, "data": [{"url": "https://example.org/x.png"}] * seen.json.get("n", 1)})
        if seen.path.endswith("/audio/transcriptions"):
            return whole({"text": "hello", "usage": {"type": "duration", "seconds": 90}})
        if seen.path.endswith("/audio/translations"):
            return whole({"text": "hello"})
        return whole(b"sound", **{"content-type": "audio/mpeg"})

    async with Upstream(answer) as up:
        config = {
            "providers": {"p": provider(up.base_url)},
            "models": {
                "draw": model("p", kind="image", price={"image": 0.04}),
                "hear": model("p", kind="audio", price={"minute": 0.006}),
                "say": model("p", kind="audio", price={"characters": 15.0}),
            },
        }
        async with gateway(database_url, config) as gw:
            key = await gw.new_key(budget={"usd": 0.2, "period": "day"})
            for path, body in [
                ("/v1/images/generations", {"model": "draw", "prompt": "x", "n": 3}),
                ("/v1/audio/speech", {"model": "say", "input": "0123456789" * 100, "voice": "alloy"}),
                ("/v1/audio/transcriptions", {"model": "hear", "file": "x"}),
                ("/v1/audio/translations", {"model": "hear", "file": "x"}),
            ]:
                async with gw.post(path, body, key=key["key"]) as response:
                    assert response.status == 200, await response.text()
            costs = {row.endpoint: row.cost_nanousd for row in await gw.rows(4)}
            assert costs == {
                "/v1/images/generations": 120_000_000,
                "/v1/audio/speech": 15_000_000,
                "/v1/audio/transcriptions": 9_000_000,
                "/v1/audio/translations": None,
            }
            assert (await ask(gw, "POST", "/v1/images/generations", {"model": "draw", "prompt": "x", "n": 2}, key=key["key"]))[0] == 200
            status, told = await ask(gw, "POST", "/v1/images/generations", {"model": "draw", "prompt": "x", "n": 2}, key=key["key"])
            assert (status, told["error"]["code"]) == (429, "insufficient_quota")
