"""The admin API: users and keys, who may do what with them, what the audit log says, and what a key is worth after each change."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from neuroroute.core.clock import utcnow
from neuroroute.core.types import Role
from neuroroute.store.audit import AuditEntry, AuditLog
from tests.support import fakes
from tests.support.gateway import ADMIN_KEY, Gateway, gateway, model, provider
from tests.support.upstream import Upstream

USER_FIELDS = {"object", "id", "name", "email", "role", "status", "limits", "budget", "created_at", "updated_at"}


async def ask(gw: Gateway, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON of one request to the admin API."""
    async with gw.ask(method, path, body, key=key, headers={name.replace("_", "-"): value for name, value in headers.items()}) as response:
        assert response.headers["content-type"] == "application/json", await response.text()
        return response.status, await response.json()


async def refused(gw: Gateway, method: str, path: str, body: Any = None, *, key: str | None = None) -> tuple[int, str | None, str | None]:
    """Status, code and param of a refusal, whose shape is OpenAI's."""
    status, answer = await ask(gw, method, path, body, key=key)
    error = answer["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"], answer
    return status, error["code"], error["param"]


async def opens(gw: Gateway, key: str) -> bool:
    async with gw.get("/v1/models", key=key) as response:
        assert response.status in (200, 401), response.status
        return bool(response.status == 200)


async def shut(gw: Gateway, key: str, within_s: float = 2.0) -> None:
    """The key opens nothing any more, within the promised time."""
    deadline_s = time.monotonic() + within_s
    while await opens(gw, key):
        assert time.monotonic() < deadline_s, "the key still works"
        await asyncio.sleep(0.02)


async def audit(gw: Gateway, action: str) -> list[AuditEntry]:
    lines, _ = await AuditLog(gw.database).page(action=action, limit=200)
    return list(lines)


async def member(gw: Gateway, role: Role = Role.USER, **key_fields: Any) -> tuple[str, str, str]:
    """A new user's id, key id and key."""
    user = (await gw.new_user(role))["id"]
    made = await gw.new_key(user_id=user, **key_fields)
    return user, made["id"], made["key"]


# users


async def test_the_life_of_a_user(database_url: str) -> None:
    async with gateway(database_url) as gw:
        wanted = {
            "name": "Ada",
            "email": "Ada@Example.com",
            "role": "viewer",
            "limits": {"requests_per_minute": 5, "tokens_per_minute": 1000, "concurrency": 2},
            "budget": {"usd": 12.5, "period": "week"},
        }
        status, made = await ask(gw, "POST", "/admin/users", wanted)
        assert status == 201 and set(made) == USER_FIELDS and made["id"].startswith("usr_")
        assert {name: made[name] for name in wanted} == wanted | {"email": "ada@example.com"} and made["status"] == "active"
        assert made["created_at"].endswith("Z") and made["created_at"] == made["updated_at"]
        place = f"/admin/users/{made['id']}"
        assert await ask(gw, "GET", place) == (200, made)
        status, changed = await ask(gw, "PUT", place, {"name": "Ada L.", "budget": None, "limits": {"concurrency": 0}})
        assert status == 200 and (changed["name"], changed["budget"], changed["limits"]) == ("Ada L.", None, {"concurrency": 0})
        assert (changed["role"], changed["email"]) == ("viewer", "ada@example.com") and changed["updated_at"] > made["updated_at"]
        assert await refused(gw, "POST", "/admin/users", {"name": "x", "email": "ADA@example.com"}) == (409, "conflict", None)
        assert await ask(gw, "DELETE", place) == (200, {"object": "user.deleted", "id": made["id"], "deleted": True})
        assert (
            (await refused(gw, "GET", place))[0]
            == 404
            == (await refused(gw, "PUT", place, {}))[0]
            == (await refused(gw, "DELETE", place))[0]
        )
        lines = {what: await audit(gw, f"user.{what}") for what in ("create", "update", "delete")}
        created, [updated], [deleted] = lines["create"][0], lines["update"], lines["delete"]
        assert created.target == updated.target == deleted.target == made["id"]
        assert updated.before is not None and updated.after is not None
        assert (updated.before["name"], updated.after["name"]) == ("Ada", "Ada L.") and deleted.before is not None
        assert created.address == "127.0.0.1" and created.actor_user_id and created.actor_key_id


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x", "email": "nobody"}, "email"),
        ({"name": "x", "role": "root"}, "role"),
        ({"name": "x", "limits": {"concurrency": -1}}, "limits.concurrency"),
        ({"name": "x", "limits": {"more": 1}}, "limits.more"),
        ({"name": "x", "budget": {"usd": -1}}, "budget.usd"),
        ({"name": "x", "budget": 5}, "budget"),
        ({"name": "x", "budget": {"usd": 1, "period": "year"}}, "budget.period"),
        ({"name": "x", "unknown": 1}, "unknown"),
    ],
)
async def test_a_bad_user_is_refused_by_the_name_of_its_field(database_url: str, body: dict[str, Any], param: str) -> None:
    async with gateway(database_url) as gw:
        assert await refused(gw, "POST", "/admin/users", body) == (400, None, param)
        async with gw.post("/admin/users", body) as response:
            assert "Body" not in (await response.json())["error"]["message"], "no name of a class of ours"


