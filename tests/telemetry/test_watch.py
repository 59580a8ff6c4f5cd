"""The watch over a real database: one of many judges, one alert each, and no database is no excuse."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from neuroroute.core.tasks import cancel, spawn
from neuroroute.store.alerts import Alerts, AlertWatch
from neuroroute.store.postgres import Database
from neuroroute.telemetry.alert_rules import KINDS, Rule
from neuroroute.telemetry.alerts import Place, Webhook
from neuroroute.telemetry.metrics import Metrics
from neuroroute.telemetry.watch import Watch
from tests.support.upstream import Upstream, whole
from tests.telemetry.test_metrics import CALL

RULE = Rule("errors", KINDS["error_rate"], 50.0, 40.0, 0.0, window_s=3600.0, min_calls=2)
DOWN = Rule("down", KINDS["provider_down"], 0.0, 0.0, 0.0)


class House:
    """Some machines that share a database and a webhook."""

    def __init__(self, database: Database, folder: Path, receiver: Upstream | None = None) -> None:
        self.database, self.folder, self.receiver = database, folder, receiver
        self.rules: tuple[Rule, ...] = (RULE, DOWN)

    def machine(self, name: str, database: Database | None = None, folder: str | None = None) -> "Machine":
        place = None if self.receiver is None else Place(self.receiver.url, None, False, 5.0, "http://gw")
        metrics, down = Metrics(), set[str]()
        metrics.source(lambda: [("neuroroute_breaker_open", (target,), 1.0) for target in down])
        watch = Watch(
            database or self.database, metrics, lambda: self.rules, lambda: (),
            lambda told: Webhook(lambda: place, told, backoff_s=0.01), self.folder / (folder or name) / "watch.lock",
            every_s=0.1, instance=name,
        )  # fmt: skip
        return Machine(watch, metrics, down)

    async def alerts(self) -> list[tuple[str, str, bool]]:
        found, _ = await Alerts(self.database).page()
        return [(alert.name, alert.subject, alert.resolved_at is None) for alert in found]


class Machine:
    def __init__(self, watch: Watch, metrics: Metrics, down: set[str]) -> None:
        self.watch, self.metrics, self.down = watch, metrics, down

    def calls(self, good: int, bad: int) -> None:
        for _ in range(good):
            self.metrics.observe(CALL)
        for _ in range(bad):
            self.metrics.observe(replace(CALL, status="error", http_status=502, error_code="x"))


async def until(done: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not done():
            await asyncio.sleep(0.01)


async def test_an_alert_begins_is_told_and_ends(database: Database, tmp_path: Path) -> None:
    async with Upstream() as receiver:
        receiver.will(whole({}), whole({}))
        one = House(database, tmp_path, receiver).machine("box")
        delivering = spawn(one.watch.webhook.run(), name="webhook")
        await one.watch.round()
        one.calls(good=1, bad=3)
        await one.watch.round()
        [alert] = await Alerts(database).open()
        assert (alert.name, alert.value, alert.above, alert.instance) == ("errors", 75.0, 50.0, "box")
        assert alert.message == "errors is 75 %, above 50 % (3 of 4 calls)"
        await until(lambda: len(receiver.seen) == 1)
        assert ("neuroroute_alerts_firing", ("errors",), 1.0) in one.watch.readings()
        await one.watch.round()
        one.calls(good=10, bad=0)
        await one.watch.round()
        await until(lambda: len(receiver.seen) == 2)
        assert [seen.json["event"] for seen in receiver.seen] == ["firing", "resolved"]
        assert await Alerts(database).open() == [] and one.watch.firing == []
        [kept], total = await Alerts(database).page(firing=False)
        assert total == 1 and kept.resolved_at is not None and kept.resolved_at >= kept.fired_at
        async with asyncio.timeout(5):
            while (await Alerts(database).get(kept.id)).told_at is None:  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
        await cancel(delivering)
        await one.watch.close()


async def test_machines_add_up_and_one_of_them_tells(database: Database, tmp_path: Path) -> None:
    house = House(database, tmp_path)
    first, second, third = (house.machine(name) for name in ("a", "b", "c"))
    everybody = (first, second, third)
    for one in everybody:
        await one.watch.round()
    assert [one.watch.leads for one in everybody] == [True, False, False]
    first.calls(good=9, bad=0)
    second.calls(good=0, bad=8)
    third.calls(good=0, bad=8)
    second.down.add("openai/gpt-4o")
    third.down.add("openai/gpt-4o-mini")
    for one in (second, third, first):
        await one.watch.round()
    assert sorted(await house.alerts()) == [("down", "openai", True), ("errors", "", True)]
    down = await Alerts(database).get_open("down", "openai")
    assert down is not None and down.value == 2 and "gpt-4o, gpt-4o-mini" in down.message
    for one in (second, third):  # who does not judge knows too
        await one.watch.round()
        assert {alert.name for alert in one.watch.firing} == {"errors", "down"}
    judged_at, rules = await AlertWatch(database).rules()
    assert judged_at is not None and {rule["name"] for rule in rules} == {"errors", "down"}
    for one in everybody:
        await one.watch.close()


async def test_workers_of_one_machine_have_one_that_measures(database: Database, tmp_path: Path) -> None:
    house = House(database, tmp_path)
    first, second = house.machine("box", folder="home"), house.machine("box", folder="home")
    await first.watch.round()
    await second.watch.round()
    assert len(await database.fetch("SELECT 1 FROM alert_reports")) == 1 and not second.watch.leads
    await first.watch.close()
    await second.watch.round()
    assert second.watch.leads
    await second.watch.close()


async def test_who_takes_over_tells_nothing_twice_and_ends_what_the_other_began(database: Database, tmp_path: Path) -> None:
    async with Upstream() as receiver:
        receiver.will(whole({}), whole({}))
        house = House(database, tmp_path, receiver)
        first, second = house.machine("a"), house.machine("b")
        delivering = [spawn(one.watch.webhook.run(), name="webhook") for one in (first, second)]
        await first.watch.round()
        first.down.add("openai/gpt-4o")
        second.down.add("openai/gpt-4o")
        await first.watch.round()
        await second.watch.round()
        await until(lambda: len(receiver.seen) == 1)
        await first.watch.close()
        await second.watch.round()
        assert second.watch.leads
        await second.watch.round()
        assert len(receiver.seen) == 1 and await house.alerts() == [("down", "openai", True)]
        second.down.clear()
        await second.watch.round()
        await until(lambda: len(receiver.seen) == 2)
        assert receiver.seen[1].json["event"] == "resolved" and await house.alerts() == [("down", "openai", False)]
        for task in delivering:
            await cancel(task)
        await second.watch.close()


async def test_who_takes_over_tells_what_nobody_was_told_of(database: Database, tmp_path: Path) -> None:
    async with Upstream() as receiver:
        receiver.will(whole({}))
        first = House(database, tmp_path).machine("a")  # killed before it could tell anybody
        first.down.add("openai/gpt-4o")
        await first.watch.round()
        await database.execute("UPDATE alerts SET fired_at = fired_at - interval '5 minutes'")
        await first.watch.close()
        second = House(database, tmp_path, receiver).machine("b")
        second.down.add("openai/gpt-4o")
        delivering = spawn(second.watch.webhook.run(), name="webhook")
        await second.watch.round()
        await until(lambda: len(receiver.seen) == 1)
        assert receiver.seen[0].json["event"] == "firing"
        await cancel(delivering)
        await second.watch.close()


async def test_an_open_row_of_another_process_is_taken_for_ones_own(database: Database, tmp_path: Path) -> None:
    """Two that both believe to judge make one alert."""
    house = House(database, tmp_path)
    first, second = house.machine("a"), house.machine("b")
    for one in (first, second):
        one.down.add("openai/gpt-4o")
        await one.watch.round()
        await database.execute("DELETE FROM alert_watch")
        await one.watch.round()
    assert await house.alerts() == [("down", "openai", True)]
    await first.watch.close()
    await second.watch.close()


async def test_without_the_database_it_still_tells_and_the_history_follows(database: Database, tmp_path: Path) -> None:
    async with Upstream() as receiver:
        receiver.will(whole({}), whole({}))
        house = House(database, tmp_path, receiver)
        away = Database("postgresql://x@127.0.0.1:1/x", pool_min=0)
        one = house.machine("box", away)
        delivering = spawn(one.watch.webhook.run(), name="webhook")
        one.down.add("openai/gpt-4o")
        await one.watch.round()
        await until(lambda: len(receiver.seen) == 1)
        assert [alert.name for alert in one.watch.firing] == ["down"] and not one.watch.leads
        one.watch._database = database  # it is back
        await one.watch.round()
        assert await house.alerts() == [("down", "openai", True)] and one.watch.leads
        await one.watch.round()
        assert len(receiver.seen) == 1
        one.watch._database = away
        one.down.clear()
        await one.watch.round()
        await until(lambda: len(receiver.seen) == 2)
        one.watch._database = database
        await one.watch.round()
        assert await house.alerts() == [("down", "openai", False)]
        await cancel(delivering)
        await one.watch.close()
        await away.close()


async def test_a_rule_that_is_taken_out_ends_its_alert_also_after_a_restart(database: Database, tmp_path: Path) -> None:
    house = House(database, tmp_path)
    one = house.machine("box")
    one.down.add("openai/gpt-4o")
    await one.watch.round()
    await one.watch.close()
    house.rules = (RULE,)
    again = house.machine("box")
    await again.watch.round()
    assert await house.alerts() == [("down", "openai", False)]
    await again.watch.close()


async def test_what_was_resolved_long_ago_is_forgotten(database: Database, tmp_path: Path) -> None:
    house = House(database, tmp_path)
    one = house.machine("box")
    one.down.add("openai/gpt-4o")
    await one.watch.round()
    one.down.clear()
    await one.watch.round()
    await database.execute("UPDATE alerts SET resolved_at = resolved_at - interval '91 days'")
    one.watch._expired_at_s = one.watch._books_at_s = -1e9
    await one.watch.round()
    assert await house.alerts() == []
    await one.watch.close()
