"""What the books say for alerts: budgets that are spent, this hour against the same hour of past weeks; and the table of alerts."""

from datetime import timedelta

from neuroroute.core.clock import utcnow
from neuroroute.core.money import Budget, Period
from neuroroute.store.alerts import Alert, Alerts, AlertWatch
from neuroroute.store.postgres import Database
from neuroroute.store.spend import Spend
from neuroroute.store.usage import Usage, UsageRecord

NOW = utcnow()


async def spend(database: Database, *calls: tuple[timedelta, float], key: str = "key_1", **fields: object) -> None:
    """Calls so long ago, of so many USD."""
    rows = [
        UsageRecord(
            f"req_{key}_{number}", NOW - ago, key, "usr_1", "auto", model="m", provider="p", cost_nanousd=round(usd * 1e9), **fields  # type: ignore[arg-type]
        )
        for number, (ago, usd) in enumerate(calls)
    ]  # fmt: skip
    await Usage(database).insert_many(rows)


async def test_this_hour_beside_the_same_hour_of_past_weeks(database: Database) -> None:
    week = timedelta(weeks=1)
    await spend(database, (timedelta(0), 5.0), (week, 2.0), (3 * week, 1.0), (3 * week + timedelta(hours=2), 100.0), (9 * week, 50.0))
    await spend(database, (week, 7.0), key="key_2")
    [hour] = await Spend(database).hours("all", NOW)
    assert (hour.subject, hour.usd) == ("", 5.0)
    assert hour.past_usd == (9.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    [mine] = await Spend(database).hours("key", NOW)
    assert (mine.subject, mine.past_usd[:3]) == ("key_1", (2.0, 0.0, 1.0))
    assert await Spend(database).hours("all", NOW + timedelta(hours=1)) == []


async def test_weeks_before_the_first_call_are_no_past(database: Database) -> None:
    await spend(database, (timedelta(0), 5.0), (timedelta(days=8), 2.0))
    [hour] = await Spend(database).hours("model", NOW)
    assert hour.subject == "m" and hour.past_usd == (0.0,)


async def test_budgets_of_keys_users_and_tags_by_their_periods(database: Database) -> None:
    for sql in (
        "INSERT INTO users VALUES ('usr_1', 'Ada', NULL, 'user', 'active', '{}', '{\"usd\": 10, \"period\": \"total\"}', now(), now())",
        (
            "INSERT INTO api_keys (id, user_id, name, digest, display, limits, budget, tags, status, created_at, updated_at) VALUES "
            "('key_1', 'usr_1', 'ci', 'a', 'nr_', '{}', '{\"usd\": 4, \"period\": \"day\"}', '{}', 'active', now(), now()), "
            "('key_2', 'usr_1', 'old', 'b', 'nr_', '{}', '{\"usd\": 1, \"period\": \"day\"}', '{}', 'revoked', now(), now())"
        ),
    ):
        await database.script(sql)
    await spend(database, (timedelta(0), 3.0), (timedelta(days=40), 6.0), tags={"team": "a=b"})
    await spend(database, (timedelta(0), 0.5), key="key_2")
    tags = [Budget("tag", "team=a=b", 4_000_000_000, Period.MONTH), Budget("tag", "team=none", 1_000_000_000, Period.WEEK)]
    found = await Spend(database).budgets(tags, NOW, 50.0)
    assert sorted((one.scope, one.subject, one.name, one.period, round(one.percent, 6)) for one in found) == [
        ("key", "key_1", "ci", "day", 75.0),
        ("tag", "team=a=b", "team=a=b", "month", 75.0),
        ("user", "usr_1", "Ada", "total", 95.0),
    ]
    assert found[0].scope == "user"
    assert [one.scope for one in await Spend(database).budgets(tags, NOW, 80.0)] == ["user"]
    assert await Spend(database).budgets([], NOW + timedelta(days=1), 96.0) == []


ALERT = Alert("alr_1", "errors", "error_rate", "", 9.0, 5.0, "%", "it is bad\x00", "box", NOW)


async def test_one_open_alert_for_each_rule_and_subject(database: Database) -> None:
    alerts = Alerts(database)
    assert await alerts.fire(ALERT)
    assert not await alerts.fire(Alert("alr_2", "errors", "error_rate", "", 9.0, 5.0, "%", "x", "other", NOW))
    assert await alerts.fire(Alert("alr_3", "errors", "error_rate", "openai", 9.0, 5.0, "%", "x", "other", NOW))
    assert [alert.message for alert in await alerts.open()] == ["it is bad", "x"]
    assert await alerts.resolve("alr_1", NOW) and not await alerts.resolve("alr_1", NOW)
    assert await alerts.fire(Alert("alr_4", "errors", "error_rate", "", 9.0, 5.0, "%", "x", "box", NOW + timedelta(seconds=1)))
    assert [alert.id for alert in (await alerts.page())[0]] == ["alr_4", "alr_3", "alr_1"]
    assert [alert.id for alert in (await alerts.page(firing=True, limit=1, page=2))[0]] == ["alr_3"]
    assert (await alerts.page(name="other"))[1] == 0 and (await alerts.page(rule="error_rate"))[1] == 3
    first = await alerts.acknowledge("alr_3", "usr_1")
    again = await alerts.acknowledge("alr_3", "usr_2")
    assert first is not None and again is not None and again.acknowledged_by == "usr_1" == first.acknowledged_by
    assert again.acknowledged_at == first.acknowledged_at and await alerts.acknowledge("alr_9", "usr_1") is None


async def test_the_lease_is_one_processes_until_it_ends_or_is_left(database: Database) -> None:
    watch = AlertWatch(database)
    assert await watch.take("a", timedelta(seconds=60), [{"name": "x"}])
    assert not await watch.take("b", timedelta(seconds=60), [])
    assert await watch.take("a", timedelta(seconds=-1), [{"name": "y"}])
    assert (await watch.rules())[1] == [{"name": "y"}]
    assert await watch.take("b", timedelta(seconds=60), [])
    await watch.report("b", {"n": 1})
    await watch.leave("b", "b")
    assert await watch.take("a", timedelta(seconds=60), [])
    assert await watch.reports(timedelta(seconds=60)) == []
    await watch.report("c", {"n": float("nan")})
    assert await watch.reports(timedelta(seconds=60)) == [{"n": None}]
    assert await watch.reports(timedelta(seconds=-60)) == []
