"""Paths that are only passed on: JSON, multipart and binary, by the official SDK; who may use them; what the books say."""

from typing import Any

import openai
import pytest

from tests.support import fakes
from tests.support.gateway import gateway, model, provider
from tests.support.upstream import Upstream, stream


def one(up: Upstream) -> dict[str, Any]:
    return {
        "providers": {"p": provider(up.base_url)},
        "models": {"m": model("p", "gpt-4o"), "whisper": model("p", "whisper-1", kind="audio")},
    }


async def test_json_multipart_and_binary_pass(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw, gw.openai() as client:
        moderated = await client.moderations.create(model="m", input="text")
        assert moderated.results and up.seen[-1].json["model"] == "gpt-4o"
        speech = await client.audio.speech.create(model="m", voice="alloy", input="hello")
        assert len(speech.content) > 0 and speech.response.headers["content-type"].startswith("audio/")
        transcribed = await client.audio.transcriptions.create(model="whisper", file=("a.wav", b"RIFF" + bytes(100_000)))
        assert transcribed.text
        assert b"RIFF" in up.seen[-1].body and len(up.seen[-1].body) > 100_000
        file = await client.files.create(file=("x.jsonl", b"{}\n"), purpose="batch")
        assert (await client.files.content(file.id)).content == b"file \x00\xff content"
        rows = await gw.rows(5)
        assert [row.dialect for row in rows] == ["pass"] * 5 and {row.status for row in rows} == {"ok"}
        assert [row.requested_model for row in rows] == ["m", "m", "whisper", "", ""]


async def test_large_binary_is_never_held_whole(database_url: str) -> None:
    megabyte = bytes(1 << 20)
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(stream(*[megabyte] * 40, content_type="audio/mpeg"))
        size = 0
        async with gw.post("/v1/audio/speech", {"model": "m", "input": "x", "voice": "y"}) as response:
            assert response.headers["content-type"] == "audio/mpeg"
            async for piece in response.content.iter_any():
                size += len(piece)
        assert size == 40 << 20


async def test_who_may_use_paths_without_a_model(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw:
        narrow = (await gw.new_key(allowed_models=["m"]))["key"]
        for path, body, status in [
            ("/v1/files", None, 403),
            ("/v1/moderations", {"model": "whisper", "input": "x"}, 403),
            ("/v1/moderations", {"model": "m", "input": "x"}, 200),
            ("/v1/moderations", {"model": "auto", "input": "x"}, 400),
            ("/v1/moderations", {"model": "nope", "input": "x"}, 404),
        ]:
            async with gw.ask("GET" if body is None else "POST", path, body, key=narrow) as response:
                assert response.status == status, await response.text()
        async with gw.get("/v1/files", key="") as response:
            assert response.status == 401
        async with gw.openai() as client:
            with pytest.raises(openai.NotFoundError):
                await client.get("/no/such/path", cast_to=object)
