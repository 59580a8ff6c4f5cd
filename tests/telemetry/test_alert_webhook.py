"""What the webhook gets: our shape or Slack's, signed, tried again, never redirected, never without bound."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from neuroroute.core import settings
from neuroroute.core.clock import utcnow
from neuroroute.core.config.alerts import AlertWebhookConfig
from neuroroute.core.tasks import cancel, spawn
from neuroroute.store.alerts import Alert
from neuroroute.telemetry import alerts
from neuroroute.telemetry.alerts import Place, Webhook, place_of
from tests.support.upstream import Upstream, stall, whole

ALERT = Alert("alr_1", "error_rate", "error_rate", "", 12.5, 5.0, "%", "error_rate is 12.5 %, above 5 % <&>", "box", utcnow())
SECRET = "a secret of ours"


def place(url: str, **fields: object) -> Place:
    return Place(**{"url": url, "secret": SECRET, "slack": False, "timeout_s": 5.0, "link": "http://gw/dashboard/alerts", **fields})  # type: ignore[arg-type]


@asynccontextmanager
async def running(to: Callable[[], Place | None]) -> AsyncIterator[tuple[Webhook, list[tuple[str, str | None]]]]:
    """A webhook at work, and what it said became of each event."""
    told: list[tuple[str, str | None]] = []
    webhook = Webhook(to, lambda delivery, failed: told.append((delivery.event, failed)), backoff_s=0.01)
    task = spawn(webhook.run(), name="webhook")
    try:
        yield webhook, told
    finally:
        await cancel(task)


async def until(done: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not done():
            await asyncio.sleep(0.005)


async def test_an_event_is_signed_and_can_be_checked() -> None:
    async with Upstream() as receiver, running(lambda: place(receiver.url + "/hook")) as (webhook, told):
        receiver.will(whole({"ok": True}))
        webhook.tell("firing", ALERT)
        await until(lambda: bool(told))
        [seen] = receiver.seen
        assert (seen.method, seen.path, told) == ("POST", "/hook", [("firing", None)])
        body = seen.json
        assert body["event"] == "firing" and body["alert"]["id"] == "alr_1" and body["alert"]["value"] == 12.5
        assert body["link"] == "http://gw/dashboard/alerts" and body["alert"]["state"] == "firing"
        stamp = seen.headers["x-neuroroute-timestamp"]
        assert abs(float(stamp) - time.time()) < 60
        expected = hmac.new(SECRET.encode(), f"{stamp}.".encode() + seen.body, hashlib.sha256).hexdigest()
        assert seen.headers["x-neuroroute-signature"] == f"v1={expected}"


async def test_without_a_secret_nothing_claims_to_be_signed() -> None:
    async with Upstream() as receiver, running(lambda: place(receiver.url, secret=None)) as (webhook, told):
        receiver.will(whole({}))
        webhook.tell("resolved", ALERT)
        await until(lambda: bool(told))
        assert "x-neuroroute-signature" not in receiver.seen[0].headers


async def test_it_is_tried_again_with_the_same_delivery_and_in_order() -> None:
    async with Upstream() as receiver, running(lambda: place(receiver.url)) as (webhook, told):
        receiver.will(whole("", 503), whole("", 429, retry_after="0"), whole("", 200), whole("", 204))
        webhook.tell("firing", ALERT)
        webhook.tell("resolved", ALERT)
        await until(lambda: len(told) == 2)
        ids = [seen.headers["x-neuroroute-delivery"] for seen in receiver.seen]
        assert [seen.json["event"] for seen in receiver.seen] == ["firing", "firing", "firing", "resolved"]
        assert ids[0] == ids[1] == ids[2] != ids[3]
        assert told == [("firing", None), ("resolved", None)] and webhook.delivered == 2


async def test_what_will_never_be_taken_is_given_up_at_once_and_redirects_lead_nowhere() -> None:
    async with Upstream() as receiver, Upstream() as elsewhere, running(lambda: place(receiver.url)) as (webhook, told):
        receiver.will(whole("", 404), whole("", 307, location=elsewhere.url + "/stolen"))
        webhook.tell("firing", ALERT)
        webhook.tell("resolved", ALERT)
        await until(lambda: len(told) == 2)
        assert told == [("firing", "it answered 404"), ("resolved", "it answered 307")]
        assert len(receiver.seen) == 2 and elsewhere.seen == [] and webhook.failed == 2


async def test_a_receiver_that_is_silent_or_away_is_given_up_after_all_attempts() -> None:
    async with Upstream() as receiver:
        receiver.will(*[stall()] * alerts.ATTEMPTS)
        async with running(lambda: place(receiver.url, timeout_s=0.05)) as (webhook, told):
            webhook.tell("firing", ALERT)
            await until(lambda: bool(told))
            assert told == [("firing", "no answer within 0.05 s")] and len(receiver.seen) == alerts.ATTEMPTS
        async with running(lambda: place("http://127.0.0.1:1/secret-path")) as (webhook, told):
            webhook.tell("firing", ALERT)
            await until(lambda: bool(told))
            assert told[0][1] is not None and "no connection" in told[0][1] and "secret-path" not in told[0][1]


async def test_the_queue_has_a_bound_and_the_oldest_go_first() -> None:
    told: list[str | None] = []
    webhook = Webhook(lambda: place("http://127.0.0.1:1"), lambda delivery, failed: told.append(failed))
    for _ in range(alerts.QUEUE_MAX + 3):
        webhook.tell("firing", ALERT)
    assert told == ["too many alerts waited"] * 3
    nowhere = Webhook(lambda: None)
    nowhere.tell("firing", ALERT)
    await nowhere.close()
    assert nowhere.failed == 0


async def test_what_waits_at_the_end_gets_one_last_try() -> None:
    async with Upstream() as receiver:
        receiver.will(whole({}))
        webhook = Webhook(lambda: place(receiver.url))
        webhook.tell("firing", ALERT)
        await webhook.close()
        assert len(receiver.seen) == 1


async def test_slack_gets_its_own_shape() -> None:
    async with Upstream() as receiver, running(lambda: place(receiver.url, slack=True)) as (webhook, told):
        receiver.will(whole("ok"))
        webhook.tell("firing", ALERT)
        await until(lambda: bool(told))
        body = receiver.seen[0].json
        assert body["text"] == "Firing: error_rate is 12.5 %, above 5 % &lt;&amp;&gt;"
        assert body["attachments"][0]["fields"][1] == {"title": "Machine", "value": "box", "short": True}
        assert set(body) == {"text", "attachments"}


async def test_a_test_is_posted_once() -> None:
    async with Upstream() as receiver:
        receiver.will(whole({}), whole("", 500))
        assert await alerts.test(place(receiver.url), "box") == ""
        assert await alerts.test(place(receiver.url), "box") == "it answered 500"
        assert [seen.json["event"] for seen in receiver.seen] == ["test", "test"]


@pytest.mark.parametrize(
    ("configured", "environ", "expected"),
    [
        ({}, {}, None),
        ({}, {"ALERT_WEBHOOK_URL": "https://a.example/x"}, ("https://a.example/x", None, False)),
        (
            {"url": "https://hooks.slack.com/services/a", "secret": "in the file"},
            {"ALERT_WEBHOOK_URL": "https://a.example/x", "ALERT_WEBHOOK_SECRET": "of the environment"},
            ("https://hooks.slack.com/services/a", "in the file", True),
        ),
        ({"url": "https://chat.example/x", "shape": "slack"}, {}, ("https://chat.example/x", None, True)),
        ({"url": "https://hooks.slack.com.evil.example/x"}, {}, ("https://hooks.slack.com.evil.example/x", None, False)),
    ],
)
def test_where_alerts_go(configured: dict[str, str], environ: dict[str, str], expected: tuple[str, str | None, bool] | None) -> None:
    found = place_of(AlertWebhookConfig.model_validate(configured), settings.read(environ))
    assert (None if found is None else (found.url, found.secret, found.slack)) == expected
