"""The pages of calls: the list that walks by its marks, one call with its times, the opinion on it, the command that sends it again."""

import re
import shlex
from datetime import timedelta
from html import unescape

import pytest

from neuroroute.core import jsonbytes
from neuroroute.core.clock import utcnow
from neuroroute.core.ids import new_id
from neuroroute.core.types import Role
from neuroroute.store.feedback import Feedback
from neuroroute.store.usage import Usage, UsageFilter, UsageRecord
from neuroroute.web.dashboard_call import as_curl
from tests.support import fakes
from tests.support.gateway import ADMIN_KEY, gateway, model, provider
from tests.support.upstream import Upstream, error
from tests.web.test_dashboard_pages import Browser, seal


@pytest.fixture
async def gw(database_url):
    async with gateway(database_url, neuroroute_demo=True) as running:
        yield running


def call(**fields):
    given = {
        "request_id": new_id("req"),
        "created_at": utcnow(),
        "key_id": "key_a",
        "user_id": "usr_a",
        "requested_model": "auto",
        **fields,
    }
    return UsageRecord(**given)


def listed(text):
    return re.findall(r'href="/dashboard/requests/(req_[0-9a-f]+)"', text)


def to(text, name):
    found = re.search(rf'rel="{name}" href="([^"]+)"', text)
    return None if found is None else "/dashboard/requests" + unescape(found[1])