async def test_an_answer_and_its_line_in_the_audit_log_have_one_id(database_url: str) -> None:
    async with gateway(database_url) as gw:
        async with gw.post("/admin/users", {"name": "x"}, headers={"X-Request-ID": "theirs"}) as response:
            ours = response.headers["x-request-id"]
        assert ours.startswith("req_") and (await audit(gw, "user.create"))[0].request_id == ours
        for path in ("/health", "/v1/models", "/admin/users", "/admin/users/usr_none", "/nope", "/metrics", "/openapi.json"):
            async with gw.get(path) as response:
                assert response.headers["x-request-id"].startswith("req_"), path


async def test_the_last_admin_stays(database_url: str) -> None:
    async with gateway(database_url) as gw:
        _, listed = await ask(gw, "GET", "/admin/users?role=admin")
        [admin] = listed["data"]
        place = f"/admin/users/{admin['id']}"
        for change in ({"role": "user"}, {"status": "disabled"}):
            assert await refused(gw, "PUT", place, change) == (409, "last_admin", None)
        assert await refused(gw, "DELETE", place) == (409, "last_admin", None)
        await gw.new_user(Role.ADMIN)
        assert (await ask(gw, "PUT", place, {"name": "root"}))[0] == 200
        assert (await ask(gw, "PUT", place, {"role": "user"}))[0] == 200


async def test_a_disabled_and_a_deleted_user_have_no_keys_that_open(database_url: str) -> None:
    async with gateway(database_url) as gw:
        user, _, key = await member(gw)
        assert await opens(gw, key)
        await ask(gw, "PUT", f"/admin/users/{user}", {"status": "disabled"})
        await shut(gw, key)
        await ask(gw, "PUT", f"/admin/users/{user}", {"status": "active"})
        async with asyncio.timeout(2):
            while not await opens(gw, key):
                await asyncio.sleep(0.02)
        await ask(gw, "DELETE", f"/admin/users/{user}")
        await shut(gw, key)


# lists


async def test_lists_come_in_pages_newest_first(database_url: str) -> None:
    async with gateway(database_url) as gw:
        made = [(await gw.new_user(name=f"user {n}"))["id"] for n in range(7)]
        seen: list[str] = []
        for page in (1, 2, 3):
            _, answer = await ask(gw, "GET", f"/admin/users?role=user&page={page}&limit=3")
            assert {name: answer[name] for name in ("object", "total", "page", "limit", "pages")} == {
                "object": "list", "total": 7, "page": page, "limit": 3, "pages": 3,
            }  # fmt: skip
            seen += [row["id"] for row in answer["data"]]
        assert seen == made[::-1]
        assert (await ask(gw, "GET", "/admin/users?role=user&page=9&limit=3"))[1]["data"] == []
        assert [row["name"] for row in (await ask(gw, "GET", "/admin/users?search=ER%203"))[1]["data"]] == ["user 3"]
        assert (await ask(gw, "GET", "/admin/users?search=%25"))[1]["total"] == 0  # no wildcard of SQL's
        user = made[0]
        keys = [(await gw.new_key(user_id=user, name=f"k{n}"))["id"] for n in range(3)]
        await ask(gw, "DELETE", f"/admin/api-keys/{keys[0]}")
        for query, ids in (
            (f"user_id={user}", keys[::-1]),
            (f"user_id={user}&status=active", keys[:0:-1]),
            (f"user_id={user}&search=k2", keys[2:]),
        ):
            _, answer = await ask(gw, "GET", f"/admin/api-keys?{query}")
            assert [row["id"] for row in answer["data"]] == ids and all("key" not in row for row in answer["data"])
        for query, param in (
            ("page=0", "page"),
            ("page=x", "page"),
            ("limit=201", "limit"),
            ("limit=-1", "limit"),
            ("status=odd", "status"),
        ):
            assert await refused(gw, "GET", f"/admin/api-keys?{query}") == (400, None, param)


