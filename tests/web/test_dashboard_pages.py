"""The pages as a browser without JavaScript meets them: signing in and out, forms, roles, hostile names, headers."""

import asyncio
import re
from datetime import timedelta
from html import unescape

import aiohttp
import pytest
from yarl import URL

from neuroroute.access.keys import revoke_key, rotate_key
from neuroroute.core.clock import utcnow
from neuroroute.core.ids import new_id
from neuroroute.core.types import Role
from neuroroute.store.audit import AuditLog
from neuroroute.store.usage import Usage, UsageRecord
from tests.support.gateway import ADMIN_KEY, gateway

HTML = {"accept": "text/html,application/xhtml+xml"}
PAGES = [
    "",
    "/stats",
    "/usage",
    "/requests",
    "/models",
    "/routing",
    "/alerts",
    "/keys",
    "/users",
    "/playground",
    "/settings",
    "/settings/providers",
    "/settings/history",
]
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


class Browser:
    """Cookies, redirects that are told, forms with what their page put into them."""

    def __init__(self, gw):
        self.url = gw.url
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.http.close()

    async def get(self, path, **headers):
        async with self.http.get(self.url + path, headers={**HTML, **headers}, allow_redirects=False) as response:
            return response.status, await response.text(), response.headers

    async def post(self, path, fields, **headers):
        async with self.http.post(self.url + path, data=fields, headers={**HTML, **headers}, allow_redirects=False) as response:
            return response.status, await response.text(), response.headers

    async def send(self, page, action, **fields):
        """Fill in a form of a page."""
        _, text, _ = await self.get(page)
        return await self.post(action, {"csrf": seal(text), **fields})

    async def sign_in(self, key, page="/dashboard/sign-in"):
        return await self.send(page, page, key=key)

    def cookie(self, name="nr_session"):
        found = self.http.cookie_jar.filter_cookies(URL(self.url + "/dashboard")).get(name)
        return None if found is None else found.value


def seal(text):
    return unescape(re.search(r'name="csrf" value="([^"]+)"', text)[1])


def fresh_key(text):
    return unescape(re.search(r'id="fresh"[^>]* value="([^"]+)"', text)[1])


@pytest.fixture
async def gw(database_url):
    async with gateway(database_url, neuroroute_demo=True) as running:
        yield running


async def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(gw):
    async with Browser(gw) as browser:
        for page in PAGES:
            status, _, headers = await browser.get("/dashboard" + page)
            assert status == 303 and headers["location"].startswith("/dashboard/sign-in")
        _, _, headers = await browser.get("/dashboard/requests?status=ok")
        status, _, headers = await browser.sign_in(ADMIN_KEY, headers["location"])
        assert (status, headers["location"]) == (303, "/dashboard/requests?status=ok")


@pytest.mark.parametrize(
    "place", ["https://evil.example", "//evil.example", "/dashboard//evil", "/dashboard\\evil", "/dashboardx", "/v1/models"]
)
async def test_sign_in_leads_to_no_other_site(gw, place):
    async with Browser(gw) as browser:
        page = str(URL("/dashboard/sign-in").with_query(next=place))
        assert (await browser.sign_in(ADMIN_KEY, page))[2]["location"] == "/dashboard"


async def test_every_page_answers_with_its_headers(gw):
    async with Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        async with gw.chat("auto:cheap") as response:
            call = response.headers["x-request-id"]
        await gw.rows(1)
        for page in [
            *PAGES,
            "/sign-in",
            f"/requests/{call}",
            "/requests/nobody",
            "?range=7d&live=1",
            "/usage?group_by=key",
            "/usage?group_by=user",
        ]:
            status, text, headers = await browser.get("/dashboard" + page)
            assert status == (404 if page == "/requests/nobody" else 303 if page == "/sign-in" else 200), (page, text)
            policy = headers["content-security-policy"]
            assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy and "unsafe" not in policy
            assert (headers["x-content-type-options"], headers["referrer-policy"], headers["cache-control"]) == (
                "nosniff",
                "same-origin",
                "no-store",
            )
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:|(src|href|action)=.?https?:", text), page
            if status != 303:
                assert len(re.findall("<h1", text)) == 1 and '<html lang="en">' in text