async def test_the_list_of_calls_is_walked_there_and_back(gw):
    at = utcnow() - timedelta(hours=1)  # many at the same moment: the id tells them apart
    calls = [call(created_at=at - timedelta(minutes=number // 4)) for number in range(11)]
    await Usage(gw.database).insert_many(calls)
    wanted = [one.request_id for one in sorted(calls, key=lambda one: (one.created_at, one.request_id), reverse=True)]
    async with Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        _, text, _ = await browser.get("/dashboard/requests?limit=4")
        assert "4 of 11 calls" in text and to(text, "prev") is None
        seen = [listed(text)]
        while (older := to(text, "next")) is not None:
            _, text, _ = await browser.get(older)
            seen.append(listed(text))
        assert [one for page in seen for one in page] == wanted and [len(page) for page in seen] == [4, 4, 3]
        _, text, _ = await browser.get(to(text, "prev"))
        assert listed(text) == seen[1]
        _, text, _ = await browser.get(to(text, "prev"))
        assert listed(text) == seen[0] and to(text, "prev") is None and to(text, "next") is not None
        for mark in ("x", "2026-01-01,req_1", "2026-01-01T00:00:00Z"):
            status, text, _ = await browser.get(f"/dashboard/requests?before={mark}")
            assert status == 400 and "before" in text


async def test_calls_of_a_rare_tag_are_walked_too(gw):
    calls = [call(created_at=utcnow() - timedelta(minutes=number), tags={"team": "a" if number % 2 else "b"}) for number in range(10)]
    await Usage(gw.database).insert_many(calls)
    async with Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        _, text, _ = await browser.get("/dashboard/requests?limit=3&tag=team%3Da")
        assert "3 calls" in text and listed(text) == [calls[place].request_id for place in (1, 3, 5)]
        _, text, _ = await browser.get(to(text, "next"))
        assert listed(text) == [calls[place].request_id for place in (7, 9)]
        _, text, _ = await browser.get(to(text, "prev"))
        assert listed(text) == [calls[place].request_id for place in (1, 3, 5)]
        _, text, _ = await browser.get("/dashboard/requests?tag=team%3Dc")
        assert "No call fits these filters" in text


async def test_a_sample_is_spread_over_its_time(gw):
    now = utcnow()
    await Usage(gw.database).insert_many([call(created_at=now - timedelta(seconds=60 * number + 1)) for number in range(240)])
    found = await Usage(gw.database).sample(now - timedelta(hours=4), now, 48, slots=4)
    hours = [int((now - row.created_at).total_seconds() // 3600) for row in found]
    assert [hours.count(hour) for hour in range(4)] == [12, 12, 12, 12]


async def test_a_call_keeps_where_its_time_went(database_url):
    async with Upstream(fakes.openai) as up:
        config = {
            "providers": {"p": provider(up.url)},
            "models": {"a": model("p", fallbacks=["b"]), "b": model("p")},
        }
        up.will(error(503))
        async with gateway(database_url, config) as gw, Browser(gw) as browser:
            async with gw.chat("a") as response:
                assert response.status == 200
            [row] = await gw.rows(1)
            stages = [name for name, _ in row.decision["stages"]]
            assert stages[:4] == ["auth", "parse", "rate_limit", "cache"] and stages[-1] == "model_generation"
            assert sum(took_us for _, took_us in row.decision["stages"]) / 1000 <= row.latency_ms + 1
            (first, refused, at_us, took_us), (second, good, later_us, _) = row.decision["tries"]
            assert (first, second, good) == ("p/a", "p/b", "ok") and refused != "ok" and at_us + took_us <= later_us
            await browser.sign_in(ADMIN_KEY)
            _, text, _ = await browser.get(f"/dashboard/requests/{row.request_id}")
            assert "Where the time went" in text and f"attempt 1: p/a ({refused})" in text and "attempt 2: p/b" in text


@pytest.mark.parametrize(
    ("fields", "path", "body"),
    [
        ({"stream": True}, "/v1/chat/completions", {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], "stream": True}),
        ({"endpoint": "/prompt"}, "/prompt", {"prompt": "Hello", "model_id": "auto"}),
        ({"endpoint": "/v1/responses", "dialect": "responses"}, "/v1/responses", {"model": "auto", "input": "Hello"}),
        ({"endpoint": "/v1/embeddings", "dialect": "embeddings"}, "/v1/embeddings", {"model": "auto", "input": "Hello"}),
    ],
)
def test_a_call_as_a_command(fields, path, body):
    words = shlex.split(as_curl(call(**fields), "http://gw").replace("\\\n", ""))
    assert words[:2] == ["curl", "http://gw" + path] and jsonbytes.loads(words[words.index("-d") + 1]) == body
    assert "Authorization: Bearer $NEUROROUTE_KEY" in words


def test_a_hostile_name_stays_one_word_of_the_command():
    name = "x'; rm -rf / #$(id)`id`\\"
    words = shlex.split(as_curl(call(requested_model=name, tags={"a": name}), "http://gw").replace("\\\n", ""))
    assert jsonbytes.loads(words[-1])["model"] == name and f"x-neuroroute-tags: a={name}" in words and len(words) == 10


async def test_an_opinion_is_given_on_the_page_and_replaced(gw):
    async with gw.chat("auto") as response:
        request_id = response.headers["x-request-id"]
    await gw.rows(1)
    place = f"/dashboard/requests/{request_id}"
    async with Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        status, _, headers = await browser.send(
            place, place + "/feedback", score="bad", correct_model="demo-large", label="code", comment="no"
        )
        assert (status, headers["location"]) == (303, place + "#say")
        _, text, _ = await browser.get(place)
        assert "should have gone to <strong>demo-large</strong>" in text and "it was <strong>code</strong>" in text
        await browser.send(place, place + "/feedback", score="good", correct_model="", label="", comment="")
        [said], total = await Feedback(gw.database).page(request_id=request_id)
        assert (total, said.score, said.correct_model, said.label) == (1, 1.0, None, None)
        for fields, field in (
            ({"score": "x"}, "score"),
            ({"score": "bad", "correct_model": "none"}, "correct_model"),
            ({"score": "bad", "label": "z"}, "label"),
        ):
            status, text, _ = await browser.send(place, place + "/feedback", **fields)
            assert status == 400 and field in text
        assert (await browser.post(place + "/feedback", {"csrf": "wrong", "score": "good"}))[0] == 403


async def test_who_may_say_something_of_a_call(gw):
    async with gw.chat("auto") as response:
        place = f"/dashboard/requests/{response.headers['x-request-id']}"
    await gw.rows(1)
    viewer, user = await gw.new_user(Role.VIEWER), await gw.new_user()
    for somebody, expected in ((viewer, 403), (user, 404)):
        made = await gw.new_key(user_id=somebody["id"])
        async with Browser(gw) as browser:
            await browser.sign_in(made["key"])
            _, text, _ = await browser.get("/dashboard")
            assert (await browser.post(place + "/feedback", {"csrf": seal(text), "score": "bad"}))[0] == expected
    assert (await Feedback(gw.database).page())[1] == 0


async def test_the_policies_and_what_a_change_would_do(gw):
    now = utcnow()
    weighed = [["demo/demo-large", 0.9, 2_000_000, 300], ["demo/demo-small", 0.88, 10_000, 200]]
    rows = [
        call(created_at=now - timedelta(hours=1), model="demo-large", provider="demo", policy="best", label="code", cost_nanousd=2_000_000,
             baseline_cost_nanousd=2_000_000, prompt_tokens=1, decision={"v": 1, "candidates": weighed})
        for _ in range(5)
    ]  # fmt: skip
    rows.append(call(created_at=now - timedelta(hours=1), policy="best", model="demo-large", decision={"v": 1, "candidates": "broken"}))
    await Usage(gw.database).insert_many(rows)
    async with Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        _, text, _ = await browser.get("/dashboard/routing?policy=cheap")
        assert "demo/demo-small" in text and "5 calls" in text and "$0.00005" in text and "was $0.01" in text
        _, text, _ = await browser.get("/dashboard/routing?policy=cheap&quality_floor=0.89")
        assert "No call would go elsewhere." in text and "with your changes" in text
        for query, field in (("dial=x", "dial"), ("quality_floor=2", "quality_floor"), ("cost=-1", "cost"), ("quality=nan", "quality")):
            status, text, _ = await browser.get(f"/dashboard/routing?policy=cheap&{query}")
            assert status == 200 and re.search(rf'role="alert">[^<]*{field}', text), text[-3000:]
    user = await gw.new_user()
    made = await gw.new_key(user_id=user["id"])
    async with Browser(gw) as browser:
        await browser.sign_in(made["key"])
        assert (await browser.get("/dashboard/routing"))[0] == 403
    assert (await Usage(gw.database).page(UsageFilter()))[1] == 6


async def test_usage_is_a_csv_by_accept(gw):
    await Usage(gw.database).insert_many([call(model="@SUM(1)")])
    async with gw.get("/dashboard/usage?group_by=model", headers={"accept": "text/csv"}) as response:
        assert response.headers["content-type"].startswith("text/csv") and "'@SUM(1)" in await response.text()