# keys


async def test_the_life_of_a_key(database_url: str) -> None:
    async with gateway(database_url) as gw:
        user = (await gw.new_user())["id"]
        ends = (utcnow() + timedelta(days=1)).isoformat()
        wanted = {
            "name": "search service",
            "user_id": user,
            "allowed_models": ["demo-small", "auto"],
            "limits": {"requests_per_minute": 60, "tokens_per_minute": 90_000, "concurrency": 4},
            "budget": {"usd": 3.0, "period": "day"},
            "tags": {"team": "search"},
            "on_disconnect": "finish",
        }
        status, made = await ask(gw, "POST", "/admin/api-keys", {**wanted, "expires_at": ends})
        assert status == 201 and {name: made[name] for name in wanted} == wanted
        secret = made.pop("key")
        assert secret.startswith("nr_") and len(secret) == 52 and made["id"].startswith("key_") and made["expires_at"].endswith("Z")
        place = f"/admin/api-keys/{made['id']}"
        assert await opens(gw, secret)
        _, shown = await ask(gw, "GET", place)
        assert made == {name: None if name == "last_used_at" else shown[name] for name in made} and secret not in str(shown)
        status, changed = await ask(gw, "PUT", place, {"budget": None, "allowed_models": None, "tags": None, "expires_at": None})
        assert status == 200 and (changed["budget"], changed["allowed_models"], changed["tags"], changed["expires_at"]) == (
            None,
            None,
            {},
            None,
        )
        assert changed["limits"] == wanted["limits"] and changed["name"] == "search service"
        assert await ask(gw, "DELETE", place) == (200, {"object": "api_key.deleted", "id": made["id"], "deleted": True})
        await shut(gw, secret)
        assert (await ask(gw, "GET", place))[1]["status"] == "revoked"
        assert (await refused(gw, "PUT", place, {"name": "again"}))[0] == 400 and (await refused(gw, "POST", place + "/rotate"))[0] == 404
        assert (await ask(gw, "DELETE", place))[0] == 200 and len(await audit(gw, "api_key.revoke")) == 1
        everything = str(await audit(gw, "api_key.create")) + str(await audit(gw, "api_key.update"))
        assert made["id"] in everything and secret not in everything


async def test_a_key_expires_by_itself(database_url: str) -> None:
    async with gateway(database_url) as gw:
        soon = (await gw.new_key(expires_at=(utcnow() + timedelta(seconds=0.8)).isoformat()))["key"]
        assert await opens(gw, soon)
        await shut(gw, soon)
        past = (utcnow() - timedelta(seconds=1)).isoformat()
        assert await refused(gw, "POST", "/admin/api-keys", {"name": "x", "expires_at": past}) == (400, None, "expires_at")
        for odd in ("0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00", "tomorrow", 1e300):
            assert await refused(gw, "POST", "/admin/api-keys", {"name": "x", "expires_at": odd}) == (400, None, "expires_at")


async def test_after_a_rotation_the_old_key_works_as_long_as_was_said(database_url: str) -> None:
    async with gateway(database_url) as gw:
        made = await gw.new_key(limits={"concurrency": 3})
        place = f"/admin/api-keys/{made['id']}/rotate"
        status, second = await ask(gw, "POST", place, {"overlap_s": 2})
        assert status == 200 and second["id"] == made["id"] and second["key"] != made["key"] and second["limits"] == {"concurrency": 3}
        assert second["previous_until"] is not None
        assert await opens(gw, second["key"]) and await opens(gw, made["key"])
        await shut(gw, made["key"], within_s=3.5)
        assert await opens(gw, second["key"])
        status, third = await ask(gw, "POST", place)  # without a body: at once
        assert status == 200 and third["previous_until"] is None
        await shut(gw, second["key"])
        assert await opens(gw, third["key"])
        assert (await refused(gw, "POST", place, {"overlap_s": 31 * 86_400}))[2] == "overlap_s"
        line = (await audit(gw, "api_key.rotate"))[0]
        assert line.target == made["id"] and third["key"] not in str(line)


async def test_limits_and_models_of_a_key_hold_as_soon_as_they_change(database_url: str) -> None:
    config = {"providers": {"p": {}}, "models": {"a": model("p", "gpt-4o"), "b": model("p", "gpt-4.1")}}
    async with Upstream(fakes.openai) as up:
        config["providers"]["p"] = provider(up.base_url)
        async with gateway(database_url, config) as gw:
            made = await gw.new_key(allowed_models=["a"])

            async def status_of(name: str) -> int:
                async with gw.chat(name, key=made["key"], seed=int(time.monotonic() * 1e6)) as response:
                    return int(response.status)

            assert (await status_of("a"), await status_of("b")) == (200, 403)
            await ask(gw, "PUT", f"/admin/api-keys/{made['id']}", {"allowed_models": ["b"], "limits": {"requests_per_minute": 1}})
            async with asyncio.timeout(2):
                while await status_of("a") != 403:
                    await asyncio.sleep(0.02)
            assert [await status_of("b"), await status_of("b")].count(429) >= 1


