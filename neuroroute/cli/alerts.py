"""`neuroroute alerts`: what fires and what did, silences, and a test of the webhook."""

import asyncio
import socket
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from neuroroute.cli.out import Fault, load, show, show_one, with_database, with_versions

if TYPE_CHECKING:
    from neuroroute.chain.versions import Versions
    from neuroroute.store.alert_silences import Silence
    from neuroroute.store.alerts import Alert
    from neuroroute.store.postgres import Database

COLUMNS = ("state", "name", "subject", "fired_at", "resolved_at", "acknowledged_by", "message")

app = typer.Typer(help="Alerts: what fires and what did, silences, and a test of the webhook.", no_args_is_help=True)


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


@app.command()
def silence(
    name: Annotated[str | None, typer.Argument(help="Name of the rule; default: every rule.")] = None,
    hours: Annotated[float, typer.Option("--for-hours", min=1 / 60, max=720.0, help="How long.")] = 1.0,
    subject: Annotated[str | None, typer.Option(help="Only what is about this provider, budget or machine.")] = None,
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """For a while, tell nobody of alerts of a rule. They still fire and are shown."""

    async def work(versions: "Versions") -> "Silence":
        from datetime import timedelta

        from neuroroute.access.keys import NOBODY, note
        from neuroroute.store.alert_silences import AlertSilences
        from neuroroute.telemetry.alert_rules import rules_of

        known = sorted({rule.name for rule in rules_of(versions.offer.config.alerts, settings)})
        if name is not None and name not in known:
            raise Fault(f"There is no rule {name!r}; there are {', '.join(known)}.")
        async with versions.database.transaction() as change:
            made = await AlertSilences(change).add(name=name, subject=subject, lasts=timedelta(hours=hours), comment=comment)
            await note(change, NOBODY, "alert.silence", made.id, after=asdict(made))
        return made

    settings = load()
    show_one(asdict(with_versions(settings, work)), as_json=json)


@app.command()
def silences(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """The silences in force."""

    async def work(database: "Database") -> "list[Silence]":
        from neuroroute.store.alert_silences import AlertSilences

        return await AlertSilences(database).current()

    show([asdict(one) for one in with_database(load(), work)], ("id", "name", "subject", "until", "comment"), as_json=json)


@app.command()
def unsilence(
    silence_id: Annotated[str, typer.Argument(help="Id of the silence.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """End a silence: what still fires is told."""

    async def work(database: "Database") -> bool:
        from neuroroute.access.keys import NOBODY, note
        from neuroroute.store.alert_silences import AlertSilences

        async with database.transaction() as change:
            over = await AlertSilences(change).end(silence_id)
            if over:
                await note(change, NOBODY, "alert.unsilence", silence_id)
        return over

    if not with_database(load(), work):
        raise Fault(f"There is no silence {silence_id!r} in force; neuroroute alerts silences shows those that there are.")
    show_one({"id": silence_id, "ended": True}, as_json=json)


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
