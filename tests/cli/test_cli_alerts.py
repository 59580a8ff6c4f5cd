"""`neuroroute alerts`: what fires and what did, and a test of the webhook."""

import asyncio
from datetime import timedelta

from neuroroute.core.clock import utcnow
from neuroroute.store.alerts import Alert, Alerts
from neuroroute.store.postgres import Database
from tests.cli.shell import Shell
from tests.support.upstream import Upstream, whole


def test_what_fires_and_what_did(tmp_path, database_url):
    now = utcnow()

    async def write() -> None:
        async with Database(database_url, pool_min=0, pool_max=1) as database:
            alerts = Alerts(database)
            await alerts.fire(
                Alert("alr_1", "memory", "memory", "box", 95.0, 90.0, "%", "memory of box is 95 %", "box", now - timedelta(hours=1))
            )
            await alerts.resolve("alr_1", now)
            await alerts.fire(Alert("alr_2", "error_rate", "error_rate", "", 9.0, 5.0, "%", "error_rate is 9 %", "box", now))

    asyncio.run(write())
    shell = Shell(tmp_path, DATABASE_URL=database_url)
    assert [(row["id"], row["state"]) for row in shell.json("alerts", "list")] == [("alr_2", "firing"), ("alr_1", "resolved")]
    assert [row["id"] for row in shell.json("alerts", "list", "--firing")] == ["alr_2"]
    table = shell.run("alerts", "list").splitlines()
    assert table[0].startswith("STATE") and "error_rate is 9 %" in table[1] and table[2].startswith("resolved  memory")


def test_silences(tmp_path, database_url):
    shell = Shell(tmp_path, DATABASE_URL=database_url)
    made = shell.json("alerts", "silence", "memory", "--for-hours", "2", "--subject", "box", "--comment", "new memory comes")
    assert (made["name"], made["subject"], made["created_by"]) == ("memory", "box", None)
    assert [one["id"] for one in shell.json("alerts", "silences")] == [made["id"]]
    assert "there are" in shell.run("alerts", "silence", "nothing", status=2)
    assert shell.json("alerts", "unsilence", made["id"]) == {"id": made["id"], "ended": True}
    assert "There is no silence" in shell.run("alerts", "unsilence", made["id"], status=2) and shell.json("alerts", "silences") == []


async def test_the_webhook_is_tried_and_told_of(tmp_path):
    async with Upstream() as receiver:
        receiver.will(whole({}), whole({}), whole("", 403))
        shell = Shell(tmp_path, ALERT_WEBHOOK_URL=receiver.url + "/a", ALERT_WEBHOOK_SECRET="a long secret")
        assert "took it, signed, in our own shape" in await asyncio.to_thread(shell.run, "alerts", "test")
        (tmp_path / "gateway.yaml").write_text(f"alert_webhook: {{url: '{receiver.url}/b', shape: slack}}\n")
        shell.environment |= {"NEUROROUTE_CONFIG": str(tmp_path / "gateway.yaml")}
        assert "in the shape of Slack" in await asyncio.to_thread(shell.run, "alerts", "test")
        assert [seen.path for seen in receiver.seen] == ["/a", "/b"] and "text" in receiver.seen[1].json
        assert "did not take it: it answered 403" in await asyncio.to_thread(shell.run, "alerts", "test", status=2)
    assert "no connection" in await asyncio.to_thread(shell.run, "alerts", "test", status=2)
    assert "ALERT_WEBHOOK_URL" in await asyncio.to_thread(Shell(tmp_path).run, "alerts", "test", status=2)