async def test_the_session_cookie_and_its_life(gw):
    async with Browser(gw) as browser:
        status, _, headers = await browser.sign_in(ADMIN_KEY)
        cookies = "; ".join(headers.getall("set-cookie"))
        assert status == 303 and "HttpOnly" in cookies and "SameSite=Lax" in cookies and "Secure" not in cookies
        first = browser.cookie()
        _, text, _ = await browser.get("/dashboard")
        assert browser.cookie("nr_form") is None  # it was for that form alone
        status, _, headers = await browser.post("/dashboard/sign-out", {"csrf": seal(text)})
        assert (status, headers["location"], browser.cookie()) == (303, "/dashboard/sign-in", None)
        status, _, _ = await browser.get("/dashboard", cookie=f"nr_session={first}")
        assert status == 303  # it is over at the server too


async def test_signing_in_again_ends_the_session_before(gw):
    async with Browser(gw) as browser:
        _, form, _ = await browser.get("/dashboard/sign-in")
        old_form = {"csrf": seal(form)}
        form_cookie = browser.cookie("nr_form")
        await browser.post("/dashboard/sign-in", {**old_form, "key": ADMIN_KEY})
        first = browser.cookie()
        await browser.post("/dashboard/sign-in", {**old_form, "key": ADMIN_KEY}, cookie=f"nr_form={form_cookie}")
        assert browser.cookie() != first
    async with Browser(gw) as other:
        assert (await other.get("/dashboard", cookie=f"nr_session={first}"))[0] == 303


@pytest.mark.parametrize("end", ["revoked", "rotated", "disabled"])
async def test_a_session_ends_with_its_key(gw, end):
    user = await gw.new_user()
    made = await gw.new_key(user_id=user["id"])
    async with Browser(gw) as browser:
        await browser.sign_in(made["key"])
        assert (await browser.get("/dashboard/requests"))[0] == 200
        if end == "revoked":
            await revoke_key(gw.database, made["id"])
        elif end == "rotated":
            await rotate_key(gw.database, made["id"])
        else:
            async with gw.ask("PUT", f"/admin/users/{user['id']}", {"status": "disabled"}) as response:
                assert response.status == 200
        async with asyncio.timeout(2):
            while (await browser.get("/dashboard/requests"))[0] != 303:
                await asyncio.sleep(0.02)


async def test_the_cookie_is_secure_behind_a_proxy_that_speaks_https(database_url):
    async with gateway(database_url, trusted_proxies="127.0.0.1") as gw, Browser(gw) as browser:
        _, _, headers = await browser.get("/dashboard/sign-in", **{"x-forwarded-proto": "https"})
        assert "Secure" in headers["set-cookie"]
    async with gateway(database_url) as gw, Browser(gw) as browser:  # nobody is trusted: the header says nothing
        _, _, headers = await browser.get("/dashboard/sign-in", **{"x-forwarded-proto": "https"})
        assert "Secure" not in headers["set-cookie"]


async def test_a_wrong_key_is_refused_and_guessing_is_throttled(gw):
    async with Browser(gw) as browser:
        status, text, _ = await browser.sign_in("nr_wrong")
        assert status == 401 and 'role="alert"' in text and "nr_wrong" not in text and browser.cookie() is None
        for _ in range(4):
            assert (await browser.sign_in("nr_wrong"))[0] == 401
        status, text, _ = await browser.sign_in("nr_wrong")
        assert status == 429 and "try again" in text
        statuses = [(await browser.sign_in(f"nr_guess_{number}"))[0] for number in range(20)]
        assert statuses.count(401) <= 15 and statuses[-1] == 429
        assert (await browser.sign_in(ADMIN_KEY))[0] == 429  # from this address, for a minute
        lines = (await (await gw.get("/admin/audit-log?action=session.refuse&limit=200")).json())["data"]
        assert len(lines) == 5 + statuses.count(401) and {line["address"] for line in lines} == {"127.0.0.1"}
        assert "nr_wrong" not in str(lines) and "nr_guess" not in str(lines)


