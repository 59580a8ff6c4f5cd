"""`neuroroute alerts`: what fires and what did, and a test of the webhook."""

import asyncio
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from neuroroute.cli.out import Fault, load, show, with_database

if TYPE_CHECKING:
    from neuroroute.store.alerts import Alert
    from neuroroute.store.postgres import Database

COLUMNS = ("state", "name", "subject", "fired_at", "resolved_at", "acknowledged_by", "message")

app = typer.Typer(help="Alerts: what fires and what did, and a test of the webhook.", no_args_is_help=True)


@app.command("list")
def list_alerts(
    firing: Annotated[bool, typer.Option("--firing", help="Only those that fire now.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, the newest first.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What fires and what did, the newest first."""
    from neuroroute.telemetry.alerts import shown

    async def work(database: "Database") -> "list[Alert]":
        from neuroroute.store.alerts import Alerts

        return (await Alerts(database).page(limit=limit, firing=True if firing else None))[0]

    rows = [shown(alert) for alert in with_database(load(), work)]
    if not json:
        moments = ("fired_at", "resolved_at")
        rows = [{**row, **{name: row[name] and row[name].strftime("%Y-%m-%d %H:%M:%S") for name in moments}} for row in rows]
    show(rows, COLUMNS, as_json=json)


@app.command("test")
def test() -> None:
    """Post a test event to the webhook of the configuration, once, and say what became of it."""
    from neuroroute.core.config import build, read
    from neuroroute.telemetry.alerts import place_of
    from neuroroute.telemetry.alerts import test as post

    settings = load()
    layers = [read(settings.neuroroute_config)] if settings.neuroroute_config is not None else []
    place = place_of(build(*layers).alert_webhook, settings)
    if place is None:
        raise Fault("There is no webhook: set ALERT_WEBHOOK_URL, or alert_webhook.url in the configuration file.")
    failed = asyncio.run(post(place, socket.gethostname()))
    if failed:
        raise Fault(f"The webhook did not take it: {failed}.")
    print(
        f"The webhook took it, {'signed' if place.secret else 'not signed'}, in {'the shape of Slack' if place.slack else 'our own shape'}."
    )
