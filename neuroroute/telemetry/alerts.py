"""
Telling people of alerts: the webhook.

Posted is our own JSON, or Slack's. With a secret it is signed: `x-neuroroute-signature: v1=<hex of HMAC-SHA-256 over "<timestamp>.<body>">`,
the timestamp (seconds since 1970) stands in `x-neuroroute-timestamp`. Who receives it refuses old timestamps; a delivery that is tried again
keeps its `x-neuroroute-delivery` and gets a fresh timestamp. Redirects are not followed: what is posted goes where it was configured to go.
"""

import asyncio
import hashlib
import hmac
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from neuroroute import __version__
from neuroroute.core import jsonbytes
from neuroroute.core.clock import unix_s, utcnow
from neuroroute.core.config.alerts import AlertWebhookConfig
from neuroroute.core.dataclass import dataclass
from neuroroute.core.ids import new_id
from neuroroute.core.settings import Settings
from neuroroute.store.alerts import Alert

QUEUE_MAX: Final = 200
ATTEMPTS: Final = 8
BACKOFF_S: Final = 1.0
BACKOFF_MAX_S: Final = 120.0
_CLOSE_S: Final = 2.0
_TRY_AGAIN: Final = frozenset({408, 425, 429})
_log = logging.getLogger("neuroroute.alerts")


@dataclass(frozen=True, slots=True)
class Place:
    """Where alerts are posted, and how. slack: in Slack's shape; link: to the page with all alerts."""

    url: str
    secret: str | None
    slack: bool
    timeout_s: float
    link: str