async def test_a_flood_of_refused_sign_ins_does_not_flood_the_audit_log(database_url):
    async with gateway(database_url, trusted_proxies="127.0.0.1") as gw:
        for number in range(40):
            async with Browser(gw) as browser:
                browser.http.headers["x-forwarded-for"] = f"192.0.2.{number}"
                assert (await browser.sign_in(f"nr_guess_{number}"))[0] == 401
        found = await (await gw.get("/admin/audit-log?action=session.refuse")).json()
        assert 30 <= found["total"] < 40


async def test_forms_without_their_token_or_from_elsewhere_do_nothing(gw):
    async with Browser(gw) as browser:
        assert (await browser.post("/dashboard/sign-in", {"key": ADMIN_KEY}))[0] == 403
        await browser.sign_in(ADMIN_KEY)
        _, text, _ = await browser.get("/dashboard/keys")
        good = {"csrf": seal(text), "name": "mine"}
        before = len(await keys(gw))
        user = await gw.new_user()
        key_id = (await keys(gw))[0]["id"]
        for path in ("/dashboard/keys", f"/dashboard/keys/{key_id}/revoke", f"/dashboard/keys/{key_id}/rotate", "/dashboard/users",
                     f"/dashboard/users/{user['id']}", "/dashboard/sign-out"):  # fmt: skip
            assert (await browser.post(path, {**good, "csrf": "wrong"}))[0] == 403
            assert (await browser.post(path, {"name": "mine"}))[0] == 403
            assert (await browser.post(path, good, origin="https://evil.example"))[0] == 403
            assert (await browser.post(path, good, **{"sec-fetch-site": "cross-site"}))[0] == 403
        assert len(await keys(gw)) == before and (await keys(gw))[0]["status"] == "active"
        async with browser.http.post(gw.url + "/dashboard/playground/chat", json={"model": "auto", "messages": []}) as response:
            assert response.status == 403
        assert (await browser.post("/dashboard/keys", good, origin=gw.url))[0] == 200


async def keys(gw):
    async with gw.get("/admin/api-keys") as response:
        return (await response.json())["data"]


async def test_a_key_is_made_used_rotated_and_revoked(gw):
    async with Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        fields = {
            "name": "mine",
            "allowed_models": "demo-small, auto",
            "requests_per_minute": "50",
            "budget_usd": "2.5",
            "budget_period": "week",
        }
        status, text, _ = await browser.send("/dashboard/keys", "/dashboard/keys", **fields)
        secret = fresh_key(text)
        [made] = [key for key in await keys(gw) if key["name"] == "mine"]
        assert status == 200 and made["allowed_models"] == ["demo-small", "auto"] and made["limits"] == {"requests_per_minute": 50}
        assert made["budget"] == {"usd": 2.5, "period": "week"}
        assert secret not in (await browser.get("/dashboard/keys"))[1]
        async with gw.chat("demo-small", key=secret) as response:
            assert response.status == 200
        await gw.rows(1)
        assert "demo-small" in (await browser.get(f"/dashboard/requests?key_id={made['id']}"))[1]
        _, text, _ = await browser.send("/dashboard/keys", f"/dashboard/keys/{made['id']}/rotate", overlap_s="3600")
        second = fresh_key(text)
        for key in (secret, second):
            async with gw.get("/v1/models", key=key) as response:
                assert response.status == 200
        status, _, headers = await browser.send("/dashboard/keys", f"/dashboard/keys/{made['id']}/revoke")
        assert (status, headers["location"]) == (303, "/dashboard/keys")
        actions = {entry.action for entry in (await AuditLog(gw.database).page())[0]}
        assert {"session.create", "api_key.create", "api_key.rotate", "api_key.revoke"} <= actions


async def test_who_rotates_the_key_of_the_session_stays(gw):
    made = await gw.new_key()
    async with Browser(gw) as browser:
        await browser.sign_in(made["key"])
        _, text, _ = await browser.send("/dashboard/keys", f"/dashboard/keys/{made['id']}/rotate", overlap_s="0")
        assert fresh_key(text) != made["key"]
        assert (await browser.get("/dashboard"))[0] == 200
        assert (await browser.post("/dashboard/sign-out", {"csrf": seal(text)}))[0] == 303  # its forms are of the new session


