"""
The watch: measures, judges the rules, and makes alerts known. One process of a deployment judges.

Of the workers of a machine, the one that holds the lock on a file measures for all of them and reports to the database; of the machines, the
one that holds a lease there adds the reports up and judges. When either goes, another takes its part within seconds. While the database is away
every machine judges its own figures: what fires already is known to all and is not told again, but what begins in that time may be told once by
each machine. What is silenced fires, and nobody is told of it until the silence is over. An alert is a row that can be open only once, so a dispute about the lease ends in one alert too.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from neuroroute.core.clock import monotonic_s, utcnow
from neuroroute.core.ids import new_id
from neuroroute.core.money import Budget
from neuroroute.core.tasks import spawn
from neuroroute.store.alert_silences import AlertSilences, Silence, silent_until
from neuroroute.store.alerts import Alert, Alerts, AlertWatch
from neuroroute.store.postgres import Database, DatabaseAway
from neuroroute.store.spend import Spend
from neuroroute.telemetry.alert_rules import KINDS, Board, Change, Rule
from neuroroute.telemetry.alerts import Delivery, Webhook
from neuroroute.telemetry.figures import Books, History, figures, sample
from neuroroute.telemetry.machine import Machine
from neuroroute.telemetry.metrics import Metrics

EVERY_S: Final = 5.0
BOOKS_EVERY_S: Final = 30.0
EXPIRE_EVERY_S: Final = 3600.0
KEPT: Final = timedelta(days=90)
"""How long a resolved alert stays on record."""
UNTOLD: Final = timedelta(seconds=60)
"""An alert that is older and that nobody was told of: its process went before it could."""
_MISSED: Final = 3
"""Rounds without a word after which a machine's report is old, and its lease another's."""
_log = logging.getLogger("neuroroute.alerts")


class Watch:
    """
    rules: in effect now; tags: the budgets of tags. lock: the file that the workers of a machine share.

    webhook: told of what begins and ends. every_s: between rounds; books_every_s: between questions for spend and budgets.
    """

    def __init__(
        self,
        database: Database,
        metrics: Metrics,
        rules: Callable[[], tuple[Rule, ...]],
        tags: Callable[[], Sequence[Budget]],
        webhook: Callable[[Callable[[Delivery, str | None], None]], Webhook],
        lock: Path,
        *,
        every_s: float = EVERY_S,
        books_every_s: float = BOOKS_EVERY_S,
        machine: Machine | None = None,
        instance: str | None = None,
    ) -> None:
        self._database, self._metrics, self._rules, self._tags = database, metrics, rules, tags
        self._every_s, self._books_every_s = every_s, books_every_s
        self._machine = machine or Machine()
        self._lock, self._lock_fd = lock, -1
        self._holder, self.instance = new_id("wrk"), instance or socket.gethostname()
        self._history, self._board = History(), Board()
        self._open: dict[tuple[str, str], Alert] = {}
        self._unsaved: dict[str, Alert] = {}  # begun or ended while the database was away
        self._queued: set[str] = set()  # open alerts that the webhook has from us
        self._held: set[str] = set()  # open alerts that nobody was told of, for they are silenced
        self._silences: list[Silence] = []
        self._books, self._books_at_s, self._expired_at_s = Books(), -1e9, monotonic_s()
        self.leads = False
        self.webhook = webhook(self._told)

    @property
    def firing(self) -> list[Alert]:
        """What this process knows to fire: all of it where it measures for its machine, else nothing."""
        return list(self._open.values())

    def readings(self) -> list[tuple[str, tuple[str, ...], float]]:
        """For metrics: (name, label values, value)."""
        counts: dict[str, int] = {}
        for alert in self.firing:
            counts[alert.name] = counts.get(alert.name, 0) + 1
        told = [("neuroroute_alert_events", (state,), float(number)) for state, number in
                (("delivered", self.webhook.delivered), ("failed", self.webhook.failed))]  # fmt: skip
        return [*told, *(("neuroroute_alerts_firing", (name,), float(number)) for name, number in counts.items())]

    async def run(self) -> None:
        """Round after round, for ever."""
        while True:
            await self.round()
            await asyncio.sleep(self._every_s)

    async def round(self) -> None:
        """Measure, report, and judge if that is ours to do. Never raises DatabaseAway."""
        if not await asyncio.to_thread(self._measures_here):
            return
        rules, now_s = self._rules(), monotonic_s()
        self._history.add(await asyncio.to_thread(self._sample, now_s))
        report = self._history.report(self.instance, [rule.window_s for rule in rules])
        reports = [report]
        lasts = timedelta(seconds=_MISSED * max(self._every_s, 1.0))
        watch = AlertWatch(self._database)
        try:
            await watch.report(self._holder, report)
            leads = await watch.take(self._holder, lasts, self._board.as_data(rules, now_s))
            if not leads or not self.leads:
                await self._adopt(rules, leads, now_s)
            elif self._unsaved:
                await self._save()
            self.leads = leads
            if not leads:
                return
            reports = [dict(found) for found in await watch.reports(lasts)]
            self._silences = await AlertSilences(self._database).current()
            await self._ask_books(rules, now_s)
        except DatabaseAway:
            self.leads = False
            self._books = Books()
            self._books_at_s = -1e9
        for change in self._board.judge(rules, figures(rules, reports, self._books), now_s):
            await self._make_known(change)
        for alert in [alert for alert in self._open.values() if alert.id in self._held]:
            self._tell_begun(alert)

    async def close(self) -> None:
        """Leave the watch to others, at once."""
        if self._lock_fd < 0:
            return
        with contextlib.suppress(DatabaseAway):
            await self._save()
            await AlertWatch(self._database).leave(self._holder, self._holder)
        os.close(self._lock_fd)
        self._lock_fd = -1

    def _measures_here(self) -> bool:
        if self._lock_fd < 0:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(handle)
                return False
            self._lock_fd = handle
        return True

    def _sample(self, now_s: float) -> Any:
        return sample(self._metrics.total(), now_s, self._machine.memory_percent(), self._machine.busy(now_s))

    async def _adopt(self, rules: Sequence[Rule], leads: bool, now_s: float) -> None:
        """What fires according to the database is what fires. leads: what nobody was told of so far is told now."""
        named = {rule.name: rule for rule in rules}
        await self._save()
        found = await Alerts(self._database).open()
        self._board.clear()
        for alert in found:
            self._board.adopt(named.get(alert.name) or _gone(alert), alert.subject, alert.value, now_s)
        self._open = {(alert.name, alert.subject): alert for alert in found}
        still = {alert.id for alert in found}
        self._queued &= still
        self._held &= still
        self._silences = await AlertSilences(self._database).current()
        for alert in found if leads else ():
            untold = alert.told_at is None and alert.telling_failed is None
            if untold and (utcnow() - alert.fired_at > UNTOLD or silent_until(self._silences, alert.name, alert.subject) is not None):
                self._tell_begun(alert)

    def _tell_begun(self, alert: Alert) -> None:
        if alert.id in self._queued:
            return
        if silent_until(self._silences, alert.name, alert.subject) is not None:
            self._held.add(alert.id)
            return
        self._held.discard(alert.id)
        self._queued.add(alert.id)
        self.webhook.tell("firing", alert)

    async def _save(self) -> None:
        """What happened while the database was away. Where another machine noticed the same, its row is the one that stays."""
        alerts = Alerts(self._database)
        for alert in list(self._unsaved.values()):
            await alerts.fire(alert)
            if alert.resolved_at is not None:
                await alerts.resolve(alert.id, alert.resolved_at)
            del self._unsaved[alert.id]

    async def _ask_books(self, rules: Sequence[Rule], now_s: float) -> None:
        if now_s - self._books_at_s < self._books_every_s:
            return
        now, spend = utcnow(), Spend(self._database)
        budget_rules = [rule for rule in rules if rule.kind.name == "budget"]
        budgets = await spend.budgets(self._tags(), now, min(rule.below for rule in budget_rules)) if budget_rules else []
        parts = {rule.scope for rule in rules if rule.kind.name == "spend_anomaly"}
        self._books = Books(budgets, {part: await spend.hours(part, now) for part in sorted(parts)})
        self._books_at_s = now_s
        if now_s - self._expired_at_s > EXPIRE_EVERY_S:
            self._expired_at_s = now_s
            await Alerts(self._database).expire(now - KEPT)
            await AlertWatch(self._database).forget()
            await AlertSilences(self._database).expire(now - KEPT)

    async def _make_known(self, change: Change) -> None:
        if change.fires:
            await self._begin(change)
        elif (known := self._open.pop((change.rule.name, change.subject), None)) is not None:
            await self._end(replace(known, resolved_at=utcnow()))

    async def _begin(self, change: Change) -> None:
        place, alert = (change.rule.name, change.subject), _begun(change, self.instance)
        alerts = Alerts(self._database)
        try:
            if not await alerts.fire(alert) and (known := await alerts.get_open(*place)) is not None:
                self._open[place] = known  # another process was faster, and told people
                return
        except DatabaseAway:
            self._unsaved[alert.id] = alert
        self._open[place] = alert
        _log.warning("alert: %s", alert.message)
        self._tell_begun(alert)

    async def _end(self, alert: Alert) -> None:
        assert alert.resolved_at is not None
        try:
            if alert.id in self._unsaved:
                self._unsaved[alert.id] = alert
            else:
                await Alerts(self._database).resolve_open(alert.name, alert.subject, alert.resolved_at)
        except DatabaseAway:
            self._unsaved[alert.id] = alert
        _log.info("alert is over: %s", alert.message)
        if alert.id in self._held:
            self._held.discard(alert.id)
        else:
            self.webhook.tell("resolved", alert)

    def _told(self, delivery: Delivery, failed: str | None) -> None:
        if delivery.event == "firing":
            spawn(self._note_told(delivery.alert.id, failed), name="alert told")

    async def _note_told(self, alert_id: str, failed: str | None) -> None:
        with contextlib.suppress(DatabaseAway):
            await Alerts(self._database).told(alert_id, None if failed else utcnow(), failed)


def _begun(change: Change, instance: str) -> Alert:
    rule, value = change.rule, change.value or 0.0
    about = f" of {change.subject}" if change.subject else ""
    detail = f" ({change.detail})" if change.detail else ""
    unit = f" {rule.kind.unit}" if rule.kind.unit else ""
    message = f"{rule.name}{about} is {value:.4g}{unit}, above {rule.above:g}{unit}{detail}"
    return Alert(new_id("alr"), rule.name, rule.kind.name, change.subject, value, rule.above, rule.kind.unit, message, instance, utcnow())


def _gone(alert: Alert) -> Rule:
    """In place of a rule that is not in the configuration any more: its alert ends with the next round."""
    return Rule(alert.name, KINDS.get(alert.rule, KINDS["error_rate"]), alert.above, alert.above, 0.0)