def place_of(configured: AlertWebhookConfig, settings: Settings) -> Place | None:
    """None: nowhere."""
    url = configured.url or settings.alert_webhook_url
    if url is None:
        return None
    host = urlsplit(url).hostname or ""
    slack = configured.shape == "slack" or (configured.shape == "auto" and host == "hooks.slack.com")
    link = settings.api_url + "/dashboard/alerts"
    return Place(url, configured.secret or settings.alert_webhook_secret, slack, configured.timeout_s, link)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way. event: firing, resolved or test."""

    id: str
    event: str
    alert: Alert


class Webhook:
    """
    Delivers events in order, one at a time, and tries again for about four minutes.

    place: asked before each try, so that a changed configuration takes effect. told: called with (delivery, None), or with why it failed for good.
    """

    def __init__(
        self, place: Callable[[], Place | None], told: Callable[[Delivery, str | None], None] = lambda delivery, failed: None,
        *, backoff_s: float = BACKOFF_S,
    ) -> None:  # fmt: skip
        self._place, self._told, self._backoff_s = place, told, backoff_s
        self._queue: deque[Delivery] = deque()
        self._news = asyncio.Event()
        self.delivered = self.failed = 0

    def tell(self, event: str, alert: Alert) -> None:
        """Put an event in the queue; where it is full the oldest is dropped. Without a webhook nothing happens."""
        if self._place() is None:
            return
        if len(self._queue) >= QUEUE_MAX:
            dropped = self._queue.popleft()
            self._failed(dropped, "too many alerts waited")
        self._queue.append(Delivery(new_id("evt"), event, alert))
        self._news.set()

    async def run(self) -> None:
        """Deliver for ever."""
        async with _session() as session:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._queue:
                    await self._deliver(session, self._queue[0])

    async def close(self) -> None:
        """One last try for what waits."""
        if not self._queue:
            return
        async with _session() as session:
            try:
                async with asyncio.timeout(_CLOSE_S):
                    while self._queue:
                        await self._try(session, self._queue[0])
                        self._queue.popleft()
            except TimeoutError:
                _log.warning("%d alerts could not be told before the end", len(self._queue))

    async def _deliver(self, session: aiohttp.ClientSession, delivery: Delivery) -> None:
        pause_s, failed = self._backoff_s, "it was not tried"
        for attempt in range(1, ATTEMPTS + 1):
            failed, again_s = await self._try(session, delivery)
            if not failed or again_s is None or attempt == ATTEMPTS:
                break
            await asyncio.sleep(max(min(again_s, BACKOFF_MAX_S), pause_s * random.uniform(0.5, 1.0)))
            pause_s = min(pause_s * 2, BACKOFF_MAX_S)
        if self._queue and self._queue[0] is delivery:  # else it was dropped meanwhile, and told to be
            self._queue.popleft()
            if failed:
                self._failed(delivery, failed)
            else:
                self.delivered += 1
                self._told(delivery, None)

    async def _try(self, session: aiohttp.ClientSession, delivery: Delivery) -> tuple[str, float | None]:
        """(why it failed, when to try again at the earliest): empty if it did not, None if there is no sense in it."""
        place = self._place()
        if place is None:
            return "there is no webhook any more", None
        return await _post(session, place, delivery)

    def _failed(self, delivery: Delivery, why: str) -> None:
        self.failed += 1
        _log.error("the webhook could not be told that %s is %s: %s", delivery.alert.name, delivery.event, why)
        self._told(delivery, why)


async def test(place: Place, instance: str) -> str:
    """Post a test event, once. Returns why it failed; empty if it did not."""
    alert = Alert(new_id("alr"), "test", "test", "", 0.0, 0.0, "", "This is a test of the alerts of NeuroRoute.", instance, utcnow())
    async with _session() as session:
        failed, _ = await _post(session, place, Delivery(new_id("evt"), "test", alert))
    return failed


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": f"neuroroute/{__version__}"})


async def _post(session: aiohttp.ClientSession, place: Place, delivery: Delivery) -> tuple[str, float | None]:
    body = jsonbytes.dumps(slack_shape(delivery, place.link) if place.slack else own_shape(delivery, place.link))
    headers = {"content-type": "application/json", "x-neuroroute-delivery": delivery.id, **signature(place.secret, body, unix_s())}
    try:
        async with session.post(
            place.url, data=body, headers=headers, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=place.timeout_s)
        ) as response:
            status, wanted = response.status, response.headers.get("Retry-After", "")
    except TimeoutError:
        return f"no answer within {place.timeout_s:g} s", 0.0
    except (aiohttp.ClientError, OSError) as error:
        return f"no connection: {type(error).__name__}", 0.0  # its text may hold the URL, which may be a credential
    if 200 <= status < 300:
        return "", None
    if status >= 500 or status in _TRY_AGAIN:
        return f"it answered {status}", float(wanted) if wanted.isdigit() and len(wanted) < 7 else 0.0
    return f"it answered {status}", None


def signature(secret: str | None, body: bytes, now_s: float) -> Mapping[str, str]:
    """The headers that prove where `body` is from and how old it is; none without a secret."""
    if secret is None:
        return {}
    timestamp = f"{now_s:.0f}"
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"x-neuroroute-timestamp": timestamp, "x-neuroroute-signature": f"v1={digest}"}


def own_shape(delivery: Delivery, link: str) -> dict[str, Any]:
    """What is posted, and what the admin API shows of an alert."""
    return {"object": "alert.event", "event": delivery.event, "delivery": delivery.id, "link": link, "alert": shown(delivery.alert)}


def shown(alert: Alert) -> dict[str, Any]:
    """An alert as JSON has it; times in UTC, null = not (yet)."""
    return {
        "id": alert.id,
        "object": "alert",
        "state": "firing" if alert.resolved_at is None else "resolved",
        "name": alert.name,
        "rule": alert.rule,
        "subject": alert.subject,
        "value": round(alert.value, 3),
        "above": alert.above,
        "unit": alert.unit,
        "message": alert.message,
        "instance": alert.instance,
        "fired_at": alert.fired_at,
        "resolved_at": alert.resolved_at,
        "acknowledged_at": alert.acknowledged_at,
        "acknowledged_by": alert.acknowledged_by,
        "told_at": alert.told_at,
        "telling_failed": alert.telling_failed,
    }


def slack_shape(delivery: Delivery, link: str) -> dict[str, Any]:
    """Source: Slack's reference of incoming webhooks and of attachments, 2026-11."""
    word, colour = {"firing": ("Firing", "#d32f2f"), "resolved": ("Resolved", "#2e7d32")}.get(delivery.event, ("Test", "#1565c0"))
    alert = delivery.alert
    message = alert.message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = f"{word}: {message}"
    return {
        "text": text,
        "attachments": [
            {
                "color": colour,
                "fallback": text,
                "fields": [
                    {"title": "Rule", "value": alert.name, "short": True},
                    {"title": "Machine", "value": alert.instance, "short": True},
                ],
                "footer": f"<{link}|Alerts of NeuroRoute>",
                "ts": int((alert.resolved_at or alert.fired_at).timestamp()),
            }
        ],
    }