async def test_two_changes_at_once_never_bring_a_revoked_key_back(database_url: str) -> None:
    async with gateway(database_url) as gw:
        for _ in range(5):
            made = await gw.new_key()
            place = f"/admin/api-keys/{made['id']}"
            renames = [ask(gw, "PUT", place, {"name": f"n{n}"}) for n in range(6)]
            answers = await asyncio.gather(*renames[:3], ask(gw, "DELETE", place), *renames[3:])
            assert {status for status, _ in answers} <= {200, 400, 409}
            assert (await ask(gw, "GET", place))[1]["status"] == "revoked"
            await shut(gw, made["key"])


# who may do what

EVERYWHERE = [
    ("GET", "/admin/users", None),
    ("POST", "/admin/users", {"name": "x", "role": "admin"}),
    ("GET", "/admin/users/{user}", None),
    ("PUT", "/admin/users/{user}", {"role": "admin"}),
    ("DELETE", "/admin/users/{user}", None),
    ("GET", "/admin/api-keys", None),
    ("POST", "/admin/api-keys", {"name": "x"}),
    ("GET", "/admin/api-keys/{key}", None),
    ("PUT", "/admin/api-keys/{key}", {"budget": None}),
    ("DELETE", "/admin/api-keys/{key}", None),
    ("POST", "/admin/api-keys/{key}/rotate", {}),
]
READS = ("GET",)


async def test_nobody_does_anything_without_a_key_and_no_cookie_is_one(database_url: str) -> None:
    async with gateway(database_url) as gw:
        user, key_id, _ = await member(gw)
        for method, path, body in EVERYWHERE:
            place = path.format(user=user, key=key_id)
            for headers in ({}, {"Cookie": f"key={ADMIN_KEY}; nr_session={ADMIN_KEY}"}, {"Authorization": f"Basic {ADMIN_KEY}"}):
                async with gw.ask(method, place, body, key="", headers=headers) as response:
                    assert response.status == 401 and (await response.json())["error"]["code"] == "invalid_api_key", (method, path)
            async with gw.ask(method, f"{place}?key={ADMIN_KEY}&api_key={ADMIN_KEY}", body, key="") as response:
                assert response.status == 401


async def test_a_viewer_reads_all_and_changes_nothing(database_url: str) -> None:
    async with gateway(database_url) as gw:
        user, key_id, _ = await member(gw)
        _, _, viewer = await member(gw, Role.VIEWER)
        for method, path, body in EVERYWHERE:
            status, _ = await ask(gw, method, path.format(user=user, key=key_id), body, key=viewer)
            assert status == (200 if method in READS else 403), (method, path)
        assert (await ask(gw, "GET", f"/admin/users/{user}"))[1]["role"] == "user"


async def test_a_viewer_calls_no_model_on_any_route(database_url: str) -> None:
    async with gateway(database_url) as gw:
        _, _, viewer = await member(gw, Role.VIEWER)
        chat = {"model": "auto", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}
        for path, body in {
            "/v1/chat/completions": chat, "/v1/messages": chat, "/v1/responses": {"model": "auto", "input": "x"},
            "/v1/completions": {"model": "auto", "prompt": "x"}, "/v1/embeddings": {"model": "m", "input": "x"},
            "/v1/images/generations": {"model": "m", "prompt": "x"}, "/prompt": {"prompt": "x"},
        }.items():  # fmt: skip
            status, told = await ask(gw, "POST", path, body, key=viewer)
            assert (status, told["error"]["type"]) == (403, "permission_error"), path
        assert (await ask(gw, "POST", "/v1/route", chat, key=viewer))[0] == 200
        assert (await ask(gw, "GET", "/v1/models", key=viewer))[0] == 200


