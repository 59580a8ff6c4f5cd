"""STORE_PROMPTS: what is kept of what was said, for whom, for how long, and who may say no."""

import asyncio
from datetime import timedelta
from typing import Any

from neuroroute.core.clock import utcnow
from neuroroute.core.types import Role
from neuroroute.store.call_texts import CallText, CallTexts
from tests.support import fakes
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.upstream import Upstream

SAID: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "mail ada@example.com"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
]  # fmt: skip


async def kept(gw: Gateway, request_id: str) -> CallText | None:
    assert gw.services.texts is not None
    await gw.services.texts.flush()
    return await CallTexts(gw.database).get(request_id)


async def test_nothing_is_kept_where_it_is_off(database_url: str) -> None:
    async with gateway(database_url) as gw:
        assert gw.services.texts is None
        async with gw.chat("demo-small") as response:
            request_id = response.headers["x-request-id"]
        await gw.rows(1)
        assert await gw.database.fetchval("SELECT count(*) FROM call_texts") == 0
        async with gw.get(f"/dashboard/requests/{request_id}") as response:
            assert "prompt" not in await response.json()


async def test_prompt_and_answer_are_kept_masked_for_admins_and_the_caller(database_url: str) -> None:
    async with Upstream(fakes.openai) as up:
        config = {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p")}}
        async with gateway(database_url, config, store_prompts=True) as gw:
            user, other = await gw.new_user(), await gw.new_user()
            key = (await gw.new_key(user_id=user["id"]))["key"]
            ids = []
            for stream in (False, True, False):  # the last one is a hit
                async with gw.post("/v1/chat/completions", {"model": "m", "messages": SAID, "stream": stream}, key=key) as response:
                    assert response.status == 200
                    await response.read()
                    ids.append((response.headers["x-request-id"], response.headers["x-neuroroute-cache"]))
            rows = await gw.rows(3)
            for request_id, _ in ids:
                found = await kept(gw, request_id)
                assert found is not None and found.user_id == user["id"]
                assert found.prompt == "system: Be brief.\n\nuser: mail [email]\n[vision]" and found.answer
            assert ids[-1][1] == "hit" and "ada@" not in str(rows)
            place = f"/dashboard/requests/{ids[0][0]}"
            for who, sees in (
                (gw.key, True),
                (key, True),
                ((await gw.new_key(user_id=(await gw.new_user(Role.VIEWER))["id"]))["key"], False),
            ):
                async with gw.get(place, key=who) as response:
                    assert ("prompt" in await response.json()) is sees
            stranger = (await gw.new_key(user_id=other["id"]))["key"]
            async with gw.get(place, key=stranger) as response:
                assert response.status == 404
            async with gw.ask("DELETE", f"/admin/users/{user['id']}") as response:
                assert response.status == 200
            assert await gw.database.fetchval("SELECT count(*) FROM call_texts") == 0, "gone with their user"


async def test_a_key_and_a_call_may_say_no(database_url: str) -> None:
    async with gateway(database_url, store_prompts=True, store_prompts_masked=False) as gw:
        user = await gw.new_user()
        quiet = await gw.new_key(user_id=user["id"], store_prompts=False)
        assert quiet["store_prompts"] is False
        body = {"model": "demo-small", "messages": [*SAID[:1], {"role": "user", "content": "a@b.example"}]}

        async def is_kept(key: str | None = None, more: Any = None, **headers: str) -> bool:
            async with gw.post("/v1/chat/completions", {**body, **(more or {})}, key=key, headers=headers) as response:
                assert response.status == 200
                found = await kept(gw, response.headers["x-request-id"])
                assert found is None or "a@b.example" in found.prompt
                return found is not None

        header = "x-neuroroute-store-prompts"
        assert await is_kept() and await is_kept(**{header: "true"})
        assert not await is_kept(**{header: "false"}) and not await is_kept(**{header: "whatever"})
        assert not await is_kept(more={"neuroroute": {"store_prompts": False}}) and await is_kept(more={"neuroroute": {"explain": True}})
        assert not await is_kept(quiet["key"])
        async with gw.ask("PUT", f"/admin/api-keys/{quiet['id']}", {"store_prompts": True}) as response:
            assert (await response.json())["store_prompts"] is True
        async with asyncio.timeout(5):
            while not await is_kept(quiet["key"]):
                await asyncio.sleep(0.05)


async def test_other_endpoints_and_failures(database_url: str) -> None:
    async with Upstream(fakes.openai) as up:
        config = {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p")}}
        async with gateway(database_url, config, store_prompts=True, upstream_max_retries=0) as gw:
            for path, body, said in (
                ("/prompt", {"prompt": "one", "model_id": "m"}, "user: one"),
                ("/v1/embeddings", {"model": "m", "input": ["two", "three"]}, "user: two\nthree"),
                ("/v1/responses", {"model": "m", "input": "four"}, "user: four"),
                ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "five"}]}, "user: five"),
                ("/v1/chat/completions", {"model": "none", "messages": [{"role": "user", "content": "six"}]}, "user: six"),
            ):
                async with gw.post(path, body) as response:
                    await response.read()
                    found = await kept(gw, response.headers["x-request-id"])
                assert found is not None and found.prompt == said, path
            async with gw.get("/v1/files") as response:
                assert await kept(gw, response.headers["x-request-id"]) is None, "what is passed on unread has no text"


async def test_long_texts_are_cut_in_the_middle_and_old_ones_go(database_url: str) -> None:
    async with gateway(database_url, store_prompts=True, store_prompts_days=2) as gw:
        admin = (await (await gw.get("/admin/users")).json())["data"][0]["id"]
        old = [CallText(f"req_{days}", admin, "p", "a", utcnow() - timedelta(days=days)) for days in (1, 3, 9)]
        await CallTexts(gw.database).put_many(old)
        async with gw.post(
            "/v1/chat/completions", {"model": "demo-small", "messages": [{"role": "user", "content": "x" * 50_000}]}
        ) as response:
            found = await kept(gw, response.headers["x-request-id"])
        assert found is not None and 20_000 < len(found.prompt) < 20_100 and "[... 30006 characters ...]" in found.prompt
    async with gateway(database_url, store_prompts=True, store_prompts_days=2) as gw:
        async with asyncio.timeout(5):
            while await gw.database.fetchval("SELECT count(*) FROM call_texts") != 2:
                await asyncio.sleep(0.05)
        assert await CallTexts(gw.database).get("req_1") is not None


async def test_the_page_shows_it(database_url: str) -> None:
    from tests.support.gateway import ADMIN_KEY
    from tests.web.test_dashboard_pages import Browser

    async with gateway(database_url, store_prompts=True) as gw, Browser(gw) as browser:
        async with gw.post(
            "/v1/chat/completions", {"model": "demo-small", "messages": [{"role": "user", "content": "<b>x</b>"}]}
        ) as response:
            request_id = response.headers["x-request-id"]
        await gw.rows(1)
        await kept(gw, request_id)
        await browser.sign_in(ADMIN_KEY)
        _, text, _ = await browser.get(f"/dashboard/requests/{request_id}")
        assert "What was said" in text and "&lt;b&gt;" in text and "<b>x</b>" not in text