async def test_a_form_that_is_wrong_says_so_and_keeps_what_was_typed(gw):
    async with Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        status, text, _ = await browser.send("/dashboard/keys", "/dashboard/keys", name="mine", budget_usd="lots")
        assert status == 400 and "budget.usd" in text and 'value="lots"' in text and 'value="mine"' in text


async def test_users_are_made_and_changed_and_the_last_admin_stays(gw):
    async with Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        status, _, _ = await browser.send("/dashboard/users", "/dashboard/users", name="Ada", email="ada@example.com", role="viewer")
        assert status == 303
        async with gw.get("/admin/users?search=Ada") as response:
            [ada] = (await response.json())["data"]
        assert (ada["role"], ada["email"]) == ("viewer", "ada@example.com")
        assert (await browser.send("/dashboard/users", f"/dashboard/users/{ada['id']}", status="disabled"))[0] == 303
        assert "disabled" in (await browser.get("/dashboard/users"))[1]
        status, text, _ = await browser.send("/dashboard/users", "/dashboard/users", name="Ada", email="ada@example.com", role="viewer")
        assert status == 409 and 'role="alert"' in text
        async with gw.get("/admin/users?role=admin") as response:
            [admin] = (await response.json())["data"]
        status, text, _ = await browser.send("/dashboard/users", f"/dashboard/users/{admin['id']}", role="user")
        assert status == 409 and "last active admin" in text


async def test_roles(gw):
    user, viewer = await gw.new_user(name="Una"), await gw.new_user(Role.VIEWER)
    user_key, viewer_key = [await gw.new_key(user_id=who["id"], name="own") for who in (user, viewer)]
    foreign = await gw.new_key(name="of the admin")
    async with Browser(gw) as browser:
        await browser.sign_in(user_key["key"])
        for page in ("/users", "/settings"):
            assert (await browser.get("/dashboard" + page))[0] == 403
        _, text, _ = await browser.get("/dashboard/keys")
        assert "own" in text and "of the admin" not in text and "budget_usd" not in text
        _, text, _ = await browser.get(f"/dashboard/keys?user_id={viewer['id']}")
        assert viewer_key["id"] not in text
        send = {"csrf": seal(text)}
        assert (await browser.post(f"/dashboard/keys/{foreign['id']}/revoke", send))[0] == 404
        assert (await browser.post("/dashboard/keys", {**send, "name": "n", "user_id": viewer["id"]}))[0] == 403
        assert (await browser.post("/dashboard/keys", {**send, "name": "n", "budget_usd": "5"}))[0] == 403
        assert (await browser.post("/dashboard/users", {**send, "name": "n", "role": "admin"}))[0] == 403
        assert (await browser.post(f"/dashboard/users/{user['id']}", {**send, "role": "admin"}))[0] == 403
        assert (await browser.post("/dashboard/keys", {**send, "name": "second"}))[0] == 200
    async with Browser(gw) as browser:
        await browser.sign_in(viewer_key["key"])
        status, text, _ = await browser.get("/dashboard/users")
        assert status == 200 and "Una" in text and "Create user" not in text
        send = {"csrf": seal(text)}
        for path in ("/dashboard/keys", "/dashboard/users", f"/dashboard/users/{user['id']}", f"/dashboard/keys/{foreign['id']}/revoke",
                     f"/dashboard/keys/{foreign['id']}/rotate"):  # fmt: skip
            assert (await browser.post(path, {**send, "name": "n"}))[0] == 403, path


