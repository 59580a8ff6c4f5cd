"""The figures of /dashboard as JSON, against real rows; who may see which."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest

from neuroroute.core.clock import utcnow
from neuroroute.core.ids import new_id
from neuroroute.core.types import Role
from neuroroute.store.usage import Usage, UsageRecord
from tests.support.gateway import gateway

ROW_FIELDS = (
    "request_id client_request_id created_at key_id user_id requested_model model provider label difficulty policy prompt_tokens completion_tokens "
    "cached_tokens reasoning_tokens tokens_source cost_usd baseline_cost_usd cache attempts status http_status latency_ms ttft_ms overhead_ms tags"
).split()


def row(**fields):
    given = {
        "request_id": new_id("req"),
        "created_at": utcnow() - timedelta(minutes=5),
        "key_id": "key_a",
        "user_id": "usr_a",
        "requested_model": "auto",
        "model": "demo-small",
        "provider": "demo",
        "label": "code",
        "difficulty": 0.5,
        "policy": "balanced",
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "tokens_source": "provider",
        "cost_nanousd": 1_000_000,
        "baseline_cost_nanousd": 3_000_000,
        "cache": "miss",
        "attempts": 1,
        "latency_ms": 100.0,
        "ttft_ms": 40.0,
        "overhead_ms": 1.0,
        "tags": {"team": "search"},
        **fields,
    }
    return UsageRecord(**given)


async def told(gw, path, *, key=None, status=200, accept=None):
    headers = {} if accept is None else {"accept": accept}
    async with gw.get(path, key=key, headers=headers) as response:
        assert response.status == status, await response.text()
        return await response.json()


async def test_stats_are_the_sums_and_percentiles_of_the_rows(database_url):
    async with gateway(database_url) as gw:
        rows = [row(latency_ms=float(ms), overhead_ms=ms / 100) for ms in range(1, 101)]
        rows += [row(status="error", http_status=502, cost_nanousd=None, baseline_cost_nanousd=None), row(cache="hit", cost_nanousd=0)]
        rows += [row(created_at=utcnow() - timedelta(days=3), cost_nanousd=7_000_000_000)]
        await Usage(gw.database).insert_many(rows)
        stats = await told(gw, "/dashboard/stats")
        assert (stats["calls"], stats["errors"], stats["cached_calls"], stats["unpriced_calls"]) == (102, 1, 1, 1)
        assert stats["cost_usd"] == pytest.approx(0.1) and stats["saved_usd"] == pytest.approx(100 * 0.002 + 0.003)
        assert stats["cache_share"] == pytest.approx(1 / 102) and stats["error_rate"] == pytest.approx(1 / 102)
        assert stats["latency_ms"]["p50"] == pytest.approx(51.5, abs=1) and stats["latency_ms"]["p95"] > 94
        assert stats["overhead_ms"]["p99"] == pytest.approx(1.0, abs=0.02)
        assert stats["last_24h"]["calls"] == 102
        since = (utcnow() - timedelta(days=4)).strftime("%Y-%m-%dT%H:%M:%SZ")
        until = (utcnow() - timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
        asked = await told(gw, f"/dashboard/stats?from={since}&to={until}")
        assert (asked["calls"], asked["cost_usd"], asked["last_24h"]["calls"]) == (1, 7.0, 102)


async def test_no_calls_are_zeros_and_nulls(database_url):
    async with gateway(database_url) as gw:
        stats = await told(gw, "/dashboard/stats")
        assert (stats["calls"], stats["cost_usd"], stats["cache_share"], stats["latency_ms"]["p95"]) == (0, 0.0, 0.0, None)
        assert (await told(gw, "/dashboard/usage"))["data"] == [] and (await told(gw, "/dashboard/requests"))["total"] == 0


@pytest.mark.parametrize(
    ("group", "field", "names"),
    [
        ("hour", "hour", None),
        ("day", "day", None),
        ("model", "model", ["demo-large", "demo-small"]),
        ("key", "key_id", ["key_b", "key_a"]),
        ("user", "user_id", ["usr_b", "usr_a"]),
        ("label", "label", ["math", "code"]),
    ],
)
async def test_usage_is_grouped(database_url, group, field, names):
    async with gateway(database_url) as gw:
        one = row()
        two = [row(model="demo-large", key_id="key_b", user_id="usr_b", label="math", cost_nanousd=9_000_000) for _ in range(2)]
        await Usage(gw.database).insert_many([one, *two])
        found = await told(gw, f"/dashboard/usage?group_by={group}")
        assert found["object"] == "list" and sum(each["calls"] for each in found["data"]) == 3
        assert sum(each["cost_usd"] for each in found["data"]) == pytest.approx(0.019)
        if names is None:
            assert all(datetime.fromisoformat(each[field]).tzinfo for each in found["data"])
        else:
            assert [each[field] for each in found["data"]] == names


async def test_usage_comes_as_csv_without_formulas(database_url):
    async with gateway(database_url) as gw:
        await Usage(gw.database).insert_many([row(model="=HYPERLINK(1)")])
        async with gw.get("/dashboard/usage?group_by=model&format=csv") as response:
            assert response.headers["content-type"].startswith("text/csv") and "attachment" in response.headers["content-disposition"]
            [line] = csv.DictReader(io.StringIO(await response.text()))
        assert (line["model"], line["calls"], line["cost_usd"]) == ("'=HYPERLINK(1)", "1", "0.001")


async def test_requests_have_the_agreed_fields_and_money_as_numbers(database_url):
    async with gateway(database_url) as gw:
        await Usage(gw.database).insert_many([row(client_request_id="mine"), row(cost_nanousd=None)])
        found = await told(gw, "/dashboard/requests?limit=1")
        assert {name: found[name] for name in ("object", "total", "page", "limit", "pages")} == {
            "object": "list", "total": 2, "page": 1, "limit": 1, "pages": 2,
        }  # fmt: skip
        [each] = found["data"]
        assert list(each) == ROW_FIELDS
        costs = {one["cost_usd"] for page in (1, 2) for one in (await told(gw, f"/dashboard/requests?limit=1&page={page}"))["data"]}
        assert costs == {None, 0.001}


@pytest.mark.parametrize(
    "query",
    ["model=demo-large", "key_id=key_b", "user_id=usr_b", "label=math", "status=error", "tag=team%3Dads", "tag=team:ads",
     "from=2026-01-01T00:00:00Z&to=2026-01-02", "from=2026-01-01T02:00:00%2B02:00&to=2026-01-02T00:00"],
)  # fmt: skip
async def test_requests_are_filtered(database_url, query):
    async with gateway(database_url) as gw:
        wanted = row(
            model="demo-large", key_id="key_b", user_id="usr_b", label="math", status="error", tags={"team": "ads"},
            created_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
        )  # fmt: skip
        await Usage(gw.database).insert_many([wanted, row(), row(tags={"team": "adsense"})])
        found = await told(gw, f"/dashboard/requests?{query}")
        assert [each["request_id"] for each in found["data"]] == [wanted.request_id]


@pytest.mark.parametrize(
    ("query", "param"),
    [("from=yesterday", "from"), ("from=2026-02-02&to=2026-01-01", "from"), ("to=0001-01-01", "to"), ("status=fine", "status"),
     ("tag=team", "tag"), ("limit=201", "limit"), ("page=0", "page"), ("model=" + "m" * 300, "model")],
)  # fmt: skip
async def test_what_makes_no_sense_is_named(database_url, query, param):
    async with gateway(database_url) as gw:
        assert (await told(gw, f"/dashboard/requests?{query}", status=400))["error"]["param"] == param


async def test_models_have_price_health_and_share(database_url):
    async with gateway(database_url, neuroroute_demo=True) as gw:
        await Usage(gw.database).insert_many([row(), row(), row(status="error"), row(model="demo-large")])
        models = {each["id"]: each for each in (await told(gw, "/dashboard/models"))["data"]}
        small = models["demo-small"]
        assert (small["calls"], small["share"], small["health"]["state"]) == (3, 0.75, "closed")
        assert small["error_rate"] == pytest.approx(1 / 3) and small["price"]["input"] > 0 and 0 < small["quality"]["default"] < 1


async def test_users_see_their_own_and_viewers_all(database_url):
    async with gateway(database_url, neuroroute_demo=True) as gw:
        user, viewer = await gw.new_user(), await gw.new_user(Role.VIEWER)
        user_key, viewer_key = [(await gw.new_key(user_id=who["id"]))["key"] for who in (user, viewer)]
        own, other = row(user_id=user["id"], key_id="key_own"), row()
        await Usage(gw.database).insert_many([own, other])
        for path in ("/dashboard/stats", "/dashboard/stats?from=2026-01-01&to=2100-01-01"):
            assert (await told(gw, path, key=user_key))["calls"] == 1 and (await told(gw, path, key=viewer_key))["calls"] == 2
        seen = await told(gw, "/dashboard/requests", key=user_key)
        assert [each["request_id"] for each in seen["data"]] == [own.request_id] and seen["total"] == 1
        assert (await told(gw, "/dashboard/requests?key_id=key_a", key=user_key))["data"] == []
        assert (await told(gw, "/dashboard/usage?group_by=user", key=user_key))["data"][0]["user_id"] == user["id"]
        assert (await told(gw, "/dashboard/models", key=user_key))["data"][0]["calls"] == 1
        assert (await told(gw, "/dashboard/requests?user_id=usr_a", key=user_key, status=403))["error"]["code"] == "permission_denied"
        assert (await told(gw, f"/dashboard/requests/{other.request_id}", key=user_key, status=404))["error"]["code"] == "not_found"
        assert (await told(gw, f"/dashboard/requests/{other.request_id}", key=viewer_key))["request_id"] == other.request_id


async def test_programs_need_a_key(database_url):
    async with gateway(database_url) as gw:
        for path in ("stats", "usage", "models", "requests", "requests/req_1"):
            for accept in (None, "application/json", "*/*"):
                assert (await told(gw, f"/dashboard/{path}", key="", status=401, accept=accept))["error"]["code"] == "invalid_api_key"


async def test_a_call_appears_with_its_cost(database_url):
    async with gateway(database_url, neuroroute_demo=True) as gw:
        async with gw.chat("auto:cheap") as response:
            assert response.status == 200
            request_id = response.headers["x-request-id"]
        await gw.rows(1)
        call = await told(gw, f"/dashboard/requests/{request_id}")
        assert (
            call["object"] == "request" and call["requested_model"] == "auto:cheap" and call["cost_usd"] > 0 and call["policy"] == "cheap"
        )


async def test_the_parameters_stand_in_the_document(database_url):
    async with gateway(database_url) as gw:
        paths = (await told(gw, "/openapi.json", key=""))["paths"]
        named = {each["name"] for each in paths["/dashboard/requests"]["get"]["parameters"]}
        assert named == {"from", "to", "model", "key_id", "user_id", "label", "status", "tag", "page", "limit"}
        assert "group_by" in {each["name"] for each in paths["/dashboard/usage"]["get"]["parameters"]}
        assert paths["/dashboard/sign-in"]["get"]["security"] == [] and "303" in paths["/dashboard"]["get"]["responses"]
