"""The pages that change how the gateway runs: policies, settings, their history, providers; and the page of alerts."""

import re

import pytest

from neuroroute.core.clock import utcnow
from neuroroute.core.types import Role
from neuroroute.store.alerts import Alert, Alerts
from neuroroute.store.audit import AuditLog
from tests.support import fakes
from tests.support.gateway import ADMIN_KEY, gateway
from tests.support.upstream import Upstream
from tests.web.test_dashboard_pages import HOSTILE, Browser, seal

ROUTING, SETTINGS = "/dashboard/routing", "/dashboard/settings"


@pytest.fixture
async def gw(database_url):
    async with gateway(database_url, neuroroute_demo=True) as running:
        yield running


@pytest.fixture
async def browser(gw):
    async with Browser(gw) as opened:
        await opened.sign_in(ADMIN_KEY)
        yield opened


async def chosen(gw, model):
    async with gw.post(
        "/v1/route", {"model": model, "messages": [{"role": "user", "content": "Write a quicksort in Python."}]}
    ) as response:
        assert response.status == 200, await response.text()
        return (await response.json())["model"]


async def test_a_policy_is_made_used_changed_and_taken_back(gw, browser):
    status, _, headers = await browser.send(
        ROUTING, ROUTING, do="save", policy="cheap", name="mine", quality="1", cost="0", quality_floor="0.1"
    )
    assert status == 303 and headers["location"].startswith(ROUTING + "?policy=mine")
    assert await chosen(gw, "auto:mine") == "demo-large"
    assert (await browser.send(ROUTING, ROUTING, do="default", policy="mine"))[0] == 303
    assert await chosen(gw, "auto") == "demo-large"
    await browser.send(ROUTING, ROUTING, do="save", policy="mine", name="mine", quality="0", cost="1")  # what is left out is gone
    _, text, _ = await browser.get(ROUTING + "?policy=mine")
    assert re.search(r'name="quality_floor"[^>]* value="0"', text)
    assert await chosen(gw, "auto") == "demo-small"
    _, text, _ = await browser.get(SETTINGS + "/history")
    assert "Version 3" in text and "auto means mine" in text and "policy mine" in text
    _, text, _ = await browser.get(SETTINGS + "/history/2")
    assert "routing.policy" in text and "What a rollback would change" in text
    assert (await browser.send(SETTINGS + "/history/2", SETTINGS + "/history/2/rollback"))[0] == 303
    assert await chosen(gw, "auto") == "demo-large"
    assert (await browser.send(SETTINGS + "/history/0", SETTINGS + "/history/0/rollback"))[0] == 303
    _, text, _ = await browser.get(ROUTING)
    assert "mine" not in text and "means the policy <strong>balanced</strong>" in text
    actions = [row.action for row in (await AuditLog(gw.database).page())[0]]
    assert actions.count("config.put") == 3 and actions.count("config.rollback") == 2


@pytest.mark.parametrize(
    ("fields", "word"),
    [({"do": "save", "quality_floor": "2"}, "quality_floor"), ({"do": "save", "dial": "x"}, "dial"), ({"do": "default", "policy": "none"}, "none"),
     ({"do": "other"}, "do"), ({"do": "save", "name": "x" * 300}, "routing")],
)  # fmt: skip
async def test_a_bad_policy_is_refused_with_its_fault(gw, browser, fields, word):
    status, text, _ = await browser.send(ROUTING, ROUTING, **{"policy": "cheap", **fields})
    assert status in (400, 404) and word in text[text.index('role="alert"') :]
    assert gw.app  # nothing changed
    _, text, _ = await browser.get(SETTINGS + "/history")
    assert "Nothing was changed here yet" in text