async def test_limits_of_a_key_are_changed_by_admins(gw):
    user = await gw.new_user()
    made, narrow = await gw.new_key(user_id=user["id"]), await gw.new_key(user_id=user["id"], allowed_models=["demo-small"])
    place = f"/dashboard/keys/{made['id']}"
    async with Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        sent = {"requests_per_minute": "7", "budget_usd": "2.5", "budget_period": "week"}
        assert (await browser.send("/dashboard/keys", place, **sent))[0] == 303
        [key] = [one for one in await keys(gw) if one["id"] == made["id"]]
        assert key["limits"] == {"requests_per_minute": 7} and (key["budget"]["usd"], key["budget"]["period"]) == (2.5, "week")
        assert (await browser.send("/dashboard/keys", place, requests_per_minute="many"))[0] == 400
        bounds = {"allowed_models": "auto", "allowed_routes": "/v1/*, /prompt", "allowed_ips": "127.0.0.1,10.0.0.0/8"}
        assert (await browser.send("/dashboard/keys", place, **sent, **bounds))[0] == 303
        key = await (await gw.get(f"/admin/api-keys/{made['id']}")).json()
        assert (key["allowed_models"], key["allowed_routes"]) == (["auto"], ["/v1/*", "/prompt"]) and key["limits"] == {
            "requests_per_minute": 7
        }
        assert key["allowed_ips"] == ["127.0.0.1", "10.0.0.0/8"] and "at /v1/*, /prompt" in (await browser.get("/dashboard/keys"))[1]
        status, text, _ = await browser.send("/dashboard/keys", place, **{**sent, "allowed_ips": "somewhere"})
        assert status == 400 and "is not an address" in text
        assert (await browser.send("/dashboard/keys", place, **sent, allowed_routes="", allowed_ips=""))[0] == 303
        key = await (await gw.get(f"/admin/api-keys/{made['id']}")).json()
        assert (key["allowed_models"], key["allowed_routes"], key["allowed_ips"]) == (["auto"], None, None)
        assert (await browser.send("/dashboard/keys", place))[0] == 303
        [key] = [one for one in await keys(gw) if one["id"] == made["id"]]
        assert key["limits"] == {} and key["budget"] is None and key["store_prompts"] is True
        for words, may_be_kept in (("never", False), ("kept", True)):
            assert (await browser.send("/dashboard/keys", place, store_prompts=words))[0] == 303
            [key] = [one for one in await keys(gw) if one["id"] == made["id"]]
            assert key["store_prompts"] is may_be_kept
        assert (await browser.send("/dashboard/keys", "/dashboard/keys", name="silent", store_prompts="never"))[0] == 200
        [key] = [one for one in await keys(gw) if one["name"] == "silent"]
        assert key["store_prompts"] is False
    async with Browser(gw) as browser:
        await browser.sign_in(narrow["key"])
        _, text, _ = await browser.get("/dashboard/keys")
        assert "My usage this month" in text and "Save limits" not in text
        assert (await browser.post(place, {"csrf": seal(text), "requests_per_minute": "7"}))[0] == 403
        # a bounded key gets at no wider one
        assert (await browser.post(place + "/rotate", {"csrf": seal(text), "overlap_s": "0"}))[0] == 403


async def test_hostile_names_are_text(gw):
    user = await gw.new_user(name=HOSTILE)
    await gw.new_key(name=HOSTILE, user_id=user["id"])
    call = UsageRecord(
        new_id("req"), utcnow() - timedelta(minutes=1), "key_1", user["id"], HOSTILE, client_request_id=HOSTILE, model=HOSTILE, provider=HOSTILE,
        label=HOSTILE, policy=HOSTILE, error_code=HOSTILE, tags={HOSTILE: HOSTILE},
        decision={"v": 1, "candidates": [[HOSTILE, 0.5, 1000, 20]], "kept": HOSTILE, "needs": [HOSTILE]},
    )  # fmt: skip
    await Usage(gw.database).insert_many([call])
    async with Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        pages = [
            "",
            "/requests",
            f"/requests/{call.request_id}",
            "/usage?group_by=model",
            "/usage?group_by=label",
            "/keys",
            "/users",
            "/models",
        ]
        query = str(URL("").with_query(model=HOSTILE, key_id=HOSTILE, tag="a=" + HOSTILE))
        for page in [*pages, "/requests" + query, "/requests/" + str(URL.build(path=HOSTILE)).replace("/", "%2F")]:
            status, text, _ = await browser.get("/dashboard" + page)
            assert status in (200, 404) and "<script>alert" not in text and "<img src=x" not in text, page
        _, text, _ = await browser.get(f"/dashboard/requests/{call.request_id}")
        assert text.count("&lt;script&gt;alert(1)") >= 8