async def test_a_user_sees_and_manages_own_keys_alone(database_url: str) -> None:
    async with gateway(database_url) as gw:
        other, other_key, _ = await member(gw)
        user, own_id, own = await member(gw)
        for method, path, body in EVERYWHERE:
            if path == "/admin/api-keys":
                continue
            status, _ = await ask(gw, method, path.format(user=other, key=other_key), body, key=own)
            assert status == (404 if "/admin/api-keys/" in path else 403), (method, path)
        assert (await refused(gw, "PUT", f"/admin/api-keys/{other_key}", {"name": "x"}, key=own))[0] == 404
        _, listed = await ask(gw, "GET", f"/admin/api-keys?user_id={other}", key=own)
        assert [row["id"] for row in listed["data"]] == [own_id]
        status, made = await ask(gw, "POST", "/admin/api-keys", {"name": "second"}, key=own)
        assert (status, made["user_id"]) == (201, user) and await opens(gw, made["key"])
        assert (await ask(gw, "PUT", f"/admin/api-keys/{made['id']}", {"name": "n", "tags": {"a": "b"}}, key=own))[0] == 200
        for field, value in (("limits", {}), ("budget", None), ("allowed_models", None), ("expires_at", None), ("on_disconnect", "detach")):
            assert await refused(gw, "PUT", f"/admin/api-keys/{made['id']}", {field: value}, key=own) == (403, "permission_denied", field)
        assert await refused(gw, "POST", "/admin/api-keys", {"name": "x", "user_id": other}, key=own) == (
            403,
            "permission_denied",
            "user_id",
        )
        assert (await ask(gw, "POST", f"/admin/api-keys/{made['id']}/rotate", key=own))[0] == 200
        assert (await ask(gw, "DELETE", f"/admin/api-keys/{made['id']}", key=own))[0] == 200


async def test_nobody_gets_further_by_another_key(database_url: str) -> None:
    """A key that is bounded makes none that is less so, and does not take over a wider one of its user."""
    async with gateway(database_url) as gw:
        user, wide_id, _ = await member(gw)

        async def key_of(**fields: Any) -> tuple[str, str]:
            made = await gw.new_key(user_id=user, **fields)
            return made["id"], made["key"]

        _, few = await key_of(allowed_models=["a", "b"])
        status, made = await ask(gw, "POST", "/admin/api-keys", {"name": "x"}, key=few)
        assert status == 201 and made["allowed_models"] == ["a", "b"]
        assert await refused(gw, "POST", "/admin/api-keys", {"name": "x", "allowed_models": ["c"]}, key=few) == (
            403,
            "permission_denied",
            "allowed_models",
        )
        assert (await ask(gw, "POST", "/admin/api-keys", {"name": "x", "allowed_models": ["b"]}, key=few))[1]["allowed_models"] == ["b"]
        soon = utcnow() + timedelta(hours=1)
        _, brief = await key_of(expires_at=soon.isoformat())
        for wanted in (None, (soon + timedelta(days=9)).isoformat()):
            _, made = await ask(gw, "POST", "/admin/api-keys", {"name": "x", **({"expires_at": wanted} if wanted else {})}, key=brief)
            assert made["expires_at"].startswith(soon.isoformat()[:19])
        own_id, held = await key_of(budget={"usd": 1, "period": "total"})
        _, slow = await key_of(limits={"requests_per_minute": 5})
        for key in (held, slow):
            assert (await refused(gw, "POST", "/admin/api-keys", {"name": "x"}, key=key))[0] == 403
        for key in (few, brief, held, slow):
            assert (await refused(gw, "POST", f"/admin/api-keys/{wide_id}/rotate", key=key))[0] == 403
        status, turned = await ask(gw, "POST", f"/admin/api-keys/{own_id}/rotate", key=held)
        assert status == 200 and turned["budget"] == {"usd": 1.0, "period": "total"}
        for limits in ({"limits": {}}, {"budget": {"usd": 9}}):
            assert (await refused(gw, "POST", "/admin/api-keys", {"name": "x", **limits}, key=few))[0] == 403


async def test_the_admin_api_takes_json_from_anywhere_and_forms_from_nowhere(database_url: str) -> None:
    """It needs no CSRF token because a key in a header can not be forged by a page; so a form must not be able to speak to it."""
    async with gateway(database_url) as gw:
        async with gw.ask("POST", "/admin/users", headers={"Origin": "https://evil.example"}, data={"name": "x"}) as response:
            assert response.status == 415
        assert (await ask(gw, "POST", "/admin/users", {"name": "x"}, Origin="https://elsewhere.example"))[0] == 201


async def test_operating_has_its_own_limit(database_url: str) -> None:
    async with gateway(database_url, admin_rate_limit_max=3) as gw:
        assert [(await ask(gw, "GET", "/admin/users"))[0] for _ in range(4)] == [200, 200, 200, 429]
        async with gw.get("/admin/users") as response:
            assert int(response.headers["retry-after"]) >= 1
        assert await opens(gw, ADMIN_KEY)