async def test_a_change_is_looked_at_then_made(browser):
    _, text, _ = await browser.send(SETTINGS, SETTINGS, do="preview", patch='{"cache": {"ttl_s": 61}}', after="0")
    assert "What would change" in text and "cache.ttl_s" in text and ">61<" in text
    _, text, _ = await browser.get(SETTINGS + "/history")
    assert "Nothing was changed" in text
    assert (await browser.send(SETTINGS, SETTINGS, do="save", patch='{"cache": {"ttl_s": 61}}', after="0", comment="less"))[0] == 303
    status, text, _ = await browser.send(SETTINGS, SETTINGS, do="save", patch='{"cache": {"ttl_s": 62}}', after="0")
    assert status == 409 and 'role="alert"' in text  # it was made from an older version
    for patch, word in (
        ("[", "JSON"),
        ("[1]", "JSON"),
        ('{"cache": {"ttl": 1}}', "cache.ttl"),
        ('{"nothing": 1}', "nothing"),
        (HOSTILE, "JSON"),
    ):
        status, text, _ = await browser.send(SETTINGS, SETTINGS, do="save", patch=patch)
        assert status == 400 and word in text and "<script>alert" not in text
    for path in ("/history/99", "/history/x", "/history/-1"):
        assert (await browser.get(SETTINGS + path))[0] == 404


async def test_a_provider_is_added_tested_and_removed(database_url):
    config = {"security": {"private_hosts": ["127.0.0.1"]}}
    async with Upstream(fakes.openai) as up, gateway(database_url, config, neuroroute_demo=True) as gw, Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        place = SETTINGS + "/providers"
        status, text, _ = await browser.send(
            place, place, name="work", protocol="openai", base_url=up.url, api_key="sk-very-secret-1234", discover="on"
        )
        assert status == 303, text
        _, text, _ = await browser.get(place)
        assert "work" in text and "very-secret" not in text and up.url in text
        _, text, _ = await browser.send(place, place + "/work/test")
        assert re.search(r'role="status"><strong>work</strong>: .+', text) and "very-secret" not in text
        status, text, _ = await browser.send(place, place, name="bad", base_url="nowhere", api_key="sk-very-secret-1234")
        assert status == 400 and "base_url" in text and "very-secret" not in text
        assert (await browser.send(place, place, name=""))[0] == 400
        assert (await browser.send(place, place + "/none/test"))[0] == 404
        assert (await browser.send(place, place + "/work/delete"))[0] == 303
        _, text, _ = await browser.get(place)
        assert "No provider is configured" in text


async def test_an_alert_is_seen_and_taken_care_of(gw, browser):
    alert = Alert("alr_1", "errors", "error_rate", HOSTILE, 9.0, 5.0, "%", "it is bad " + HOSTILE, "box", utcnow())
    await Alerts(gw.database).fire(alert)
    _, text, _ = await browser.get("/dashboard")
    assert "it is bad" in text and "See the alerts" in text
    _, text, _ = await browser.get("/dashboard/alerts")
    assert "I take care of it" in text and "<script>alert" not in text
    assert (await browser.send("/dashboard/alerts", "/dashboard/alerts/alr_1/acknowledge"))[0] == 303
    _, text, _ = await browser.get("/dashboard/alerts")
    assert "takes care of it" in text and "I take care" not in text
    assert (await browser.send("/dashboard/alerts", "/dashboard/alerts/none/acknowledge"))[0] == 404


@pytest.mark.parametrize(("role", "reading"), [(Role.VIEWER, 200), (Role.USER, 403)])
async def test_only_admins_change_and_users_do_not_look(gw, role, reading):
    somebody = await gw.new_user(role)
    made = await gw.new_key(user_id=somebody["id"])
    async with Browser(gw) as browser:
        await browser.sign_in(made["key"])
        for path in (ROUTING, SETTINGS, SETTINGS + "/history", SETTINGS + "/history/0", SETTINGS + "/providers", "/dashboard/alerts"):
            assert (await browser.get(path))[0] == reading, path
        _, text, _ = await browser.get("/dashboard")
        token = {"csrf": seal(text)}
        for path, fields in (
            (ROUTING, {"do": "save", "policy": "cheap", "name": "x"}),
            (SETTINGS, {"do": "save", "patch": "{}"}),
            (SETTINGS + "/history/0/rollback", {}),
            (SETTINGS + "/providers", {"name": "x"}),
            (SETTINGS + "/providers/x/delete", {}),
            (SETTINGS + "/providers/x/test", {}),
            ("/dashboard/alerts/alr_1/acknowledge", {}),
        ):
            assert (await browser.post(path, {**token, **fields}))[0] == 403, path
            assert (await browser.post(path, {**fields, "csrf": "wrong"}))[0] == 403, path