@pytest.mark.parametrize(
    "decision", [None, {}, {"v": 99}, {"v": 1, "candidates": "abc"}, {"v": 1, "candidates": [[1]]}, {"v": 1, "outcome": "x"}]
)
async def test_a_decision_that_can_not_be_read_is_no_fault(gw, decision):
    call = UsageRecord(new_id("req"), utcnow(), "key_1", "usr_1", "auto", policy="balanced", decision=decision)
    await Usage(gw.database).insert_many([call])
    async with Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        status, text, _ = await browser.get(f"/dashboard/requests/{call.request_id}")
        assert status == 200 and "alternatives of this call are not on record" in text


async def test_a_call_shows_what_was_weighed(gw):
    weighed = [["demo/demo-large", 0.9, 2_000_000, 300], ["demo/demo-small", 0.5, 10_000, 200]]
    call = UsageRecord(
        new_id("req"),
        utcnow(),
        "key_1",
        "usr_1",
        "auto",
        policy="balanced",
        label="code",
        decision={"v": 1, "candidates": weighed, "kept": "thread"},
    )
    await Usage(gw.database).insert_many([call])
    async with Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        _, text, _ = await browser.get(f"/dashboard/requests/{call.request_id}")
        assert text.index("demo/demo-large") < text.index("chosen</span>") < text.index("demo/demo-small") < text.index("passed over")
        assert "$0.002" in text and "kept the model" in text and re.search(r"<td class=\"figure\">-?0\.\d{3}</td>", text)


async def test_settings_mask_secrets(database_url):
    config = {"providers": {"work": {"protocol": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": "sk-hidden-value"}}}
    async with gateway(database_url, config, metrics_token="hidden-token", openai_api_key="sk-hidden-too") as gw, Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        status, text, _ = await browser.get("/dashboard/settings")
        assert status == 200 and "hidden" not in re.sub(r'class="hidden"|type="hidden"', "", text) and "***" in text
        assert "METRICS_TOKEN" in text and "providers.work.base_url" in text and database_url not in text


async def test_the_playground_calls_as_the_key_of_the_session(gw):
    user = await gw.new_user()
    made = await gw.new_key(user_id=user["id"], allowed_models=["demo-small"])
    async with Browser(gw) as browser:
        await browser.sign_in(made["key"])
        _, text, _ = await browser.get("/dashboard/playground")
        assert "demo-small" in text and "demo-large" not in text
        token = re.search(r'data-csrf="([^"]+)"', text)[1]
        body = {"model": "demo-small", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        async with browser.http.post(gw.url + "/dashboard/playground/chat", json=body, headers={"x-csrf-token": token}) as response:
            assert response.status == 200 and "data: [DONE]" in await response.text()
        body["model"] = "demo-large"
        async with browser.http.post(gw.url + "/dashboard/playground/chat", json=body, headers={"x-csrf-token": token}) as response:
            assert response.status == 403
        [first, _] = await gw.rows(2)
        assert (first.key_id, first.user_id, first.status) == (made["id"], user["id"], "ok")
    async with gw.post("/dashboard/playground/chat", body) as response:  # a key is no session
        assert response.status == 401


async def test_pages_count_against_the_limit_of_operating(database_url):
    async with gateway(database_url, admin_rate_limit_max=3) as gw, Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        statuses = [(await browser.get("/dashboard/models"))[0] for _ in range(4)]
        assert statuses == [200, 200, 200, 429]


async def test_only_own_files_are_static(gw):
    async with Browser(gw) as browser:
        for name in ("style.css", "playground.js", "icon.svg"):
            status, text, headers = await browser.get(f"/dashboard/static/{name}")
            assert status == 200 and text and headers["x-content-type-options"] == "nosniff"
        for name in ("base.html", "..%2Fpages.py", "style.css.map"):
            assert (await browser.get(f"/dashboard/static/{name}"))[0] == 404


async def test_where_there_is_no_page(gw):
    async with Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        status, text, _ = await browser.get("/dashboard/nowhere/" + HOSTILE.replace("/", "%2F"))
        assert status == 404 and "<h1>Not found</h1>" in text and "<script>alert" not in text
        assert (await browser.get("/dashboard/"))[2]["location"] == "/dashboard"
    async with gw.get("/dashboard/nowhere") as response:
        assert response.status == 404 and (await response.json())["error"]["code"] == "not_found"
